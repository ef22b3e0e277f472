"""Writing a feature store: in pieces, in any order, by several processes, across kills."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, sha256_of_file, write_json
from workbench.regions.feature_file import RangeWriter, remove_notes
from workbench.regions.feature_store import ARRAYS, ENTITY_REGIONS, MANIFEST, SUPPORTS
from workbench.scenes.relations import TABLES


class FeatureStoreWriter:
    """Writes one split's store; an unfinished folder made with the same arguments is resumed.

    ``done_boxes`` and ``done_unions`` are how many leading rows are safely on disk: a caller that writes in order
    resumes there. They advance with ``flush`` (call it every now and then) and only over rows without a gap. Several
    processes may write, each other rows; all of them call ``__init__`` and ``finish``.
    """

    # Rows may stay unwritten: they take no place on the disk and read as zeros, and no checksums are computed.
    sparse = False

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
        if (self.folder / MANIFEST).exists():
            raise WorkbenchError(f"{self.folder}: already finished. Open it, or delete the folder to make it again.")
        self._tables = dict(zip(TABLES, (images, boxes, relations), strict=True))
        self._facts: dict[str, Any] = {
            "dimension": int(dimension),
            "encoder": encoder,
            "support": support,
            "entity_region": entity_region,
        }
        arrays = ARRAYS if entity_region == "box" else {"union_features": "relations"}
        shapes = {name: (len(self._tables[table]), int(dimension)) for name, table in arrays.items()}
        identity = self._facts | {"tables": _digest(self._tables)}
        self.ranges = RangeWriter(self.folder, shapes, identity, sparse=self.sparse)

    @property
    def done_boxes(self) -> int:
        """Leading rows of the box features that are safely on disk."""
        return self.ranges.leading("box_features")

    @property
    def done_unions(self) -> int:
        """Leading rows of the union features that are safely on disk."""
        return self.ranges.leading("union_features")

    def write_boxes(self, start: int, features: np.ndarray) -> None:
        """Write box features (n, D) from row ``start``; WorkbenchError where a value is not finite in float16."""
        if "box_features" not in self.ranges.arrays:
            raise ValueError('entity_region is "union": there are no box features')
        self.ranges.write("box_features", start, features)

    def write_unions(self, start: int, features: np.ndarray) -> None:
        """Write union features (n, D) from row ``start``; WorkbenchError where a value is not finite in float16."""
        self.ranges.write("union_features", start, features)

    def flush(self, **note: Any) -> None:
        """Bring what was written to the disk and note it, with ``note`` (JSON values) in ``ranges.notes``."""
        self.ranges.flush(**note)

    def finish(self, left_out: Collection[int] = (), **facts: Any) -> None:
        """Compute the checksums and write the tables and the manifest; WorkbenchError while rows are missing.

        Images ``left_out`` (row numbers) have no rows in the finished tables; ``facts`` (JSON) go into the manifest.
        """
        self.flush()
        processes = self.ranges.processes
        processes.wait()
        if processes.main:
            holes = {name: _holes(self._tables[ARRAYS[name]], left_out) for name in self.ranges.arrays}
            if not self.sparse:
                self._require_all_rows(holes)
            tables = without_images(self._tables, left_out)
            for name, table in tables.items():
                with atomic_path(self.folder / f"{name}.parquet") as temporary:
                    table.to_parquet(temporary, index=False)
            arrays = {
                name: {"rows": shape[0], "sha256": None if self.sparse else sha256_of_file(self.ranges.path(name))}
                for name, shape in self.ranges.arrays.items()
            }
            rows = {name: len(table) for name, table in tables.items()}
            described = self._facts | {"rows": rows, "arrays": arrays, "holes": holes}
            write_json(self.folder / MANIFEST, facts | described)
            remove_notes(self.folder)
        processes.wait()

    def _require_all_rows(self, holes: dict[str, list[tuple[int, int]]]) -> None:
        for name, (rows, _) in self.ranges.arrays.items():
            written = self.ranges.written(name)
            for start, stop in holes[name]:
                written[start:stop] = True
            if not written.all():
                raise WorkbenchError(
                    f"{self.folder}: {written.sum():,} of {rows:,} rows of {name} are written. "
                    "Run the same command again to resume."
                )


def without_images(tables: dict[str, pd.DataFrame], left_out: Collection[int]) -> dict[str, pd.DataFrame]:
    """The three tables without some images (row numbers), their boxes and their relations; rows are renumbered."""
    if not left_out:
        return tables
    images, boxes, relations = (tables[name] for name in TABLES)
    out = np.isin(np.arange(len(images)), list(left_out))
    kept_boxes, kept_relations = ~out[boxes["image"]], ~out[relations["image"]]
    new_image, new_box = np.cumsum(~out) - 1, np.cumsum(kept_boxes) - 1
    boxes, relations = boxes[kept_boxes].reset_index(drop=True), relations[kept_relations].reset_index(drop=True)
    boxes = boxes.assign(image=new_image[boxes["image"]])
    ends = {end: new_box[relations[end]] for end in ("subject_box", "object_box")}
    relations = relations.assign(image=new_image[relations["image"]], **ends)
    return dict(zip(TABLES, (images[~out].reset_index(drop=True), boxes, relations), strict=True))


def _holes(table: pd.DataFrame, left_out: Collection[int]) -> list[tuple[int, int]]:
    """Ranges of rows (start, stop) of a table that belong to images left out."""
    inside = np.isin(table["image"].to_numpy(), list(left_out))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _digest(tables: dict[str, pd.DataFrame]) -> str:
    digest = hashlib.sha256()
    for name in TABLES:
        digest.update(pd.util.hash_pandas_object(tables[name], index=False).to_numpy().tobytes())
    return digest.hexdigest()
