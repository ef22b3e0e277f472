"""A toy project: two short notebooks and a profile, under a root of its own."""

import time
from pathlib import Path

import nbformat
import pytest

FIRST = [
    ("markdown", "# How many rows are there?\n\nCounted at once.", None),
    ("code", 'run_name: str = "toy"\nseed: int = 0  # of all draws\nlr: float = 1.0e-3', "parameters"),
    ("code", "from toy_stages import count_rows\nfrom workbench.stages import Run", None),
    ("code", 'run = Run.open(run_name)\nstage = run.stage("counts", count_rows, rows=3, seed=seed)', None),
    ("code", 'run.save_metrics("01_count", {"headline": {"rows": stage.metrics["rows"]}, "none": float("nan")})', None),
]
SECOND = [
    ("markdown", "# Does it end?", None),
    ("code", 'run_name: str = "toy"\nend: str = "well"\nflags: list[int] = [1]', "parameters"),
    ("code", "from toy_stages import finish\nfinish(run_name, end)", None),
]
STAGES = """
import os, signal
from workbench.errors import WorkbenchError
from workbench.stages import Run

def count_rows(folder, rows, seed):
    (folder / "rows.txt").write_text("row " * rows)
    with open(os.environ["WORKBENCH_HOME"] + "/built.log", "a") as log:
        log.write("counts\\n")
    return {"rows": rows + seed}

def finish(run_name, end):
    if end == "ours":
        raise WorkbenchError("rows.npy: 3 rows, expected 4. Build it again.")
    if end == "other":
        raise KeyError("rows")
    if end == "dead":
        os.kill(os.getpid(), signal.SIGKILL)
    print("rows:", Run.open(run_name).find("counts").metrics["rows"])
"""


def wait_until(condition) -> None:
    """Return once ``condition()`` holds; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write_notebook(path: Path, cells) -> Path:
    """A notebook of cells (kind, source, tag)."""
    notebook = nbformat.v4.new_notebook()
    for kind, source, tag in cells:
        cell = nbformat.v4.new_code_cell(source) if kind == "code" else nbformat.v4.new_markdown_cell(source)
        cell.metadata["tags"] = [tag] if tag else []
        notebook.cells.append(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def toy_project(tmp_path, monkeypatch) -> Path:
    """A root with notebooks 01_count and 02_finish, the profile toy, and the module their cells import."""
    root = tmp_path / "project"
    write_notebook(root / "notebooks" / "01_count.ipynb", FIRST)
    write_notebook(root / "notebooks" / "02_finish.ipynb", SECOND)
    (root / "notebooks" / "toy_stages.py").write_text(STAGES)
    (root / "notebooks" / "params").mkdir()
    profile = "run: toy\nshared:\n  seed: 4\n02_finish:\n  flags: [1, 2]\n"
    (root / "notebooks" / "params" / "toy.yml").write_text(profile)
    monkeypatch.setenv("WORKBENCH_HOME", str(root))
    monkeypatch.delenv("WORKBENCH_REPLACE", raising=False)
    return root


CONFIGS = """from dataclasses import dataclass, field

from workbench.errors import WorkbenchError

@dataclass(frozen=True)
class Network:
    width: int = 64
    channels: tuple[int, ...] = (32, 64)

@dataclass(frozen=True)
class Training:
    epochs: float = 1.0
    network: Network = field(default_factory=lambda: Network(width=8))

    def __post_init__(self):
        if self.epochs <= 0:
            raise WorkbenchError(f"epochs {self.epochs}: expected more than 0.")
"""


@pytest.fixture
def config_notebook(toy_project) -> Path:
    """A third notebook of the toy project, whose config parameter's dataclass lies in a module beside it."""
    (toy_project / "notebooks" / "own_training.py").write_text(CONFIGS)
    above = ("code", "raise SystemExit\nfrom own_training import Training as Own", None)
    cell = ("code", 'run_name: str = "a"\ntraining: Own = {"epochs": 2.0}  # how', "parameters")
    return write_notebook(toy_project / "notebooks" / "03_train.ipynb", [above, cell])
