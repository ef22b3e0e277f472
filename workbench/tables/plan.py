"""The grid of a profile: its settings checked, one task of it as a stage, its finished rows as ``tables.json``."""

import contextlib
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.configuration import configured
from workbench.errors import WorkbenchError, unknown
from workbench.files import write_json
from workbench.folders import REPLACE_VARIABLE
from workbench.identity import versions
from workbench.stages import Run, Stage
from workbench.tables.grid import STARTS, TITLES, Grid, Job, Row, Task, builder_of, config_class_of
from workbench.tables.rows import add_own_row, paper_rows

# Given to every builder that takes it, so that no row can differ in it by mistake.
EVERYWHERE = ("only_trained",)
STARTS_SETTINGS = tuple(f"sampling_{start}" for start in STARTS)
SETTINGS = ("architectures", "data", "features_run", "start", "vilhub_scale", "combined", "triplets", "diffusion",
            "sampling", *STARTS_SETTINGS, "baselines", "training", "lsvru", "reltransformer", "finetuning",
            "lsvru_finetuning", "reltransformer_finetuning", "rebalancing", "rebalancing_lws", *EVERYWHERE)  # fmt: skip


@dataclass(frozen=True)
class TablePlan:
    """The grid of a profile; features and text are shared by all seeds. ``own`` maps import paths to keys of rows."""

    profile: str
    settings: Mapping[str, Any]
    grid: Grid
    root: Path
    own: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: str, settings: Mapping[str, Any], root: Path, own: Sequence[str] = ()) -> "TablePlan":
        """The plan of a profile's section ``tables``; WorkbenchError for a name or value in it that is wrong.

        ``own`` are import paths of further rows, see `rows.add_own_row`.
        """
        _check_settings(settings, f"profile {profile!r}, tables")
        builder = paper_rows(settings)
        plan = cls(profile, settings, builder.grid, root, {path: add_own_row(builder, path) for path in own})
        for task in plan.grid.tasks.values():
            plan.config(task, seed=0)
        return plan

    def run(self, seed: int) -> Run:
        """The run that holds the stages of a seed."""
        return Run.open(f"{self.profile}-tables-seed{seed}", root=self.root)

    def data(self) -> dict[str, Stage | Path]:
        """The stages "features" and "text" that all rows start from."""
        name = self.settings.get("features_run") or self.profile
        run = Run.open(name, data=self.settings.get("data") or "", root=self.root)
        return {"features": run.features, "text": run.text}

    def build(self, seed: int, key: str) -> Stage:
        """Build one task, or load it; its inputs must be complete."""
        task, run, data = self.grid.tasks[key], self.run(seed), self.data()
        inputs: dict[str, Any] = {
            name: data[other] if other in data else run.find(*other.split("/")) for name, other in task.inputs.items()
        }
        config = self.config(task, seed)
        return run.stage(task.stage, builder_of(task), variant=task.variant, **inputs, config=config)

    def alone(self, key: str) -> "TablePlan":
        """The plan with this one task, which is all that a worker needs."""
        return replace(self, grid=Grid({key: self.grid.tasks[key]}))

    def config(self, task: Task, seed: int) -> Any:
        """The config that the task's builder is given; WorkbenchError for a field or value that it does not take."""
        place = f"profile {self.profile!r}, tables, {task.key}"
        config_class = config_class_of(task)
        shared = {"seed": seed} | {name: self.settings[name] for name in EVERYWHERE if name in self.settings}
        fields = {field.name for field in dataclasses.fields(config_class)}
        given = {name: value for name, value in shared.items() if name in fields}
        return configured(config_class, task.parameters, place, **given)


def _check_settings(settings: Mapping[str, Any], place: str) -> None:
    for name in settings:
        if name not in SETTINGS:
            raise WorkbenchError(f"{place}: {unknown('setting', name, SETTINGS)}")
    for name in ("start", "triplets", "vilhub_scale"):
        if name not in settings:
            raise WorkbenchError(f"{place}: {name!r} is missing. Give it beside the others.")
    choices = [("start", settings["start"], STARTS)]
    choices += [("architecture", name, TITLES) for name in settings.get("architectures") or []]
    for name, value, known in choices:
        if value not in known:
            raise WorkbenchError(f"{place}: {unknown(name, value, list(known))}")
    for name in ("medium_quota", "few_quota"):
        if name not in (settings["triplets"] or {}):
            raise WorkbenchError(f"{place}, triplets: {name!r} is missing. Give both quotas.")


def collect_tables(plan: TablePlan, seeds: Sequence[int], path: Path, failures: Mapping[Job, str]) -> Path:
    """Write the results of all rows into ``path`` (JSON).

    A row has its fields, and by seed "values" (test accuracy in percent by "metric role band"), "validation",
    "seconds", "failed" (reasons) or "stale": a stage behind it is complete, but not for today's settings.
    """
    stale = {seed: stale_tasks(plan, seed) for seed in seeds}
    rows = {row.key: _record(plan, row, seeds, failures, stale) for row in plan.grid.rows.values()}
    facts = {"profile": plan.profile, "seeds": list(seeds), "settings": dict(plan.settings), "versions": versions()}
    write_json(path, facts | {"rows": rows})
    return path


def stale_tasks(plan: TablePlan, seed: int) -> dict[str, str]:
    """Complete stages of a seed that the profile's settings would refuse, with the differences in words."""
    run, there, stale = plan.run(seed), {"features", "text"}, {}
    for key in plan.grid.needed_for(plan.grid.rows):
        stage, variant = key.split("/")
        # A stage is only asked for where nothing has to be built for it.
        if variant in run.variants(stage) and there.issuperset(plan.grid.tasks[key].inputs.values()):
            there.add(key)
            try:
                with contextlib.redirect_stdout(io.StringIO()), _nothing_replaced():
                    plan.build(seed, key)
            except WorkbenchError as error:
                stale[key] = str(error)
    return stale


@contextlib.contextmanager
def _nothing_replaced():
    """With the order to replace, what is loaded to compare would be built again."""
    order = os.environ.pop(REPLACE_VARIABLE, None)
    try:
        yield
    finally:
        if order is not None:
            os.environ[REPLACE_VARIABLE] = order


def _record(
    plan: TablePlan, row: Row, seeds: Sequence[int], failures: Mapping[Job, str], stale: Mapping[int, dict]
) -> dict[str, Any]:
    record: dict[str, Any] = {name: value for name, value in dataclasses.asdict(row).items() if name != "key"}
    record |= {"values": {}, "validation": {}, "seconds": {}, "failed": {}, "stale": {}}
    behind = list(plan.grid.needed_for([row.key]))
    for seed in seeds:
        run, reasons = plan.run(seed), [stale[seed][key] for key in behind if key in stale[seed]]
        if reasons:
            record["stale"][str(seed)] = reasons[0]
        elif row.key in run.variants("evaluation"):
            _add_values(record, run, row.key, str(seed))
        elif (seed, f"evaluation/{row.key}") in failures:
            record["failed"][str(seed)] = failures[seed, f"evaluation/{row.key}"]
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
