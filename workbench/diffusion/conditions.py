"""What a feature is generated for: the classes of a triplet, and the embedding of its caption.

A condition is three class ids and one row of a caption matrix, which may lie on disk (a hundred thousand triplets have
few distinct classes, and their captions need not fit into memory). What becomes of it is the network's: it holds the
vectors of the classes and the hardness centroids (``workbench.diffusion.conditioned_network``).
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import AugmentedTriplets
from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import ROLES

# Of the slots the last is the hardness of the caption (DiffAugment, section 3.4), which not every network reads.
SLOTS = (*ROLES, "caption", "hardness")
CAPTION = SLOTS.index("caption")
REGIONS = ("union", "box")
ABSENT = -1
ROWS_ALIKE = 64


@dataclass(frozen=True)
class ConditionBatch:
    """The conditions of B rows, what they name each once.

    ``classes`` are the distinct class ids (u,) int64 of each role, ``captions`` (u, T) float32 the distinct caption
    embeddings, with the last repeated up to a multiple of 64; ``place`` (B, 5) int64 is where each slot of a row finds
    its own, -1 where the slot is absent or was dropped. The hardness slot points at a caption, whose hardness it stands
    for. ``region`` (B,) is 0 for a union and 1 for a box.
    """

    classes: tuple[Tensor, ...]
    captions: Tensor
    place: Tensor
    region: Tensor

    def __len__(self) -> int:
        return len(self.place)

    def to(self, device: torch.device | str) -> "ConditionBatch":
        """The batch on ``device``."""
        classes = tuple(ids.to(device) for ids in self.classes)
        return ConditionBatch(classes, self.captions.to(device), self.place.to(device), self.region.to(device))

    def and_nothing(self) -> "ConditionBatch":
        """The B conditions, then B rows of the same regions that have lost theirs, for classifier-free guidance."""
        place = torch.cat([self.place, torch.full_like(self.place, ABSENT)])
        return replace(self, place=place, region=self.region.repeat(2))


@dataclass(frozen=True)
class ConditionTokens:
    """M conditions: ids ``classes`` (M, 3) of subject, relation, object, ``caption`` (M,) and ``region`` (M,), int64.

    ``caption`` is a row of ``captions``: matrices (n, T) of float32 or float16, memory-mapped or not, whose rows are
    numbered one matrix after the other. -1 stands for a class or caption that a condition lacks.
    """

    classes: np.ndarray
    caption: np.ndarray
    region: np.ndarray
    captions: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def joined(self, other: "ConditionTokens") -> "ConditionTokens":
        """Both in one; the conditions of ``other`` come after these."""
        known = sum(map(len, self.captions))
        shifted = np.where(other.caption < 0, ABSENT, other.caption + known)
        return ConditionTokens(
            np.concatenate([self.classes, other.classes]),
            np.concatenate([self.caption, shifted]),
            np.concatenate([self.region, other.region]),
            self.captions + other.captions,
        )

    def embeddings(self, captions: np.ndarray) -> np.ndarray:
        """The caption embeddings (n, T) float32 of caption rows (n,), read from where they lie."""
        vectors = np.empty((len(captions), self.captions[0].shape[1]), dtype=np.float32)
        first = 0
        for matrix in self.captions:
            here = (captions >= first) & (captions < first + len(matrix))
            vectors[here] = matrix[captions[here] - first]
            first += len(matrix)
        return vectors

    def batch(self, rows: np.ndarray, dropped: np.ndarray | None = None) -> ConditionBatch:
        """The conditions ``rows`` (B,), without the slots that ``dropped`` (B, 5) marks."""
        caption = self.caption[rows]
        named = np.column_stack([self.classes[rows], caption, caption])  # (B, 5)
        if dropped is not None:
            named[dropped] = ABSENT
        place, classes = np.empty_like(named), []
        for role in range(len(ROLES)):
            distinct, place[:, role] = _distinct(named[:, role])
            classes.append(torch.from_numpy(distinct))
        captions, place[:, CAPTION:] = _distinct(named[:, CAPTION:])
        return ConditionBatch(
            tuple(classes),
            torch.from_numpy(self.embeddings(captions)),
            torch.from_numpy(place),
            torch.from_numpy(self.region[rows]),
        )


def triplet_conditions(
    text: TextEmbeddings, triplets: pd.DataFrame, stored: AugmentedTriplets | None = None
) -> tuple[ConditionTokens, np.ndarray]:
    """Conditions of the union regions of ``triplets`` (columns subject, relation, object: class ids).

    Returns the distinct conditions and each row's index into them, (N,) int64. Caption embeddings that are ``stored``
    are not computed again, and stay on disk. WorkbenchError for a class that the text embeddings do not know.
    """
    distinct, index = distinct_triplets(*(triplets[role].to_numpy() for role in ROLES))
    text.require_classes(*distinct.T)
    caption = np.full(len(distinct), ABSENT) if stored is None else stored.caption_rows(distinct)
    captions: tuple[np.ndarray, ...] = () if stored is None else (stored.caption_embeddings,)
    missing = np.flatnonzero(caption == ABSENT)
    if len(missing) or not captions:
        caption[missing] = sum(map(len, captions)) + np.arange(len(missing))
        captions += (text.triplets(*distinct[missing].T),)
    return ConditionTokens(distinct, caption, np.zeros(len(distinct), dtype=np.int64), captions), index


def box_conditions(text: TextEmbeddings, object_classes: np.ndarray) -> tuple[ConditionTokens, np.ndarray]:
    """Conditions of box regions: the class name is the caption, and there is no triplet.

    ``object_classes`` (N,) class ids; returns the distinct conditions and each row's index into them, (N,) int64.
    """
    distinct, index = np.unique(np.asarray(object_classes, dtype=np.int64), return_inverse=True)
    classes = np.full((len(distinct), len(ROLES)), ABSENT)
    return ConditionTokens(classes, distinct, np.ones(len(distinct), dtype=np.int64), (text.objects,)), index


def _distinct(named: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending distinct values other than -1, the last again and again, and the place of each of ``named``, -1 for -1.

    The repeats make few lengths of many: a CPU compiles its matrix products for each, a tenth of a training's time.
    """
    distinct, place = np.unique(named, return_inverse=True)
    absent = int(len(distinct) > 0 and distinct[0] == ABSENT)
    known = distinct[absent:]
    return np.append(known, known[-1:].repeat(-len(known) % ROWS_ALIKE)), place.reshape(named.shape) - absent
