"""The rows of the paper's Tables 1 to 6, the rows that the paper lacks, and rows of one's own, as a grid of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.configuration import as_values, merged
from workbench.errors import WorkbenchError, unknown
from workbench.registry import imported
from workbench.tables.grid import STARTS, GridBuilder, Task, config_class_of, nested

BASELINES = {
    "copy_noise": "copied rows + noise",
    "class_gaussian": "class Gaussians",
    "smote": "SMOTE",
    "pair_mean": "subject-object means",
    "triple_mean": "means of a subject, an object and a relation",
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


def add_own_row(builder: GridBuilder, path: str) -> str:
    """Add what ``module:name`` names: an `OwnRow`, or a function of the builder that returns one or a row's key.

    Returns the key, ``<like>+<name>`` for an `OwnRow`.
    """
    found = imported(path, "row")
    found = found if isinstance(found, OwnRow) else found(builder)
    if isinstance(found, OwnRow):
        return _add_like(builder, found, path.rpartition(":")[2].replace(".", "_"))
    if found not in builder.grid.rows:
        raise WorkbenchError(f"row {path}: gave {found!r}; expected an OwnRow, or the key of a row that it added.")
    return found


def _add_like(builder: GridBuilder, own: OwnRow, name: str) -> str:
    grid = builder.grid
    if own.like not in grid.rows:
        raise WorkbenchError(f"row {name}, like: {unknown('row', own.like, grid.rows)}")
    changes = {kind: as_values(fields) for kind, fields in own.changes.items()}
    if "training" in changes and "loss" in changes["training"]:  # a row is fine-tuned with the loss of its training
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
        parameters = merged(config_class_of(task), task.parameters, changes.get(task.builder, {}), place)
        if inputs != dict(task.inputs) or parameters != task.parameters:
            renamed[task.key] = grid.add(Task(task.builder, f"{task.variant}+{name}", inputs, parameters))
    if not renamed:
        raise WorkbenchError(f"row {name}: its changes change nothing of {own.like}.")
    key, like = f"{own.like}+{name}", grid.rows[own.like]
    title = f"{like.architecture}, {own.title}"
    grid.rows[key] = replace(like, key=key, title=title, group="own", compared_with=own.like, curve=None)
    return key


def paper_rows(settings: Mapping[str, Any]) -> GridBuilder:
    """A builder with all rows for the ``architectures`` of the settings: the paper's, then the extended ones."""
    builder = GridBuilder(settings)
    architectures = settings.get("architectures") or ["lsvru", "reltransformer"]
    if "lsvru" in architectures:
        _lsvru_paper_rows(builder)
    if "reltransformer" in architectures:
        _reltransformer_paper_rows(builder)
    if "lsvru" in architectures:
        _rows_without_generation(builder, "lsvru")
        _baseline_rows(builder, "lsvru_ce")
        _kept_head_rows(builder, "lsvru_ce", settings["start"])
        _combined_rows(builder, "lsvru", settings)
    return builder


def _lsvru_paper_rows(builder: GridBuilder) -> None:
    ce, mixed, wce = (builder.trained("lsvru", training, "paper") for training in ("ce", "ce_vilhub_relmix", "wce"))
    for base, title in ((ce, "CE"), (mixed, "CE + VilHub + RelMix"), (wce, "WCE")):
        builder.finetuned(base, "so", f"{title} + DiffAugment", "paper")
    for generated, note in (("random", "random start"), ("random_plain", "random start, no hardness"),
                            ("so_plain", "no hardness"), ("so_20k", "20/96 of the samples"),
                            ("so_60k", "60/96 of the samples")):  # fmt: skip
        builder.finetuned(ce, generated, f"CE + DiffAugment, {note}", "paper")
    for base, generated, title in ((ce, "so", "CE + DiffAugment"), (wce, "so", "WCE + DiffAugment"),
                                   (ce, "random", "CE + DiffAugment, random start")):  # fmt: skip
        _with_curriculum(builder, base, generated, title)


def _reltransformer_paper_rows(builder: GridBuilder) -> None:
    ce, wce = (builder.trained("reltransformer", training, "paper") for training in ("ce", "wce"))
    for base, generated, title in (
        (ce, "so", "CE + DiffAugment"), (wce, "so", "WCE + DiffAugment"),
        (wce, "random", "WCE + DiffAugment, random start"), (ce, "random", "CE + DiffAugment, random start"),
        (ce, "random_plain", "CE + DiffAugment, random start, no hardness"),
    ):  # fmt: skip
        builder.finetuned(base, generated, title, "paper")
    _with_curriculum(builder, ce, "so", "CE + DiffAugment")


def _with_curriculum(builder: GridBuilder, base: str, generated: str, title: str) -> None:
    builder.finetuned(base, generated, f"{title}, easy then hard", "paper", suffix="curriculum",
                      curriculum="easy_then_hard")  # fmt: skip


