"""What a profile will cost, before anything runs: bytes, operations and hours of every stage on a named machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.paths import imported_folder, project_root, runs_folder
from workbench.runs.cost_data import DataSize, data_size
from workbench.runs.cost_machines import Machine, machine_called
from workbench.runs.cost_stages import (
    Setting,
    StageCost,
    detector_cost,
    dimension_of,
    features_cost,
    scenes_cost,
    text_dimension_of,
    text_stage_cost,
    tower_cost,
    triplets_cost,
)
from workbench.runs.cost_tables import table_costs
from workbench.runs.cost_trainings import (
    diffusion_cost,
    evaluation_cost,
    fidelity_cost,
    finetuning_cost,
    generated_cost,
    rebalancing_cost,
    training_cost,
)
from workbench.runs.profiles import make_plan, size_section, tables_section

TABLE_SEEDS = 5


@dataclass(frozen=True)
class CostPlan:
    """The costs of a profile: ``stages`` as (notebook, cost) in order, ``tables`` those of one seed of the tables."""

    profile: str
    machine: Machine
    gpus: int
    workers: int
    data: DataSize
    stages: list[tuple[str, StageCost]]
    tables: list[StageCost]

    def text(self) -> str:
        """The plan as a table, with what is counted and what is assumed."""
        from workbench.runs.cost_report import plan_text

        return plan_text(self)

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON values: bytes, operations, seconds."""
        from workbench.runs.cost_report import plan_json

        return plan_json(self)


def plan_costs(
    profile: str,
    *,
    run: str | None = None,
    parameters: dict[str, Any] | None = None,
    files: Sequence[Path] | None = None,
    root: Path | None = None,
    machine: str = "h100",
    gpus: int = 1,
    workers: int = 8,
) -> CostPlan:
    """Plan the notebooks of ``profile``, and its tables where it has a section for them.

    ``parameters`` and ``files`` lie over the profile as in ``workbench run``; ``machine`` is one of
    ``cost_machines.NAMES``; ``gpus`` processes share the stages that can be shared, ``workers`` processes decode
    pictures. The data need not be here, see ``cost_data.data_size``. Nothing is read but manifests and one table.
    """
    if gpus < 1 or workers < 1:
        raise WorkbenchError(f"gpus {gpus}, workers {workers}: expected whole numbers above 0.")
    root = project_root(root)
    planned = make_plan(profile, run, None, dict(parameters or {}), list(files or []), root)
    values = {notebook.name: notebook.values for notebook in planned.notebooks}
    every = {name: value for notebook in values.values() for name, value in notebook.items() if name != "width"}
    data = data_size(profile, every, size_section(profile, root), planned.run, root)
    first = values.get("00_prepare_features", {})
    model = first.get("clip_model", "")
    name = every.get("data") or ""
    text = imported_folder(root) / name / "text" if name else runs_folder(root) / planned.run / "text" / "default"
    dimension = data.dimension or dimension_of(first.get("width", 1.0))
    setting = Setting(data, dimension, text_dimension_of(model, text), machine_called(machine), gpus, workers)
    stages = list(_stages(values, setting, model))
    tables = []
    if tables_section_of(profile, root):
        from workbench.tables.plan import table_plan

        tables = table_costs(table_plan(profile, root).grid, setting, model)
    return CostPlan(profile, setting.machine, gpus, workers, data, stages, tables)


def tables_section_of(profile: str, root: Path) -> bool:
    """Whether the profile says how the rows of the tables are trained."""
    try:
        return bool(tables_section(profile, root))
    except WorkbenchError:
        return False


def _stages(values: dict[str, dict[str, Any]], setting: Setting, model: str) -> Iterator[tuple[str, StageCost]]:
    """The stages of all notebooks in their order, each with its notebook's number."""
    costs = {"00": _prepared, "02": _augmented, "03": _diffused, "04": _inspected, "05": _recognised}
    for name, own in values.items():
        for cost in costs[name[:2]](values, own, setting, model) if name[:2] in costs else ():
            yield name[:2], cost


def _prepared(_, own: dict[str, Any], setting: Setting, model: str) -> Iterator[StageCost]:
    if not own["annotations_folder"]:
        yield scenes_cost(setting)
    if not own["detector_checkpoint"]:
        yield detector_cost(setting, own)
    yield features_cost(setting, own)
    if not model:
        yield tower_cost(setting, own)
    yield text_stage_cost(setting, model)


def _augmented(_, own: dict[str, Any], setting: Setting, model: str) -> Iterator[StageCost]:
    yield from triplets_cost(setting, own, model)


def _diffused(values: dict, own: dict[str, Any], setting: Setting, _: str) -> Iterator[StageCost]:
    trained = own | {"n_centres": _centres(values)}
    yield diffusion_cost(setting, trained)
    yield generated_cost(setting, own, _samples(values), trained)


def _inspected(values: dict, own: dict[str, Any], setting: Setting, _: str) -> Iterator[StageCost]:
    trained = _notebook(values, "03") | {"n_centres": _centres(values)}
    yield fidelity_cost(setting, own, trained)


def _recognised(values: dict, own: dict[str, Any], setting: Setting, _: str) -> Iterator[StageCost]:
    yield training_cost(setting, own).repeated(len(own["losses"]), "training")
    yield rebalancing_cost(setting, {"method": "logit_adjustment"}, own)
    tuned = {"epochs": own["finetune_epochs"], "learning_rates": own["finetune_learning_rates"]}
    tuned |= {"batch_size": own["batch_size"]}
    for variant, share in (("diffaugment", 0.0), ("diffaugment_replay", own["real_replay"])):
        cost = finetuning_cost(setting, tuned | {"real_replay": share}, own, _samples(values))
        yield cost.repeated(1, variant)
    yield evaluation_cost(setting, own).repeated(len(own["losses"]) + 3)


def _notebook(values: dict[str, dict[str, Any]], number: str) -> dict[str, Any]:
    found = next((own for name, own in values.items() if name.startswith(number)), None)
    if found is None:
        raise WorkbenchError(f"the profile leaves notebook {number} out, on which a later one builds. Add it.")
    return found


def _samples(values: dict[str, dict[str, Any]]) -> int:
    own = _notebook(values, "02")
    return own["medium_quota"] + own["few_quota"]


def _centres(values: dict[str, dict[str, Any]]) -> int:
    return _notebook(values, "02")["n_centres"]
