"""Makers of tail features other than diffusion by name, the stage that runs one, and the folder that all makers fill.

One of your own is a dataclass with ``fit(real, wanted, seed)``, registered from a notebook cell
(docs/own-generator.md). ``real`` is the train store. ``wanted`` has subject, relation and object (class ids),
subject_box and object_box (rows of the store's boxes, drawn for the triplet). What ``fit`` returns maps rows (n,) of
that table to union features (n, D) float32, the same in whatever parts they are asked for.
"""

import time
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.configuration import chosen_by, configured
from workbench.diffusion.baselines import ClassGaussian, CopyNoise, Smote, SubjectObjectMean, TripletMean
from workbench.diffusion.exemplars import Sampler, draw_boxes
from workbench.errors import WorkbenchError
from workbench.language.triplets import read_triplets
from workbench.launching import Processes
from workbench.progress import track
from workbench.randomness import generator
from workbench.ranges import Ranged, Seed, Whole
from workbench.regions.feature_writer import RangeWriter, remove_notes
from workbench.regions.features import FeaturesFolder, FeatureStore, finish_generated, store_identity
from workbench.registry import Registry
from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import ROLES
from workbench.stopping import stop_on_sigterm

ROWS_PER_PART = 4096

GENERATORS: Registry[Any] = Registry("generator", {
    "copy_noise": CopyNoise, "class_gaussian": ClassGaussian, "smote": Smote,
    "pair_mean": SubjectObjectMean, "triple_mean": TripletMean,
})  # fmt: skip


def generator_class(choice: Any) -> type:
    """The class behind a name, an import path, a class or a generator; WorkbenchError for one without ``fit``."""
    found = GENERATORS.resolve(choice)
    kind = found if isinstance(found, type) else type(found)
    if not (callable(getattr(kind, "fit", None)) and is_dataclass(kind)):
        what = f"generator {choice!r}: expected a dataclass with fit(real, wanted, seed)"
        raise WorkbenchError(f"{what}. docs/own-generator.md has one.")
    return kind


@dataclass(frozen=True)
class BaselineConfig(Ranged):
    """Which generator makes tail features without diffusion, and for how many triplets.

    ``generator`` is a name of `GENERATORS`, an import path, or a generator itself or its class; ``options`` are its
    fields, which may be given as a dict. ``samples`` as in ``SamplingConfig``.
    """

    generator: Any = "copy_noise"
    options: Any = field(default=None, metadata=chosen_by("generator", generator_class))
    samples: Whole = 0
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        kind, found = generator_class(self.generator), GENERATORS.resolve(self.generator)
        options = self.options if isinstance(found, type) else found  # a generator itself has its options already
        object.__setattr__(self, "options", configured(kind, options, "options"))


def generate_baseline(
    folder: Path, *, features: Path, triplets: Path, config: BaselineConfig | None = None
) -> dict[str, Any]:
    """Stage ``generated`` without diffusion: one union feature for each augmented triplet, made from training rows.

    Triplets and boxes are those of ``generate_features`` for the same ``samples`` and ``seed``, so that the union
    feature alone tells two folders apart. Writes what ``generate_features`` writes, in parts too. Returns metrics.
    WorkbenchError for an unknown generator, no triplets, or a class that training never shows.
    """
    config, began = config or BaselineConfig(), time.monotonic()
    store, augmented = FeaturesFolder(features).train, read_triplets(triplets).augmented
    wanted = wanted_triplets(store, augmented, config.samples, config.seed)
    work = {"generator": repr(config.options), "seed": config.seed, "augmented": len(augmented)}
    return write_generated(folder, wanted, store, {"union": baseline_sampler(store, wanted, config)}, work) | {
        "seconds": round(time.monotonic() - began, 3)
    }


def baseline_sampler(store: FeatureStore, wanted: pd.DataFrame, config: BaselineConfig) -> Sampler:
    """What the generator makes of ``store`` for rows of ``wanted``, cut at 0 where the encoder is rectified.

    WorkbenchError for features of another shape.
    """
    sampler = config.options.fit(store, wanted, config.seed)

    def sample(rows: np.ndarray) -> np.ndarray:
        made = np.asarray(sampler(rows), dtype=np.float32)
        if made.shape != (len(rows), store.dimension):
            what = f"generator {config.generator!r} made features of shape {made.shape} for {len(rows)} rows"
            raise WorkbenchError(f"{what}; expected {(len(rows), store.dimension)}.")
        return np.maximum(made, 0.0) if store.support == "rectified" else made

    return sample


def wanted_triplets(store: FeatureStore, augmented: pd.DataFrame, samples: int, seed: int) -> pd.DataFrame:
    """The augmented triplets to make features for: all of them (0), a random part, or all going round, in their order.

    ``augmented_row`` says where each comes from, ``subject_box`` and ``object_box`` are its training boxes in
    ``store``, drawn by ``seed``, and ``condition`` numbers the distinct triplets. WorkbenchError where there is none.
    """
    if not len(augmented) or samples < 0:
        raise WorkbenchError(
            f"{samples} samples of {len(augmented)} augmented triplets cannot be drawn; build augmented triplets first "
            "(notebook 02) and ask for 0 (one for each) or more."
        )
    rows = np.arange(samples or len(augmented)) % len(augmented)
    if 0 < samples < len(augmented):  # of one seed a smaller part lies within a larger one
        rows = np.sort(generator(seed, "chosen triplets").permutation(len(augmented))[:samples])
    wanted = draw_boxes(store, augmented.iloc[rows].reset_index(drop=True).assign(augmented_row=rows), seed)
    return wanted.assign(condition=distinct_triplets(*(wanted[role].to_numpy() for role in ROLES))[1])


def write_generated(
    folder: Path, wanted: pd.DataFrame, store: FeatureStore, regions: dict[str, Sampler], work: dict[str, Any]
) -> dict[str, Any]:
    """Write features of all rows of ``wanted``, the table and the manifest, to be read as ``GeneratedFeatures``.

    ``regions`` names "union", and "subject" and "object" where they are made too, and says what makes each. ``work``
    (JSON) says what the features are made of: an unfinished folder of other work is refused. The processes of a
    launcher share the ranges of rows, call this together and return together. SIGTERM ends it after the range at hand
    (``workbench.stopping.Stopped``). Returns counts. WorkbenchError for features that are too large for float16.
    """
    folder, processes = Path(folder), Processes.current()
    arrays = {f"{region}_features": (len(wanted), store.dimension) for region in regions}
    writer = RangeWriter(folder, arrays, work | {"store": store_identity(store)})
    with stop_on_sigterm() as stop:
        for region, make in regions.items():
            ranges = writer.missing(f"{region}_features", ROWS_PER_PART)
            own = [part for part in ranges if part[0] // ROWS_PER_PART % processes.count == processes.rank]
            for start, end in track(own, f"Making {region} features"):
                writer.write(f"{region}_features", start, make(np.arange(start, end)))
                writer.flush()
                writer.raise_if_asked(stop)
        writer.wait_for_all(lambda: not any(writer.missing(name, ROWS_PER_PART) for name in arrays), stop)
    processes.wait()  # all have seen the notes that are removed now
    if processes.main:
        finish_generated(folder, wanted, store, "generated" if len(regions) > 1 else "seed")
        remove_notes(folder)
    processes.wait()
    return {
        "samples": len(wanted),
        "distinct_triplets": int(wanted["condition"].nunique()),
        "bands": {str(band): int(count) for band, count in wanted["band"].value_counts().items()},
    }
