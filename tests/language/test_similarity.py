import math
from pathlib import Path

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.language.noun_database import pack_nouns
from workbench.language.similarity import ClassSimilarity, class_similarity, noun_hierarchy, similarity_of_senses
from workbench.language.wordnet import noun_senses, open_wordnet, unpack_nouns

# A noun to its hypernyms ("@") and instance hypernyms ("@i"). "mule" has two parents of different depth, "bank" is in
# two places, "nowhere" is a root of its own.
TOY = [
    ("entity", {}),
    ("thing", {"@": ["entity"]}),
    ("animal", {"@": ["thing"]}),
    ("horse", {"@": ["animal"]}),
    ("donkey", {"@": ["animal"]}),
    ("mule", {"@": ["horse", "donkey", "thing"]}),
    ("rocinante", {"@i": ["horse"]}),
    ("river", {"@": ["thing"]}),
    ("bank", {"@": ["river"]}),
    ("bank", {"@": ["animal"]}),
    ("nowhere", {}),
]


def write_toy_wordnet(folder: Path) -> Path:
    """WordNet files whose offsets are only names: packing computes the real ones."""
    folder.mkdir(parents=True)
    number = {word: place for place, (word, _) in reversed(list(enumerate(TOY)))}
    data, index = [], {}
    for place, (word, pointers) in enumerate(TOY):
        found = [f"{kind} {number[above]:08d} n 0000" for kind, words in pointers.items() for above in words]
        found.append("+ 00000000 v 0101")  # a pointer to another part of speech, which packing leaves out
        data.append(f"{place:08d} 03 n 01 {word} 0 {len(found):03d} {' '.join(found)} | gloss")
        index.setdefault(word, []).append(f"{place:08d}")
    (folder / "data.noun").write_text("  1 licence  \n" + "\n".join(data) + "\n")
    lines = [f"{word} n {len(at)} 1 @ {len(at)} 0 {' '.join(at)}  " for word, at in sorted(index.items())]
    (folder / "index.noun").write_text("  1 licence  \n" + "\n".join(lines) + "\n")
    (folder / "noun.exc").write_text("mulish mule\n")
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    pack_nouns(write_toy_wordnet(folder / "source"), folder / "toy.tar.xz")
    return open_wordnet(unpack_nouns(folder / "cache", folder / "toy.tar.xz"))


@pytest.fixture(scope="module")
def wordnet():
    reader = open_wordnet()
    # NLTK would read all 82,115 nouns to find this (see the tests of the depth); the benchmark lets it.
    reader._max_depth["n", False] = 19
    return reader


def best_of_nltk(first: list, second: list) -> float:
    values = [a.lch_similarity(b) for a in first for b in second]
    return max((value for value in values if value is not None), default=math.nan)


@pytest.mark.parametrize("max_senses", [1, 2])
def test_toy_values_are_nltks(toy, max_senses):
    names = [*dict(TOY), "horses", "zebra"]
    similarity = class_similarity(names, max_senses, toy)
    senses = [noun_senses(name, toy, max_senses)[1] for name in names]
    expected = [[best_of_nltk(a, b) for b in senses] for a in senses]
    np.testing.assert_array_equal(similarity.lch, expected)
    assert similarity.without_synset == ["zebra"]
    assert similarity.depth == toy._max_depth["n", False] == 4


def test_toy_paths(toy):
    names = ["mule", "rocinante", "bank", "donkey", "nowhere", "zebra", "horses"]
    similarity = class_similarity(names, 2, toy)
    assert similarity.path(0, 1) == ["mule", "horse", "rocinante"]
    assert similarity.path(2, 3) == ["bank", "animal", "donkey"]  # over the second sense
    assert similarity.sense_pair(2, 3) == ("bank.n.02", "donkey.n.01")
    assert similarity.path(0, 0) == ["mule"] and similarity.path(6, 1) == ["horse", "rocinante"]
    assert similarity.path(0, 4) == similarity.path(0, 5) == similarity.path(5, 5) == []
    assert similarity.senses(2) == ["bank.n.01", "bank.n.02"] and similarity.sense(5) is None
    assert similarity.neighbours(0, -1.0).tolist()[:2] == [3, 6]
    assert 4 not in similarity.neighbours(0, -1.0) and 0 not in similarity.neighbours(0, -1.0)


