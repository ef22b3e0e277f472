"""Captions "subject relation object", each distinct one once."""

from dataclasses import dataclass

import numpy as np

from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import Vocabulary


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
