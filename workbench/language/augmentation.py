"""Augmented triplets: tail triplets with one end replaced by a similar class (DiffAugment, section 3.2, stage 1).

A triplet with a tail relation gets its subject and, separately, its object replaced; one with a tail subject gets its
object replaced; one with a tail object its subject. "Tail" are the bands asked for. A replacement occurs in the
training relations, differs from the original class, and has an LCH similarity of at least the threshold (2.26 in
section 4.1). An augmented triplet is "few" if a class that made it tail is few, else "medium"; the bands have quotas
of their own (48,000 each in section 4.1).

The paper leaves open how the quotas are drawn. Here distinct triplets are drawn, and only when all of a band are used
does the next round repeat them, each repetition with a fresh source. Classes or roles take turns (see
`workbench.language.sampling_order`), so that a class with many sources does not crowd out the rest. Triplets that
training has already are left out unless ``allow_existing``, which is also the remedy when nothing new remains.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.language.candidates import Candidates, TrainTriplets, find_candidates
from workbench.language.config import AugmentationConfig
from workbench.language.sampling_order import Causes, sampling_order
from workbench.language.similarity import Similarity
from workbench.randomness import generator
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.relations import distinct_keys, in_sorted
from workbench.scenes.vocabulary import ROLES, Vocabulary


def augment_triplets(
    relations: pd.DataFrame,
    vocabulary: Vocabulary,
    counts: Counts,
    similarity: Similarity,
    config: AugmentationConfig,
    *,
    include: pd.DataFrame | None = None,
    exclude: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Draw augmented triplets from the training relations (columns subject, relation, object: class ids).

    ``include`` and ``exclude``: tables of triplets (class ids) that alone may be drawn, or may not. Returns one row per
    augmented triplet, bands in the order of ``config.bands``: subject, relation, object (int64, the new triplet);
    source_row (int64, row number in ``relations``); replaced ("subject" or "object"); replaced_class (int64, the class
    that stood there); similarity (float64, of both classes); band; because (the role whose tail class made the source
    tail). ``frame.attrs["augmentation"]`` counts the distinct triplets and the rows of each band. Same arguments, same
    rows. WorkbenchError where nothing can be drawn.
    """
    tail = _Tail.of(counts, config.bands)
    _check(vocabulary, counts, similarity)
    train = TrainTriplets.of(relations, len(vocabulary.objects), len(vocabulary.relations))
    similar = similar_classes(similarity, counts, config.threshold)
    candidates = find_candidates(train, similar, tail.objects, tail.relations)
    found = len(candidates)
    candidates = _restrict(candidates, train, config.allow_existing, include, exclude)
    if not len(candidates):
        raise WorkbenchError(_why_empty(train, tail, counts, similarity, config.threshold, found))
    band = candidate_bands(candidates, tail)
    tables, report = [], {}
    for name in config.bands:
        rows = _draw_band(candidates, train, similar, tail, np.flatnonzero(band == name), name, config)
        tables.append(rows)
        report[name] = {"distinct": int((band == name).sum()), "quota": config.quota(name), "rows": len(rows)}
    table = pd.concat(tables, ignore_index=True)
    new_class = np.where(table["replaced"] == "subject", table["subject"], table["object"])
    table["similarity"] = similarity.values[table["replaced_class"].to_numpy(), new_class]
    table = table[[*ROLES, "source_row", "replaced", "replaced_class", "similarity", "band", "because"]]
    table.attrs["augmentation"] = {"bands": report}
    return table


def similar_classes(similarity: Similarity, counts: Counts, threshold: float) -> np.ndarray:
    """(C, C) bool: whether the column's class may replace the row's (similar, another class, known to training)."""
    with np.errstate(invalid="ignore"):  # nan: nothing is known, never similar
        similar = similarity.values >= threshold
    np.fill_diagonal(similar, False)
    return similar & (counts.objects > 0)[None, :]


def candidate_bands(candidates: Candidates, tail: "_Tail") -> np.ndarray:
    """(n,) str: "few" where any tail class that makes the candidate is few, else the band nearest to it."""
    best = np.full(len(candidates), len(BANDS))
    for role in ROLES:
        rank = tail.rank(role)[getattr(candidates, role)]
        causes = candidates.because(role) & (rank < len(BANDS))
        best[causes] = np.minimum(best[causes], rank[causes])
    return np.array(tail.rarest_first)[best]


@dataclass(frozen=True)
class _Tail:
    """Which classes are tail, and how rare: rank 0 is the rarest band asked for, len(BANDS) is not tail."""

    bands: tuple[str, ...]
    rarest_first: tuple[str, ...]
    object_rank: np.ndarray
    relation_rank: np.ndarray

    @classmethod
    def of(cls, counts: Counts, bands: tuple[str, ...]) -> "_Tail":
        rarest_first = tuple(band for band in reversed(BANDS) if band in bands)

        def rank(occurrences: np.ndarray) -> np.ndarray:
            band = band_of_class(occurrences)
            ranks = np.full(len(band), len(BANDS))
            for place, name in enumerate(rarest_first):
                ranks[band == name] = place
            return ranks

        return cls(bands, rarest_first, rank(counts.objects), rank(counts.relations))

    @property
    def objects(self) -> np.ndarray:
        return self.object_rank < len(BANDS)

    @property
    def relations(self) -> np.ndarray:
        return self.relation_rank < len(BANDS)

    def rank(self, role: str) -> np.ndarray:
        return self.relation_rank if role == "relation" else self.object_rank


