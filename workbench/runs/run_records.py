"""The record of a run, all runs as one table, and two runs compared class by class."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from workbench.configuration import flat
from workbench.errors import WorkbenchError, unknown
from workbench.file_errors import reading
from workbench.files import read_json, write_json
from workbench.paths import reports_folder, runs_folder

if TYPE_CHECKING:
    import pandas as pd

RECORD, METRICS, PER_CLASS = "run.json", "metrics.json", "per_class.parquet"
HEADLINE, NO_RECORD = "headline", "no record"
COMBINED = "exact combined all"
# Of the table of all runs; what comes after these are headline numbers. The rows are compared in Combined, percent.
ROWS = ("baseline", "best row", "DiffAugment")
COLUMNS = (
    *("run", "profile", "state", "seed", "started", "seconds", "notebooks done", "peak memory, MB", "problem"),
    *(name for row in ROWS for name in (row, f"{row}, %")),
)


class NotebookRecord(msgspec.Struct):
    """How a notebook of a run ended, or how far it is; ``error`` is what a person needs to know of a failure."""

    status: str = "waiting"
    parameters: dict[str, Any] = {}
    seconds: float | None = None
    peak_memory_mb: int | None = None
    error: str | None = None


class RunRecord(msgspec.Struct):
    """What ``run.json`` holds; the times are ISO texts in UTC, ``seconds`` the time spent so far."""

    run: str
    profile: str | None = None
    status: str = "running"
    versions: dict[str, Any] = {}
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    notebooks: dict[str, NotebookRecord] = {}

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """The record of the run whose report is in ``folder``."""
        path = folder / RECORD
        with reading(path, "the record of a run", "Run the run again, or remove the file."):
            return msgspec.json.decode(path.read_bytes(), type=cls)

    def write(self, folder: Path) -> None:
        """Write ``run.json``."""
        write_json(folder / RECORD, msgspec.to_builtins(self))


def runs_table(root: Path | None = None) -> "pd.DataFrame":
    """All runs of the project, the latest first: profile, state, seed, time, memory, and their headline numbers.

    ``started`` is a time in UTC, ``seconds`` the time spent so far; a number that a run lacks is nan. ``problem`` says
    which file could not be read.
    """
    import pandas as pd

    rows = [_row(name, reports_folder(root) / name, runs_folder(root) / name) for name in run_names(root)]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])))
    table["started"] = pd.to_datetime(table["started"], utc=True, errors="coerce", format="ISO8601")
    return table.set_index("run").sort_values("started", ascending=False, na_position="last", kind="stable")


def run_names(root: Path | None = None) -> list[str]:
    """The names of all runs that have a record or a folder of stages, sorted."""
    reported = {path.parent.name for path in reports_folder(root).glob(f"[!.]*/{RECORD}")}
    return sorted(reported | {path.name for path in runs_folder(root).glob("[!.]*") if path.is_dir()})


def _row(name: str, report: Path, artefacts: Path) -> dict[str, Any]:
    """What is known of a run; what cannot be read is a problem of its row alone."""
    record, problems = RunRecord(name, status=NO_RECORD), []
    numbers: dict[str, Any] = {}
    try:
        record = RunRecord.read(report) if (report / RECORD).is_file() else record
    except WorkbenchError as error:
        record.status = "broken"
        problems.append(str(error))
    # What a notebook has saved since the report was written is in the run's own folder.
    for path in [report / METRICS, *sorted((artefacts / "metrics").glob("[!.]*.json"))]:
        try:
            found = read_json(path) if path.is_file() else {}
            numbers |= headline_numbers(found if path.parent == report else {path.stem: found})
        except WorkbenchError as error:
            problems.append(str(error))
    entries = record.notebooks.values()
    spent = [each.seconds for each in entries if each.seconds is not None]
    return {
        "run": name, "profile": record.profile, "state": record.status, "started": record.started,
        "seed": ", ".join(dict.fromkeys(str(each.parameters["seed"]) for each in entries if "seed" in each.parameters)),
        "seconds": sum(spent) if record.seconds is None and spent else record.seconds,  # no total while it runs
        "notebooks done": f"{sum(each.status == 'done' for each in entries)} of {len(entries)}",
        "peak memory, MB": max((each.peak_memory_mb for each in entries if each.peak_memory_mb), default=None),
        "problem": "; ".join(problems), **numbers,
    }  # fmt: skip


def headline_numbers(metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the notebooks of a run put under "headline": label to value, in their order.

    Of rows that are compared with a baseline there are instead the baseline, the best one and the baseline with
    DiffAugment, each with its Combined in percent.
    """
    found: dict[str, Any] = {}
    for numbers in metrics.values() if isinstance(metrics, dict) else ():
        rows = compared_rows(numbers)
        headline = numbers.get(HEADLINE) if isinstance(numbers, dict) else None
        labels = flat(headline) if isinstance(headline, dict) else {}
        found |= {label: value for label, value in labels.items() if label.split(": ")[0] not in rows}
        if rows:
            baseline = numbers["baseline"]
            chosen = (baseline, max(rows, key=rows.__getitem__), f"{baseline} + DiffAugment")
            for kind, row in zip(ROWS, chosen, strict=True):
                found |= {kind: row, f"{kind}, %": rows[row]} if row in rows else {}
    return found


def compared_rows(numbers: dict[str, Any]) -> dict[str, float]:
    """Combined in percent (exact match) of the "variants" of a notebook, where its "baseline" is among them."""
    variants = numbers.get("variants") if isinstance(numbers, dict) else None
    rows = variants.items() if isinstance(variants, dict) else ()
    found = {name: row.get(COMBINED) for name, row in rows if isinstance(row, dict)}
    measured = {name: value for name, value in found.items() if isinstance(value, int | float)}
    baseline = numbers.get("baseline") if measured else None
    return measured if isinstance(baseline, str) and baseline in measured else {}


def compare_runs(
    before: str, after: str, *, variant: str = "", metric: str = "exact", root: Path | None = None
) -> "pd.DataFrame":
    """Accuracy of every class in an evaluation of two runs, as `results.class_changes`, largest loss first.

    ``variant`` names the evaluation in both runs; empty is the first that both have. WorkbenchError where a run has
    no such evaluation, with those that there are.
    """
    import pandas as pd

    from workbench.figures.results import class_changes

    for name in {before, after}.difference(known := run_names(root)):
        raise WorkbenchError(unknown("run", name, known))
    folders = [runs_folder(root) / name / "evaluation" for name in (before, after)]
    one, other = ([path.parent.name for path in sorted(each.glob(f"[!.]*/{PER_CLASS}"))] for each in folders)
    chosen = variant or next((name for name in one if name in other), "of equal name")
    remedy = "evaluate again: workbench run --run RUN --only 05 (with the run's --profile)"
    if not (chosen in one and chosen in other):
        found = f"{before}: {', '.join(one) or 'none'}; {after}: {', '.join(other) or 'none'}"
        told = f"no evaluation {chosen} in both runs ({found}). Choose a variant that both have, or {remedy}"
        raise WorkbenchError(told)
    tables = []
    for path in (each / chosen / PER_CLASS for each in folders):
        with reading(path, "a table of classes", f"Remove {path.parent} and {remedy}"):
            tables.append(pd.read_parquet(path))
    changes = class_changes(tables[0], tables[1], metric)
    return changes.sort_values("difference", kind="stable", ignore_index=True)
