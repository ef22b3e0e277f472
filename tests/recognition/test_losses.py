"""Losses and class weights against upstream's numbers, and their properties."""

import itertools
import json

import numpy as np
import pytest
import torch

from tests.recognition.conftest import ROLE_OF, derived
from workbench.recognition import losses
from workbench.recognition.losses import LOSSES, LossConfig, equalization_draws, role_classes, role_losses, vilhub
from workbench.scenes.bands import Counts

# The names here and upstream's, with their gamma.
UPSTREAM = {"ce": ("ce", 2.0), "wce": ("wce", 2.0), "focal_g2": ("focal_upstream", 2.0),
            "focal_g025": ("focal_upstream", 0.25), "wfocal_g2": ("weighted_focal_upstream", 2.0)}  # fmt: skip


def ranked(entities, relations):
    return Counts(entities, relations, 0 * entities)


@pytest.fixture(scope="module")
def upstream(reference_fixtures):
    expected = dict(np.load(reference_fixtures / "losses.npz", allow_pickle=False))
    names = json.loads((reference_fixtures / "losses_freqs.json").read_text())
    counts = (np.array([names[f"{kind}_freqs"].get(name, 0) for name in names[kind]])
              for kind in ("objects", "predicates"))  # fmt: skip
    return expected, ranked(*counts)


def logits_of(expected, name):
    labels = torch.from_numpy(expected[f"labels_{name}"]).long()
    values = derived(expected, f"losses.input.logits_{name}", (64, 311 if name == "prd" else 1703), 3)
    rows = torch.arange(0, 64, 4)
    values[rows, labels[rows]] += 9
    return values.requires_grad_(), labels


def test_weights_are_upstreams_bit_for_bit(upstream):
    expected, counts = upstream
    found = role_classes(counts)
    assert np.array_equal(found["subject"].weights(), expected["weights_obj"])
    assert np.array_equal(found["relation"].weights(), expected["weights_prd"])


def assert_value_and_gradient(value, logits, expected, key):
    value.backward()
    assert value.item() == pytest.approx(float(expected[key]), rel=1e-4)
    assert logits.grad.double().norm().item() == pytest.approx(float(expected[f"gradnorm_{key}"]), rel=1e-4)


@pytest.mark.parametrize("loss", list(UPSTREAM))
@pytest.mark.parametrize("name", list(ROLE_OF))
def test_values_and_gradients_are_upstreams(upstream, loss, name):
    expected, counts = upstream
    logits, labels = logits_of(expected, name)
    ours, gamma = UPSTREAM[loss]
    losses = role_losses(LossConfig(ours, gamma=gamma), counts)
    assert_value_and_gradient(losses[ROLE_OF[name]](logits, labels), logits, expected, f"{loss}_{name}")


@pytest.mark.parametrize("scale", [100000, 1])
@pytest.mark.parametrize("name", list(ROLE_OF))
def test_vilhub_is_upstreams(upstream, scale, name):
    logits, _ = logits_of(upstream[0], name)
    assert_value_and_gradient(vilhub(logits, scale), logits, upstream[0], f"vilhub_s{scale}_{name}")


@pytest.mark.parametrize("name", list(ROLE_OF))
def test_upstreams_equalization_loss_has_its_numbers_for_its_draws(upstream, name, monkeypatch):
    expected, counts = upstream
    logits, labels = logits_of(expected, name)
    draws = torch.from_numpy(expected[f"eql_beta_{name}"]).bool()
    monkeypatch.setattr(losses, "equalization_draws", lambda seed, labels, shape: draws.reshape(shape))
    loss = role_losses(LossConfig("equalization_upstream"), counts)
    assert loss[ROLE_OF[name]](logits, labels).item() == pytest.approx(float(expected[f"eql_{name}"]), rel=1e-4)


@pytest.mark.parametrize("role", ["subject", "relation"])
@pytest.mark.parametrize(("classes", "tau"), [(2, 0.7), (9, 0.7), (40, 0.0)])
def test_logit_adjustment_moves_the_optimum_by_the_prior(classes, tau, role):
    counts = np.random.default_rng(classes).integers(0, 500, classes)
    adjusting, plain = (role_losses(config, ranked(counts, counts))[role]
                        for config in (LossConfig("logit_adjusted", tau=tau), LossConfig()))  # fmt: skip
    prior = role_classes(ranked(counts, counts))[role].log_priors()
    logits, labels = case(11, len(prior), 0)
    assert torch.allclose(adjusting(logits - tau * prior, labels), plain(logits, labels), atol=1e-5)
    assert prior.exp().sum() == pytest.approx(1, abs=1e-5)
    assert role == "subject" or prior[0] == pytest.approx(-np.log(len(prior) + counts.sum()))


def test_rare_classes_weigh_most_and_the_background_least_with_mean_one():
    counts = np.array([1000, 10, 0])
    classes = role_classes(ranked(counts, counts))
    weights, (background, *same) = (classes[role].weights() for role in ("object", "relation"))
    assert weights.mean() == pytest.approx(1, abs=1e-6) and weights.argsort().tolist() == [0, 1, 2]
    assert same == weights.tolist() and background == weights.min()


def case(n, classes, seed, scale=3.0):
    source = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=source)
    return logits, torch.randint(0, classes, (n,), generator=source)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize(("n", "scale"), [(1, 3.0), (6, 3.0), (6, 300.0), (1, 0.0)])
