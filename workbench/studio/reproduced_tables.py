"""The paper's tables with our results beside them, and Table 1 extended by all our systems."""

from typing import Any

import pandas as pd

from workbench.scenes.bands import BANDS
from workbench.studio.palette import GROUP_COLOURS
from workbench.studio.paper_tables import TABLES, PaperRow, PaperTable
from workbench.studio.table_results import System, TableResults

EXTENDED_COLUMNS = tuple(
    f"{role} {band}" for role in ("combined", "subject/object", "relation") for band in (*BANDS, "all")
)
_DIFFERENCES = ("paper_difference", "difference", "half_width")
CHANGES = ("baseline", "best")


def reproduced_table(number: int, results: TableResults, metric: str) -> pd.DataFrame:
    """Table ``number`` as one record for each printed row and column, percent and percentage points.

    ``metric`` is exact or synset. Columns: row (position in the table), architecture, name, system, compared_with,
    column; paper, here (mean over ``seeds`` seeds), gap ("", "not run" or "failed: reason"), failures (reasons of
    single seeds that failed); and for the change
    against the row compared with: paper_difference, difference (mean of the paired ones of ``pairs`` seeds) and
    half_width of its 95 % t-interval (missing for a single seed).
    """
    table = TABLES[number]
    records = [
        {"row": place, **_identity(table, row), "column": column, **_numbers(table, row, results, column, metric)}
        for place, row in enumerate(table.rows)
        for column in table.columns
    ]
    return pd.DataFrame(records).astype(dict.fromkeys(("paper", "here", *_DIFFERENCES), float))


def _identity(table: PaperTable, row: PaperRow) -> dict[str, Any]:
    return {
        "architecture": row.architecture,
        "name": table.name(row),
        "system": row.system,
        "compared_with": row.compared_with,
    }


def _numbers(table: PaperTable, row: PaperRow, results: TableResults, column: str, metric: str) -> dict[str, Any]:
    level = results.level(row.system, f"{metric} {column}")
    numbers = {
        "paper": row.numbers.get(column),
        "here": level and level["mean"],
        "seeds": len(level["values"]) if level else 0,
        "gap": results.gap(row.system),
        "failures": results.failures(row.system),
        "paper_difference": None,
    }
    if row.compared_with is None:
        return numbers | _change(None, "difference")
    numbers["paper_difference"] = table.change(row.system, row.compared_with, column)
    return numbers | _change(results.difference(row.system, row.compared_with, f"{metric} {column}"), "difference")


def _change(difference: dict[str, Any] | None, name: str, prefix: str = "") -> dict[str, Any]:
    return {
        name: difference and difference["mean"],
        f"{prefix}half_width": difference and difference["half_width"],
        f"{prefix}pairs": len(difference["values"]) if difference else 0,
    }


def extended_table(results: TableResults, metric: str) -> pd.DataFrame:
    """Every system, by architecture and family of methods: means in percent and two paired changes in Combined.

    Columns: key, architecture, group, title, note, generated, seeds, gap, the names of `EXTENDED_COLUMNS`, and for
    each of `CHANGES` (against the system's baseline, against the best of its architecture without generated features)
    ``<change>`` (the other system's title), ``<change>_difference`` in percentage points,
    ``<change>_half_width`` of its 95 % t-interval and ``<change>_pairs``, the seeds that both have.
    """
    groups = list(GROUP_COLOURS)
    architectures = list(dict.fromkeys(system.architecture for system in results.systems.values()))
    ordered = sorted(
        results.systems.values(), key=lambda s: (architectures.index(s.architecture), groups.index(s.group))
    )
    changes = [f"{change}_{name}" for change in CHANGES for name in ("difference", "half_width")]
    rows = [_extended_row(system, results, metric) for system in ordered]
    return pd.DataFrame(rows).astype(dict.fromkeys((*EXTENDED_COLUMNS, *changes), float))


def _extended_row(system: System, results: TableResults, metric: str) -> dict[str, Any]:
    levels = {column: results.level(system.key, f"{metric} {column}") for column in EXTENDED_COLUMNS}
    best = best_without_generated(results, system.architecture, metric)
    row = {name: getattr(system, name) for name in ("key", "architecture", "group", "title", "generated")}
    row |= {"note": system.note or "", "failures": results.failures(system.key)}
    row |= {"seeds": len(system.values), "gap": results.gap(system.key)}
    row |= {column: level and level["mean"] for column, level in levels.items()}
    for change, other in zip(CHANGES, (system.baseline, best), strict=True):
        other = None if other == system.key else other
        difference = results.difference(system.key, other, f"{metric} combined all") if other else None
        row[change] = results.systems[other].title if other in results.systems else other or ""
        row |= _change(difference, f"{change}_difference", f"{change}_")
    return row


def best_without_generated(results: TableResults, architecture: str, metric: str) -> str | None:
    """Key of the architecture's highest Combined without generated features, among those with the most seeds.

    It is chosen by its mean on test, which favours it: a method that beats it beats the hardest of its rivals.
    """
    name = f"{metric} combined all"
    rivals = {
        key: level
        for key, system in results.systems.items()
        if system.architecture == architecture and not system.generated and (level := results.level(key, name))
    }
    most = max((len(level["values"]) for level in rivals.values()), default=0)
    means = {key: level["mean"] for key, level in rivals.items() if len(level["values"]) == most}
    return max(means, key=means.__getitem__) if means else None
