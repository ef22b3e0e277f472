"""Makers of tail features other than diffusion by name, and the stage that runs one of them.

One of your own is a dataclass with ``fit``, registered from a notebook cell (docs/own-generator.md)::

    @GENERATORS.register("mine")
    @dataclass(frozen=True)
    class Mine:
        scale: float = 0.2

        def fit(self, real, wanted, seed):
            ...
            return sample  # maps rows (n,) of the wanted table to features (n, D)
"""

import time
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from workbench.configuration import chosen_by, configured
from workbench.diffusion.baselines import ClassGaussian, CopyNoise, Smote, SubjectObjectMean, TripletMean
from workbench.diffusion.generated_folder import chosen_triplets, write_generated
from workbench.diffusion.initialisation import Sampler, draw_boxes
from workbench.errors import WorkbenchError
from workbench.language.triplets import read_triplets
from workbench.regions.features import FeaturesFolder, FeatureStore
from workbench.registry import Registry
from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import ROLES


class Generator(Protocol):
    """A maker of union features for wanted triplets; its options are its fields."""

    def fit(self, real: FeatureStore, wanted: pd.DataFrame, seed: int) -> Sampler:
        """What maps rows (n,) of ``wanted`` to features (n, D) float32, the same in whatever parts they are asked for.

        ``real`` is the train store; ``wanted`` has subject, relation and object (class ids), subject_box and object_box
        (rows of the store's boxes, drawn for the triplet).
        """
        ...


GENERATORS: Registry[Any] = Registry(
    "generator",
    {
        "copy_noise": CopyNoise,
        "class_gaussian": ClassGaussian,
        "smote": Smote,
        "pair_mean": SubjectObjectMean,
        "triple_mean": TripletMean,
    },
)


def generator_class(choice: Any) -> type:
    """The class behind a name, an import path, a class or a generator; WorkbenchError for one without ``fit``."""
    found = GENERATORS.resolve(choice)
    kind = found if isinstance(found, type) else type(found)
    if not (callable(getattr(kind, "fit", None)) and is_dataclass(kind)):
        raise WorkbenchError(
            f"generator {choice!r}: expected a dataclass with fit(real, wanted, seed). docs/own-generator.md has one."
        )
    return kind


@dataclass(frozen=True)
class BaselineConfig:
    """Which generator makes tail features without diffusion, and for how many triplets.

    ``generator`` is a name of `GENERATORS`, an import path, or a generator itself or its class; ``options`` are its
    fields, which may be given as a dict. ``samples`` as in ``SamplingConfig``.
    """

    generator: Any = "copy_noise"
    options: Any = field(default=None, metadata=chosen_by("generator", generator_class))
    samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        kind, found = generator_class(self.generator), GENERATORS.resolve(self.generator)
        options = self.options if isinstance(found, type) else found  # a generator itself has its options already
        object.__setattr__(self, "options", configured(kind, options, "options"))


def generate_baseline(
    folder: Path, *, features: Path, triplets: Path, config: BaselineConfig | None = None
) -> dict[str, Any]:
    """Stage ``generated`` without diffusion: one union feature for each augmented triplet, made from training rows.

    Triplets and boxes are those of ``generate_features`` for the same ``samples`` and ``seed``, so that the union
    feature alone tells two folders apart. Rectified features are cut at 0. Writes what ``generate_features`` writes, in
    parts too. Returns metrics. WorkbenchError for an unknown generator, no triplets, or a class that training never
    shows.
    """
    config, began = config or BaselineConfig(), time.monotonic()
    store, augmented = FeaturesFolder(features).train, read_triplets(triplets).augmented
    table = draw_boxes(store, chosen_triplets(augmented, config.samples, config.seed), config.seed)
    # Conditions are numbered as the sampler numbers them: the tables of two folders are equal.
    distinct, condition = distinct_triplets(*(table[role].to_numpy() for role in ROLES))
    table = table.assign(condition=condition)
    sampler = config.options.fit(store, table, config.seed)

    def checked(rows: np.ndarray) -> np.ndarray:
        made = np.asarray(sampler(rows))
        if made.shape != (len(rows), store.dimension):
            raise WorkbenchError(
                f"generator {config.generator!r} made features of shape {made.shape} for {len(rows)} rows; expected "
                f"{(len(rows), store.dimension)}."
            )
        return made

    work = {"generator": repr(config.options), "seed": config.seed, "augmented": len(augmented)}
    write_generated(folder, table, store, [("union", checked)], work)
    return {
        "samples": len(table),
        "distinct_triplets": len(distinct),
        "seconds": round(time.monotonic() - began, 3),
        "bands": {str(band): int(count) for band, count in table["band"].value_counts().items()},
    }
