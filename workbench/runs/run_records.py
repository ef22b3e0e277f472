"""What is known of every run, as one table, and two runs compared class by class."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.paths import reports_folder, runs_folder

if TYPE_CHECKING:
    import pandas as pd

HEADLINE = "headline"
BROKEN, NO_RECORD = "broken", "no record"
PER_CLASS_FILE = "per_class.parquet"


@dataclass(frozen=True)
class RunRecord:
    """One run, named as its folder.

    ``started`` is an ISO time, ``seconds`` the time spent so far, ``done`` of ``notebooks`` are finished,
    ``peak_memory_mb`` is that of the largest notebook, ``seeds`` are those that the notebooks were given; what is not
    known is None. ``headline``: label to value. ``problem`` says what could not be read.
    """

    name: str
    profile: str | None = None
    state: str = NO_RECORD
    started: str | None = None
    seconds: float | None = None
    done: int = 0
    notebooks: int = 0
    peak_memory_mb: int | None = None
    seeds: tuple[Any, ...] = ()
    headline: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def runs_table(root: Path | None = None) -> "pd.DataFrame":
    """All runs of the project, the latest first: profile, state, seed, time, memory, and their headline numbers.

    ``started`` is a time in UTC, ``seconds`` the time spent so far; a number that a run lacks is nan. ``problem`` says
    which file could not be read.
    """
    import pandas as pd

    records = read_runs(reports_folder(root), runs_folder(root))
    rows = [
        {
            "run": record.name, "profile": record.profile, "state": record.state,
            "seed": ", ".join(map(str, record.seeds)), "started": record.started, "seconds": record.seconds,
            "notebooks done": f"{record.done} of {record.notebooks}", "peak memory, MB": record.peak_memory_mb,
            "problem": record.problem, **record.headline,
        }
        for record in records
    ]  # fmt: skip
    table = pd.DataFrame(rows or [{"run": "", "started": None}]).iloc[: len(rows)]
    table["started"] = pd.to_datetime(table["started"], utc=True, errors="coerce", format="ISO8601")
    return table.set_index("run").sort_values("started", ascending=False, na_position="last", kind="stable")


def compare_runs(
    before: str, after: str, *, variant: str = "", metric: str = "exact", root: Path | None = None
) -> "pd.DataFrame":
    """Accuracy of every class in an evaluation of two runs, as `comparison.class_changes`, largest loss first.

    ``variant`` names the evaluation in both runs; empty is the first that both have. WorkbenchError where a run has
    no such evaluation, with those that there are.
    """
    from workbench.figures.results import class_changes

    runs = runs_folder(root)
    known = [evaluation_variants(runs, run) for run in (before, after)]
    shared = [name for name in known[0] if name in known[1]]
    chosen = variant or next(iter(shared), "")
    if chosen not in shared:
        found = "; ".join(
            f"{run}: {', '.join(names) or 'none'}" for run, names in zip((before, after), known, strict=True)
        )
        raise WorkbenchError(
            f"no evaluation {chosen or 'of equal name'} in both runs ({found}). Choose a variant that both have, or "
            "evaluate again: workbench run --run RUN --only 05 (with the run's --profile)"
        )
    old, new = (_per_class(runs / run / "evaluation" / chosen) for run in (before, after))
    changes = class_changes(old, new, metric)
    return changes.sort_values("difference", kind="stable", ignore_index=True)


def read_runs(reports: Path, runs: Path) -> list[RunRecord]:
    """Every run of ``reports/*/run.json`` and ``runs/*``, by name; one that cannot be read says so in ``problem``."""
    return [_read_run(name, reports / name, runs / name) for name in run_names(reports, runs)]


def run_names(reports: Path, runs: Path) -> list[str]:
    """The names of all runs that have a record in ``reports`` or a folder in ``runs``, sorted."""
    stored = {path.name for path in runs.glob("[!.]*") if path.is_dir()}
    return sorted(stored.union(_reported_names(reports)))


def reported_runs(reports: Path) -> list[RunRecord]:
    """Every run of ``reports/*/run.json``, as `read_runs` reads it; its artefacts are not looked at."""
    return [_read_run(name, reports / name, None) for name in sorted(_reported_names(reports))]


def evaluation_variants(runs: Path, run: str) -> list[str]:
    """The variants of a run that were evaluated per class, sorted."""
    return sorted(path.parent.name for path in (runs / run / "evaluation").glob(f"[!.]*/{PER_CLASS_FILE}"))


def headline_numbers(metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the notebooks of a run put under "headline": label to value, in their order."""
    found = [numbers.get(HEADLINE) for numbers in metrics.values()]
    return {name: value for headline in found if isinstance(headline, dict) for name, value in headline.items()}


