"""A profile's grid as stages, and finished stages as the rows of ``tables.json``."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.configuration import checked_value, configured
from workbench.errors import Damaged, WorkbenchError, unknown
from workbench.files import write_json
from workbench.folders import Replace
from workbench.identity import versions
from workbench.recognition.accuracy import named_numbers
from workbench.stages import Run, Stage
from workbench.tables.paper import TABLES
from workbench.tables.results import MeasuredRow, TableResults, checked_results
from workbench.tables.rows import DIFFUSION, ROWS, STARTS, TITLES, Grid, Job, Task, add_own_row, all_rows


@dataclass(frozen=True)
class TablePlan:
    """The grid of a profile; features and text are shared by all seeds. ``own`` maps import paths to keys of rows."""

    profile: str
    grid: Grid
    root: Path
    own: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: str, settings: Mapping[str, Any], root: Path, own: Sequence[str] = ()) -> "TablePlan":
        """The plan of a profile's section ``tables``; WorkbenchError for a name or value in it that is wrong.

        ``own`` are import paths of further rows, see `rows.add_own_row`.
        """
        _check_settings(settings, f"profile {profile!r}, tables")
        grid = all_rows(settings)
        plan = cls(profile, grid, root, {path: add_own_row(grid, path) for path in own})
        for task in plan.grid.tasks.values():
            plan.config(task, seed=0)
        return plan

    def run(self, seed: int) -> Run:
        """The run that holds the stages of a seed."""
        return Run.open(f"{self.profile}-tables-seed{seed}", root=self.root)

    def source(self) -> Run:
        """The run whose features and text all rows start from, or that reads imported ones."""
        name, data = (self.grid.settings.get(setting) or "" for setting in ("features_run", "data"))
        return Run.asked(name or self.profile, data, root=self.root)

    def data(self) -> dict[str, Stage | Path]:
        """The stages "features" and "text" that all rows start from."""
        source = self.source()
        run = Run.open(source.name, source.data, root=self.root)
        return {"features": run.features, "text": run.text}

    def build(self, seed: int, key: str, replace: bool | Replace = False) -> Stage:
        """Build one task, or load it, as `Run.stage` does; its inputs must be complete."""
        task, run, data = self.grid.tasks[key], self.run(seed), self.data()
        inputs: dict[str, Any] = {
            name: data[other] if other in data else run.find(*other.split("/")) for name, other in task.inputs.items()
        }
        given = inputs | {"config": self.config(task, seed)}
        return run.stage(task.stage, task.build, variant=task.variant, replace=replace, **given)

    def config(self, task: Task, seed: int) -> Any:
        """The config that the task's builder is given; WorkbenchError for a field or value that it does not take."""
        place = f"profile {self.profile!r}, tables, {task.key}"
        config_class = task.config_class
        # Given to every builder that takes it, so that no row can differ in it by mistake.
        shared = {"seed": seed, "only_trained": self.grid.settings.get("only_trained")}
        fields = {field.name for field in dataclasses.fields(config_class)}
        given = {name: value for name, value in shared.items() if name in fields and value is not None}
        return configured(config_class, task.parameters, place, **given)


def _check_settings(settings: Mapping[str, Any], place: str) -> None:
    for name in settings:
        if name not in ROWS["settings"]:
            raise WorkbenchError(f"{place}: {unknown('setting', name, ROWS['settings'])}")
    for name in ("start", "triplets", "vilhub_scale"):
        if name not in settings:
            raise WorkbenchError(f"{place}: {name!r} is missing. Give it beside the others.")
    for name in ("medium_quota", "few_quota"):
        if name not in (settings["triplets"] or {}):
            raise WorkbenchError(f"{place}, triplets: {name!r} is missing. Give both quotas.")
    for name in ("data", "features_run"):
        checked_value(settings.get(name), str | None, f"{place}: {name}")
    choices = [("start", settings["start"], STARTS)]
    choices += [("architecture", name, TITLES) for name in settings.get("architectures") or []]
    for name, value, known in choices:
        if value not in known:
            raise WorkbenchError(f"{place}: {unknown(name, value, known)}")


