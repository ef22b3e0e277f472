"""Matrices whose rows are gathered or computed when they are asked for, since the whole would not fit into memory.

GQA-LT has some 700,000 triplets: their caption embeddings are 2 GB in float32 and their hardness vectors, against
1,200 centres, 3.4 GB. A batch needs a thousand of them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from workbench.language.hardness import HardnessCentroids

ROWS_PER_CHUNK = 8192
# Up to this size a matrix is held as an array: indexing is then a single copy.
LARGEST_HELD_BYTES = 64 << 20
MOST_ROWS_FOR_MOMENTS = 50_000


class LazyRows:
    """A matrix (n, d) of float32 that is not held: ``shape``, ``len``, and indexing by rows as an array has them.

    Indexing by row numbers of any shape (...), by a slice or by a mask gives an array (..., d); ``numpy.asarray``
    gives the whole.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, rows: int, dimension: int):
        self.shape = (rows, dimension)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: "np.ndarray | slice | int") -> np.ndarray:
        rows = self._numbers(rows)
        return self._gather(rows.reshape(-1)).reshape(*rows.shape, self.shape[1])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        whole = np.empty(self.shape, dtype=dtype or self.dtype)
        for start, chunk in zip(range(0, len(self), ROWS_PER_CHUNK), chunks(self), strict=True):
            whole[start : start + len(chunk)] = chunk
        return whole

    def chosen(self, rows: np.ndarray) -> "LazyRows":
        """The matrix of the rows (m,), not held either."""
        return ChosenRows(self, self._numbers(rows))

    def tensor(self, rows: np.ndarray, device: "torch.device | str") -> "torch.Tensor":
        """The rows (m,) as float32 (m, d) on ``device``."""
        return _tensor(self[rows], device)

    def _numbers(self, rows: "np.ndarray | slice | int") -> np.ndarray:
        """Row numbers 0 to n - 1 of any shape; IndexError as for an array."""
        numbers = None if isinstance(rows, slice) else np.asarray(rows)
        if numbers is None or numbers.dtype == bool:
            return np.arange(len(self))[rows]
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"a row among {numbers.min()} to {numbers.max()} is outside the {len(self)} rows")
        return numbers

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError


Rows = np.ndarray | LazyRows


class StackedRows(LazyRows):
    """Matrices of one width, one below the other; float16 or memory-mapped ones become float32 row by row."""

    def __init__(self, parts: Sequence[Rows]):
        flat = [p for part in parts for p in (part.parts if isinstance(part, StackedRows) else [part])]
        super().__init__(sum(map(len, flat)), flat[0].shape[1])
        self.parts = flat
        self.starts = np.cumsum([0, *map(len, flat)])

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        of_row = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(of_row):
            here = of_row == number
            vectors[here] = self.parts[number][rows[here] - self.starts[number]]
        return vectors


class ChosenRows(LazyRows):
    """Some rows of a matrix, in any order and as often as wanted."""

    def __init__(self, source: Rows, rows: np.ndarray):
        super().__init__(len(rows), source.shape[1])
        self.source, self.rows = source, rows

    def chosen(self, rows: np.ndarray) -> "ChosenRows":
        """The matrix of the rows (m,) of the same source."""
        return ChosenRows(self.source, self.rows[rows])

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.source[self.rows[rows]], dtype=np.float32)


