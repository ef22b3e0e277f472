"""Points between a training row and a near row of the same classes (Chawla et al. 2002, SMOTE), down to one example."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.diffusion.class_groups import (
    LEVELS,
    ROWS_PER_CHUNK,
    FeatureMatrix,
    TrainingGroups,
    mean_and_spread,
    some_rows,
    training_groups,
)
from workbench.progress import track
from workbench.randomness import generator
from workbench.scenes.relations import rows_by_class


@dataclass(frozen=True)
class Interpolation:
    """For each wanted row the training rows ``source`` and ``neighbour`` (n,) of ``features``, and a point between.

    ``share`` (n,) in [0, 1) is how far from the source the point lies.
    """

    features: FeatureMatrix
    source: np.ndarray
    neighbour: np.ndarray
    share: np.ndarray

    @classmethod
    def fit(
        cls, features: FeatureMatrix, training: pd.DataFrame, wanted: pd.DataFrame, *, seed: int, neighbours: int = 5
    ) -> "Interpolation":
        """A source of each wanted triplet's group, and one of its ``neighbours`` nearest of the same group.

        Groups are those of ``training_groups``; nearness is measured on standardised features. The only row of a
        group takes its neighbours from the next coarser group, which asks for fewer of the same roles; the only row of
        the training set is its own neighbour. A group of thousands is represented by 512 of its rows.
        """
        groups = training_groups(training, wanted)
        source = groups.draw(seed, "smote source")
        pick, share = generator(seed, "smote").random((2, len(wanted)))
        neighbour = source.copy()
        pools, pool_of_row = _neighbour_groups(training, wanted, groups)
        mean, spread = mean_and_spread(features, seed)
        scale = mean, np.where(spread > 0, spread, 1.0)
        asked = [(number, rows) for number, rows in rows_by_class(pool_of_row).items() if number >= 0]
        for number, rows in track(asked, "Finding neighbours"):
            pool = some_rows(pools[number], seed, f"smote {number}")
            distinct, place = np.unique(source[rows], return_inverse=True)
            nearest, found = _nearest(features, distinct, pool, scale, neighbours)
            place = place.reshape(-1)
            neighbour[rows] = nearest[place, (pick[rows] * found[place]).astype(np.int64)]
        return cls(features, source, neighbour, share)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Samples (n, D) float32 for wanted rows; they do not depend on what else is asked for."""
        samples = np.empty((len(rows), self.features.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), ROWS_PER_CHUNK):
            part = rows[start : start + ROWS_PER_CHUNK]
            source, neighbour = self.features[self.source[part]], self.features[self.neighbour[part]]
            samples[start : start + len(part)] = source + self.share[part, None] * (neighbour - source)
        return samples


def _neighbour_groups(
    training: pd.DataFrame, wanted: pd.DataFrame, groups: TrainingGroups
) -> tuple[list[np.ndarray], np.ndarray]:
    """Training rows of each group to find neighbours in, and the group (n,) of each wanted row, -1 for none.

    A group of one row is replaced by the next coarser one, which holds that row and others.
    """
    pools, group = list(groups.rows), groups.group.copy()
    alone = np.array([len(members) == 1 for members in groups.rows])[groups.group]
    for level in np.unique(groups.level[alone]).tolist():
        here = np.flatnonzero(alone & (groups.level == level))
        # Of levels that ask for other roles, some groups would not hold the row itself.
        coarser = [roles for roles in LEVELS if set(roles) < set(LEVELS[level])]
        wider = training_groups(training, wanted.iloc[here], levels=coarser, least_rows=2)
        group[here] = np.where(wider.group < 0, -1, wider.group + len(pools))
        pools += wider.rows
    return pools, group


def _nearest(
    features: FeatureMatrix, source: np.ndarray, pool: np.ndarray, scale: tuple, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``pool`` (m,) nearest to each ``source`` (q,), itself left out: (q, k), and how many count, (q,)."""
    candidates = _standardised(features, pool, scale)  # (m, D)
    squares = np.square(candidates).sum(axis=1)
    itself = source[:, None] == pool  # (q, m)
    nearest = np.empty((len(source), min(neighbours, len(pool))), dtype=np.int64)
    for start in range(0, len(source), ROWS_PER_CHUNK):
        part = slice(start, start + ROWS_PER_CHUNK)
        # The squared distance but for the source's own square, which ranks nothing.
        distance = squares - 2 * _standardised(features, source[part], scale) @ candidates.T  # (q, m)
        distance[itself[part]] = np.inf
        nearest[part] = pool[np.argsort(distance, axis=1, kind="stable")[:, : nearest.shape[1]]]
    return nearest, np.minimum(neighbours, len(pool) - itself.sum(axis=1))


def _standardised(features: FeatureMatrix, rows: np.ndarray, scale: tuple) -> np.ndarray:
    mean, spread = scale
    return ((features[rows] - mean) / spread).astype(np.float32)
