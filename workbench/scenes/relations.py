"""The tables of one split on disk, and its triplets as one integer each.

A folder holds ``images.parquet``, ``boxes.parquet`` and ``relations.parquet`` in the columns of ``Annotations``. A
feature store is such a folder with features; a data set that was only added, such as one without its images, is such
a folder with ``tables.json``, written last.

A box is (x1, y1, x2, y2) in pixels of the original image, float32, **inclusive**: its width is ``x2 - x1 + 1``.
Relation boxes may reach outside the image and are kept as annotated (upstream does not clip them either).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.scenes.vocabulary import ROLES, SPLITS

if TYPE_CHECKING:
    from workbench.scenes.annotations import Annotations

BOX_COLUMNS = ["x1", "y1", "x2", "y2"]
TABLES = ("images", "boxes", "relations")
MANIFESTS = ("features.json", "tables.json")
COLUMNS = {
    "images": ("image_id", "file_name", "width", "height"),
    "boxes": ("image", *BOX_COLUMNS, "object_class"),
    "relations": ("image", "subject_box", "object_box", "subject", "relation", "object"),
}
BITS_PER_CLASS = 21  # of a triplet's key, which is an int64
AGAIN = "Delete the folder and make it again."


@dataclass(frozen=True)
class RelationTables:
    """One split's ``images``, ``boxes`` and ``relations``, as in ``Annotations``; ``len`` is the relations' number."""

    folder: Path
    images: pd.DataFrame
    boxes: pd.DataFrame
    relations: pd.DataFrame

    @classmethod
    def open(cls, folder: Path) -> "RelationTables":
        """Read a finished folder; WorkbenchError where a file is missing, cut short, or points beyond another."""
        folder = Path(folder)
        manifest = next((folder / name for name in MANIFESTS if (folder / name).is_file()), None)
        if manifest is None:
            found = "is unfinished" if folder.is_dir() and any(folder.iterdir()) else "holds no tables"
            raise WorkbenchError(
                f"{folder}: {found} (neither {' nor '.join(MANIFESTS)}). Run notebook 00, or `workbench data add`."
            )
        return cls(folder, **read_tables(folder, rows_in(manifest)))

    @classmethod
    def open_all(cls, folder: Path) -> "dict[str, RelationTables]":
        """The tables of each split that a features folder has, train first; the features are not opened."""
        splits = (split for split in SPLITS if (Path(folder) / split).is_dir())
        return {split: cls.open(Path(folder) / split) for split in splits}

    def __len__(self) -> int:
        return len(self.relations)


def write_relation_tables(folder: Path, annotations: "Annotations") -> None:
    """Write a split's three tables, then ``tables.json``."""
    folder = Path(folder)
    tables = {name: getattr(annotations, name) for name in TABLES}
    for name, table in tables.items():
        with atomic_path(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    write_json(folder / "tables.json", {"rows": {name: len(table) for name, table in tables.items()}})


def rows_in(manifest: Path) -> dict[str, int]:
    """The number of rows of each table by a manifest; WorkbenchError where it does not say."""
    rows = read_json(manifest)
    rows = rows.get("rows") if isinstance(rows, dict) else None
    for name in TABLES:
        if not isinstance(rows, dict) or not isinstance(rows.get(name), int):
            raise WorkbenchError(f"{manifest}: the number of rows of {name!r} is missing. {AGAIN}")
    return rows


def read_tables(folder: Path, rows: dict[str, int]) -> dict[str, pd.DataFrame]:
    """The three tables by name; WorkbenchError where one is unreadable, lacks a column, or points beyond another."""
    tables = {name: _read_table(Path(folder) / f"{name}.parquet", rows[name]) for name in TABLES}
    _require_inside(Path(folder), tables)
    return tables


def union_boxes(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """The smallest box around each pair, without a margin (LTVRR reference, section 2.5).

    ``boxes_a`` and ``boxes_b`` (N, 4) xyxy; returns (N, 4) of the same dtype.
    """
    low = np.minimum(boxes_a[..., :2], boxes_b[..., :2])
    high = np.maximum(boxes_a[..., 2:], boxes_b[..., 2:])
    return np.concatenate([low, high], axis=-1)


def rows_by_class(classes: np.ndarray) -> dict[int, np.ndarray]:
    """Ascending row numbers (n,) int64 of each class that occurs in ``classes`` (N,), by ascending class."""
    classes = np.asarray(classes)
    order = np.argsort(classes, kind="stable")
    distinct, starts = np.unique(classes[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts)[1:], strict=True))


def distinct_triplets(subject: np.ndarray, relation: np.ndarray, object: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct triplets (M, 3) int64 in ascending order, and for each of N triplets its row (N,) int64."""
    keys, row = np.unique(triplet_keys(subject, relation, object), return_inverse=True)
    return triplets_of_keys(keys), row


def triplet_keys(subject: np.ndarray, relation: np.ndarray, object: np.ndarray) -> np.ndarray:
    """One number (n,) int64 for each triplet of class ids, in the order of (subject, relation, object).

    It depends on no vocabulary. WorkbenchError for an id below 0 or above two million.
    """
    keys = np.zeros(len(subject), dtype=np.int64)
    for role, ids in zip(ROLES, (subject, relation, object), strict=True):
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        wrong = ids[(ids < 0) | (ids >> BITS_PER_CLASS != 0)]
        if len(wrong):
            raise WorkbenchError(f"{role} class {wrong[0]} is no class id. Use the table of this vocabulary.")
        keys = keys << BITS_PER_CLASS | ids
    return keys


def triplets_of_keys(keys: np.ndarray) -> np.ndarray:
    """The triplets (n, 3) int64 of keys (n,)."""
    low = (1 << BITS_PER_CLASS) - 1
    return np.stack([keys >> 2 * BITS_PER_CLASS, keys >> BITS_PER_CLASS & low, keys & low], axis=1)


class TripletLookup:
    """Finds triplets among N stored ones: an ascending key and a row number each, 16 bytes."""

    def __init__(self, triplets: np.ndarray):
        keys = triplet_keys(*np.asarray(triplets).reshape(-1, 3).T)
        self._row = np.argsort(keys, kind="stable")
        self._keys = keys[self._row]

    def rows(self, triplets: np.ndarray) -> np.ndarray:
        """The stored row (n,) int64 of each of the triplets (n, 3), of several the first, -1 where none is."""
        keys = triplet_keys(*np.asarray(triplets).reshape(-1, 3).T)
        if not len(self._keys):
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._row[place], -1)


def distinct_keys(keys: np.ndarray) -> np.ndarray:
    """The distinct keys, ascending; by sorting, which is several times faster here than NumPy's hash-based unique."""
    keys = np.sort(keys)
    return keys[np.r_[True, keys[1:] != keys[:-1]]] if len(keys) else keys


def in_sorted(keys: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """(n,) bool: which keys occur in an ascending array."""
    if not len(ascending):
        return np.zeros(len(keys), dtype=bool)
    return ascending[np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)] == keys


def _read_table(path: Path, rows: int) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise WorkbenchError(f"{path}: the file is missing. {AGAIN}") from error
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path}: not a readable table ({error}). {AGAIN}") from error
    missing = [name for name in COLUMNS[path.stem] if name not in table]
    if missing:
        raise WorkbenchError(f"{path}: the columns {', '.join(missing)} are missing. {AGAIN}")
    if len(table) != rows:
        raise WorkbenchError(f"{path}: {len(table)} rows, but the manifest says {rows}. {AGAIN}")
    return table


def _require_inside(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    for table, column, target in (
        ("relations", "subject_box", "boxes"),
        ("relations", "object_box", "boxes"),
        ("relations", "image", "images"),
        ("boxes", "image", "images"),
    ):
        values, size = tables[table][column].to_numpy(), len(tables[target])
        wrong = (values < 0) | (values >= size)
        if wrong.any():
            row = int(wrong.argmax())
            raise WorkbenchError(
                f"{folder / table}.parquet: row {row} points to {target} row {values[row]}, "
                f"expected 0 to {size - 1}. {AGAIN}"
            )
