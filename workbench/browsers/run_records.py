"""What is known of every run: its record, its parameters, its numbers, its evaluations."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.runs.report_tables import headline_numbers

if TYPE_CHECKING:
    import pandas as pd

BROKEN, NO_RECORD = "broken", "no record"
PER_CLASS_FILE = "per_class.parquet"
# The tables of an evaluation, with the columns that a comparison needs.
_TABLES = {
    PER_CLASS_FILE: ("role", "class", "name", "band", "n_train", "n_test", "accuracy_exact"),
    "summary.parquet": ("metric", "role", "band", "accuracy", "n_classes"),
}


@dataclass(frozen=True)
class RunRecord:
    """One run, named as its folder.

    ``started`` is an ISO time, ``seconds`` the time spent so far, ``done`` of ``notebooks`` are finished,
    ``peak_memory_mb`` is that of the largest notebook; what is not known is None. ``parameters``: notebook to name to
    value. ``headline`` and ``numbers`` (all others that stand alone): label to value. ``problem`` says what could not
    be read.
    """

    name: str
    profile: str | None = None
    state: str = NO_RECORD
    started: str | None = None
    seconds: float | None = None
    done: int = 0
    notebooks: int = 0
    peak_memory_mb: int | None = None
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    headline: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    def number(self, label: str) -> Any:
        """A headline number, or another one, by its label; None where the run has none."""
        return self.headline.get(label, self.numbers.get(label))

    def values_of(self, parameter: str) -> list[Any]:
        """The distinct values that the notebooks were given for ``parameter``."""
        found = [values[parameter] for values in self.parameters.values() if parameter in values]
        return [value for place, value in enumerate(found) if value not in found[:place]]


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


def read_evaluation(runs: Path, run: str, variant: str) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """The tables per class and summary of an evaluation (`workbench.recognition.accuracy`)."""
    import pandas as pd  # listing runs does without it

    folder = runs / run / "evaluation" / variant
    tables = []
    for name, columns in _TABLES.items():
        try:
            table = pd.read_parquet(folder / name)
            missing = [column for column in columns if column not in table]
        except (OSError, ValueError) as error:
            table, missing = None, [str(error)]
        if missing:
            raise WorkbenchError(
                f"{folder / name}: cannot be used; missing: {', '.join(missing)}. Remove the folder {folder} and "
                f"evaluate again: workbench run --run {run} --only 05 (with the run's --profile)"
            )
        tables.append(table)
    return tables[0], tables[1]


def is_number(value: Any) -> bool:
    """Whether a value can be ordered and subtracted; nan and yes or no cannot."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


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
    later = [] if artefacts is None else sorted((artefacts / "metrics").glob("[!.]*.json"))
    for path in [report / "metrics.json", *later]:
        if not path.exists():
            continue
        try:
            found = _checked(read_json(path), path, dict, "an object")
            found = found if path.parent == report else {path.stem: found}
            metrics |= {notebook: _checked(numbers, path, dict, "an object") for notebook, numbers in found.items()}
        except (WorkbenchError, OSError) as error:
            problems.append(str(error))
    numbers = dict(_lone_numbers(metrics))
    return RunRecord(
        name, **facts, headline=headline_numbers(metrics), numbers=numbers, problem="; ".join(dict.fromkeys(problems))
    )


def _facts(record: Any, path: Path) -> dict[str, Any]:
    _checked(record, path, dict, "an object")
    entries = _checked(record.get("notebooks"), path, dict, "an object under 'notebooks'")
    for notebook, entry in entries.items():
        _checked(entry, path, dict, f"an object for notebook {notebook!r}")
    seconds = [entry["seconds"] for entry in entries.values() if is_number(entry.get("seconds"))]
    memory = [entry["peak_memory_mb"] for entry in entries.values() if is_number(entry.get("peak_memory_mb"))]
    states = [entry.get("status") for entry in entries.values()]
    parameters = {notebook: entry.get("parameters") or {} for notebook, entry in entries.items()}
    return {
        "profile": _text(record.get("profile")),
        "state": _text(record.get("status")) or BROKEN,
        "started": _text(record.get("started")),
        # A run that is going on has no total yet.
        "seconds": record["seconds"] if is_number(record.get("seconds")) else sum(seconds) if seconds else None,
        "done": states.count("done"),
        "notebooks": len(states),
        "peak_memory_mb": max(memory, default=None),
        "parameters": {
            notebook: _checked(values, path, dict, f"an object under 'parameters' of {notebook!r}")
            for notebook, values in parameters.items()
        },
    }


def _checked(value: Any, path: Path, kind: type, expected: str) -> Any:
    if not isinstance(value, kind):
        raise WorkbenchError(
            f"{path}: expected {expected}, found {type(value).__name__}. Run the run again, or remove the file."
        )
    return value


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _lone_numbers(metrics: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for notebook, numbers in metrics.items():
        for name, value in numbers.items():
            if is_number(value):
                yield f"{notebook}: {name}", value
