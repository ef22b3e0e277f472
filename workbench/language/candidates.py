"""The distinct augmented triplets that a training set allows, found without a loop over its rows.

What is found is what a plain loop over all triplets, ends and classes finds (the tests hold both side by side); sets of
triplets are ascending arrays of ``triplet_keys``, so that millions of relations take seconds. Whether a candidate is
tail, and by which roles, can be read off the candidate itself: the role that was replaced is never the one that made
its source tail. So candidates carry only which end was replaced in some source, and sources are looked up for those
candidates alone that are drawn.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.scenes.relations import BITS_PER_CLASS, distinct_keys, in_sorted, triplet_keys, triplets_of_keys

CELLS_PER_CHUNK = 4 << 20
SUBJECT, OBJECT = 0, 1  # which end a source replaces


@dataclass(frozen=True, eq=False)
class TrainTriplets:
    """The distinct triplets of a relations table, with the rows that hold each.

    ``key`` (n,) int64 ascending (``scenes.relations.triplet_keys``); ``subject``, ``relation``, ``object`` (n,) int64;
    ``rows`` (N,) row numbers grouped by triplet, those of triplet t being ``rows[first[t]:first[t + 1]]``.
    """

    n_objects: int
    n_relations: int
    key: np.ndarray
    subject: np.ndarray
    relation: np.ndarray
    object: np.ndarray
    rows: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, relations: pd.DataFrame, n_objects: int, n_relations: int) -> "TrainTriplets":
        """Group a table with the columns subject, relation, object; WorkbenchError for an unknown class id."""
        row_key = _keys(relations, n_objects, n_relations, "the training relations")
        rows = np.argsort(row_key, kind="stable")
        key, first = np.unique(row_key[rows], return_index=True)
        subject, relation, obj = triplets_of_keys(key).T
        return cls(n_objects, n_relations, key, subject, relation, obj, rows, np.append(first, len(rows)))

    def keys_of(self, table: pd.DataFrame, what: str) -> np.ndarray:
        """Keys (n,) int64 of another table of triplets of the same vocabulary; ``what`` names it in an error."""
        return _keys(table, self.n_objects, self.n_relations, what)

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Distinct augmented triplets: ``key`` (n,) ascending; which ends (n, 2) bool some source has replaced.

    ``tail_objects`` (C,) and ``tail_relations`` (R,) bool: the classes that make a source tail.
    """

    key: np.ndarray
    ends: np.ndarray
    subject: np.ndarray
    relation: np.ndarray
    object: np.ndarray
    tail_objects: np.ndarray
    tail_relations: np.ndarray

    def __len__(self) -> int:
        return len(self.key)

    def where(self, keep: np.ndarray) -> "Candidates":
        """The candidates chosen by ``keep`` (n,) bool."""
        kept = {name: getattr(self, name)[keep] for name in ("key", "ends", "subject", "relation", "object")}
        return replace(self, **kept)

    def because(self, role: str) -> np.ndarray:
        """(n,) bool: whether the class in this role is tail and made some source of the candidate tail."""
        if role == "relation":
            return self.tail_relations[self.relation]  # either end may have been replaced
        other = OBJECT if role == "subject" else SUBJECT
        return self.tail_objects[getattr(self, role)] & self.ends[:, other]

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
        mirror = _Mirror.of(train)
        step = max(1, CELLS_PER_CHUNK // (2 * train.n_objects))  # a source run has at most C members
        for at in range(0, len(place), step):
            part = slice(at, at + step)
            replaced[part], source[part] = self._choose(
                train, mirror, similar, place[part], because[part], share[0, part]
            )
        rows_of_source = train.first[source + 1] - train.first[source]
        row = train.rows[train.first[source] + (share[1] * rows_of_source).astype(np.int64)]
        replaced_class = np.where(replaced == SUBJECT, train.subject[source], train.object[source])
        return replaced, replaced_class, row

    def _choose(
        self, train: TrainTriplets, mirror: "_Mirror", similar: np.ndarray, place: np.ndarray,
        because: np.ndarray, share: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """The replaced end and the source triplet of each candidate, that at ``share`` in [0, 1) of its sources."""
        s, r, o = self.subject[place], self.relation[place], self.object[place]
        # Sources with another object are among the triplets (s, r, any), which stand side by side in ``train``. A
        # candidate that is tail because of its object has none: there the object must have stayed.
        low, high = _runs(train.key, s, r)
        which, member = _expand(low, np.where(because == 2, low, high))
        fits = similar[train.object[member], o[which]]
        candidate, source = which[fits], member[fits]
        end = np.full(len(candidate), OBJECT)
        # Sources with another subject are among (any, r, o), which stand side by side in the mirror; none of them where
        # the subject makes the candidate tail.
        low, high = _runs(mirror.key, r, o)
        which, member = _expand(low, np.where(because == 0, low, high))
        member = mirror.triplet[member]
        fits = similar[train.subject[member], s[which]]
        candidate = np.concatenate([candidate, which[fits]])
        source = np.concatenate([source, member[fits]])
        end = np.concatenate([end, np.full(len(candidate) - len(end), SUBJECT)])
        # Group the sources by candidate; of a group of n the one at floor(share * n) is taken. No group is empty.
        grouped = np.argsort(candidate, kind="stable")
        sizes = np.bincount(candidate, minlength=len(place))
        pick = grouped[np.cumsum(sizes) - sizes + (share * sizes).astype(np.int64)]
        return end[pick], source[pick]


def find_candidates(
    train: TrainTriplets, similar: np.ndarray, tail_objects: np.ndarray, tail_relations: np.ndarray
) -> Candidates:
    """All distinct triplets that section 3.2, stage 1, allows; ``similar`` (C, C) bool, row replaced by column."""
    by_relation = tail_relations[train.relation]
    new_object = np.flatnonzero(by_relation | tail_objects[train.subject])
    new_subject = np.flatnonzero(by_relation | tail_objects[train.object])
    # A class is the lowest bits of a key as the object, and the highest as the subject.
    key_of_object = _replaced_keys(train, similar, new_object, train.object, 1)
    key_of_subject = _replaced_keys(train, similar, new_subject, train.subject, 1 << 2 * BITS_PER_CLASS)
    key = distinct_keys(np.concatenate([key_of_object, key_of_subject]))
    ends = np.stack([in_sorted(key, key_of_subject), in_sorted(key, key_of_object)], axis=1)  # (n, 2)
    subject, relation, obj = triplets_of_keys(key).T
    return Candidates(key, ends, subject, relation, obj, tail_objects, tail_relations)


@dataclass(frozen=True, eq=False)
class _Mirror:
    """The train triplets ordered by relation, object, subject: ``key`` (n,) ascending, ``triplet`` (n,) numbers."""

    key: np.ndarray
    triplet: np.ndarray

    @classmethod
    def of(cls, train: TrainTriplets) -> "_Mirror":
        key = triplet_keys(train.relation, train.object, train.subject)
        order = np.argsort(key)
        return cls(key[order], order)


def _replaced_keys(
    train: TrainTriplets, similar: np.ndarray, triplets: np.ndarray, replaced: np.ndarray, weight: int
) -> np.ndarray:
    """Distinct keys (n,) of ``triplets`` with one end (of ``weight`` in the key) replaced by each similar class."""
    # The replacements of class c are new[first[c]:first[c + 1]].
    old, new = np.nonzero(similar)
    first = np.searchsorted(old, np.arange(train.n_objects + 1))
    kept = [np.empty(0, dtype=np.int64)]
    sizes = (first[1:] - first[:-1])[replaced[triplets]]
    for part in np.split(triplets, _cuts(sizes)):
        which, at = _expand(first[replaced[part]], first[replaced[part] + 1])
        kept.append(distinct_keys(train.key[part][which] + (new[at] - replaced[part][which]) * weight))
    return distinct_keys(np.concatenate(kept))


def _cuts(sizes: np.ndarray) -> np.ndarray:
    """Where to cut items of these sizes so that the pieces have at most about CELLS_PER_CHUNK together."""
    return np.flatnonzero(np.diff(np.cumsum(sizes) // CELLS_PER_CHUNK, prepend=0))


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


def _keys(table: pd.DataFrame, n_objects: int, n_relations: int, what: str) -> np.ndarray:
    ids = {}
    for role, size in (("subject", n_objects), ("relation", n_relations), ("object", n_objects)):
        if role not in table.columns:
            raise WorkbenchError(f"{what}: no column {role!r}; expected class ids in subject, relation and object.")
        column = table[role].to_numpy()
        if len(column) and not np.issubdtype(column.dtype, np.integer):
            raise WorkbenchError(f"{what}, column {role!r}: expected integer class ids, found {column.dtype}.")
        ids[role] = column.astype(np.int64)
        if len(unknown := np.flatnonzero((ids[role] < 0) | (ids[role] >= size))):
            raise WorkbenchError(
                f"{what}, row {unknown[0]}, column {role!r}: class id {ids[role][unknown[0]]} is unknown; "
                f"expected 0 to {size - 1}. The table and the vocabulary belong to different data."
            )
    return triplet_keys(*ids.values())
