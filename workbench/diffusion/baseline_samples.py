"""Two cheap rivals of a diffusion model: a copied row plus noise, and a Gaussian fitted to each class."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.diffusion.class_groups import (
    LEVELS,
    ROWS_PER_GROUP_AT_MOST,
    FeatureMatrix,
    TrainingGroups,
    matched_rows,
    mean_and_spread,
    some_rows,
    training_groups,
)
from workbench.randomness import row_normal
from workbench.scenes.relations import rows_by_class

SAMPLES_PER_CHUNK = 1024
NUMBERS_FOR_POOLING = 1 << 26


@dataclass(frozen=True)
class CopyPlusNoise:
    """Training rows ``source`` (n,) of ``features``, to which noise of standard deviation ``spread`` (D,) is added."""

    features: FeatureMatrix
    source: np.ndarray
    spread: np.ndarray
    seed: int

    @classmethod
    def fit(
        cls, features: FeatureMatrix, training: pd.DataFrame, wanted: pd.DataFrame, *, seed: int, noise: float = 0.1
    ) -> "CopyPlusNoise":
        """A source for each wanted triplet; ``noise`` is in standard deviations of each dimension in training."""
        source = matched_rows(training, wanted, seed=seed, purpose="copy plus noise")
        return cls(features, source, noise * mean_and_spread(features, seed)[1], seed)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Samples (n, D) float32 for wanted rows; they do not depend on what else is asked for."""
        samples = np.empty((len(rows), self.features.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), SAMPLES_PER_CHUNK):
            part = rows[start : start + SAMPLES_PER_CHUNK]
            noise = self.spread * row_normal(self.seed, "copy noise", part, len(self.spread))
            samples[start : start + len(part)] = self.features[self.source[part]] + noise
        return samples


def copy_plus_noise(
    features: FeatureMatrix, training: pd.DataFrame, wanted: pd.DataFrame, *, seed: int, noise: float = 0.1
) -> np.ndarray:
    """One training row (of features (N, D)) for each wanted triplet, plus Gaussian noise; (n, D) float32.

    ``noise`` is in standard deviations of each dimension over the training rows. The rival that knows nothing new.
    """
    return CopyPlusNoise.fit(features, training, wanted, seed=seed, noise=noise)(np.arange(len(wanted)))


@dataclass(frozen=True)
class ClassGaussian:
    """A Gaussian for each group of training rows: see ``class_gaussian``. ``overall`` (D,) is the mean of all rows."""

    features: FeatureMatrix
    groups: TrainingGroups
    pooled: "_PooledCovariance"
    overall: np.ndarray
    prior_rows: float
    seed: int

    @classmethod
    def fit(
        cls,
        features: FeatureMatrix,
        training: pd.DataFrame,
        wanted: pd.DataFrame,
        *,
        seed: int,
        components: int = 256,
        prior_rows: float = 8.0,
    ) -> "ClassGaussian":
        """Find each wanted triplet's group and fit the covariance that the groups share."""
        groups = training_groups(training, wanted)
        pooled = _PooledCovariance.fit(features, training, components, seed)
        return cls(features, groups, pooled, mean_and_spread(features, seed)[0], prior_rows, seed)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Samples (n, D) float32 for wanted rows; they do not depend on what else is asked for."""
        samples = np.empty((len(rows), self.features.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), SAMPLES_PER_CHUNK):
            part = slice(start, start + SAMPLES_PER_CHUNK)
            samples[part] = self.pooled.draw(self.seed, rows[part])
        weights = row_normal(self.seed, "gaussian own", rows, ROWS_PER_GROUP_AT_MOST)
        for number, places in rows_by_class(self.groups.group[rows]).items():
            mean, deviations, trust = self._own(number)
            for start in range(0, len(places), SAMPLES_PER_CHUNK):
                part = places[start : start + SAMPLES_PER_CHUNK]
                drawn = weights[part, : len(deviations)] @ deviations  # (rows, D)
                samples[part] = mean + drawn + np.sqrt(1 - trust) * samples[part]
        return samples

    def _own(self, number: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Mean (D,) of a group, its deviations (g, D) scaled to draw with, and the weight of its own covariance."""
        members = self.groups.rows[number]
        own = np.asarray(self.features[some_rows(members, self.seed, number)], dtype=np.float64)  # (g, D)
        trust = len(members) / (len(members) + self.prior_rows) if len(own) > 1 else 0.0
        mean = (own.sum(axis=0) + self.overall) / (len(own) + 1)
        return mean, (own - own.mean(axis=0)) * np.sqrt(trust / max(1, len(own) - 1)), trust


def class_gaussian(
    features: FeatureMatrix,
    training: pd.DataFrame,
    wanted: pd.DataFrame,
    *,
    seed: int,
    components: int = 256,
    prior_rows: float = 8.0,
) -> np.ndarray:
    """A draw from a Gaussian of each wanted triplet's training rows; (n, D) float32.

    The class is the group of ``training_groups``, of g rows. Its mean counts the mean of all rows as one row more;
    its covariance is weighted g / (g + ``prior_rows``) against the pooled within-class covariance, so that one
    example suffices. The pooled covariance keeps its ``components`` leading axes and a diagonal for the rest. A
    group of thousands is represented by 512 of its rows.
    """
    options = {"seed": seed, "components": components, "prior_rows": prior_rows}
    return ClassGaussian.fit(features, training, wanted, **options)(np.arange(len(wanted)))


@dataclass(frozen=True)
class _PooledCovariance:
    axes: np.ndarray  # (components, D), scaled by the standard deviation along each
    remainder: np.ndarray  # (D,) standard deviation that the axes leave

    @classmethod
    def fit(cls, features: FeatureMatrix, training: pd.DataFrame, components: int, seed: int) -> "_PooledCovariance":
        rows = some_rows(np.arange(len(features)), seed, "pooled", NUMBERS_FOR_POOLING // features.shape[1])
        residuals, freedom = _within_class(features[rows], training.iloc[rows])
        values, vectors = np.linalg.eigh(residuals.T @ residuals / max(1, freedom))
        kept = np.argsort(values)[::-1][:components]
        axes = (vectors[:, kept] * np.sqrt(values[kept].clip(min=0))).T
        total = np.square(residuals).sum(axis=0) / max(1, freedom)
        return cls(axes, np.sqrt((total - np.square(axes).sum(axis=0)).clip(min=0)))

    def draw(self, seed: int, rows: np.ndarray) -> np.ndarray:
        along = row_normal(seed, "gaussian axes", rows, len(self.axes)) @ self.axes  # (rows, D)
        return along + self.remainder * row_normal(seed, "gaussian remainder", rows, len(self.remainder))


def _within_class(features: FeatureMatrix, training: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Residuals (N, D) about class means, and their degrees of freedom, at the finest level that has enough."""
    wanted_freedom = min(len(training) // 4, 4 * features.shape[1])
    for roles in (LEVELS[0], ("subject", "object"), ("relation",), ()):
        classes = _class_numbers(training, roles)
        freedom = len(training) - int(classes.max()) - 1
        if freedom >= wanted_freedom or not roles:
            break
    values = np.asarray(features, dtype=np.float64)
    sums = np.zeros((classes.max() + 1, values.shape[1]))
    np.add.at(sums, classes, values)
    return values - (sums / np.bincount(classes)[:, None])[classes], freedom


def _class_numbers(table: pd.DataFrame, roles: tuple[str, ...]) -> np.ndarray:
    if not roles:
        return np.zeros(len(table), dtype=np.int64)
    return np.unique(table[list(roles)].to_numpy(), axis=0, return_inverse=True)[1].reshape(-1)
