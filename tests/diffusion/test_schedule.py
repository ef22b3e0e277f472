from typing import get_args

import numpy as np
import pytest
import torch

from tests.refusals import refused
from workbench.diffusion.config import Schedule
from workbench.diffusion.schedule import SOLVERS, NoiseSchedule, solve
from workbench.randomness import row_normal

VARIANCES = torch.tensor([0.01, 0.1, 0.5, 1.0, 3.0, 10.0])
MEANS = torch.linspace(-1.5, 1.5, 6)


def gaussian_denoiser(schedule, timesteps):
    """The exact E[x_0 | x_t] of independent Gaussians."""

    def predict(x, step):
        alpha, sigma = schedule.alpha[timesteps[step]], schedule.sigma[timesteps[step]]
        gain = alpha * VARIANCES / (alpha**2 * VARIANCES + sigma**2)
        return MEANS + gain * (x - alpha * MEANS)

    return predict


def sample_gaussian(schedule, solver, steps, n=8000, strength=1.0, start=None):
    timesteps = schedule.grid(steps, strength)
    first = int(timesteps[0])
    noise = row_normal(3, "x", np.arange(n), 6)
    clean = torch.zeros(n, 6) if start is None else start
    noisy = schedule.alpha[first] * clean + schedule.sigma[first] * noise
    step_noise = lambda step: row_normal(3, str(step), np.arange(n), 6)  # noqa: E731
    predict = gaussian_denoiser(schedule, timesteps)
    return solve(schedule, noisy, timesteps, predict, solver=solver, step_noise=step_noise)


@pytest.mark.parametrize("name", get_args(Schedule))
@pytest.mark.parametrize(("solver", "steps", "tolerance"), [("dpm++", 40, 0.1), ("dpm++sde", 40, 0.15)])
def test_the_sampler_recovers_mean_and_variance_of_a_known_gaussian(name, solver, steps, tolerance):
    sampled = sample_gaussian(NoiseSchedule(name), solver, steps)
    noise_left = NoiseSchedule(name).sigma[0] ** 2 / VARIANCES  # the last x_0 is the mean over this noise
    assert ((sampled.var(0) / VARIANCES - 1).abs() < tolerance + noise_left).all()
    assert ((sampled.mean(0) - MEANS).abs() < 0.05 + 0.05 * VARIANCES.sqrt()).all()
    correlation = torch.corrcoef(sampled.T) - torch.eye(6)
    assert correlation.abs().max() < 0.05


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
def test_starting_from_noised_true_samples_gives_true_samples(strength):
    true = MEANS + VARIANCES.sqrt() * row_normal(0, "true", np.arange(8000), 6)
    sampled = sample_gaussian(NoiseSchedule(), "dpm++", 40, strength=strength, start=true)
    assert ((sampled.var(0) / VARIANCES - 1).abs() < 0.1).all()


def wavy(x, step):
    return torch.tanh(x) * 0.9 + 0.1 * torch.roll(x, 1, dims=1)


def stepped(scheduler, x, **options):
    """A plain loop over a scheduler of diffusers."""
    for step, timestep in enumerate(scheduler.timesteps):
        x = scheduler.step(wavy(x, step), timestep, x, **options).prev_sample
    return x


def test_our_loop_agrees_with_loops_over_diffusers_own_schedulers():
    import diffusers

    schedule, x = NoiseSchedule(), torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    options = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}
    ddim = diffusers.DDIMScheduler(timestep_spacing="trailing", clip_sample=False, **options)
    ddim.set_timesteps(25)
    ours = solve(schedule, x, ddim.timesteps.numpy(), wavy, solver="ddim")
    torch.testing.assert_close(ours, stepped(ddim, x), rtol=1e-4, atol=1e-4)

    ddpm, timesteps = diffusers.DDPMScheduler(clip_sample=False, **options), schedule.grid(12)
    ddpm.set_timesteps(timesteps=timesteps.tolist())
    noise = torch.randn(12, *x.shape, generator=torch.Generator().manual_seed(5))
    ours = solve(schedule, x, timesteps, wavy, solver="ddpm", step_noise=lambda step: noise[step])
    expected = stepped(ddpm, x, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)

    multistep = diffusers.DPMSolverMultistepScheduler(solver_order=2, **options)
    multistep.set_timesteps(timesteps=schedule.grid(15).tolist())
    ours = solve(schedule, x, schedule.grid(15), wavy)
    torch.testing.assert_close(ours, stepped(multistep, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", get_args(Schedule))
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 20, 90])
def test_grids_fall_strictly_and_end_near_the_data(name, strength, steps):
    schedule = NoiseSchedule(name)
    timesteps = schedule.grid(steps, strength)
    assert len(timesteps) == steps and (np.diff(timesteps) < 0).all() and timesteps[-1] >= 0
    assert timesteps[0] <= round(strength * schedule.timesteps) - 1
    if steps > 1:  # few steps stop earlier, half log-SNR 2 and not 4
        assert timesteps[-1] < 40 or (steps < 40 and schedule.half_log_snr[timesteps[-1]] > 1.9)


@pytest.mark.parametrize(("steps", "tolerance"), [(4, 0.4), (8, 0.1)])
def test_few_steps_keep_mean_and_variance_of_what_varies_enough(steps, tolerance):
    sampled, wide = sample_gaussian(NoiseSchedule(), "dpm++", steps), VARIANCES >= 0.5
    assert ((sampled.var(0) / VARIANCES - 1).abs()[wide] < tolerance).all()
    assert ((sampled.mean(0) - MEANS).abs() < 0.05 + 0.05 * VARIANCES.sqrt()).all()


def test_every_value_of_a_long_run_is_finite():
    for solver in SOLVERS:
        assert torch.isfinite(sample_gaussian(NoiseSchedule(), solver, 100, n=256)).all()


def test_impossible_grids_are_refused():
    schedule = NoiseSchedule()
    for strength in (0.0, -0.1, 1.1):
        refused("strength", schedule.grid, 10, strength)
    refused("there are 1 to 50", schedule.grid, 51, 0.05)
