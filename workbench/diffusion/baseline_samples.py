"""Two cheap rivals of a diffusion model: a copied row plus noise, and a Gaussian fitted to each class."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.randomness import generator, row_normal
from workbench.scenes.vocabulary import ROLES

# From the most specific to the least: the training rows that show what is asked for.
LEVELS = (
    ROLES,
    ("subject", "object"),
    ("relation", "object"),
    ("subject", "relation"),
    ("object",),
    ("subject",),
    ("relation",),
    (),
)
SAMPLES_PER_CHUNK = 1024
ROWS_PER_GROUP_AT_MOST = 512
NUMBERS_FOR_POOLING = 1 << 26


@dataclass(frozen=True)
class TrainingGroups:
    """For each wanted triplet the training rows that resemble it most.

    ``rows[g]`` are training rows; ``group`` (n,) is the group of each wanted row; ``level`` (n,) is the position in
    ``LEVELS`` of what the group shares with it (0: the whole triplet).
    """

    rows: list[np.ndarray]
    group: np.ndarray
    level: np.ndarray


def training_groups(training: pd.DataFrame, wanted: pd.DataFrame) -> TrainingGroups:
    """Group training rows for wanted triplets, both tables with columns subject, relation, object.

    Rows of the same triplet where there are any; else of the same subject and object, and so on down ``LEVELS``.
    """
    if not len(training):
        raise WorkbenchError("There are no training rows to copy or to fit. Give the features of the training split.")
    rows: list[np.ndarray] = []
    group, level = np.full(len(wanted), -1), np.full(len(wanted), -1)
    for number, roles in enumerate(LEVELS):
        open_rows = np.flatnonzero(group < 0)
        if not len(open_rows):
            break
        of_key = _rows_of_key(training, roles)
        number_of_key: dict[tuple, int] = {}
        keys = list(map(tuple, wanted[list(roles)].to_numpy()[open_rows].tolist())) if roles else [()] * len(open_rows)
        for row, key in zip(open_rows, keys, strict=True):
            if key not in of_key:
                continue
            if key not in number_of_key:
                number_of_key[key] = len(rows)
                rows.append(of_key[key])
            group[row], level[row] = number_of_key[key], number
    return TrainingGroups(rows, group, level)


def matched_rows(training: pd.DataFrame, wanted: pd.DataFrame, *, seed: int, purpose: str) -> np.ndarray:
    """One training row (n,) for each wanted triplet: of the same triplet, else of its nearest group of classes."""
    groups = training_groups(training, wanted)
    share = generator(seed, purpose).random(len(wanted))
    return np.array([groups.rows[g][int(u * len(groups.rows[g]))] for g, u in zip(groups.group, share, strict=True)])


def copy_plus_noise(
    features: np.ndarray, training: pd.DataFrame, wanted: pd.DataFrame, *, seed: int, noise: float = 0.1
) -> np.ndarray:
    """One training row (of features (N, D)) for each wanted triplet, plus Gaussian noise; (n, D) float32.

    ``noise`` is in standard deviations of each dimension over the training rows. The rival that knows nothing new.
    """
    source = matched_rows(training, wanted, seed=seed, purpose="copy plus noise")
    samples = np.empty((len(wanted), features.shape[1]), dtype=np.float32)
    spread = np.std(features, axis=0, dtype=np.float64) * noise
    for start in range(0, len(wanted), SAMPLES_PER_CHUNK):
        rows = np.arange(start, min(start + SAMPLES_PER_CHUNK, len(wanted)))
        samples[rows] = features[source[rows]] + spread * row_normal(seed, "copy noise", rows, features.shape[1])
    return samples


def class_gaussian(
    features: np.ndarray,
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
    groups = training_groups(training, wanted)
    pooled = _PooledCovariance.fit(features, training, components, seed)
    overall = np.mean(features, axis=0, dtype=np.float64)
    samples = np.empty((len(wanted), features.shape[1]), dtype=np.float32)
    for start in range(0, len(wanted), SAMPLES_PER_CHUNK):
        rows = np.arange(start, min(start + SAMPLES_PER_CHUNK, len(wanted)))
        samples[rows] = pooled.draw(seed, rows)
    for number, members in enumerate(groups.rows):
        own = np.asarray(features[_some(members, seed, number)], dtype=np.float64)  # (g, D)
        trust = len(members) / (len(members) + prior_rows) if len(own) > 1 else 0.0
        mean = (own.sum(axis=0) + overall) / (len(own) + 1)
        deviations = (own - own.mean(axis=0)) * np.sqrt(trust / max(1, len(own) - 1))
        draw = generator(seed, "gaussian own", number)
        rows_wanted = np.flatnonzero(groups.group == number)
        for start in range(0, len(rows_wanted), SAMPLES_PER_CHUNK):
            rows = rows_wanted[start : start + SAMPLES_PER_CHUNK]
            drawn = draw.standard_normal((len(rows), len(own))) @ deviations  # (rows, D)
            samples[rows] = mean + drawn + np.sqrt(1 - trust) * samples[rows]
    return samples


@dataclass(frozen=True)
class _PooledCovariance:
    axes: np.ndarray  # (components, D), scaled by the standard deviation along each
    remainder: np.ndarray  # (D,) standard deviation that the axes leave

    @classmethod
    def fit(cls, features: np.ndarray, training: pd.DataFrame, components: int, seed: int) -> "_PooledCovariance":
        rows = _some(np.arange(len(features)), seed, "pooled", NUMBERS_FOR_POOLING // features.shape[1])
        residuals, freedom = _within_class(features[rows], training.iloc[rows])
        values, vectors = np.linalg.eigh(residuals.T @ residuals / max(1, freedom))
        kept = np.argsort(values)[::-1][:components]
        axes = (vectors[:, kept] * np.sqrt(values[kept].clip(min=0))).T
        total = np.square(residuals).sum(axis=0) / max(1, freedom)
        return cls(axes, np.sqrt((total - np.square(axes).sum(axis=0)).clip(min=0)))

    def draw(self, seed: int, rows: np.ndarray) -> np.ndarray:
        along = row_normal(seed, "gaussian axes", rows, len(self.axes)) @ self.axes  # (rows, D)
        return along + self.remainder * row_normal(seed, "gaussian remainder", rows, len(self.remainder))


def _within_class(features: np.ndarray, training: pd.DataFrame) -> tuple[np.ndarray, int]:
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


def _rows_of_key(table: pd.DataFrame, roles: tuple[str, ...]) -> dict[tuple, np.ndarray]:
    if not roles:
        return {(): np.arange(len(table))}
    distinct, number = np.unique(table[list(roles)].to_numpy(), axis=0, return_inverse=True)
    order = np.argsort(number.reshape(-1), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number.reshape(-1)))[:-1])
    return dict(zip(map(tuple, distinct.tolist()), parts, strict=True))


def _some(members: np.ndarray, seed: int, of: object, at_most: int = ROWS_PER_GROUP_AT_MOST) -> np.ndarray:
    if len(members) <= at_most:
        return members
    return np.sort(generator(seed, "gaussian rows", of).choice(members, at_most, replace=False))
