from typing import get_args

import numpy as np
import pytest
import torch

from tests.diffusion.cases import condition_tokens, network
from tests.refusals import refused
from workbench.configuration import configured
from workbench.diffusion.conditioned_network import NoiseLevels
from workbench.diffusion.config import DiffusionConfig, Schedule
from workbench.diffusion.denoiser import DENOISERS, MLPConfig
from workbench.diffusion.schedule import NoiseSchedule
from workbench.diffusion.unet_denoiser import UNetConfig, side_of_square

TOKENS = condition_tokens(5)
BOXES = condition_tokens(5, boxes=5)


def run(made, index, x, levels=(0.0,), tokens=TOKENS):
    return made(x, made.modulation(torch.tensor(levels)), made.encode(tokens.batch(index)))


@pytest.mark.parametrize("kind", ["mlp", "unet"])
@pytest.mark.parametrize("layout", ["tokens", "pooled"])
@pytest.mark.parametrize("centroids", [0, 3])
@torch.no_grad()
def test_rows_do_not_see_each_other_and_every_input_counts(kind, layout, centroids):
    made = network(kind, layout=layout, centroids=centroids, std=0.2)
    x, index = torch.randn(6, 10), np.array([0, 1, 2, 3, 4, 1])
    together = run(made, index, x)
    alone = torch.cat([run(made, index[i : i + 1], x[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    one_region = TOKENS.batch(index)
    other_region = made.encode(type(one_region)(*list(vars(one_region).values())[:3], 1 - one_region.region))
    elsewhere = made(x, made.modulation(torch.zeros(1)), other_region)
    for changed in (run(made, np.roll(index, 1), x), run(made, index, x, (1.0,)), elsewhere):
        assert (changed - together).abs().amax(1).min() > 1e-4
    levels, pairs = (-1.0, 0.5, 2.0), ([0, 1], [2, 3], [4, 5])
    by_level = [run(made, index[rows], x[rows], (level,)) for rows, level in zip(pairs, levels, strict=True)]
    torch.testing.assert_close(run(made, index, x, levels), torch.cat(by_level), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_attention_against_a_plain_softmax():
    block, x = network().blocks[0], torch.randn(4, 16)
    key_value = torch.randn(4, 5, 32)
    q, k, v = block.query(x).view(4, 2, 8), key_value[..., :16].view(4, 5, 2, 8), key_value[..., 16:].view(4, 5, 2, 8)
    weights = torch.softmax((q[:, None] * k).sum(-1) / 8**0.5, dim=1)
    expected = (weights[..., None] * v).sum(1).reshape(4, 16)
    torch.testing.assert_close(block._attend(x, key_value), expected)


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_an_untrained_denoiser_predicts_the_mean(kind):
    assert not run(network(kind, std=0), np.arange(5), torch.randn(5, 10)).any()


@torch.no_grad()
def test_what_is_dropped_is_the_null_token_of_its_slot():
    made, index = network(), np.arange(5)
    dropped = np.zeros((5, 5), dtype=bool)
    dropped[:, 1] = True
    tokens, place = made.distinct_tokens(TOKENS.batch(index, dropped))
    torch.testing.assert_close(tokens[place[:, 1]], made.null_tokens[1].expand(5, -1))
    tokens, place = made.distinct_tokens(TOKENS.batch(index).and_nothing())
    torch.testing.assert_close(tokens[place[5:]], made.null_tokens.expand(5, -1, -1))
    tokens, place = made.distinct_tokens(BOXES.batch(index))
    torch.testing.assert_close(tokens[place[:, :3]], made.null_tokens[:3].expand(5, -1, -1))


@torch.no_grad()
def test_a_feature_lies_on_the_smallest_square_that_holds_it_and_halves_evenly():
    sides = {(4096, 4): 64, (512, 3): 24, (1, 1): 1, (16, 1): 4, (17, 1): 5, (17, 2): 6, (17, 3): 8, (2048, 2): 46}
    assert {case: side_of_square(*case) for case in sides} == sides
    assert UNetConfig(channels=(320, 640, 1280, 1280)).norm_groups == 32
    for channels, dimension in (((8,), 16), ((8, 16), 21), ((4, 8, 8), 48)):
        predicted = run(network("unet", dimension, channels=channels), np.arange(4), torch.randn(4, dimension))
        assert predicted.shape == (4, dimension) and torch.isfinite(predicted).all()


@pytest.mark.parametrize("name", get_args(Schedule))
def test_x0_from_noise_is_that_of_the_schedulers_of_diffusers(name):
    from diffusers import DDIMScheduler, DDPMScheduler

    ours, betas = NoiseSchedule(name), {"beta_schedule": name, "beta_start": 0.0015, "beta_end": 0.0195}
    options = betas | {"prediction_type": "epsilon", "clip_sample": True, "clip_sample_range": 10.0}
    theirs = [DDPMScheduler(**options), DDIMScheduler(**options)]
    theirs[1].set_timesteps(1000)
    made, draw = network(target="epsilon"), torch.Generator().manual_seed(0)
    for timestep in (0, 17, 400, 930, 999):
        clean, noise = torch.randn(2, 4, 10, generator=draw)
        noisy = ours.alpha[timestep] * clean + ours.sigma[timestep] * noise
        levels = NoiseLevels(ours.half_log_snr[[timestep]])
        predicted = noise + 1e-3 * torch.randn(4, 10, generator=draw)
        for scheduler in theirs:
            expected = scheduler.step(predicted, timestep, noisy).pred_original_sample
            torch.testing.assert_close(made.to_clean(predicted, noisy, levels), expected, rtol=2e-3, atol=2e-3)
        exact = levels.clean_from_noise(noisy.to(torch.bfloat16).float(), noise.to(torch.bfloat16))
        assert exact.dtype == torch.float32 and torch.isfinite(exact).all()


def test_features_are_standardised_and_restored_and_a_constant_dimension_keeps_its_constant():
    made, features = network(features=3), torch.randn(40, 3) * 5 + 100
    made.mean.copy_(torch.tensor([100.0, 100.0, 7.0]))
    made.standard_deviation.copy_(torch.tensor([5.0, 5.0, 0.0]))
    standardised = made.standardise(features)
    assert not standardised[:, 2].any() and standardised[:, :2].std() < 1.5
    torch.testing.assert_close(made.restore(standardised)[:, :2], features[:, :2])
    # Whatever a network says about that dimension, the constant comes back.
    assert (made.restore(standardised + 5.0)[:, 2] == 7.0).all()


@pytest.mark.parametrize(("values", "message"), [
    ({"denoiser": "transformer"}, r"denoiser 'transformer' is not known.*mlp, unet"),
    ({"denoiser": "nowhere:mine"}, "cannot be imported"), ({"network": {"layout": "other"}}, "layout"),
    ({"denoiser": MLPConfig}, r"expected a pair \(configuration class, network class\)"),
    ({"network": {"target": "velocity"}}, r"target: expected 'x0' or 'epsilon', got 'velocity'"),
    ({"network": {"width": 30, "heads": 4}}, "multiple of heads"), ({"network": {"widht": 30}}, "Did you mean 'width'"),
    ({"network": UNetConfig()}, "MLPConfig"), ({"schedule": "cosine"}, "schedule: expected 'squaredcos_cap_v2'"),
    ({"denoiser": "unet", "network": {"channels": [12, 16]}}, "multiple of heads"),
    ({"denoiser": "unet", "network": {"channels": []}}, r"channels is \[\]; give at least one: .*at least 1"),
    ({"denoiser": "unet", "network": {"layers": 0}}, "layers is 0; expected a whole number of at least 1"),
    ({"entity_features": "real"}, "entity_features: expected 'boxes' or 'generated', got 'real'"),
    ({"class_balancing": -1.0}, "class_balancing is -1.0"),
])  # fmt: skip
def test_names_and_sizes_that_are_not_known_are_refused(values, message):
    for make in (lambda: DiffusionConfig(**values), lambda: configured(DiffusionConfig, values)):
        refused(message, make)


def test_each_denoiser_has_its_own_configuration():
    assert DiffusionConfig().network == MLPConfig() and DiffusionConfig(denoiser="unet").network.target == "epsilon"
    assert DiffusionConfig(denoiser=DENOISERS["unet"], network={"layers": 1}).network == UNetConfig(layers=1)
