"""The feature store: region features on disk, aligned with the annotation tables, never read whole.

A store is a folder of one split: float16 shards ``union_features-00000.npy`` ... and (``entity_region`` "box")
``box_features-00000.npy`` ..., ``images.parquet``, ``boxes.parquet``, ``relations.parquet``, and ``bank.json``, written
last: a folder without it is unfinished. ``support`` says whether features are "signed" (fc7 before its last ReLU, LTVRR
reference 2.3) or "rectified". With ``entity_region`` "union" a data set brings only union features: the union feature
of a relation then stands in for its subject's and its object's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.regions.feature_shards import FeatureShards
from workbench.regions.feature_store_manifest import read_manifest
from workbench.regions.feature_store_writer import FeatureStoreWriter
from workbench.scenes.relations import TABLES, read_tables

__all__ = ["FeatureStore", "FeatureStoreWriter"]


class FeatureStore:
    """Features of one split. ``len(store)`` is the number of relations; rows may be asked for in any order.

    Where a method takes ``dtype``, np.float16 gives features as they are stored, in half the memory.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], tables: dict[str, pd.DataFrame]):
        self.folder = Path(folder)
        self.dimension: int = manifest["dimension"]
        self.encoder: str = manifest["encoder"]
        self.support: str = manifest["support"]
        self.entity_region: str = manifest["entity_region"]
        self.images, self.boxes, self.relations = (tables[name] for name in TABLES)
        self._unions = FeatureShards(self.folder, manifest["shards"]["unions"], self.dimension)
        self._boxes = self._unions
        if self.entity_region == "box":
            self._boxes = FeatureShards(self.folder, manifest["shards"]["boxes"], self.dimension)
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
        manifest = read_manifest(folder)
        tables = read_tables(folder, manifest["rows"])
        if expect_dimension is not None and manifest["dimension"] != expect_dimension:
            raise WorkbenchError(
                f"{folder}: the features have {manifest['dimension']} dimensions, expected {expect_dimension}. "
                "Use the store that the model was trained with, or train the model on this one."
            )
        if expect_encoder is not None and manifest["encoder"] != expect_encoder:
            raise WorkbenchError(
                f"{folder}: the features come from the encoder {manifest['encoder']!r}, expected {expect_encoder!r}. "
                "Features of two encoders cannot be mixed: make them again with the expected encoder."
            )
        return cls(folder, manifest, tables)

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

        A file without a checksum (a store of an earlier version, or a sparse one) is not doubted.
        """
        return [name for features, _ in self._arrays() for name in features.verify()]

    def check_finite(self) -> None:
        """Read the store in chunks; WorkbenchError names the first row with a value that is not finite."""
        for features, table in self._arrays():
            for start, chunk in features.chunks():
                bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
                if len(bad):
                    row = start + int(bad[0])
                    image = self.images.iloc[int(table["image"].iloc[row])]
                    raise WorkbenchError(
                        f"{features.path_of(row)}: row {row} (image {image['image_id']} {image['file_name']}) is not "
                        "finite; expected numbers. Delete this folder and make the features again; if the row stays, "
                        "leave the image out."
                    )

    def _arrays(self) -> Iterator[tuple[FeatureShards, pd.DataFrame]]:
        yield self._unions, self.relations
        if self.entity_region == "box":
            yield self._boxes, self.boxes
