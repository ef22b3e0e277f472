"""Vectors of captions that were embedded before, kept in one growing matrix."""

import numpy as np

LEAST_ROWS = 1024


class CaptionStore:
    """Vectors (n, T) float32 by triplet key: an ascending array of keys, and a matrix that doubles when it is full."""

    def __init__(self, dimension: int):
        self._keys = np.empty(0, dtype=np.int64)
        self._rows = np.empty(0, dtype=np.int64)  # of the matrix, for each key
        self._vectors = np.empty((0, dimension), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._keys)

    def known(self, keys: np.ndarray) -> np.ndarray:
        """Which of the keys (n,) have a vector, (n,) bool."""
        if not len(self):
            return np.zeros(len(keys), dtype=bool)
        return self._keys[self._place(keys)] == keys

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Store vectors (m, T) of ascending keys (m,) that are not known yet."""
        used, wanted = len(self), len(self) + len(keys)
        if wanted > len(self._vectors):
            grown = np.empty((max(wanted, 2 * used, LEAST_ROWS), self._vectors.shape[1]), dtype=np.float32)
            grown[:used] = self._vectors[:used]
            self._vectors = grown
        self._vectors[used:wanted] = vectors
        place = np.searchsorted(self._keys, keys)
        self._keys = np.insert(self._keys, place, keys)
        self._rows = np.insert(self._rows, place, np.arange(used, wanted))

    def vectors(self, keys: np.ndarray) -> np.ndarray:
        """The vectors (n, T) of known keys (n,)."""
        return self._vectors[self._rows[self._place(keys)]] if len(keys) else self._vectors[:0]

    def _place(self, keys: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
