"""The tables of one split on disk (docs/formats.md), and its triplets as one integer each.

A box is (x1, y1, x2, y2) in pixels of the original image, float32, **inclusive**: its width is ``x2 - x1 + 1``.
Relation boxes may reach outside the image and are kept as annotated (upstream does not clip them either).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import read_json, save_table, write_json
from workbench.scenes.vocabulary import ROLES, SPLITS

BOX_COLUMNS = ["x1", "y1", "x2", "y2"]
COLUMNS = {
    "images": {"image_id", "file_name", "width", "height"},
    "boxes": {"image", *BOX_COLUMNS, "object_class"},
    "relations": {"image", "subject_box", "object_box", *ROLES},
}
TABLES = tuple(COLUMNS)
WHOLE = ["image_id", "image", "object_class", *ROLES, *(f"{end}_box" for end in ROLES), "source_row", "replaced_class"]
# Columns that hold rows of another table.
POINTERS: dict[str, dict[str, str]] = {
    "boxes": {"image": "images"},
    "relations": {"image": "images", "subject_box": "boxes", "object_box": "boxes"},
}
MANIFESTS = ("features.json", "tables.json")
AGAIN = "Delete the folder and make it again."
SHARES_TO_PIXELS = "Multiply x by the width of the image and y by its height."
BITS_PER_CLASS = 21  # of a triplet's key, which is an int64


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
            what = f"{folder}: {found} (neither {' nor '.join(MANIFESTS)})"
            raise WorkbenchError(f"{what}. Run notebook 00, or `workbench data add`.")
        with reading(manifest, "a manifest of tables", AGAIN):
            rows = {name: int(read_json(manifest)["rows"][name]) for name in TABLES}
        return cls(folder, **read_tables(folder, rows))

    @classmethod
    def open_all(cls, folder: Path) -> "dict[str, RelationTables]":
        """The tables of each split that a features folder has, train first; the features are not opened."""
        return {split: cls.open(Path(folder) / split) for split in SPLITS if (Path(folder) / split).is_dir()}

    def __len__(self) -> int:
        return len(self.relations)


def write_relation_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write a split's three tables, then ``tables.json``."""
    write_json(Path(folder) / "tables.json", {"rows": write_tables(folder, tables)})


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> dict[str, int]:
    """Write the three tables; returns the number of rows of each."""
    for name, table in tables.items():
        save_table(Path(folder) / f"{name}.parquet", table)
    return {name: len(table) for name, table in tables.items()}


def read_tables(folder: Path, rows: dict[str, int]) -> dict[str, pd.DataFrame]:
    """The three tables by name, of so many ``rows``; WorkbenchError where one is damaged or points beyond another."""
    tables: dict[str, pd.DataFrame] = {}
    for name in TABLES:
        path = Path(folder) / f"{name}.parquet"
        table = tables[name] = read_table(path, COLUMNS[name], rows.get(name, 0))
        for column, target in POINTERS.get(name, {}).items():
            require_rows(path, table[column], target, len(tables[target]))
    finite = np.isfinite(tables["boxes"][BOX_COLUMNS].to_numpy(np.float64)).all(axis=1)
    for row in np.flatnonzero(~finite)[:1]:
        raise _damaged(Path(folder) / "boxes.parquet", f"row {row} is a box without finite corners")
    return tables


def require_rows(path: Path, column: pd.Series, target: str, size: int) -> None:
    """WorkbenchError where a column of the table in ``path`` holds no row numbers of a ``target`` of so many rows."""
    values = column.to_numpy()
    for row in np.flatnonzero((values < 0) | (values >= size))[:1]:
        raise _damaged(path, f"row {row} points to {target} row {values[row]}, expected 0 to {size - 1}")


def read_table(path: Path, columns: Collection[str], rows: int | None = None, remedy: str = AGAIN) -> pd.DataFrame:
    """A parquet file of so many ``rows``, where that is known, with at least these ``columns``.

    WorkbenchError where it is damaged, or ids or row numbers are no whole numbers: with text or gaps among them.
    """
    with reading(path, "a readable table", remedy):
        table = pd.read_parquet(path)
    if missing := {*columns} - {*table}:
        raise WorkbenchError(f"{path}: lacks {', '.join(sorted(missing))}. {remedy}")
    if rows not in (None, len(table)):
        raise WorkbenchError(f"{path}: {len(table)} rows, but the manifest says {rows}. {remedy}")
    for name in table.columns.intersection(WHOLE):
        if table[name].dtype.kind not in "iu":
            what = f"the column {name} is {table[name].dtype}, expected whole numbers"
            raise WorkbenchError(f"{path}: {what}. {remedy}")
    return table


def _damaged(path: Path, what: str) -> WorkbenchError:
    return WorkbenchError(f"{path}: {what}. {AGAIN}")


def union_boxes(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """The smallest box around each pair, without a margin (LTVRR reference, section 2.5).

    ``boxes_a`` and ``boxes_b`` (N, 4) xyxy; returns (N, 4) of the same dtype.
    """
    low = np.minimum(boxes_a[..., :2], boxes_b[..., :2])
    high = np.maximum(boxes_a[..., 2:], boxes_b[..., 2:])
    return np.concatenate([low, high], axis=-1)


def are_shares(boxes: np.ndarray) -> bool:
    """Whether boxes (..., 4) are written in shares of their image: none reaches beyond 1, and not all are whole."""
    return bool(boxes.size and (boxes >= 0).all() and (boxes <= 1).all() and (boxes % 1).any())


def outside_image(xyxy: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which boxes (n, 4) leave their image partly, and which wholly, two (n,) bool; ``size`` (n, 2): width, height."""
    (x1, y1, x2, y2), (right, bottom) = xyxy.T, size.T - 1
    wholly = (x1 > right) | (y1 > bottom) | (x2 < 0) | (y2 < 0)
    return ((x1 < 0) | (y1 < 0) | (x2 > right) | (y2 > bottom)) & ~wholly, wholly


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


def distinct_keys(keys: np.ndarray) -> np.ndarray:
    """The distinct keys, ascending; by sorting, which is several times faster here than NumPy's hash-based unique."""
    keys = np.sort(keys)
    return keys[np.r_[True, keys[1:] != keys[:-1]]] if len(keys) else keys


def in_sorted(keys: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """(n,) bool: which keys occur in an ascending array."""
    if not len(ascending):
        return np.zeros(len(keys), dtype=bool)
    return ascending[np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)] == keys
