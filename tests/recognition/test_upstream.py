"""Upstream's checkpoints become recognisers: both file formats, strict coverage, sizes from shapes, the command."""

import shutil
import zipfile

import numpy as np
import pytest
import torch

from tests.recognition.conftest import WORDS, random_words, write_words
from tests.refusals import refused
from tests.synthetic import cut_short
from workbench.__main__ import main
from workbench.recognition.lsvru import WORD_BUFFERS
from workbench.recognition.recogniser import RECOGNISERS, load_recogniser
from workbench.recognition.upstream import import_upstream
from workbench.recognition.word_vectors import ClassVectors, spelled_class_vectors
from workbench.scenes.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("Dog", "t-shirt", "cup"), ("on", "near"))
SIZES = {"feature_dimension": 6, "word_dimension": 5, "n_objects": 3, "n_relations": 2, "hidden": 4}
TRANSFORMER = {"width": 24, "memory": 3, "blocks": 3, "scene_layers": 1, "scene_hidden": 10, "block_hidden": 14,
               "compat": "upstream"}  # fmt: skip


def vectors_of(words=5, objects=3, relations=2, seed=0):
    random = np.random.default_rng(seed)
    rows = (random.standard_normal((count, words)).astype(np.float32) for count in (objects, relations + 1))
    return ClassVectors(*rows)


def head_and_state(architecture, seed=0, **changes):
    sizes = SIZES | (TRANSFORMER if architecture == "reltransformer" else {}) | changes
    config = RECOGNISERS[architecture].config_class(**sizes)
    vectors = vectors_of(config.word_dimension, config.n_objects, config.n_relations, seed)
    head = RECOGNISERS[architecture](config, *map(torch.from_numpy, vectors)).initialise(seed)
    return head.eval(), vectors, {name: parameter.detach() for name, parameter in head.named_parameters()}


def as_upstream(state):
    others = {"Conv_Body.convs.0.weight": 3, "Prd_RCNN.Box_Head.heads.0.bias": 2, "Prd_RCNN.Conv_Body.convs.0.bias": 1}
    model = {f"RelDN.{name}": tensor for name, tensor in state.items()}
    model |= {name: torch.ones(size) for name, size in others.items()}
    optimiser = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.01, "params": [0]}]}
    return {"step": 217739, "train_size": 9, "batch_size": 8, "model": model, "optimizer": optimiser}


def imported(path, architecture, vectors, vocabulary=VOCABULARY):
    return import_upstream(path, architecture=architecture, vocabulary=vocabulary, word_vectors=vectors, encoder="vgg")


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize(("architecture", "changes"), [
    ("lsvru", {}), ("lsvru", {"hidden": 9, "word_dimension": 7}), ("reltransformer", {}),
    ("reltransformer", {"width": 12, "memory": 5, "word_dimension": 8, "blocks": 1, "scene_layers": 2}),
])  # fmt: skip
def test_weights_sizes_and_words_arrive(tmp_path, architecture, changes, bare, zip_format):
    head, vectors, state = head_and_state(architecture, seed=3, **changes)
    path = tmp_path / "best.pth"
    torch.save(state if bare else as_upstream(state), path, _use_new_zipfile_serialization=zip_format)
    assert zipfile.is_zipfile(path) == zip_format
    found = imported(path, architecture, vectors)
    assert found.head.config == head.config and not found.head.training
    assert set(found.head.state_dict()) == set(head.state_dict())
    assert all(torch.equal(value, head.state_dict()[name]) for name, value in found.head.state_dict().items())
    assert (found.entity_region, found.encoder, found.vocabulary) == ("box", "vgg", VOCABULARY)
    ignored = {} if bare else {"Conv_Body": 1, "Prd_RCNN": 2}
    assert (found.history["ignored"], found.history["step"]) == (ignored, None if bare else 217739)


@pytest.mark.parametrize("architecture", ["lsvru", "reltransformer"])
def test_every_fault_is_listed(tmp_path, architecture):
    _, vectors, state = head_and_state(architecture)
    del state["so_vis_embeddings.bias"], state["so_sem_embeddings.0.weight"]
    state["prd_feats.0.weight"] = torch.zeros(4, 17)
    state["prd_feats.0.bias"] = torch.full((4,), torch.nan)
    state |= {"object_vectors": torch.zeros(3, 5), "classifier.weight": torch.zeros(2)}
    torch.save(as_upstream(state), tmp_path / "best.pth")
    caught = refused(r"best\.pth: \d+ tensors do not fit", imported, tmp_path / "best.pth", architecture, vectors)
    for part in ("missing so_vis_embeddings.bias (4,)", "missing so_sem_embeddings.0.weight", "extra classifier.weight",
                 "prd_feats.0.weight has shape (4, 17), expected (4, 18)", "prd_feats.0.bias holds",
                 "extra object_vectors (3, 5)"):  # fmt: skip
        assert part in caught


