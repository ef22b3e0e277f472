"""Arrays of region features on disk: plain .npy files (rows, D) of float16, read in ranges of rows.

Rows are read into the caller's memory and not mapped: what was once mapped and looked at counts as the process's own
memory, and that would grow to the size of the file. NumPy maps the file too: ``numpy.load(path, mmap_mode="r")``.
"""

import threading
from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.file_errors import reading

AGAIN = "Delete the folder of this split and run the stage again."


class FeatureFile:
    """A file of features whose size is fixed; any threads may read rows of it at once.

    The header and the size are looked at when it is opened; WorkbenchError names a file that is missing, cut short or
    of another shape, and ends with ``remedy``.
    """

    def __init__(self, path: Path, rows: int, dimension: int, remedy: str = AGAIN):
        self.path, self.rows, self.dimension, self._remedy = Path(path), rows, dimension, remedy
        self.bytes_per_row = 2 * dimension
        with reading(self.path, "a whole array", remedy):
            header = np.lib.format.open_memmap(self.path, mode="r")
            self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115  closed in __del__
        self.offset, self._lock = header.offset, threading.Lock()
        if header.shape != (rows, dimension) or header.dtype != "<f2" or not header.flags.c_contiguous:
            what = f"is {header.dtype} {header.shape}, expected float16 {(rows, dimension)}"
            raise WorkbenchError(f"{self.path}: {what}. {remedy}")

    def read(self, rows: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Features (..., D) of row numbers (...) in any order, repeats allowed; IndexError where a row is not there.

        As ``dtype`` np.float16 they come as they are stored, in half the memory.
        """
        rows = np.asarray(rows)
        # Ascending reads keep the disk sequential; every row is read once, whatever the order asked for.
        distinct, place = np.unique(rows.astype(np.int64, copy=False), return_inverse=True)
        if len(distinct) and (distinct[0] < 0 or distinct[-1] >= self.rows):
            raise IndexError(f"{self.path}: rows {distinct[0]} to {distinct[-1]}, there are 0 to {self.rows - 1}")
        values = self._stored(distinct).astype(dtype, copy=False)
        in_order = rows.ndim == 1 and len(distinct) == len(rows) and np.array_equal(distinct, rows)
        return values if in_order else values[place.reshape(rows.shape)]

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def _stored(self, distinct: np.ndarray) -> np.ndarray:
        """Rows (n, D) float16 of ascending distinct row numbers; neighbours are read together."""
        stored = np.empty((len(distinct), self.dimension), dtype="<f2")
        if not stored.size:
            return stored
        content = stored.data.cast("B")
        begins = np.flatnonzero(np.diff(distinct, prepend=-2) != 1).tolist()
        for begin, end in zip(begins, [*begins, len(distinct)][1:], strict=True):
            into = content[begin * self.bytes_per_row : end * self.bytes_per_row]
            offset = self.offset + int(distinct[begin]) * self.bytes_per_row
            with self._lock:
                self._file.seek(offset)
                while into:
                    count = self._file.readinto(into)
                    if not count:
                        raise WorkbenchError(f"{self.path}: the file was cut short while it was in use. {self._remedy}")
                    into = into[count:]
        return stored


def rows_not_finite(half: np.ndarray) -> np.ndarray:
    """Which rows of features (n, D) float16 hold a value that is not finite."""
    # By their bits, several times as fast as numpy.isfinite of float16: positive values, then negative ones.
    half = np.ascontiguousarray(half)
    positive = half.view(np.int16).max(axis=1, initial=0) >= 0x7C00
    return np.flatnonzero(positive | (half.view(np.uint16).max(axis=1, initial=0) >= 0xFC00))
