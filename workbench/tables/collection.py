"""The results of a grid in one file, ``tables.json``: finished rows, and for each gap its reason."""

import contextlib
import io
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json
from workbench.folders import REPLACE_VARIABLE
from workbench.identity import versions
from workbench.stages import Run
from workbench.tables.engine import Job
from workbench.tables.grid import System
from workbench.tables.plan import TablePlan

FAILURES_FILE = "failures.json"
SYSTEM_FIELDS = ("title", "architecture", "training", "group", "generated", "baseline", "curve", "source")


def collect_tables(plan: TablePlan, seeds: Sequence[int], path: Path, failures: Mapping[Job, str]) -> Path:
    """Write the results of all rows into ``path`` (JSON).

    A system has its fields, and by seed "values" (test accuracy in percent by "metric role band"), "validation",
    "seconds", "failed" (reasons) or "stale": a stage behind it is complete, but not for today's settings.
    """
    stale = {seed: stale_tasks(plan, seed) for seed in seeds}
    systems = {system.key: _record(plan, system, seeds, failures, stale) for system in plan.grid.systems.values()}
    facts = {"profile": plan.profile, "seeds": list(seeds), "settings": dict(plan.settings), "versions": versions()}
    write_json(path, facts | {"systems": systems})
    return path


def stale_tasks(plan: TablePlan, seed: int) -> dict[str, str]:
    """Complete stages of a seed that the profile's settings would refuse, with the differences in words."""
    run, there, stale = plan.run(seed), {"features", "text"}, {}
    for key in plan.grid.needed_for(list(plan.grid.systems)):
        stage, variant = key.split("/")
        # A stage is only asked for where nothing has to be built for it.
        if variant in run.variants(stage) and there.issuperset(plan.grid.tasks[key].inputs.values()):
            there.add(key)
            try:
                with contextlib.redirect_stdout(io.StringIO()), _nothing_replaced():
                    plan.build(seed, key)
            except WorkbenchError as error:
                stale[key] = f"made with other settings: {error}"
    return stale


@contextlib.contextmanager
def _nothing_replaced():
    """With the order to replace, what is loaded to compare would be built anew."""
    order = os.environ.pop(REPLACE_VARIABLE, None)
    try:
        yield
    finally:
        if order is not None:
            os.environ[REPLACE_VARIABLE] = order


def missing_rows(plan: TablePlan, seeds: Sequence[int], systems: Sequence[str], path: Path) -> dict[Job, str]:
    """The rows among ``systems`` that a written ``tables.json`` has no values for, by (seed, task), with the reason."""
    records, missing = read_json(path)["systems"], {}
    for seed in seeds:
        for key in systems:
            record = records[key]
            if str(seed) not in record["values"]:
                reason = record["failed"].get(str(seed)) or record["stale"].get(str(seed)) or (
                    f"missing. Run: workbench tables --profile {plan.profile} --seeds {seed} --only {key}"
                )  # fmt: skip
                missing[seed, f"evaluation/{key}"] = reason
    return missing


def keep_failures(folder: Path, failures: Mapping[Job, str], asked: Collection[Job]) -> dict[Job, str]:
    """Store the failures of the jobs that were asked for beside those of others; returns all that are known."""
    path = folder / FAILURES_FILE
    known = stored_failures(folder)
    known = {job: reason for job, reason in known.items() if job not in asked} | dict(failures)
    write_json(path, [{"seed": seed, "task": key, "reason": reason} for (seed, key), reason in known.items()])
    return known


def stored_failures(folder: Path) -> dict[Job, str]:
    """The failures that earlier calls left in ``folder``."""
    path = folder / FAILURES_FILE
    return {(each["seed"], each["task"]): each["reason"] for each in read_json(path)} if path.is_file() else {}


def _record(
    plan: TablePlan, system: System, seeds: Sequence[int], failures: Mapping[Job, str], stale: Mapping[int, dict]
) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(system, name) for name in SYSTEM_FIELDS}
    record |= {"values": {}, "validation": {}, "seconds": {}, "failed": {}, "stale": {}}
    behind = list(plan.grid.needed_for([system.key]))
    for seed in seeds:
        run, reasons = plan.run(seed), [stale[seed][key] for key in behind if key in stale[seed]]
        if reasons:
            record["stale"][str(seed)] = reasons[0]
        elif system.key in run.variants("evaluation"):
            _add_values(record, run, system.key, str(seed))
        elif (seed, f"evaluation/{system.key}") in failures:
            record["failed"][str(seed)] = failures[seed, f"evaluation/{system.key}"]
    return record


def _add_values(record: dict[str, Any], run: Run, key: str, seed: str) -> None:
    summary = pd.read_parquet(run.find("evaluation", key) / "summary.parquet")
    record["values"][seed] = {
        f"{row.metric} {row.role} {row.band}": None if pd.isna(row.accuracy) else float(row.accuracy)
        for row in summary.itertuples()
    }
    metrics = run.find("recogniser", key).metrics
    record["validation"][seed] = {
        name.removeprefix("validation_"): value
        for name, value in metrics.items()
        if name.startswith("validation_") and not name.startswith("validation_before_")
    }
    record["seconds"][seed] = metrics.get("seconds")
