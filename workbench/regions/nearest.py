"""Which training rows have the union features nearest to a feature, exactly and at once: the stage ``nearest``.

It holds all rows in 8 bits, read whole for each question, and how far the rounding moved each row. So it says how near
a row can be at most, and the few rows that can be among the nearest are read as they are stored. Graphs and clusters of
rows miss some (reports/reference/nearest-rows.json).
"""

from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import atomic_path
from workbench.folders import Replace
from workbench.progress import track
from workbench.randomness import some_rows
from workbench.regions.features import FeaturesFolder, FeatureStore
from workbench.stages import Run

CODES, ROUNDING = "codes.npy", "rounding.npz"
LARGEST_CODE = 127
ROWS_FOR_CENTRE = 20_000
ROWS_PER_BLOCK = 2048
CODES_PER_BLOCK = 1 << 23
ROWS_READ_FIRST = 1024
# Rows that the 8 bits cannot tell apart are many only where features are nearly all alike.
MOST_ROWS_READ = 200_000
# What float32 may get wrong of a distance, as a share of the lengths of both vectors.
SLACK = 1e-3


def nearest_rows(
    store: FeatureStore, rows: np.ndarray, feature: np.ndarray, count: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the store's ``rows`` (n,) nearest to ``feature`` (D,), each of another image, and their distances.

    A map of two dimensions may mislead: distances are Euclidean in the full feature space. At most ``count``, fewer
    where there are fewer images. Features are read in blocks.
    """
    blocks = (rows[start : start + ROWS_PER_BLOCK] for start in range(0, len(rows), ROWS_PER_BLOCK))
    query = feature.astype(np.float32)
    distances = np.concatenate([np.zeros(0), *(np.linalg.norm(store.union(block) - query, axis=1) for block in blocks)])
    order = np.argsort(distances, kind="stable")
    _, first = np.unique(store.relations["image"].to_numpy()[rows[order]], return_index=True)
    best = order[np.sort(first)][:count]
    return rows[best], distances[best]


def write_nearest(folder: Path, *, features: Path) -> dict[str, Any]:
    """Round the train rows' union features to 8 bits: codes.npy (N, D) int8 and rounding.npz.

    A row is about ``centre`` (D,) + ``step`` (N,) times its codes; ``length`` (N,) is that of step times codes, and
    ``moved`` (N,) at least the distance to the row as it is stored. All float32. Returns counts and the size.
    """
    folder, store = Path(folder), FeaturesFolder(features).train
    rows, shape = np.arange(len(store)), (len(store), store.dimension)
    centre = store.union(some_rows(rows, ROWS_FOR_CENTRE, 0, "centre of the nearest rows")).mean(axis=0)
    rounding = np.empty((3, len(store)), dtype=np.float32)
    with atomic_path(folder / CODES) as temporary:
        codes = np.lib.format.open_memmap(temporary, "w+", np.int8, shape)
        for start in track(range(0, len(store), ROWS_PER_BLOCK), "Rounding features"):
            part = slice(start, start + ROWS_PER_BLOCK)
            rounded, *rounding[:, part] = _rounded(store.union(rows[part]), centre)
            if rounded.any():  # else the file keeps a hole, as a sparse store does
                codes[part] = rounded
        codes.flush()
    with atomic_path(folder / ROUNDING) as temporary:
        np.savez(temporary, centre=centre, rounding=rounding)
    return {"rows": shape[0], "dimension": shape[1], "megabytes": round((codes.nbytes + rounding.nbytes) / 1e6, 1)}


def _rounded(features: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, ...]:
    """Codes (n, D) int8, step, length and moved (n,) float32 of features (n, D)."""
    away = features.astype(np.float32, copy=False) - centre
    step = np.abs(away).max(axis=1) / LARGEST_CODE
    step[step == 0] = 1
    codes = np.rint(away / step[:, None])
    rounded = codes * step[:, None]
    length, moved = (np.sqrt(np.einsum("nd,nd->n", vector, vector)) for vector in (rounded, away - rounded))
    return codes.astype(np.int8), step, length, moved + SLACK * length


class NearestRows:
    """Finds the rows of ``store``, a train store, nearest to features; ``folder`` is the stage made of that store.

    WorkbenchError where it was made of another number of rows, or a file is missing or damaged.
    """

    def __init__(self, store: FeatureStore, folder: Path):
        self.store, folder, again = store, Path(folder), "Delete the folder: it is made again where it is needed."
        with reading(folder / CODES, "a whole array", again):
            self._codes = np.load(folder / CODES, mmap_mode="c")  # "c": torch warns of arrays that cannot be written
        with reading(folder / ROUNDING, "whole arrays", again), np.load(folder / ROUNDING) as arrays:
            self._centre, self._rounding = arrays["centre"], arrays["rounding"]
        if self._codes.shape != (len(store), store.dimension):
            told = f"{folder}: of {self._codes.shape} features, but the train store has {(len(store), store.dimension)}"
            raise WorkbenchError(f"{told}. {again}")

    @classmethod
    def of_run(cls, run: Run, store: FeatureStore) -> "NearestRows":
        """Those of the run's features, whose train ``store`` is open; the stage is built where it is missing or old."""
        return cls(store, run.stage("nearest", write_nearest, replace=Replace.STALE, features=run.features).folder)

    def find(self, features: np.ndarray, count: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each of the features (n, D) what `nearest_rows` finds among all rows, in a small part of its time.

        Where 8 bits leave more than 200,000 rows that may be nearest, the likeliest of them.
        """
        least = self._least_distances(features)
        return [self._nearest(feature, own, count) for feature, own in zip(features, least, strict=True)]

    def _least_distances(self, features: np.ndarray) -> np.ndarray:
        """What each row's distance is at least, (n, N) float32 for features (n, D)."""
        import torch

        codes, step, length, moved = _rounded(features, self._centre)
        columns, least = torch.from_numpy(codes).T.contiguous(), np.empty((len(features), len(self._codes)), np.float32)
        size = max(1, CODES_PER_BLOCK // len(self._centre))
        for start in range(0, len(self._codes), size):
            part = slice(start, start + size)
            row_step, row_length, row_moved = self._rounding[:, part]
            products = torch._int_mm(torch.from_numpy(self._codes[part]), columns).numpy().T
            squared = row_length**2 + (length**2)[:, None] - 2 * step[:, None] * (row_step * products)
            least[:, part] = np.sqrt(squared.clip(min=0)) - row_moved - moved[:, None]
        return least

    def _nearest(self, feature: np.ndarray, least: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows nearest to a feature (D,): of the likeliest, then of all that may be as near as these."""
        size, rows = ROWS_READ_FIRST, np.empty(0)
        while len(rows) < count and size < 8 * len(least):
            rows, distances = nearest_rows(self.store, _smallest(least, size), feature, count)
            size *= 8
        near = np.flatnonzero(least <= distances[-1]) if len(rows) == count else np.arange(len(least))
        return nearest_rows(self.store, near[_smallest(least[near], MOST_ROWS_READ)], feature, count)


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the ``count`` smallest values (n,), ascending places; all where there are no more."""
    return np.arange(len(values)) if len(values) <= count else np.sort(np.argpartition(values, count)[:count])