class HardnessRows(LazyRows):
    """The hardness vectors (n, K) of ``embeddings`` (n, T) under a model (DiffAugment, section 3.4)."""

    def __init__(self, embeddings: Rows, model: "HardnessCentroids"):
        super().__init__(len(embeddings), len(model.centroids))
        self.embeddings, self.model = embeddings, model
        self._centres: dict[str, torch.Tensor] = {}

    def chosen(self, rows: np.ndarray) -> "HardnessRows":
        """The hardness vectors of some of the embeddings."""
        return HardnessRows(chosen(self.embeddings, rows), self.model)

    def tensor(self, rows: np.ndarray, device: "torch.device | str") -> "torch.Tensor":
        """The hardness vectors (m, K) of the rows (m,), computed on ``device``: a product of 2 GFLOP for a thousand.

        Distances come from |a|^2 + |c|^2 - 2ac in float64: in float32 the difference of a caption that all but sits on
        a centre would be off by some hundredths of the entry's standard deviation.
        """
        import torch

        embeddings = tensor(self.embeddings, rows, device).double()
        if str(device) not in self._centres:
            self._centres[str(device)] = torch.from_numpy(self.model.centroids).double().to(device)
        centres = self._centres[str(device)]
        squared = torch.addmm(centres.square().sum(1)[None], embeddings, centres.T, alpha=-2.0)  # (m, K)
        squared += embeddings.square().sum(1, keepdim=True)
        distances = squared.clamp_(min=0.0).sqrt_()
        total = distances.sum(1, keepdim=True)
        return torch.where(total > 0, distances / total, 1.0 / self.shape[1]).float()

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        return self.model.hardness(np.asarray(self.embeddings[rows], dtype=np.float32))


class BesideRows(LazyRows):
    """Matrices of one length side by side: row i holds row i of each."""

    def __init__(self, parts: Sequence[Rows]):
        super().__init__(len(parts[0]), sum(part.shape[1] for part in parts))
        self.parts = list(parts)

    def tensor(self, rows: np.ndarray, device: "torch.device | str") -> "torch.Tensor":
        """The rows (m,) of all parts side by side, each computed on ``device``."""
        import torch

        return torch.cat([tensor(part, rows, device) for part in self.parts], dim=1)

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([part[rows] for part in self.parts], axis=1)


def chosen(vectors: Rows, rows: np.ndarray) -> Rows:
    """The rows (m,) of a matrix: an array of an array, lazy rows of lazy ones."""
    return vectors.chosen(rows) if isinstance(vectors, LazyRows) else vectors[rows]


def stacked(first: Rows, second: Rows) -> Rows:
    """One matrix below the other: an array of two arrays that are small enough to be held, lazy rows otherwise."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second])
    if isinstance(first, HardnessRows) and isinstance(second, HardnessRows) and first.model is second.model:
        return HardnessRows(stacked(first.embeddings, second.embeddings), first.model)
    return StackedRows([first, second])


def held(vectors: Rows) -> Rows:
    """The matrix as an array where it is small (64 MB), else as it is."""
    small = vectors.shape[0] * vectors.shape[1] * 4 <= LARGEST_HELD_BYTES
    return np.asarray(vectors) if small else vectors


def tensor(vectors: Rows, rows: np.ndarray, device: "torch.device | str") -> "torch.Tensor":
    """The rows (m,) of a matrix as float32 (m, d) on ``device``."""
    return vectors.tensor(rows, device) if isinstance(vectors, LazyRows) else _tensor(vectors[rows], device)


def chunks(vectors: Rows) -> Iterator[np.ndarray]:
    """All rows in order, at most 8,192 at a time, as float32 arrays (m, d)."""
    for start in range(0, len(vectors), ROWS_PER_CHUNK):
        yield np.asarray(vectors[start : start + ROWS_PER_CHUNK], dtype=np.float32)


def moments(vectors: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) float64 of the rows, or of 50,000 evenly spaced ones where there are more."""
    if len(vectors) > MOST_ROWS_FOR_MOMENTS:
        vectors = chosen(vectors, evenly_spaced(len(vectors), MOST_ROWS_FOR_MOMENTS))
    shift, total, squares = 0.0, 0.0, 0.0
    for number, chunk in enumerate(chunks(vectors)):
        if number == 0:
            shift = chunk.mean(axis=0, dtype=np.float64)  # near the mean, so that the squares do not cancel
        difference = chunk - shift
        total, squares = total + difference.sum(axis=0), squares + np.square(difference).sum(axis=0)
    offset = total / len(vectors)
    return shift + offset, np.sqrt(np.maximum(squares / len(vectors) - np.square(offset), 0.0))


def evenly_spaced(n: int, most: int) -> np.ndarray:
    """All row numbers of n, or ``most`` of them from the first to the last, (m,) int64 ascending."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def _tensor(vectors: np.ndarray, device: "torch.device | str") -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.asarray(vectors, dtype=np.float32)).to(device)
