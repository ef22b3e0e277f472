"""What class names mean: the lexicon, the groups, tables of a data set, and the pairs labelled by hand."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drawn_scenes.catalogue import FAMILY_OF
from tests.refusals import refused
from workbench.figures.language import senses_taken
from workbench.language.noun_paths import everyday_groups, fewest_edges, noun_hierarchy
from workbench.language.senses import class_senses, everyday_senses, noun_glosses, own_table, read_senses, table_gaps
from workbench.language.similarity import class_similarity
from workbench.language.wordnet import open_wordnet
from workbench.scenes.vocabulary import Vocabulary

THRESHOLD = 2.26


@pytest.fixture(scope="module")
def labelled():
    """Pairs that LCH over four senses finds alike, labelled by hand: right, lucky, wrong or absurd."""
    pairs = pd.read_csv(Path(__file__).with_name("gqa_pairs.csv"), keep_default_na=False)
    names = sorted({*pairs["first"], *pairs["second"]})
    values = class_similarity(names).values
    place = {name: number for number, name in enumerate(names)}
    return pairs.assign(kept=values[pairs["first"].map(place), pairs["second"].map(place)] >= THRESHOLD)


@pytest.mark.parametrize(
    ("drawn", "most_bad", "fewest_right"), [("first", 0.05, 0.95), ("second", 0.05, 0.85), ("third", 0.05, 0.9)]
)
def test_labelled_pairs_of_gqa(labelled, drawn, most_bad, fewest_right):
    pairs = labelled[labelled["set"] == drawn]
    assert len(pairs) == 200
    kept = Counter(pairs.loc[pairs["kept"], "label"])
    assert (kept["wrong"] + kept["absurd"]) / kept.total() <= most_bad
    assert kept["right"] / (pairs["label"] == "right").sum() >= fewest_right


def test_a_pair_is_as_far_apart_as_nltk_says_or_unlike():
    names = ["cup", "wine glass", "napkin dispenser", "cat", "dog", "mouse", "container", "pizza box", "lions", "zebra"]
    new, reader = class_similarity(names), open_wordnet()
    plain = fewest_edges(new.senses.synsets, noun_hierarchy(reader))
    edges = fewest_edges(new.senses.synsets, noun_hierarchy(reader), new.senses.groups)
    for i in range(len(names)):
        for j in range(len(names)):
            between = new.paths([(i, j)])[0]
            assert between.count(", ") == edges[i, j] if edges[i, j] < 255 else between == ""
            first, second = (new.senses.synsets[place] for place in (i, j))
            assert plain[i, j] == min(a.shortest_path_distance(b) for a in first for b in second) <= edges[i, j]
    np.testing.assert_array_equal(edges, edges.T)


def test_a_general_ancestor_makes_alike_within_a_group_alone():
    similarity = class_similarity(["cup", "wine glass", "napkin dispenser", "containers", "container"])
    assert similarity.paths([(0, 1), (0, 2), (3, 4)]) == ["cup, container, glass", "", "container"]
    everywhere = class_similarity(["cup", "napkin dispenser"], senses=class_senses(["cup", "napkin dispenser"], "all"))
    assert everywhere.paths([(0, 1)]) == ["cup, container, dispenser"]


@pytest.mark.parametrize(("name", "synsets", "chosen_by"), [
    ("mouse", ["mouse.n.04"], "everyday"), ("wine glasses", ["glass.n.02"], "everyday"),
    ("mustard bottle", ["bottle.n.01"], "everyday"), ("satellite dish", None, "everyday"), ("angry bird", [], "none"),
    ("slice of pizza", None, "everyday"), ("zebras", ["zebra.n.01"], "rule"), ("no such qqq", [], "none"),
    ("mouse_(computer_equipment)", ["mouse.n.04"], "rule"), ("bow_(decorative_ribbons)", [], "none"),
    ("door-stuff", ["door.n.01"], "everyday"), ("-", [], "none"),
])  # fmt: skip
def test_names_find_their_senses(name, synsets, chosen_by):
    (sense,) = class_senses([name]).senses
    assert sense.chosen_by == chosen_by
    assert synsets is None or [synset.name() for synset in sense.synsets] == synsets


def test_the_project_s_own_tables_name_synsets_of_wordnet():
    reader = open_wordnet()
    known = {synset for synsets in everyday_senses().values() for synset in synsets}
    assert len(known) > 1000 and all(reader.synset(name).name() == name for name in known)
    groups = everyday_groups(reader)
    assert len(groups.general) > 100 and all(map(groups.of, groups.rows))


def test_the_drawn_scenes_bring_a_sense_for_each_class():
    import drawn_scenes

    folder = Path(drawn_scenes.__file__).parent
    senses = class_senses(sorted(FAMILY_OF), "automatic", folder)
    assert {sense.chosen_by for sense in senses.senses} == {"table"}
    assert all(len(sense.synsets) == 1 for sense in senses.senses)
    kept, right = (class_similarity(senses.names, senses=of).values for of in (senses, replace(senses, groups=None)))
    lost = np.argwhere((right >= THRESHOLD) & ~(kept >= THRESHOLD))
    assert {frozenset(senses.names[at] for at in pair) - {"spoon"} for pair in lost} == {
        frozenset({name}) for name in ("bag", "box", "purse")
    }


def test_what_notebook_02_shows_of_the_senses():
    rows = [("mouse", "mouse.n.04", "everyday"), ("bat", "bat.n.01", "table"), ("bat", "bat.n.05", "table")]
    senses = pd.DataFrame([*rows, ("q", "", "none")], columns=["name", "synset", "chosen_by"])
    shown = senses_taken(senses, names=5, seed=0)
    assert shown.to_dict("list") == {
        "chosen by": ["everyday", "table", "none"], "classes": [1, 1, 1],
        "for example": ["mouse: mouse.n.04", "bat: bat.n.01 or bat.n.05", "q"],
    }  # fmt: skip
    assert senses_taken(senses.iloc[:0], names=5, seed=0).empty


def test_tables_of_a_data_set(tmp_path):
    reader, names = open_wordnet(), ["cup", "bat", "thing", "dog"]
    assert own_table(tmp_path) is None and own_table(None) is None
    (tmp_path / "words_synsets.json").write_text('{"nouns": {"cup": "cup.n.02", "dog": null}, "verbs": {}}')
    assert own_table(tmp_path).name == "words_synsets.json"
    assert [s.name() for s in read_senses(own_table(tmp_path), names, reader)["cup"]] == ["cup.n.02"]
    (tmp_path / "objects_synsets.csv").write_text("object_name,synset\ncup,cup.n.01\ndog,dog.v.01\nbat,bat.n.77\n")
    assert read_senses(own_table(tmp_path), names, reader).keys() == {"cup"}
    (tmp_path / "senses.csv").write_text("name,synset\nbat,bat.n.01\nbat,bat.n.05\nthing,\nother,\n")
    senses = class_senses(names, "automatic", tmp_path)
    assert senses.gaps.startswith("table of senses: 2 of 4 objects have no synset ('cup', 'dog').")
    (tmp_path / "predicates_synsets.csv").write_text("predicate_name,synset\non,on.r.01\n")
    stands, looked_up = table_gaps(tmp_path, Vocabulary((*names, "a", "b"), ("on",)))
    assert "3 of 6 objects have no synset ('thing', 'a', 'b'). Each stands for itself." in stands
    assert "senses.csv: 4 of 6 objects have no synset ('cup', 'dog', 'a' ...). They are looked up" in looked_up
    found = {name: [s.name() for s in sense.synsets] for name, sense in zip(names, senses.senses, strict=True)}
    assert found == {"cup": ["cup.n.01"], "bat": ["bat.n.01", "bat.n.05"], "thing": [], "dog": ["dog.n.01"]}
    senses.save(tmp_path / "again.csv")
    assert class_senses(names, tmp_path / "again.csv").synsets == senses.synsets


def test_some_names_are_told_and_the_rest_found(tmp_path):
    senses = class_senses(["mouse", "dog"], {"mouse": "mouse.n.01"})
    assert [synset.name() for sense in senses.synsets for synset in sense] == ["mouse.n.01", "dog.n.01"]
    assert class_senses(["mouse", "dog"], {"dog": ""}).synsets[1] == ()
    (tmp_path / "senses.csv").write_text("name,synset\ndog,cat.n.01\nmouse,rat.n.01\n")
    (tmp_path / "chosen.csv").write_text("name,synset\nmouse,mouse.n.04\n")
    chosen = class_senses(["mouse", "dog"], tmp_path / "chosen.csv", tmp_path)
    assert [synset.name() for sense in chosen.synsets for synset in sense] == ["mouse.n.04", "cat.n.01"]
    assert "as you move it around on a pad" in noun_glosses(open_wordnet())[chosen.synsets[0][0].offset()]
    refused("no object class 'mouze' .* nearest name is 'mouse'", class_senses, ["mouse"], {"mouze": "mouse.n.01"})
    refused("senses, 'mouse': WordNet 3.0 has no noun sense 'rat'", class_senses, ["mouse"], {"mouse": "rat"})


@pytest.mark.parametrize(("content", "told"), [
    ("name,synset\ncup,cup.n.99\n", r"row 1 \('cup'\): WordNet 3.0 has no noun sense 'cup.n.99'"),
    ("name,synset\ncup,mug\n", "no noun sense 'mug'"),
    ("name,synset\nmug,mug.n.01\n", "none of its 1 names of objects is a class"),
    ("name;synset\ncup;cup.n.01\n", r"columns \['name;synset'\]; expected 'name' and 'synset'"),
    ("", "an empty file, expected a CSV table"), ("name,synset\ncup\n", "the line 'cup' has 1 fields, the header 2"),
])  # fmt: skip
def test_a_table_that_is_none_is_refused(tmp_path, content, told):
    (tmp_path / "mine.csv").write_text(content)
    refused(told, class_senses, ["cup"], tmp_path / "mine.csv")
