"""Tables, aims and claims as HTML that stands in a report: paper above ours, intervals small, text escaped."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.figures.pages import rendered
from workbench.figures.style import GROUP_COLOURS
from workbench.scenes.bands import BANDS
from workbench.tables.claims import FAILS, aim, architectures, best_without_generated, why_no_best
from workbench.tables.paper import CLASSES, COMBINED, TABLES, PaperRow, PaperTable
from workbench.tables.results import MeasuredRow, TableResults

TEMPLATE = Path(__file__).with_name("tables.html.j2")
EXTENDED_COLUMNS = tuple(
    f"{role} {band}" for role in ("combined", "subject/object", "relation") for band in (*BANDS, "all")
)
_HEADS = {"subject/object": "Subject/Object", "relation": "Relation", "combined": "Combined"}


def legend() -> str:
    """How a table is read."""
    return _rendered("legend")


def in_both_metrics(html_of: Callable[[str], str], metric: str) -> str:
    """What ``html_of`` gives for ``metric`` (exact or synset), and for the other metric below it, folded."""
    other = "exact" if metric == "synset" else "synset"
    return f"{html_of(metric)}<details><summary>The same by {other} match</summary>{html_of(other)}</details>"


def paper_table(number: int, results: TableResults, metric: str) -> str:
    """Table ``number`` with our results below the paper's numbers, in both metrics."""

    def html_of(each: str) -> str:
        return _rendered("paper", table=TABLES[number], groups=_grouped(paper_rows(number, results, each)))

    return in_both_metrics(html_of, metric)


def extended(results: TableResults, metric: str) -> str:
    """All rows by architecture and family of methods, in both metrics."""

    def html_of(each: str) -> str:
        return _rendered("extended", columns=EXTENDED_COLUMNS, groups=_grouped(extended_rows(results, each)))

    return in_both_metrics(html_of, metric)


def aims(results: TableResults, metric: str) -> str:
    """Whether the aim is reached, in both metrics."""
    return in_both_metrics(lambda each: _rendered("aims", records=aim(results, each)), metric)


def claims(table: pd.DataFrame, comparisons: pd.DataFrame) -> str:
    """Each claim with its verdict and its comparisons; from `claims.claims_table` and `claims.comparisons_table`."""
    by_claim = {number: here.to_dict("records") for number, here in comparisons.groupby("claim")}
    return _rendered("claims", claims=table.to_dict("index"), comparisons=by_claim, against=FAILS)


def paper_rows(number: int, results: TableResults, metric: str) -> list[dict[str, Any]]:
    """Table ``number``, a record for each printed row: group (the recogniser), name, key, gap, missing and cells.

    A cell has paper and paper_change (against the row compared with, None where the paper prints no such number), here
    (`interval` over seeds, percent) and change (`paired_interval`, percentage points), None where there is none.
    """
    table = TABLES[number]
    return [
        {"group": row.architecture, "name": table.name(row), "key": row.key, "gap": results.gap(row.key),
         "missing": results.missing(row.key),
         "cells": [_cell(table, row, column, results, metric) for column in table.columns]}
        for row in table.rows
    ]  # fmt: skip


def _cell(table: PaperTable, row: PaperRow, column: str, results: TableResults, metric: str) -> dict[str, Any]:
    against, name = row.compared_with, f"{metric} {column}"
    return {
        "paper": row.numbers.get(column),
        "paper_change": table.change(row.key, against, column) if against else None,
        "here": results.level(row.key, name),
        "change": results.difference(row.key, against, name),
    }


def extended_rows(results: TableResults, metric: str) -> list[dict[str, Any]]:
    """Every row, by recogniser and family of methods: means in percent and two paired changes in Combined.

    Keys: group, title (without the recogniser's name), key, seeds, gap, missing, numbers (of `EXTENDED_COLUMNS`, None
    where there is none), changes: the other row's title (or why there is none) and the `paired_interval` (or None)
    against the row compared with, and against the best row without generated features.
    """
    order = architectures(results), list(GROUP_COLOURS)
    rows = sorted(results.rows.values(), key=lambda row: (order[0].index(row.architecture), order[1].index(row.group)))
    best = {architecture: best_without_generated(results, architecture) for architecture in order[0]}
    return [_extended_row(row, best[row.architecture], results, metric) for row in rows]


def _extended_row(row: MeasuredRow, best: str | None, results: TableResults, metric: str) -> dict[str, Any]:
    levels = [results.level(row.key, f"{metric} {column}") for column in EXTENDED_COLUMNS]
    changes = []
    for other, instead in ((row.compared_with, ""), (best, why_no_best(results, row.architecture) if not best else "")):
        other = None if other == row.key else other
        title = results.rows[other].title if other in results.rows else other or instead
        changes.append((title, results.difference(row.key, other, f"{metric} {COMBINED}")))
    return {
        "group": f"{row.architecture}: {row.group}", "title": _without_architecture(row.title, row.architecture),
        "key": row.key, "seeds": len(row.values), "gap": results.gap(row.key), "missing": results.missing(row.key),
        "numbers": [level and level["mean"] for level in levels], "changes": changes,
    }  # fmt: skip


def _without_architecture(title: str, architecture: str) -> str:
    """A row's title where its recogniser is named already; case does not matter."""
    prefix = f"{architecture}, "
    return title[len(prefix) :] if title.casefold().startswith(prefix.casefold()) else title


def _grouped(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(group, list(here)) for group, here in groupby(rows, lambda row: row["group"])]


def _spans(columns: tuple[str, ...]) -> list[tuple[str, int]]:
    """Heads over the bands of each role, with the number of columns below."""
    return [(_HEADS[role], len(list(here))) for role, here in groupby(columns, lambda column: column.split()[0])]


def _rendered(part: str, **values: Any) -> str:
    helpers = {
        "spans": _spans, "classes": CLASSES, "isna": pd.isna, "excludes_zero": _excludes_zero,
        "without_architecture": _without_architecture,
    }  # fmt: skip
    return rendered(TEMPLATE, part=part, **helpers, **values)


def _excludes_zero(mean: float, half_width: float | None) -> bool:
    return half_width is not None and abs(mean) > half_width  # never above a width that is nan
