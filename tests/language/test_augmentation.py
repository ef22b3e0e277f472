import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.language import candidates
from workbench.language.augmentation import augment_triplets
from workbench.language.config import AugmentationConfig
from workbench.language.similarity import ClassSimilarity, class_similarity
from workbench.scenes.bands import Counts, band_of_class, count_classes
from workbench.scenes.vocabulary import Vocabulary

NOUNS = [
    "cake", "cookie", "waffle", "biscuit", "spoon", "fork", "knife", "dog", "cat", "horse", "cow", "apple", "orange",
    "banana", "car", "bus", "truck", "chair", "table", "sofa", "man", "woman", "boy", "girl", "hat", "shirt", "tree",
    "flower", "house", "tower", "pikachu", "bicycle",
]  # fmt: skip
QUOTAS = {"medium_quota": 50, "few_quota": 70}


def drawn(seed: int, rows: int = 400, classes: int = 30, relations: int = 10):
    """A random long-tailed relations table with real names."""
    random = np.random.default_rng(seed)
    vocabulary = Vocabulary(tuple(random.permutation(NOUNS)[:classes].tolist()), tuple(map(str, range(relations))))
    ends = 1 / np.arange(1, classes + 1) ** 1.3
    kinds = 1 / np.arange(1, relations + 1) ** 2
    table = pd.DataFrame(
        {
            "image": np.zeros(rows, dtype=int),
            "subject": random.choice(classes, rows, p=ends / ends.sum()),
            "relation": random.choice(relations, rows, p=kinds / kinds.sum()),
            "object": random.choice(classes, rows, p=ends / ends.sum()),
        }
    )
    return table, vocabulary, count_classes(table, vocabulary), class_similarity(vocabulary.objects)


