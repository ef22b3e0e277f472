import json

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.language.synsets import (
    read_synsets,
    synset_hits,
    synset_ids,
    synsets_from_wordnet,
)
from workbench.scenes.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("bike", "bicycle", "none", "pikachu", "men"), ("on", "on top of"))


def write_csvs(folder, objects="bike,b.n.01\nbicycle,b.n.01\nnone,nun.n.01\n", relations="on,on.r.01\n"):
    (folder / "objects_synsets.csv").write_text("object_name,synset\n" + objects)
    (folder / "predicates_synsets.csv").write_text("predicate_name,synset\n" + relations)


def test_wordnet_gives_the_first_noun_synset_and_relations_stand_for_themselves():
    table = synsets_from_wordnet(VOCABULARY)
    assert table.objects["bike"] == "motorcycle.n.01" and table.objects["bicycle"] == "bicycle.n.01"
    assert "pikachu" not in table.objects
    assert len(set(synset_ids(VOCABULARY.relations, table.of_role("relation")))) == 2


@pytest.mark.parametrize("nested", [False, True])
def test_csv_tables_come_first_also_from_the_folder_above(tmp_path, nested):
    write_csvs(tmp_path)
    (tmp_path / "words_synsets.json").write_text("{}")
    folder = tmp_path / "seed0" if nested else tmp_path
    folder.mkdir(exist_ok=True)
    table = read_synsets(folder, VOCABULARY)
    ids = synset_ids(VOCABULARY.objects, table.of_role("subject"))
    assert ids[0] == ids[1] and len(set(ids.tolist())) == 4
    assert table.objects["none"] == "nun.n.01" and not table.missing_never_hits
    assert table.of_role("relation") == {"on": "on.r.01"}


def test_vg8k_words_and_the_rule_that_missing_never_hits(tmp_path):
    words = {"nouns": {"bike": "b.n.01", "bicycle": "b.n.01", "men": None}, "verbs": {"on": "on.r.01"}}
    (tmp_path / "words_synsets.json").write_text(json.dumps(words))
    table = read_synsets(tmp_path, VOCABULARY)
    ids = synset_ids(VOCABULARY.objects, table.objects, table.missing_never_hits)
    assert ids.tolist() == [0, 0, -1, -1, -1]
    true, predicted = np.array([0, 0, 3, 4, 1]), np.array([1, 3, 3, 3, 1])
    assert synset_hits(true, predicted, ids).tolist() == [True, False, False, False, True]
    own = synset_ids(VOCABULARY.objects, table.objects)
    assert synset_hits(true, predicted, own).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize("seed", range(5))
def test_equal_ids_are_equal_synsets(seed):
    random = np.random.default_rng(seed)
    names = [f"n{i}" for i in range(60)]
    table = {name: f"s{random.integers(12)}" for name in names if random.random() < 0.7}
    table["s1"] = "n1"  # a name that looks like a synset must not meet one
    ids = synset_ids(names, table)
    same = np.array([[a == b or (a in table and table.get(a) == table.get(b)) for b in names] for a in names])
    np.testing.assert_array_equal(ids[:, None] == ids[None, :], same)


def test_no_tables_means_wordnet(tmp_path):
    assert read_synsets(tmp_path, VOCABULARY).source == read_synsets(None, VOCABULARY).source == "WordNet"


def test_bad_tables_are_named(tmp_path):
    write_csvs(tmp_path, objects="bike,b.n.01\nbike,c.n.01\n")
    with pytest.raises(WorkbenchError, match=r"objects_synsets\.csv: 'bike' has 2 synsets"):
        read_synsets(tmp_path, VOCABULARY)
    (tmp_path / "objects_synsets.csv").write_text("name,synset\n")
    with pytest.raises(WorkbenchError, match="expected 'object_name' and 'synset'"):
        read_synsets(tmp_path, VOCABULARY)
    (tmp_path / "objects_synsets.csv").write_bytes(b"")
    with pytest.raises(WorkbenchError, match="not a readable CSV"):
        read_synsets(tmp_path, VOCABULARY)
    (tmp_path / "objects_synsets.csv").unlink()
    with pytest.raises(WorkbenchError, match=r"objects_synsets\.csv: the file is missing"):
        read_synsets(tmp_path, VOCABULARY)
    (tmp_path / "predicates_synsets.csv").unlink()
    for words, message in (([], "no object 'nouns'"), ({"nouns": {"bike": 3}, "verbs": {}}, "'bike': 3")):
        (tmp_path / "words_synsets.json").write_text(json.dumps(words))
        with pytest.raises(WorkbenchError, match=message):
            read_synsets(tmp_path, VOCABULARY)
