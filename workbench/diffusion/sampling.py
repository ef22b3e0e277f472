"""Sampling features from a trained denoiser, and the stage that does so for all augmented triplets."""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.conditions import ConditionTable, condition_table, entity_condition_table
from workbench.diffusion.generated import PartialFeatures
from workbench.diffusion.resumption import require_same_work
from workbench.diffusion.reverse_process import ReverseProcess, SamplerSettings
from workbench.diffusion.seeds import SEED_MAPS, STARTS, class_mean, subject_object_seed
from workbench.errors import WorkbenchError
from workbench.files import sha256_of_file
from workbench.language.triplets import read_triplets
from workbench.processes import Processes
from workbench.progress import track
from workbench.randomness import generator, row_normal
from workbench.regions.generated_features import finish_generated

ROWS_PER_PART = 8192
ENTITY_FEATURES = ("seed", "generated")


def sample_features(
    checkpoint: DenoiserCheckpoint,
    conditions: ConditionTable,
    condition_index: np.ndarray,
    *,
    seed: int,
    start: np.ndarray | None = None,
    start_time: float = 0.5,
    steps: int = 20,
    guidance: float = 1.0,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    solver: str = "dpm++",
    rows: np.ndarray | None = None,
    purpose: str = "sample",
    batch_size: int | None = None,
    precision: str = "auto",
    description: str = "Sampling features",
) -> np.ndarray:
    """Features (N, D) float32 for the conditions of ``condition_index`` (N,).

    ``start`` None begins at noise; (N, D) seed features begin at their noised version at ``start_time`` of the schedule
    (DiffAugment, section 3.3). ``steps`` are the steps taken from there on. ``guidance`` applies where time lies in
    ``guidance_interval``. The noise belongs to ``rows`` (N,) (0 .. N-1 by default) and ``purpose``, not to the batch;
    ``batch_size`` None is what suits the denoiser's memory.
    Rectified features are cut at 0, since that is what their encoder does. Raises WorkbenchError for conditions that
    do not fit the denoiser and for samples that are not finite.
    """
    condition_index, dimension = np.asarray(condition_index), checkpoint.config.feature_dimension
    rows = np.arange(len(condition_index)) if rows is None else np.asarray(rows)
    if start is not None and start.shape != (len(rows), dimension):
        raise WorkbenchError(f"the seed features are {start.shape}, the denoiser takes {(len(rows), dimension)}.")
    settings = SamplerSettings(steps, guidance, tuple(guidance_interval), solver, precision)
    process = ReverseProcess(checkpoint, conditions, 1.0 if start is None else start_time, settings)
    features = np.empty((len(rows), dimension), dtype=np.float32)
    batch_size = batch_size or checkpoint.model.rows_at_once
    for first in track(range(0, len(rows), batch_size), description):
        part = slice(first, first + batch_size)
        seeds = None if start is None else checkpoint.standardisation.standardise(start[part])

        def draw_noise(step: int, rows_of_part: np.ndarray = rows[part]) -> np.ndarray:
            return row_normal(seed, f"{purpose}/{'start' if step < 0 else step}", rows_of_part, dimension)

        features[part] = checkpoint.standardisation.restore(process.run(condition_index[part], seeds, draw_noise))
    _require_finite(features)
    return np.maximum(features, 0.0) if checkpoint.identity.support == "rectified" else features


