"""Results of all rows over several seeds, as ``tables.json`` holds them: read and checked, and compared by seed."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from workbench.configuration import configured
from workbench.errors import WorkbenchError
from workbench.figures.results import LOSS_TITLES
from workbench.figures.style import GROUP_COLOURS
from workbench.files import read_json
from workbench.recognition.accuracy import METRICS, SUMMARY_ROLES
from workbench.scenes.bands import BANDS
from workbench.stages import Run
from workbench.tables.grid import BASELINE, DIFFUSION, TITLES, Row

CONFIDENCE = 0.95
NOT_RUN, FAILED, STALE = "not run", "failed", "made with other settings"
VALUE_NAMES = frozenset(
    f"{metric} {role} {band}" for metric in METRICS for role in SUMMARY_ROLES for band in (*BANDS, "all")
)
REMEDY = "Run: make tables."
_STARTS = {"subject-object": "so", "random": "random"}


def interval(values: list[float]) -> dict[str, Any]:
    """Mean, half width and ends of the 95 % t-interval of independent ``values``; without width for a single one."""
    from scipy import stats

    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2:
        return {"mean": mean, "half_width": None, "low": None, "high": None, "values": values}
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * spread / math.sqrt(count)
    return {"mean": mean, "half_width": half, "low": mean - half, "high": mean + half, "values": values}


def paired_interval(later: Mapping[int, float], earlier: Mapping[int, float]) -> dict[str, Any] | None:
    """`interval` of later minus earlier over the seeds that both have, in ascending order; None where there is none."""
    shared = sorted(later.keys() & earlier.keys())
    return interval([later[seed] - earlier[seed] for seed in shared]) if shared else None


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

    def numbers(self, name: str) -> dict[int, float]:
        """The number called ``name`` ("<metric> <role> <band>", percent) of each seed that has it."""
        found = sorted((int(seed), values.get(name)) for seed, values in self.values.items())
        return {seed: value for seed, value in found if value is not None}

    @property
    def validated(self) -> list[float]:
        """Combined on validation of each seed that was tested too."""
        found = [numbers["combined"] for seed, numbers in self.validation.items() if seed in self.values]
        return [number for number in found if number is not None]


@dataclass(frozen=True)
class TableResults:
    """All rows of one profile, in the order of the file, each measured under ``seeds``."""

    profile: str
    seeds: tuple[int, ...]
    rows: dict[str, MeasuredRow]

    def summary(self) -> str:
        """What is there, in one line."""
        measured = sum(bool(row.values) for row in self.rows.values())
        profile = f"profile {self.profile}, " if self.profile else ""
        seeds = "one seed" if len(self.seeds) == 1 else f"seeds {', '.join(map(str, self.seeds))}"
        return f"{profile}{measured} of {len(self.rows)} rows measured, {seeds}"

    def gap(self, key: str) -> str:
        """Why ``key`` has no number: "not run" or what `missing` says; "" where it has one."""
        if key in self.rows and self.rows[key].values:
            return ""
        return self.missing(key) or NOT_RUN

    def missing(self, key: str) -> str:
        """Why seeds of a row have no values: "failed: ...; made with other settings: ...", "" without a reason."""
        if key not in self.rows:
            return ""
        reasons = ((FAILED, self.rows[key].failed), (STALE, self.rows[key].stale))
        return "; ".join(f"{word}: {'; '.join(dict.fromkeys(of.values()))}" for word, of in reasons if of)

    def level(self, key: str, name: str) -> dict[str, Any] | None:
        """`interval` over the seeds of a row's number, percent; None where no seed has it."""
        numbers = self.rows[key].numbers(name) if key in self.rows else {}
        return interval(list(numbers.values())) if numbers else None

    def difference(self, later: str | None, earlier: str | None, name: str) -> dict[str, Any] | None:
        """`paired_interval` of later minus earlier, percentage points; None where no seed has both."""
        if later not in self.rows or earlier not in self.rows:
            return None
        return paired_interval(self.rows[later].numbers(name), self.rows[earlier].numbers(name))

    def best_on_validation(self, rows: Iterable[MeasuredRow]) -> str | None:
        """Key of the highest mean Combined on validation among the rows with the most seeds there; None without any.

        Test, where rows are compared, chooses nothing.
        """
        validated = {row.key: row.validated for row in rows if row.validated}
        most = max(map(len, validated.values()), default=0)
        means = {key: fmean(numbers) for key, numbers in validated.items() if len(numbers) == most}
        return max(means, key=means.__getitem__) if means else None


