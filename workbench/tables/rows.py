"""The rows of the paper's Tables 1 to 6, the rows that the paper lacks, and rows of one's own, as a grid of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.configuration import as_values, merged
from workbench.errors import WorkbenchError, unknown
from workbench.registry import imported
from workbench.tables.grid import STARTS, Grid, Task, nested

BASELINES = {
    "copy_noise": "copied rows + noise",
    "class_gaussian": "class Gaussians",
    "smote": "SMOTE",
    "pair_mean": "subject-object means",
    "triple_mean": "means of a subject, an object and a relation",
}
# What each kind of generated features adds to a row's title.
GENERATED = {
    "so": "",
    "so_plain": ", no hardness",
    "so_20k": ", 20/96 of the samples",
    "so_60k": ", 60/96 of the samples",
    "random": ", random start",
    "random_plain": ", random start, no hardness",
}
# By recogniser and training: what it is fine-tuned on, in random order or easy samples first.
PAPER_ROWS = {
    "lsvru": {
        "ce": ("so", "random", "random_plain", "so_plain", "so_20k", "so_60k", "so curriculum", "random curriculum"),
        "ce_vilhub_relmix": ("so",),
        "wce": ("so", "so curriculum"),
    },
    "reltransformer": {"ce": ("so", "random", "random_plain", "so curriculum"), "wce": ("so", "random")},
}
REBALANCED_LINEAR = {"crt": "cRT", "lws": "LWS", "tau_norm": "tau-normalisation"}


@dataclass(frozen=True)
class OwnRow:
    """A row like the row called ``like``, which it is compared with, but for some fields of some stages.

    ``changes`` maps a kind of stage (a key of `grid.BUILDERS`) to fields of its config, nested ones as dicts:
    ``{"diffusion": {"denoiser": "mine:PLAIN"}}``. Code is given as "module:name", a class or function also as itself.
    """

    title: str
    like: str
    changes: Mapping[str, Mapping[str, Any]]


def add_own_row(grid: Grid, path: str) -> str:
    """Add what ``module:name`` names: an `OwnRow`, or a function of the grid that returns one or a row's key.

    Returns the key, ``<like>+<name>`` for an `OwnRow`.
    """
    found = imported(path, "row")
    found = found if isinstance(found, OwnRow) else found(grid)
    if isinstance(found, OwnRow):
        return _add_like(grid, found, path.rpartition(":")[2].replace(".", "_"))
    if found not in grid.rows:
        raise WorkbenchError(f"row {path}: gave {found!r}; expected an OwnRow, or the key of a row that it added.")
    return found


def _add_like(grid: Grid, own: OwnRow, name: str) -> str:
    if own.like not in grid.rows:
        raise WorkbenchError(f"row {name}, like: {unknown('row', own.like, grid.rows)}")
    changes = {kind: as_values(fields) for kind, fields in own.changes.items()}
    if "loss" in changes.get("training", {}):  # a row is fine-tuned with the loss of its training
        changes["finetuning"] = nested({"loss": changes["training"]["loss"]}, changes.get("finetuning", {}))
    behind = [grid.tasks[key] for key in grid.needed_for([own.like])]
    kinds = dict.fromkeys(task.builder for task in behind)
    for kind in own.changes:
        if kind not in kinds:
            raise WorkbenchError(f"row {name}, changes: {unknown('kind of stage', kind, kinds)}")
    renamed: dict[str, str] = {}
    for task in behind:
        inputs = {parameter: renamed.get(key, key) for parameter, key in task.inputs.items()}
        place = f"row {name}, changes: {task.builder}"
        parameters = merged(task.config_class, task.parameters, changes.get(task.builder, {}), place)
        if inputs != dict(task.inputs) or parameters != task.parameters:
            renamed[task.key] = grid.add(Task(task.builder, f"{task.variant}+{name}", inputs, parameters))
    if not renamed:
        raise WorkbenchError(f"row {name}: its changes change nothing of {own.like}.")
    key, like = f"{own.like}+{name}", grid.rows[own.like]
    title = f"{like.architecture}, {own.title}"
    grid.rows[key] = replace(like, key=key, title=title, group="own", compared_with=own.like, curve=None)
    return key


def all_rows(settings: Mapping[str, Any]) -> Grid:
    """A grid with all rows for the ``architectures`` of the settings: the paper's, then the extended ones."""
    grid = Grid(settings)
    architectures = settings.get("architectures") or list(PAPER_ROWS)
    for architecture in architectures:
        _add_paper_rows(grid, architecture)
    if "lsvru" in architectures:
        _add_rows_without_generation(grid, "lsvru")
        for baseline, title in BASELINES.items():
            grid.finetuned("lsvru_ce", baseline, f"CE + {title}", "generator")
        _add_kept_head_rows(grid, "lsvru_ce", settings["start"])
        _add_combined_rows(grid, "lsvru", settings)
    return grid


