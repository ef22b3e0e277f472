"""The rank-frequency chart of a role's classes as few bars, each of which can be clicked."""

import itertools
import math

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS, Counts, band_of_class

LEAST_BARS = len(BANDS) + 1
_FINEST_GROWTH, _STEP = 1.01, 1.03


def class_bars(counts: Counts, role: str, most: int = 40) -> pd.DataFrame:
    """At most ``most`` bars over the classes of ``role``, from the most to the least frequent.

    A bar is one class while there are at most ``most``; else it holds ranks that grow geometrically and stay within one
    band. Columns first_rank, last_rank (1-based, inclusive), classes (tuple of class ids by rank), band, most_count,
    fewest_count (of the counts that rank classes and cut bands, ``Counts.of_role``), examples (training relations with
    one of the classes in this role). WorkbenchError for ``most`` below 4.
    """
    if most < LEAST_BARS:
        raise WorkbenchError(f"{most} bars were asked for; expected {LEAST_BARS} or more.")
    occurrences, labels = np.asarray(counts.of_role(role)), np.asarray(counts.labels_of_role(role))
    classes = len(occurrences)
    by_rank = np.lexsort((np.arange(classes), -occurrences))
    band = band_of_class(occurrences)[by_rank]
    borders = [0, *(np.flatnonzero(band[1:] != band[:-1]) + 1).tolist(), classes]
    edges = list(range(classes + 1)) if classes <= most else _fewest_edges(borders, most)
    bars = []
    for first, stop in itertools.pairwise(edges):
        here = by_rank[first:stop]
        bars.append({
            "first_rank": first + 1, "last_rank": stop, "classes": tuple(here.tolist()), "band": str(band[first]),
            "most_count": int(occurrences[here[0]]), "fewest_count": int(occurrences[here[-1]]),
            "examples": int(labels[here].sum()),
        })  # fmt: skip
    return pd.DataFrame(bars)


def _fewest_edges(borders: list[int], most: int) -> list[int]:
    """Edges of the finest bins that are at most ``most``."""
    growth = _FINEST_GROWTH
    while len(edges := _edges(borders, growth)) > most + 1:
        growth = 1 + (growth - 1) * _STEP
    return edges


def _edges(borders: list[int], growth: float) -> list[int]:
    """Ranks 0 to ``borders[-1]``, each ``growth`` times the one before and at least 1 more, stopping at each border."""
    edges, ahead = [0], borders[1:]
    while ahead:
        edge = min(max(edges[-1] + 1, math.floor(edges[-1] * growth)), ahead[0])
        edges.append(edge)
        ahead = ahead[1:] if edge == ahead[0] else ahead
    return edges
