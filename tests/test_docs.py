"""The documentation is true: its programs run, its commands parse, its files exist, no command is left out."""

import argparse
import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import workbench.__main__ as command_line
from tests.scale import simulate_annotations
from tests.scale.features import simulate_features
from workbench.recognition.heads import HEADS
from workbench.scenes.vocabulary import Vocabulary

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [line.partition("workbench ")[2] for line in lines if "workbench " in line]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small features folder and its text folder."""
    from workbench.language.text_embedding import write_class_vectors

    folder = tmp_path_factory.mktemp("data")
    names = Vocabulary(tuple(f"thing {n}" for n in range(1702)), tuple(f"relation {n}" for n in range(310)))
    simulate_annotations(folder / "annotations", vocabulary=names, scale=0.001)
    simulate_features(folder / "features", annotations=folder / "annotations", dimension=16)
    random = np.random.default_rng(0)
    vectors = {kind: random.standard_normal((len(getattr(names, kind)), 12)) for kind in ("objects", "relations")}
    write_class_vectors(folder / "text", vocabulary=names, encoder="random", **vectors)
    return {"features": folder / "features", "text": folder / "text"}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_programs_run(page, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("documented")
    monkeypatch.setitem(sys.modules, "documented", module)
    before = dict(HEADS)
    vars(module).update(data, source=tmp_path / "source", target=tmp_path / "target")
    try:
        for block in blocks(page, "python"):
            exec(compile(block, str(page), "exec"), vars(module))
    finally:
        HEADS.clear()
        HEADS.update(before)


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_parse(line, monkeypatch):
    monkeypatch.setattr(command_line, "_folder", Path)
    assert command_line.build_parser().parse_args(shlex.split(line)).command


def test_every_command_is_in_the_table():
    def names(parser: argparse.ArgumentParser, prefix: str) -> list[str]:
        parts = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not parts:
            return [prefix]
        return [found for name, child in parts[0].choices.items() for found in names(child, f"{prefix} {name}")]

    listed = re.findall(r"^\| `(workbench [^`]+)` \|", (DOCS / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(names(command_line.build_parser(), "workbench"))


def test_links_and_named_files_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (DOCS / target).exists(), (page.name, target)
        for named in re.findall(r"`((?:workbench|notebooks)/[\w/.-]+\.(?:py|yml))`", text):
            assert (DOCS.parent / named).is_file(), (page.name, named)
