"""Fidelity of generated features: one table, generated rows beside their floor and two cheap baselines.

The stage ``fidelity`` draws samples for held-out triplets and measures them against the held-out rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.configuration import configured
from workbench.diffusion import fidelity_distances as distances
from workbench.diffusion.baselines import ClassGaussian, CopyNoise
from workbench.diffusion.checkpoint import CHECKPOINT, DenoiserCheckpoint
from workbench.diffusion.conditions import triplet_conditions
from workbench.diffusion.config import FidelityConfig, SamplingConfig
from workbench.diffusion.exemplars import back_off_groups, draw_boxes
from workbench.diffusion.fidelity_classes import (
    ClassDiscriminant,
    LabelledFeatures,
    agreement,
    memorisation,
    relation_fidelity,
    train_on_generated_test_on_real,
)
from workbench.diffusion.generators import BaselineConfig, baseline_sampler
from workbench.diffusion.sample import initial_rows, sample_features
from workbench.errors import WorkbenchError
from workbench.files import atomic_path, save_table
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets
from workbench.randomness import derived_seed, generator, some_rows
from workbench.regions.features import FeaturesFolder
from workbench.scenes.vocabulary import ROLES

REPORT, RELATIONS, NORMS = "fidelity.parquet", "relations.parquet", "norms.npz"
SAMPLE_SETS = ("generated", "floor", "copy plus noise", "class Gaussian")
# Numbers of evaluations whose samples are compared, on so many rows at most.
EVALUATIONS, EVALUATED_ROWS = (4, 8, 20), 1000


def study_fidelity(
    folder: Path,
    *,
    features: Path,
    text: Path,
    triplets: Path,
    diffusion: Path,
    config: FidelityConfig | None = None,
    sampling: SamplingConfig | BaselineConfig | None = None,
) -> dict:
    """Stage ``fidelity``: measure samples for the validation split's triplets against that split's real features.

    One sample is drawn, as ``sampling`` says (by the denoiser, or by another generator), for each of up to
    ``config.rows_at_most`` validation relations whose classes all occur in train, so that real and generated rows have
    the same class frequencies. Test is not read. Writes fidelity.parquet (one row per sample set, see
    `fidelity_report`), relations.parquet (of "generated" and "floor", see `relation_fidelity`) and norms.npz (Euclidean
    norms by sample set); returns {sample set: {metric: value}} and, on fewer rows, the Frechet distances
    {"evaluations": {number of the denoiser's evaluations, or "floor": distance}}.
    """
    folder, config, opened = Path(folder), config or FidelityConfig(), FeaturesFolder(features)
    train, held_out, most = opened.train, opened.val, config.rows_at_most
    rows = known_rows(train.relations, held_out.relations, most, config.seed)
    wanted = held_out.relations.iloc[rows][list(ROLES)].reset_index(drop=True)
    sampling = replace(sampling or SamplingConfig(), seed=config.seed)
    few, by_steps = some_rows(np.arange(len(wanted)), EVALUATED_ROWS, config.seed, "evaluations"), {}
    if isinstance(sampling, BaselineConfig):
        sampler = baseline_sampler(train, draw_boxes(train, wanted, sampling.seed), sampling)
        sampled = sampler(np.arange(len(wanted)))
    else:
        checkpoint, embeddings = DenoiserCheckpoint.load(Path(diffusion) / CHECKPOINT), TextEmbeddings.open(text)
        checkpoint.require_text(embeddings)
        conditions, index = triplet_conditions(embeddings, wanted, read_triplets(triplets))
        init = initial_rows(checkpoint, train, wanted, sampling)
        sampled = sample_features(checkpoint, conditions, index, sampling, init=init, purpose="fidelity")
        drawn: dict[str, Any] = {"init": None if init is None else init[few], "rows": few, "purpose": "fidelity"}
        for steps in filter(round(sampling.strength * checkpoint.schedule.timesteps).__ge__, EVALUATIONS):
            made = sampled[few]
            if steps != sampling.steps:
                made = sample_features(checkpoint, conditions, index[few], replace(sampling, steps=steps), **drawn)
            by_steps[str(steps)] = made
    some = np.sort(generator(config.seed, "fidelity train rows").permutation(len(train))[: 4 * most])
    real_train = LabelledFeatures(train.union(some), train.relations.iloc[some].reset_index(drop=True))
    real_held_out = LabelledFeatures(held_out.union(rows), wanted)
    generated = LabelledFeatures(sampled, wanted)
    report = fidelity_report(real_train, real_held_out, generated, config)
    by_relation = relation_fidelity(real_train, {"generated": generated, "floor": real_held_out})
    save_table(folder / RELATIONS, by_relation)
    with atomic_path(folder / REPORT) as temporary:
        report.to_parquet(temporary)
    norms = {"real": real_held_out.features, "generated": sampled}
    with atomic_path(folder / NORMS) as temporary:
        np.savez(temporary, **{name: np.linalg.norm(values, axis=1) for name, values in norms.items()})
    by_steps["floor"] = _floor(real_train, wanted.iloc[few], config.seed).features
    real, options = distances.Gaussian.fit(real_held_out.features[few]), {"components": config.components}
    frechet = {name: distances.frechet_distance(real, made, **options) for name, made in by_steps.items()}
    metrics = {"config": asdict(config), "rows": len(rows), "evaluations": frechet}
    return metrics | report.select_dtypes("number").T.astype(float).to_dict()


def generated_with(parameters: Mapping[str, Any]) -> SamplingConfig | BaselineConfig:
    """How a stage ``generated`` was made, from the parameters that its manifest has."""
    recorded = parameters["config"]
    kind: Any = BaselineConfig if "generator" in recorded else SamplingConfig
    return configured(kind, recorded)


def known_rows(train: pd.DataFrame, held_out: pd.DataFrame, most: int, seed: int) -> np.ndarray:
    """Held-out rows whose three classes occur in train in that role: no model can be asked for the others."""
    known = np.all([held_out[role].isin(train[role].unique()) for role in ROLES], axis=0)
    return np.sort(generator(seed, "fidelity held-out rows").permutation(np.flatnonzero(known))[:most])


def fidelity_report(
    train: LabelledFeatures, held_out: LabelledFeatures, generated: LabelledFeatures, config: FidelityConfig
) -> pd.DataFrame:
    """One row for each of ``SAMPLE_SETS``, one column for each metric, and ``reason`` for what is NaN.

    All sets are compared with the ``held_out`` real rows, which no model has seen, so copying training rows earns no
    more than real rows do. "floor" is real against other real: a training row for each sample's triplet (for
    memorisation and agreement, held-out rows against other held-out rows). The baselines are drawn for the generated
    rows' own triplets. Frechet distances compare what is comparable only if the generated rows have the held-out rows'
    class frequencies: generate one row for each held-out triplet. WorkbenchError names a row that is not finite.
    """
    _require_finite({"training rows": train, "held-out rows": held_out, "generated rows": generated})
    generated, compared = (
        rows.take(some_rows(np.arange(len(rows)), config.rows_at_most, config.seed, "fidelity", name))
        for name, rows in {"generated": generated, "held out": held_out}.items()
    )
    gaussian = distances.Gaussian.fit(compared.features)
    recogniser = ClassDiscriminant.fit(train) if len(train) > 1 else None
    distance = distances.nearest_distances(held_out.features, train.features)
    order = generator(config.seed, "fidelity", "halves").permutation(len(held_out))
    first, second = np.split(order, [len(order) // 2])
    records = []
    for name, samples in _sample_sets(train, generated, config).items():
        values = _feature_metrics(gaussian, samples.features, config)
        if name == "floor":
            one, other = (held_out.relations.iloc[half] for half in (first, second))
            values |= memorisation(distance[first], one, distance[second], other)
        else:
            own = distances.nearest_distances(samples.features, train.features)
            values |= memorisation(own, samples.relations, distance, held_out.relations)
        values |= agreement(recogniser, held_out if name == "floor" else samples)
        values |= train_on_generated_test_on_real(samples, held_out)
        reason = "; ".join(_reasons(values, config, compared.dimension))
        records.append({"samples": name, "rows": len(samples), **values, "reason": reason})
    return pd.DataFrame(records).set_index("samples")


def _feature_metrics(real: distances.Gaussian, features: np.ndarray, config: FidelityConfig) -> dict[str, float]:
    """What needs only the two matrices."""
    values = distances.dimension_errors(real.features, features) | distances.norm_errors(real.features, features)
    values["frechet_pca"] = distances.frechet_distance(real, features, components=config.components)
    values["frechet_full"] = distances.frechet_distance(real, features)
    seed = derived_seed(config.seed, "kernel distance") % 2**32
    kernel = distances.kernel_distance(real.features, features, seed=seed)
    values["kernel_distance"], values["kernel_distance_spread"] = kernel
    axes = real.principal_axes(config.neighbour_components)
    projected = ((rows - real.mean) @ axes for rows in (real.features, features))
    values |= distances.neighbour_manifolds(*projected, neighbours=config.neighbours)
    return values | {"effective_rank": distances.Gaussian.fit(features).effective_rank}


def _reasons(values: dict[str, float], config: FidelityConfig, dimension: int) -> Iterator[str]:
    """Why metrics are NaN."""
    needed = {
        "frechet_pca": min(config.components, dimension) + 1, "frechet_full": 2, "kernel_distance": 2,
        "precision": config.neighbours + 1, "effective_rank": 2, "agreement": 2, "test_on_real": 2,
    }  # fmt: skip
    for name, rows in needed.items():
        if np.isnan(values[name]):
            yield f"{name}: needs {rows} rows in each set"
    if np.isnan(values["memorisation"]):
        yield "memorisation: some role has no held-out rows of the samples' classes"


def _sample_sets(train: Any, generated: LabelledFeatures, config: FidelityConfig) -> dict[str, LabelledFeatures]:
    wanted, seed, rows = generated.relations, config.seed, np.arange(len(generated))
    baselines = (CopyNoise(config.copy_noise), ClassGaussian(config.components))
    made = [LabelledFeatures(baseline.fit(train, wanted, seed)(rows), wanted) for baseline in baselines]
    return dict(zip(SAMPLE_SETS, (generated, _floor(train, wanted, seed), *made), strict=True))


def _floor(train: LabelledFeatures, wanted: pd.DataFrame, seed: int) -> LabelledFeatures:
    # Drawn for the same triplets: a floor with other class frequencies would measure those and not the features.
    return train.take(back_off_groups(train.relations, wanted).draw(seed, "floor"))


def _require_finite(sets: dict[str, LabelledFeatures]) -> None:
    for what, rows in sets.items():
        if not len(rows):
            raise WorkbenchError(f"Fidelity: there are no {what}. Expected at least one row whose classes train has.")
        bad = np.flatnonzero(~np.isfinite(rows.features).all(axis=1))
        if len(bad):
            raise WorkbenchError(
                f"Fidelity, {what}: row {bad[0]} is not finite. Fidelity needs numbers in every row: look at what made "
                "this row (a diverged model, a broken image) and make the features again."
            )
