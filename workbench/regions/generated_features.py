"""Features of generated relations: a folder that a generator has finished, read like a feature store.

``generated.json`` (written last: what it must agree on with the train store, ``rows``, ``entity_features``),
``generated.parquet`` (subject, relation, object; because and replaced name roles; subject_box and object_box are rows
of the train store's boxes), ``union_features.npy`` (N, D) float16, and ``subject_features.npy`` and
``object_features.npy`` where ``entity_features`` is "generated". Where it is "seed", subjects and objects have the real
features of their boxes in the train store.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.regions.feature_file import FeatureFile
from workbench.regions.feature_store import FeatureStore
from workbench.regions.features import Dtype
from workbench.scenes.vocabulary import ROLES

MANIFEST = "generated.json"
TABLE = "generated.parquet"
ENDS = ("subject", "object")
ENTITIES = ("auto", "stored", "union")
AGAIN = "Delete the folder and generate the features again."


class GeneratedFeatures:
    """Features of generated relations: ``relations`` (one row a sample), ``len``, ``union``, ``subject``, ``object``.

    ``entities``: "stored" takes a subject or an object from its array or its box; "union" lets the generated union
    feature stand in for both, so that all three are equal, as they are in a store with ``entity_region`` "union";
    "auto" does that for such stores alone.
    """

    def __init__(self, folder: Path, store: FeatureStore, relations: pd.DataFrame, entities: str, own: tuple[str, ...]):
        self.folder, self.store, self.relations = Path(folder), store, relations
        self.dimension, self.encoder, self.support = store.dimension, store.encoder, store.support
        self.entity_region: str = store.entity_region if entities == "auto" else "union"
        if entities == "stored":
            self.entity_region = "box"
        self.entity_features = "generated" if own else "seed"
        self._files = {
            region: FeatureFile(self.folder / f"{region}_features.npy", len(relations), self.dimension, AGAIN)
            for region in ("union", *own)
        }

    @classmethod
    def open(cls, folder: Path, store: FeatureStore, entities: str = "auto") -> "GeneratedFeatures":
        """Open a finished folder; ``store`` is the train store that the boxes were drawn from.

        WorkbenchError where a file is missing or cut short, a column lacks, or where dimension, encoder, support or
        number of boxes of the store are not those that the features were generated for.
        """
        folder = Path(folder)
        if entities not in ENTITIES:
            raise WorkbenchError(f"entities {entities!r} is not known. Choose one of: {', '.join(ENTITIES)}.")
        if not (folder / MANIFEST).exists():
            raise WorkbenchError(f"{folder}: holds no finished generated features (no {MANIFEST}). Run notebook 03.")
        manifest = read_json(folder / MANIFEST)
        for name, found in store_identity(store).items():
            if manifest.get(name) != found:
                raise WorkbenchError(
                    f"{folder}: generated for a store with {name} {manifest.get(name)!r}, but this one has {found!r}. "
                    "Open it with the train store it was generated from, or generate again."
                )
        announced = manifest.get("entity_features") == "generated"
        own = tuple(role for role in ENDS if announced or (folder / f"{role}_features.npy").exists())
        boxes = [] if entities == "union" else [f"{role}_box" for role in ENDS if role not in own]
        relations = _read_table(folder / TABLE, manifest.get("rows"), (*ROLES, *boxes))
        return cls(folder, store, relations, entities, own)

    def __len__(self) -> int:
        return len(self.relations)

    def union(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Generated union features of rows, (n, D)."""
        return self._files["union"].read(rows, dtype)

    def subject(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of the subjects of rows, (n, D)."""
        return self._entity("subject", rows, dtype)

    def object(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of the objects of rows, (n, D)."""
        return self._entity("object", rows, dtype)

    def _entity(self, role: str, rows: np.ndarray, dtype: Dtype) -> np.ndarray:
        if self.entity_region == "union":
            return self.union(rows, dtype)
        if role in self._files:
            return self._files[role].read(rows, dtype)
        return self.store.box(self.relations[f"{role}_box"].to_numpy()[np.asarray(rows)], dtype)


def finish_generated(folder: Path, relations: pd.DataFrame, store: FeatureStore, entity_features: str) -> None:
    """Write the table, then ``generated.json``: the folder counts as finished from now on."""
    folder = Path(folder)
    with atomic_path(folder / TABLE) as temporary:
        relations.to_parquet(temporary, index=False)
    facts = {"rows": len(relations), "entity_features": entity_features}
    write_json(folder / MANIFEST, store_identity(store) | facts)


def store_identity(store: FeatureStore) -> dict[str, Any]:
    """What generated features and the store of their boxes must agree on."""
    names = ("dimension", "encoder", "support", "entity_region")
    return {name: getattr(store, name) for name in names} | {"boxes": len(store.boxes)}


def _read_table(path: Path, rows: int | None, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        relations = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path}: not a readable table ({error}). {AGAIN}") from error
    if len(relations) != rows:
        raise WorkbenchError(f"{path}: {len(relations)} rows, but {MANIFEST} says {rows}. {AGAIN}")
    missing = [column for column in columns if column not in relations]
    if missing:
        raise WorkbenchError(f"{path}: no column {', '.join(missing)}. {AGAIN}")
    return relations
