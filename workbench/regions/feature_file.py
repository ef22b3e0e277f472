"""Arrays of region features on disk: plain .npy files (rows, D) of float16, written and read in ranges of rows.

Rows are read into the caller's memory and not mapped: what was once mapped and looked at counts as the process's own
memory, and that would grow to the size of the file. NumPy maps the file too: ``numpy.load(path, mmap_mode="r")``.
"""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import disk_full_reported, read_json, write_json
from workbench.launching import Processes

CACHED_ROWS = 64
IDENTITY = "progress.json"
NOTES = "progress-{}.jsonl"
SECONDS_BETWEEN_LOOKS = 0.5
AGAIN = "Delete the folder of this split and run the stage again."

Range = tuple[int, int]


class FeatureFile:
    """A file of features whose size is fixed; any threads may read rows of it at once, and one may write.

    The header and the size are checked when it is opened; WorkbenchError names a file that is missing, cut short or of
    another shape, and ends with ``remedy``.
    """

    def __init__(self, path: Path, rows: int, dimension: int, remedy: str = AGAIN, *, writable: bool = False):
        self.path, self.rows, self.dimension, self._remedy = Path(path), rows, dimension, remedy
        self._bytes_per_row = 2 * dimension
        try:
            self._file = open(self.path, "r+b" if writable else "rb", buffering=0)  # noqa: SIM115  closed in __del__
            self._offset, found = _read_header(self._file)
        except (OSError, ValueError, EOFError) as error:
            raise WorkbenchError(f"{self.path}: missing, or not a readable array ({error}). {remedy}") from error
        expected = ((rows, dimension), False, np.dtype("<f2"))
        if found != expected:
            shape, dtype = found[0], found[2]
            raise WorkbenchError(
                f"{self.path}: is {dtype} {shape}, expected float16 {expected[0]} in C order. {remedy}"
            )
        size, whole = os.fstat(self._file.fileno()).st_size, self._offset + rows * self._bytes_per_row
        if size != whole:
            raise WorkbenchError(f"{self.path}: {size:,} bytes, expected {whole:,}; perhaps cut short. {remedy}")

    @classmethod
    def create(cls, path: Path, rows: int, dimension: int, *, sparse: bool = False) -> "FeatureFile":
        """A new file that can be written; its rows are zeros.

        It has its place on the disk at once, so that a full disk shows before the work and not amid it; with ``sparse``
        it takes none but for what is written.
        """
        header = _header(rows, dimension)
        size = len(header) + 2 * rows * dimension
        with disk_full_reported(path), open(path, "wb") as file:
            try:
                file.write(header)
                file.truncate(size)
                file.flush()
                if not sparse and hasattr(os, "posix_fallocate"):  # absent on macOS and Windows
                    os.posix_fallocate(file.fileno(), 0, size)
            except OSError:
                Path(path).unlink(missing_ok=True)  # what it did get of a full disk is needed elsewhere
                raise
        return cls(path, rows, dimension, writable=True)

    def __len__(self) -> int:
        return self.rows

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

    def write(self, start: int, features: np.ndarray) -> None:
        """Write features (n, D) from row ``start``; WorkbenchError where a value is not finite in float16."""
        stop, features = start + len(features), np.asarray(features)
        if features.ndim != 2 or features.shape[1] != self.dimension or start < 0 or stop > self.rows:
            shape = (self.rows, self.dimension)
            raise ValueError(f"{self.path}: rows {start} to {stop} of shape {features.shape} do not fit {shape}")
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(features, dtype="<f2")
        bad = rows_not_finite(half)
        if len(bad):
            raise WorkbenchError(
                f"{self.path}: row {start + int(bad[0])} is not finite in float16 (largest size 65504). Nothing of "
                "this piece was written; look at what computes that row, and compute in bfloat16 or float32."
            )
        content = half.data.cast("B") if half.size else memoryview(b"")
        with disk_full_reported(self.path):
            self._file.seek(self._offset + start * self._bytes_per_row)
            while content:
                content = content[self._file.write(content) :]

    def sync(self) -> None:
        """Bring what was written to the disk."""
        with disk_full_reported(self.path):
            os.fsync(self._file.fileno())

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
            into = content[begin * self._bytes_per_row : end * self._bytes_per_row]
            self._read_into(into, self._offset + int(distinct[begin]) * self._bytes_per_row)
        return stored

    def _read_into(self, content: memoryview, offset: int) -> None:
        while content:
            if hasattr(os, "preadv"):  # no position of its own, so that threads do not disturb each other
                count = os.preadv(self._file.fileno(), [content], offset)
            else:  # Windows
                piece = np.fromfile(self.path, np.uint8, len(content), offset=offset)
                content[: len(piece)], count = piece.data, len(piece)
            if not count:
                raise WorkbenchError(f"{self.path}: the file was cut short while it was in use. {self._remedy}")
            content, offset = content[count:], offset + count


