"""What the rows of the paper's tables cost: every task of a profile's grid, once for each seed."""

import inspect
from collections.abc import Mapping
from typing import Any

from workbench.runs.cost_stages import HALF, TABLE_BYTES, Setting, StageCost, triplets_cost
from workbench.runs.cost_trainings import (
    diffusion_cost,
    evaluation_cost,
    finetuning_cost,
    generated_cost,
    rebalancing_cost,
    training_cost,
)
from workbench.tables.grid import Grid, Task
from workbench.tables.plan import builder_of


def table_costs(grid: Grid, setting: Setting, text_model: str) -> list[StageCost]:
    """The costs of a grid by kind of task, for one seed, each task on one GPU."""
    tasks = _Tasks(grid)
    alone = Setting(setting.data, setting.dimension, setting.text_dimension, setting.machine, 1, setting.workers)
    sums: dict[str, list[StageCost]] = {}
    for task in grid.tasks.values():
        for cost in tasks.costs(task, alone, text_model):
            sums.setdefault(task.builder, []).append(cost)
    return [_summed(kind, costs) for kind, costs in sums.items()]


class _Tasks:
    """The parameters behind a task: its own over its builder's defaults, and those of the tasks that it builds on."""

    def __init__(self, grid: Grid):
        self._tasks = grid.tasks

    def costs(self, task: Task, setting: Setting, text_model: str) -> list[StageCost]:
        values = self._values(task)
        if task.builder == "triplets":
            return triplets_cost(setting, values, text_model)
        if task.builder == "diffusion":
            return [diffusion_cost(setting, values)]
        if task.builder == "generated":
            diffusion = self._values(self._tasks[task.inputs["diffusion"]])
            return [generated_cost(setting, values, self._samples(task), diffusion)]
        if task.builder == "rival":
            written = self._samples(task) * (setting.dimension * HALF + TABLE_BYTES)
            return [setting.cost("generated", written=written, read=2 * written, shared=False)]
        trained = self._trained(task)
        if task.builder == "training":
            return [training_cost(setting, trained)]
        if task.builder == "finetuning":
            return [finetuning_cost(setting, values, trained, self._samples(self._tasks[task.inputs["generated"]]))]
        if task.builder == "rebalancing":
            return [rebalancing_cost(setting, values, trained)]
        return [evaluation_cost(setting, trained)]

    def _values(self, task: Task) -> dict[str, Any]:
        declared = inspect.signature(builder_of(task)).parameters
        defaults = {name: one.default for name, one in declared.items() if one.default is not inspect.Parameter.empty}
        values = defaults | dict(task.parameters)
        if task.builder == "diffusion":
            values["n_centres"] = self._values(self._tasks[task.inputs["triplets"]])["n_centres"]
        return values

    def _trained(self, task: Task) -> Mapping[str, Any]:
        """The parameters of the training that a recogniser goes back to."""
        while task.builder != "training":
            task = self._tasks[task.inputs["recogniser"]]
        return self._values(task)

    def _samples(self, task: Task) -> int:
        quotas = self._values(self._tasks[task.inputs["triplets"]])
        return round((quotas["medium_quota"] + quotas["few_quota"]) * task.parameters.get("share", 1.0))


def _summed(kind: str, costs: list[StageCost]) -> StageCost:
    """One line for the tasks of a kind: sums, the largest memory, and what the longest of them waits for."""
    sums = {name: sum(getattr(cost, name) for cost in costs) for name in ("written", "read", "operations", "seconds")}
    peaks = {name: max(getattr(cost, name) for cost in costs) for name in ("gpu_bytes", "host_bytes")}
    limit = max(costs, key=lambda cost: cost.seconds).limit
    return StageCost(kind, variant="tables", times=len(costs), **sums, **peaks, limit=limit)
