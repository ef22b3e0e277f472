"""How long sampling takes to one quality: our network and solver beside a plain residual MLP and diffusers' DDIM.

At 256 dimensions, where a network trains in a minute: rows lie around the known means of 200 conditions, in 16
directions each, beside some noise. Both networks have as many parameters and steps of training.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from reports.benchmarks.denoisers import PlainConfig, PlainMLP
from reports.benchmarks.running import timed
from tests.diffusion.cases import IDENTITY, condition_tokens, text, training_rows
from workbench.devices import chosen_device, network_autocast, network_precision
from workbench.diffusion.checkpoint import CHECKPOINT, DenoiserCheckpoint
from workbench.diffusion.config import DEFAULT_TRAINING, DiffusionConfig
from workbench.diffusion.fidelity_distances import Gaussian, frechet_distance
from workbench.diffusion.schedule import solve
from workbench.diffusion.train import train_denoiser
from workbench.randomness import generator

_DIMENSION, _TEXT, _CONDITIONS, _ROWS, _STEPS, _TURNS = 256, 64, 200, 4000, 600, 3
_EVALUATIONS, _COMPONENTS, _CLOSE = (2, 4, 8, 20), 128, 1.05
_NETWORKS: dict[str, Any] = {
    "our_network": {"network": {"width": 256, "blocks": 3}},
    "plain_mlp": {"denoiser": (PlainConfig, PlainMLP), "network": {"width": 256, "blocks": 4}},
}


def benchmark_equal_quality() -> dict[str, Any]:
    """Frechet distance of 4,000 samples by evaluations, and seconds to within 5 % of the least distance of all.

    Of rows drawn anew, the "floor" is the distance of other such rows. Who does not come so close is named so.
    """
    real, floor = (Gaussian.fit(_rows(purpose)[0]) for purpose in ("real", "floor"))
    found: dict[str, Any] = {"floor_distance": frechet_distance(real, floor.features, components=_COMPONENTS)}
    reached: dict[str, list[tuple[int, float, float]]] = {}
    for name, choice in _NETWORKS.items():
        checkpoint = _trained(choice)
        found[f"{name}_parameters"] = checkpoint.network.parameter_count()
        for solver, sample in {"our_solver": _ours, "ddim": _ddim}.items():
            reached[f"{name}_{solver}"] = [(n, *_sampled(checkpoint, sample, n, real)) for n in _EVALUATIONS]
    wanted = _CLOSE * min(distance for each in reached.values() for _, _, distance in each)
    for name, each in reached.items():
        found |= {f"{name}_{evaluations}_evaluations_distance": distance for evaluations, _, distance in each}
        close = [(taken, evaluations) for evaluations, taken, distance in each if distance <= wanted]
        if close:
            found[f"{name}_seconds_to_equal_distance"], found[f"{name}_evaluations_to_equal_distance"] = min(close)
        else:
            found[f"{name}_never_reaches_equal_distance_but"] = min(distance for _, _, distance in each)
    return found | {"equal_distance": wanted}


def _rows(purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 256) and their conditions (n,)."""
    shape, draw = generator(0, "shape of the data"), generator(0, purpose)
    means = 1.5 * shape.standard_normal((_CONDITIONS, _DIMENSION))
    directions = shape.standard_normal((_CONDITIONS, 16, _DIMENSION))
    index = np.arange(_ROWS) % _CONDITIONS
    along = draw.standard_normal((_ROWS, 1, 16)) @ directions[index]
    noise = 0.3 * draw.standard_normal((_ROWS, _DIMENSION))
    return (means[index] + 0.3 * along[:, 0] + noise).astype(np.float32), index


def _trained(choice: dict[str, Any]) -> DenoiserCheckpoint:
    config = DiffusionConfig(**choice, hardness=False, epochs=_STEPS * 512 / (4 * _ROWS), training=DEFAULT_TRAINING)
    drawn = [_rows(f"training {part}") for part in range(4)]
    features, index = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    rows = training_rows(features, index, condition_tokens(_CONDITIONS, _TEXT))
    known = text(dimension=_TEXT)
    with tempfile.TemporaryDirectory() as folder:
        train_denoiser(Path(folder), rows, known, known.objects[:0], IDENTITY, config=config)
        return DenoiserCheckpoint.load(Path(folder) / CHECKPOINT, "cpu")


def _sampled(checkpoint: DenoiserCheckpoint, sample: Callable, evaluations: int, real: Gaussian) -> tuple[float, float]:
    """Median seconds and Frechet distance."""
    network, index = checkpoint.network, np.arange(_ROWS) % _CONDITIONS
    noise = torch.from_numpy(generator(0, "noise").standard_normal((_ROWS, _DIMENSION), dtype=np.float32))
    device, taken = chosen_device("cpu"), []
    with torch.no_grad(), network_autocast(device, network_precision(device)):
        for _ in range(_TURNS):
            conditions = condition_tokens(_CONDITIONS, _TEXT).batch(index)
            seconds, clean = timed(sample, checkpoint, noise, conditions, evaluations)
            taken.append(seconds)
    made = network.restore(clean).numpy()
    return statistics.median(taken), frechet_distance(real, made, components=_COMPONENTS)


def _ours(checkpoint: DenoiserCheckpoint, noise: torch.Tensor, conditions: Any, evaluations: int) -> torch.Tensor:
    return solve(
        checkpoint.schedule, noise, *_prediction(checkpoint, conditions, checkpoint.schedule.grid(evaluations))
    )


def _ddim(checkpoint: DenoiserCheckpoint, noise: torch.Tensor, conditions: Any, evaluations: int) -> torch.Tensor:
    scheduler = DDIMScheduler(
        beta_schedule=checkpoint.schedule.name, prediction_type="sample", clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(evaluations)
    times, predict = _prediction(checkpoint, conditions, scheduler.timesteps.numpy())
    for step, time in enumerate(times.tolist()):
        noise = scheduler.step(predict(noise, step), time, noise).prev_sample
    return noise


def _prediction(checkpoint: DenoiserCheckpoint, conditions: Any, times: np.ndarray) -> tuple[np.ndarray, Callable]:
    network = checkpoint.network
    memory, levels = network.encode(conditions), network.modulation(checkpoint.schedule.half_log_snr[times])
    return times, lambda x, step: network.to_clean(network(x, levels.level(step), memory), x, levels.level(step))
