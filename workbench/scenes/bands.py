"""How often classes occur, and the bands many, medium and few.

Frequencies come from the training relations. Two rules share the cuts at 80 % and 95 % of the classes:
over all classes (the paper's 5/15/80 %), and over the classes present in a test file (what the upstream
evaluation does; LTVRR reference, 7.4).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.scenes.vocabulary import ROLES, Vocabulary

BANDS = ("many", "medium", "few")
FEW_UP_TO = 0.80
MEDIUM_UP_TO = 0.95


@dataclass(frozen=True)
class Counts:
    """How often each class is the subject (C,), the relation (R,) and the object (C,) of a training relation, int64."""

    subject: np.ndarray
    relation: np.ndarray
    object: np.ndarray

    @property
    def objects(self) -> np.ndarray:
        """How many training relations each object class ends, as subject or as object."""
        return self.subject + self.object

    def of_role(self, role: str) -> np.ndarray:
        """The counts that rank a role's classes; subject and object share theirs."""
        return self.relation if role == "relation" else self.objects


def count_classes(relations: pd.DataFrame, vocabulary: Vocabulary, place: str = "") -> Counts:
    """Count the classes in a relations table (columns subject, relation, object) of ``place``, for messages."""
    tally = {}
    for role in ROLES:
        ids, size = relations[role].to_numpy(), len(vocabulary.names(role))
        for row in np.flatnonzero((ids < 0) | (ids >= size))[:1]:
            raise WorkbenchError(
                f"{place}relations table, row {row}, column {role!r}: class id {ids[row]} is unknown; "
                f"expected 0 to {size - 1}. The table and the vocabulary belong to different data."
            )
        tally[role] = np.bincount(ids, minlength=size).astype(np.int64)
    return Counts(**tally)


def band_of_class(counts: np.ndarray) -> np.ndarray:
    """The band of every class, by ascending frequency; of two equally frequent classes the later id is the rarer.

    ``counts`` (K,) integers; returns (K,) strings out of BANDS: the first int(0.80 K) are few, then medium up to
    int(0.95 K), the rest many.
    """
    classes = len(counts)
    few, medium = int(FEW_UP_TO * classes), int(MEDIUM_UP_TO * classes)
    band = np.empty(classes, dtype="<U6")
    band[np.lexsort((-np.arange(classes), counts))] = np.repeat(BANDS, [classes - medium, medium - few, few])[::-1]
    return band


def band_places(bands: np.ndarray) -> np.ndarray:
    """The place in BANDS of each name of a band (K,) str: (K,) int8, -1 for another word."""
    bands = np.asarray(bands)
    return np.select([bands == band for band in BANDS], range(len(BANDS)), -1).astype(np.int8)


def band_of_present_class(counts: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The upstream rule: the same cuts, over the classes that occur in the file under evaluation.

    ``counts`` (K,) train frequencies, ``present`` (K,) bool; returns (K,) strings, "" where a class is absent.
    """
    band = np.full(len(counts), "", dtype="<U6")
    band[present] = band_of_class(counts[present])
    return band
