"""The notebooks keep their contract, and run in miniature from the first to the last."""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from workbench.figures import results
from workbench.paths import checked_name
from workbench.recognition.config import RecogniserConfig
from workbench.runs.notebooks import run_profile
from workbench.runs.parameters import read_parameters
from workbench.runs.profiles import make_plan, profile_names

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[!.]*.ipynb"))
LONGEST_CELL = 15
MOST_PARAMETERS = 12
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def is_parameters(cell) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


@each_notebook
def test_a_notebook_is_valid_and_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    for cell in code_cells(path):
        assert not cell.outputs and cell.execution_count is None, f"run nbstripout {path.name}"
        assert "papermill" not in cell.metadata and "injected-parameters" not in cell.metadata.get("tags", [])


@each_notebook
def test_a_notebook_opens_with_its_title_and_then_its_parameters(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    # Imports may stand before the parameters, whose types they give; nothing else may.
    before = itertools.takewhile(lambda cell: not is_parameters(cell), code_cells(path))
    statements = [statement for cell in before for statement in ast.parse(cell.source).body]
    assert all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in statements)
    parameters = read_parameters(path)
    assert "run_name" in parameters and len(parameters) <= MOST_PARAMETERS


@each_notebook
def test_papermill_reads_the_parameters_cell_as_we_do(path):
    # papermill takes the last '=' of a line, and '#' inside a text for a comment.
    for line in next(filter(is_parameters, code_cells(path))).source.splitlines():
        statement, _, comment = line.partition("#")
        assert "|" not in statement and "=" not in comment and statement.count("=") <= 1, line


@each_notebook
def test_a_notebook_only_calls_the_rooms_and_names_no_place_of_this_machine(path):
    for cell in code_cells(path):
        tree = ast.parse(cell.source)  # refuses magics and shell commands
        # Parameters and imports are lists, one entry a line; how long they are says nothing about their complexity.
        imports = all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in tree.body)
        assert imports or is_parameters(cell) or len(cell.source.splitlines()) <= LONGEST_CELL, cell.source
        assert not any(isinstance(node, DEFINITIONS) for node in ast.walk(tree)), cell.source
        assert not re.search(r"""\.\./|["'](?:/|~|[A-Za-z]:\\)|\bpip install\b|get_ipython""", cell.source), cell.source


@pytest.mark.parametrize("profile", profile_names(ROOT))
def test_a_profile_fits_the_notebooks(profile):
    assert make_plan(profile, root=ROOT).notebooks


@pytest.fixture(scope="module")
def smoke_root(tmp_path_factory):
    """A project of its own with the notebooks, run once under the profile ``smoke``."""
    root = tmp_path_factory.mktemp("smoke")
    shutil.copytree(FOLDER, root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
    run_profile("smoke", root=root)
    return root


def manifests(root: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in (root / "data" / "runs").glob("*/*/*/manifest.json")}


@pytest.mark.slow
def test_smoke_run_leaves_a_whole_report(smoke_root):
    (written,) = (smoke_root / "reports").glob("*/run.json")
    record, folder = json.loads(written.read_text()), written.parent
    names = list(record["notebooks"])
    assert record["status"] == "done" and names == [path.stem for path in NOTEBOOKS] and folder.name == record["run"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert sorted(metrics) == names and all(metrics.values())
    for name in names:
        page, executed = (folder / f"{name}.html").read_text(), nbformat.read(folder / f"{name}.ipynb", 4)
        outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
        figures = [o for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
        assert page.count('class="figure"') == len(figures), name
        assert "FigureWidget" not in page and not re.search(r"<(?:script|img|link)[^>]+https?:", page), name
    assert any('class="figure"' in (folder / f"{name}.html").read_text() for name in names)


@pytest.mark.slow
def test_the_notebooks_run_as_they_are_with_their_defaults(smoke_root):
    """As "Run All" in JupyterLab does; the stages that the smoke run made are loaded and none is built twice."""
    before = manifests(smoke_root)
    options = ["--nbval-lax", "--nbval-current-env", "-p", "no:xdist", "-p", "no:cacheprovider", "-q"]
    variables = os.environ | {"WORKBENCH_HOME": str(smoke_root), "WORKBENCH_HEADLESS": "1"}
    command = [sys.executable, "-m", "pytest", *options, str(smoke_root / "notebooks")]
    done = subprocess.run(command, env=variables, cwd=smoke_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert before and manifests(smoke_root) == before


def test_a_loss_may_be_given_by_its_import_path():
    def stage(name, build, *, variant, **given):
        return checked_name("variant", variant), given["config"].loss.name

    sources = [cell.source for cell in code_cells(FOLDER / "05_finetune_and_evaluate.ipynb")]
    (cell,) = [source for source in sources if "titles = " in source]
    run = SimpleNamespace(stage=stage, features=None, text=None)
    losses, recogniser = ["ce", "statistics:mean"], RecogniserConfig()
    names = {"losses": losses, "trainings": recogniser.with_losses(losses), "recogniser": recogniser, "run": run}
    names |= {"results": results, "partial": partial, "train_recogniser": None}
    exec(cell, names)
    assert list(names["recognisers"].values()) == [("ce", "ce"), ("statistics.mean", "statistics:mean")]
