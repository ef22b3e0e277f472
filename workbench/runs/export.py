"""``workbench export``: what a finished run or tables run measured, as a LaTeX table and as CSV files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from workbench.errors import WorkbenchError, unknown
from workbench.figures.pages import write_page_text
from workbench.files import atomic_path
from workbench.paths import reports_folder
from workbench.recognition.accuracy import METRICS
from workbench.runs.browsing import titled_evaluations
from workbench.runs.run_records import run_names
from workbench.runs.tables import TABLES_FILE
from workbench.scenes.vocabulary import ROLES
from workbench.stages import Run, Stage
from workbench.tables.page import paper_rows, spans
from workbench.tables.paper import TABLES
from workbench.tables.results import TableResults, interval, read_tables

COLUMNS = TABLES[1].columns
LETTERS = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LETTERS |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
MARKS: dict[str, Any] = {"variable_start_string": "<<", "variable_end_string": ">>", "trim_blocks": True}
MARKS |= {"block_start_string": "<%", "block_end_string": "%>", "keep_trailing_newline": True}


def export(run: str, form: str, out: Path | None) -> None:
    """``workbench export``: both forms where none is asked for, by default into the run's report."""
    folder, path = out or reports_folder() / run / "export", reports_folder() / run / TABLES_FILE
    results = read_tables(path) if path.is_file() else None
    if not results and run not in run_names():
        raise WorkbenchError(unknown("run", run, run_names()))
    found = list(_evaluations(Run.asked(run), results)) if form != "latex" or not results else []
    titled = {} if results or form == "csv" else titled_evaluations(Run.asked(run))
    for metric in METRICS if form != "csv" else ():
        rows = paper_rows(1, results, metric) if results else [_row(run, *each, metric) for each in titled.items()]
        write_page_text(folder / f"table1-{metric}.tex", latex(run, metric, [row for row in rows if not row["gap"]]))
    for name in ("summary", "per_class", "predictions") if form != "latex" else ():
        with atomic_path(folder / f"{name}.csv") as temporary, open(temporary, "w", encoding="utf-8") as file:
            for place, (of_run, stage) in enumerate(found):
                _named(stage, name, of_run).to_csv(file, index=False, header=not place, lineterminator="\n")
    print(f"written to {folder}")


def latex(run: str, metric: str, rows: list[dict[str, Any]]) -> str:
    """Table 1 as LaTeX, of ``rows`` as `paper_rows` gives them; names are set letter by letter."""
    made = jinja2.Environment(undefined=jinja2.StrictUndefined, **MARKS)
    made.filters |= {"letters": lambda text: "".join(LETTERS.get(letter, letter) for letter in text), "level": _level}
    template = made.from_string(Path(__file__).with_name("table1.tex.j2").read_text(encoding="utf-8"))
    levels = (cell["here"] for row in rows for cell in row["cells"])
    intervals = any(level and level["half_width"] is not None for level in levels)
    return template.render(run=run, metric=metric, rows=rows, columns=COLUMNS, spans=spans, intervals=intervals)


def _level(level: dict[str, Any] | None, form: str = ".1f") -> str:
    if level is None:
        return "--"
    width = level["half_width"]
    return f"${level['mean']:{form}}" + ("$" if width is None else rf" \pm {width:.1f}$")


def _row(run: str, title: str, stage: Stage, metric: str) -> dict[str, Any]:
    values = [stage.metrics[f"{metric} {column}"] for column in COLUMNS]
    cells = [{"here": None if value is None else interval([value]), "change": None} for value in values]
    return {"group": run, "name": title, "cells": cells, "gap": ""}


def _evaluations(run: Run, results: TableResults | None) -> Iterator[tuple[str, Stage]]:
    """The complete evaluations of a run, or of the rows and seeds of its tables, each after the name of its run."""
    for variant in run.variants("evaluation") or ["default"] if results is None else ():
        yield run.name, run.find("evaluation", variant)
    for row in results.rows.values() if results else ():
        for of_seed in (Run.asked(f"{run.name}-seed{seed}") for seed in row.values):
            yield of_seed.name, of_seed.find("evaluation", row.key)


def _named(stage: Stage, name: str, run: str) -> pd.DataFrame:
    """A table of an evaluation with its run and variant before it, and names of classes where it has numbers."""
    table = pd.read_parquet(stage / f"{name}.parquet")
    if name == "predictions":
        classes = pd.read_parquet(stage / "per_class.parquet").set_index(["role", "class"])["name"]
        for column in table:
            if found := re.fullmatch(rf"({'|'.join(ROLES)})(_predicted|_top\d)?", column):
                table[column] = table[column].map(classes[found[1]])
    table.insert(0, "evaluation", stage.folder.name)
    table.insert(0, "run", run)
    return table