class RangeWriter:
    """Files ``<name>.npy`` of ``arrays`` (name to rows and dimension) in ``folder``, filled range by range.

    ``flush`` brings what was written to the disk and then notes which rows it was, one line in a file of each process;
    an unfinished folder is resumed by these notes, whatever number of processes wrote them. ``identity`` (JSON) says
    what the rows are made of: unfinished rows of another identity are refused. With ``sparse`` rows that nobody writes
    take no place on the disk. `remove_notes` ends the work.
    """

    def __init__(self, folder: Path, arrays: dict[str, Range], identity: dict[str, Any], *, sparse: bool = False):
        self.folder, self.arrays = Path(folder), arrays
        self.processes = Processes.current()
        if self.processes.main:
            self._begin(identity, sparse)
        self.processes.wait()
        self._files = {
            name: FeatureFile(self.path(name), *shape, f"Delete {self.folder} and run again.", writable=True)
            for name, shape in arrays.items()
        }
        self.notes = self._read_notes()
        self._pending: dict[str, list[Range]] = {name: [] for name in arrays}

    def path(self, name: str) -> Path:
        """The file of an array."""
        return self.folder / f"{name}.npy"

    def write(self, name: str, start: int, features: np.ndarray) -> None:
        """Write features (n, D) from row ``start``; WorkbenchError where a value is not finite in float16."""
        self._files[name].write(start, features)
        first, stop, pending = int(start), int(start) + len(features), self._pending[name]
        if pending and pending[-1][1] == first:
            first = pending.pop()[0]
        pending.append((first, stop))

    def flush(self, **note: Any) -> None:
        """Bring what was written to the disk, then note it, with ``note`` (JSON values) beside it."""
        if not note and not any(self._pending.values()):
            return
        for name, ranges in self._pending.items():
            if ranges:
                self._files[name].sync()
        line = {**note, "rows": {name: ranges for name, ranges in self._pending.items() if ranges}}
        path = self.folder / NOTES.format(self.processes.rank)
        # A kill may have cut the last line short: each one begins on a line of its own.
        with disk_full_reported(path), open(path, "a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.notes.append(line)
        self._pending = {name: [] for name in self.arrays}

    def written(self, name: str) -> np.ndarray:
        """Which rows of an array are safely on disk, (rows,) bool."""
        written = np.zeros(self.arrays[name][0], dtype=bool)
        for start, stop in (part for note in self.notes for part in note["rows"].get(name, [])):
            written[start:stop] = True
        return written

    def leading(self, name: str) -> int:
        """How many rows from the first on are safely on disk: where a caller that writes in order resumes."""
        return int(np.argmin(np.append(self.written(name), False)))

    def missing(self, name: str, rows_per_range: int) -> list[Range]:
        """Ranges of ``rows_per_range`` rows (the last one may be shorter) that are not whole on disk yet."""
        written = self.written(name)
        ranges = [
            (start, min(start + rows_per_range, len(written))) for start in range(0, len(written), rows_per_range)
        ]
        return [(start, stop) for start, stop in ranges if not written[start:stop].all()]

    def wait_for_all(self, is_complete: Callable[[], bool], look: Callable[[], None] = lambda: None) -> None:
        """Return when ``is_complete`` by the notes of all processes; ``look`` is called meanwhile and may raise.

        Seen on the disk, since others may need longer than a collective operation may take.
        """
        while not is_complete():
            if self.processes.count == 1:
                raise WorkbenchError(f"{self.folder}: some rows are not written yet. Run the same command again.")
            look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.notes = self._read_notes()

    def _begin(self, identity: dict[str, Any], sparse: bool) -> None:
        """Resume an unfinished folder of the same identity, or start it."""
        claim = self.folder / IDENTITY
        identity = identity | {"arrays": {name: list(shape) for name, shape in self.arrays.items()}}
        if claim.exists():
            if read_json(claim) != json.loads(json.dumps(identity)):
                raise WorkbenchError(
                    f"{self.folder}: holds unfinished features that were begun with other inputs or settings. "
                    "Delete the folder and run again."
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_notes(self.folder)
        for name, shape in self.arrays.items():
            FeatureFile.create(self.path(name), *shape, sparse=sparse)
        write_json(claim, identity)

    def _read_notes(self) -> list[dict[str, Any]]:
        notes = []
        for path in sorted(self.folder.glob(NOTES.format("*"))):
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    notes.append(json.loads(line))
                except json.JSONDecodeError:  # empty, or cut short by a kill
                    continue
        return notes


def remove_notes(folder: Path) -> None:
    """The last step of all: from now on the folder is not resumed."""
    for path in [*Path(folder).glob(NOTES.format("*")), Path(folder) / IDENTITY]:
        path.unlink(missing_ok=True)


def rows_not_finite(half: np.ndarray) -> np.ndarray:
    """Which rows of features (n, D) float16 hold a value that is not finite."""
    bits = np.ascontiguousarray(half).view(np.uint16)
    # Five times as fast as numpy.isfinite of float16, in pieces that fit a processor's cache.
    largest = np.zeros(len(bits), dtype=np.uint16)
    for start in range(0, len(bits), CACHED_ROWS):
        part = slice(start, start + CACHED_ROWS)
        largest[part] = (bits[part] & 0x7FFF).max(axis=1, initial=0)
    return np.flatnonzero(largest >= 0x7C00)


def _header(rows: int, dimension: int) -> bytes:
    header = io.BytesIO()
    fields = {"descr": "<f2", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _read_header(file: BinaryIO) -> tuple[int, tuple[tuple[int, ...], bool, np.dtype]]:
    """Where the rows begin, in bytes, and the shape, the order and the dtype."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the format is not known")
    found = readers[version](file)
    return file.tell(), found
