"""Which classes take the rows of which, before and after: a page of the confusion matrix of two recognisers."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Confusion:
    """Some rows of two confusion matrices with the columns that take most of them.

    ``classes`` (r,) true classes; ``columns`` (k,) predicted ones, those with most rows in both together first;
    ``before`` and ``after`` (r, k) int64 numbers of test rows; ``test_rows`` (r,) rows of each true class, so that
    ``test_rows - before.sum(axis=1)`` went to classes that are not among the columns.
    """

    classes: np.ndarray
    columns: np.ndarray
    before: np.ndarray
    after: np.ndarray
    test_rows: np.ndarray

    @property
    def share_gained(self) -> np.ndarray:
        """(r, k): the share of a class's rows that a column has gained, from -1 to 1."""
        return (self.after - self.before) / self.test_rows[:, None]


def confusion(
    truth: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    classes: np.ndarray,
    *,
    n_classes: int,
    most_columns: int,
) -> Confusion:
    """The rows of ``classes`` (distinct ids, each with at least one row) in the confusion matrices.

    ``truth``, ``before`` and ``after`` (n,) class ids from 0 to ``n_classes`` - 1. Of columns with equally many rows
    the lower id comes first; a class that takes no row is no column.
    """
    classes = np.asarray(classes, dtype=np.int64)
    place = np.full(n_classes, -1)
    place[classes] = np.arange(len(classes))
    kept = np.flatnonzero(place[truth] >= 0)
    row = place[truth[kept]]
    whole = [_matrix(row, predicted[kept], len(classes), n_classes) for predicted in (before, after)]  # (r, C) each
    taken = (whole[0] + whole[1]).sum(axis=0)
    columns = np.argsort(-taken, kind="stable")[:most_columns]
    columns = columns[taken[columns] > 0]
    return Confusion(classes, columns, whole[0][:, columns], whole[1][:, columns], whole[0].sum(axis=1))


def tail_first(test_rows: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Classes that occur, those of the rarest band first, of one band those with most test rows.

    ``test_rows`` (C,); ``band`` (C,) places in BANDS, which goes from many to few.
    """
    classes = np.flatnonzero(test_rows)
    return classes[np.lexsort((-test_rows[classes], -band[classes].astype(np.int64)))]


def _matrix(row: np.ndarray, predicted: np.ndarray, rows: int, n_classes: int) -> np.ndarray:
    return np.bincount(row * n_classes + predicted, minlength=rows * n_classes).reshape(rows, n_classes)
