"""Features of relations: what every reader gives, and the folder of a data set that holds them."""

from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.bands import Counts, count_classes
from workbench.scenes.vocabulary import Vocabulary

Dtype = np.dtype | type


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