def legal_by_the_paper(table, counts, similarity, bands, threshold):
    """Section 3.2, stage 1, sentence by sentence: the band of every candidate."""
    entity, kind = band_of_class(counts.objects), band_of_class(counts.relations)
    found = {}
    for s, r, o in set(table[["subject", "relation", "object"]].itertuples(index=False, name=None)):
        for new in range(len(entity)):
            if not counts.objects[new]:
                continue
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
    return set(table[["subject", "relation", "object"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("balance", ["role", "class", "triplet"])
def test_every_row_is_legal_and_quotas_are_kept(seed, balance):
    table, vocabulary, counts, similarity = drawn(seed, rows=150 + 100 * seed, classes=14 + 3 * seed)
    augmented = augmented_triplets(table, vocabulary, counts, similarity, seed=seed, balance=balance)
    legal = legal_by_the_paper(table, counts, similarity, ("medium", "few"), 2.26)
    entity, kind = band_of_class(counts.objects), band_of_class(counts.relations)
    existing, report = triplets(table), augmented.attrs["augmentation"]["bands"]
    for band, quota in (("medium", 50), ("few", 70)):
        new = {triplet for triplet, its in legal.items() if its == band and triplet not in existing}
        assert report[band]["distinct"] == len(new)
        rows = augmented[augmented["band"] == band]
        assert len(rows) == report[band]["rows"] == (quota if new else 0)
        assert len(triplets(rows)) == min(quota, len(new)) and triplets(rows) <= new
        times = rows.groupby(["subject", "relation", "object"]).size()
        assert len(times) == 0 or times.max() - times.min() <= 1
    for row in augmented.itertuples():
        source = table.iloc[row.source_row]
        kept = {"subject", "relation", "object"} - {row.replaced}
        assert all(source[role] == getattr(row, role) for role in kept)
        assert source[row.replaced] == row.replaced_class != getattr(row, row.replaced)
        assert row.similarity == similarity.values[row.replaced_class, getattr(row, row.replaced)] >= 2.26
        assert counts.objects[getattr(row, row.replaced)] > 0
        assert row.because != row.replaced
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
            columns = ["subject", "relation", "object", "because"]
            first, all_of_band = (table.loc[table["band"] == band, columns].to_numpy() for table in (some, whole))
            assert (first == all_of_band[: len(first)]).all() and len(first) == quota


def test_a_class_that_training_lacks_never_comes_in():
    table, vocabulary, counts, similarity = drawn(0)
    lost = int(np.argmin(counts.objects))
    keep = table[(table["subject"] != lost) & (table["object"] != lost)].reset_index(drop=True)
    augmented = augmented_triplets(keep, vocabulary, count_classes(keep, vocabulary), similarity)
    assert lost not in set(augmented["subject"]) | set(augmented["object"])


def test_a_class_without_a_synset_is_kept_but_never_replaced():
    vocabulary = Vocabulary(("pikachu", "spoon", "fork", "knife", "man"), ("on",))
    table = pd.DataFrame({"subject": [0, 1, 4], "relation": [0, 0, 0], "object": [1, 0, 0]})
    similarity = class_similarity(vocabulary.objects)
    augmented = augmented_triplets(
        table,
        vocabulary,
        Counts(np.array([1, 2, 2, 2, 99]), np.array([3])),
        similarity,
        bands=["few"],
        few_quota=6,
        seed=0,
    )
    assert similarity.unknown == ["pikachu"]
    assert 0 not in set(augmented["replaced_class"])
    assert triplets(augmented) == {(0, 0, 2), (2, 0, 0)}


def flat_similarity(names) -> ClassSimilarity:
    """All classes as alike as two edges make them."""
    return ClassSimilarity(tuple(names), np.full((len(names), len(names)), 2.5))


def test_classes_share_the_quota_evenly_whatever_their_sources():
    # Two relations are few: one with a single source, one with 60. Each gets half of the rows.
    names = tuple(f"n{i}" for i in range(400))
    table = pd.DataFrame(
        {
            "subject": np.r_[0, np.arange(60)],
            "relation": np.r_[0, np.ones(60, dtype=int)],
            "object": np.r_[1, np.arange(60)[::-1]],
        }
    )
    # 320 of the 400 classes are few, but only the 80 others occur.
    counts = Counts(np.r_[np.full(80, 9), np.zeros(320, dtype=int)], np.array([1, 60, 99]))
    arguments = (table, Vocabulary(names, ("a", "b", "c")), counts)
    chosen = {"bands": ["few"], "few_quota": 200, "seed": 0}
    even = augmented_triplets(*arguments, flat_similarity(names), **chosen)
    assert np.bincount(even["relation"]).tolist() == [100, 100]
    uniform = augmented_triplets(*arguments, flat_similarity(names), balance="triplet", **chosen)
    assert np.bincount(uniform["relation"])[0] < 30


def test_repeats_draw_fresh_sources():
    vocabulary = Vocabulary(("a", "b", "c", "d"), ("on",))
    table = pd.DataFrame({"subject": [3] * 8, "relation": [0] * 8, "object": [0, 0, 0, 1, 1, 1, 3, 3]})
    counts = Counts(np.array([5, 5, 5, 1]), np.array([8]))
    augmented = augmented_triplets(
        table, vocabulary, counts, flat_similarity("abcd"), bands=["few"], few_quota=200, seed=0
    )
    new = augmented[(augmented["subject"] == 3) & (augmented["object"] == 2)]
    assert set(new["source_row"]) == set(range(8))
    per_class = new.groupby("replaced_class").size()
    assert per_class.max() < 2 * per_class.min()  # each distinct source triplet alike, however many rows it has


def test_include_exclude_and_existing():
    arguments = drawn(4)
    free = augmented_triplets(*arguments, medium_quota=0, few_quota=10_000)
    veto = free.drop_duplicates(["subject", "relation", "object"]).iloc[::2]
    rest = augmented_triplets(*arguments, exclude=veto)
    assert not triplets(rest) & triplets(veto)
    only = augmented_triplets(*arguments, include=veto)
    assert triplets(only) <= triplets(veto) and set(only["band"]) == {"few"}
    assert not triplets(free) & triplets(arguments[0])
    more = augmented_triplets(*arguments, medium_quota=0, few_quota=10_000, allow_existing=True)
    assert triplets(more) & triplets(arguments[0])


def test_an_empty_augmentation_says_why():
    table, vocabulary, counts, similarity = drawn(1)
    with pytest.raises(WorkbenchError, match=r"similarity of \d\.\d+, the threshold is 9.*Set it to") as error:
        augmented_triplets(table, vocabulary, counts, similarity, threshold=9)
    suggested = float(str(error.value).split("Set it to ")[1].split(" ")[0])
    assert len(augmented_triplets(table, vocabulary, counts, similarity, threshold=suggested))
    with pytest.raises(WorkbenchError, match="training relations are empty"):
        augmented_triplets(table[:0], vocabulary, counts, similarity)
    with pytest.raises(WorkbenchError, match="allow_existing"):
        nothing = table[:0][["subject", "relation", "object"]]
        augmented_triplets(table, vocabulary, counts, similarity, include=nothing)
    head = int(np.argmax(counts.objects)), int(np.argmax(counts.relations))
    frequent = pd.DataFrame({"subject": [head[0]], "relation": [head[1]], "object": [head[0]]})
    with pytest.raises(WorkbenchError, match="Ask for more bands"):
        augmented_triplets(frequent, vocabulary, counts, similarity)
    unknown = Vocabulary(("qqq", "zzzz", "xyzzy"), vocabulary.relations)
    few = pd.DataFrame({"subject": [0, 1], "relation": [0, 0], "object": [2, 0]})
    with pytest.raises(WorkbenchError, match=r"can be compared.*qqq, zzzz, xyzzy"):
        augmented_triplets(few, unknown, count_classes(few, unknown), class_similarity(unknown.objects), seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ["rare"]}, "bands are"),
        ({"bands": []}, "bands are"),
        ({"few_quota": -1}, "few_quota is -1"),
        ({"max_senses": 0}, "max_senses is 0"),
        ({"balance": "row"}, "balance is 'row'"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(WorkbenchError, match=message):
        augmented_triplets(*drawn(1), **change)
