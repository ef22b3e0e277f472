"""The rows of the paper's Tables 1 to 6, and the rows that the paper lacks, as a grid of tasks."""

from collections.abc import Mapping
from typing import Any

from workbench.tables.grid import STARTS, Grid, GridBuilder

BASELINES = {
    "copy_noise": "copied rows + noise",
    "class_gaussian": "class Gaussians",
    "smote": "SMOTE",
    "pair_mean": "subject-object means",
    "triple_mean": "means of a subject, an object and a relation",
}
REBALANCED_LINEAR = {"crt": "cRT", "lws": "LWS", "tau_norm": "tau-normalisation"}


def paper_grid(settings: Mapping[str, Any]) -> Grid:
    """All rows for the ``architectures`` of the settings: the paper's, then the extended ones."""
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
    return builder.grid


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
    chosen = {"real_replay": 0.5, "loss": {"name": "logit_adjusted"}, "prior": "batches"} | dict(
        settings.get("combined") or {}
    )
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
                      curve=curve, **chosen | {"real_replay": real})  # fmt: skip


def _short_title(builder: GridBuilder, row: str) -> str:
    """The title without the recogniser's name."""
    return builder.grid.rows[row].title.split(", ", 1)[1]
