"""Features of relations on disk: the store of a split, generated ones, and the folder of a data set that holds them.

The files are described in docs/formats.md. ``features.json`` or ``generated.json`` is written last: without it a folder
is unfinished. With ``entity_region`` "union" a data set brings only union features: the union feature of a relation
then stands in for its subject's and its object's. Rows of an array that belong to an unreadable image are holes, to
which no row of the tables points.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import read_json, save_table, write_json
from workbench.regions.feature_file import AGAIN, FeatureFile
from workbench.scenes.bands import Counts, count_classes
from workbench.scenes.relations import read_table, read_tables, require_rows
from workbench.scenes.vocabulary import ROLES, Vocabulary

MANIFEST = "features.json"
SUPPORTS = ("signed", "rectified")
Dtype = np.dtype | type
GENERATED = "generated.json"
GENERATED_TABLE = "generated.parquet"
GENERATE_AGAIN = "Delete the folder and generate the features again."
ENDS = ("subject", "object")


class Features:
    """Features of the rows of a table of relations, read from disk when asked for.

    ``FeatureStore`` gives extracted or imported features, ``GeneratedFeatures`` those of a generator; another reader
    derives from this and says what ``readers`` has. ``relations`` has the columns subject, relation, object (class ids)
    and, where boxes have features, subject_box and object_box. ``entity_region`` is "box", or "union" where the union
    feature stands in for subject and object. Features are stored as float16: with ``dtype`` np.float16 they come as
    they are, in half the memory. ``readers`` gives features (n, D) of rows (n,) by region: of "union", and of "subject"
    and "object" or else of "box", whose rows are those of the box table.
    """

    folder: Path
    relations: pd.DataFrame
    dimension: int
    entity_region: str
    readers: dict[str, Callable[[np.ndarray, Dtype], np.ndarray]]

    def __len__(self) -> int:
        return len(self.relations)

    def union(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of the union boxes of rows (n,) in any order, (n, D)."""
        return self.readers["union"](rows, dtype)

    def box(self, box_rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of rows (n,) of the box table, (n, D)."""
        return self.readers["box"](box_rows, dtype)

    def end(self, role: str, rows: np.ndarray, dtype: Dtype) -> np.ndarray:
        """Features of the boxes of the "subject" or the "object" of rows (n,) in any order, (n, D)."""
        if role in self.readers:
            return self.readers[role](rows, dtype)
        return self.box(self.relations[f"{role}_box"].to_numpy()[np.asarray(rows)], dtype)

    def subject(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of the subjects' boxes of rows (n,) in any order, (n, D); the union's where there is no other."""
        return self.end("subject", rows, dtype)

    def object(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        """Features of the objects' boxes of rows (n,) in any order, (n, D); the union's where there is no other."""
        return self.end("object", rows, dtype)


class FeatureStore(Features):
    """Features of one split, never read whole; ``facts`` is the manifest: how they were made.

    WorkbenchError where a file, a row count, the dimension or the encoder does not fit. The features' headers and sizes
    are looked at; their content is not read, which `workbench check` does.
    """

    def __init__(self, folder: Path, expect_encoder: str | None = None, expect_dimension: int | None = None):
        self.folder = folder = Path(folder)
        if not (folder / MANIFEST).exists():
            found = "is unfinished" if folder.is_dir() and any(folder.iterdir()) else "holds no features"
            remedy = "Run the stage features, or `workbench features import`."
            raise WorkbenchError(f"{folder}: {found} (no {MANIFEST}). {remedy}")
        with reading(folder / MANIFEST, "a manifest of features", AGAIN):
            self.facts = facts = dict[str, Any](read_json(folder / MANIFEST))
            self.dimension: int = facts["dimension"]
            self.encoder: str = facts["encoder"]
            for name, expected in {"encoder": expect_encoder, "dimension": expect_dimension}.items():
                if expected is not None and facts[name] != expected:
                    raise WorkbenchError(
                        f"{folder}: the features' {name} is {facts[name]!r}, expected {expected!r}. Features of two "
                        "encoders cannot be mixed: make them again with the expected one, or train the model on these."
                    )
            self.support: str = facts["support"]
            self.entity_region: str = facts["entity_region"]
            self.images, self.boxes, self.relations = read_tables(folder, facts["rows"]).values()
            unions = self._reader("union_features")
            boxes = unions if self.entity_region == "union" else self._reader("box_features")
            self.readers = {"union": unions, "box": boxes}

    def _reader(self, name: str) -> Callable[[np.ndarray, Dtype], np.ndarray]:
        """What reads rows of a table from its array: the same numbers, or those behind the holes before them."""
        rows, holes = self.facts["arrays"][name]["rows"], self.facts["holes"][name]
        file = FeatureFile(self.folder / f"{name}.npy", rows, self.dimension)
        if not holes:
            return file.read
        row = np.delete(np.arange(rows), np.concatenate([np.arange(*hole) for hole in holes]))
        return lambda asked, dtype: file.read(row[np.asarray(asked)], dtype)


class FeaturesFolder:
    """A features folder: class names, and the features of each split, opened when first asked for and once.

    ``FeaturesFolder(folder).train.union(rows)``. WorkbenchError where a split is missing or damaged, or comes from
    another encoder than train.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The class names."""
        return Vocabulary.read(self.folder)

    @cached_property
    def train(self) -> FeatureStore:
        """The features of the training split."""
        return FeatureStore(self.folder / "train")

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
        return count_classes(self.train.relations, self.vocabulary, f"{self.folder / 'train'}: ")

    def split(self, name: str) -> FeatureStore:
        """The features of a split by its name; those of another encoder than train's are refused."""
        if name == "train":
            return self.train
        return FeatureStore(self.folder / name, self.train.encoder, self.train.dimension)


class GeneratedFeatures(Features):
    """Features of generated relations; ``relations`` has one row a sample, ``store`` is the train store of the boxes.

    A subject or an object has the feature of its array or of its box; in a store with ``entity_region`` "union" the
    generated union feature stands in for both. WorkbenchError where a file is missing or cut short, a column lacks, or
    where dimension, encoder, support or number of boxes of the store are not those that it was generated for.
    """

    def __init__(self, folder: Path, store: FeatureStore):
        self.folder, self.store, folder = Path(folder), store, Path(folder)
        if not (folder / GENERATED).exists():
            raise WorkbenchError(f"{folder}: holds no finished generated features (no {GENERATED}). Run notebook 03.")
        with reading(folder / GENERATED, "a manifest of generated features", GENERATE_AGAIN):
            manifest = dict(read_json(folder / GENERATED))
        for name, found in store_identity(store).items():
            if manifest.get(name) != found:
                what = f"{folder}: generated for a store with {name} {manifest.get(name)!r}, but this one has {found!r}"
                raise WorkbenchError(f"{what}. Open it with the train store it was generated from, or generate again.")
        own = ENDS if manifest.get("entity_features") == "generated" else ()
        boxes = set() if own else {f"{role}_box" for role in ENDS}
        self.relations = read_table(folder / GENERATED_TABLE, {*ROLES, *boxes}, manifest.get("rows", 0))
        for name in boxes:
            require_rows(folder / GENERATED_TABLE, self.relations[name], "boxes", len(store.boxes))
        self.dimension, self.encoder, self.support = store.dimension, store.encoder, store.support
        self.entity_region, rows = store.entity_region, len(self.relations)
        self.readers = {"box": store.box}
        for region in ("union", *own):
            path = folder / f"{region}_features.npy"
            self.readers[region] = FeatureFile(path, rows, self.dimension, GENERATE_AGAIN).read
        if self.entity_region == "union":
            self.readers |= dict.fromkeys(ENDS, self.readers["union"])


def finish_generated(folder: Path, relations: pd.DataFrame, store: FeatureStore, entity_features: str) -> None:
    """Write the table, then ``generated.json``: the folder counts as finished from now on.

    ``entity_features`` is "generated" where the folder has arrays of subjects and objects, else "seed".
    """
    folder = Path(folder)
    save_table(folder / GENERATED_TABLE, relations)
    facts = {"rows": len(relations), "entity_features": entity_features}
    write_json(folder / GENERATED, store_identity(store) | facts)


def store_identity(store: FeatureStore) -> dict[str, Any]:
    """What generated features and the store of their boxes must agree on."""
    names = ("dimension", "encoder", "support", "entity_region")
    return {name: getattr(store, name) for name in names} | {"boxes": len(store.boxes)}
