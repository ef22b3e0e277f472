"""JupyterLab on the notebooks of a run: copies that hold its values, renewed until a person changes one."""

import ast
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from workbench.errors import WorkbenchError, unknown
from workbench.figures.pages import LAB_EXTENSIONS
from workbench.files import read_json, write_json
from workbench.identity import sha256_of_json
from workbench.paths import notebooks_folder, project_root, reports_folder
from workbench.runs.execution import DONE, live_environment
from workbench.runs.parameters import TAG
from workbench.runs.profiles import RUN_PARAMETER
from workbench.runs.run_records import NO_RECORD, RunRecord, runs_table

_LINE = 110  # characters; a longer dict has a line for each of its keys
_OURS = "workbench"  # of a copy's metadata: the digest of its cells as they were written


def lab(run: str | None, port: int, no_browser: bool) -> NoReturn:
    """``workbench lab``: for this machine alone, with a token, asking the network for nothing."""
    root, table = project_root(), runs_table()
    table = table[table["state"] != NO_RECORD]
    if run and run not in table.index:
        raise WorkbenchError(unknown("run", run, sorted(table.index)))
    if not run and len(table):  # a finished one before others, with most notebooks, the latest of these
        rank = pd.DataFrame({"state": table["state"] == DONE, "done": table["notebooks done"].str.split().str[0]})
        run = rank.astype(int).sort_values(["state", "done"], ascending=False, kind="stable").index[0]
    if run:
        try:
            print("\n".join(copy_notebooks(run, RunRecord.read(reports_folder(root) / run), root)), flush=True)
        except WorkbenchError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            print(f"the notebooks themselves, without the values of run {run!r}: {error}", flush=True)
            run = None
    settings = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.root_dir": notebooks_folder(root),
        "ServerApp.kernel_spec_manager_class": "workbench.runs.kernels.OwnKernels",
        "ServerApp.open_browser": not no_browser,
        "ServerApp.allow_root": os.geteuid() == 0,  # containers have no other user, and only this machine is served
        "Application.log_level": "WARN",  # the address is told louder than that
        "LabApp.default_url": f"/lab/tree/{run}" if run else "/lab",
        "LabApp.news_url": None,
        "LabApp.app_settings_dir": Path(__file__).parent / "lab_settings",  # asks nobody about news either
        "LabApp.check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
        "LabApp.extra_labextensions_path": LAB_EXTENSIONS,  # figures follow the theme
    }  # fmt: skip
    options = [f"--{name}={value}" for name, value in settings.items()]
    os.chdir(notebooks_folder(root))
    # In our place: signals reach JupyterLab itself.
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", *options], live_environment(root))


def copy_notebooks(run: str, record: RunRecord, root: Path) -> list[str]:
    """Copy the notebooks of a run into ``notebooks/RUN/``, with its values; returns lines that say what was done.

    A copy stays as it is, with its outputs, where it would be written the same, and where a person changed it.
    """
    folder, lines = notebooks_folder(root) / run, []
    for stem, entry in record.notebooks.items():
        source, copy = (place / f"{stem}.ipynb" for place in (folder.parent, folder))
        if not source.is_file():
            lines.append(f"{source} is gone: no copy of it")
            continue
        notebook = read_json(source)
        for cell in notebook["cells"]:
            if TAG in cell["metadata"].get("tags", []):
                cell["source"] = with_values("".join(cell["source"]), entry.parameters | {RUN_PARAMETER: run}, run)
        notebook["metadata"][_OURS] = written = _digest(notebook)
        try:
            there = read_json(copy) if copy.is_file() else {"metadata": {}}
            found = _digest(there) if "cells" in there else None
            ours = found in (None, written, there["metadata"].get(_OURS))
        except (WorkbenchError, KeyError, TypeError, AttributeError):  # no notebook any more
            ours = False
        if not ours:
            lines.append(f"{copy}: you have changed it, so it stays as it is; remove it to have it anew")
        elif found != written:
            write_json(copy, notebook)
    return [f"run {run!r} ({record.status}): its notebooks, with its values, are in {folder}", *lines]


def with_values(source: str, values: dict[str, Any], run: str) -> str:
    """A parameters cell with ``values`` in place of its own; those that are other ones are marked with the run."""
    lines = source.splitlines()
    for statement in reversed(ast.parse(source).body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            continue
        name, own = statement.target.id, ast.literal_eval(statement.value)
        if (value := values.get(name, own)) == own:
            continue
        first, last = statement.value.lineno - 1, (statement.value.end_lineno or 0) - 1
        # Columns of Python's parser count bytes.
        before = lines[first].encode()[: statement.value.col_offset].decode()
        after = lines[last].encode()[statement.value.end_col_offset :].decode().strip(" #")
        lines[first : last + 1] = [f"{before}{_literal(value, own, len(before))}  # ({run}) {after}".rstrip()]
    return "\n".join([f"# Values of run {run}: ({run}) stands where they are not the notebook's own.", *lines])


def _literal(value: Any, own: Any, column: int) -> str:
    """Python for a value of JSON; the keys of a dict in the order of the notebook's ``own``."""
    if isinstance(value, dict) and isinstance(own, dict):
        value = {key: value[key] for key in dict.fromkeys([*own, *value]) if key in value}
    text = repr(value)
    if len(text) > _LINE - column and isinstance(value, dict):
        text = "\n".join(["{", *(f"    {key!r}: {item!r}," for key, item in value.items()), "}"])
    return text if '"' in text else text.replace("'", '"')


def _digest(notebook: dict[str, Any]) -> str:
    """SHA-256 of what a person may change: the cells, without outputs; JupyterLab adds empty ones."""
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    return sha256_of_json([cell for cell in cells if cell[1].strip()])
