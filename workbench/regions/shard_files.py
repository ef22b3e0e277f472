"""Writing the files of a feature store: float16 .npy of known size, filled in any order."""

import io
import os
from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import disk_full_told

KINDS = ("boxes", "unions")
FILE_NAMES = {"boxes": "box_features-{:05d}.npy", "unions": "union_features-{:05d}.npy"}
BYTES_PER_SHARD = 1 << 28
COPY_ROWS = 1024


class ShardFile:
    """A float16 .npy file (rows, D) of which any rows are written at any time, in one thread.

    A new file has its place on the disk at once, so that a full disk shows before the work and not amid it; with
    ``sparse`` it takes none but for what is written. WorkbenchError where the disk is full, or an existing file is
    another.
    """

    def __init__(self, path: Path, rows: int, dimension: int, *, new: bool, sparse: bool = False):
        self.path, self.rows, self.dimension = Path(path), rows, dimension
        header = _header(rows, dimension)
        self._offset, self._bytes_per_row = len(header), 2 * dimension
        size = len(header) + rows * self._bytes_per_row
        with disk_full_told(self.path):
            if new:
                _create(self.path, header, size, sparse)
            elif not _is_of(self.path, header, size):
                raise WorkbenchError(
                    f"{self.path}: unfinished features cannot be continued: missing, or not float16 "
                    f"{(rows, dimension)}. Delete the folder and run the command again."
                )
            self._file = open(self.path, "r+b", buffering=0)  # noqa: SIM115  see close

    def write(self, start: int, rows: np.ndarray) -> None:
        """Write rows (n, D) float16 from row ``start``."""
        content = memoryview(np.ascontiguousarray(rows, dtype="<f2")).cast("B") if rows.size else b""
        with disk_full_told(self.path):
            self._file.seek(self._offset + start * self._bytes_per_row)
            while content:
                content = content[self._file.write(content) :]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` (n, D) float16."""
        self._file.seek(self._offset + start * self._bytes_per_row)
        content = self._file.read((stop - start) * self._bytes_per_row)
        return np.frombuffer(content, dtype="<f2").reshape(-1, self.dimension)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        with disk_full_told(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


def halved(features: np.ndarray, where: str, first_row: int = 0) -> np.ndarray:
    """Features (n, D) as float16; WorkbenchError names ``where`` and the first row that float16 cannot hold.

    ``first_row`` is the number of row 0 in the error.
    """
    with np.errstate(over="ignore"):
        half = np.asarray(features).astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(half).all(axis=1))
    if len(bad):
        raise WorkbenchError(
            f"{where} row {first_row + int(bad[0])} is not finite in float16 (largest size 65504). Nothing of this "
            "piece was written; look at the encoder's output for that row, and compute in bfloat16 or float32."
        )
    return half


def copy_runs(source: ShardFile, target: ShardFile, runs: list[tuple[int, int]]) -> None:
    """Copy runs of rows (start, stop) of ``source`` to ``target``, one after the other."""
    place = 0
    for first, last in runs:
        for start in range(first, last, COPY_ROWS):
            rows = source.read(start, min(start + COPY_ROWS, last))
            target.write(place, rows)
            place += len(rows)


def _header(rows: int, dimension: int) -> bytes:
    header = io.BytesIO()
    fields = {"descr": "<f2", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _create(path: Path, header: bytes, size: int, sparse: bool) -> None:
    try:
        with open(path, "wb") as file:
            file.write(header)
            file.truncate(size)
            file.flush()
            if not sparse:
                _reserve(file.fileno(), size)
    except OSError:
        path.unlink(missing_ok=True)  # what it did get of a full disk is needed elsewhere
        raise


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):  # absent on macOS and Windows
        os.posix_fallocate(descriptor, 0, size)


def _is_of(path: Path, header: bytes, size: int) -> bool:
    if not path.is_file() or path.stat().st_size != size:
        return False
    with open(path, "rb") as file:
        return file.read(len(header)) == header
