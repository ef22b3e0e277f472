"""Which rows belong to a class."""

import numpy as np


def rows_by_class(classes: np.ndarray) -> dict[int, np.ndarray]:
    """Ascending row numbers (n,) int64 of each class that occurs in ``classes`` (N,), by ascending class."""
    classes = np.asarray(classes)
    order = np.argsort(classes, kind="stable")
    distinct, starts = np.unique(classes[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts)[1:], strict=True))
