"""The tables of one split on disk: what notebooks read, with region features beside them or without.

A folder holds ``images.parquet``, ``boxes.parquet`` and ``relations.parquet`` in the columns of ``Annotations``. A
feature store is such a folder with features; a data set that was only added, such as one without its pictures, is such
a folder with ``tables.json``, written last.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.scenes.annotations import BOX_COLUMNS, Annotations

TABLES = ("images", "boxes", "relations")
MANIFESTS = ("bank.json", "tables.json")
COLUMNS = {
    "images": ("image_id", "file_name", "width", "height"),
    "boxes": ("image", *BOX_COLUMNS, "object_class"),
    "relations": ("image", "subject_box", "object_box", "subject", "relation", "object"),
}
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

    def __len__(self) -> int:
        return len(self.relations)


def write_relation_tables(folder: Path, annotations: Annotations) -> None:
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
