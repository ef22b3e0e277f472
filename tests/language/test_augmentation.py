import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from tests.synthetic import long_tailed
from workbench.errors import WorkbenchError
from workbench.language import candidates
from workbench.language.augmentation import augment_triplets
from workbench.language.config import AugmentationConfig
from workbench.language.similarity import ClassSimilarity, class_similarity
from workbench.scenes.bands import Counts, band_of_class, count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

NOUNS = [
    "cake", "cookie", "waffle", "biscuit", "spoon", "fork", "knife", "dog", "cat", "horse", "cow", "apple", "orange",
    "banana", "car", "bus", "truck", "chair", "table", "sofa", "man", "woman", "boy", "girl", "hat", "shirt", "tree",
    "flower", "house", "tower", "pikachu", "bicycle",
]  # fmt: skip
QUOTAS = {"medium_quota": 50, "few_quota": 70}


def drawn(seed: int, rows: int = 400, classes: int = 30, relations: int = 10):
    """A random long-tailed relations table with real names; the last class does not occur, pikachu has no synset."""
    names = np.random.default_rng(seed).permutation(NOUNS)[:classes].tolist()
    vocabulary = Vocabulary(tuple(names), tuple(map(str, range(relations))))
    table = long_tailed(rows, vocabulary, seed=seed, tail=1.4)
    table = table[(table[["subject", "object"]] < classes - 1).all(axis=1)].reset_index(drop=True)
    return table, vocabulary, count_classes(table, vocabulary), class_similarity(vocabulary.objects)


def legal_by_the_paper(table, counts, similarity, bands, threshold):
    """Section 3.2, stage 1, sentence by sentence: the band of every candidate."""
    entity, kind = band_of_class(counts.objects), band_of_class(counts.relation)
    found = {}
    for s, r, o in triplets(table):
        for new in np.flatnonzero(counts.objects):
            if new != o and similarity.values[o, new] >= threshold:
                for cause in [kind[r]] * (kind[r] in bands) + [entity[s]] * (entity[s] in bands):
                    found.setdefault((s, r, new), set()).add(cause)
            if new != s and similarity.values[s, new] >= threshold:
                for cause in [kind[r]] * (kind[r] in bands) + [entity[o]] * (entity[o] in bands):
                    found.setdefault((new, r, o), set()).add(cause)
    return {triplet: "few" if "few" in causes else "medium" for triplet, causes in found.items()}


def augmented_triplets(table, vocabulary, counts, similarity, include=None, exclude=None, **settings):
    config = AugmentationConfig(**{**QUOTAS, "seed": 0, "balance": "class", **settings})
    return augment_triplets(table, vocabulary, counts, similarity, config, include=include, exclude=exclude)


def triplets(table) -> set:
    return set(table[list(ROLES)].itertuples(index=False, name=None))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("balance", ["role", "class", "triplet"])
def test_every_row_is_legal_and_quotas_are_kept(seed, balance):
    table, vocabulary, counts, similarity = drawn(seed, rows=150 + 100 * seed, classes=14 + 3 * seed)
    augmented = augmented_triplets(table, vocabulary, counts, similarity, seed=seed, balance=balance)
    legal = legal_by_the_paper(table, counts, similarity, ("medium", "few"), 2.26)
    entity, kind = band_of_class(counts.objects), band_of_class(counts.relation)
    most = {"medium_quota": 9999, "few_quota": 9999}
    whole = augmented_triplets(table, vocabulary, counts, similarity, **most, balance=balance)
    for band, quota in (("medium", 50), ("few", 70)):
        new = {triplet for triplet, its in legal.items() if its == band} - triplets(table)
        assert triplets(whole[whole["band"] == band]) == new
        rows = augmented[augmented["band"] == band]
        assert len(rows) == (quota if new else 0)
        assert len(triplets(rows)) == min(quota, len(new)) and triplets(rows) <= new
        times = rows.groupby(list(ROLES)).size()
        assert len(times) == 0 or times.max() - times.min() <= 1
    for row in augmented.itertuples():
        source = table.iloc[row.source_row]
        kept = {*ROLES} - {row.replaced}
        assert all(source[role] == getattr(row, role) for role in kept)
        assert source[row.replaced] == row.replaced_class != getattr(row, row.replaced)
        assert row.similarity == similarity.values[row.replaced_class, getattr(row, row.replaced)] >= 2.26
        assert counts.objects[getattr(row, row.replaced)] > 0 and row.because != row.replaced
        assert (kind if row.because == "relation" else entity)[getattr(row, row.because)] == row.band


def test_same_seed_same_rows_and_chunks_do_not_matter(monkeypatch):
    arguments = drawn(3)
    first = augmented_triplets(*arguments, seed=1)
    monkeypatch.setattr(candidates, "CELLS_PER_CHUNK", 64)
    pd.testing.assert_frame_equal(first, augmented_triplets(*arguments, seed=1))
    assert not first.equals(augmented_triplets(*arguments, seed=2))


@pytest.mark.parametrize("balance", ["role", "class"])
def test_a_quota_is_the_beginning_of_a_larger_one(balance):
    arguments = drawn(4, rows=900)
    whole = augmented_triplets(*arguments, medium_quota=3000, few_quota=3000, seed=1, balance=balance)
    for quota in (1, 7, 60, 400):
        some = augmented_triplets(*arguments, medium_quota=quota, few_quota=quota, seed=1, balance=balance)
        for band in ("medium", "few"):
            first, all_of_band = (table.loc[table["band"] == band, [*ROLES, "because"]] for table in (some, whole))
            assert (first.to_numpy() == all_of_band[: len(first)].to_numpy()).all() and len(first) == quota