def _per_class(folder: Path) -> "pd.DataFrame":
    import pandas as pd  # listing runs does without it

    try:
        return pd.read_parquet(folder / PER_CLASS_FILE)
    except (OSError, ValueError) as error:
        raise WorkbenchError(
            f"{folder / PER_CLASS_FILE}: cannot be read ({error}). Remove the folder {folder} and evaluate again: "
            "workbench run --run RUN --only 05 (with the run's --profile)"
        ) from error


def _reported_names(reports: Path) -> set[str]:
    return {path.parent.name for path in reports.glob("[!.]*/run.json")}


def _read_run(name: str, report: Path, artefacts: Path | None) -> RunRecord:
    facts, problems = {}, []
    if (report / "run.json").exists():
        try:
            facts = _facts(read_json(report / "run.json"), report / "run.json")
        except (WorkbenchError, OSError) as error:
            facts = {"state": BROKEN}
            problems.append(str(error))
    metrics: dict[str, dict[str, Any]] = {}
    # What a notebook has saved since the report was written is in the run's own folder.
    later = [] if artefacts is None else sorted((artefacts / "metrics").glob("[!.]*.json"))
    for path in [report / "metrics.json", *later]:
        if not path.exists():
            continue
        try:
            found = _checked(read_json(path), path, "an object")
            found = found if path.parent == report else {path.stem: found}
            metrics |= {notebook: _checked(numbers, path, "an object") for notebook, numbers in found.items()}
        except (WorkbenchError, OSError) as error:
            problems.append(str(error))
    return RunRecord(name, **facts, headline=headline_numbers(metrics), problem="; ".join(dict.fromkeys(problems)))


def _facts(record: Any, path: Path) -> dict[str, Any]:
    _checked(record, path, "an object")
    entries = _checked(record.get("notebooks"), path, "an object under 'notebooks'")
    for notebook, entry in entries.items():
        _checked(entry, path, f"an object for notebook {notebook!r}")
    seconds = _numbers(entry.get("seconds") for entry in entries.values())
    states = [entry.get("status") for entry in entries.values()]
    given = [
        _checked(entry.get("parameters") or {}, path, "an object under 'parameters'") for entry in entries.values()
    ]
    return {
        "profile": _text(record.get("profile")),
        "state": _text(record.get("status")) or BROKEN,
        "started": _text(record.get("started")),
        # A run that is going on has no total yet.
        "seconds": next(iter(_numbers([record.get("seconds")])), sum(seconds) if seconds else None),
        "done": states.count("done"),
        "notebooks": len(states),
        "peak_memory_mb": max(_numbers(entry.get("peak_memory_mb") for entry in entries.values()), default=None),
        "seeds": tuple(dict.fromkeys(str(values["seed"]) for values in given if "seed" in values)),
    }


def _checked(value: Any, path: Path, expected: str) -> Any:
    if not isinstance(value, dict):
        raise WorkbenchError(
            f"{path}: expected {expected}, found {type(value).__name__}. Run the run again, or remove the file."
        )
    return value


def _numbers(values: Iterable[Any]) -> list[Any]:
    """Those of ``values`` that can be added: neither nan nor yes or no."""
    return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and not math.isnan(v)]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
