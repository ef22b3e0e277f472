"""JupyterLab on a run: its values stand in the copies, and what a person changed in one stays."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import nbformat

from tests.refusals import refused
from tests.runs.conftest import write_notebook
from workbench.runs.execution import live_environment
from workbench.runs.lab import copy_notebooks, lab, with_values
from workbench.runs.run_records import NotebookRecord, RunRecord

CELL = """# What to work on
run_name: str = "smoke"  # folder
é: str = "ä"  # letters
seed: int = 0
lr: float = 1.0e-3
training: Own = {
    "network": {"width": 64},
    "epochs": 4.0,
}  # how
words: list[str] = []  # names"""


def test_values_stand_in_the_cell_and_those_of_the_run_are_marked():
    training = {"epochs": 9.0, "long": "x" * 90, "network": {"width": 64}}
    values = {"run_name": "b", "é": 'it\'s "so"', "seed": 0, "lr": 1e-3, "training": training, "words": ["a'b"] * 20}
    told = with_values(CELL, values | {"gone": 1}, "b")
    assert {each.target.id: ast.literal_eval(each.value) for each in ast.parse(told).body} == values
    assert told.startswith("# Values of run b: (b) stands") and 'run_name: str = "b"  # (b) folder\n' in told


def record_of(project, name, status="done", started="2026-01-01", notebooks=("01_count",), **values):
    entries = {stem: NotebookRecord("done", {"run_name": name, "seed": 4, **values}) for stem in notebooks}
    folder = project / "reports" / name
    folder.mkdir(parents=True)
    record = RunRecord(name, "toy", status, started=started, notebooks=entries)
    record.write(folder)
    return record


def test_a_copy_is_renewed_until_a_person_changes_it(toy_project):
    record = record_of(toy_project, "toy", notebooks=("01_count", "99_gone"))
    told = copy_notebooks("toy", record, toy_project)
    path = toy_project / "notebooks" / "toy" / "01_count.ipynb"
    assert "run 'toy' (done)" in told[0] and str(path.parent) in told[0] and "99_gone.ipynb is gone" in told[1]
    copy = nbformat.read(path, 4)
    nbformat.validate(copy)
    assert (
        "seed: int = 4  # (toy) of all draws" in copy.cells[1].source and "lr: float = 1.0e-3" in copy.cells[1].source
    )

    # What JupyterLab leaves: outputs, metadata, an empty cell.
    copy.cells[2].outputs = [nbformat.v4.new_output("stream", text="kept")]
    copy.cells.append(nbformat.v4.new_code_cell(""))
    nbformat.write(copy, path)
    before = path.read_bytes()
    assert len(copy_notebooks("toy", record, toy_project)) == 2 and path.read_bytes() == before
    record.notebooks["01_count"].parameters["seed"] = 5
    copy_notebooks("toy", record, toy_project)
    assert "seed: int = 5" in nbformat.read(path, 4).cells[1].source

    for changed in (path.read_text().replace("seed: int = 5", "seed: int = 6"), '{"cells": 1}', "no JSON"):
        path.write_text(changed)
        told = copy_notebooks("toy", record, toy_project)
        assert f"{path}: you have changed it" in told[1] and path.read_text() == changed


def test_the_finished_run_with_most_notebooks_is_opened(toy_project, monkeypatch):
    opened = []
    monkeypatch.setattr(os, "execve", lambda program, command, variables: opened.append(command))
    lab(None, 8888, no_browser=True)
    assert "--LabApp.default_url=/lab" in opened[-1]
    both = ("01_count", "02_finish")
    record_of(toy_project, "early", notebooks=both)
    record_of(toy_project, "later", notebooks=both, started="2026-02-01")
    record_of(toy_project, "sweep", started="2026-03-01")
    record_of(toy_project, "begun", status="running", notebooks=both, started="2026-04-01")
    (toy_project / "reports" / "broken").mkdir()
    (toy_project / "reports" / "broken" / "run.json").write_text("{")
    lab(None, 8888, no_browser=True)
    assert "--LabApp.default_url=/lab/tree/later" in opened[-1]
    lab("begun", 8888, no_browser=True)
    assert "--LabApp.default_url=/lab/tree/begun" in opened[-1]
    refused("unknown run 'late'. Did you mean 'later'", lab, "late", 8888, True)


def test_where_no_copy_can_be_written_the_notebooks_themselves_are_opened(toy_project, monkeypatch, capsys):
    def read_only(folder, *given, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(folder))

    opened = []
    record_of(toy_project, "toy")
    monkeypatch.setattr(os, "execve", lambda program, command, variables: opened.append(command))
    monkeypatch.setattr(Path, "mkdir", read_only)
    lab("toy", 8888, no_browser=True)
    told = capsys.readouterr().out
    assert "--LabApp.default_url=/lab" in opened[0] and told.count("\n") == 1
    assert str(toy_project / "notebooks" / "toy") in told and "without the values of run 'toy'" in told


def test_modules_beside_the_notebooks_are_those_of_a_copy_too(toy_project):
    write_notebook(toy_project / "notebooks" / "toy" / "a.ipynb", [])
    command = [sys.executable, "-c", "import toy_stages; print(toy_stages.__file__)"]
    variables = live_environment(toy_project)
    told = subprocess.run(command, cwd=toy_project / "notebooks" / "toy", env=variables, capture_output=True, text=True)
    assert told.stdout.strip() == str(toy_project / "notebooks" / "toy_stages.py")
