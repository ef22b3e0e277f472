"""Region features on disk: float16 arrays (n, D) cut into shards, each an .npy file, and reading rows of them.

Rows are read into memory of the caller's, never mapped: resident memory does not grow with what has been read.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import sha256_of_file
from workbench.progress import track

ROWS_PER_CHUNK = 4096
# Of one list of shards: three splits' boxes and unions together stay below the usual limit of 1,024 open files.
MOST_OPEN_FILES = 128
REMEDY = "`workbench features check RUN --remake` makes that shard again."


class FeatureShards:
    """The rows of a list of shards one after the other; ``len`` is their number. Any threads may read at once.

    ``entries`` has for each shard its "file" in ``folder``, its number of "rows" and its "sha256" or None. The size and
    the header of each file are checked at once, its content by ``verify``; WorkbenchError names a file that is missing,
    cut short or of another shape.
    """

    def __init__(self, folder: Path, entries: Sequence[dict[str, Any]], dimension: int):
        self.folder, self.dimension = Path(folder), dimension
        self._entries = list(entries)
        self._paths = [self.folder / entry["file"] for entry in entries]
        self._offsets = [check_shard(self.folder, entry, dimension) for entry in entries]
        self._ends = np.cumsum([entry["rows"] for entry in entries], dtype=np.int64)
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_open", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open, self._lock = OrderedDict(), threading.Lock()

    def read(self, rows: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Features (..., D) of row numbers (...) in any order, repeats allowed; IndexError where a row is not there.

        As ``dtype`` np.float16 they come as they are stored, in half the memory.
        """
        rows = np.asarray(rows)
        # Ascending reads keep the disk sequential; every row is read once, whatever the order asked for.
        distinct, place = np.unique(rows.astype(np.int64, copy=False), return_inverse=True)
        if len(distinct) and (distinct[0] < 0 or distinct[-1] >= len(self)):
            raise IndexError(f"rows {distinct[0]} to {distinct[-1]} asked for, there are 0 to {len(self) - 1}")
        values = self._stored(distinct).astype(dtype, copy=False)
        in_order = rows.ndim == 1 and len(distinct) == len(rows) and np.array_equal(distinct, rows)
        return values if in_order else values[place.reshape(rows.shape)]

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in order: the first row's number, and at most 4,096 rows (n, D) float16."""
        for start in range(0, len(self), ROWS_PER_CHUNK):
            yield start, self._stored(np.arange(start, min(start + ROWS_PER_CHUNK, len(self))))

    def path_of(self, row: int) -> Path:
        """The file that holds a row."""
        return self._paths[int(np.searchsorted(self._ends, row, side="right"))]

    def verify(self) -> list[str]:
        """Names of the shards whose bytes are not those that were written, see ``damaged``."""
        return damaged(self.folder, self._entries, self.dimension)

    def _stored(self, distinct: np.ndarray) -> np.ndarray:
        """Rows (n, D) float16 of ascending distinct row numbers."""
        stored = np.empty((len(distinct), self.dimension), dtype="<f2")
        if not stored.size:
            return stored
        content = memoryview(stored).cast("B")
        bytes_per_row = stored.itemsize * self.dimension
        shards = np.searchsorted(self._ends, distinct, side="right")
        # A run is read at once: successive rows of one shard.
        begins = np.flatnonzero((np.diff(distinct, prepend=-2) != 1) | (np.diff(shards, prepend=-1) != 0))
        for begin, end in zip(begins, [*begins[1:], len(distinct)], strict=True):
            shard = int(shards[begin])
            row = int(distinct[begin]) - int(self._ends[shard]) + self._entries[shard]["rows"]
            into = content[begin * bytes_per_row : end * bytes_per_row]
            self._opened(shard).read_into(into, self._offsets[shard] + row * bytes_per_row)
        return stored

    def _opened(self, shard: int) -> "_OpenShard":
        with self._lock:
            found = self._open.get(shard)
            if found is None:
                found = self._open[shard] = _OpenShard(self._paths[shard])
                if len(self._open) > MOST_OPEN_FILES:
                    self._open.popitem(last=False)  # closed when the last thread that reads from it lets go
            self._open.move_to_end(shard)
            return found


class _OpenShard:
    def __init__(self, path: Path):
        self._path, self._lock = path, threading.Lock()
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115  closed with the object
        except FileNotFoundError as error:
            raise WorkbenchError(f"{path}: the file is missing. {REMEDY}") from error

    def read_into(self, content: memoryview, offset: int) -> None:
        while content:
            count = self._read(content, offset)
            if not count:
                raise WorkbenchError(f"{self._path}: the file was cut short while it was in use. {REMEDY}")
            content, offset = content[count:], offset + count

    def _read(self, content: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [content], offset)
        with self._lock:  # Windows has one position for all threads
            self._file.seek(offset)
            return self._file.readinto(content)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def check_shard(folder: Path, entry: dict[str, Any], dimension: int) -> int:
    """Where the rows of a shard's file begin, in bytes; WorkbenchError where its header or its size is wrong."""
    path, shape = Path(folder) / entry["file"], (entry["rows"], dimension)
    try:
        with open(path, "rb") as file:
            found, fortran_order, dtype = _header(file)
            offset = file.tell()
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise WorkbenchError(f"{path}: the file is missing. {REMEDY}") from error
    except (OSError, ValueError, EOFError) as error:
        raise WorkbenchError(f"{path}: not a readable array, perhaps cut short ({error}). {REMEDY}") from error
    if dtype != np.float16:
        raise WorkbenchError(f"{path}: the numbers are {dtype}, expected float16. {REMEDY}")
    if found != shape or fortran_order:
        raise WorkbenchError(f"{path}: the shape is {found}, expected {shape} in C order. {REMEDY}")
    expected = offset + 2 * shape[0] * shape[1]
    if size != expected:
        raise WorkbenchError(f"{path}: {size:,} bytes, expected {expected:,}; perhaps cut short. {REMEDY}")
    return offset


def damaged(folder: Path, entries: Sequence[dict[str, Any]], dimension: int) -> list[str]:
    """Names of the shards that are missing, cut short, of another shape, or whose SHA-256 is not the recorded one.

    Reads every byte. A shard without a recorded SHA-256 counts as whole when its size and header are right.
    """
    bad = []
    for entry in track(entries, f"checking {Path(folder).name}"):
        try:
            check_shard(folder, entry, dimension)
            whole = entry["sha256"] in (None, sha256_of_file(Path(folder) / entry["file"]))
        except (WorkbenchError, OSError):  # a file that the disk cannot give back is damaged too
            whole = False
        if not whole:
            bad.append(entry["file"])
    return bad


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version} of the format is not known")
