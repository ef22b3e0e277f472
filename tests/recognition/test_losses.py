"""Losses and class weights against upstream's numbers, and their properties."""

import json
import zlib

import numpy as np
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.recognition.losses import class_weights, log_priors, role_losses, with_background

ROLE_OF = {"sbj": "subject", "prd": "relation", "obj": "object"}


@pytest.fixture(scope="module")
def upstream(reference_fixtures):
    expected = dict(np.load(reference_fixtures / "losses.npz", allow_pickle=False))
    names = json.loads((reference_fixtures / "losses_freqs.json").read_text())
    counts = {kind: np.array([names[f"{kind}_freqs"].get(name, 0) for name in names[kind]])
              for kind in ("objects", "predicates")}  # fmt: skip
    return expected, counts


def logits_of(expected, name):
    labels = torch.from_numpy(expected[f"labels_{name}"]).long()
    random = np.random.RandomState(zlib.crc32(f"{int(expected['seed'])}:losses.input.logits_{name}".encode()))
    columns = 311 if name == "prd" else 1703
    values = random.standard_normal((64, columns)).astype("float32") * np.float32(3)
    rows = np.arange(0, 64, 4)
    values[rows, expected[f"labels_{name}"][rows]] += np.float32(9)
    return torch.from_numpy(values).requires_grad_(), labels


def test_weights_are_upstreams_bit_for_bit(upstream):
    expected, counts = upstream
    assert np.array_equal(class_weights(counts["objects"]), expected["weights_obj"])
    assert np.array_equal(with_background(class_weights(counts["predicates"])), expected["weights_prd"])


@pytest.mark.parametrize("loss", ["ce", "wce"])
@pytest.mark.parametrize("name", list(ROLE_OF))
def test_values_and_gradients_are_upstreams(upstream, loss, name):
    expected, counts = upstream
    logits, labels = logits_of(expected, name)
    value = role_losses(loss, counts["objects"], counts["predicates"])[ROLE_OF[name]](logits, labels)
    value.backward()
    assert value.item() == pytest.approx(float(expected[f"{loss}_{name}"]), rel=1e-4)
    assert logits.grad.double().norm().item() == pytest.approx(float(expected[f"gradnorm_{loss}_{name}"]), rel=1e-4)


@pytest.mark.parametrize("classes", [2, 9, 40])
def test_logit_adjustment_moves_the_optimum_by_the_prior(classes):
    counts = np.random.default_rng(classes).integers(0, 500, classes)
    loss = role_losses("logit_adjusted", counts, counts, tau=0.7)["subject"]
    plain = role_losses("ce", counts, counts)["subject"]
    logits, labels = torch.randn(11, classes), torch.randint(0, classes, (11,))
    adjusted = logits - 0.7 * torch.from_numpy(log_priors(counts))
    assert torch.allclose(loss(adjusted, labels), plain(logits, labels), atol=1e-5)
    assert np.exp(log_priors(counts).astype(float)).sum() == pytest.approx(1, abs=1e-5)


def test_without_tau_logit_adjustment_is_cross_entropy():
    counts = np.array([5, 1, 0])
    logits, labels = torch.randn(6, 4), torch.tensor([1, 2, 3, 1, 1, 2])
    losses = role_losses("logit_adjusted", counts, counts, tau=0.0), role_losses("ce", counts, counts)
    assert torch.allclose(*(loss["relation"](logits, labels) for loss in losses))


def test_weights_ignore_scale_of_rare_classes_but_keep_mean_one():
    weights = class_weights(np.array([1000, 10, 0]))
    assert weights.mean() == pytest.approx(1, abs=1e-6)
    assert weights.argsort().tolist() == [0, 1, 2]
    assert with_background(weights)[0] == weights.min()


def test_an_unknown_loss_names_the_known_ones():
    with pytest.raises(WorkbenchError, match=r"'focale' is not known.*ce, wce, logit_adjusted"):
        role_losses("focale", np.ones(3), np.ones(2))
