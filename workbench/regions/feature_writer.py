"""Writing folders of region features: in pieces, in any order, by several processes, across kills."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import writing
from workbench.files import read_json, sha256_of_file, write_json
from workbench.launching import Processes
from workbench.regions.feature_file import FeatureFile, rows_not_finite
from workbench.regions.features import MANIFEST, SUPPORTS
from workbench.scenes.relations import TABLES, write_tables
from workbench.stopping import Stopped, StopRequest

IDENTITY = "progress.json"
NOTES = "progress-{}.jsonl"
SECONDS_BETWEEN_LOOKS = 0.5

Range = tuple[int, int]


class RangeWriter:
    """Files ``<name>.npy`` of ``arrays`` (name to rows and dimension) in ``folder``, filled range by range.

    ``flush`` brings what was written to the disk and then notes which rows it was, one line in a file of each process;
    an unfinished folder is resumed by these notes, whatever number of processes wrote them. ``identity`` (JSON) says
    what the rows are made of: unfinished rows of another identity are refused. `remove_notes` ends the work.
    """

    # Rows may stay unwritten: they take no place on the disk and read as zeros, and no checksums are computed.
    sparse = False

    def __init__(self, folder: Path, arrays: dict[str, Range], identity: dict[str, Any]):
        self.folder, self.arrays = Path(folder), arrays
        self.processes = Processes.current()
        if self.processes.main:
            self._begin(identity | {"arrays": {name: list(shape) for name, shape in arrays.items()}})
        self.processes.wait()
        remedy = f"Delete {self.folder} and run again."
        self._files = {name: FeatureFile(self.path(name), *shape, remedy) for name, shape in arrays.items()}
        self.notes = self._read_notes()
        self._pending: dict[str, list[Range]] = {name: [] for name in arrays}

    def path(self, name: str) -> Path:
        """The file of an array."""
        return self.folder / f"{name}.npy"

    def write(self, name: str, start: int, features: np.ndarray) -> None:
        """Write features (n, D) from row ``start``; WorkbenchError where a value is not finite in float16."""
        file, start, stop = self._files[name], int(start), int(start) + len(features)
        if np.shape(features)[1:] != (file.dimension,) or start < 0 or stop > file.rows:
            shape = (file.rows, file.dimension)
            raise ValueError(f"{file.path}: rows {start} to {stop} of shape {np.shape(features)} do not fit {shape}")
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(features, dtype="<f2")
        bad = rows_not_finite(half)
        if len(bad):
            raise WorkbenchError(
                f"{file.path}: row {start + int(bad[0])} is not finite in float16 (largest size 65504). Nothing of "
                "this piece was written; look at what computes that row, and compute in bfloat16 or float32."
            )
        with writing(file.path), open(file.path, "r+b") as into:
            into.seek(file.offset + start * file.bytes_per_row)
            into.write(half.data)
        pending = self._pending[name]
        if pending and pending[-1][1] == start:
            start = pending.pop()[0]
        pending.append((start, stop))

    def flush(self, **note: Any) -> None:
        """Bring what was written to the disk, then note it, with ``note`` (JSON values) beside it."""
        rows = {name: ranges for name, ranges in self._pending.items() if ranges}
        if not note and not rows:
            return
        for name in rows:
            with writing(self.path(name)), open(self.path(name), "rb") as file:
                os.fsync(file.fileno())
        line = {**note, "rows": rows}
        path = self.folder / NOTES.format(self.processes.rank)
        # A kill may have cut the last line short: each one begins on a line of its own.
        with writing(path), open(path, "a", encoding="utf-8") as file:
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

    def missing(self, name: str, rows_per_range: int) -> list[Range]:
        """Ranges of ``rows_per_range`` rows (the last one may be shorter) that are not whole on disk yet."""
        written = self.written(name)
        starts = range(0, len(written), rows_per_range)
        ranges = [(start, min(start + rows_per_range, len(written))) for start in starts]
        return [part for part in ranges if not written[slice(*part)].all()]

    def raise_if_asked(self, stop: StopRequest) -> None:
        """Raise ``Stopped`` where the work is asked to stop: call it when what was made is flushed."""
        if stop.asked:
            raise Stopped(f"{self.folder}: stopped. What was finished is kept; the same command resumes it.")

    def wait_for_all(self, is_complete: Callable[[], bool], stop: StopRequest) -> None:
        """Return when ``is_complete`` by the notes of all processes, or raise ``Stopped``.

        Seen on the disk, since others may need longer than a collective operation may take.
        """
        while not is_complete():
            if self.processes.count == 1:
                raise WorkbenchError(f"{self.folder}: some rows are not written yet. Run the same command again.")
            self.raise_if_asked(stop)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.notes = self._read_notes()

    def _begin(self, identity: dict[str, Any]) -> None:
        """Resume an unfinished folder of the same identity, or start it."""
        claim = self.folder / IDENTITY
        if not claim.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_notes(self.folder)
            for name, shape in self.arrays.items():
                _create(self.path(name), shape, self.sparse)
            write_json(claim, identity)
        elif read_json(claim) != json.loads(json.dumps(identity)):
            what = f"{self.folder}: holds unfinished features that were begun with other inputs or settings"
            raise WorkbenchError(f"{what}. Delete the folder and run again.")

    def _read_notes(self) -> list[dict[str, Any]]:
        notes = []
        for path in sorted(self.folder.glob(NOTES.format("*"))):
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    notes.append(json.loads(line))
                except json.JSONDecodeError:  # empty, or cut short by a kill
                    continue
        return notes


class FeatureStoreWriter(RangeWriter):
    """Writes one split's store, "union_features" and maybe "box_features"; an unfinished folder is resumed.

    Rows of ``union_features`` are those of the table of relations, rows of ``box_features`` those of boxes. Several
    processes may write, each other rows; all of them call ``__init__`` and ``finish``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tables: dict[str, pd.DataFrame],
        dimension: int,
        encoder: str,
        support: str = "signed",
        entity_region: str = "box",
    ):
        if support not in SUPPORTS:
            raise ValueError(f"support {support!r} is not known; expected {' or '.join(SUPPORTS)}")
        if (Path(folder) / MANIFEST).exists():
            raise WorkbenchError(f"{folder}: already finished. Open it, or delete the folder to make it again.")
        self.tables = tables
        self._facts = {"encoder": encoder, "support": support, "entity_region": entity_region, "dimension": dimension}
        self._of_array = {"box_features": tables["boxes"]} if entity_region == "box" else {}
        self._of_array["union_features"] = tables["relations"]
        digest = hashlib.sha256()
        for table in self.tables.values():
            digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        shapes = {name: (len(table), dimension) for name, table in self._of_array.items()}
        super().__init__(folder, shapes, self._facts | {"tables": digest.hexdigest()})

    def finish(self, left_out: Collection[int] = (), **facts: Any) -> None:
        """Compute the checksums and write the tables and the manifest; WorkbenchError while rows are missing.

        Images ``left_out`` (row numbers) have no rows in the finished tables; ``facts`` (JSON) go into the manifest.
        """
        self.flush()
        self.processes.wait()
        if self.processes.main:
            kept = {name: ~table["image"].isin(list(left_out)).to_numpy() for name, table in self._of_array.items()}
            for name, own in kept.items():
                if not (done := self.written(name)[own]).all() and not self.sparse:
                    what = f"{self.folder}: {done.sum():,} of {len(done):,} rows of {name} are written"
                    raise WorkbenchError(f"{what}. Run the same command again to resume.")
            rows_of_table = write_tables(self.folder, without_images(self.tables, left_out))
            arrays = {
                name: {"rows": rows, "sha256": None if self.sparse else sha256_of_file(self.path(name))}
                for name, (rows, _) in self.arrays.items()
            }
            holes = {name: _holes(own) for name, own in kept.items()}
            counted = {"rows": rows_of_table, "arrays": arrays, "holes": holes}
            write_json(self.folder / MANIFEST, facts | self._facts | counted)
            remove_notes(self.folder)
        self.processes.wait()


