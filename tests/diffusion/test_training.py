import json

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.sampling import sample_features
from workbench.diffusion.token_bank import TokenBank
from workbench.diffusion.training import CHECKPOINT, DiffusionConfig, read_log, train_denoiser
from workbench.diffusion.training_batches import ConditionDropout, TrainingBatches, rarity_weights
from workbench.diffusion.training_state import STATE
from workbench.errors import WorkbenchError

TINY = {"width": 32, "heads": 2, "blocks": 2, "token_width": 16, "batch_size": 32, "dropout": 0.1}


def clusters(n=200, conditions=6, dimension=10, hardness=True, seed=0):
    """Features around one mean for each condition."""
    draw = np.random.default_rng(seed)
    centres = draw.random((conditions, 3)).astype(np.float32) if hardness else None
    table = ConditionTable.from_tokens(draw.standard_normal((conditions, 4, 8)), hardness=centres)
    index = np.arange(n) % conditions
    means = 3 * draw.standard_normal((conditions, dimension)) + 20
    features = means[index] + 0.5 * draw.standard_normal((n, dimension))
    return features.astype(np.float32), index, table, means


def train(folder, data, steps=40, seed=1, **options):
    features, index, table, _ = data
    config = DiffusionConfig(**(TINY | {"steps": steps} | options.pop("config", {})))
    return train_denoiser(folder, features, index, table, config=config, seed=seed, log_every=10, **options)


def weights(folder):
    return DenoiserCheckpoint.load(folder / CHECKPOINT, "cpu").model.state_dict()


class Killed(Exception):
    """Stands in for a kill: nothing catches it."""


def kill_at(step):
    def callback(line):
        if line["step"] >= step:
            raise Killed

    return callback


@pytest.mark.parametrize(("layout", "hardness", "skip"), [("tokens", True, True), ("pooled", False, False)])
def test_class_means_and_spread_are_learned(tmp_path, layout, hardness, skip):
    data = clusters(hardness=hardness)
    options = {
        "layout": layout,
        "learning_rate": 6e-3,
        "dropout": 0.0,
        "precision": "float32",
        "ema_decay": 0.98,
        "batch_size": 64,
        "skip": skip,
    }
    metrics = train(tmp_path, data, steps=250, config=options)
    checkpoint = DenoiserCheckpoint.load(tmp_path / CHECKPOINT)
    sampled = sample_features(checkpoint, data[2], np.repeat(np.arange(6), 40), seed=0).reshape(6, 40, -1)
    assert np.abs(sampled.mean(1) - data[3]).mean() < 0.35
    assert 0.5 * skip < sampled.std(1).mean() / 0.5 < 2.0  # without the skip so small a network has no spread yet
    assert metrics["loss"] < 0.2 and checkpoint.config.hardness == hardness


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kills", [(10,), (10, 30)])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, precision, kills):
    data, config = clusters(), {"precision": precision}
    train(tmp_path / "alone", data, config=config, held_out=data[:2], held_out_every=10)
    for step in kills:
        with pytest.raises(Killed):
            train(
                tmp_path / "killed", data, config=config, callback=kill_at(step), checkpoint_seconds=0.0,
                held_out=data[:2], held_out_every=10,
            )  # fmt: skip
        assert not (tmp_path / "killed" / CHECKPOINT).exists()
    resumed = []
    train(tmp_path / "killed", data, config=config, held_out=data[:2], held_out_every=10, callback=resumed.append)
    assert resumed[0]["step"] == max(kills) + 10
    alone, killed = weights(tmp_path / "alone"), weights(tmp_path / "killed")
    assert all(torch.equal(alone[name], killed[name]) for name in alone)
    for ours, other in zip(read_log(tmp_path / "alone"), read_log(tmp_path / "killed"), strict=True):
        assert ours | {"seconds": 0} == other | {"seconds": 0}


def test_a_finished_training_is_not_run_again_and_another_one_is_refused(tmp_path):
    data = clusters()
    first = train(tmp_path, data)
    assert train(tmp_path, data, callback=kill_at(0)) == first
    assert not (tmp_path / STATE).exists()
    for changed in ({"seed": 2}, {"config": {"learning_rate": 1e-4}}):
        with pytest.raises(WorkbenchError, match=r"another (seed|config)"):
            train(tmp_path, data, **changed)
    with pytest.raises(WorkbenchError, match="another data"):
        train(tmp_path, clusters(seed=9))