def outside_reference(
    results: TableResults, reference: TableResults, keys: Iterable[str], names: Iterable[str]
) -> tuple[list[str], int]:
    """Numbers of ``results`` that do not lie where the reference's seeds say, a line each, and how many were compared.

    As many new seeds as ``results`` has lie on average within the 95 % interval of prediction of the reference's seeds:
    the spread of its seeds, widened by the uncertainty of its own mean.
    """
    lines, compared = [], 0
    names = list(names)
    for key, name in ((key, name) for key in keys for name in names):
        here, there = results.level(key, name), reference.level(key, name)
        if here is None or there is None or there["half_width"] is None:
            continue
        compared += 1
        allowed = there["half_width"] * math.sqrt(1 + len(there["values"]) / len(here["values"]))
        if abs(here["mean"] - there["mean"]) > allowed:
            lines.append(f"{key}, {name}: {here['mean']:.2f}, expected {there['mean']:.2f} ± {allowed:.2f}")
    return lines, compared


def read_tables(path: Path) -> TableResults:
    """The results in ``path``; WorkbenchError with file and key where it is missing or damaged."""
    return checked_results(read_json(path), str(path))


def checked_results(record: Any, place: str) -> TableResults:
    """The results in the decoded ``record``; ``place`` names it in errors."""
    try:
        file = configured(_File, {name: record.get(name) for name in ("profile", "seeds", "rows")}, place)
        rows = {key: _row(key, entry, list(file.seeds), f"{place}: rows.{key}") for key, entry in file.rows.items()}
    except AttributeError:
        raise WorkbenchError(f"{place}: expected an object with rows, got {record!r:.60}. {REMEDY}") from None
    except WorkbenchError as error:
        raise WorkbenchError(f"{error} {REMEDY}") from error
    return TableResults(file.profile, file.seeds, rows)


@dataclass(frozen=True)
class _File:
    profile: str
    seeds: tuple[int, ...]
    rows: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise WorkbenchError(f"seeds {self.seeds}; expected different integers, at least one.")
        if not self.rows:
            raise WorkbenchError("rows is empty; expected one or more.")


def _row(key: str, entry: Any, seeds: list[int], place: str) -> MeasuredRow:
    if not isinstance(entry, Mapping):
        raise WorkbenchError(f"{place}: expected an object, got {entry!r:.60}.")
    row = configured(MeasuredRow, {**entry, "key": key}, place)
    for name, value, allowed in (("group", row.group, GROUP_COLOURS), ("source", row.source, (DIFFUSION, BASELINE))):
        if value is not None and value not in allowed:
            raise WorkbenchError(f"{place}.{name}: {value!r}; expected one of {', '.join(allowed)}.")
    for name in ("values", "validation", "seconds", "failed", "stale"):
        if unknown := getattr(row, name).keys() - set(map(str, seeds)):
            raise WorkbenchError(f"{place}.{name}: seed {min(unknown)!r} is not among the seeds {seeds}.")
    if both := sorted(row.values.keys() & row.stale.keys()):
        raise WorkbenchError(f"{place}.stale: seeds {both} have values too; expected none.")
    for seed, numbers in row.values.items():
        _require_percent(numbers, VALUE_NAMES, f"{place}.values.{seed}")
    for seed, numbers in row.validation.items():
        if "combined" not in numbers:
            raise WorkbenchError(f"{place}.validation.{seed}: 'combined' is missing.")
        accuracies = {name: value for name, value in numbers.items() if name != "loss"}
        _require_percent(accuracies, accuracies, f"{place}.validation.{seed}")
    return row


