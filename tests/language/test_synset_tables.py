"""The tables that a data set has of its names' synsets, and what has none."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.refusals import refused
from workbench.language.synset_tables import SynsetTable, read_synsets, synset_hits, synset_ids
from workbench.scenes.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("bike", "bicycle", "none", "pikachu", "men"), ("on", "on top of"))


def test_without_tables_objects_get_their_first_noun_synset_and_relations_stand_for_themselves(tmp_path):
    table = read_synsets(tmp_path, VOCABULARY)
    assert table.source == "WordNet" and "pikachu" not in table.objects
    assert table.objects["bike"] == "motorcycle.n.01" and table.objects["bicycle"] == "bicycle.n.01"
    assert len(set(synset_ids(VOCABULARY, table)["relations"])) == 2


@pytest.mark.parametrize("nested", [False, True])
def test_csv_tables_come_first_also_from_the_folder_above(tmp_path, nested):
    objects = "object_name, synset\nbike ,b.n.01\nbicycle, b.n.01\nnone,nun.n.01\n"
    (tmp_path / "objects_synsets.csv").write_text(objects)
    (tmp_path / "predicates_synsets.csv").write_text("predicate_name,synset\non,on.r.01\n")
    (tmp_path / "words_synsets.json").write_text("{}")
    folder = tmp_path / "seed0" if nested else tmp_path
    folder.mkdir(exist_ok=True)
    table = read_synsets(folder, VOCABULARY)
    ids = synset_ids(VOCABULARY, table)["objects"]
    assert ids[0] == ids[1] and len(set(ids.tolist())) == 4
    assert table.objects["none"] == "nun.n.01" and not table.missing_never_hits and table.relations == {"on": "on.r.01"}


def test_vg8k_words_and_the_rule_that_missing_never_hits(tmp_path):
    words = {"nouns": {"bike": "b.n.01", "bicycle": "b.n.01", "men": None}, "verbs": {"on": "on.r.01"}}
    (tmp_path / "words_synsets.json").write_text(json.dumps(words))
    table = read_synsets(tmp_path, VOCABULARY)
    ids = synset_ids(VOCABULARY, table)["objects"]
    assert ids.tolist() == [0, 0, -1, -1, -1]
    true, predicted = np.array([0, 0, 3, 4, 1]), np.array([1, 3, 3, 3, 1])
    assert synset_hits(true, predicted, ids).tolist() == [True, False, False, False, True]
    own = synset_ids(VOCABULARY, replace(table, missing_never_hits=False))["objects"]
    assert synset_hits(true, predicted, own).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize("seed", range(5))
def test_equal_ids_are_equal_synsets(seed):
    random = np.random.default_rng(seed)
    names = [f"n{i}" for i in range(60)]
    table = {name: f"s{random.integers(12)}" for name in names if random.random() < 0.7}
    table["s1"] = "n1"  # a name that looks like a synset must not meet one
    ids = synset_ids(Vocabulary(tuple(names), ()), SynsetTable(table, {}, "drawn"))["objects"]
    same = np.array([[a == b or (a in table and table.get(a) == table.get(b)) for b in names] for a in names])
    np.testing.assert_array_equal(ids[:, None] == ids[None, :], same)


@pytest.mark.parametrize(("files", "message"), [
    ({"objects_synsets.csv": "object_name,synset\nbike,b.n.01\nbike,c.n.01\n"},
     r"objects_synsets\.csv: 'bike' is b\.n\.01 and c\.n\.01; expected one synset"),
    ({"objects_synsets.csv": "name,synset\n"}, "expected 'object_name' and 'synset'"),
    ({"objects_synsets.csv": ""}, "an empty file, expected a CSV table"),
    ({"objects_synsets.csv": "object_name,synset\nbike,b.n.01,0.7\n"}, "the line 'bike, b.n.01, 0.7' has 3 fields"),
    ({"objects_synsets.csv": "object_name,synset\nbicycle,b.n.01\nbike\n"}, "the line 'bike' has 1 fields"),
    ({"objects_synsets.csv": "object_name,synset\nBIKE,b.n.01\n", "predicates_synsets.csv": "predicate_name,synset\n"},
     "none of its 1 names of objects is a class .* first is 'bike', the table's 'BIKE'"),
    ({"words_synsets.json": '{"nouns": {"a bike": "b.n.01"}, "verbs": {}}'}, "none of its 1 names of objects"),
    ({"predicates_synsets.csv": "predicate_name,synset\n"}, r"objects_synsets\.csv: the file is missing"),
    ({"words_synsets.json": "[]"}, "no object 'nouns'"),
    ({"words_synsets.json": '{"nouns": {"bike": 3}, "verbs": {}}'}, "'bike': 3"),
])  # fmt: skip
def test_bad_tables_are_named(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    refused(message, read_synsets, tmp_path, VOCABULARY)