def _draw_band(
    candidates: Candidates,
    train: TrainTriplets,
    similar: np.ndarray,
    tail: _Tail,
    places: np.ndarray,
    band: str,
    config: AugmentationConfig,
) -> pd.DataFrame:
    """A quota of rows of one band, whose candidates are at ``places``: rounds over them, each row with its source."""
    random = generator(config.seed, "augmented triplets", band)
    quota = config.quota(band)
    causes = _causes(candidates, places, tail, tail.rarest_first.index(band))
    item, because = sampling_order(causes, random, config.balance, quota)
    rounds = np.arange(quota if len(item) else 0) % max(1, len(item))
    place, because = places[item][rounds], because[rounds]
    replaced, replaced_class, source_row = candidates.draw_sources(train, similar, place, because, random)
    return pd.DataFrame(
        {
            **{role: getattr(candidates, role)[place] for role in ROLES},
            "source_row": source_row,
            "replaced": np.array(["subject", "object"], dtype=object)[replaced],
            "replaced_class": replaced_class,
            "band": np.full(len(place), band, dtype=object),
            "because": np.array(ROLES, dtype=object)[because],
        }
    )


def _causes(candidates: Candidates, places: np.ndarray, tail: _Tail, rank: int) -> Causes:
    """Why the candidates at ``places`` are tail of this rank: once for each role whose class makes them so."""
    item, cause, role_of = [], [], []
    classes_of_role = max(len(tail.object_rank), len(tail.relation_rank))
    narrow = np.min_scalar_type(len(ROLES) * classes_of_role)  # NumPy sorts 16-bit numbers by counting
    for number, role in enumerate(ROLES):
        classes = getattr(candidates, role)[places]
        here = np.flatnonzero(candidates.because(role)[places] & (tail.rank(role)[classes] == rank))
        item.append(here)
        cause.append((number * classes_of_role + classes[here]).astype(narrow))
        role_of.append(np.full(len(here), number, dtype=np.uint8))
    return Causes(*map(np.concatenate, (item, cause, role_of)))


def _restrict(
    candidates: Candidates,
    train: TrainTriplets,
    allow_existing: bool,
    include: pd.DataFrame | None,
    exclude: pd.DataFrame | None,
) -> Candidates:
    keep = np.ones(len(candidates), dtype=bool)
    if not allow_existing:
        keep &= ~in_sorted(candidates.key, train.key)
    if include is not None:
        keep &= in_sorted(candidates.key, distinct_keys(train.keys_of(include, "include")))
    if exclude is not None:
        keep &= ~in_sorted(candidates.key, distinct_keys(train.keys_of(exclude, "exclude")))
    return candidates.where(keep)


def _check(vocabulary: Vocabulary, counts: Counts, similarity: Similarity) -> None:
    if tuple(similarity.names) != tuple(vocabulary.objects):
        raise WorkbenchError(
            f"the similarity is of {len(similarity.names)} other names than the vocabulary's {len(vocabulary.objects)} "
            "object classes; compute class_similarity(vocabulary.objects) again."
        )
    if len(counts.objects) != len(vocabulary.objects) or len(counts.relations) != len(vocabulary.relations):
        raise WorkbenchError(
            f"the counts are of {len(counts.objects)} object and {len(counts.relations)} relation classes, the "
            f"vocabulary has {len(vocabulary.objects)} and {len(vocabulary.relations)}; count this data set's classes."
        )


def _why_empty(
    train: TrainTriplets, tail: _Tail, counts: Counts, similarity: Similarity, threshold: float, found: int
) -> str:
    """Which condition left nothing, and the nearest remedy."""
    start = "no augmented triplet remains: "
    if not len(train):
        return start + "the training relations are empty. Check the annotations of the training split."
    is_tail = tail.objects[train.subject] | tail.objects[train.object] | tail.relations[train.relation]
    if not is_tail.any():
        return start + f"no training triplet has a class of the bands {list(tail.bands)}. Ask for more bands."
    if found:
        return start + (
            f"all {found:,} candidates exist in training already, or include/exclude leaves them out. "
            "Set allow_existing=True, lower the threshold, or review the two lists."
        )
    by_relation = tail.relations[train.relation]
    objects = train.object[by_relation | tail.objects[train.subject]]
    ends = np.unique(np.concatenate([objects, train.subject[by_relation | tail.objects[train.object]]]))
    itself = np.arange(len(similarity.names)) == ends[:, None]
    values = np.where(itself, np.nan, similarity.values[ends])  # (ends, C)
    nearest = np.fmax.reduce(values[:, counts.objects > 0], axis=None, initial=-np.inf)
    if np.isneginf(nearest):
        return start + (
            f"none of the {len(ends)} classes that may be replaced can be compared with another class (unknown: "
            f"{', '.join(similarity.unknown[:10])}). Use names that WordNet has or ask for more bands."
        )
    return start + (
        f"the most similar classes for the bands {list(tail.bands)} have a similarity of {nearest:.3f}, the threshold "
        f"is {threshold}. Set it to {math.floor(nearest * 100) / 100} or lower, or ask for more bands."
    )
