"""The stage that makes features of augmented triplets without a denoiser, in the form that the sampler leaves them."""

import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.diffusion.baseline_samples import ClassGaussian, CopyPlusNoise
from workbench.diffusion.generated import PartialFeatures
from workbench.diffusion.resumption import require_same_work
from workbench.diffusion.sampling import ROWS_PER_PART, chosen_triplets, require_choices
from workbench.diffusion.seeds import SEED_MAPS, SubjectObjectSeed, class_mean, subject_object_seed
from workbench.diffusion.smote import Interpolation
from workbench.errors import WorkbenchError
from workbench.language.triplets import read_triplets
from workbench.processes import Processes
from workbench.progress import track
from workbench.regions.feature_store import FeatureStore
from workbench.regions.generated_features import finish_generated, store_identity
from workbench.scenes.vocabulary import ROLES

RIVALS = ("copy_noise", "class_gaussian", "smote", "pair_mean", "triple_mean")

Sampler = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RivalSettings:
    """What the rivals depend on besides data and seed: each reads its own and leaves the others alone.

    ``noise`` (copy_noise) in standard deviations; ``neighbours`` (smote); ``components`` and ``prior_rows``
    (class_gaussian); ``seed_map`` (both means) of ``SEED_MAPS``. WorkbenchError for a value out of range.
    """

    noise: float = 0.1
    neighbours: int = 5
    components: int = 256
    prior_rows: float = 8.0
    seed_map: str = "none"

    def __post_init__(self):
        require_choices({"seed_map": (self.seed_map, SEED_MAPS)})
        for name, least in (("noise", 0), ("neighbours", 1), ("components", 1), ("prior_rows", 0)):
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise WorkbenchError(f"{name} is {value}; expected a number of at least {least}.")


@dataclass(frozen=True)
class UnionRows:
    """The union features of a store as a matrix (N, D) of which only the rows asked for are read."""

    store: FeatureStore

    @property
    def shape(self) -> tuple[int, int]:
        """(number of relations, dimension)."""
        return len(self.store), self.store.dimension

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.store.union(rows)


def generate_rival(
    folder: Path,
    *,
    features: Path,
    triplets: Path,
    rival: str,
    samples: int = 0,
    seed: int = 0,
    noise: float = 0.1,
    neighbours: int = 5,
    components: int = 256,
    prior_rows: float = 8.0,
    seed_map: str = "none",
) -> dict:
    """Stage ``generated`` without diffusion: one union feature for each augmented triplet, made from training rows.

    ``rival``: "copy_noise" (``copy_plus_noise``), "class_gaussian", "smote" (``Interpolation``), "pair_mean" (the
    subject-object seed itself, section 3.3 without its diffusion) or "triple_mean" (a union that shows the relation
    averaged in); diffusion reference D. Triplets and seed boxes are those of ``generate_features`` for the same
    ``samples`` and ``seed``, so that the union feature alone tells two folders apart. Rectified features are cut at 0.
    Writes generated.parquet, union_features.npy (float16, in parts, so that a killed run goes on, which the processes
    of a launcher share) and generated.json; SIGTERM ends it after the part at hand (``workbench.stopping.Stopped``);
    returns metrics. WorkbenchError for an unknown rival, no triplets, or a class that training never shows.
    """
    require_choices({"rival": (rival, RIVALS)})
    settings = RivalSettings(noise, neighbours, components, prior_rows, seed_map)
    folder, began, processes = Path(folder), time.monotonic(), Processes.current()
    store, augmented = FeatureStore.open(Path(features) / "train"), read_triplets(triplets).augmented
    folder.mkdir(parents=True, exist_ok=True)
    work = {"settings": asdict(settings), "chosen": [rival, samples, seed], "augmented": len(augmented)}
    work["store"] = store_identity(store) | {"relations": len(store)}
    require_same_work(folder / "generation.json", work, processes)
    table = chosen_triplets(augmented, samples, seed)
    boxes = subject_object_seed(store, table, seed)
    distinct, index = np.unique(table[list(ROLES)].to_numpy(dtype=np.int64), axis=0, return_inverse=True)
    # Conditions are numbered as the sampler numbers them: the tables of two folders are equal.
    table = table.assign(subject_box=boxes.subject_box, object_box=boxes.object_box, condition=index.reshape(-1))
    stored = PartialFeatures(folder, "union", len(table), store.dimension, ROWS_PER_PART, processes)
    _fill(stored, rival, store, table, boxes, settings, seed)
    if processes.main:
        finish_generated(folder, table, store, "seed")
    processes.wait()
    return {
        "samples": len(table),
        "distinct_triplets": len(distinct),
        "seconds": round(time.monotonic() - began, 3),
        "bands": {str(band): int(count) for band, count in table["band"].value_counts().items()},
    }


def rival_sampler(
    rival: str, store: FeatureStore, table: pd.DataFrame, boxes: SubjectObjectSeed, settings: RivalSettings, seed: int
) -> Sampler:
    """Fit one of ``RIVALS`` to the train store; what it returns maps rows of ``table`` to features (n, D) float32."""
    known = UnionRows(store), store.relations[list(ROLES)], table
    if rival == "copy_noise":
        return CopyPlusNoise.fit(*known, seed=seed, noise=settings.noise)
    if rival == "class_gaussian":
        options = {"components": settings.components, "prior_rows": settings.prior_rows}
        return ClassGaussian.fit(*known, seed=seed, **options)
    if rival == "smote":
        return Interpolation.fit(*known, seed=seed, neighbours=settings.neighbours)
    return class_mean(store, table, boxes, relation=rival == "triple_mean", seed_map=settings.seed_map, seed=seed)


def _fill(stored: PartialFeatures, rival: str, store: FeatureStore, table: pd.DataFrame, boxes, settings, seed: int):
    @functools.cache
    def sampler() -> Sampler:
        return rival_sampler(rival, store, table, boxes, settings, seed)

    def make(rows: np.ndarray) -> np.ndarray:
        made = sampler()(rows)
        return np.maximum(made, 0.0) if store.support == "rectified" else made

    stored.fill(make, lambda rounds: track(rounds, f"Making features ({rival.replace('_', ' ')})"))
