"""The distinct augmented triplets that a training set allows, found without a loop over its rows.

What is found is what a plain loop over all triplets, ends and classes finds (the tests hold both side by side); sets of
triplets are ascending arrays of ``triplet_keys``, so that millions of relations take seconds. Whether a candidate is
tail, and by which roles, can be read off the candidate itself: the role that was replaced is never the one that made
its source tail. So candidates carry only which end was replaced in some source, and sources are looked up for those
candidates alone that are drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from workbench.scenes.bands import BANDS
from workbench.scenes.relations import BITS_PER_CLASS, distinct_keys, in_sorted, triplet_keys, triplets_of_keys
from workbench.scenes.vocabulary import ROLES

CELLS_PER_CHUNK = 4 << 20
SUBJECT, OBJECT = 0, 1  # which end a source replaces
NOT_TAIL = len(BANDS)


@dataclass(frozen=True, eq=False)
class TrainTriplets:
    """The distinct triplets of a relations table, with the rows that hold each.

    ``key`` (n,) int64 ascending (``scenes.relations.triplet_keys``); ``subject``, ``relation``, ``object`` (n,) int64;
    ``rows`` (N,) row numbers grouped by triplet, those of triplet t being ``rows[first[t]:first[t + 1]]``.
    """

    key: np.ndarray
    subject: np.ndarray
    relation: np.ndarray
    object: np.ndarray
    rows: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, relations: pd.DataFrame) -> "TrainTriplets":
        """Group a table with the columns subject, relation, object: class ids."""
        row_key = keys_of(relations)
        rows = np.argsort(row_key, kind="stable")
        key, first = np.unique(row_key[rows], return_index=True)
        subject, relation, obj = triplets_of_keys(key).T
        return cls(key, subject, relation, obj, rows, np.append(first, len(rows)))

    def __len__(self) -> int:
        return len(self.key)

    @cached_property
    def mirror(self) -> tuple[np.ndarray, np.ndarray]:
        """The triplets ordered by relation, object, subject: keys (n,) ascending in that order, and numbers (n,)."""
        key = triplet_keys(self.relation, self.object, self.subject)
        order = np.argsort(key)
        return key[order], order


@dataclass(frozen=True, eq=False)
class Candidates:
    """Distinct augmented triplets: ``key`` (n,) ascending; which ends (n, 2) bool some source has replaced.

    ``rank``: of each role how rare its classes are, from 0 for the rarest band asked for to NOT_TAIL.
    """

    key: np.ndarray
    ends: np.ndarray
    rank: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.key)

    @cached_property
    def classes(self) -> dict[str, np.ndarray]:
        """The class (n,) int64 in each role."""
        return dict(zip(ROLES, np.ascontiguousarray(triplets_of_keys(self.key).T), strict=True))

    def cause_rank(self, role: str) -> np.ndarray:
        """The rank (n,) of the class in this role where it has made some source tail, else NOT_TAIL."""
        rank = self.rank[role][self.classes[role]]
        if role == "relation":
            return rank  # either end may have been replaced
        return np.where(self.ends[:, OBJECT if role == "subject" else SUBJECT], rank, NOT_TAIL)

    def draw_sources(
        self, train: TrainTriplets, similar: np.ndarray, place: np.ndarray, because: np.ndarray, random
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw a source triplet for each drawn candidate, uniformly among the distinct ones, then one of its rows.

        ``place`` (m,): numbers of candidates; ``because`` (m,): 0, 1, 2 for a tail subject, relation, object. Returns
        (m,) replaced end (0 subject, 1 object), (m,) replaced class, (m,) row number in the training relations.
        """
        share = random.random((2, len(place)))  # which of the sources, and which of its rows
        replaced = np.empty(len(place), dtype=np.int64)
        source = np.empty(len(place), dtype=np.int64)
        step = max(1, CELLS_PER_CHUNK // (2 * len(similar)))  # a source run has at most C members
        for at in range(0, len(place), step):
            part = slice(at, at + step)
            replaced[part], source[part] = self._choose(train, similar, place[part], because[part], share[0, part])
        rows_of_source = train.first[source + 1] - train.first[source]
        row = train.rows[train.first[source] + (share[1] * rows_of_source).astype(np.int64)]
        replaced_class = np.where(replaced == SUBJECT, train.subject[source], train.object[source])
        return replaced, replaced_class, row

    def _choose(
        self, train: TrainTriplets, similar: np.ndarray, place: np.ndarray, because: np.ndarray, share: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The replaced end and the source triplet of each candidate, that at ``share`` in [0, 1) of its sources."""
        s, r, o = (self.classes[role][place] for role in ROLES)
        # Sources with another object are among the triplets (s, r, any), which stand side by side in ``train``. A
        # candidate that is tail because of its object has none: there the object must have stayed.
        low, high = _runs(train.key, s, r)
        which, member = _expand(low, np.where(because == 2, low, high))
        fits = similar[train.object[member], o[which]]
        candidate, source = which[fits], member[fits]
        end = np.full(len(candidate), OBJECT)
        # Sources with another subject are among (any, r, o), which stand side by side in the mirror; none of them where
        # the subject makes the candidate tail.
        mirrored, triplet = train.mirror
        low, high = _runs(mirrored, r, o)
        which, member = _expand(low, np.where(because == 0, low, high))
        member = triplet[member]
        fits = similar[train.subject[member], s[which]]
        candidate = np.concatenate([candidate, which[fits]])
        source = np.concatenate([source, member[fits]])
        end = np.concatenate([end, np.full(len(candidate) - len(end), SUBJECT)])
        # Group the sources by candidate; of a group of n the one at floor(share * n) is taken. No group is empty.
        grouped = np.argsort(candidate, kind="stable")
        sizes = np.bincount(candidate, minlength=len(place))
        pick = grouped[np.cumsum(sizes) - sizes + (share * sizes).astype(np.int64)]
        return end[pick], source[pick]


def find_candidates(train: TrainTriplets, similar: np.ndarray, rank: Mapping[str, np.ndarray]) -> Candidates:
    """All distinct triplets that section 3.2, stage 1, allows.

    ``similar`` (C, C) bool: whether the row's class may be replaced by the column's; ``rank`` as in `Candidates`.
    """
    by_relation = rank["relation"][train.relation] < NOT_TAIL
    new_object = np.flatnonzero(by_relation | (rank["subject"][train.subject] < NOT_TAIL))
    new_subject = np.flatnonzero(by_relation | (rank["object"][train.object] < NOT_TAIL))
    # A class is the lowest bits of a key as the object, and the highest as the subject.
    key_of_object = _replaced_keys(train, similar, new_object, train.object, 1)
    key_of_subject = _replaced_keys(train, similar, new_subject, train.subject, 1 << 2 * BITS_PER_CLASS)
    key = distinct_keys(np.concatenate([key_of_object, key_of_subject]))
    return Candidates(key, np.stack([in_sorted(key, key_of_subject), in_sorted(key, key_of_object)], axis=1), rank)


def keys_of(table: pd.DataFrame) -> np.ndarray:
    """The keys (n,) int64 of a table of triplets."""
    return triplet_keys(*(table[role].to_numpy() for role in ROLES))


def _replaced_keys(
    train: TrainTriplets, similar: np.ndarray, triplets: np.ndarray, replaced: np.ndarray, weight: int
) -> np.ndarray:
    """Distinct keys (n,) of ``triplets`` with one end (of ``weight`` in the key) replaced by each similar class."""
    # The replacements of class c are new[first[c]:first[c + 1]].
    old, new = np.nonzero(similar)
    first = np.searchsorted(old, np.arange(len(similar) + 1))
    kept = [np.empty(0, dtype=np.int64)]
    sizes = np.diff(first)[replaced[triplets]]
    # In pieces that have at most about CELLS_PER_CHUNK replacements together.
    cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // CELLS_PER_CHUNK, prepend=0))
    for part in np.split(triplets, cuts):
        which, at = _expand(first[replaced[part]], first[replaced[part] + 1])
        kept.append(distinct_keys(train.key[part][which] + (new[at] - replaced[part][which]) * weight))
    return distinct_keys(np.concatenate(kept))


def _runs(keys: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the ascending keys (first, second, any) start and end, for each of the pairs (n,)."""
    start = triplet_keys(first, second, np.zeros_like(first))
    return np.searchsorted(keys, start), np.searchsorted(keys, start + (1 << BITS_PER_CLASS))


def _expand(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All members of the ranges [low, high): the range's number and the member, one after the other."""
    sizes = high - low
    which = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return which, low[which] + within
