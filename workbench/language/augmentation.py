"""Augmented triplets: tail triplets with one end replaced by a similar class (DiffAugment, section 3.2, stage 1).

A triplet with a tail relation gets its subject and, separately, its object replaced; one with a tail subject gets its
object replaced; one with a tail object its subject. "Tail" are the bands asked for. A replacement occurs in the
training relations, differs from the original class, and has a similarity of at least the threshold (2.26 of LCH in
section 4.1). An augmented triplet is "few" if a class that made it tail is few, else "medium"; the bands have quotas
of their own (48,000 each in section 4.1).

The paper leaves open how the quotas are drawn. Here distinct triplets are drawn, and only when all of a band are used
does the next round repeat them, each repetition with a fresh source. So that a class with many sources does not crowd
out the rest, those of ``balance`` take turns. "class" cycles over the tail classes: one subject, relation or object
class after another gives its next triplet. "role" does so within each role and takes the roles in turn, since relation
classes are far fewer than object classes. "triplet" draws distinct triplets uniformly. Triplets that training has
already are left out unless ``allow_existing``, which is also the remedy when nothing new remains.
"""

import math

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.language.candidates import NOT_TAIL, Candidates, TrainTriplets, find_candidates
from workbench.language.config import AugmentationConfig
from workbench.language.similarity import ClassSimilarity
from workbench.randomness import generator
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.relations import distinct_keys, in_sorted, triplet_keys
from workbench.scenes.vocabulary import REPLACEMENT, ROLES, Vocabulary, listed

COLUMNS = (*ROLES, "source_row", "replaced", "replaced_class", "similarity", "path", "band", "because")


