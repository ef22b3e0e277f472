"""The project's shape: what lies at the top, how long modules are, and that imports point down."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    *(".ci", "data", "docs", "findings", "notebooks", "reports", "tests", "workbench"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *("Makefile", "environment.yml", "pyproject.toml"),
    *(".gitignore", ".gitattributes", ".pre-commit-config.yaml"),
}
# What each room may import besides itself and the leaf modules of the package's root.
BELOW = {"scenes": set(), "regions": {"scenes"}, "language": {"scenes"}}
BELOW["diffusion"] = BELOW["recognition"] = {"scenes", "regions", "language"}
BELOW["figures"] = BELOW["diffusion"] | {"diffusion", "recognition"}
BELOW["browsers"] = BELOW["figures"] | {"figures"}
BELOW["tables"] = BELOW["browsers"] | {"browsers"}
BELOW["runs"] = BELOW["tables"] | {"tables"}
MODULES = sorted((ROOT / "workbench").rglob("*.py"))
LONGEST_MODULE = 300
NO_HOME = {"utils", "util", "common", "helpers", "misc", "tools"}


def test_the_top_level_holds_what_is_declared():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout
    assert {line.split("/")[0] for line in listed.splitlines()} <= TOP_LEVEL


def imported_modules(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name for name in found if name.split(".")[0] in ("workbench", "drawn_scenes")}


@pytest.mark.parametrize("room", BELOW)
def test_imports_point_down(room):
    for path in (ROOT / "workbench" / room).rglob("*.py"):
        rooms = {name.split(".")[1] for name in imported_modules(path) if "." in name} & BELOW.keys()
        assert rooms <= BELOW[room] | {room}, path


def test_leaf_modules_know_no_room():
    for path in (ROOT / "workbench").glob("*.py"):
        if path.name != "__main__.py":
            assert not {name.split(".")[1] for name in imported_modules(path) if "." in name} & BELOW.keys(), path


def test_the_drawn_scenes_are_known_to_their_command_alone():
    for path in MODULES:
        if path != ROOT / "workbench" / "runs" / "data_commands.py":
            assert not any(name.startswith("drawn_scenes") for name in imported_modules(path)), path


def test_modules_are_nouns_of_readable_length():
    for path in MODULES:
        assert path.stem not in NO_HOME, path
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE, path


def test_nothing_unpickles():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for word in ("pickle.load", "allow_pickle=True", "weights_only=False", "joblib"):
            assert word not in text, (path, word)