@pytest.mark.parametrize(("held", "asked", "change", "message"), [
    ("lsvru", "reltransformer", dict, "names are those of lsvru"),
    ("reltransformer", "lsvru", dict, "names are those of reltransformer"),
    ("reltransformer", "reltransformer", lambda state: {name: state[name] for name in state if ".h.1." not in name},
     r"missing .*\.h\.1\..*extra multi_head_attention\.h\.2"),
    ("reltransformer", "reltransformer",
     lambda state: state | {"multi_head_attention.visual_fc.weight": torch.zeros(25, 4)},
     "width 25 is not a multiple of heads 12"),
])  # fmt: skip
def test_another_head_is_no_head_of_this_architecture(tmp_path, held, asked, change, message):
    _, vectors, state = head_and_state(held)
    torch.save(as_upstream(change(state)), tmp_path / "best.pth")
    refused(rf"best\.pth: .*{message}", imported, tmp_path / "best.pth", asked, vectors)


@pytest.mark.parametrize("vectors", [vectors_of(words=6), vectors_of(objects=4), vectors_of(relations=1)])
def test_foreign_word_matrices_are_refused(tmp_path, vectors):
    torch.save(as_upstream(head_and_state("lsvru")[2]), tmp_path / "best.pth")
    refused(r"best\.pth: .*Give the word vectors of its training", imported, tmp_path / "best.pth", "lsvru", vectors)


@pytest.mark.parametrize(("content", "message"), [
    ({"model": {"Conv_Body.x": torch.zeros(1), "RPN.y": torch.zeros(1)}}, "only Conv_Body, RPN. Is it a detector"),
    ({"model": {"RelDN.x": 3}}, "expected names and tensors"), ([1, 2], "expected names and tensors"),
    ({"model": {}}, "expected names and tensors"), ({3: torch.zeros(1)}, "expected names and tensors"),
    ({"model": np.random.default_rng}, "could run code"),
])  # fmt: skip
def test_files_of_something_else_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "best.pth")
    refused(rf"best\.pth: .*{message}", imported, tmp_path / "best.pth", "lsvru", vectors_of())


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_truncated_files_are_named(tmp_path, share, zip_format):
    path = tmp_path / "best.pth"
    torch.save(as_upstream(head_and_state("lsvru")[2]), path, _use_new_zipfile_serialization=zip_format)
    cut_short(path, share)
    refused(r"best\.pth: (not|this is .*, expected) a whole checkpoint", imported, path, "lsvru", vectors_of())
    refused("no checkpoint here", imported, tmp_path / "best2.pth", "lsvru", vectors_of())


def command(features, checkpoint, words, output, architecture="reltransformer"):
    options = {"--architecture": architecture, "--features": features, "--word-vectors": words, "--output": output}
    return main(["recogniser", "import", str(checkpoint), *(str(part) for pair in options.items() for part in pair)])


def test_the_command_writes_a_recogniser_that_is_usable(small_data, tmp_path, capsys):
    vocabulary, checkpoint, words = small_data.vocabulary, tmp_path / "model_step9.pth", tmp_path / "words.json"
    sizes = {"n_objects": len(vocabulary.objects), "n_relations": len(vocabulary.relations), "feature_dimension": 12}
    head, _, state = head_and_state("reltransformer", **sizes)
    torch.save(as_upstream(state), checkpoint)
    write_words(words, random_words([*WORDS, "DOG"], 5))  # in upstream's lower-casing the last case variant wins
    assert command(small_data.features, checkpoint, words, tmp_path / "out") == 0
    assert "Prd_RCNN 2" in capsys.readouterr().out
    found = load_recogniser(tmp_path / "out")
    expected, _ = spelled_class_vectors(words, vocabulary, "upstream")
    assert np.array_equal(found.head.object_vectors.numpy(), expected.objects)
    assert not np.array_equal(expected.objects, spelled_class_vectors(words, vocabulary)[0].objects)
    kept = set(head.state_dict()) - set(WORD_BUFFERS)
    assert all(torch.equal(found.head.state_dict()[name], head.state_dict()[name]) for name in kept)
    assert (found.head.config.compat, found.encoder, found.vocabulary) == ("upstream", "made-up", vocabulary)
    assert command(small_data.features, checkpoint, words, tmp_path / "out") == 2
    assert "there is a recogniser already" in capsys.readouterr().err


def test_the_command_refuses_features_that_the_head_cannot_read(small_data, tmp_path, capsys):
    checkpoint, words = tmp_path / "best.pth", tmp_path / "words.json"
    sizes = {"n_objects": len(small_data.vocabulary.objects), "n_relations": len(small_data.vocabulary.relations)}
    torch.save(as_upstream(head_and_state("lsvru", **sizes)[2]), checkpoint)
    write_words(words, random_words(WORDS, 5))
    assert command(small_data.features, checkpoint, words, tmp_path / "out", "lsvru") == 2
    assert "dimension 12, but the recogniser was trained on those of dimension 6" in capsys.readouterr().err
    rectified = shutil.copytree(small_data.features, tmp_path / "rectified")
    manifest = rectified / "train" / "features.json"
    manifest.write_text(manifest.read_text().replace('"signed"', '"rectified"'))
    assert command(rectified, checkpoint, words, tmp_path / "out", "lsvru") == 2
    assert "fc7 before its last ReLU" in capsys.readouterr().err and not (tmp_path / "out").exists()