def test_values_and_gradients_are_finite_at_the_edges(name, n, scale):
    for gamma, counts in itertools.product((0.0, 0.25, 2.0), (np.array([0, 100_000, 3, 0, 7]), np.zeros(5))):
        for role, loss in role_losses(LossConfig(name, gamma=gamma), ranked(counts, counts)).items():
            for labels in (torch.zeros(n).long(), torch.full((n,), 3), torch.arange(n) % 5):
                logits = case(n, 5 + (role == "relation"), n, scale)[0].requires_grad_()
                value = loss(logits, labels)
                value.backward()
                assert value.ndim == 0 and value.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("form", [losses.focal, losses.focal_upstream])
def test_focal_without_focus_is_cross_entropy_times_alpha(form):
    logits, labels = case(13, 40, 1, scale=1.0)
    plain = torch.nn.functional.cross_entropy(logits, labels)
    assert form(logits, labels, gamma=0.0).item() == pytest.approx(0.25 * plain.item(), rel=1e-3)


@pytest.mark.parametrize("gamma", [0.25, 2.0, 5.0])
def test_focal_is_its_formula_and_weights_multiply_rows(gamma):
    logits, labels = case(9, 5, 1)
    share = logits.double().softmax(1)[torch.arange(9), labels]
    rows = -0.25 * (1 - share) ** gamma * share.log()
    weight = torch.rand(5, generator=torch.Generator().manual_seed(2))
    assert losses.focal(logits, labels, gamma=gamma).item() == pytest.approx(rows.mean().item(), rel=1e-4)
    found = losses.focal(logits, labels, gamma=gamma, weight=weight)
    assert found.item() == pytest.approx((weight[labels] * rows).mean().item(), rel=1e-4)


@pytest.mark.parametrize(("counts", "in_tail"), [
    ([0, 43, 42, 99_915], [True, False, True, False]), ([0] * 4, [True] * 4), ([5] * 4, [False] * 4),
])  # fmt: skip
@pytest.mark.parametrize("role", ["object", "relation"])
@pytest.mark.parametrize("n", [1, 30])
def test_equalization_is_its_formula(counts, in_tail, role, n):
    """The tail is what has less than 4.3e-4 of all examples, never the background."""
    found, background = ranked(np.array(counts), np.array(counts)), [False] * (role == "relation")
    logits, labels = case(n, len(background) + 4, n)
    labels = labels.clamp(min=len(background))
    draws = equalization_draws(role_classes(found)[role].seed, labels, tuple(logits.shape))
    own = torch.nn.functional.one_hot(labels, logits.shape[1])
    odds = (1.0 - draws * torch.tensor(background + in_tail) * (1.0 - own)) * logits.double().exp()
    rows = -((own * odds).sum(1) / odds.sum(1)).log()
    value = role_losses(LossConfig("equalization"), found)[role](logits, labels)
    assert value.item() == pytest.approx(rows.mean().item(), rel=1e-4, abs=1e-6)


def test_draws_belong_to_the_seed_the_role_and_the_batch():
    labels = torch.arange(400)
    draws = equalization_draws(3, labels, (400, 50))
    assert torch.equal(draws, equalization_draws(3, labels.int(), (400, 50)))
    assert draws.float().mean().item() == pytest.approx(0.9, abs=0.01)
    assert not torch.equal(draws, equalization_draws(4, labels, (400, 50)))
    assert not torch.equal(draws, equalization_draws(3, labels.flip(0), (400, 50)))
    logits, labels = case(64, 30, 5)
    counts = np.r_[np.zeros(20), np.full(10, 99)]
    values = [role_losses(LossConfig("equalization"), ranked(counts, counts), seed=seed)[role](logits, labels).item()
              for seed, role in ((0, "subject"), (0, "subject"), (0, "object"), (1, "subject"))]  # fmt: skip
    assert values[0] == values[1] and len(set(values)) == 3


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (5, 9), (64, 300)])
def test_vilhub_is_zero_for_uniform_predictions_and_largest_for_one_hub(n, classes):
    hub = torch.zeros(n, classes).index_fill(1, torch.tensor([1]), 99.0)
    everywhere = ((1 - 1 / classes) ** 2 + (classes - 1) / classes**2) / classes
    assert vilhub(torch.zeros(n, classes), 1e5).item() == pytest.approx(0, abs=1e-6)
    assert vilhub(hub, 7.0).item() == pytest.approx(7.0 * everywhere, rel=1e-5)
    assert 0 < vilhub(case(n, classes, n)[0], 7.0) < vilhub(hub, 7.0)
    nothing = torch.zeros(0, classes, requires_grad=True)
    vilhub(nothing, 1e5).backward()
    assert vilhub(nothing, 1e5).item() == 0.0 and nothing.grad is not None


def test_a_loss_is_a_name_a_function_or_an_import_path():
    def own(classes, config):
        assert len(classes.counts) == len(classes.labels) and config.options["scale"] == 3
        return lambda logits, labels: config.options["scale"] * logits.new_ones(())

    counts = ranked(np.ones(3), np.ones(2))
    assert role_losses(LossConfig(own, options={"scale": 3}), counts)["object"](*case(2, 3, 0)).item() == 3.0
    path = "workbench.recognition.losses:WeightedCrossEntropy"
    logits, labels = case(4, 3, 1)
    named, imported = (role_losses(LossConfig(name), counts)["object"](logits, labels) for name in ("wce", path))
    assert named.item() == imported.item()
