"""Writing arrays of features in ranges of rows: in any order, by several processes, across kills."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import disk_full_told, read_json, write_json
from workbench.processes import Processes
from workbench.regions.feature_file import FeatureFile

IDENTITY = "progress.json"
NOTES = "progress-{}.jsonl"
SECONDS_BETWEEN_LOOKS = 0.5

Range = tuple[int, int]


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
        self._pending[name].append((int(start), int(start) + len(features)))

    def flush(self, **note: Any) -> None:
        """Bring what was written to the disk, then note it, with ``note`` (JSON values) beside it."""
        if not note and not any(self._pending.values()):
            return
        for name, ranges in self._pending.items():
            if ranges:
                self._files[name].sync()
        line = {**note, "rows": {name: _merged(ranges) for name, ranges in self._pending.items() if ranges}}
        path = self.folder / NOTES.format(self.processes.rank)
        # A kill may have cut the last line short: each one begins on a line of its own.
        with disk_full_told(path), open(path, "a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.notes.append(line)
        self._pending = {name: [] for name in self.arrays}

    def done(self, name: str) -> list[Range]:
        """Which rows of an array are safely on disk: ascending ranges (first row, row after the last)."""
        return _merged([tuple(part) for note in self.notes for part in note["rows"].get(name, [])])

    def leading(self, name: str) -> int:
        """How many rows from the first on are safely on disk: where a caller that writes in order resumes."""
        done = self.done(name)
        return done[0][1] if done and done[0][0] == 0 else 0

    def missing(self, name: str, rows_per_range: int) -> list[Range]:
        """Ranges of ``rows_per_range`` rows (the last one may be shorter) that are not whole on disk yet."""
        done, rows = self.done(name), self.arrays[name][0]
        ranges = [(start, min(start + rows_per_range, rows)) for start in range(0, rows, rows_per_range)]
        starts, stops = np.array(done, dtype=np.int64).reshape(-1, 2).T
        first, last = np.array(ranges, dtype=np.int64).reshape(-1, 2).T
        place = np.searchsorted(starts, first, side="right") - 1
        whole = (place >= 0) & (last <= np.append(stops, 0)[place])
        return [piece for piece, is_whole in zip(ranges, whole.tolist(), strict=True) if not is_whole]

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

    def remove_notes(self) -> None:
        """See `remove_notes`."""
        remove_notes(self.folder)

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


def _merged(ranges: list[Range]) -> list[Range]:
    """The same rows in as few ascending ranges as there can be."""
    merged: list[Range] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        elif stop > start:
            merged.append((start, stop))
    return merged
