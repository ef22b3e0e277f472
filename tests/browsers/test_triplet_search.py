import re
import unicodedata
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.synthetic import write_features
from workbench.browsers.triplet_index import SORTS, TripletIndex, write_triplet_index
from workbench.browsers.triplet_search import ORIGINS, TripletState, facets, search, without_toggles
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES, Vocabulary

OBJECTS = (
    "man", "woman", "man hole", "T-shirt", "Café", "<script>", 'a "b"', "on top", "hot dog", "dog", "100% cotton",
    "c++ (book)", "tree", "street_sign",
)  # fmt: skip
RELATIONS = ("on", "on top of", "to the left of", "wearing", "is .* of")
TEXTS = (
    "", "m", "man", '"man', '"man"', "man on", '"man on"', '"on top of man"', '"man on man"', '"hole on top', "CAFE",
    "café t", "<scr", "script", "shirt", "-shirt", ".*", "100%", "c++", "(", "sign", '"of the"', "left dog", "zebra",
    '"man wearing t', "hot on", '"dog on hot dog"', '"to the left of man"', "_", '"" man', "  ", "o o o",
)  # fmt: skip


def make_index(folder, rows, seed):
    """The index of random relations, its augmentation made up, and a naive table of the same."""
    vocabulary, random = Vocabulary(OBJECTS, RELATIONS), np.random.default_rng(seed)
    write_features(folder / "features", vocabulary, {"train": rows}, seed=seed, dimension=1)
    write_triplet_index(folder / "index", features=folder / "features")
    index = TripletIndex.open(folder / "index")
    n = len(index)
    augmented = random.integers(0, 3, n).astype(np.int32)
    count = np.where((augmented > 0) & (random.random(n) < 0.5), 0, index["count"]).astype(np.int32)
    similarity = np.where(augmented > 0, random.choice([1.5, 2.26, 2.9], n), np.nan)
    hardness = np.round(random.random(n), 1)
    index.columns.update(count=count, augmented=augmented, similarity=similarity, hardness=hardness)
    naive = pd.DataFrame(dict(index.columns))
    naive["caption"] = [plain(text) for text in vocabulary.captions(index.triplets(np.arange(n)))]
    return index, naive


def plain(text):
    return "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))


def found(index, state, **more):
    return search(index, state, without_toggles(index, state, **more))


def naive_search(table, state, bar=None, selected=None):
    """Places in order, by regular expressions over the captions."""
    keep = pd.Series(True, index=table.index)
    for phrase, closed, word in re.findall(r'"([^"]*)("|$)|([^\s"]+)', plain(state.search)):
        needle = phrase.strip() or word
        before = r"(?:^|[\W_])" if needle[:1].isalnum() else ""
        after = r"(?:$|[\W_])" if phrase and closed and needle[-1:].isalnum() else ""
        keep &= table["caption"].str.contains(before + re.escape(needle) + after, regex=True)
    for role, bands in state.bands.items():
        keep &= table[f"{role}_band"].isin([BANDS.index(band) for band in bands or BANDS])
    for role, own in state.classes.items():
        keep &= table[role] == own
    if bar is not None:
        keep &= table[state.chart].isin(bar)
    keep &= {"any": True, "original": table["count"] > 0, "augmented": table["augmented"] > 0}[state.origin]
    if selected is not None:
        keep &= table.index.isin(selected)
    _, column, descending = SORTS[state.sort]
    return table[keep].sort_values(column, ascending=not descending, kind="stable", na_position="last").index


@pytest.mark.filterwarnings("ignore:This pattern")
@pytest.mark.parametrize(("rows", "seed"), [(1, 0), (60, 1), (3000, 2)])
def test_search_and_facets_agree_with_loops_over_the_captions(tmp_path, rows, seed):
    index, naive = make_index(tmp_path, rows, seed)
    random = np.random.default_rng(seed)
    some = lambda values, most: tuple(random.permutation(values)[: random.integers(0, most + 1)].tolist())  # noqa: E731
    matched = 0
    for _ in range(60):
        chosen = {
            "search": str(random.choice(TEXTS)) if random.random() < 0.7 else "",
            "bands": {role: some(BANDS, 2) for role in some(ROLES, 2)},
            "classes": {role: int(random.integers(0, 3)) for role in some(ROLES, 1)},
            "chart": str(random.choice(ROLES)),
            "origin": str(random.choice(list(ORIGINS))),
            "sort": str(random.choice([sort for sort in SORTS if sort != "random"])),
        }
        more = {
            "bar": (0, 3, *some(range(4, 14), 4)) if random.random() < 0.2 else None,
            "selected": random.integers(0, len(index), 30) if random.random() < 0.1 else None,
        }
        state = TripletState(**chosen)
        expected = naive_search(naive, state, **more)
        assert found(index, state, **more).tolist() == expected.tolist(), (state, more)
        matched += len(expected) > 0
        shown = facets(index, state, without_toggles(index, state, **more))
        for role in ROLES:
            for band in BANDS:
                other = replace(state, bands=state.bands | {role: (band,)})
                assert shown[role][band] == len(naive_search(naive, other, **more))
        for origin in ORIGINS:
            assert shown["origin"][origin] == len(naive_search(naive, replace(state, origin=origin), **more))
    assert matched > 12 or rows == 1


@pytest.mark.filterwarnings("ignore:This pattern")
def test_words_start_words_and_phrases_stand_as_they_are(tmp_path):
    index, naive = make_index(tmp_path, 4000, 7)
    for text in TEXTS:
        state = TripletState(search=text)
        assert found(index, state).tolist() == naive_search(naive, state).tolist(), text
    texts = naive["caption"]
    shown = lambda text: {texts[place] for place in found(index, TripletState(search=text))}  # noqa: E731
    assert "woman on dog" not in shown("man dog") and "woman on dog" in shown("wo dog on")
    assert shown('"man on"') and all(re.search(r"\bman on\b", caption) for caption in shown('"man on"'))
    assert shown("cafe") == shown("CAFÉ") == shown("Cafe\u0301") != set()
    assert shown("<script>") and shown("zebra") == set()


def test_a_search_keeps_the_random_order(tmp_path):
    index, _ = make_index(tmp_path, 500, 8)
    some, whole = (found(index, TripletState(text, sort="random")).tolist() for text in ("on", ""))
    assert [place for place in whole if place in set(some)] == some != sorted(some)