def flat_similarity(names) -> ClassSimilarity:
    """All classes as alike as two edges make them."""
    return ClassSimilarity(tuple(names), np.full((len(names), len(names)), 2.5))


def test_classes_share_the_quota_evenly_whatever_their_sources():
    # Two relations are few: one with a single source, one with 60. Each gets half of the rows.
    names = tuple(f"n{i}" for i in range(400))
    table = pd.DataFrame({"subject": np.arange(60), "relation": 1, "object": np.arange(60)[::-1]})
    table = pd.concat([pd.DataFrame({"subject": [0], "relation": [0], "object": [1]}), table], ignore_index=True)
    # 320 of the 400 classes are few, but only the 80 others occur.
    counts = Counts(np.r_[np.full(80, 9), np.zeros(320, dtype=int)], np.array([1, 60, 99]), 0)
    arguments = (table, Vocabulary(names, ("a", "b", "c")), counts)
    chosen = {"bands": ["few"], "few_quota": 200}
    even = augmented_triplets(*arguments, flat_similarity(names), **chosen)
    assert np.bincount(even["relation"]).tolist() == [100, 100]
    uniform = augmented_triplets(*arguments, flat_similarity(names), balance="triplet", **chosen)
    assert np.bincount(uniform["relation"])[0] < 30


def test_repeats_draw_fresh_sources():
    vocabulary = Vocabulary(("a", "b", "c", "d"), ("on",))
    table = pd.DataFrame({"subject": [3] * 8, "relation": [0] * 8, "object": [0, 0, 0, 1, 1, 1, 3, 3]})
    counts = Counts(np.array([5, 5, 5, 1]), np.array([8]), 0)
    augmented = augmented_triplets(table, vocabulary, counts, flat_similarity("abcd"), bands=["few"], few_quota=200)
    new = augmented[(augmented["subject"] == 3) & (augmented["object"] == 2)]
    assert set(new["source_row"]) == set(range(8))
    per_class = new.groupby("replaced_class").size()
    assert per_class.max() < 2 * per_class.min()  # each distinct source triplet alike, however many rows it has


def test_include_exclude_and_existing():
    arguments = drawn(4)
    free = augmented_triplets(*arguments, medium_quota=0, few_quota=10_000)
    veto = free.drop_duplicates(list(ROLES)).iloc[::2]
    rest = augmented_triplets(*arguments, exclude=veto)
    assert not triplets(rest) & triplets(veto)
    only = augmented_triplets(*arguments, include=veto)
    assert triplets(only) <= triplets(veto) and set(only["band"]) == {"few"}
    assert not triplets(free) & triplets(arguments[0])
    more = augmented_triplets(*arguments, medium_quota=0, few_quota=10_000, allow_existing=True)
    assert triplets(more) & triplets(arguments[0])


def test_what_a_class_is_never_replaced_by():
    table, vocabulary, counts, similarity = drawn(4)

    def replacements(**settings) -> set:
        found = augmented_triplets(table, vocabulary, counts, similarity, **settings)
        other = np.where(found["replaced"] == "subject", found["subject"], found["object"])
        return set(zip(found["replaced_class"].tolist(), other.tolist(), strict=True))

    replaced, other = min(replacements())
    assert (replaced, other) not in replacements(never={vocabulary.objects[replaced]: [vocabulary.objects[other]]})
    every = dict.fromkeys(vocabulary.objects, vocabulary.objects)
    refused("leave out all pairs", augmented_triplets, table, vocabulary, counts, similarity, never=every)
    refused("no object class 'qq'", augmented_triplets, table, vocabulary, counts, similarity, never={"qq": []})
    pairs = pd.DataFrame(sorted(replacements())[:2], columns=["replaced", "by"])
    assert replacements(include=pairs) == {(replaced, other), *pairs.itertuples(index=False, name=None)}
    assert replacements(exclude=pairs) and not replacements(exclude=pairs) & replacements(include=pairs)


def test_an_empty_augmentation_says_why():
    table, vocabulary, counts, similarity = drawn(1)
    with pytest.raises(WorkbenchError, match=r"similarity of \d\.\d+, the threshold is 3.64.*Set it to") as error:
        augmented_triplets(table, vocabulary, counts, similarity, threshold=3.64)
    suggested = float(str(error.value).split("Set it to ")[1].split(" ")[0])
    assert len(augmented_triplets(table, vocabulary, counts, similarity, threshold=suggested))
    refused("training relations are empty", augmented_triplets, table[:0], vocabulary, counts, similarity)
    refused("allow_existing", augmented_triplets, table, vocabulary, counts, similarity, include=table[:0])
    most = int(np.argmax(counts.objects))
    frequent = pd.DataFrame({"subject": [most], "relation": [int(np.argmax(counts.relation))], "object": [most]})
    refused("Ask for more bands", augmented_triplets, frequent, vocabulary, counts, similarity)
    unknown = Vocabulary(("qqq", "zzzz", "xyzzy"), vocabulary.relations)
    few = pd.DataFrame({"subject": [0, 1], "relation": [0, 0], "object": [2, 0]})
    with pytest.raises(WorkbenchError, match=r"can be compared.*qqq, zzzz, xyzzy"):
        augmented_triplets(few, unknown, count_classes(few, unknown), class_similarity(unknown.objects))
