"""Results of all rows over several seeds, as ``tables.json`` holds them: read, compared by seed, and judged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from workbench.configuration import configured
from workbench.errors import WorkbenchError
from workbench.figures.style import GROUP_COLOURS
from workbench.files import read_json
from workbench.recognition.accuracy import METRICS, SUMMARY_ROLES
from workbench.scenes.bands import BANDS
from workbench.tables.rows import DIFFUSION, Row

CONFIDENCE = 0.95
COMBINED = "combined all"
VALUE_NAMES = frozenset(
    f"{metric} {role} {band}" for metric in METRICS for role in SUMMARY_ROLES for band in (*BANDS, "all")
)
NOT_RUN, FAILED, STALE = "not run", "failed", "made with other settings"
UNDECIDED, ONE_SEED = "undecided", "one seed, no interval"
REACHED, NOT_REACHED, NOT_KNOWN = "reached", "not reached", "not known"
NOT_VALIDATED = f"{NOT_KNOWN}: no validation numbers"
# Losses that re-balance by themselves; the group "combined" does it in other ways too.
BALANCED_TRAININGS = ("wce", "logit_adjusted")
# What a method may cost the frequent classes for its gain in Combined to count.
MOST_LOST_ON_MANY_POINTS = 3.0


def interval(values: list[float]) -> dict[str, Any]:
    """Mean, half width and ends of the 95 % t-interval of independent ``values``; without width for a single one."""
    from scipy import stats

    mean = fmean(values)
    if len(values) < 2:
        return {"mean": mean, "half_width": None, "low": None, "high": None, "values": values}
    half = float(stats.sem(values) * stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
    return {"mean": mean, "half_width": half, "low": mean - half, "high": mean + half, "values": values}


@dataclass(frozen=True)
class MeasuredRow(Row):
    """A row with its results, by seed as text: percent on test by name of `VALUE_NAMES`, or why there are none.

    ``validation`` holds Combined on the validation split (exact match, percent) and whatever else was measured there;
    ``failed`` and ``stale`` (made with other settings) hold reasons.
    """

    values: dict[str, dict[str, float | None]] = field(default_factory=dict)
    validation: dict[str, dict[str, float | None]] = field(default_factory=dict)
    seconds: dict[str, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.group not in GROUP_COLOURS:
            raise WorkbenchError(f"group: {self.group!r}; expected one of {', '.join(GROUP_COLOURS)}.")
        for seed, numbers in self.values.items():
            for name, value in numbers.items():
                if name not in VALUE_NAMES or not 0 <= (value or 0) <= 100:
                    said = f"values.{seed}.{name}: {value!r}"
                    raise WorkbenchError(f"{said}; expected '<metric> <role> <band>', percent.")


@dataclass(frozen=True)
class TableResults:
    """All rows of one profile, in the order of the file, each measured under ``seeds``."""

    profile: str
    seeds: tuple[int, ...]
    rows: dict[str, MeasuredRow]

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise WorkbenchError(f"seeds {self.seeds}; expected different integers, at least one.")
        if not self.rows:
            raise WorkbenchError("rows is empty; expected one or more.")
        for key, row in self.rows.items():
            for name in ("values", "validation", "seconds", "failed", "stale"):
                if unknown := getattr(row, name).keys() - set(map(str, self.seeds)):
                    said = f"rows.{key}.{name}: seed {min(unknown)!r}"
                    raise WorkbenchError(f"{said} is not among the seeds {self.seeds}.")

    @property
    def architectures(self) -> list[str]:
        """The recognisers of the rows."""
        return list(dict.fromkeys(row.architecture for row in self.rows.values()))

    def summary(self) -> str:
        """What is there, in one line."""
        measured = sum(bool(row.values) for row in self.rows.values())
        seeds = "one seed" if len(self.seeds) == 1 else f"seeds {', '.join(map(str, self.seeds))}"
        if not self.profile:
            return f"the {measured} rows that this run trained, {seeds}"
        return f"profile {self.profile}, {measured} of {len(self.rows)} rows measured, {seeds}"

    def gap(self, key: str) -> str:
        """Why ``key`` has no number: "not run" or what `missing` says; "" where it has one."""
        if key in self.rows and self.rows[key].values:
            return ""
        return self.missing(key) or NOT_RUN

    def first_gap(self, keys: Iterable[str]) -> str:
        """The `gap` of several rows, a reason before what was not run; "" where all have numbers."""
        return min(filter(None, map(self.gap, keys)), default="")  # in alphabetical order reasons come first

    def missing(self, key: str) -> str:
        """Why seeds of a row have no values: "failed: ...; made with other settings: ...", "" without a reason."""
        if key not in self.rows:
            return ""
        reasons = ((FAILED, self.rows[key].failed), (STALE, self.rows[key].stale))
        return "; ".join(f"{word}: {'; '.join(dict.fromkeys(of.values()))}" for word, of in reasons if of)

    def numbers(self, key: str | None, name: str) -> dict[int, float]:
        """The number ``name`` ("<metric> <role> <band>", percent) of each seed of a row that has it, in order."""
        values = self.rows[key].values if key in self.rows else {}
        found = sorted((int(seed), numbers.get(name)) for seed, numbers in values.items())
        return {seed: value for seed, value in found if value is not None}

    def level(self, key: str, name: str) -> dict[str, Any] | None:
        """`interval` over the seeds of a row's number, percent; None where no seed has it."""
        numbers = self.numbers(key, name)
        return interval(list(numbers.values())) if numbers else None

    def difference(self, later: str | None, earlier: str | None, name: str) -> dict[str, Any] | None:
        """`interval` of later minus earlier over the seeds that both have, percentage points; None without any."""
        one, other = self.numbers(later, name), self.numbers(earlier, name)
        shared = sorted(one.keys() & other.keys())
        return interval([one[seed] - other[seed] for seed in shared]) if shared else None