def augment_triplets(
    relations: pd.DataFrame,
    vocabulary: Vocabulary,
    counts: Counts,
    similarity: ClassSimilarity,
    config: AugmentationConfig,
    *,
    include: pd.DataFrame | None = None,
    exclude: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Draw augmented triplets from the training relations (columns subject, relation, object: class ids).

    ``counts`` and ``similarity`` are of the vocabulary's classes. ``include`` and ``exclude``: lists of triplets and of
    replacements (class ids, `read_triplet_list`) that alone may be drawn, or may not. Returns one row per augmented
    triplet, bands in the order of ``config.bands``: subject, relation, object (int64, the new triplet); source_row
    (int64, row number in ``relations``); replaced ("subject" or "object"); replaced_class (int64, the class that stood
    there); similarity (float64, of both classes); path (str, the words between both in WordNet: "spoon, cutlery, fork";
    "" where another similarity chose); band; because (the role whose tail class made the source tail). Same arguments,
    same rows. WorkbenchError where nothing can be drawn.
    """
    rarest_first = [band for band in reversed(BANDS) if band in config.bands]
    rank = {role: _rank_of_class(counts.of_role(role), rarest_first) for role in ROLES}
    train = TrainTriplets.of(relations)
    with np.errstate(invalid="ignore"):  # nan: nothing is known, never similar
        similar = similarity.values >= config.threshold
    np.fill_diagonal(similar, False)
    for name, others in config.never.items():
        never = [vocabulary.class_id("object", other) for other in others]
        similar[vocabulary.class_id("object", name), never] = False
    lists = [(table, wanted) for table, wanted in ((include, True), (exclude, False)) if table is not None]
    for table, wanted in lists:
        if len(named := listed(table, REPLACEMENT)):
            chosen = np.zeros_like(similar)
            chosen[tuple(named.T)] = True
            similar &= chosen == wanted
    similar &= counts.objects > 0
    candidates = find_candidates(train, similar, rank)
    found = len(candidates)
    keep = np.ones(found, dtype=bool)
    if not config.allow_existing:
        keep &= ~in_sorted(candidates.key, train.key)
    for table, wanted in lists:
        if len(triplets := listed(table, ROLES)) or (wanted and not len(listed(table, REPLACEMENT))):
            keep &= in_sorted(candidates.key, distinct_keys(triplet_keys(*triplets.T))) == wanted
    candidates = Candidates(candidates.key[keep], candidates.ends[keep], rank)
    if not len(candidates):
        raise WorkbenchError(_why_empty(train, rank, counts, similarity, config, found))
    causes = np.stack([candidates.cause_rank(role) for role in ROLES])  # (3, n)
    tables = []
    for band in config.bands:
        # A candidate belongs to the rarest band of the classes that make it tail.
        number, quota = rarest_first.index(band), config.quota(band)
        cause = (causes == number) & (causes.min(axis=0) == number)
        random = generator(config.seed, "augmented triplets", band)
        item, because = _sampling_order(candidates, cause, random, config.balance, quota)
        rounds = np.arange(quota if len(item) else 0) % max(1, len(item))
        place, because = item[rounds], because[rounds]
        replaced, replaced_class, source_row = candidates.draw_sources(train, similar, place, because, random)
        columns: dict = {role: candidates.classes[role][place] for role in ROLES}
        columns |= {"source_row": source_row, "replaced": np.array(["subject", "object"], dtype=object)[replaced]}
        columns |= {"replaced_class": replaced_class, "band": band, "because": np.array(ROLES, dtype=object)[because]}
        tables.append(pd.DataFrame(columns))
    table = pd.concat(tables, ignore_index=True)
    if not len(table):
        what = "no augmented triplet remains: the bands that have candidates have a quota of 0"
        raise WorkbenchError(f"{what}. Raise the quotas, or choose more bands.")
    new_class = np.where(table["replaced"] == "subject", table["subject"], table["object"])
    table["similarity"] = similarity.values[table["replaced_class"].to_numpy(), new_class]
    pairs = list(zip(table["replaced_class"].tolist(), new_class.tolist(), strict=True))
    table["path"] = similarity.paths(pairs)
    return table[list(COLUMNS)]


def _rank_of_class(occurrences: np.ndarray, rarest_first: list[str]) -> np.ndarray:
    """How rare each class is (K,): 0 in the rarest band asked for, NOT_TAIL in none."""
    band = band_of_class(occurrences)
    return np.select([band == name for name in rarest_first], range(len(rarest_first)), NOT_TAIL)


def _sampling_order(
    candidates: Candidates, cause: np.ndarray, random: np.random.Generator, balance: str, quota: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct candidates (m,) of a band in the order of sampling, and for each the role (m,) that it is drawn for.

    ``cause`` (3, n) bool: whether the class in a role makes a candidate of this band. All of the band, or at least the
    first ``quota``, which do not depend on it.
    """
    # A candidate comes once for each role whose class is its cause; ``group`` is a number for the class in that role.
    # NumPy sorts 16-bit numbers by counting.
    role_of, item = np.nonzero(cause)
    classes = max(map(len, candidates.rank.values()))
    group = np.choose(role_of, [candidates.classes[role][item] for role in ROLES]) + role_of * classes
    group = group.astype(np.min_scalar_type(len(ROLES) * classes))
    role_of = role_of.astype(np.uint8)  # type: ignore[assignment]
    shuffled = random.permutation(len(item))
    item, group, role_of = item[shuffled], group[shuffled], role_of[shuffled]
    if balance != "triplet":
        # Cycle over the tail classes: first the first candidate of each, then the second of each, and so on. A
        # candidate comes once for each role at most, so that the first 3 quota places of a role hold all that is drawn.
        turn = _place_within(group)
        soon = turn <= _last_turn(turn, role_of, len(ROLES) * quota)
        item, role_of = item[soon], role_of[soon]
        cycled = np.argsort(turn[soon], kind="stable")
        item, role_of = item[cycled], role_of[cycled]
    if balance == "role":
        # The same within each role, and the roles in turn: relations are few, but a third of what is asked for.
        cycled = np.argsort(_place_within(role_of), kind="stable")
        item, role_of = item[cycled], role_of[cycled]
    _, earliest = np.unique(item, return_index=True)  # a candidate of two tail classes comes once
    if balance != "triplet":
        earliest.sort()
    else:
        earliest = random.permutation(earliest)  # candidates of two tail classes come no sooner than others
    return item[earliest], role_of[earliest]


def _last_turn(turn: np.ndarray, role_of: np.ndarray, wanted: int) -> int:
    """The turn by which every role has had ``wanted`` places, or all that it has."""
    last = 0
    for role in np.unique(role_of):
        reached = np.cumsum(np.bincount(turn[role_of == role]))
        last = max(last, int(np.searchsorted(reached, min(wanted, reached[-1]))))
    return last


def _place_within(group: np.ndarray) -> np.ndarray:
    """The place (N,) of each element among those of its group, in the order given."""
    return pd.Series(group).groupby(group).cumcount().to_numpy()


def _why_empty(
    train: TrainTriplets,
    rank: dict[str, np.ndarray],
    counts: Counts,
    similarity: ClassSimilarity,
    config: AugmentationConfig,
    found: int,
) -> str:
    """Which condition left nothing, and the nearest remedy; ``found`` candidates there were at first."""
    start = "no augmented triplet remains: "
    if not len(train):
        return start + "the training relations are empty. Check the annotations of the training split."
    by_subject, by_relation, by_object = (rank[role][getattr(train, role)] < NOT_TAIL for role in ROLES)
    if not (by_subject | by_relation | by_object).any():
        return start + f"no training triplet has a class of the bands {list(config.bands)}. Ask for more bands."
    if found:
        return start + (
            f"all {found:,} candidates exist in training already, or include/exclude leaves them out. "
            "Set allow_existing=True, lower the threshold, or review the two lists."
        )
    ends = np.unique(np.concatenate([train.object[by_relation | by_subject], train.subject[by_relation | by_object]]))
    itself = np.arange(len(similarity.names)) == ends[:, None]
    values = np.where(itself, np.nan, similarity.values[ends])  # (ends, C)
    nearest = np.fmax.reduce(values[:, counts.objects > 0], axis=None, initial=-np.inf)
    if np.isneginf(nearest):
        return start + (
            f"none of the {len(ends)} classes that may be replaced can be compared with another class (unknown: "
            f"{', '.join(similarity.unknown[:10])}). Use names that WordNet has or ask for more bands."
        )
    if nearest >= config.threshold:
        return start + "never, include or exclude leave out all pairs of classes that are alike. Review them."
    return start + (
        f"the most similar classes for the bands {list(config.bands)} have a similarity of {nearest:.3f}, the "
        f"threshold is {config.threshold}. Set it to {math.floor(nearest * 100) / 100} or lower, or ask for more bands."
    )
