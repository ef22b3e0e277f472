"""Writing a feature bank: in pieces, in any order, across kills."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json

MANIFEST = "bank.json"
BOX_FEATURES = "box_features.npy"
UNION_FEATURES = "union_features.npy"
TABLES = ("images", "boxes", "relations")
SUPPORTS = ("signed", "rectified")
ENTITY_REGIONS = ("box", "union")
PROGRESS = "progress.json"


class FeatureBankWriter:
    """Writes one split's bank; an unfinished folder made with the same arguments is continued.

    ``done_boxes`` and ``done_unions`` are how many leading rows are safely on disk: a caller that writes in order
    continues there. They advance with ``flush`` (call it every now and then) and only over rows without a gap.
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
    ):
        if support not in SUPPORTS or entity_region not in ENTITY_REGIONS:
            raise ValueError(f"support {support!r} or entity_region {entity_region!r} is not known")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tables = dict(zip(TABLES, (images, boxes, relations), strict=True))
        self._manifest = {
            "dimension": int(dimension),
            "encoder": encoder,
            "support": support,
            "entity_region": entity_region,
            "rows": {name: len(table) for name, table in self._tables.items()},
        }
        self._identity = _identity(self._manifest, self._tables)
        self._done = {"boxes": 0, "unions": 0}
        self._begin()
        self._features = {"unions": self._array(UNION_FEATURES, len(relations))}
        if entity_region == "box":
            self._features["boxes"] = self._array(BOX_FEATURES, len(boxes))
        self._written = dict(self._done)
        self._ahead: dict[str, dict[int, int]] = {"boxes": {}, "unions": {}}

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
        if "boxes" not in self._features:
            raise ValueError('entity_region is "union": there are no box features')
        self._write("boxes", start, features)

    def write_unions(self, start: int, features: np.ndarray) -> None:
        """Write union features (n, D) from row ``start``; WorkbenchError where a value is not finite in float16."""
        self._write("unions", start, features)

    def flush(self) -> None:
        """Bring what was written to the disk, then advance the marks."""
        with _disk_full(self.folder):
            for features in self._features.values():
                features.flush()
        self._done = dict(self._written)
        write_json(self.folder / PROGRESS, {**self._done, "identity": self._identity})

    def finish(self) -> None:
        """Flush and write the manifest; WorkbenchError while rows are missing."""
        self.flush()
        for kind, features in self._features.items():
            if self._done[kind] != len(features):
                raise WorkbenchError(
                    f"{self.folder}: {self._done[kind]:,} of {len(features):,} rows of {kind} are written. "
                    "Run the same command again to continue."
                )
        write_json(self.folder / MANIFEST, self._manifest)
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def _begin(self) -> None:
        """Continue an unfinished folder of the same identity, or start it."""
        progress = self.folder / PROGRESS
        if (self.folder / MANIFEST).exists():
            raise WorkbenchError(f"{self.folder}: already finished. Open it, or delete the folder to make it again.")
        if progress.exists():
            found = read_json(progress)
            if found["identity"] != self._identity:
                raise WorkbenchError(
                    f"{self.folder}: holds unfinished features of other annotations, dimension or encoder. "
                    "Delete the folder and run the command again."
                )
            self._done = {kind: int(found[kind]) for kind in self._done}
            return
        for name, table in self._tables.items():
            with atomic_path(self.folder / f"{name}.parquet") as temporary:
                table.to_parquet(temporary, index=False)

    def _array(self, name: str, rows: int) -> np.memmap:
        path, shape = self.folder / name, (rows, self._manifest["dimension"])
        if (self.folder / PROGRESS).exists():
            return _continued(path, shape)
        with _disk_full(self.folder):
            features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            _reserve(path)
            return features

    def _write(self, kind: str, start: int, features: np.ndarray) -> None:
        target, features = self._features[kind], np.asarray(features)
        stop = start + len(features)
        if features.ndim != 2 or features.shape[1] != target.shape[1] or start < 0 or stop > len(target):
            raise ValueError(f"rows {start} to {stop} of shape {features.shape} do not fit {kind} {target.shape}")
        with np.errstate(over="ignore"):
            halved = features.astype(np.float16)
        bad = np.flatnonzero(~np.isfinite(halved).all(axis=1))
        if len(bad):
            raise WorkbenchError(
                f"{self.folder}: {kind} row {start + int(bad[0])} is not finite in float16 (largest size 65504). "
                "Nothing of this piece was written; look at the encoder's output for that row."
            )
        target[start:stop] = halved
        self._ahead[kind][start] = max(stop, self._ahead[kind].get(start, 0))
        self._advance(kind)

    def _advance(self, kind: str) -> None:
        ahead, reached = self._ahead[kind], self._written[kind]
        for start in sorted(ahead):
            if start > reached:
                break
            reached = max(reached, ahead.pop(start))
        self._written[kind] = reached


def _continued(path: Path, shape: tuple[int, int]) -> np.memmap:
    try:
        features = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise WorkbenchError(
            f"{path}: unfinished features cannot be continued ({error}). Delete the folder and run the command again."
        ) from error
    if features.shape != shape or features.dtype != np.float16:
        raise WorkbenchError(
            f"{path}: {features.dtype} {features.shape}, expected float16 {shape}. "
            "Delete the folder and run the command again."
        )
    return features


def _reserve(path: Path) -> None:
    """Claim the file's blocks now: a sparse memory map on a full disk dies by SIGBUS, not by an error."""
    if hasattr(os, "posix_fallocate"):  # absent on macOS and Windows
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


@contextlib.contextmanager
def _disk_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkbenchError(
                f"{folder}: the disk is full. What was finished is kept; free space and run the same command again."
            ) from error
        raise


def _identity(manifest: dict[str, Any], tables: dict[str, pd.DataFrame]) -> str:
    """A digest of everything that must be equal for a half-written folder to be continued."""
    digest = hashlib.sha256(repr(sorted(manifest.items(), key=lambda item: item[0])).encode())
    for name in TABLES:
        digest.update(pd.util.hash_pandas_object(tables[name], index=False).to_numpy().tobytes())
    return digest.hexdigest()
