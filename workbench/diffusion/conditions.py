"""What a feature is generated for: text vectors of its classes and caption, and the hardness of the caption.

A condition has four token slots in the order of ``SLOTS`` (design, decision "Network") and, as an option, a hardness
vector (DiffAugment, section 3.4). Vectors are stored once and shared by index, since a hundred thousand triplets have
few distinct subjects, relations and objects.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.diffusion.vector_rows import ChosenRows, HardnessRows, Rows, StackedRows, chosen, stacked
from workbench.errors import WorkbenchError
from workbench.language.triplets import AugmentedTriplets
from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import ROLES

if TYPE_CHECKING:
    from workbench.language.hardness import HardnessCentroids
    from workbench.language.text_embedding import TextEmbeddings

SLOTS = ("subject", "relation", "object", "caption")
REGIONS = ("union", "box")
ABSENT = -1


@dataclass(frozen=True)
class ConditionTable:
    """Distinct conditions: ``vectors`` (U, T) float32, ``token_index`` (M, 4) rows of them or -1 for an absent token.

    ``hardness`` is (M, K) float32 or None; ``region`` is (M,) with 0 for a union and 1 for a box. Vectors and hardness
    are arrays, or ``LazyRows``, which are indexed alike and gathered or computed when they are.
    """

    vectors: Rows
    token_index: np.ndarray
    hardness: Rows | None
    region: np.ndarray

    def __len__(self) -> int:
        return len(self.token_index)

    @classmethod
    def from_tokens(
        cls, tokens: np.ndarray, present: np.ndarray | None = None, hardness: np.ndarray | None = None, region=None
    ) -> "ConditionTable":
        """The table of tokens (M, 4, T), of which ``present`` (M, 4) says which count; all, and unions, by default."""
        tokens = np.asarray(tokens, dtype=np.float32)
        m, slots, dimension = tokens.shape
        vectors, place = np.unique(tokens.reshape(-1, dimension), axis=0, return_inverse=True)
        token_index = place.reshape(m, slots)
        if present is not None:
            token_index = np.where(present, token_index, ABSENT)
        region = np.zeros(m, dtype=np.int64) if region is None else np.asarray(region, dtype=np.int64)
        return cls(vectors, token_index, hardness, region)

    @property
    def text_dimension(self) -> int:
        """T, the length of a text vector."""
        return self.vectors.shape[1]

    @property
    def present(self) -> np.ndarray:
        """Which tokens a condition has, (M, 4) bool."""
        return self.token_index != ABSENT

    @property
    def tokens(self) -> np.ndarray:
        """All tokens, (M, 4, T) float32, zeros where absent: for looking at, training gathers by index."""
        return np.where(self.present[..., None], self.vectors[self.token_index], np.float32(0.0))

    def rows(self, rows: np.ndarray) -> "ConditionTable":
        """The table of some of the conditions, over the same vectors."""
        hardness = None if self.hardness is None else chosen(self.hardness, rows)
        return ConditionTable(self.vectors, self.token_index[rows], hardness, self.region[rows])

    def joined(self, other: "ConditionTable") -> "ConditionTable":
        """Both tables in one; the index of the rows of ``other`` grows by ``len(self)``."""
        if (self.hardness is None) != (other.hardness is None):
            raise ValueError("one table has hardness vectors and the other has none")
        shifted = np.where(other.present, other.token_index + len(self.vectors), ABSENT)
        return ConditionTable(
            stacked(self.vectors, other.vectors),
            np.concatenate([self.token_index, shifted]),
            None if self.hardness is None else stacked(self.hardness, other.hardness),
            np.concatenate([self.region, other.region]),
        )


def condition_table(
    text: "TextEmbeddings",
    triplets: pd.DataFrame,
    hardness_model: "HardnessCentroids | None" = None,
    *,
    captions: AugmentedTriplets | None = None,
) -> tuple[ConditionTable, np.ndarray]:
    """Conditions of the union regions of ``triplets`` (columns subject, relation, object: class ids).

    Returns the table of distinct triplets and each row's index into it, (N,) int64. With ``captions`` the caption
    embeddings that are stored there are not computed again.
    """
    _require_known_classes(text, triplets)
    distinct, index = distinct_triplets(*(triplets[role].to_numpy() for role in ROLES))
    embedded = _caption_embeddings(captions, text, distinct) if captions is not None else text.triplets(*distinct.T)
    vectors = StackedRows([text.objects, text.relations, embedded])
    n_objects, n_relations, n_captions = len(text.objects), len(text.relations), len(distinct)
    token_index = np.stack(
        [
            distinct[:, 0],
            n_objects + distinct[:, 1],
            distinct[:, 2],
            n_objects + n_relations + np.arange(n_captions),
        ],
        axis=1,
    )  # (M, 4)
    hardness = None if hardness_model is None else HardnessRows(embedded, hardness_model)
    return ConditionTable(vectors, token_index, hardness, np.zeros(n_captions, dtype=np.int64)), index


def entity_condition_table(
    text: "TextEmbeddings", object_classes: np.ndarray, hardness_model: "HardnessCentroids | None" = None
) -> tuple[ConditionTable, np.ndarray]:
    """Conditions of box regions: the class name is the caption, the other three tokens are absent.

    ``object_classes`` (N,) class ids; returns the table of distinct classes and each row's index, (N,) int64.
    """
    distinct, index = np.unique(np.asarray(object_classes, dtype=np.int64), return_inverse=True)
    vectors = text.objects[distinct].astype(np.float32)
    token_index = np.full((len(distinct), len(SLOTS)), ABSENT, dtype=np.int64)
    token_index[:, SLOTS.index("caption")] = np.arange(len(distinct))
    hardness = None if hardness_model is None else HardnessRows(vectors, hardness_model)
    return ConditionTable(vectors, token_index, hardness, np.ones(len(distinct), dtype=np.int64)), index.reshape(-1)


def _caption_embeddings(captions: AugmentedTriplets, text: "TextEmbeddings", triplets: np.ndarray) -> Rows:
    """Caption embeddings (n, T) of distinct ``triplets`` (n, 3): stored where known, from ``text`` otherwise.

    They are read from the stored array only when they are asked for.
    """
    row, known = captions.caption_rows(triplets), StackedRows([captions.caption_embeddings])
    missing = np.flatnonzero(row < 0)
    if len(missing):
        known = StackedRows([known, text.triplets(*triplets[missing].T)])
        row[missing] = len(captions.caption_embeddings) + np.arange(len(missing))
    return ChosenRows(known, row)


def _require_known_classes(text: "TextEmbeddings", triplets: pd.DataFrame) -> None:
    for role, vectors in (("subject", text.objects), ("relation", text.relations), ("object", text.objects)):
        ids = triplets[role].to_numpy()
        wrong = ids[(ids < 0) | (ids >= len(vectors))]
        if len(wrong):
            raise WorkbenchError(
                f"{role} class {wrong[0]} has no text embedding; the text folder knows classes 0 to {len(vectors) - 1}."
                " Use the text embeddings that were made for this vocabulary."
            )
