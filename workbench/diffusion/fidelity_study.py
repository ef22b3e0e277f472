"""The stage ``fidelity``: samples for held-out triplets, measured against the held-out rows."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.configuration import configured
from workbench.diffusion.checkpoint import CHECKPOINT, DenoiserCheckpoint
from workbench.diffusion.conditions import triplet_conditions
from workbench.diffusion.config import FidelityConfig, SamplingConfig
from workbench.diffusion.fidelity import LabelledFeatures, fidelity_report
from workbench.diffusion.generators import BaselineConfig
from workbench.diffusion.initialisation import draw_boxes
from workbench.diffusion.sample import initial_rows, sample_features
from workbench.files import atomic_path
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets
from workbench.randomness import generator
from workbench.regions.features import FeaturesFolder
from workbench.scenes.vocabulary import ROLES

REPORT, NORMS = "fidelity.parquet", "norms.npz"


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
    `fidelity_report`) and norms.npz (Euclidean norms by sample set); returns {sample set: {metric: value}}.
    """
    folder, config, opened = Path(folder), config or FidelityConfig(), FeaturesFolder(features)
    train, held_out, most = opened.train, opened.val, config.rows_at_most
    rows = known_rows(train.relations, held_out.relations, most, config.seed)
    wanted = _labels(held_out.relations.iloc[rows])
    sampling = replace(sampling or SamplingConfig(), seed=config.seed)
    if isinstance(sampling, BaselineConfig):
        sampler = sampling.options.fit(train, draw_boxes(train, wanted, sampling.seed), sampling.seed)
        sampled = np.asarray(sampler(np.arange(len(wanted))), dtype=np.float32)
        sampled = np.maximum(sampled, 0.0) if train.support == "rectified" else sampled
    else:
        checkpoint, embeddings = DenoiserCheckpoint.load(Path(diffusion) / CHECKPOINT), TextEmbeddings.open(text)
        checkpoint.require_text(embeddings)
        conditions, index = triplet_conditions(embeddings, wanted, read_triplets(triplets))
        init = initial_rows(checkpoint, train, wanted, sampling)
        sampled = sample_features(checkpoint, conditions, index, sampling, init=init, purpose="fidelity")
    some = np.sort(generator(config.seed, "fidelity train rows").permutation(len(train))[: 4 * most])
    real_train = LabelledFeatures(train.union(some), _labels(train.relations.iloc[some]))
    real_held_out = LabelledFeatures(held_out.union(rows), wanted)
    report = fidelity_report(real_train, real_held_out, LabelledFeatures(sampled, wanted), config=config)
    with atomic_path(folder / REPORT) as temporary:
        report.to_parquet(temporary)
    norms = {"real": real_held_out.features, "generated": sampled}
    with atomic_path(folder / NORMS) as temporary:
        np.savez(temporary, **{name: np.linalg.norm(values, axis=1) for name, values in norms.items()})
    numbers = {
        str(name): {key: float(value) for key, value in row.items()}
        for name, row in report.select_dtypes("number").iterrows()
    }
    return {"config": asdict(config), "rows": len(rows)} | numbers


def generated_with(parameters: Mapping[str, Any]) -> SamplingConfig | BaselineConfig:
    """How a stage ``generated`` was made, from the parameters that its manifest has."""
    recorded = parameters["config"]
    if "generator" in recorded:
        return configured(BaselineConfig, recorded)
    return configured(SamplingConfig, recorded)


def known_rows(train: pd.DataFrame, held_out: pd.DataFrame, most: int, seed: int) -> np.ndarray:
    """Held-out rows whose three classes occur in train in that role: no model can be asked for the others."""
    known = np.ones(len(held_out), dtype=bool)
    for role in ROLES:
        known &= held_out[role].isin(train[role].unique()).to_numpy()
    rows = np.flatnonzero(known)
    return np.sort(generator(seed, "fidelity held-out rows").permutation(rows)[:most])


def _labels(relations: pd.DataFrame) -> pd.DataFrame:
    return relations[list(ROLES)].reset_index(drop=True)
