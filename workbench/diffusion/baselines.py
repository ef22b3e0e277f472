"""Tail features without a diffusion model, made from training rows: what a denoiser must beat.

Each generator is a frozen dataclass of its options, registered in ``workbench.diffusion.generators``, which says what
``fit`` gets and returns.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from workbench.diffusion import exemplars
from workbench.diffusion.config import InitMap
from workbench.progress import track
from workbench.randomness import generator, row_normal, some_rows
from workbench.ranges import Count, NonNegative, Ranged
from workbench.regions.features import Features, FeatureStore
from workbench.scenes.relations import rows_by_class

ROWS_PER_CHUNK = 1024  # of sources, whose neighbours are sought
ROWS_PER_GROUP = 512
ROWS_FOR_MOMENTS = 50_000
NUMBERS_FOR_POOLING = 1 << 26


@dataclass(frozen=True)
class CopyNoise(Ranged):
    """A training row of each wanted triplet plus Gaussian ``noise``, in standard deviations of each dimension.

    The baseline that knows nothing new.
    """

    noise: NonNegative = 0.1

    def fit(self, real: Features, wanted: pd.DataFrame, seed: int) -> exemplars.Sampler:
        """Choose a source for each wanted triplet."""
        source = exemplars.back_off_groups(real.relations, wanted).draw(seed, "copy plus noise")
        spread = self.noise * mean_and_spread(real, seed)[1]
        noise = partial(row_normal, seed, "copy noise", dimension=real.dimension)
        return lambda rows: (real.union(source[rows]) + spread * noise(rows).numpy()).astype(np.float32)


@dataclass(frozen=True)
class ClassGaussian(Ranged):
    """A draw from a Gaussian of each wanted triplet's training rows.

    The class is a back-off group of g rows. Its mean counts the mean of all rows as one row more; its covariance is
    weighted g / (g + ``prior_rows``) against the pooled within-class covariance, so that one example suffices. The
    pooled covariance keeps its ``components`` leading axes and a diagonal for the rest. A group of thousands is
    represented by 512 of its rows.
    """

    components: Count = 256
    prior_rows: NonNegative = 8.0

    def fit(self, real: Features, wanted: pd.DataFrame, seed: int) -> exemplars.Sampler:
        """Find each wanted triplet's group and fit the covariance that the groups share."""
        groups, overall = exemplars.back_off_groups(real.relations, wanted), mean_and_spread(real, seed)[0]
        axes, remainder = self._pooled_covariance(real, seed)

        def sample(rows: np.ndarray) -> np.ndarray:
            pooled = row_normal(seed, "gaussian axes", rows, len(axes)).numpy() @ axes  # (rows, D)
            pooled += remainder * row_normal(seed, "gaussian remainder", rows, len(remainder)).numpy()
            weights = row_normal(seed, "gaussian own", rows, ROWS_PER_GROUP).numpy()
            samples = np.empty((len(rows), real.dimension), dtype=np.float32)
            for number, places in rows_by_class(groups.group[rows]).items():
                mean, deviations, trust = self._own(real, groups.rows[number], overall, seed, number)
                drawn = weights[places, : len(deviations)] @ deviations
                samples[places] = mean + drawn + math.sqrt(1 - trust) * pooled[places]
            return samples

        return sample

    def _own(
        self, real: Features, members: np.ndarray, overall: np.ndarray, seed: int, number: int
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Mean (D,) of a group, its deviations (g, D) scaled to draw with, and the weight of its own covariance."""
        own = real.union(some_rows(members, ROWS_PER_GROUP, seed, "some rows", number)).astype(np.float64)  # (g, D)
        trust = len(members) / (len(members) + self.prior_rows) if len(own) > 1 else 0.0
        mean = (own.sum(axis=0) + overall) / (len(own) + 1)
        return mean, (own - own.mean(axis=0)) * math.sqrt(trust / max(1, len(own) - 1)), trust

    def _pooled_covariance(self, real: Features, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Axes (components, D) scaled by the standard deviation along each, and the deviation (D,) that they leave."""
        rows = some_rows(np.arange(len(real)), NUMBERS_FOR_POOLING // real.dimension, seed, "some rows", "pooled")
        residuals, freedom = _within_class(real.union(rows).astype(np.float64), real.relations.iloc[rows])
        values, vectors = np.linalg.eigh(residuals.T @ residuals / max(1, freedom))
        kept = np.argsort(values)[::-1][: self.components]
        axes = (vectors[:, kept] * np.sqrt(values[kept].clip(min=0))).T
        total = np.square(residuals).sum(axis=0) / max(1, freedom)
        return axes, np.sqrt((total - np.square(axes).sum(axis=0)).clip(min=0))


@dataclass(frozen=True)
class Smote(Ranged):
    """A point between a training row and a near row of the same classes (Chawla et al. 2002), down to one example.

    The near row is one of the ``neighbours`` nearest of the same back-off group, on standardised features. The only row
    of a group takes its neighbours from the next coarser group, which asks for fewer of the same roles; the only row of
    the training set is its own neighbour. A group of thousands is represented by 512 of its rows. imbalanced-learn's
    SMOTE has no such back-off, refuses classes of one row and wants everything in memory.
    """

    neighbours: Count = 5

    def fit(self, real: Features, wanted: pd.DataFrame, seed: int) -> exemplars.Sampler:
        """Choose a source and a neighbour for each wanted triplet."""
        source, neighbour, share = self.pairs(real, wanted, seed)

        def sample(rows: np.ndarray) -> np.ndarray:
            begin, end = real.union(source[rows]), real.union(neighbour[rows])
            return (begin + share[rows, None] * (end - begin)).astype(np.float32)

        return sample

    def pairs(self, real: Features, wanted: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each wanted row its source and neighbour (n,), and how far from the source its point lies, in [0, 1)."""
        groups = exemplars.back_off_groups(real.relations, wanted)
        source = groups.draw(seed, "smote source")
        pick, share = generator(seed, "smote").random((2, len(wanted)))
        neighbour = source.copy()
        pools, pool_of_row = _neighbour_groups(real.relations, wanted, groups)
        mean, spread = mean_and_spread(real, seed)

        def standardised(rows: np.ndarray) -> np.ndarray:
            return ((real.union(rows) - mean) / np.where(spread > 0, spread, 1.0)).astype(np.float32)

        asked = [(number, rows) for number, rows in rows_by_class(pool_of_row).items() if number >= 0]
        for number, rows in track(asked, "Finding neighbours"):
            pool = some_rows(pools[number], ROWS_PER_GROUP, seed, "some rows", f"smote {number}")
            distinct, place = np.unique(source[rows], return_inverse=True)
            nearest, found = _nearest(standardised, distinct, pool, self.neighbours)
            place = place.reshape(-1)
            neighbour[rows] = nearest[place, (pick[rows] * found[place]).astype(np.int64)]
        return source, neighbour, share


@dataclass(frozen=True)
class SubjectObjectMean(Ranged):
    """The mean of the two drawn boxes: the initialisation of section 3.3 without its diffusion."""

    init_map: InitMap = "none"

    init = "subject-object"

    def fit(self, real: FeatureStore, wanted: pd.DataFrame, seed: int) -> exemplars.Sampler:
        """``wanted`` has the rows of the drawn boxes, subject_box and object_box."""
        means = exemplars.initial_features(real, wanted, self.init, self.init_map, seed)
        assert means is not None
        return means


@dataclass(frozen=True)
class TripletMean(SubjectObjectMean):
    """The same with a union that shows the relation averaged in."""

    init = "subject-relation-object"


def mean_and_spread(real: Features, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (D,) float64 of union features, over at most 50,000 rows that ``seed`` draws."""
    rows = some_rows(np.arange(len(real)), ROWS_FOR_MOMENTS, seed, "some rows", "moments")
    return exemplars.moments(real.union, rows)


def _within_class(values: np.ndarray, training: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Residuals (N, D) about class means, and their degrees of freedom, at the finest level that has enough."""
    wanted_freedom = min(len(training) // 4, 4 * values.shape[1])
    for roles in (exemplars.BACK_OFF[0], ("subject", "object"), ("relation",), ()):
        classes = exemplars.by_classes(training, roles).ngroup().to_numpy()
        freedom = len(training) - int(classes.max()) - 1
        if freedom >= wanted_freedom or not roles:
            break
    sums = np.zeros((classes.max() + 1, values.shape[1]))
    np.add.at(sums, classes, values)
    return values - (sums / np.bincount(classes)[:, None])[classes], freedom


def _neighbour_groups(
    training: pd.DataFrame, wanted: pd.DataFrame, groups: exemplars.BackOffGroups
) -> tuple[list[np.ndarray], np.ndarray]:
    """Training rows of each group to find neighbours in, and the group (n,) of each wanted row, -1 for none.

    A group of one row is replaced by the next coarser one, which holds that row and others.
    """
    pools, group = list(groups.rows), groups.group.copy()
    alone = np.array([len(members) == 1 for members in groups.rows])[groups.group]
    for level in np.unique(groups.level[alone]).tolist():
        here = np.flatnonzero(alone & (groups.level == level))
        # Of levels that ask for other roles, some groups would not hold the row itself.
        coarser = [roles for roles in exemplars.BACK_OFF if set(roles) < set(exemplars.BACK_OFF[level])]
        wider = exemplars.back_off_groups(training, wanted.iloc[here], levels=coarser, least_rows=2)
        group[here] = np.where(wider.group < 0, -1, wider.group + len(pools))
        pools += wider.rows
    return pools, group


def _nearest(
    standardised: exemplars.Sampler, source: np.ndarray, pool: np.ndarray, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``pool`` (m,) nearest to each ``source`` (q,), itself left out: (q, k), and how many count, (q,)."""
    candidates = standardised(pool)  # (m, D)
    squares = np.square(candidates).sum(axis=1)
    itself = source[:, None] == pool  # (q, m)
    nearest = np.empty((len(source), min(neighbours, len(pool))), dtype=np.int64)
    for start in range(0, len(source), ROWS_PER_CHUNK):
        part = slice(start, start + ROWS_PER_CHUNK)
        # The squared distance but for the source's own square, which ranks nothing.
        distance = squares - 2 * standardised(source[part]) @ candidates.T  # (q, m)
        distance[itself[part]] = np.inf
        nearest[part] = pool[np.argsort(distance, axis=1, kind="stable")[:, : nearest.shape[1]]]
    return nearest, np.minimum(neighbours, len(pool) - itself.sum(axis=1))
