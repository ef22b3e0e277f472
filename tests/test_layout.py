"""The project's shape: what lies at the top, how much there is, that imports point down, how functions are called."""

import ast
import functools
import graphlib
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    *(".ci", "data", "docs", "findings", "notebooks", "reports", "tests", "workbench"),
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *("Makefile", "environment.yml", "pyproject.toml"),
    *(".gitignore", ".gitattributes", ".pre-commit-config.yaml"),
}
# A room imports from itself and from those before it.
LEVELS = ["scenes", "regions language", "diffusion recognition", "figures", "browsers", "tables", "runs"]
# The house came down to 20,000 lines and 15,000 of tests, from 38,000 in 304 modules; the rest came for real files.
PACKAGE_LINES, PACKAGE_MODULES, TEST_LINES = 21_990, 155, 16_490
MODULE_LINES, PARAMETERS = 300, 8
NO_HOME = {"utils", "util", "common", "helpers", "misc", "tools"}
MODULES = sorted((ROOT / "workbench").rglob("*.py"))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def all_imports(path: Path) -> set[str]:
    """Modules that ``path`` imports, anywhere in it, annotations for type checkers left out."""
    checking = [
        node for node in ast.walk(tree(path)) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    left_out = {id(inner) for node in checking for inner in ast.walk(node)}
    names = {module_name(other) for other in MODULES}
    nodes = [node for node in ast.walk(tree(path)) if id(node) not in left_out]
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & names or {node.module}
    return found


def imported_modules(path: Path) -> set[str]:
    return {name for name in all_imports(path) if name.split(".")[0] == "workbench"}


def test_the_top_level_holds_what_is_declared():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout
    assert {line.split("/")[0] for line in listed.splitlines()} <= TOP_LEVEL


def test_the_house_is_thin():
    assert sum(map(lines, MODULES)) <= PACKAGE_LINES
    assert len(MODULES) <= PACKAGE_MODULES
    assert sum(map(lines, (ROOT / "tests").rglob("*.py"))) <= TEST_LINES


def test_modules_are_nouns_of_readable_length():
    for path in MODULES:
        assert path.stem not in NO_HOME, path
        assert lines(path) <= MODULE_LINES, path


def test_imports_point_down():
    level = {room: number for number, rooms in enumerate(LEVELS) for room in rooms.split()}
    assert {
        path.name for path in (ROOT / "workbench").iterdir() if path.is_dir() and path.name != "__pycache__"
    } == level.keys()
    for path in MODULES:
        own = module_name(path).split(".")
        if own[-1] == "__main__":
            continue
        for name in imported_modules(path):
            room = name.split(".")[1] if "." in name else ""
            if room in level and room != own[1]:
                assert len(own) > 2 and level[room] < level[own[1]], f"{path} imports {name}"


def test_imports_make_no_circle():
    below = {module_name(path): imported_modules(path) for path in MODULES}
    graphlib.TopologicalSorter(below).prepare()  # its CycleError names them


def test_functions_take_few_parameters_and_say_what_they_return():
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                own = [argument for argument in named if argument.arg not in ("self", "cls")]
                assert len(own) <= PARAMETERS, f"{path}: {node.name} takes {len(own)}"
                told = node.returns is not None or node.name.startswith("_")
                assert told, f"{path}: what does {node.name} return?"


def test_what_draws_or_brings_data_is_known_to_commands_alone():
    for path in MODULES:
        if path.parent.name != "runs":
            imported = {name.split(".")[0] for name in all_imports(path)}
            assert not imported & {
                "annotated_scenes",
                "drawn_scenes",
                "own_features",
                "published_scenes",
                "simulated_scenes",
            }, path


def test_nothing_unpickles_nor_compiles_as_it_runs():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for word in ("pickle.load", "allow_pickle=True", "weights_only=False", "joblib", "torch.compile"):
            assert word not in text, (path, word)