def generate_features(
    folder: Path,
    *,
    features: Path,
    text: Path,
    triplets: Path,
    diffusion: Path,
    start: str = "subject-object",
    start_time: float = 0.5,
    steps: int = 20,
    guidance: float = 1.0,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    solver: str = "dpm++",
    entity_features: str = "seed",
    seed_map: str = "none",
    samples: int = 0,
    share: float = 1.0,
    seed: int = 0,
    precision: str = "auto",
) -> dict:
    """Stage ``generated``: one union feature for each augmented triplet, or ``samples`` of them going round.

    ``share`` below 1 takes that part of the augmented triplets; of one seed a smaller part lies within a larger one.

    Seed boxes are drawn for a "random" ``start`` too, since the subject's and object's features come from them unless
    ``entity_features`` is "generated" (then all three regions are sampled, a box starting from its own seed box).
    "subject-object" starts at the noised mean of the two boxes (section 3.3), "subject-relation-object" at that of the
    boxes and a training union of the relation. ``seed_map`` "affine" carries the boxes' mean over to the union space.
    Writes generated.parquet and float16 arrays in parts, so that a killed run goes on; the processes of a launcher
    share the parts, and SIGTERM ends the run after the part at hand (``workbench.stopping.Stopped``). Returns metrics.
    """
    from workbench.language.text_embedding import TextEmbeddings
    from workbench.regions.feature_store import FeatureStore

    choices = {"start": (start, STARTS), "entity_features": (entity_features, ENTITY_FEATURES)}
    require_choices(choices | {"seed_map": (seed_map, SEED_MAPS)})
    folder, began, processes = Path(folder), time.monotonic(), Processes.current()
    checkpoint_path = Path(diffusion) / "denoiser.safetensors"
    checkpoint, store = DenoiserCheckpoint.load(checkpoint_path), FeatureStore.open(Path(features) / "train")
    checkpoint.require_store(store)
    embeddings, augmented = TextEmbeddings.open(text), read_triplets(triplets)
    checkpoint.require_text(embeddings)
    settings = SamplerSettings(steps, guidance, tuple(guidance_interval), solver, precision)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [start, start_time, entity_features, seed_map, samples, share, seed]
    work = {"settings": asdict(settings), "chosen": chosen, "denoiser": sha256_of_file(checkpoint_path)}
    require_same_work(folder / "generation.json", work | {"augmented": len(augmented.augmented)}, processes)
    if not 0 < share <= 1 or (samples and share < 1):
        raise WorkbenchError(f"share is {share} and samples {samples}; give a share above 0 and up to 1, or samples.")
    samples = samples or round(share * len(augmented.augmented)) * (share < 1)
    table = chosen_triplets(augmented.augmented, samples, seed)
    boxes = subject_object_seed(store, table, seed)
    conditions, index = condition_table(embeddings, table, checkpoint.hardness_model(), captions=augmented)
    table = table.assign(subject_box=boxes.subject_box, object_box=boxes.object_box, condition=index)
    # A random start has no seed, so nothing is fitted for it.
    mean = None if start == "random" else class_mean(
        store, table, boxes, relation=start != "subject-object", seed_map=seed_map, seed=seed
    )  # fmt: skip
    regions = [_UnionRegion(conditions, index, mean)]
    if entity_features == "generated":
        regions += [
            _BoxRegion(store, role, table, embeddings, checkpoint.hardness_model()) for role in ("subject", "object")
        ]
    for region in regions:
        size = len(table), checkpoint.config.feature_dimension
        stored = PartialFeatures(folder, region.name, *size, ROWS_PER_PART, processes)
        _fill(stored, region, checkpoint, start, start_time, settings, seed)
    if processes.main:
        finish_generated(folder, table, store, entity_features)
    processes.wait()
    process = settings.steps + settings.steps * (guidance != 1.0)
    return {
        "samples": len(table),
        "distinct_triplets": len(conditions),
        "regions": [region.name for region in regions],
        "seconds": round(time.monotonic() - began, 3),
        "solver": solver,
        "network_evaluations_per_sample": process,
        "bands": {str(band): int(count) for band, count in table["band"].value_counts().items()},
    }


def chosen_triplets(augmented: pd.DataFrame, samples: int, seed: int) -> pd.DataFrame:
    """The augmented triplets to sample for: all of them, a random part, or all going round, in their order.

    ``augmented_row`` says where each comes from. WorkbenchError where there is none.
    """
    if not len(augmented) or samples < 0:
        raise WorkbenchError(
            f"{samples} samples of {len(augmented)} augmented triplets cannot be drawn; build augmented triplets first "
            "(notebook 02) and ask for 0 (one for each) or more."
        )
    rows = np.arange(samples or len(augmented)) % len(augmented)
    if 0 < samples < len(augmented):
        rows = np.sort(generator(seed, "chosen triplets").permutation(len(augmented))[:samples])
    return augmented.iloc[rows].reset_index(drop=True).assign(augmented_row=rows)


class _UnionRegion:
    """Union regions: conditioned on the triplet, seeded by a mean over its classes."""

    name = "union"

    def __init__(self, conditions: ConditionTable, index: np.ndarray, seeds):
        self.conditions, self.index, self.seeds = conditions, index, seeds


class _BoxRegion:
    """The boxes of one role: conditioned on the class name, seeded by the drawn box."""

    def __init__(self, store, role: str, table: pd.DataFrame, text, hardness_model):
        self.store, self.name, self.box_rows = store, role, table[f"{role}_box"].to_numpy()
        self.conditions, self.index = entity_condition_table(text, table[role].to_numpy(), hardness_model)

    def seeds(self, rows: np.ndarray) -> np.ndarray:
        return self.store.box(self.box_rows[rows])


def _fill(stored: PartialFeatures, region, checkpoint, start: str, start_time: float, settings, seed: int) -> None:
    def make(rows: np.ndarray) -> np.ndarray:
        distinct, index = np.unique(region.index[rows], return_inverse=True)
        return sample_features(
            checkpoint,
            region.conditions.rows(distinct),
            index.reshape(-1),
            seed=seed,
            start=None if start == "random" else region.seeds(rows),
            start_time=start_time,
            rows=rows,
            purpose=f"sample {region.name}",
            description=f"Sampling {region.name} features, rows {rows[0]:,} to {rows[-1]:,} of {stored.n:,}",
            **asdict(settings),
        )

    stored.fill(make)


def require_choices(choices: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    """Refuse a value that is not among the known ones; ``choices`` maps a parameter to (value, known values)."""
    for name, (value, known) in choices.items():
        if value not in known:
            raise WorkbenchError(f"{name} {value!r} is not known; expected one of {', '.join(known)}.")


def _require_finite(features: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise WorkbenchError(
            f"{len(bad)} of {len(features)} sampled features are not finite, the first is row {bad[0]}. "
            "Lower guidance, or train the denoiser again with a lower learning rate."
        )
