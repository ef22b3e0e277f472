"""Recogniser files: round trip, strict loading with the full list of faults, what does not fit is refused."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from tests.refusals import refused
from workbench.checkpoints import read_tensors, save_tensors
from workbench.errors import WorkbenchError
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.recognition.recogniser import Recogniser, load_recogniser, save_recogniser
from workbench.scenes.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("dog", "cat", "cup"), ("on", "near"))


@pytest.fixture
def recogniser():
    config = LsvruConfig(6, 5, 3, 2, hidden=4)
    head = LsvruHead(config, torch.randn(3, 5), torch.randn(3, 5)).initialise(0)
    return Recogniser(head, VOCABULARY, "encoder A", "box", "ce", "text tower B", {"best_epoch": 3})


@pytest.fixture
def path(recogniser, tmp_path):
    save_recogniser(tmp_path / "recogniser.safetensors", recogniser)
    return tmp_path / "recogniser.safetensors"


def test_round_trip_keeps_weights_words_and_facts(recogniser, path):
    for place in (path, path.parent):
        found = load_recogniser(place)
        state = found.head.state_dict()
        assert all(torch.equal(state[name], value) for name, value in recogniser.head.state_dict().items())
        assert {"object_vectors", "relation_vectors"} <= set(state)
        assert (found.vocabulary, found.encoder, found.loss, found.history) == (
            VOCABULARY, "encoder A", "ce", {"best_epoch": 3})  # fmt: skip


def test_every_fault_of_the_weights_is_listed(path):
    tensors, facts = read_tensors(path)
    del tensors["prd_feats.0.bias"], tensors["so_vis_embeddings.bias"]
    tensors["classifier.weight"] = torch.zeros(2)
    tensors["prd_feats.0.weight"] = torch.zeros(4, 17)
    tensors["object_vectors"] = tensors["object_vectors"] * torch.nan
    save_tensors(path, tensors, facts)
    caught = refused(None, load_recogniser, path)
    for part in ("5 tensors", "missing prd_feats.0.bias", "missing so_vis_embeddings.bias", "extra classifier.weight",
                 "prd_feats.0.weight has shape (4, 17), expected (4, 18)", "object_vectors holds"):  # fmt: skip
        assert part in caught


def test_missing_and_foreign_files_are_named(tmp_path):
    refused("no checkpoint here", load_recogniser, tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "recogniser.safetensors")
    refused("without the workbench's metadata", load_recogniser, tmp_path)
    save_tensors(tmp_path / "recogniser.safetensors", {"x": torch.zeros(1)}, {"config": {"width": 3}})
    refused("metadata is not that of a recogniser", load_recogniser, tmp_path)


@pytest.mark.parametrize(("changes", "message"), [
    ({"config": [1]}, "pairs"), ({"config": {"hidden": 4}}, "feature_dimension"),
    ({"architecture": "tree"}, "'tree' is not known"), ({"architecture": "os:getcwd"}, "derived from LsvruHead"),
    ({"objects": ["dog"]}, "1 object and 2 relation names, but a head of 3 and 2 classes"),
])  # fmt: skip
def test_foreign_metadata_name_the_file_and_the_remedy(path, changes, message):
    tensors, facts = read_tensors(path)
    save_tensors(path, tensors, facts | changes)
    refused(rf"recogniser\.safetensors: .*{message}.*Copy the file again.*import", load_recogniser, path)


@pytest.mark.parametrize("changes", [{"hidden": -4}, {"n_objects": 0}, {"hidden": "4"}, {"feature_dimension": 6.0},
                                     {"n_relations": True}, {"word_dimension": None}, {"hidden": 10**40},
                                     {"hidden": 7}, {"hidden": 10**7}, {"hidden": 10**12},
                                     {"classifier": "forest"}, {"depth": 2}])  # fmt: skip
def test_impossible_sizes_name_the_file(path, changes):
    tensors, facts = read_tensors(path)
    save_tensors(path, tensors, facts | {"config": facts["config"] | changes})
    refused(r"recogniser\.safetensors: .*Copy the file again", load_recogniser, path)


FITTING = {"dimension": 6, "encoder": "encoder A", "support": "signed", "entity_region": "box", "folder": "train"}
OTHER_NAMES = Vocabulary(("dog", "cat", "hat"), ("on", "near"))


@pytest.mark.parametrize(("support", "changes", "message"), [
    ("signed", {}, None), ("", {"support": "rectified"}, None),  # imported ones take features of any support
    ("", {"dimension": 7}, "train: features of dimension 7, but .* of dimension 6.*train it on these"),
    ("", {"encoder": "encoder C"}, "'encoder C'.*'encoder A'"), ("", {"vocabulary": OTHER_NAMES}, "names are not"),
    ("signed", {"support": "rectified"}, "rectified values, but .*signed"),
    ("", {"entity_region": "union"}, "unions that stand in .* in boxes of their own"),
])  # fmt: skip
def test_features_that_do_not_fit_are_refused(recogniser, support, changes, message):
    asked = {"vocabulary": VOCABULARY, **FITTING, **changes}
    checked = replace(recogniser, support=support)
    with nullcontext() if message is None else pytest.raises(WorkbenchError, match=message):
        checked.check_fits(asked["vocabulary"], SimpleNamespace(**FITTING), SimpleNamespace(**asked))