def read_tables(path: Path) -> TableResults:
    """The results in ``path``; WorkbenchError with file and key where it is missing or damaged."""
    return checked_results(read_json(path), str(path))


def checked_results(record: Any, place: str) -> TableResults:
    """The results in the decoded ``record``; ``place`` names it in errors."""
    record = record if isinstance(record, Mapping) else {}
    given = {name: record.get(name) for name in ("profile", "seeds", "rows")}
    if isinstance(given["rows"], Mapping):
        given["rows"] = {
            key: {**row, "key": key} if isinstance(row, Mapping) else row for key, row in given["rows"].items()
        }
    try:
        return configured(TableResults, given, place)
    except WorkbenchError as error:
        raise WorkbenchError(f"{error} Run: make tables.") from error


def outside_reference(
    results: TableResults, reference: TableResults, keys: Iterable[str], names: Iterable[str]
) -> tuple[list[str], int]:
    """Numbers of ``results`` that do not lie where the reference's seeds say, a line each, and how many were compared.

    As many new seeds as ``results`` has lie on average within the 95 % interval of prediction of the reference's seeds:
    the spread of its seeds, widened by the uncertainty of its own mean.
    """
    lines, compared, names = [], 0, list(names)
    for key, name in ((key, name) for key in keys for name in names):
        here, there = results.level(key, name), reference.level(key, name)
        if here is None or there is None or there["half_width"] is None:
            continue
        compared += 1
        allowed = there["half_width"] * sqrt(1 + len(there["values"]) / len(here["values"]))
        if abs(here["mean"] - there["mean"]) > allowed:
            lines.append(f"{key}, {name}: {here['mean']:.2f}, expected {there['mean']:.2f} ± {allowed:.2f}")
    return lines, compared


def best_without_generated(results: TableResults, architecture: str) -> tuple[str | None, str]:
    """The architecture's row without generated features that a generator has to beat, see `best_on_validation`."""
    rows = results.rows.values()
    return best_on_validation(results, [row for row in rows if row.architecture == architecture and not row.generated])


def best_on_validation(results: TableResults, rows: Iterable[MeasuredRow]) -> tuple[str | None, str]:
    """Key and short title of the highest mean Combined on validation among the rows with the most seeds there.

    Test, where rows are compared, chooses nothing; only seeds that were tested count. None and why without any.
    """
    validated: dict[str, list[float]] = {}
    for row in rows:
        found = [row.validation[seed].get("combined") for seed in row.validation.keys() & row.values.keys()]
        validated[row.key] = [number for number in found if number is not None]
    most = max(map(len, validated.values()), default=0)
    if not most:
        gaps = [results.gap(key) for key in validated]
        return None, NOT_VALIDATED if "" in gaps else results.first_gap(validated) or NOT_RUN
    best = max((key for key, own in validated.items() if len(own) == most), key=lambda key: fmean(validated[key]))
    return best, results.rows[best].short_title


def aim(results: TableResults, metric: str) -> list[dict[str, Any]]:
    """Whether DiffAugment with a re-balancing loss beats what needs no generated feature, one record an architecture.

    Keys: architecture; without and with (titles of the two rows, each the best on validation, or why there is none);
    combined and many (the change on test from the first to the second, `interval` or None); verdict (`aim_verdict`).
    """
    records = []
    for architecture in results.architectures:
        joined = [
            row for row in results.rows.values()
            if row.architecture == architecture and row.source == DIFFUSION
            and (row.group == "combined" or row.training in BALANCED_TRAININGS)
        ]  # fmt: skip
        earlier, without = best_without_generated(results, architecture)
        later, with_it = best_on_validation(results, joined)
        combined, many = (results.difference(later, earlier, f"{metric} combined {band}") for band in ("all", "many"))
        records.append({
            "architecture": architecture, "without": without, "with": with_it,
            "combined": combined, "many": many, "verdict": aim_verdict(combined, many),
        })  # fmt: skip
    return records


def aim_verdict(combined: dict[str, Any] | None, many: dict[str, Any] | None) -> str:
    """Whether Combined rises at a loss of at most 3 points on many; both are `interval`s, None where missing.

    "reached": the interval of Combined lies wholly above 0 and the mean change on many is -3 or more; "not reached":
    it lies wholly below 0, or many loses more; "undecided": it contains 0. One seed has no interval and no verdict.
    """
    if combined is None:
        return NOT_KNOWN
    if combined["half_width"] is None:
        return ONE_SEED
    if combined["high"] < 0 or (many and many["mean"] < -MOST_LOST_ON_MANY_POINTS):
        return NOT_REACHED
    if many is None:
        return NOT_KNOWN
    return REACHED if combined["low"] > 0 else UNDECIDED
