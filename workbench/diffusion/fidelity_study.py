"""The stage ``fidelity``: sample for held-out triplets and measure the samples against the held-out rows."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.conditions import condition_table
from workbench.diffusion.fidelity import FidelitySettings, LabelledFeatures, fidelity_report
from workbench.diffusion.sampling import require_choices, sample_features
from workbench.diffusion.seeds import SEED_MAPS, STARTS, class_mean, subject_object_seed
from workbench.files import atomic_path
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets
from workbench.randomness import generator
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.vocabulary import ROLES

REPORT, NORMS = "fidelity.parquet", "norms.npz"


def study_fidelity(
    folder: Path,
    *,
    features: Path,
    text: Path,
    triplets: Path,
    diffusion: Path,
    start: str = "subject-object",
    start_time: float = 0.5,
    seed_map: str = "none",
    steps: int = 20,
    guidance: float = 1.0,
    most_rows: int = 3000,
    neighbours: int = 5,
    seed: int = 0,
) -> dict:
    """Measure samples for the validation split's triplets against that split's real features.

    One sample is drawn for each of up to ``most_rows`` validation relations whose classes all occur in train, so that
    real and generated rows have the same class frequencies. Test is not read. Writes fidelity.parquet (one row per
    sample set, see ``fidelity_report``) and norms.npz (Euclidean norms by sample set); returns the report as
    {sample set: {metric: value}}.
    """
    require_choices({"start": (start, STARTS), "seed_map": (seed_map, SEED_MAPS)})
    folder = Path(folder)
    train, held_out = (FeatureStore.open(Path(features) / split) for split in ("train", "val"))
    rows = _known_rows(train.relations, held_out.relations, most_rows, seed)
    wanted = _labels(held_out.relations.iloc[rows])
    checkpoint = DenoiserCheckpoint.load(Path(diffusion) / "denoiser.safetensors")
    embeddings = TextEmbeddings.open(text)
    checkpoint.require_store(train)
    checkpoint.require_text(embeddings)
    conditions, index = condition_table(
        embeddings, wanted, checkpoint.hardness_model(), captions=read_triplets(triplets)
    )
    seeds = None if start == "random" else _seeds(train, wanted, start, seed_map, seed)
    sampled = sample_features(
        checkpoint, conditions, index, seed=seed, start=seeds, start_time=start_time, steps=steps, guidance=guidance,
        purpose="fidelity", description="Sampling for held-out triplets",
    )  # fmt: skip
    some = np.sort(generator(seed, "fidelity train rows").permutation(len(train))[: 4 * most_rows])
    real_train = LabelledFeatures(train.union(some), _labels(train.relations.iloc[some]))
    real_held_out = LabelledFeatures(held_out.union(rows), wanted)
    settings = FidelitySettings(rows_at_most=most_rows, neighbours=neighbours)
    report = fidelity_report(real_train, real_held_out, LabelledFeatures(sampled, wanted), seed=seed, settings=settings)
    with atomic_path(folder / REPORT) as temporary:
        report.to_parquet(temporary)
    norms = {"real": real_held_out.features, "generated": sampled}
    with atomic_path(folder / NORMS) as temporary:
        np.savez(temporary, **{name: np.linalg.norm(values, axis=1) for name, values in norms.items()})
    return {"settings": asdict(settings), "rows": len(rows)} | _nested(report)


def _seeds(train: FeatureStore, wanted: pd.DataFrame, start: str, seed_map: str, seed: int) -> np.ndarray:
    boxes = subject_object_seed(train, wanted, seed)
    mean = class_mean(train, wanted, boxes, relation=start != "subject-object", seed_map=seed_map, seed=seed)
    return mean(np.arange(len(wanted)))


def _known_rows(train: pd.DataFrame, held_out: pd.DataFrame, most: int, seed: int) -> np.ndarray:
    """Held-out rows whose three classes occur in train in that role: no model can be asked for the others."""
    known = np.ones(len(held_out), dtype=bool)
    for role in ROLES:
        known &= held_out[role].isin(train[role].unique()).to_numpy()
    rows = np.flatnonzero(known)
    return np.sort(generator(seed, "fidelity held-out rows").permutation(rows)[:most])


def _labels(relations: pd.DataFrame) -> pd.DataFrame:
    return relations[list(ROLES)].reset_index(drop=True)


def _nested(report: pd.DataFrame) -> dict[str, dict[str, float]]:
    numbers = report.select_dtypes("number")
    return {str(name): {key: float(value) for key, value in row.items()} for name, row in numbers.iterrows()}
