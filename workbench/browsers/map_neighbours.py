"""The real rows nearest to a generated one in the full feature space, where a map of two dimensions may mislead."""

import numpy as np

from workbench.errors import WorkbenchError
from workbench.regions.feature_store import FeatureStore

ROWS_PER_BLOCK = 2048
MOST_KEPT_BYTES = 1 << 30
CANDIDATES = 256


class RealNeighbours:
    """Some rows of a train store, to be asked for those nearest to a feature.

    Up to 1 GB of features stay in memory as the float16 that they are stored in; more are read anew, block by block,
    for each question.
    """

    def __init__(self, store: FeatureStore, rows: np.ndarray, most_kept_bytes: int = MOST_KEPT_BYTES):
        self._store, self.rows = store, np.asarray(rows)
        self._images = store.relations["image"].to_numpy()[self.rows]
        self._kept: np.ndarray | None = None
        if 2 * len(self.rows) * store.dimension <= most_kept_bytes:
            self._kept = np.empty((len(self.rows), store.dimension), dtype=np.float16)
            for start in range(0, len(self.rows), ROWS_PER_BLOCK):
                self._kept[start : start + ROWS_PER_BLOCK] = self._read(start)
        self._squares: np.ndarray | None = None

    def nearest(self, feature: np.ndarray, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The store's rows (k,) nearest to ``feature`` (D,), each of another picture, and their Euclidean distances.

        k is ``count``, or the number of pictures where there are fewer. Products choose the candidates; distances are
        then taken from differences in float64, since those of a copy are all rounding otherwise.
        """
        if feature.shape != (self._store.dimension,):
            raise WorkbenchError(
                f"a feature of shape {feature.shape} was to be compared with {self._store.folder}, whose features have "
                f"{self._store.dimension} dimensions. Open the map with the features it was made of."
            )
        scores = self._squared_distances(feature.astype(np.float32))
        distinct = min(count, len(np.unique(self._images)))
        wanted = min(CANDIDATES, len(scores))
        while True:
            near = np.sort(np.argpartition(scores, wanted - 1)[:wanted])
            if len(np.unique(self._images[near])) >= distinct:
                break
            wanted = min(2 * wanted, len(scores))
        exact = np.linalg.norm(self._features(near).astype(np.float64) - feature, axis=1)  # (wanted,)
        order = np.argsort(exact, kind="stable")
        _, first = np.unique(self._images[near][order], return_index=True)
        best = order[np.sort(first)][:distinct]
        return self.rows[near[best]], exact[best]

    def _squared_distances(self, feature: np.ndarray) -> np.ndarray:
        """Squared distances (N,) float32 up to a constant: |x|^2 - 2 x.q for each row x."""
        import torch

        query = torch.from_numpy(feature)
        block = torch.empty(
            ROWS_PER_BLOCK, self._store.dimension
        )  # one buffer: a fresh one each time takes twice as long
        products = np.empty(len(self.rows), dtype=np.float32)
        squares = np.empty(len(self.rows), dtype=np.float32) if self._squares is None else self._squares
        for start in range(0, len(self.rows), ROWS_PER_BLOCK):
            part = slice(start, start + ROWS_PER_BLOCK)
            stored = torch.from_numpy(self._kept[part] if self._kept is not None else self._read(start))
            values = block[: len(stored)].copy_(stored)
            products[part] = (values @ query).numpy()
            if self._squares is None:
                squares[part] = torch.linalg.vector_norm(values, dim=1).square_().numpy()
        self._squares = squares
        return squares - 2 * products

    def _features(self, places: np.ndarray) -> np.ndarray:
        return self._kept[places] if self._kept is not None else self._store.union(self.rows[places], np.float16)

    def _read(self, start: int) -> np.ndarray:
        return self._store.union(self.rows[start : start + ROWS_PER_BLOCK], np.float16)
