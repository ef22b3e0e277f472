"""Training rows by the classes they show, and what is known of their features without reading them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.scenes.relations import rows_by_class
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
ROWS_PER_CHUNK = 1024
ROWS_PER_GROUP_AT_MOST = 512
ROWS_FOR_MOMENTS = 50_000


class FeatureMatrix(Protocol):
    """Features (N, D) of which some rows at a time are read: a NumPy array, or the unions of a store on disk."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class TrainingGroups:
    """For each wanted triplet the training rows that resemble it most.

    ``rows[g]`` are training rows; ``group`` (n,) is the group of each wanted row; ``level`` (n,) is the position among
    the levels of what the group shares with it (0: the most specific). Both are -1 where no level has enough rows.
    """

    rows: list[np.ndarray]
    group: np.ndarray
    level: np.ndarray

    def draw(self, seed: int, purpose: str) -> np.ndarray:
        """One training row (n,) of its group for each wanted triplet, all members alike."""
        share = generator(seed, purpose).random(len(self.group))
        return np.array([self.rows[g][int(u * len(self.rows[g]))] for g, u in zip(self.group, share, strict=True)])


def training_groups(
    training: pd.DataFrame,
    wanted: pd.DataFrame,
    *,
    levels: Sequence[tuple[str, ...]] = LEVELS,
    least_rows: int = 1,
) -> TrainingGroups:
    """Group training rows for wanted triplets, both tables with columns subject, relation, object.

    Rows of the same triplet where there are ``least_rows`` of them; else of the same subject and object, and so on
    down ``levels``. WorkbenchError without training rows.
    """
    if not len(training):
        raise WorkbenchError("There are no training rows to copy or to fit. Give the features of the training split.")
    rows: list[np.ndarray] = []
    group, level = np.full(len(wanted), -1), np.full(len(wanted), -1)
    for number, roles in enumerate(levels):
        open_rows = np.flatnonzero(group < 0)
        if not len(open_rows):
            break
        of_key = _rows_of_key(training, roles)
        number_of_key: dict[tuple, int] = {}
        keys = list(map(tuple, wanted[list(roles)].to_numpy()[open_rows].tolist())) if roles else [()] * len(open_rows)
        for row, key in zip(open_rows, keys, strict=True):
            if len(of_key.get(key, ())) < least_rows:
                continue
            if key not in number_of_key:
                number_of_key[key] = len(rows)
                rows.append(of_key[key])
            group[row], level[row] = number_of_key[key], number
    return TrainingGroups(rows, group, level)


def matched_rows(training: pd.DataFrame, wanted: pd.DataFrame, *, seed: int, purpose: str) -> np.ndarray:
    """One training row (n,) for each wanted triplet: of the same triplet, else of its nearest group of classes."""
    return training_groups(training, wanted).draw(seed, purpose)


def some_rows(members: np.ndarray, seed: int, of: object, at_most: int = ROWS_PER_GROUP_AT_MOST) -> np.ndarray:
    """``members`` where they are few, else ``at_most`` of them, ascending, drawn by ``seed`` and ``of``."""
    if len(members) <= at_most:
        return members
    return np.sort(generator(seed, "some rows", of).choice(members, at_most, replace=False))


def mean_and_spread(features: FeatureMatrix, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (D,) float64 of each dimension, over at most 50,000 rows that ``seed`` draws."""
    rows = some_rows(np.arange(len(features)), seed, "moments", ROWS_FOR_MOMENTS)
    origin = features[rows[:1]][0].astype(np.float64)  # exact zeros for a dimension that never varies
    total, squares = np.zeros(len(origin)), np.zeros(len(origin))
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        deviations = features[rows[start : start + ROWS_PER_CHUNK]] - origin
        total += deviations.sum(axis=0)
        squares += np.square(deviations).sum(axis=0)
    shift = total / len(rows)
    return origin + shift, np.sqrt((squares / len(rows) - np.square(shift)).clip(min=0))


def _rows_of_key(table: pd.DataFrame, roles: tuple[str, ...]) -> dict[tuple, np.ndarray]:
    if not roles:
        return {(): np.arange(len(table))}
    distinct, number = np.unique(table[list(roles)].to_numpy(), axis=0, return_inverse=True)
    parts = list(rows_by_class(number.reshape(-1)).values())
    return dict(zip(map(tuple, distinct.tolist()), parts, strict=True))
