"""Which points lie in a lasso."""

import json

import numpy as np

from workbench.errors import WorkbenchError

MOST_CORNERS = 1000


def lasso_corners(text: str | None) -> np.ndarray:
    """The corners (n, 2) float64 of a lasso that a page sends as JSON; WorkbenchError where they are none."""
    try:
        corners = np.array(json.loads(text or ""), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise WorkbenchError(f"the lasso cannot be read ({error}). Draw it again.") from error
    if corners.ndim != 2 or corners.shape[1] != 2 or not 3 <= len(corners) <= MOST_CORNERS:
        raise WorkbenchError(f"a lasso of shape {corners.shape} cannot be used; expected 3 to {MOST_CORNERS} corners.")
    if not np.isfinite(corners).all():
        raise WorkbenchError("a corner of the lasso is not a number. Draw it again.")
    return corners


def inside_lasso(xy: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points (N, 2) lie inside a closed polygon (n, 2), (N,) bool: a ray from them leaves it oddly often.

    Where the line crosses itself, what is surrounded twice is outside.
    """
    low, high = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero(((xy >= low) & (xy <= high)).all(axis=1))
    x, y = xy[near].astype(np.float64).T
    odd = np.zeros(len(near), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crossed = (y1 > y) != (y2 > y)
        odd[crossed] ^= x[crossed] < (x2 - x1) * (y[crossed] - y1) / (y2 - y1) + x1
    inside = np.zeros(len(xy), dtype=bool)
    inside[near[odd]] = True
    return inside
