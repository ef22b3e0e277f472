"""The paper's tables with our results beside them, Table 1 extended by all our systems, and what is aimed at."""

from collections.abc import Iterable
from statistics import fmean
from typing import Any

import pandas as pd

from workbench.figures.style import GROUP_COLOURS
from workbench.scenes.bands import BANDS
from workbench.tables.claims import ONE_SEED, UNDECIDED
from workbench.tables.paper import TABLES, PaperRow, PaperTable
from workbench.tables.results import DIFFUSION, NOT_RUN, System, TableResults

EXTENDED_COLUMNS = tuple(
    f"{role} {band}" for role in ("combined", "subject/object", "relation") for band in (*BANDS, "all")
)
_DIFFERENCES = ("paper_difference", "difference", "half_width")
CHANGES = ("baseline", "best")
REACHED, NOT_REACHED, NOT_KNOWN = "reached", "not reached", "not known"
NOT_VALIDATED = f"{NOT_KNOWN}: no validation numbers"
# Losses that re-balance by themselves; the group "combined" does it in other ways too.
BALANCED_TRAININGS = ("wce", "logit_adjusted")
# What a method may cost the frequent classes for its gain in Combined to count.
MOST_LOST_ON_MANY_POINTS = 3.0


def reproduced_table(number: int, results: TableResults, metric: str) -> pd.DataFrame:
    """Table ``number`` as one record for each printed row and column, percent and percentage points.

    ``metric`` is exact or synset. Columns: row (position in the table), architecture, name, system, compared_with,
    column; paper, here (mean over ``seeds`` seeds), gap and missing (why the row, or some of its seeds, have no values:
    `TableResults.gap`, `TableResults.missing`); and for the change against the row compared with: paper_difference,
    difference (mean of the paired ones of ``pairs`` seeds) and half_width of its 95 % t-interval (missing for a single
    seed).
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
        "missing": results.missing(row.system),
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

    Columns: key, architecture, group, title, generated, seeds, gap, missing, the names of `EXTENDED_COLUMNS`, and for
    each of `CHANGES` (against the system's baseline, against `best_without_generated`) ``<change>`` (the other system's
    title, why there is none, or "" for the best itself), ``<change>_difference`` in percentage points,
    ``<change>_half_width`` of its 95 % t-interval and ``<change>_pairs``, the seeds that both have.
    """
    groups = list(GROUP_COLOURS)
    architectures = _architectures(results)
    ordered = sorted(
        results.systems.values(), key=lambda s: (architectures.index(s.architecture), groups.index(s.group))
    )
    changes = [f"{change}_{name}" for change in CHANGES for name in ("difference", "half_width")]
    rows = [_extended_row(system, results, metric) for system in ordered]
    return pd.DataFrame(rows).astype(dict.fromkeys((*EXTENDED_COLUMNS, *changes), float))


def _extended_row(system: System, results: TableResults, metric: str) -> dict[str, Any]:
    levels = {column: results.level(system.key, f"{metric} {column}") for column in EXTENDED_COLUMNS}
    best = best_without_generated(results, system.architecture)
    row = {name: getattr(system, name) for name in ("key", "architecture", "group", "title", "generated")}
    row |= {"seeds": len(system.values), "gap": results.gap(system.key), "missing": results.missing(system.key)}
    row |= {column: level and level["mean"] for column, level in levels.items()}
    for change, other in zip(CHANGES, (system.baseline, best), strict=True):
        other = None if other == system.key else other
        difference = results.difference(system.key, other, f"{metric} combined all") if other else None
        row[change] = results.systems[other].title if other in results.systems else other or ""
        row |= _change(difference, f"{change}_difference", f"{change}_")
    if best is None:
        row["best"] = _why_none(results, _without_generated(results, system.architecture))
    return row


def _architectures(results: TableResults) -> list[str]:
    return list(dict.fromkeys(system.architecture for system in results.systems.values()))


