"""Captions "subject relation object", each distinct one once, and triplets found by one integer each."""

from dataclasses import dataclass

import numpy as np

from workbench.errors import WorkbenchError
from workbench.scenes.vocabulary import ROLES, Vocabulary

BITS_PER_CLASS = 21  # of a triplet's key, which is an int64


@dataclass(frozen=True)
class CaptionTable:
    """The distinct captions of N triplets, and where each triplet finds its own.

    ``captions`` are M distinct texts; ``triplets`` (M, 3) int64 are their class ids (subject, relation, object);
    ``row`` (N,) int64 is the caption of each triplet that was asked for.
    """

    captions: tuple[str, ...]
    triplets: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.captions)


def distinct_captions(
    subject: np.ndarray, relation: np.ndarray, object: np.ndarray, vocabulary: Vocabulary
) -> CaptionTable:
    """The table of distinct captions of triplets given as class ids (N,) (DiffAugment, sections 3.2 and 3.4).

    Captions are in ascending order of (subject, relation, object), so the table does not depend on the order
    of the triplets. Two triplets with the same text share one caption.
    """
    distinct, of_triplet = distinct_triplets(subject, relation, object)
    texts = captions_of(distinct, vocabulary)
    first_of_text: dict[str, int] = {}
    of_text = np.array([first_of_text.setdefault(text, len(first_of_text)) for text in texts], dtype=np.int64)
    if len(first_of_text) == len(texts):
        return CaptionTable(tuple(texts), distinct, of_triplet)
    first = np.unique(of_text, return_index=True)[1]  # (M,) position of each text among the distinct triplets
    return CaptionTable(tuple(first_of_text), distinct[first], of_text[of_triplet])


def captions_of(triplets: np.ndarray, vocabulary: Vocabulary) -> list[str]:
    """The caption of each of the triplets (n, 3) of class ids."""
    return [vocabulary.caption(*triplet) for triplet in triplets.tolist()]


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


class TripletIndex:
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
