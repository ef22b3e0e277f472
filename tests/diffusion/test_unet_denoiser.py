import json

import numpy as np
import pytest
import torch

from workbench.diffusion.checkpoint import DenoiserCheckpoint, DenoiserIdentity
from workbench.diffusion.conditioned_network import NoiseLevels
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.denoiser_kinds import build_denoiser, denoiser_config
from workbench.diffusion.sampling import generate_features, sample_features
from workbench.diffusion.schedule import SCHEDULES, NoiseSchedule
from workbench.diffusion.standardisation import Standardisation
from workbench.diffusion.token_bank import TokenBank
from workbench.diffusion.training import (
    CHECKPOINT,
    DiffusionConfig,
    read_log,
    train_denoiser,
    train_diffusion,
)
from workbench.diffusion.training_batches import ConditionDropout
from workbench.diffusion.training_step import DenoiserTraining
from workbench.diffusion.unet_denoiser import UNetConfig
from workbench.errors import WorkbenchError

TINY = {"channels": (8, 16), "layers": 1, "heads": 2, "token_width": 8}
TINY_TRAINING = {
    "denoiser": "unet", "unet_channels": (8, 16), "unet_layers": 1, "heads": 2, "token_width": 8, "batch_size": 32,
    "precision": "float32",
}  # fmt: skip


def table(conditions=5, seed=0):
    draw = np.random.default_rng(seed)
    hardness = draw.random((conditions, 3)).astype(np.float32)
    return ConditionTable.from_tokens(draw.standard_normal((conditions, 4, 6)), hardness=hardness)


def network(dimension=10, n_centres=3, seed=0, std=0.2, **sizes):
    torch.manual_seed(seed)
    model = build_denoiser(UNetConfig(dimension, 6, n_centres, **(TINY | sizes))).eval()
    for parameter in model.parameters():  # away from the zero start, where nothing can be seen
        torch.nn.init.normal_(parameter, std=std)
    return model


def run(model, index, x, levels=(0.0,), region=0):
    bank = TokenBank(table(), layout=model.config.layout, hardness=model.config.hardness)
    memory = model.encode(bank.batch(bank.ids[index], "cpu"))
    return model(x, model.modulation(torch.tensor(levels)), memory, torch.full((len(x),), region))


def checkpoint(dimension=10, **sizes):
    standard = Standardisation(np.zeros(dimension, dtype=np.float32), np.ones(dimension, dtype=np.float32))
    model = network(dimension, **sizes)
    schedule = NoiseSchedule("scaled_linear")
    return DenoiserCheckpoint(model, standard, schedule, ConditionDropout(), DenoiserIdentity())


def clusters(dimension=12, n=200):
    """Features around one mean for each of five conditions."""
    draw = np.random.default_rng(0)
    index = np.arange(n) % 5
    means = 3 * draw.standard_normal((5, dimension)) + 20
    return (means[index] + 0.5 * draw.standard_normal((n, dimension))).astype(np.float32), index, means


def train(folder, steps, data=None, config=None, **options):
    features, index, _ = data or clusters()
    config = DiffusionConfig(**(TINY_TRAINING | {"steps": steps} | (config or {})))
    return train_denoiser(folder, features, index, table(), config=config, seed=1, log_every=5, **options)


@pytest.mark.parametrize(
    ("dimension", "levels", "side"),
    [(4096, 4, 64), (512, 3, 24), (1, 1, 1), (16, 1, 4), (17, 1, 5), (17, 2, 6), (17, 3, 8), (2048, 2, 46)],
)
def test_the_square_is_the_smallest_that_holds_the_feature_and_halves_evenly(dimension, levels, side):
    config = UNetConfig(dimension, 6, channels=(8,) * levels)
    assert config.side == side and config.side % 2 ** (levels - 1) == 0 and config.side**2 >= dimension
    assert UNetConfig(4096, 6, channels=(320, 640, 1280, 1280)).norm_groups == 32


@pytest.mark.parametrize("channels", [(8,), (8, 16), (4, 8, 8)])
@pytest.mark.parametrize("dimension", [16, 21, 48])
@torch.no_grad()
def test_features_that_do_not_fill_the_square_come_back_in_their_dimension(channels, dimension):
    model = network(dimension, channels=channels)
    predicted = run(model, np.arange(4), torch.randn(4, dimension))
    assert predicted.shape == (4, dimension) and torch.isfinite(predicted).all()


