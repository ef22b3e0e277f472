"""Upstream's heads, drawn by name, and a small made-up data set: class centres, a long tail, text, generated rows."""

import itertools
import json
import os
import signal
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.synthetic import long_tailed, write_features, write_generated, write_text
from workbench.recognition.config import TRAINING, RecogniserConfig
from workbench.recognition.lsvru import LsvruConfig, LsvruHead, probabilities
from workbench.recognition.word_vectors import BACKGROUND_WORD
from workbench.scenes.vocabulary import Vocabulary
from workbench.training_config import TrainingEdge

NAMES = Vocabulary(("dog", "cat", "cup", "car", "bed", "hat", "sky"), ("on", "under", "near", "to the left of"))
WORDS = sorted({word for name in (*NAMES.objects, *NAMES.relations, BACKGROUND_WORD) for word in name.split()})
SMALL = {"hidden": 24, "batch_size": 64, "training": replace(TRAINING, learning_rate=3e-3)}
NARROW = {"width": 16, "heads": 2, "memory": 4, "scene_hidden": 16, "block_hidden": 16}  # of a RelTransformer
ROLE_OF = {"sbj": "subject", "prd": "relation", "obj": "object"}
LOGITS = {"rtol": 1e-4, "atol": 3e-5}


def derived(expected, key, shape, factor=1.0):
    """The tensor that a fixture's numbers were computed from: normal draws by the fixture's seed and a name."""
    random = np.random.RandomState(zlib.crc32(f"{int(expected['seed'])}:{key}".encode()))
    return torch.from_numpy(random.standard_normal(shape).astype("float32") * np.float32(factor))


def assert_logits_are(logits, expected):
    """Logits and probabilities are upstream's."""
    for name, role in ROLE_OF.items():
        np.testing.assert_allclose(getattr(logits, role).numpy(), expected[f"logits_{name}"], **LOGITS)
        wanted = expected[f"prob_{name}"][:, int(role == "relation") :]
        np.testing.assert_allclose(probabilities(logits)[role].numpy(), wanted, rtol=1e-4)


def assert_gradients_are(head, logits, expected):
    """The gradients of the cross-entropy of all roles are upstream's; None where a weight is not used."""
    labels = {role: torch.from_numpy(expected[f"grad_labels_{name}"]).long() for name, role in ROLE_OF.items()}
    loss = sum(torch.nn.functional.cross_entropy(getattr(logits, role), labels[role]) for role in labels)
    assert loss.item() == pytest.approx(float(expected["grad_loss"]), rel=1e-4)
    parameters, keys = dict(head.named_parameters()), expected["grad_keys"].tolist()
    assert sorted(parameters) == sorted(keys)
    found = torch.autograd.grad(loss, [parameters[key] for key in keys], allow_unused=True, retain_graph=True)
    assert [gradient is None for gradient in found] == list(expected.get("grad_none", [False] * len(found)))
    for key, gradient, norm, first in zip(keys, found, expected["grad_norm"], expected["grad_first8"], strict=True):
        if gradient is not None:
            noise = 1e-6 if key.endswith("fc_k.bias") else 0.0
            np.testing.assert_allclose(float(gradient.double().norm()), norm, rtol=1e-4, atol=noise, err_msg=key)
            np.testing.assert_allclose(gradient.flatten()[:8].numpy(), first, rtol=1e-3, atol=1e-5, err_msg=key)


def derived_words(expected):
    return [derived(expected, f"input.{name}", (rows, 300), 1 / np.sqrt(300))
            for name, rows in {"obj_vecs": 1703, "prd_vecs": 311}.items()]  # fmt: skip


def upstream_lsvru(expected):
    head = LsvruHead(LsvruConfig(4096, 300, 1703, 310), *derived_words(expected))
    with torch.no_grad():
        for key, parameter in head.named_parameters():
            factor = 0.01 if parameter.ndim == 1 else 1 / np.sqrt(parameter.shape[-1])
            parameter.copy_(derived(expected, key, tuple(parameter.shape), factor))
    return head


def write_words(path, vectors, line_breaks=True):
    """A file of word vectors, in the form that its suffix names."""
    if path.suffix == ".bin":
        rows = [f"{word} ".encode() + vector.tobytes() + b"\n" * line_breaks for word, vector in vectors]
        path.write_bytes(f"{len(vectors)} {len(vectors[0][1])}\n".encode() + b"".join(rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps({word: vector.tolist() for word, vector in vectors}))
    else:
        path.write_text("".join(f"{word} {' '.join(repr(float(v)) for v in vector)}\n" for word, vector in vectors))
    return path


def random_words(words, dimension=300, seed=0):
    random = np.random.default_rng(seed)
    return [(word, random.standard_normal(dimension).astype(np.float32)) for word in words]


def stopped_at(number):
    """The edge of a training that is asked to stop at the line of its log with this number."""
    lines = itertools.count(1)
    return TrainingEdge(on_log=lambda line: os.kill(os.getpid(), signal.SIGTERM) if next(lines) == number else None)


@dataclass
class SmallData:
    features: Path
    text: Path
    generated: Path
    vocabulary: Vocabulary


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    root, draw = tmp_path_factory.mktemp("small"), np.random.default_rng(0)
    rows, tail = {"train": 300, "val": 120, "test": 150}, {"train": 1.5, "val": 0.3, "test": 0.0}
    data = write_features(root / "features", NAMES, rows, tail=tail, dimension=12)
    replaced = draw.choice(["subject", "object"], 200)
    because = np.where(draw.random(200) < 0.5, "relation", np.where(replaced == "subject", "object", "subject"))
    made = long_tailed(200, NAMES, seed=9, tail=0.0).assign(replaced=replaced, because=because)
    write_generated(root / "generated", data.train, made)
    return SmallData(root / "features", write_text(root / "text", NAMES), root / "generated", NAMES)


def train_small(data: SmallData, folder: Path, *architecture: str, **settings) -> Path:
    """The folder of a recogniser trained on the small data."""
    from workbench.recognition.training import train_recogniser

    config = RecogniserConfig(*architecture, **settings)
    train_recogniser(folder, features=data.features, text=data.text, config=config)
    return folder


@pytest.fixture(scope="session")
def trained(small_data, tmp_path_factory):
    """A recogniser trained on the small data; do not write into its folder."""
    return train_small(small_data, tmp_path_factory.mktemp("trained"), epochs=4, **SMALL)
