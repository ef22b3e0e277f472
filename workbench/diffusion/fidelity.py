"""Fidelity of generated features: one table, generated rows beside their floor and two cheap baselines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from workbench.diffusion.back_off import matched_rows
from workbench.diffusion.baselines import ClassGaussian, CopyNoise
from workbench.diffusion.config import FidelityConfig
from workbench.diffusion.fidelity_classes import (
    ClassDiscriminant,
    agreement,
    memorisation,
    train_on_generated_test_on_real,
    training_distances,
)
from workbench.diffusion.fidelity_distances import (
    Gaussian,
    dimension_errors,
    frechet_distance,
    kernel_distance,
    neighbour_manifolds,
    norm_errors,
    project,
    require_finite,
)
from workbench.errors import WorkbenchError
from workbench.randomness import derived_seed, generator
from workbench.scenes.vocabulary import ROLES

SAMPLE_SETS = ("generated", "floor", "copy plus noise", "class Gaussian")


@dataclass(frozen=True)
class LabelledFeatures:
    """Features (n, D) and their classes, a table of n rows with columns subject, relation, object."""

    features: np.ndarray
    labels: pd.DataFrame

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: np.ndarray) -> "LabelledFeatures":
        """Some of the rows, in the order asked for."""
        return LabelledFeatures(np.asarray(self.features[rows]), self.labels.iloc[rows].reset_index(drop=True))

    # What generators read of a feature store.
    entity_region = "union"

    @property
    def relations(self) -> pd.DataFrame:
        """The labels."""
        return self.labels

    @property
    def dimension(self) -> int:
        """D."""
        return self.features.shape[1]

    def union(self, rows: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Features of rows, (n, D)."""
        return self.features[rows].astype(dtype)

    subject = object = union


