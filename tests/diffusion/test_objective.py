import numpy as np
import pytest
import torch

from tests.diffusion.cases import clusters, condition_tokens, network
from workbench.diffusion import objective as objectives
from workbench.diffusion.objective import BalancedConditions, DenoisingObjective, EvalRows, TrainingBatch
from workbench.diffusion.schedule import NoiseSchedule

TOKENS = condition_tokens(6, relations=[0, 0, 0, 0, 1, 2])


def batch_of(objective, index, balanced=None, dropped=None):
    features = torch.randn(len(index), 10, generator=torch.Generator().manual_seed(1))
    other = None if balanced is None else TOKENS.batch(balanced, dropped)
    return TrainingBatch(features, TOKENS.batch(index, dropped), torch.tensor([5, 300, 600, 999]), other)


def losses(objective, batch, seed=0):
    torch.manual_seed(seed)
    return objective(batch, 0)


@pytest.mark.parametrize("shape", [(1, 3), (8, 5), (40, 17)])
def test_terms_and_their_gradients_are_those_of_the_formula(shape):
    predicted, balanced = torch.randn(2, *shape).unbind()
    predicted.requires_grad_(), balanced.requires_grad_()
    terms = objectives.balancing_terms(predicted, balanced)
    difference = (predicted - balanced).detach()
    torch.testing.assert_close(terms, 1.25 * difference.square())
    terms.sum().backward()
    # Descent draws the prediction for y to that for y', and that for y' a quarter as hard to the one for y.
    torch.testing.assert_close(predicted.grad, 2 * difference)
    torch.testing.assert_close(balanced.grad, -2 * objectives.COMMITMENT * difference)
    assert not objectives.balancing_terms(predicted, predicted).any()


@pytest.mark.parametrize("kind", ["mlp", "unet"])
@pytest.mark.parametrize("target", ["x0", "epsilon"])
@torch.no_grad()
def test_the_losses_are_those_of_a_plain_computation(kind, target):
    objective = DenoisingObjective(network(kind, target=target, std=0.2), NoiseSchedule(), class_balancing=0.7)
    index = np.arange(32) % 6
    batch = batch_of(objective, index, np.roll(index, 1))
    found = losses(objective, batch)
    torch.manual_seed(0)
    made, clean = objective.network, objective.network.standardise(batch.features)
    noise = torch.randn_like(clean)
    schedule, expected = NoiseSchedule(), {"denoising": 0.0, "balancing": 0.0}
    snr = (schedule.alpha / schedule.sigma).double().square()
    weight = (1 + snr).clamp(max=5) if target == "x0" else torch.ones(1000)
    for group, t in enumerate(batch.timesteps.tolist()):
        rows = slice(8 * group, 8 * group + 8)
        noisy = schedule.alpha[t] * clean[rows] + schedule.sigma[t] * noise[rows]
        levels = made.modulation(schedule.half_log_snr[[t]])
        own, other = (made(noisy, levels, made.encode(TOKENS.batch(of[rows]))) for of in (index, np.roll(index, 1)))
        error = (own - (clean if target == "x0" else noise)[rows]).square().mean()
        w = (weight[t] / weight.mean()).item() / 4
        expected["denoising"] += w * error.item()
        expected["balancing"] += 0.7 * w * (t + 1) / 1000 * 1.25 * (own - other).square().mean().item()
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_equal_conditions_have_nothing_to_balance_even_with_dropout(kind):
    objective = DenoisingObjective(network(kind, dropout=0.3), NoiseSchedule(), class_balancing=5.0).train()
    index, dropped = np.arange(32) % 6, np.zeros((32, 5), dtype=bool)
    assert losses(objective, batch_of(objective, index, index))["balancing"].item() < 1e-6
    assert losses(objective, batch_of(objective, index, np.roll(index, 1)))["balancing"].item() > 1e-4
    # A row that lost its condition has nothing to balance.
    dropped[:] = True
    assert losses(objective, batch_of(objective, index, np.roll(index, 1), dropped))["balancing"].item() < 1e-6


def test_a_step_repeats_by_its_seed_and_dropout_counts():
    objective = DenoisingObjective(network(dropout=0.3), NoiseSchedule()).train()
    batch = batch_of(objective, np.arange(32) % 6)
    first, again, other = (losses(objective, batch, seed)["denoising"].item() for seed in (0, 0, 1))
    assert first == again != other and losses(objective.eval(), batch)["denoising"].item() != first


@pytest.mark.parametrize("boxes", [0, 3])
def test_relation_classes_are_drawn_alike_however_many_conditions_they_have(boxes):
    relations = np.array([0] * 50 + [1] * 5 + [2])
    conditions = condition_tokens(len(relations) + boxes, boxes=boxes, relations=relations)
    trained = np.arange(len(conditions))[:-1] if boxes else np.arange(len(conditions))
    balanced = BalancedConditions(conditions, np.repeat(trained, 2))
    uniform = np.random.default_rng(0).random((2, 30_000))
    drawn = balanced.draw(uniform, np.zeros(30_000, dtype=int))
    assert (drawn < len(relations)).all()
    np.testing.assert_allclose(np.bincount(relations[drawn]) / len(drawn), 1 / 3, atol=0.01)
    np.testing.assert_allclose(np.bincount(drawn)[:50] * 150 / len(drawn), 1.0, atol=0.3)
    if boxes:  # the last box condition is not trained on
        assert set(balanced.draw(uniform[:, :500], np.full(500, 57))) == {56, 57}


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_the_evaluated_loss_does_not_depend_on_the_rows_at_once(kind):
    rows, _ = clusters(n=83)
    objective = DenoisingObjective(network(kind), NoiseSchedule())
    shown = EvalRows(rows, "train", 0)
    assert len(shown.index) == 80
    at_once = shown.loss(objective, objective.network, "float32")
    for most in (1, 32, 50):
        objective.network.rows_at_once = most
        assert shown.loss(objective, objective.network, "float32") == pytest.approx(at_once, rel=1e-4)
    assert EvalRows(rows, "held_out", 0).loss(objective, objective.network, "float32") != at_once
