import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.language.pack_nouns import pack_nouns
from tests.refusals import refused
from workbench.language.noun_paths import fewest_edges, noun_hierarchy
from workbench.language.senses import class_senses
from workbench.language.similarity import ClassSimilarity, class_similarity, lch_similarity
from workbench.language.wordnet import noun_senses, open_wordnet, unpack_nouns

# A noun to its hypernyms ("@") and instance hypernyms ("@i"). "mule" has two parents of different depth, "bank" is in
# two places, "nowhere" is a root of its own.
TOY = [
    ("entity", ""), ("thing", "@entity"), ("animal", "@thing"), ("horse", "@animal"), ("donkey", "@animal"),
    ("mule", "@horse @donkey @thing"), ("rocinante", "@ihorse"), ("river", "@thing"), ("bank", "@river"),
    ("bank", "@animal"), ("nowhere", ""),
]  # fmt: skip


def write_toy_wordnet(folder: Path) -> Path:
    """WordNet files whose offsets are only names: packing computes the real ones."""
    folder.mkdir(parents=True)
    number = {word: place for place, (word, _) in reversed(list(enumerate(TOY)))}
    data, index = [], {}
    for place, (word, pointers) in enumerate(TOY):
        pairs = [re.fullmatch("(@i?)(.*)", pointer).groups() for pointer in pointers.split()]
        found = [f"{kind} {number[above]:08d} n 0000" for kind, above in pairs]
        found.append("+ 00000000 v 0101")  # a pointer to another part of speech, which packing leaves out
        data.append(f"{place:08d} 03 n 01 {word} 0 {len(found):03d} {' '.join(found)} | gloss")
        index.setdefault(word, []).append(f"{place:08d}")
    (folder / "data.noun").write_text("  1 licence  \n" + "\n".join(data) + "\n")
    lines = [f"{word} n {len(at)} 1 @ {len(at)} 0 {' '.join(at)}  " for word, at in sorted(index.items())]
    (folder / "index.noun").write_text("  1 licence  \n" + "\n".join(lines) + "\n")
    (folder / "noun.exc").write_text("mulish mule\n")
    (folder / "lexnames").write_text("".join(f"{number:02d}\tnoun.{number}\t1\n" for number in range(4)))
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    pack_nouns(write_toy_wordnet(folder / "source"), folder / "toy.tar.xz")
    return open_wordnet(unpack_nouns(folder / "cache", folder / "toy.tar.xz"))


@pytest.fixture(scope="module")
def wordnet():
    reader = open_wordnet()
    # NLTK would read all 82,115 nouns to find this (see the test of the depth); the benchmark lets it.
    reader._max_depth["n", False] = 19
    return reader


def best_of_nltk(first: list, second: list) -> float:
    values = [a.lch_similarity(b) for a in first for b in second]
    return max((value for value in values if value is not None), default=math.nan)


@pytest.mark.parametrize("max_senses", [1, 2])
def test_toy_values_are_nltks(toy, max_senses):
    names = [*dict(TOY), "horses", "zebra"]
    senses = [noun_senses(name, toy, max_senses) for name in names]
    expected = [[best_of_nltk(a, b) for b in senses] for a in senses]
    np.testing.assert_array_equal(
        lch_similarity(class_senses(names, "all", max_senses=max_senses, wordnet=toy)), expected
    )
    assert noun_hierarchy(toy).depth == toy._max_depth["n", False] == 4


def test_toy_paths(toy):
    names = ["mule", "rocinante", "bank", "donkey", "nowhere", "zebra", "horses"]
    similarity = class_similarity(names, senses=class_senses(names, "all", max_senses=2, wordnet=toy))
    paths = similarity.paths([(0, 1), (2, 3), (0, 0), (6, 1), (0, 4), (0, 5), (5, 5)])
    over_the_second_sense = "bank, animal, donkey"
    assert paths == ["mule, horse, rocinante", over_the_second_sense, "mule", "horse, rocinante", "", "", ""]


def test_random_pairs_equal_nltk_bit_for_bit(wordnet):
    random = np.random.default_rng(5)
    lemmas = sorted(name for name in wordnet.all_lemma_names("n") if "." not in name)
    names = [lemmas[place].replace("_", " ") for place in random.integers(len(lemmas), size=300)]
    names += ["dog", "dogs", "animal", "entity", "Einstein", "bank", "glasses", "cookies", "t shirt", "no such noun"]
    similarity = class_similarity(names, senses=class_senses(names, "all", wordnet=wordnet))
    lch = similarity.values
    senses = [noun_senses(name, wordnet, 4) for name in names]
    pairs = random.integers(len(names), size=(300, 2)).tolist()
    pairs += [(i, int(j)) for i in range(300, 310) for j in random.integers(290, 310, size=10)]
    np.testing.assert_array_equal([lch[i, j] for i, j in pairs], [best_of_nltk(senses[i], senses[j]) for i, j in pairs])
    np.testing.assert_array_equal(lch, lch.T)
    edges = fewest_edges(senses, noun_hierarchy(wordnet))
    asked = [(i, j) for i, j in pairs[:100] if not np.isnan(lch[i, j])]
    assert [path.count(", ") for path in similarity.paths(asked)] == [edges[i, j] for i, j in asked]


def test_the_noun_hierarchy_is_as_deep_as_nltk_finds_it(wordnet):
    assert noun_hierarchy(wordnet).depth == 19 and wordnet.synset("rock_hind.n.01").max_depth() == 19
    lemmas = sorted(wordnet.all_lemma_names("n"))[::400]
    assert max(synset.max_depth() for lemma in lemmas for synset in wordnet.synsets(lemma, "n")) <= 19