def remove_notes(folder: Path) -> None:
    """The last step of all: from now on the folder is not resumed."""
    for path in [*Path(folder).glob(NOTES.format("*")), Path(folder) / IDENTITY]:
        path.unlink(missing_ok=True)


def without_images(tables: dict[str, pd.DataFrame], left_out: Collection[int]) -> dict[str, pd.DataFrame]:
    """The three tables without some images (row numbers), their boxes and their relations; rows are renumbered."""
    images, boxes, relations = (tables[name] for name in TABLES)
    images = images.drop(index=list(left_out))
    boxes, relations = (table[table["image"].isin(images.index)] for table in (boxes, relations))
    ends = {end: boxes.index.get_indexer(relations[end]) for end in ("subject_box", "object_box")}
    relations = relations.assign(image=images.index.get_indexer(relations["image"]), **ends)
    boxes = boxes.assign(image=images.index.get_indexer(boxes["image"]))
    return {name: table.reset_index(drop=True) for name, table in zip(TABLES, (images, boxes, relations), strict=True)}


def _create(path: Path, shape: Range, sparse: bool) -> None:
    """A file of zeros, with its place on the disk at once, so that a full disk shows before the work."""
    with writing(path):
        try:
            np.lib.format.open_memmap(path, mode="w+", dtype="<f2", shape=shape)
            if not sparse and hasattr(os, "posix_fallocate"):  # absent on macOS
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError:
            path.unlink(missing_ok=True)  # what it did get of a full disk is needed elsewhere
            raise


def _holes(kept: np.ndarray) -> list[list[int]]:
    """Ranges of rows (start, stop) that are not kept."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], kept, [True]]).astype(np.int8)))
    return edges.reshape(-1, 2).tolist()
