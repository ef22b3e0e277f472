"""Features of relations: what every reader gives, the folder of a data set, and the features that a generator made.

A folder of generated features has ``union_features.npy`` (N, D) float16; ``subject_features.npy`` and
``object_features.npy`` where subjects and objects were generated too (else they have the real features of their boxes);
``generated.parquet`` (subject, relation, object; because and replaced name roles; subject_box and object_box are rows
of the train store's boxes); and ``generated.json``, written last: what it must agree on with the train store, ``rows``.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.regions.feature_file import FeatureFile
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.bands import Counts, count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

Dtype = np.dtype | type
MANIFEST = "generated.json"
TABLE = "generated.parquet"
ENDS = ("subject", "object")
ENTITIES = ("auto", "stored", "union")
AGAIN = "Delete the folder and generate the features again."


class Features(Protocol):
    """Features of the rows of a table of relations, read from disk when asked for.

    ``FeatureStore`` gives extracted or imported features, ``GeneratedFeatures`` those of a generator. ``relations`` has
    the columns subject, relation, object (class ids) and, where boxes have features, subject_box and object_box.
    ``entity_region`` is "box", or "union" where the union feature stands in for subject and object. Features are
    stored as float16: with ``dtype`` np.float16 they come as they are, in half the memory.
    """

    relations: pd.DataFrame
    dimension: int
    entity_region: str

    def __len__(self) -> int:
        """The number of relations."""
        ...

    def subject(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of the subjects' boxes of rows (n,) in any order, (n, D)."""
        ...

    def union(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of the union boxes of rows (n,) in any order, (n, D)."""
        ...

    def object(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of the objects' boxes of rows (n,) in any order, (n, D)."""
        ...


class FeaturesFolder:
    """A features folder: class names, and the features of each split, opened when first asked for and once.

    ``FeaturesFolder.open(folder).train.union(rows)``; ``counts`` are the classes' counts in train. WorkbenchError where
    a split is missing or damaged, or comes from another encoder than train.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary):
        self.folder, self.vocabulary = Path(folder), vocabulary

    @classmethod
    def open(cls, folder: Path) -> "FeaturesFolder":
        """Open a folder that the stage features or ``workbench features import`` has written."""
        return cls(folder, Vocabulary.read(folder))

    @cached_property
    def train(self) -> FeatureStore:
        """The features of the training split."""
        return FeatureStore.open(self.folder / "train")

    @cached_property
    def val(self) -> FeatureStore:
        """The features of the validation split."""
        return self.split("val")

    @cached_property
    def test(self) -> FeatureStore:
        """The features of the test split."""
        return self.split("test")

    @cached_property
    def counts(self) -> Counts:
        """How often each class occurs in the relations of train."""
        try:
            return count_classes(self.train.relations, self.vocabulary)
        except WorkbenchError as error:
            raise WorkbenchError(f"{self.folder / 'train'}: {error}") from error

    def split(self, name: str) -> FeatureStore:
        """The features of a split by its name; those of another encoder than train's are refused."""
        if name == "train":
            return self.train
        return FeatureStore.open(
            self.folder / name, expect_encoder=self.train.encoder, expect_dimension=self.train.dimension
        )


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