def _rows_without_generation(builder: GridBuilder, architecture: str) -> None:
    for training in ("focal", "equalization", "equalization_upstream", "ce_vilhub", "ce_relmix"):
        builder.trained(architecture, training, "loss")
    adjusted = builder.trained(architecture, "logit_adjusted", "logit adjustment")
    ce = f"{architecture}_ce"
    builder.rebalanced(ce, "logit_adjustment", "CE, logits adjusted afterwards", "logit adjustment")
    builder.rebalanced(adjusted, "logit_adjustment", "Logit-adjusted CE, adjusted afterwards too", "logit adjustment")
    builder.rebalanced(ce, "crt", "CE, cRT", "decoupling")
    linear = builder.trained(architecture, "linear_ce", "decoupling")
    for method, title in REBALANCED_LINEAR.items():
        builder.rebalanced(linear, method, f"CE, linear classifier, {title}", "decoupling")


def _baseline_rows(builder: GridBuilder, base: str) -> None:
    for baseline, title in BASELINES.items():
        builder.finetuned(base, baseline, f"CE + {title}", "generator")


def _kept_head_rows(builder: GridBuilder, base: str, start: str) -> None:
    for share in (0.25, 0.5):
        builder.finetuned(base, start, f"CE + DiffAugment, {share:.0%} real rows", "kept head",
                          suffix=f"replay{share * 100:.0f}", curve="real replay", real_replay=share)  # fmt: skip
    builder.finetuned(base, start, "CE, real rows alone once more", "kept head", suffix="replay100",
                      curve="real replay", real_replay=1.0)  # fmt: skip
    builder.finetuned(base, start, "CE + DiffAugment, weights interpolated", "kept head", suffix="interpolated",
                      weight_interpolation=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])  # fmt: skip
    builder.finetuned(base, start, "CE + DiffAugment, 50% real rows, synthetic weight 0.3", "kept head",
                      suffix="weight30", real_replay=0.5, synthetic_weight=0.3)  # fmt: skip
    builder.finetuned(base, start, "CE + DiffAugment, 50% real rows, tail roles alone", "kept head",
                      suffix="tail_replay50", real_replay=0.5, roles="tail")  # fmt: skip


def _combined_rows(builder: GridBuilder, architecture: str, settings: Mapping[str, Any]) -> None:
    """Re-balanced recognisers fine-tuned on generated and real rows with the logit-adjusted loss, and controls.

    A control has the same fine-tuning on real rows alone: what it gains is not the generated features' merit. How rows
    are mixed was chosen on validation (settings); the loss knows the prior of the batches.
    """
    mixed_rows: dict[str, Any] = {"real_replay": 0.5, "loss": {"name": "logit_adjusted"}, "prior": "batches"}
    chosen = mixed_rows | dict(settings.get("combined") or {})
    ce, mixed, adjusted = (f"{architecture}_{name}" for name in ("ce", "ce_vilhub_relmix", "logit_adjusted"))
    mixed_crt = builder.rebalanced(mixed, "crt", "CE + VilHub + RelMix, cRT", "decoupling")
    sources = {f"{ce}_crt": ("so", "sro", "random", "triple_mean"), mixed_crt: ("so", "sro", "triple_mean"),
               adjusted: ("so", "sro")}  # fmt: skip
    for base, generated_names in sources.items():
        _after(builder, base, "so", 1.0, chosen)
        for generated in generated_names:
            _after(builder, base, generated, 0.5, chosen)
    for generated in ("so", "sro"):
        _after(builder, mixed_crt, generated, 0.8, chosen)
    for base in (f"{ce}_so", f"{ce}_{settings['start']}_replay50"):
        builder.rebalanced(base, "crt", f"{_short_title(builder, base)}, then cRT", "combined")


def _after(builder: GridBuilder, base: str, generated: str, real: float, chosen: Mapping[str, Any]) -> None:
    """``base`` fine-tuned on generated rows and a share of real ones; with real rows alone it is a control."""
    named = BASELINES.get(generated) or f"DiffAugment ({STARTS[generated]} start)"
    of_real, suffix = {0.5: ("", "mixed"), 0.8: (", 80% real rows", "mixed80"), 1.0: ("", "replay100")}[real]
    named = "real rows alone once more" if real == 1.0 else f"{named}{of_real}"
    group = builder.grid.rows[base].group if real == 1.0 else "combined"
    curve = f"real rows after {base}" if generated == "so" else None
    builder.finetuned(base, generated, f"{_short_title(builder, base)}, then {named}", group, suffix=suffix,
                      curve=curve, **{**chosen, "real_replay": real})  # fmt: skip


def _short_title(builder: GridBuilder, row: str) -> str:
    """The title without the recogniser's name."""
    return builder.grid.rows[row].title.split(", ", 1)[1]