@dataclass
class _Row:
    """One row of the report under construction; what could not be measured says why."""

    values: dict[str, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def measure(self, names: tuple[str, ...], rows: int, needed: int, compute: Callable[[], dict]) -> None:
        if rows < needed:
            self.values |= dict.fromkeys(names, float("nan"))
            self.reasons.append(f"{names[0]}: needs {needed} rows in each set, the smaller has {rows}")
        else:
            self.values |= compute()


def fidelity_report(
    real_train: LabelledFeatures,
    real_held_out: LabelledFeatures,
    generated: LabelledFeatures,
    *,
    config: FidelityConfig | None = None,
    predict: Callable[[np.ndarray], pd.DataFrame] | None = None,
    real_test: LabelledFeatures | None = None,
) -> pd.DataFrame:
    """One row for each of ``SAMPLE_SETS``, one column for each metric, and ``reason`` for what is NaN.

    All sets are compared with the held-out real rows, which no model has seen, so copying training rows earns no
    more than real rows do. "floor" is real against other real: a training row for each sample's triplet (for
    memorisation and agreement, held-out rows against other held-out rows). The baselines are drawn for the generated
    rows' own triplets. Frechet distances compare what is comparable only if the generated rows have the held-out
    rows' class frequencies: generate one row for each held-out triplet.

    ``predict`` maps features (n, D) to a table of predicted classes, from a recogniser trained on real rows; by
    default a linear discriminant fitted to ``real_train``. ``real_test`` (default: held-out) is what
    train-on-generated is tested on. WorkbenchError names a row that is not finite.
    """
    config = config or FidelityConfig()
    seed = config.seed
    _check({"training rows": real_train, "held-out rows": real_held_out, "generated rows": generated})
    generated = _some(generated, config.rows_at_most, seed, "generated")
    reference = _Reference(_some(real_held_out, config.rows_at_most, seed, "held out"), config)
    context = _Context(real_train, real_held_out, real_test or real_held_out, predict, seed)
    rows = []
    for name, samples in _sample_sets(real_train, generated, config).items():
        row = _Row()
        reference.compare(samples, row)
        context.memorisation(samples, name == "floor", row)
        context.recognition(samples, name == "floor", row)
        rows.append({"samples": name, "rows": len(samples), **row.values, "reason": "; ".join(row.reasons)})
    return pd.DataFrame(rows).set_index("samples")


class _Reference:
    """The held-out real rows, with what every sample set is compared to computed once."""

    def __init__(self, real: LabelledFeatures, config: FidelityConfig):
        self.real, self.config = real.features, config
        self.gaussian: Any = Gaussian.fit(real.features) if len(real) > 1 else None
        components = min(config.neighbour_components, real.features.shape[1])
        self.axes: Any = self.gaussian.principal_axes(components) if self.gaussian else None

    def compare(self, samples: LabelledFeatures, row: _Row) -> None:
        """Everything that needs only the two matrices."""
        config, features = self.config, samples.features
        rows = min(len(self.real), len(features))
        row.values |= dimension_errors(self.real, features) | norm_errors(self.real, features)
        row.measure(
            ("frechet_pca",), rows, min(config.components, features.shape[1]) + 1,
            lambda: {"frechet_pca": frechet_distance(self.gaussian, features, components=config.components)},
        )  # fmt: skip
        if config.full_frechet:
            row.measure(("frechet_full",), rows, 2, lambda: {"frechet_full": frechet_distance(self.gaussian, features)})
        row.measure(("kernel_distance", "kernel_distance_spread"), rows, 2, lambda: self._kernel(features))
        row.measure(
            ("precision", "recall", "density", "coverage"), rows, config.neighbours + 1,
            lambda: neighbour_manifolds(
                project(self.real, self.gaussian.mean, self.axes), project(features, self.gaussian.mean, self.axes),
                neighbours=config.neighbours,
            ),
        )  # fmt: skip
        row.measure(("effective_rank",), rows, 2, lambda: {"effective_rank": Gaussian.fit(features).effective_rank})

    def _kernel(self, features: np.ndarray) -> dict[str, float]:
        mean, spread = kernel_distance(
            self.real, features, seed=derived_seed(self.config.seed, "kernel distance") % 2**32,
            subsets=self.config.kernel_subsets, rows_per_subset=self.config.kernel_rows,
        )  # fmt: skip
        return {"kernel_distance": mean, "kernel_distance_spread": spread}


class _Context:
    """The real rows that memorisation and recognition need, with what all sample sets share computed once."""

    def __init__(self, train, held_out, test, predict, seed: int):
        self.train, self.held_out, self.test = train, held_out, test
        self.predict, self.recogniser_rows = predict, 2
        if predict is None:
            self.recogniser_rows = len(train)
            self.predict = ClassDiscriminant.fit(train.features, train.labels).predict if len(train) > 1 else None
        self.held_out_distance = training_distances(held_out.features, train.features)
        self.first, self.second = _halves(held_out, seed)

    def memorisation(self, samples: LabelledFeatures, is_floor: bool, row: _Row) -> None:
        """Distances to training beside the held-out rows'; the floor is one half of those against the other."""
        if is_floor:
            samples, distance = self.held_out.take(self.first), self.held_out_distance[self.first]
        else:
            distance = training_distances(samples.features, self.train.features)
        unseen = self.second if is_floor else np.arange(len(self.held_out))
        labels = self.held_out.labels.iloc[unseen]
        row.values |= memorisation(distance, samples.labels, self.held_out_distance[unseen], labels)
        if not np.isfinite(row.values["memorisation"]):
            row.reasons.append("memorisation: some role has no held-out rows of the samples' classes")

    def recognition(self, samples: LabelledFeatures, is_floor: bool, row: _Row) -> None:
        """Agreement (the floor's: on held-out rows) and train-on-generated, test-on-real."""
        seen = self.held_out if is_floor else samples
        row.measure(
            (*(f"agreement_{role}" for role in ROLES), "agreement"), self.recogniser_rows, 2,
            lambda: agreement(self.predict(seen.features), seen.labels),
        )  # fmt: skip
        row.measure(
            (*(f"test_on_real_{role}" for role in ROLES), "test_on_real"), len(samples), 2,
            lambda: train_on_generated_test_on_real(
                samples.features, samples.labels, self.test.features, self.test.labels
            ),
        )  # fmt: skip


def _sample_sets(train: Any, generated: LabelledFeatures, config: FidelityConfig) -> dict[str, LabelledFeatures]:
    wanted, seed, rows = generated.labels, config.seed, np.arange(len(generated))
    baselines = (CopyNoise(config.copy_noise), ClassGaussian(config.components))
    made = [LabelledFeatures(baseline.fit(train, wanted, seed)(rows), wanted) for baseline in baselines]
    # Drawn for the same triplets: a floor with other class frequencies would measure those and not the features.
    floor = train.take(matched_rows(train.labels, wanted, seed=seed, purpose="floor"))
    return dict(zip(SAMPLE_SETS, (generated, floor, *made), strict=True))


def _check(sets: dict[str, LabelledFeatures]) -> None:
    for what, rows in sets.items():
        if rows.features.ndim != 2 or len(rows.features) != len(rows.labels) or not len(rows):
            raise WorkbenchError(
                f"Fidelity: {what} have features of shape {rows.features.shape} and {len(rows.labels)} labels. "
                "Expected a matrix with one row for each label, and at least one row."
            )
        require_finite(rows.features, f"Fidelity, {what}")
    if len({rows.features.shape[1] for rows in sets.values()}) > 1:
        found = ", ".join(f"{what} {rows.features.shape[1]}" for what, rows in sets.items())
        raise WorkbenchError(f"Fidelity: features of different dimensions ({found}). Use one encoder for all.")


def _some(rows: LabelledFeatures, at_most: int, seed: int, purpose: str) -> LabelledFeatures:
    if len(rows) <= at_most:
        return rows
    return rows.take(np.sort(generator(seed, "fidelity", purpose).choice(len(rows), at_most, replace=False)))


def _halves(rows: LabelledFeatures, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = generator(seed, "fidelity", "halves").permutation(len(rows))
    return order[: len(rows) // 2], order[len(rows) // 2 :]