def best_without_generated(results: TableResults, architecture: str) -> str | None:
    """Key of the architecture's best system without generated features, the rival that a generator has to beat.

    Best is the highest mean Combined on validation among the systems with the most seeds there, so that test, where it
    is compared, chooses nothing. None where no such system has validation numbers.
    """
    return _best_on_validation(_without_generated(results, architecture))


def best_with_diffaugment(results: TableResults, architecture: str) -> str | None:
    """Key of the architecture's best system that joins DiffAugment and re-balancing: group "combined", or such a loss.

    The best is chosen as in `best_without_generated`.
    """
    return _best_on_validation(_with_diffaugment(results, architecture))


def _without_generated(results: TableResults, architecture: str) -> list[System]:
    return [s for s in results.systems.values() if s.architecture == architecture and not s.generated]


def _with_diffaugment(results: TableResults, architecture: str) -> list[System]:
    made = [s for s in results.systems.values() if s.architecture == architecture and s.generated]
    balanced = [system for system in made if system.group == "combined" or system.training in BALANCED_TRAININGS]
    return [system for system in balanced if system.source == DIFFUSION]


def _best_on_validation(systems: Iterable[System]) -> str | None:
    validated = [system for system in systems if system.validation]
    most = max((len(system.validation) for system in validated), default=0)
    means = {s.key: fmean(s.validation.values()) for s in validated if len(s.validation) == most}
    return max(means, key=means.__getitem__) if means else None


def _why_none(results: TableResults, systems: Iterable[System]) -> str:
    """Why none of ``systems`` is known as the best."""
    gaps = [results.gap(system.key) for system in systems]
    # In alphabetical order reasons come before what was not run.
    return NOT_VALIDATED if "" in gaps else min(gaps, default=NOT_RUN)


def aim(results: TableResults, metric: str) -> pd.DataFrame:
    """Whether DiffAugment with a re-balancing loss beats what needs no generated feature, one record an architecture.

    Columns: architecture; without and with (the titles of `best_without_generated` and `best_with_diffaugment`, or why
    there is none); the change on test from the first to the second, percentage points paired by seed, in Combined
    (difference, half_width of its 95 % t-interval, pairs) and in its band many (many_difference, many_half_width,
    many_pairs); verdict (`aim_verdict`).
    """
    records = [_aim_of(architecture, results, metric) for architecture in _architectures(results)]
    numbers = ("difference", "half_width", "many_difference", "many_half_width")
    return pd.DataFrame(records).astype(dict.fromkeys(numbers, float))


def _aim_of(architecture: str, results: TableResults, metric: str) -> dict[str, Any]:
    without, chosen = best_without_generated(results, architecture), best_with_diffaugment(results, architecture)
    titles = {
        "without": _title_or_why(results, without, _without_generated(results, architecture)),
        "with": _title_or_why(results, chosen, _with_diffaugment(results, architecture)),
    }
    combined, many = (
        results.difference(chosen, without, f"{metric} combined {band}") if chosen and without else None
        for band in ("all", "many")
    )
    changes = _change(combined, "difference") | _change(many, "many_difference", "many_")
    return {"architecture": architecture, **titles, **changes, "verdict": aim_verdict(combined, many)}


def _title_or_why(results: TableResults, key: str | None, systems: Iterable[System]) -> str:
    return results.systems[key].title if key else _why_none(results, systems)


def aim_verdict(combined: dict[str, Any] | None, many: dict[str, Any] | None) -> str:
    """Whether Combined rises at a loss of at most 3 points on many; both are `paired_interval`s, None where missing.

    "reached": the interval of Combined lies wholly above 0 and the mean change on many is -3 or more; "not reached":
    it lies wholly below 0, or many loses more; "undecided": it contains 0. One seed has no interval and no verdict.
    """
    if combined is None:
        return NOT_KNOWN
    if combined["half_width"] is None:
        return ONE_SEED
    if combined["high"] < 0:
        return NOT_REACHED
    if many is None:
        return NOT_KNOWN
    if many["mean"] < -MOST_LOST_ON_MANY_POINTS:
        return NOT_REACHED
    return REACHED if combined["low"] > 0 else UNDECIDED