def collect_tables(plan: TablePlan, seeds: Sequence[int], path: Path, failures: Mapping[Job, str]) -> Path:
    """Write the results of all rows into ``path`` (JSON).

    A row has its fields, and by seed "values" (test accuracy in percent by "metric role band"), "validation",
    "seconds", "failed" (reasons, damage of a stage among them) or "stale": a stage behind it is complete, but not for
    today's settings.
    """
    rows = {key: MeasuredRow(**vars(row)) for key, row in plan.grid.rows.items()}
    for seed in seeds:
        run, refused, place = plan.run(seed), refused_tasks(plan, seed), str(seed)
        for key, row in rows.items():
            reasons = [refused[task] for task in plan.grid.needed_for([key]) if task in refused]
            if reasons:
                (row.failed if isinstance(reasons[0], Damaged) else row.stale)[place] = str(reasons[0])
            elif key in run.variants("evaluation"):
                row.values[place] = named_numbers(pd.read_parquet(run.find("evaluation", key) / "summary.parquet"))
                metrics = run.find("recogniser", key).metrics
                validation = {name: re.fullmatch("validation_(?!before_)(.+)", name) for name in metrics}
                row.validation[place] = {found[1]: metrics[name] for name, found in validation.items() if found}
                row.seconds[place] = metrics.get("seconds")
            elif (seed, f"evaluation/{key}") in failures:
                row.failed[place] = failures[seed, f"evaluation/{key}"]
    facts = {"profile": plan.profile, "seeds": list(seeds), "settings": dict(plan.grid.settings)}
    measured = {key: dataclasses.asdict(row) for key, row in rows.items()}
    write_json(path, facts | {"versions": versions(), "rows": measured})
    return path


def refused_tasks(plan: TablePlan, seed: int) -> dict[str, WorkbenchError]:
    """Complete stages of a seed that the profile's settings would refuse, with the differences, or that are damaged."""
    run, there, refused = plan.run(seed), {"features", "text"}, {}
    for key in plan.grid.needed_for(plan.grid.rows):
        stage, variant = key.split("/")
        # A stage is only asked for where nothing has to be built for it.
        if variant in run.variants(stage) and there.issuperset(plan.grid.tasks[key].inputs.values()):
            there.add(key)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    plan.build(seed, key, Replace.NEVER)
            except WorkbenchError as error:
                refused[key] = error
    return refused


def of_run(run: Run, seed: int) -> TableResults:
    """One run's recognisers as results of one seed, from what notebook 05 saved; without validation numbers.

    Where sampling began, whether the diffusion model knew hardness, and whether easy rows came first say which of the
    paper's rows the fine-tuned recogniser is. What the paper lacks is in the group "own".
    """
    metrics, place = run.metrics().get("05_finetune_and_evaluate", {}), "metrics of 05_finetune_and_evaluate"
    variants, baseline = metrics.get("variants", {}), metrics.get("baseline", "")
    if baseline not in variants:
        raise WorkbenchError(f"{place}: no variant {baseline!r}; there are {sorted(variants)}. Run notebook 05 again.")
    sampling, diffusion, finetuning = (
        run.find(*stage).parameters["config"]
        for stage in (("generated",), ("diffusion",), ("recogniser", "diffaugment"))
    )
    start = {init: name for name, init in STARTS.items()}.get(sampling.get("init"), sampling.get("generator"))
    changed = ["plain"] * (not diffusion["hardness"]) + ["curriculum"] * (finetuning["curriculum"] != "none")
    architecture = metrics.get("architecture", "lsvru")
    named, method = TITLES.get(architecture, architecture), f"{baseline} + DiffAugment"
    training = {chosen["title"]: name for name, chosen in ROWS["trainings"].items()}
    names = {title: training.get(title, title) for title in variants}
    names[method] = "_".join([names[baseline], start, *changed])
    keys = {title: f"{architecture}_{name}" for title, name in names.items()}
    papers = {key for table in TABLES.values() for key in table.rows.index}
    rows = {
        keys[title]: {
            "title": f"{named}, {title}", "architecture": named, "training": title,
            "group": "paper" if keys[title] in papers else "own", "generated": title.startswith(method),
            "source": DIFFUSION if title.startswith(method) else None,
            "compared_with": None if title == baseline else keys[baseline], "values": {str(seed): values},
        }
        for title, values in variants.items()
    }  # fmt: skip
    return checked_results({"profile": "", "seeds": [seed], "rows": rows}, place)
