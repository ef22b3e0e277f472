"""What a profile says about the tables, and one task of the grid as a stage."""

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.configuration import configured
from workbench.errors import WorkbenchError, unknown
from workbench.paths import project_root
from workbench.runs.profiles import tables_section
from workbench.stages import Run, Stage
from workbench.tables.grid import BUILDERS, STARTS, TITLES, Grid, Task
from workbench.tables.rows import paper_grid

# Given to every builder that takes it, so that no row can differ in it by mistake.
EVERYWHERE = ("only_trained",)
STARTS_SETTINGS = tuple(f"sampling_{start}" for start in STARTS)
SETTINGS = ("architectures", "data", "features_run", "start", "vilhub_scale", "combined", "triplets", "diffusion",
            "sampling", *STARTS_SETTINGS, "rivals", "training", "lsvru", "reltransformer", "finetuning",
            "lsvru_finetuning", "reltransformer_finetuning", "rebalancing", "rebalancing_lws", *EVERYWHERE)  # fmt: skip


@dataclass(frozen=True)
class TablePlan:
    """The grid of a profile; features and text are shared by all seeds."""

    profile: str
    settings: Mapping[str, Any]
    grid: Grid
    root: Path

    def run(self, seed: int) -> Run:
        """The run that holds the stages of a seed."""
        return Run.open(f"{self.profile}-tables-seed{seed}", root=self.root)

    def data(self) -> dict[str, Any]:
        """The stages "features" and "text" that all rows start from."""
        name = self.settings.get("features_run") or self.profile
        run = Run.open(name, data=self.settings.get("data") or "", root=self.root)
        return {"features": run.features, "text": run.text}

    def build(self, seed: int, key: str) -> Stage:
        """Build one task, or load it; its inputs must be complete."""
        if key not in self.grid.tasks:
            raise WorkbenchError(unknown("task", key, list(self.grid.tasks)))
        task, run, data = self.grid.tasks[key], self.run(seed), self.data()
        inputs = {name: data[other] if other in data else run.find(*other.split("/"))
                  for name, other in task.inputs.items()}  # fmt: skip
        builder = builder_of(task)
        _one_thread()
        return run.stage(task.stage, builder, variant=task.variant, **inputs, **self._parameters(task, builder, seed))

    def _parameters(self, task: Task, builder: Callable, seed: int) -> dict[str, Any]:
        taken = inspect.signature(builder).parameters
        if "config" in taken:
            return {"config": configured(config_of(builder), task.parameters, task.key, seed=seed)}
        shared = {name: self.settings[name] for name in EVERYWHERE if name in self.settings and name in taken}
        given = shared | ({"seed": seed} if "seed" in taken else {}) | dict(task.parameters)
        # A file of word vectors is named from the project's folder, wherever the command runs.
        words = given.get("word_vectors")
        return given | {"word_vectors": self.run(seed).path(words)} if words else given


def _one_thread() -> None:
    """As in `table_queue.quiet_workers`, for a task that is built alone."""
    import torch

    torch.set_num_threads(1)


def table_plan(profile: str, root: Path | None = None) -> TablePlan:
    """Read the section ``tables`` of a profile and check every name in it."""
    root = project_root(root)
    settings = tables_section(profile, root)
    for name in settings:
        if name not in SETTINGS:
            raise WorkbenchError(f"profile {profile!r}, tables: {unknown('setting', name, SETTINGS)}")
    for name in ("start", "triplets", "vilhub_scale"):
        if name not in settings:
            raise WorkbenchError(f"profile {profile!r}, tables: {name!r} is missing. Give it beside the others.")
    _check_choices(settings, profile)
    grid = paper_grid(settings)
    for task in grid.tasks.values():
        _check(task, profile)
    return TablePlan(profile, settings, grid, root)


def _check_choices(settings: Mapping[str, Any], profile: str) -> None:
    place = f"profile {profile!r}, tables"
    choices = [("start", settings["start"], STARTS)]
    choices += [("architecture", name, TITLES) for name in settings.get("architectures") or []]
    for name, value, known in choices:
        if value not in known:
            raise WorkbenchError(f"{place}: {unknown(name, value, list(known))}")
    for name in ("medium_quota", "few_quota"):
        if name not in (settings["triplets"] or {}):
            raise WorkbenchError(f"{place}, triplets: {name!r} is missing. Give both quotas.")


def builder_of(task: Task) -> Callable[..., dict[str, Any]]:
    """The function that builds a task's stage; imports what it needs."""
    module, name = BUILDERS[task.builder].split(":")
    return getattr(importlib.import_module(module), name)


def config_of(builder: Callable) -> type:
    """The dataclass that a builder takes as ``config``."""
    return typing.get_type_hints(builder)["config"]


def _check(task: Task, profile: str) -> None:
    """Refuse a parameter that the builder does not take, and a text where it takes a number."""
    taken = inspect.signature(builder_of(task)).parameters
    if "config" in taken:
        configured(config_of(builder_of(task)), task.parameters, f"profile {profile!r}, tables, {task.key}")
        return
    for name, value in task.parameters.items():
        if name not in taken:
            raise WorkbenchError(f"profile {profile!r}, tables, {task.key}: {unknown('parameter', name, list(taken))}")
        default = taken[name].default
        numbers = default if isinstance(default, tuple | list) else [default]
        values = value if isinstance(value, list) else [value]
        texts = [each for each in values if isinstance(each, str)]
        if texts and all(isinstance(each, int | float) for each in numbers):
            raise WorkbenchError(
                f"profile {profile!r}, tables, {task.key}: {name} is {value!r}; expected a number (1.0e-4, not 1e-4, "
                "which YAML reads as a text)."
            )
