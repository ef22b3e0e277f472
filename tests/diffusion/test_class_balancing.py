import numpy as np
import pytest
import torch

from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.class_balancing import COMMITMENT, BalancedConditions, balancing_terms
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.sampling import sample_features
from workbench.diffusion.training import CHECKPOINT, DiffusionConfig, train_denoiser
from workbench.diffusion.training_step import DenoiserTraining
from workbench.errors import WorkbenchError

MLP = {"width": 16, "heads": 2, "blocks": 1, "token_width": 8, "batch_size": 32, "dropout": 0.1, "precision": "float32"}
NETWORKS = {"mlp": {}, "unet": {"denoiser": "unet", "unet_channels": (8,), "unet_layers": 1}}


def triplets(relations, boxes=0, seed=0):
    """One condition for each of ``relations`` (class ids), then boxes without a relation token."""
    draw, relations = np.random.default_rng(seed), np.asarray(relations)
    m = len(relations) + boxes
    tokens = draw.standard_normal((m, 4, 6))
    tokens[: len(relations), 1] = draw.standard_normal((1 + relations.max(), 6))[relations]
    present = np.ones((m, 4), dtype=bool)
    present[len(relations) :, :3] = False
    return ConditionTable.from_tokens(tokens, present, region=np.arange(m) >= len(relations))


def data(relations=(0, 0, 0, 0, 1, 2), n=120):
    conditions = triplets(relations)
    draw, index = np.random.default_rng(1), np.arange(n) % len(relations)
    means = 3 * draw.standard_normal((len(relations), 7))
    return (means[index] + 0.3 * draw.standard_normal((n, 7))).astype(np.float32), index, conditions


def training_of(network="mlp", conditions=None, **options):
    features, index, own = data()
    config = DiffusionConfig(**(MLP | {"steps": 10} | NETWORKS[network] | options))
    return DenoiserTraining(features, index, own if conditions is None else conditions, config=config, seed=3)


def away_from_zero(training):
    torch.manual_seed(0)
    for parameter in training.state.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return training


@pytest.mark.parametrize("shape", [(1, 3), (8, 5), (40, 17)])
def test_terms_and_their_gradients_are_those_of_the_formula(shape):
    predicted, balanced = torch.randn(2, *shape).unbind()
    predicted.requires_grad_(), balanced.requires_grad_()
    terms = balancing_terms(predicted, balanced)
    difference = (predicted - balanced).detach()
    torch.testing.assert_close(terms, 1.25 * difference.square())
    terms.sum().backward()
    # Descent draws the prediction for y to that for y', and that for y' a quarter as hard to the one for y.
    torch.testing.assert_close(predicted.grad, 2 * difference)
    torch.testing.assert_close(balanced.grad, -2 * COMMITMENT * difference)
    assert not balancing_terms(predicted, predicted).any()


@pytest.mark.parametrize("boxes", [0, 3])
def test_relation_classes_are_drawn_alike_however_many_conditions_they_have(boxes):
    relations = np.array([0] * 50 + [1] * 5 + [2])
    conditions = triplets(relations, boxes)
    trained = np.arange(len(conditions))[:-1] if boxes else np.arange(len(conditions))
    balanced = BalancedConditions(0, conditions, np.repeat(trained, 2))
    drawn = balanced.draw(0, np.zeros(30_000, dtype=int))
    assert (drawn < len(relations)).all()
    shares = np.bincount(relations[drawn]) / len(drawn)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.01)
    np.testing.assert_allclose(np.bincount(drawn)[:50] * 150 / len(drawn), 1.0, atol=0.3)
    if boxes:  # the last box condition is not trained on
        assert set(balanced.draw(0, np.full(500, 57))) == {56, 57}
    index = np.arange(20)
    np.testing.assert_array_equal(balanced.draw(4, index), balanced.draw(4, index))
    assert (balanced.draw(4, index) != balanced.draw(5, index)).any()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("target", ["x0", "epsilon"])