def test_a_log_line_cut_short_by_a_kill_is_written_again(tmp_path):
    data = clusters()
    with pytest.raises(Killed):
        train(tmp_path, data, callback=kill_at(20), checkpoint_seconds=0.0)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 30, "lo')
    train(tmp_path, data)
    assert [line["step"] for line in read_log(tmp_path)] == [10, 20, 30, 40]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    data = clusters()
    honest = TrainingBatches.noise

    def broken(self, step, dimension, device):
        return honest(self, step, dimension, device) * (np.nan if step == 25 else 1.0)

    monkeypatch.setattr(TrainingBatches, "noise", broken)
    with pytest.raises(WorkbenchError, match=r"not finite within steps 21 to 30.*last good state is kept") as raised:
        train(tmp_path, data, checkpoint_seconds=0.0)
    assert "learning_rate" in str(raised.value)
    monkeypatch.undo()
    train(tmp_path, data)
    train(tmp_path / "alone", data)
    assert all(torch.equal(value, weights(tmp_path / "alone")[name]) for name, value in weights(tmp_path).items())


def test_features_that_are_not_finite_are_named_before_anything_is_trained(tmp_path):
    features, *rest = clusters()
    features[42, 3] = np.nan
    with pytest.raises(WorkbenchError, match="row 42"):
        train(tmp_path, (features, *rest))
    with pytest.raises(WorkbenchError, match="200 feature rows but 3"):
        train(tmp_path, (clusters()[0], np.arange(3), *rest[1:]))


def test_a_training_state_cut_short_is_named(tmp_path):
    data = clusters()
    with pytest.raises(Killed):
        train(tmp_path, data, callback=kill_at(20), checkpoint_seconds=0.0)
    state = tmp_path / STATE
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(WorkbenchError, match=r"training_state.safetensors"):
        train(tmp_path, data)


def test_the_log_is_json_with_the_losses_of_a_live_curve(tmp_path):
    data, lines = clusters(), []
    train(tmp_path, data, held_out=data[:2], held_out_every=20, callback=lines.append)
    stored = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert stored == lines and [line["step"] for line in stored] == [10, 20, 30, 40]
    assert [("held_out_loss" in line, "train_loss" in line) for line in stored] == [(False, False), (True, True)] * 2


def test_rare_classes_are_drawn_by_the_power_of_their_count():
    relations = pd.DataFrame({"subject": [0] * 100, "relation": [0] * 96 + [1] * 4, "object": [0] * 99 + [1]})
    weights = rarity_weights(relations, 0.5)
    np.testing.assert_allclose(weights / weights[-1], [(96**-0.5)] * 96 + [0.5] * 3 + [1.0])
    assert (rarity_weights(relations, 0.0) == 1).all()
    batches = TrainingBatches(0, 50_000, weights, 1000)
    drawn = np.bincount(batches.rows(0), minlength=100) / 50_000
    np.testing.assert_allclose(drawn, weights / weights.sum(), atol=0.005)


def test_dropout_shares_and_noise_levels_are_as_said():
    table = clusters(hardness=True)[2]
    bank = TokenBank(table, layout="tokens", hardness=True)
    ids = bank.ids[np.zeros(40_000, dtype=int)]
    batches = TrainingBatches(0, 40_000, np.ones(10), 1000)
    lost = batches.drop(0, ids, bank, ConditionDropout(0.2, 0.3, 0.1), True) == bank.null_ids
    assert abs(lost.all(1).mean() - 0.2) < 0.01
    np.testing.assert_allclose(lost.mean(0), [0.28] * 4 + [0.44], atol=0.01)
    timesteps = TrainingBatches(0, 512, np.ones(10), 1000).level_timesteps(3)
    assert len(timesteps) == 128 and timesteps.min() < 8 and timesteps.max() > 991 and (np.diff(timesteps) > 0).all()
    assert not (batches.drop(0, ids, bank, ConditionDropout(0, 0, 0), True) == bank.null_ids).any()


def test_learning_rate_warms_up_and_decays():
    config = DiffusionConfig(steps=100, warm_up=0.1, learning_rate=1.0)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert np.argmax(rates) in (9, 10) and max(rates) == 1.0 and rates[0] == 0.1 and rates[-1] < 0.01
    with pytest.raises(WorkbenchError, match="decay"):
        DiffusionConfig(decay="exponential").learning_rate_at(1000)
