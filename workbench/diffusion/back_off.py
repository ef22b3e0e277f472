"""Training rows that resemble a triplet most: of the same triplet, else of the same subject and object, and so on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.scenes.relations import rows_by_class
from workbench.scenes.vocabulary import ROLES

# From the most specific to the least: the training rows that show what is asked for.
BACK_OFF = (
    ROLES,
    ("subject", "object"),
    ("relation", "object"),
    ("subject", "relation"),
    ("object",),
    ("subject",),
    ("relation",),
    (),
)


@dataclass(frozen=True)
class BackOffGroups:
    """For each wanted triplet the training rows that resemble it most.

    ``rows[g]`` are training rows; ``group`` (n,) is the group of each wanted row; ``level`` (n,) is the position in
    `BACK_OFF` of what the group shares with it (0: the most specific). Both are -1 where no level has enough rows.
    """

    rows: list[np.ndarray]
    group: np.ndarray
    level: np.ndarray

    def draw(self, seed: int, purpose: str) -> np.ndarray:
        """One training row (n,) of its group for each wanted triplet, all members alike."""
        share = generator(seed, purpose).random(len(self.group))
        return np.array([self.rows[g][int(u * len(self.rows[g]))] for g, u in zip(self.group, share, strict=True)])


def back_off_groups(
    training: pd.DataFrame,
    wanted: pd.DataFrame,
    *,
    levels: Sequence[tuple[str, ...]] = BACK_OFF,
    least_rows: int = 1,
) -> BackOffGroups:
    """Group training rows for wanted triplets, both tables with columns subject, relation, object.

    Rows of the first of ``levels`` at which there are ``least_rows`` of them. WorkbenchError without training rows.
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
    return BackOffGroups(rows, group, level)


def matched_rows(training: pd.DataFrame, wanted: pd.DataFrame, *, seed: int, purpose: str) -> np.ndarray:
    """One training row (n,) for each wanted triplet: of the same triplet, else of its nearest back-off group."""
    return back_off_groups(training, wanted).draw(seed, purpose)


def class_numbers(table: pd.DataFrame, roles: tuple[str, ...]) -> np.ndarray:
    """A number from 0 on (N,) for each row's classes in ``roles``, in ascending order of the classes."""
    if not roles:
        return np.zeros(len(table), dtype=np.int64)
    return np.unique(table[list(roles)].to_numpy(), axis=0, return_inverse=True)[1].reshape(-1)


def _rows_of_key(table: pd.DataFrame, roles: tuple[str, ...]) -> dict[tuple, np.ndarray]:
    parts = rows_by_class(class_numbers(table, roles)).values()
    classes = table[list(roles)].to_numpy()
    return {tuple(classes[rows[0]].tolist()): rows for rows in parts}