def test_distances_agree_with_wordnet_similarity(wordnet, real_data):
    rows = [line.split("\t") for line in (real_data / "wordnet/lch_reference_pairs.tsv").read_text().splitlines()[1:]]
    nouns = [row for row in rows if row[0].split("#")[1] == row[1].split("#")[1] == "n"]
    assert len(nouns) >= 30
    synset = {}
    for word in {word for row in nouns for word in row[:2]}:
        lemma, _, sense = word.split("#")
        synset[word] = wordnet.synset(f"{lemma.lower()}.n.{int(sense):02d}")
    edges = fewest_edges([[found] for found in synset.values()], noun_hierarchy(wordnet))
    place = {name: i for i, name in enumerate(synset)}
    for first, second, lch, path, _ in nouns:
        steps = edges[place[first], place[second]] + 1.0
        assert -math.log(steps / 40) == pytest.approx(float(lch), abs=6e-5)  # theirs counts a depth of 20
        assert 1 / steps == pytest.approx(float(path), abs=6e-5)


def test_the_papers_threshold_admits_two_edges(wordnet):
    names = ["cake", "baked goods", "cookie", "spoon", "fork", "cutlery", "dog", "cat"]
    edges = fewest_edges([noun_senses(name, wordnet, 4) for name in names], noun_hierarchy(wordnet))
    similarity = class_similarity(names, senses=class_senses(names, "all"))
    np.testing.assert_array_equal(similarity.values >= 2.26, edges <= 2)
    paths = similarity.paths([(3, 4), (6, 7)])
    assert paths == ["spoon, cutlery, fork", "dog, canine, carnivore, feline, cat"]
    senses = class_senses(["cake", "cookie"], "all", max_senses=3)
    assert class_similarity(["cake", "cookie"], senses=senses).paths([(0, 1)]) == ["cake, cookie"]
    assert class_similarity(names, lambda names: np.eye(len(names))).paths([(3, 4)]) == [""]


@pytest.mark.parametrize("names", [[], ["qqq"], ["dog"], ["qqq", "zzzz", "dog"]])
def test_small_and_unknown_vocabularies(names, tmp_path):
    similarity = class_similarity(names)
    assert similarity.values.shape == (len(names), len(names))
    assert similarity.unknown == [name for name in names if name != "dog"]
    assert np.isnan(similarity.values).sum() == len(names) ** 2 - names.count("dog")
    similarity.save(tmp_path / "whole.npz")
    loaded = ClassSimilarity.load(tmp_path / "whole.npz")
    assert loaded.names == similarity.names
    np.testing.assert_array_equal(loaded.values, similarity.values)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    for name, fault in (("cut.npz", "this is the beginning of a zip"), ("absent.npz", "the file is missing")):
        refused(f"{name}: {fault}", ClassSimilarity.load, tmp_path / name)


def test_a_cycle_is_refused(tmp_path):
    class Reader:
        def open(self, name):
            (tmp_path / name).write_text("00000001 03 n 01 a 0 001 @ 00000001 n 0000 | \n")
            return open(tmp_path / name)

    refused("cycle", noun_hierarchy, Reader())


NAMES = ("dog", "cat", "cup")


def test_a_table_of_pairs_counts_both_ways_unless_it_says_otherwise(tmp_path):
    rows = [("dog", "cat", 0.9), ("cat", "cup", 0.2), ("cup", "cat", 0.1)]
    rows = pd.DataFrame(rows, columns=["first", "second", "similarity"])
    rows.to_csv(tmp_path / "pairs.csv", index=False)
    rows.to_parquet(tmp_path / "pairs.parquet")
    for name in ("pairs.csv", "pairs.parquet"):
        found = class_similarity(NAMES, tmp_path / name)
        np.testing.assert_array_equal(found.values, [[np.nan, 0.9, np.nan], [0.9, np.nan, 0.2], [np.nan, 0.1, np.nan]])
    found.save(tmp_path / "stored.npz")
    again = class_similarity(("cup", "dog", "bird", "cat"), tmp_path / "stored.npz")
    assert again.values[1, 3] == 0.9 and again.values[0, 3] == 0.1 and again.unknown == ["bird"]


@pytest.mark.parametrize(("choice", "message"), [
    ("first,second,similarity\ndog,dgo,1\n", "row 0: 'dgo' is not an object class.*'dog'"),
    ("a,b\n1,2\n", "first, second, similarity"), ("lhc", r"similarity 'lhc' is not known\. Did you mean 'lch'"),
    ("first,second,similarity\ndog,cat,1\ndog,cat,1\ndog,cat,2\n", "row 2: dog and cat stand above with another"),
    ("first,second,similarity\ndog,cat,much\n", "not a table of class pairs"),
    ('first,second,similarity\ndog,cat,1\ncat,dog,"0,5"\n', r"row 1: the similarity '0,5' of cat and dog.*points in"),
    ("first,second,similarity\ndog,cat,0,5\n", r"row 0 has more fields than the header.*points in numbers"),
    ("first;second;similarity\ndog;cat;0,5\n", r"not a table of class pairs .*commas between them"),
    ("first,second,similarity\ndog,cat,nan\n", r"row 0: the similarity 'nan' .*leave the row out"),
    (lambda names: np.eye(2), r"\(2, 2\); expected \(3, 3\)"),
])  # fmt: skip
def test_a_choice_that_does_not_fit_is_named(tmp_path, choice, message):
    if "\n" in str(choice):
        (tmp_path / "pairs.csv").write_text(choice)
        choice = tmp_path / "pairs.csv"
    refused(message, class_similarity, NAMES, choice)
