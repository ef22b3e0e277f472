"""Captions "subject relation object", each distinct one once, and the vectors of those that were embedded before."""

from dataclasses import dataclass

import numpy as np

from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import Vocabulary

LEAST_ROWS = 1024


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


class CaptionStore:
    """Vectors (n, T) float32 by triplet key: an ascending array of keys, and a matrix that doubles when it is full."""

    def __init__(self, dimension: int):
        self._keys = np.empty(0, dtype=np.int64)
        self._rows = np.empty(0, dtype=np.int64)  # of the matrix, for each key
        self._vectors = np.empty((0, dimension), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._keys)

    def known(self, keys: np.ndarray) -> np.ndarray:
        """Which of the keys (n,) have a vector, (n,) bool."""
        if not len(self):
            return np.zeros(len(keys), dtype=bool)
        return self._keys[self._place(keys)] == keys

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Store vectors (m, T) of ascending keys (m,) that are not known yet."""
        used, wanted = len(self), len(self) + len(keys)
        if wanted > len(self._vectors):
            grown = np.empty((max(wanted, 2 * used, LEAST_ROWS), self._vectors.shape[1]), dtype=np.float32)
            grown[:used] = self._vectors[:used]
            self._vectors = grown
        self._vectors[used:wanted] = vectors
        place = np.searchsorted(self._keys, keys)
        self._keys = np.insert(self._keys, place, keys)
        self._rows = np.insert(self._rows, place, np.arange(used, wanted))

    def vectors(self, keys: np.ndarray) -> np.ndarray:
        """The vectors (n, T) of known keys (n,)."""
        return self._vectors[self._rows[self._place(keys)]] if len(keys) else self._vectors[:0]

    def _place(self, keys: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