def _add_paper_rows(grid: Grid, architecture: str) -> None:
    for training, features in PAPER_ROWS[architecture].items():
        base = grid.trained(architecture, training, "paper")
        for generated in features:
            name, _, order = generated.partition(" ")
            title = f"{grid.rows[base].short_title} + DiffAugment{GENERATED[name]}"
            if order:
                options = {"suffix": "curriculum", "curriculum": "easy_then_hard"}
                grid.finetuned(base, name, f"{title}, easy then hard", "paper", **options)
            else:
                grid.finetuned(base, name, title, "paper")


def _add_rows_without_generation(grid: Grid, architecture: str) -> None:
    for training in ("focal", "equalization", "equalization_upstream", "ce_vilhub", "ce_relmix"):
        grid.trained(architecture, training, "loss")
    adjusted = grid.trained(architecture, "logit_adjusted", "logit adjustment")
    ce = f"{architecture}_ce"
    grid.rebalanced(ce, "logit_adjustment", "CE, logits adjusted afterwards", "logit adjustment")
    grid.rebalanced(adjusted, "logit_adjustment", "Logit-adjusted CE, adjusted afterwards too", "logit adjustment")
    grid.rebalanced(ce, "crt", "CE, cRT", "decoupling")
    linear = grid.trained(architecture, "linear_ce", "decoupling")
    for method, title in REBALANCED_LINEAR.items():
        grid.rebalanced(linear, method, f"CE, linear classifier, {title}", "decoupling")


def _add_kept_head_rows(grid: Grid, base: str, start: str) -> None:
    def add(title: str, suffix: str, **options: Any) -> None:
        grid.finetuned(base, start, title, "kept head", suffix=suffix, **options)

    for share in (0.25, 0.5):
        title = f"CE + DiffAugment, {share:.0%} real rows"
        add(title, f"replay{share * 100:.0f}", curve="real replay", real_replay=share)
    add("CE, real rows alone once more", "replay100", curve="real replay", real_replay=1.0)
    shares = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    add("CE + DiffAugment, weights interpolated", "interpolated", weight_interpolation=shares)
    title = "CE + DiffAugment, 50% real rows, synthetic weight 0.3"
    add(title, "weight30", real_replay=0.5, synthetic_weight=0.3)
    add("CE + DiffAugment, 50% real rows, tail roles alone", "tail_replay50", real_replay=0.5, roles="tail")


def _add_combined_rows(grid: Grid, architecture: str, settings: Mapping[str, Any]) -> None:
    """Re-balanced recognisers fine-tuned on generated and real rows with the logit-adjusted loss, and controls.

    A control has the same fine-tuning on real rows alone: what it gains is not the generated features' merit. How rows
    are mixed was chosen on validation (settings); the loss knows the prior of the batches.
    """
    chosen = {"loss": {"name": "logit_adjusted"}, "prior": "batches", **(settings.get("combined") or {})}

    def add(base: str, generated: str, real: float) -> None:
        title, group, suffix = (
            grid.rows[base].short_title,
            "combined",
            f"mixed{'' if real == 0.5 else f'{real * 100:.0f}'}",
        )
        named = BASELINES.get(generated) or f"DiffAugment ({STARTS[generated]} start)"
        named += "" if real == 0.5 else f", {real:.0%} real rows"
        if real == 1.0:
            named, group, suffix = "real rows alone once more", grid.rows[base].group, "replay100"
        curve = f"real rows after {base}" if generated == "so" else None
        options = chosen | {"real_replay": real}
        grid.finetuned(base, generated, f"{title}, then {named}", group, suffix=suffix, curve=curve, **options)

    ce, mixed, adjusted = (f"{architecture}_{name}" for name in ("ce", "ce_vilhub_relmix", "logit_adjusted"))
    mixed_crt = grid.rebalanced(mixed, "crt", "CE + VilHub + RelMix, cRT", "decoupling")
    sources = {f"{ce}_crt": ("so", "sro", "random", "triple_mean"), mixed_crt: ("so", "sro", "triple_mean"),
               adjusted: ("so", "sro")}  # fmt: skip
    for base, names in sources.items():
        add(base, "so", 1.0)
        for generated in names:
            add(base, generated, 0.5)
    for generated in ("so", "sro"):
        add(mixed_crt, generated, 0.8)
    for base in (f"{ce}_so", f"{ce}_{settings['start']}_replay50"):
        grid.rebalanced(base, "crt", f"{grid.rows[base].short_title}, then cRT", "combined")
