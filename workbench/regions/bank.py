"""The feature bank: region features on disk, aligned with the annotation tables, never read whole.

A bank is a folder of one split: ``union_features.npy`` and (``entity_region`` "box") ``box_features.npy``, float16 and
memory-mapped, ``images.parquet``, ``boxes.parquet``, ``relations.parquet``, and ``bank.json``, written last: a folder
without it is unfinished. ``support`` says whether features are "signed" (fc7 before its last ReLU, LTVRR reference
2.3) or "rectified". With ``entity_region`` "union" a data set brings only union features: the union feature of a
relation then stands in for its subject's and its object's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.regions.bank_writer import (
    BOX_FEATURES,
    ENTITY_REGIONS,
    MANIFEST,
    SUPPORTS,
    TABLES,
    UNION_FEATURES,
    FeatureBankWriter,
)
from workbench.scenes.annotations import BOX_COLUMNS

__all__ = ["FeatureBank", "FeatureBankWriter"]

ROWS_PER_CHUNK = 4096


class FeatureBank:
    """Features of one split. ``len(bank)`` is the number of relations; rows may be asked for in any order."""

    def __init__(self, folder: Path, manifest: dict[str, Any], tables: dict[str, pd.DataFrame]):
        self.folder = Path(folder)
        self.dimension: int = manifest["dimension"]
        self.encoder: str = manifest["encoder"]
        self.support: str = manifest["support"]
        self.entity_region: str = manifest["entity_region"]
        self.images, self.boxes, self.relations = (tables[name] for name in TABLES)
        self._unions = _open_features(self.folder / UNION_FEATURES, len(self.relations), self.dimension)
        self._boxes = self._unions
        if self.entity_region == "box":
            self._boxes = _open_features(self.folder / BOX_FEATURES, len(self.boxes), self.dimension)
        self._subject_box = self.relations["subject_box"].to_numpy()
        self._object_box = self.relations["object_box"].to_numpy()

    @classmethod
    def open(
        cls, folder: Path, expect_encoder: str | None = None, expect_dimension: int | None = None
    ) -> "FeatureBank":
        """Open a finished bank; WorkbenchError where a file, a row count, the dimension or the encoder does not fit."""
        folder = Path(folder)
        manifest = _read_manifest(folder)
        tables = {name: _read_table(folder / f"{name}.parquet", manifest["rows"][name]) for name in TABLES}
        _require_box_rows(folder, tables)
        if expect_dimension is not None and manifest["dimension"] != expect_dimension:
            raise WorkbenchError(
                f"{folder}: the features have {manifest['dimension']} dimensions, expected {expect_dimension}. "
                "Use the bank that the model was trained with, or train the model on this one."
            )
        if expect_encoder is not None and manifest["encoder"] != expect_encoder:
            raise WorkbenchError(
                f"{folder}: the features come from the encoder {manifest['encoder']!r}, expected {expect_encoder!r}. "
                "Features of two encoders cannot be mixed: make them again with the expected encoder."
            )
        return cls(folder, manifest, tables)

    def __len__(self) -> int:
        return len(self.relations)

    def union(self, rows: np.ndarray) -> np.ndarray:
        """Union features of relation rows, (n, D) float32."""
        return _read_rows(self._unions, rows)

    def subject(self, rows: np.ndarray) -> np.ndarray:
        """Features of the subject's box of relation rows, (n, D) float32; the union's where there is no other."""
        return _read_rows(self._boxes, self._subject_box[np.asarray(rows)])

    def object(self, rows: np.ndarray) -> np.ndarray:
        """Features of the object's box of relation rows, (n, D) float32; the union's where there is no other."""
        return _read_rows(self._boxes, self._object_box[np.asarray(rows)])

    def box(self, box_rows: np.ndarray) -> np.ndarray:
        """Features of rows of the box table, (n, D) float32."""
        return _read_rows(self._boxes, box_rows)

    def check_finite(self) -> None:
        """Read the bank in chunks; WorkbenchError names the first row with a value that is not finite."""
        for features, table in self._arrays():
            for start, chunk in _chunks(features):
                bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
                if len(bad):
                    row = start + int(bad[0])
                    image = self.images.iloc[int(table["image"].iloc[row])]
                    raise WorkbenchError(
                        f"{features.filename}: row {row} (image {image['image_id']} {image['file_name']}) is not "
                        "finite; expected numbers. Delete this folder and make the features again; if the row stays, "
                        "leave the image out."
                    )

    def _arrays(self) -> Iterator[tuple[np.memmap, pd.DataFrame]]:
        yield self._unions, self.relations
        if self.entity_region == "box":
            yield self._boxes, self.boxes


def _chunks(features: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(features), ROWS_PER_CHUNK):
        yield start, features[start : start + ROWS_PER_CHUNK]


def _read_rows(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # Ascending reads keep the disk sequential; every row is read once, whatever the order asked for.
    rows = np.asarray(rows)
    distinct, place = np.unique(rows, return_inverse=True)
    if len(distinct) and (distinct[0] < 0 or distinct[-1] >= len(features)):
        raise IndexError(f"rows {distinct[0]} to {distinct[-1]} asked for, the bank has 0 to {len(features) - 1}")
    values = np.asarray(features[distinct.astype(np.int64)], dtype=np.float32)
    return (
        values if len(distinct) == len(rows) and np.array_equal(distinct, rows) else values[place.reshape(rows.shape)]
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).exists():
        found = "is unfinished" if folder.is_dir() and any(folder.iterdir()) else "holds no features"
        raise WorkbenchError(
            f"{folder}: {found} (no {MANIFEST}). Run the stage features, or `workbench features import`."
        )
    manifest = read_json(folder / MANIFEST)
    wanted = {"dimension": int, "encoder": str, "support": str, "entity_region": str, "rows": dict}
    for key, kind in wanted.items():
        if not isinstance(manifest, dict) or not isinstance(manifest.get(key), kind):
            raise WorkbenchError(f"{folder / MANIFEST}: the key {key!r} is missing or not {kind.__name__}. {_AGAIN}")
    for name in TABLES:
        if not isinstance(manifest["rows"].get(name), int):
            raise WorkbenchError(f"{folder / MANIFEST}: the number of rows of {name!r} is missing. {_AGAIN}")
    if manifest["support"] not in SUPPORTS or manifest["entity_region"] not in ENTITY_REGIONS:
        raise WorkbenchError(
            f"{folder / MANIFEST}: support {manifest['support']!r}, entity_region {manifest['entity_region']!r}; "
            f"expected one of {SUPPORTS} and one of {ENTITY_REGIONS}. {_AGAIN}"
        )
    return manifest


_AGAIN = "Delete the folder and make the features again."


_COLUMNS = {
    "images": ("image_id", "file_name", "width", "height"),
    "boxes": ("image", *BOX_COLUMNS, "object_class"),
    "relations": ("image", "subject_box", "object_box", "subject", "relation", "object"),
}


def _read_table(path: Path, rows: int) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise WorkbenchError(f"{path}: the file is missing. {_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path}: not a readable table ({error}). {_AGAIN}") from error
    missing = [name for name in _COLUMNS[path.stem] if name not in table]
    if missing:
        raise WorkbenchError(f"{path}: the columns {', '.join(missing)} are missing. {_AGAIN}")
    if len(table) != rows:
        raise WorkbenchError(f"{path}: {len(table)} rows, but {MANIFEST} says {rows}. {_AGAIN}")
    return table


def _require_box_rows(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    for table, column, target in (
        ("relations", "subject_box", "boxes"),
        ("relations", "object_box", "boxes"),
        ("relations", "image", "images"),
        ("boxes", "image", "images"),
    ):
        values, size = tables[table][column].to_numpy(), len(tables[target])
        wrong = np.flatnonzero((values < 0) | (values >= size))
        if len(wrong):
            raise WorkbenchError(
                f"{folder / table}.parquet: row {wrong[0]} points to {target} row {values[wrong[0]]}, "
                f"expected 0 to {size - 1}. {_AGAIN}"
            )


def _open_features(path: Path, rows: int, dimension: int) -> np.ndarray:
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise WorkbenchError(f"{path}: the file is missing. {_AGAIN}") from error
    except (OSError, ValueError, EOFError) as error:
        raise WorkbenchError(f"{path}: not a readable array, perhaps cut short ({error}). {_AGAIN}") from error
    if features.dtype != np.float16:
        raise WorkbenchError(f"{path}: the numbers are {features.dtype}, expected float16. {_AGAIN}")
    if features.shape != (rows, dimension):
        raise WorkbenchError(f"{path}: the shape is {features.shape}, expected {(rows, dimension)}. {_AGAIN}")
    return features
