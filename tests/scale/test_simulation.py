"""A simulated data set is laid out as imported features are, and names come from a folder or from WordNet."""

import json

import pytest

from tests.scale.simulation import SimulationConfig, default_names, read_names, simulate
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings
from workbench.regions.features import FeatureStore
from workbench.scenes.annotations import read_annotations
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import Vocabulary


def test_with_features_the_folder_is_laid_out_as_an_import(tmp_path):
    summary = simulate(tmp_path / "data", config=SimulationConfig(scale=0.002, dimension=16, seed=5))
    names = Vocabulary.read(tmp_path / "data")
    assert (len(names.objects), len(names.relations)) == (1702, 310)
    for split in ("train", "val", "test"):
        store = FeatureStore.open(tmp_path / "data" / split)
        assert len(store) == summary[split]["relations"] == summary["features"][split]["unions"]
    text = TextEmbeddings.open(tmp_path / "data" / "text")
    assert text.objects.shape == (1702, 768) and text.relations.shape == (310, 768)


def test_without_features_it_has_tables_and_the_given_names(tmp_path):
    names = default_names(1702, 310)
    (tmp_path / "names").mkdir()
    for file, listed in (("objects.txt", names.objects[::-1]), ("relations.txt", names.relations)):
        (tmp_path / "names" / file).write_text("\n".join(["<unk>", *listed]) + "\n")
    simulate(tmp_path / "data", config=SimulationConfig(scale=0.002), vocabulary=tmp_path / "names")
    annotations = read_annotations(tmp_path / "data" / "annotations", "train")
    assert annotations.vocabulary.objects == names.objects[::-1]
    assert RelationTables.open(tmp_path / "data" / "train").relations.equals(annotations.relations)


def test_names_are_read_from_either_form_and_doubted(tmp_path):
    (tmp_path / "objects.txt").write_text("<unk>\nman\ndog\n")
    (tmp_path / "relations.txt").write_text("on\nnear\n")
    assert read_names(tmp_path) == Vocabulary(("man", "dog"), ("on", "near"))
    (tmp_path / "relations.txt").write_text("on\non\n")
    with pytest.raises(WorkbenchError, match=r"relations\.txt"):
        read_names(tmp_path)
    (tmp_path / "objects.json").write_text(json.dumps(["cat", "cow"]))
    (tmp_path / "predicates.json").write_text(json.dumps(["in", "at"]))
    assert read_names(tmp_path).objects == ("cat", "cow")
    with pytest.raises(WorkbenchError, match="cannot be read"):
        read_names(tmp_path / "nowhere")


def test_default_names_are_distinct_words():
    names = default_names(100, 12)
    assert len(set(names.objects)) == 100 and all(name.isalpha() for name in names.objects)
    assert names.relations[:2] == ("relation 001", "relation 002") and len(names.relations) == 12