def test_the_loss_is_the_denoising_loss_and_tau_times_the_weighted_difference(network, target):
    options = {"target": target, "drop_everything": 0.0, "drop_hardness": 0.0, "drop_token": 0.0}
    plain, regularised = (away_from_zero(training_of(network, **options, class_balancing=tau)) for tau in (0.0, 0.7))
    features, index, _ = data()
    index, clean = index[:32], torch.from_numpy(features[:32])
    noise, timesteps, ids = torch.randn(32, 7), np.array([5, 300, 600, 999]), plain.bank.ids[index]
    arguments = (clean, noise, timesteps, ids, index, 2)
    with torch.no_grad():
        expected = plain.loss(plain.state.model, *arguments)
        noisy = torch.cat([
            plain.schedule.alpha[t] * clean[8 * i : 8 * i + 8] + plain.schedule.sigma[t] * noise[8 * i : 8 * i + 8]
            for i, t in enumerate(timesteps)
        ])  # fmt: skip
        region, levels = torch.zeros(32, dtype=torch.long), torch.from_numpy(timesteps)
        other = plain.bank.ids[regularised.loss.balanced.draw(2, index)]
        one, two = (plain.loss.predicted(plain.state.model, noisy, levels, of, region, 2) for of in (ids, other))
        difference = (one - two).square().view(4, -1).mean(1)
        weight = plain.loss.level_weight[levels] * (levels + 1) / 1000
        found = regularised.loss(regularised.state.model, *arguments)
    torch.testing.assert_close(found, expected + 0.7 * 1.25 * (weight * difference).mean(), rtol=1e-4, atol=1e-5)
    assert found > expected


def weights(folder):
    return DenoiserCheckpoint.load(folder / CHECKPOINT, "cpu").model.state_dict()


def train(folder, tau, network="mlp", conditions=None, **options):
    features, index, own = data()
    config = DiffusionConfig(**(MLP | NETWORKS[network] | {"steps": 15, "class_balancing": tau} | options))
    return train_denoiser(folder, features, index, own if conditions is None else conditions, config=config, seed=3)


@pytest.mark.parametrize("network", NETWORKS)
def test_equal_conditions_have_nothing_to_balance_even_with_dropout(tmp_path, network):
    alike = ConditionTable.from_tokens(np.ones((6, 4, 6)))
    for tau in (0.0, 5.0):
        train(tmp_path / str(tau), tau, network, alike)
    without, with_balancing = weights(tmp_path / "0.0"), weights(tmp_path / "5.0")
    for name, value in without.items():
        torch.testing.assert_close(with_balancing[name], value, rtol=1e-4, atol=1e-6)


def test_a_row_that_lost_its_condition_has_nothing_to_balance():
    training = training_of(class_balancing=1.0)
    index = np.arange(32) % 6
    ids = training.bank.ids[index].copy()
    ids[::2] = training.bank.null_ids
    ids[1, 2] = training.bank.null_ids[0, 2]
    other = training.loss.balanced_ids(0, ids, index)
    np.testing.assert_array_equal(other[::2], ids[::2])
    assert other[1, 2] == ids[1, 2] and (other[1::2] != ids[1::2]).any()


def test_samples_of_different_classes_come_closer_the_stronger_it_is(tmp_path):
    _, _, conditions = data()
    spread = []
    for tau in (0.0, 20.0):
        train(tmp_path / str(tau), tau, learning_rate=1e-2, steps=100, ema_decay=0.9, dropout=0.0)
        trained = DenoiserCheckpoint.load(tmp_path / str(tau) / CHECKPOINT)
        spread.append(
            sample_features(trained, conditions, np.arange(6), seed=0, rows=np.zeros(6, dtype=int)).std(0).mean()
        )
    assert spread[1] < 0.5 * spread[0]
    with pytest.raises(WorkbenchError, match="another config"):
        train(tmp_path / "0.0", 20.0, learning_rate=1e-2, steps=100, ema_decay=0.9, dropout=0.0)


@pytest.mark.parametrize("tau", [-1.0, float("nan"), float("inf")])
def test_a_tau_that_makes_no_sense_is_refused(tau):
    with pytest.raises(WorkbenchError, match="class_balancing is"):
        DiffusionConfig(class_balancing=tau)