def _require_percent(numbers: Mapping[str, float | None], known: Iterable[str], place: str) -> None:
    for name, value in numbers.items():
        if name not in known:
            raise WorkbenchError(f"{place}: unknown value {name!r}; expected '<metric> <role> <band>'.")
        if value is not None and not 0 <= value <= 100:
            raise WorkbenchError(f"{place}.{name}: {value!r}; expected percent from 0 to 100, or null.")


def of_run(run: Run, seed: int) -> TableResults:
    """One run's recognisers as results of one seed, from what notebook 05 saved; without validation numbers.

    Where sampling began, whether the diffusion model knew hardness, and whether easy rows came first say which of the
    paper's rows the fine-tuned recogniser is.
    """
    parameters = run.find("generated").parameters
    started = _recorded(parameters, "init") or _recorded(parameters, "generator")
    return of_variants(
        run.metrics()["05_finetune_and_evaluate"], started, seed,
        hardness=_recorded(run.find("diffusion").parameters, "hardness"),
        curriculum=_recorded(run.find("recogniser", "diffaugment").parameters, "curriculum") not in (None, "none"),
    )  # fmt: skip


def _recorded(parameters: Mapping[str, Any], name: str) -> Any:
    return parameters.get("config", parameters).get(name)


def of_variants(
    metrics: Mapping[str, Any], start: str, seed: int, *, hardness: bool = True, curriculum: bool = False
) -> TableResults:
    """The variants that notebook 05 measured, under the keys of the rows that they are."""
    place, again = "metrics of 05_finetune_and_evaluate", "Run notebook 05 again."
    for name in ("baseline", "variants"):
        if name not in metrics:
            raise WorkbenchError(f"{place}: {name!r} is missing. {again}")
    baseline, variants, architecture = metrics["baseline"], metrics["variants"], metrics.get("architecture", "lsvru")
    if baseline not in variants:
        raise WorkbenchError(f"{place}: no variant {baseline!r}; there are {sorted(variants)}. {again}")
    if architecture not in TITLES:
        raise WorkbenchError(f"{place}: architecture {architecture!r}; expected one of {', '.join(TITLES)}. {again}")
    parts = (_STARTS.get(start) or _slug(start), "" if hardness else "plain", "curriculum" if curriculum else "")
    enhancements = "_".join(filter(None, parts))
    keys = {title: f"{architecture}_{_variant(title, baseline, enhancements)}" for title in variants}
    rows = {
        keys[title]: {
            "title": f"{TITLES[architecture]}, {title}", "architecture": TITLES[architecture], "training": title,
            "group": _group_of_variant(title), "generated": "DiffAugment" in title,
            "source": DIFFUSION if "DiffAugment" in title else None,
            "compared_with": None if title == baseline else keys[baseline], "values": {str(seed): values},
        }
        for title, values in variants.items()
    }  # fmt: skip
    return checked_results({"profile": "", "seeds": [seed], "rows": rows}, place)


def _variant(title: str, baseline: str, enhancements: str) -> str:
    """A row's key without its architecture, for example "ce_so" or "ce_vilhub_relmix"."""
    losses = {loss_title: loss for loss, loss_title in LOSS_TITLES.items()}
    method = f"{baseline} + DiffAugment"
    if not title.startswith(method):
        return losses.get(title) or _slug(title)
    rest = _slug(title.removeprefix(method))
    return "_".join(filter(None, (losses.get(baseline) or _slug(baseline), enhancements, rest)))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _group_of_variant(title: str) -> str:
    if "real replay" in title:
        return "kept head"
    if title in (LOSS_TITLES["ce"], LOSS_TITLES["wce"]) or "DiffAugment" in title:
        return "paper"
    adjusted = title == LOSS_TITLES["logit_adjusted"] or title.endswith("logits adjusted afterwards")
    return "logit adjustment" if adjusted else "loss"