@pytest.mark.parametrize("layout", ["tokens", "pooled"])
@pytest.mark.parametrize("n_centres", [0, 3])
@torch.no_grad()
def test_rows_do_not_see_each_other_and_every_input_counts(layout, n_centres):
    model, x, index = network(layout=layout, n_centres=n_centres), torch.randn(6, 10), np.array([0, 1, 2, 3, 4, 1])
    together = run(model, index, x)
    alone = torch.cat([run(model, index[i : i + 1], x[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    for changed in (run(model, np.roll(index, 1), x), run(model, index, x, (1.0,)), run(model, index, x, region=1)):
        assert (changed - together).abs().amax(1).min() > 1e-4
    levels, pairs = (-1.0, 0.5, 2.0), ([0, 1], [2, 3], [4, 5])
    by_level = [run(model, index[rows], x[rows], (level,)) for rows, level in zip(pairs, levels, strict=True)]
    torch.testing.assert_close(run(model, index, x, levels), torch.cat(by_level), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_x0_from_noise_is_that_of_the_schedulers_of_diffusers(name):
    from diffusers import DDIMScheduler, DDPMScheduler

    ours, betas = NoiseSchedule(name), {"beta_schedule": name, "beta_start": 0.0015, "beta_end": 0.0195}
    theirs = [
        kind(**betas, prediction_type="epsilon", clip_sample=True, clip_sample_range=10.0)
        for kind in (DDPMScheduler, DDIMScheduler)
    ]
    theirs[1].set_timesteps(1000)
    model, draw = network(), torch.Generator().manual_seed(0)
    for timestep in (0, 17, 400, 930, 999):
        clean, noise = torch.randn(2, 4, 10, generator=draw)
        noisy = ours.alpha[timestep] * clean + ours.sigma[timestep] * noise
        levels = NoiseLevels(ours.half_log_snr[[timestep]])
        predicted = noise + 1e-3 * torch.randn(4, 10, generator=draw)
        for scheduler in theirs:
            expected = scheduler.step(predicted, timestep, noisy).pred_original_sample
            torch.testing.assert_close(model.to_clean(predicted, noisy, levels), expected, rtol=2e-3, atol=2e-3)
        exact = levels.clean_from_noise(noisy.to(torch.bfloat16).float(), noise.to(torch.bfloat16))
        assert exact.dtype == torch.float32 and torch.isfinite(exact).all()


def test_x0_from_noise_belongs_to_the_levels_of_equal_groups_and_returns_what_was_noised():
    schedule = NoiseSchedule()
    chosen = torch.tensor([3, 500, 900])
    clean, noise = torch.randn(2, 6, 7)
    alpha, sigma = (table[chosen].repeat_interleave(2)[:, None] for table in (schedule.alpha, schedule.sigma))
    noisy = alpha * clean + sigma * noise
    recovered = NoiseLevels(schedule.half_log_snr[chosen]).clean_from_noise(noisy, noise)
    torch.testing.assert_close(recovered, clean, rtol=1e-3, atol=1e-4)


def test_an_untrained_network_predicts_nothing():
    torch.manual_seed(0)
    model = build_denoiser(UNetConfig(10, 6, 3, **TINY)).eval()
    assert model.config.target == "epsilon" and not run(model, np.arange(5), torch.randn(5, 10)).any()


@pytest.mark.parametrize(
    ("denoiser", "target", "layout", "learned", "found"),
    [
        ("unet", "epsilon", "tokens", 0.4, 0.5),
        ("unet", "x0", "pooled", 0.2, 0.9),
        ("mlp", "epsilon", "tokens", 0.4, 0.5),
    ],
)
def test_training_lowers_the_loss_and_samples_find_their_class(tmp_path, denoiser, target, layout, learned, found):
    data, config = clusters(), {"denoiser": denoiser, "target": target, "layout": layout, "width": 32, "blocks": 2}
    config |= {"learning_rate": 1e-2, "ema_decay": 0.9, "dropout": 0.0, "schedule": "scaled_linear", "token_width": 32}
    config["unet_channels"] = (8, 16) if target == "epsilon" else (8,)
    metrics = train(tmp_path, 60 if denoiser == "unet" else 200, data, config, held_out=data[:2])
    assert metrics["held_out_loss"] < learned * read_log(tmp_path)[0]["loss"]
    assert (metrics["denoiser"], metrics["target"]) == (denoiser, target)
    trained, index = DenoiserCheckpoint.load(tmp_path / CHECKPOINT), np.arange(50) % 5
    start = np.repeat(data[2].mean(0)[None], 50, axis=0).astype(np.float32)
    for options in ({}, {"start": start, "start_time": 0.6}):
        sampled = sample_features(trained, table(), index, seed=0, steps=8, precision="float32", **options)
        distances = np.linalg.norm(sampled[:, None] - data[2], axis=2)  # (50, classes)
        assert (distances.argmin(1) == index).mean() > found  # chance is 0.2


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("seeded", [True, False])
def test_samples_do_not_depend_on_the_batch_size(guidance, seeded):
    ours, index = checkpoint(std=0.1), np.arange(9) % 5
    start = np.random.default_rng(0).standard_normal((9, 10)).astype(np.float32) if seeded else None
    options = {"seed": 4, "start": start, "steps": 3, "guidance": guidance, "precision": "float32"}
    at_once = sample_features(ours, table(), index, **options)
    assert np.isfinite(at_once).all()
    np.testing.assert_allclose(
        sample_features(ours, table(), index, batch_size=4, **options), at_once, rtol=1e-2, atol=1e-3
    )
    assert not np.allclose(sample_features(ours, table(), np.roll(index, 1), **options), at_once, atol=1e-3)


@pytest.mark.parametrize("layout", ["tokens", "pooled"])
def test_a_checkpoint_comes_back_with_its_kind_and_samples_the_same(tmp_path, layout):
    saved = checkpoint(layout=layout, std=0.1)
    saved.save(tmp_path / CHECKPOINT)
    loaded = DenoiserCheckpoint.load(tmp_path / CHECKPOINT, "cpu")
    assert loaded.config == saved.config and loaded.config.kind == "unet"
    options = {"seed": 1, "steps": 3, "precision": "float32"}
    expected, sampled = (sample_features(model, table(), np.arange(5), **options) for model in (saved, loaded))
    np.testing.assert_array_equal(sampled, expected)


class Killed(Exception):
    """Stands in for a kill: nothing catches it."""


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path):
    config = {"dropout": 0.1, "class_balancing": 1.0, "unet_channels": (8,)}

    def kill(line):
        if line["step"] >= 5:
            raise Killed

    train(tmp_path / "alone", 10, config=config)
    with pytest.raises(Killed):
        train(tmp_path / "killed", 10, config=config, callback=kill, checkpoint_seconds=0.0)
    train(tmp_path / "killed", 10, config=config)
    alone, killed = (
        DenoiserCheckpoint.load(tmp_path / name / CHECKPOINT, "cpu").model.state_dict() for name in ("alone", "killed")
    )
    assert all(torch.equal(alone[name], killed[name]) for name in alone)


def test_the_watched_loss_does_not_depend_on_the_rows_at_once():
    features, index, _ = clusters(n=80)
    config = DiffusionConfig(**(TINY_TRAINING | {"steps": 1}))
    training = DenoiserTraining(features, index, table(), config=config, seed=0)
    torch.nn.init.normal_(training.state.average.unet.conv_out.weight)
    training.watch("train", features, index)
    at_once = training.seen_losses()["train_loss"]
    for rows in (1, 32, 50):
        training.state.average.rows_at_once = rows
        assert training.seen_losses()["train_loss"] == pytest.approx(at_once, rel=1e-4)


def test_both_stages_run_with_it(small_features, tmp_path):
    options = TINY_TRAINING | {"unet_channels": [8], "steps": 3, "class_balancing": 0.5}
    metrics = train_diffusion(tmp_path / "diffusion", **small_features, **options, entity_features="generated")
    json.dumps(metrics)
    assert metrics["denoiser"] == "unet" and np.isfinite(metrics["held_out_loss"])
    folders = small_features | {"diffusion": tmp_path / "diffusion"}
    generated = generate_features(tmp_path / "generated", **folders, entity_features="generated", steps=2, samples=12)
    assert generated["samples"] == 12


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"denoiser": "transformer"}, r"denoiser 'transformer' is not known; expected one of mlp, unet"),
        ({"target": "velocity"}, r"target 'velocity' is not known; expected one of x0, epsilon"),
        ({"denoiser": "unet", "layout": "other"}, "layout"),
        ({"denoiser": "unet", "unet_channels": (12, 16)}, "multiple of heads"),
        ({"denoiser": "unet", "unet_channels": ()}, "at least one level"),
        ({"denoiser": "unet", "unet_layers": 0}, "at least 1 layer"),
    ],
)
def test_names_and_sizes_that_are_not_known_are_refused(option, message):
    with pytest.raises(WorkbenchError, match=message):
        DiffusionConfig(**option)


def test_each_kind_has_its_own_default_target():
    assert denoiser_config("mlp", feature_dimension=4, text_dimension=2).target == "x0"
    assert denoiser_config("unet", feature_dimension=4, text_dimension=2).target == "epsilon"
