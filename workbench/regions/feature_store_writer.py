"""Writing a feature store: in pieces, in any order, across kills."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import read_json, sha256_of_file, write_json
from workbench.progress import track
from workbench.regions.feature_store_manifest import (
    ENTITY_REGIONS,
    MANIFEST,
    TABLE_OF_KIND,
    described_store,
    identity_of,
    kinds_of,
    write_manifest,
    write_tables,
)
from workbench.regions.shard_files import BYTES_PER_SHARD, FILE_NAMES, ShardFile, halved
from workbench.scenes.relations import TABLES

__all__ = ["ENTITY_REGIONS", "FeatureStoreWriter"]

PROGRESS = "progress.json"


class FeatureStoreWriter:
    """Writes one split's store; an unfinished folder made with the same arguments is continued.

    ``done_boxes`` and ``done_unions`` are how many leading rows are safely on disk: a caller that writes in order
    continues there. They advance with ``flush`` (call it every now and then) and only over rows without a gap. A shard
    has ``rows_per_shard`` rows, about 256 MB unless given. With ``sparse`` rows may stay unwritten: they are holes that
    take no place on the disk and read as zeros, and no checksums are computed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        images: pd.DataFrame,
        boxes: pd.DataFrame,
        relations: pd.DataFrame,
        dimension: int,
        encoder: str,
        support: str = "signed",
        entity_region: str = "box",
        rows_per_shard: int | None = None,
        sparse: bool = False,
    ):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tables = dict(zip(TABLES, (images, boxes, relations), strict=True))
        self._manifest = described_store(
            self._tables, dimension=dimension, encoder=encoder, support=support, entity_region=entity_region
        )
        self._rows_per_shard = rows_per_shard or max(1, BYTES_PER_SHARD // (2 * dimension))
        self._sparse = sparse
        cut = {"rows_per_shard": self._rows_per_shard, "sparse": sparse}
        self._identity = identity_of(self._manifest | cut, self._tables)
        self._done = {"boxes": 0, "unions": 0}
        self._begin()
        self._written = dict(self._done)
        self._ahead: dict[str, dict[int, int]] = {"boxes": {}, "unions": {}}
        self._shards = {kind: self._shards_of(kind) for kind in kinds_of(self._manifest)}

    @property
    def done_boxes(self) -> int:
        """Leading rows of the box features that are safely on disk."""
        return self._done["boxes"]

    @property
    def done_unions(self) -> int:
        """Leading rows of the union features that are safely on disk."""
        return self._done["unions"]

    def write_boxes(self, start: int, features: np.ndarray) -> None:
        """Write box features (n, D) from row ``start``; WorkbenchError where a value is not finite in float16."""
        if "boxes" not in self._shards:
            raise ValueError('entity_region is "union": there are no box features')
        self._write("boxes", start, features)

    def write_unions(self, start: int, features: np.ndarray) -> None:
        """Write union features (n, D) from row ``start``; WorkbenchError where a value is not finite in float16."""
        self._write("unions", start, features)

    def flush(self) -> None:
        """Bring what was written to the disk, then advance the marks."""
        for shards in self._shards.values():
            shards.flush()
        self._done = dict(self._written)
        write_json(self.folder / PROGRESS, {**self._done, "identity": self._identity})

    def finish(self) -> None:
        """Flush, compute the checksums and write the manifest; WorkbenchError while rows are missing."""
        self.flush()
        for kind, shards in self._shards.items():
            if self._done[kind] != shards.rows and not self._sparse:
                raise WorkbenchError(
                    f"{self.folder}: {self._done[kind]:,} of {shards.rows:,} rows of {kind} are written. "
                    "Run the same command again to continue."
                )
        entries = {kind: shards.entries() for kind, shards in self._shards.items()}
        write_manifest(self.folder, self._manifest | {"shards": entries})
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def _begin(self) -> None:
        """Continue an unfinished folder of the same identity, or start it."""
        progress = self.folder / PROGRESS
        if (self.folder / MANIFEST).exists():
            raise WorkbenchError(f"{self.folder}: already finished. Open it, or delete the folder to make it again.")
        if not progress.exists():
            write_tables(self.folder, self._tables)
            return
        found = read_json(progress)
        if found["identity"] != self._identity:
            raise WorkbenchError(
                f"{self.folder}: holds unfinished features of other annotations, dimension or encoder. "
                "Delete the folder and run the command again."
            )
        self._done = {kind: int(found[kind]) for kind in self._done}

    def _shards_of(self, kind: str) -> "_Shards":
        shape = (len(self._tables[TABLE_OF_KIND[kind]]), self._manifest["dimension"])
        return _Shards(self.folder, kind, shape, self._rows_per_shard, self._done[kind], self._sparse)

    def _write(self, kind: str, start: int, features: np.ndarray) -> None:
        shape, features = (self._shards[kind].rows, self._manifest["dimension"]), np.asarray(features)
        stop = start + len(features)
        if features.ndim != 2 or features.shape[1] != shape[1] or start < 0 or stop > shape[0]:
            raise ValueError(f"rows {start} to {stop} of shape {features.shape} do not fit {kind} {shape}")
        half = halved(features, f"{self.folder}: {kind}", start)
        self._shards[kind].write(start, half)
        self._ahead[kind][start] = max(stop, self._ahead[kind].get(start, 0))
        self._advance(kind)

    def _advance(self, kind: str) -> None:
        ahead, reached = self._ahead[kind], self._written[kind]
        for start in sorted(ahead):
            if start > reached:
                break
            reached = max(reached, ahead.pop(start))
        self._written[kind] = reached


class _Shards:
    """The files of one kind of features; ``done`` leading rows are in them already."""

    def __init__(self, folder: Path, kind: str, shape: tuple[int, int], rows_per_shard: int, done: int, sparse: bool):
        self.rows, self.dimension = shape
        self._folder, self._kind, self._sparse, self._done = folder, kind, sparse, done
        self._starts = range(0, self.rows, rows_per_shard)
        self._begun: set[int] = set()
        self._open: dict[int, ShardFile] = {}
        for number in range(sum(start < done for start in self._starts)):
            self._file(number).close()  # opening has found out a file that is missing or another
        self._open.clear()

    def write(self, start: int, half: np.ndarray) -> None:
        """Write rows (n, D) float16 from row ``start`` into the shards that they belong to."""
        while len(half):
            number = start // self._starts.step
            first = start - self._starts[number]
            count = min(len(half), self._starts.step - first)
            self._file(number).write(first, half[:count])
            start, half = start + count, half[count:]

    def flush(self) -> None:
        """Bring what was written to the disk."""
        for file in self._open.values():
            file.sync()
            file.close()
        self._open.clear()

    def entries(self) -> list[dict[str, Any]]:
        """The manifest's lines of all shards, with their checksums; reads every byte."""
        if self._sparse:
            for number in range(len(self._starts)):
                self._file(number)
            self.flush()
        return [
            {
                "file": self._path(number).name,
                "rows": self._rows_of(number),
                "sha256": None if self._sparse else sha256_of_file(self._path(number)),
            }
            for number in track(range(len(self._starts)), f"checksums of {self._kind}")
        ]

    def _file(self, number: int) -> ShardFile:
        if number not in self._open:
            # What lies beyond the marks is written again.
            new = number not in self._begun and self._starts[number] >= self._done
            self._open[number] = ShardFile(
                self._path(number), self._rows_of(number), self.dimension, new=new, sparse=self._sparse
            )
            self._begun.add(number)
        return self._open[number]

    def _path(self, number: int) -> Path:
        return self._folder / FILE_NAMES[self._kind].format(number)

    def _rows_of(self, number: int) -> int:
        return min(self._starts.step, self.rows - self._starts[number])
