"""The feature store: region features of one split on disk, aligned with its tables, never read whole.

A store is a folder: ``union_features.npy`` and (``entity_region`` "box") ``box_features.npy``, float16 (rows, D);
``images.parquet``, ``boxes.parquet``, ``relations.parquet``; and ``features.json``, written last, without which it is
unfinished. ``support`` says whether features are "signed" (fc7 before its last ReLU, LTVRR reference 2.3) or
"rectified". With ``entity_region`` "union" a data set brings only union features: the union feature of a relation then
stands in for its subject's and its object's. Rows of an array that belong to an unreadable image are holes: no row of
the tables points to them (``holes`` in ``features.json``).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import read_json, sha256_of_file
from workbench.regions.feature_file import AGAIN, FeatureFile
from workbench.scenes.relations import TABLES, read_tables
from workbench.scenes.vocabulary import SPLITS

MANIFEST = "features.json"
FORMER_MANIFEST = "bank.json"
SUPPORTS = ("signed", "rectified")
ENTITY_REGIONS = ("box", "union")
# Each array, and the table whose rows it has.
ARRAYS = {"box_features": "boxes", "union_features": "relations"}


class FeatureStore:
    """Features of one split. ``len(store)`` is the number of relations; rows may be asked for in any order.

    Where a method takes ``dtype``, np.float16 gives features as they are stored, in half the memory. ``facts`` is the
    manifest: how the features were made.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], tables: dict[str, pd.DataFrame]):
        self.folder, self.facts = Path(folder), facts
        self.dimension: int = facts["dimension"]
        self.encoder: str = facts["encoder"]
        self.support: str = facts["support"]
        self.entity_region: str = facts["entity_region"]
        self.images, self.boxes, self.relations = (tables[name] for name in TABLES)
        self._unions = _Rows(self, "union_features")
        self._boxes = self._unions if self.entity_region == "union" else _Rows(self, "box_features")
        self._subject_box = self.relations["subject_box"].to_numpy()
        self._object_box = self.relations["object_box"].to_numpy()

    @classmethod
    def open(
        cls, folder: Path, expect_encoder: str | None = None, expect_dimension: int | None = None
    ) -> "FeatureStore":
        """Open a finished store; WorkbenchError where a file, a row count, the dimension or the encoder does not fit.

        The features' headers and sizes are looked at; their content is not read, see ``verify``.
        """
        folder = Path(folder)
        facts = _read_facts(folder)
        tables = read_tables(folder, facts["rows"])
        if expect_dimension is not None and facts["dimension"] != expect_dimension:
            raise WorkbenchError(
                f"{folder}: the features have {facts['dimension']} dimensions, expected {expect_dimension}. "
                "Use the store that the model was trained with, or train the model on this one."
            )
        if expect_encoder is not None and facts["encoder"] != expect_encoder:
            raise WorkbenchError(
                f"{folder}: the features come from the encoder {facts['encoder']!r}, expected {expect_encoder!r}. "
                "Features of two encoders cannot be mixed: make them again with the expected encoder."
            )
        return cls(folder, facts, tables)

    def __len__(self) -> int:
        return len(self.relations)

    def union(self, rows: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Union features of relation rows, (n, D)."""
        return self._unions.read(rows, dtype)

    def subject(self, rows: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Features of the subject's box of relation rows, (n, D); the union's where there is no other."""
        return self._boxes.read(self._subject_box[np.asarray(rows)], dtype)

    def object(self, rows: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Features of the object's box of relation rows, (n, D); the union's where there is no other."""
        return self._boxes.read(self._object_box[np.asarray(rows)], dtype)

    def box(self, box_rows: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Features of rows of the box table, (n, D)."""
        return self._boxes.read(box_rows, dtype)

    def verify(self) -> list[str]:
        """Read all features and compare them with their checksums: names of the damaged files, none where all is well.

        A sparse file has no checksum and is not doubted.
        """
        recorded = {name: self.facts["arrays"][name]["sha256"] for name in self.facts["arrays"]}
        files = {f"{name}.npy": digest for name, digest in recorded.items() if digest is not None}
        return [name for name, digest in files.items() if sha256_of_file(self.folder / name) != digest]


class _Rows:
    """The rows of a table in its array: the same number, or behind the holes before it."""

    def __init__(self, store: FeatureStore, name: str):
        array, holes = store.facts["arrays"][name], store.facts.get("holes", {}).get(name, [])
        self.file = FeatureFile(store.folder / f"{name}.npy", array["rows"], store.dimension)
        self._row = None
        if holes:
            self._row = np.delete(np.arange(array["rows"]), np.concatenate([np.arange(*hole) for hole in holes]))

    def read(self, rows: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
        return self.file.read(rows if self._row is None else self._row[np.asarray(rows)], dtype)


def damaged_files(folder: Path) -> Iterator[str]:
    """What is wrong with each damaged file of a features folder, as the command ``features check`` reports it.

    Reads every byte. WorkbenchError where the folder has no finished features.
    """
    splits = [split for split in SPLITS if (Path(folder) / split / MANIFEST).is_file()]
    if not splits:
        raise WorkbenchError(f"{folder}: holds no finished features. Run the stage features, or give its folder.")
    for split in splits:
        try:
            store = FeatureStore.open(Path(folder) / split)
        except WorkbenchError as error:
            yield str(error)
            continue
        for name in store.verify():
            yield f"{store.folder / name}: its bytes are not those that were written (SHA-256). {AGAIN}"


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.exists():
        if (folder / FORMER_MANIFEST).exists():
            raise WorkbenchError(f"{folder}: was written by an earlier version. {AGAIN}")
        found = "is unfinished" if folder.is_dir() and any(folder.iterdir()) else "holds no features"
        raise WorkbenchError(
            f"{folder}: {found} (no {MANIFEST}). Run the stage features, or `workbench features import`."
        )
    facts = read_json(path)
    wanted = {"dimension": int, "encoder": str, "support": str, "entity_region": str, "rows": dict, "arrays": dict}
    for key, kind in wanted.items():
        if not isinstance(facts, dict) or not isinstance(facts.get(key), kind):
            raise WorkbenchError(f"{path}: the key {key!r} is missing or not {kind.__name__}. {AGAIN}")
    return facts