def test_random_pairs_equal_nltk_bit_for_bit(wordnet):
    random = np.random.default_rng(5)
    lemmas = sorted(name for name in wordnet.all_lemma_names("n") if "." not in name)
    names = [lemmas[place].replace("_", " ") for place in random.integers(len(lemmas), size=300)]
    names += ["dog", "dogs", "animal", "entity", "Einstein", "bank", "glasses", "cookies", "t shirt", "no such noun"]
    similarity = class_similarity(names, 4, wordnet)
    senses = [noun_senses(name, wordnet, 4)[1] for name in names]
    pairs = random.integers(len(names), size=(300, 2)).tolist()
    pairs += [(i, int(j)) for i in range(300, 310) for j in random.integers(290, 310, size=10)]
    ours = [similarity.lch[i, j] for i, j in pairs]
    np.testing.assert_array_equal(ours, [best_of_nltk(senses[i], senses[j]) for i, j in pairs])
    np.testing.assert_array_equal(similarity.lch, similarity.lch.T)
    for i, j in pairs[:100]:
        if not np.isnan(similarity.lch[i, j]):
            assert len(similarity.path(i, j)) == similarity.distance[i, j] + 1


def test_the_noun_hierarchy_is_as_deep_as_nltk_finds_it(wordnet):
    assert noun_hierarchy(wordnet).depth == 19
    assert wordnet.synset("rock_hind.n.01").max_depth() == 19
    lemmas = sorted(wordnet.all_lemma_names("n"))[::400]
    assert max(synset.max_depth() for lemma in lemmas for synset in wordnet.synsets(lemma, "n")) <= 19


def test_values_agree_with_wordnet_similarity_up_to_its_depth(wordnet, real_data):
    rows = [line.split("\t") for line in (real_data / "wordnet/lch_reference_pairs.tsv").read_text().splitlines()[1:]]
    nouns = [row for row in rows if row[0].split("#")[1] == row[1].split("#")[1] == "n"]
    assert len(nouns) >= 30
    synset = {}
    for word in {word for row in nouns for word in row[:2]}:
        lemma, _, sense = word.split("#")
        synset[word] = wordnet.synset(f"{lemma.lower()}.n.{int(sense):02d}")
    names = list(synset)
    similarity = similarity_of_senses(names, [[synset[name]] for name in names], wordnet)
    place = {name: i for i, name in enumerate(names)}
    for first, second, lch, path, _ in nouns:
        ours = similarity.lch[place[first], place[second]]
        assert ours + math.log(20 / 19) == pytest.approx(float(lch), abs=6e-5)  # theirs counts a depth of 20
        assert 1 / (similarity.distance[place[first], place[second]] + 1) == pytest.approx(float(path), abs=6e-5)


def test_the_papers_threshold_admits_two_edges(wordnet):
    names = ["cake", "baked goods", "cookie", "spoon", "fork", "cutlery", "dog", "cat"]
    similarity = class_similarity(names, wordnet=wordnet)
    np.testing.assert_array_equal(similarity.lch >= 2.26, similarity.distance <= 2)
    assert similarity.path(3, 4) == ["spoon", "cutlery", "fork"]
    assert similarity.path(6, 7) == ["dog", "canine", "carnivore", "feline", "cat"]
    assert class_similarity(["cake", "cookie"], 3, wordnet).path(0, 1) == ["cake", "cookie"]


@pytest.mark.parametrize("names", [[], ["qqq"], ["dog"], ["qqq", "zzzz", "dog"]])
def test_small_and_unknown_vocabularies(wordnet, names):
    similarity = class_similarity(names, wordnet=wordnet)
    assert similarity.lch.shape == (len(names), len(names))
    assert similarity.without_synset == [name for name in names if name != "dog"]
    assert np.isnan(similarity.lch).sum() == len(names) ** 2 - names.count("dog")


def test_saved_and_loaded_again(wordnet, tmp_path):
    similarity = class_similarity(["dog", "cat", "qqq", "hot dog"], wordnet=wordnet)
    similarity.save(tmp_path / "similarity.npz")
    loaded = ClassSimilarity.load(tmp_path / "similarity.npz")
    assert loaded.names == similarity.names and loaded.depth == similarity.depth
    np.testing.assert_array_equal(loaded.lch, similarity.lch)
    assert loaded.path(0, 3) == similarity.path(0, 3) and loaded.without_synset == ["qqq"]


def test_bad_input_is_named(wordnet, tmp_path):
    with pytest.raises(WorkbenchError, match="max_senses is 0"):
        class_similarity(["dog"], 0, wordnet)
    with pytest.raises(WorkbenchError, match="class 1 has no name"):
        class_similarity(["dog", " "], wordnet=wordnet)
    class_similarity(["dog"], wordnet=wordnet).save(tmp_path / "whole.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    for name in ("cut.npz", "absent.npz"):
        with pytest.raises(WorkbenchError, match=f"{name}: not a class similarity"):
            ClassSimilarity.load(tmp_path / name)


def test_a_cycle_is_refused(tmp_path):
    class Reader:
        def open(self, name):
            (tmp_path / name).write_text("00000001 03 n 01 a 0 001 @ 00000001 n 0000 | \n")
            return open(tmp_path / name)

    with pytest.raises(WorkbenchError, match="cycle"):
        noun_hierarchy(Reader())
