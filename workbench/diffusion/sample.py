"""Sampling features from a trained denoiser: of given conditions, of triplets in words, and the stage for all."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from workbench.devices import network_autocast, network_precision
from workbench.diffusion.checkpoint import CHECKPOINT, DenoiserCheckpoint
from workbench.diffusion.conditioned_network import ConditionedNetwork, NoiseLevels
from workbench.diffusion.conditions import ABSENT, ConditionBatch, ConditionTokens, box_conditions, triplet_conditions
from workbench.diffusion.config import SamplingConfig
from workbench.diffusion.exemplars import Sampler, draw_boxes, initial_features
from workbench.diffusion.generators import wanted_triplets, write_generated
from workbench.diffusion.schedule import solve
from workbench.errors import WorkbenchError
from workbench.files import sha256_of_file
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets
from workbench.progress import track
from workbench.randomness import row_normal
from workbench.regions.features import FeaturesFolder, FeatureStore


def sample_features(
    checkpoint: DenoiserCheckpoint,
    conditions: ConditionTokens,
    index: np.ndarray,
    config: SamplingConfig,
    *,
    init: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    purpose: str = "sample",
) -> np.ndarray:
    """Features (N, D) float32 for the conditions ``index`` (N,).

    ``init`` (N, D) are features to begin at, noised to ``config.strength`` (DiffAugment, section 3.3); without them
    sampling begins at noise, whatever ``config.init`` says. The noise belongs to ``rows`` (N,) (0 .. N-1 by default)
    and ``purpose``, not to the batch. Rectified features are cut at 0, since that is what their encoder does.
    WorkbenchError for conditions that do not fit the denoiser and for samples that are not finite.
    """
    checkpoint.require_conditions(conditions, config.guidance)
    network, schedule, dimension = checkpoint.network, checkpoint.schedule, checkpoint.network.sizes.features
    rows = np.arange(len(index)) if rows is None else rows
    if init is not None and init.shape != (len(rows), dimension):
        raise WorkbenchError(f"the initial features are {init.shape}, the denoiser takes {(len(rows), dimension)}.")
    timesteps = schedule.grid(config.steps, 1.0 if init is None else config.strength)
    features, finite = torch.empty((len(rows), dimension)), torch.ones(len(rows), dtype=torch.bool)
    with torch.no_grad():
        levels = network.modulation(schedule.half_log_snr[timesteps].to(network.mean.device))
        for first in track(range(0, len(rows), network.rows_at_once), "Sampling features"):
            part = slice(first, first + network.rows_at_once)

            def noise(step: int, rows_of_part: np.ndarray = rows[part]) -> torch.Tensor:
                of_step = f"{purpose}/{'start' if step < 0 else step}"
                return row_normal(config.seed, of_step, rows_of_part, dimension, network.mean.device)

            noisy = noise(-1)
            if init is not None:
                alpha, sigma = (table[timesteps[0]].item() for table in (schedule.alpha, schedule.sigma))
                noisy = alpha * network.standardise(torch.from_numpy(init[part]).to(noisy.device)) + sigma * noisy
            with network_autocast(noisy.device, network_precision(noisy.device, config.precision)):
                predict = _prediction(network, conditions.batch(index[part]).to(noisy.device), levels, config.guidance)
                clean = solve(schedule, noisy, timesteps, predict, solver=config.solver, step_noise=noise)
            restored = network.restore(clean)
            finite[part] = torch.isfinite(restored).all(dim=1)
            features[part] = restored.relu_() if checkpoint.identity.support == "rectified" else restored
    bad = np.flatnonzero(~finite.numpy())
    if len(bad):
        what = f"{len(bad)} of {len(features)} sampled features are not finite, the first is row {bad[0]}"
        raise WorkbenchError(f"{what}. Lower guidance, or train the denoiser again with a lower learning rate.")
    return features.numpy()


def _prediction(
    network: ConditionedNetwork, conditions: ConditionBatch, levels: NoiseLevels, guidance: float
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """``predict(x, step)``: x_0 (B, D) float32 of noisy ``x`` (B, D) at the level of a step."""
    guided = guidance != 1.0
    memory = network.encode(conditions.and_nothing() if guided else conditions)

    def predict(x: torch.Tensor, step: int) -> torch.Tensor:
        level = levels.level(step)
        output = network(x.repeat(2, 1) if guided else x, level, memory).float()
        if guided:
            # One forward over both halves: the matrix products are bound by their number, not by their size. x_0 is
            # linear in the output, so guiding the output guides x_0 alike, whatever the target.
            with_condition, without = output.chunk(2)
            output = without + guidance * (with_condition - without)
        return network.to_clean(output, x, level)

    return predict


def sample_triplets(
    checkpoint: DenoiserCheckpoint,
    triplets: Sequence[str | Sequence[str | int]],
    config: SamplingConfig | None = None,
    *,
    text: TextEmbeddings | None = None,
    store: FeatureStore | None = None,
) -> np.ndarray:
    """One union feature (n, D) float32 for each triplet: "dog riding skateboard", or three names or class ids.

    ``text`` are the text embeddings of the training; without them the class names alone are the condition. With the
    train ``store`` sampling begins where ``config.init`` says, without it at noise. WorkbenchError for a class that the
    denoiser does not know, with the nearest name.
    """
    config, table = config or SamplingConfig(), checkpoint.identity.class_ids(triplets)
    if text is not None:
        checkpoint.require_text(text)
        conditions, index = triplet_conditions(text, table)
    else:
        classes, index = table.to_numpy(), np.arange(len(table))
        none = (np.empty((0, checkpoint.network.sizes.text), dtype=np.float32),)
        conditions = ConditionTokens(classes, np.full_like(index, ABSENT), np.zeros_like(index), none)
    init = None if store is None else initial_rows(checkpoint, store, table, config)
    return sample_features(checkpoint, conditions, index, config, init=init, purpose="triplets")


def initial_rows(
    checkpoint: DenoiserCheckpoint, store: FeatureStore, table: pd.DataFrame, config: SamplingConfig
) -> np.ndarray | None:
    """The features (n, D) at which sampling for all rows of ``table`` begins, None for noise."""
    checkpoint.require_store(store)
    means = initial_features(store, draw_boxes(store, table, config.seed), config.init, config.init_map, config.seed)
    return None if means is None else means(np.arange(len(table)))


def generate_features(
    folder: Path, *, features: Path, text: Path, triplets: Path, diffusion: Path, config: SamplingConfig | None = None
) -> dict:
    """Stage ``generated``: one union feature for each augmented triplet, or ``config.samples`` of them going round.

    Boxes are drawn for a "random" init too, since the subject's and object's features come from them unless the
    denoiser generates them (then all three regions are sampled, a box starting from its own drawn box). Writes
    generated.parquet and float16 arrays, so that a killed run resumes; the processes of a launcher share the rows.
    Returns metrics.
    """
    config, began, path = config or SamplingConfig(), time.monotonic(), Path(diffusion) / CHECKPOINT
    checkpoint, store = DenoiserCheckpoint.load(path), FeaturesFolder(features).train
    embeddings, stored = TextEmbeddings.open(text), read_triplets(triplets)
    checkpoint.require_store(store)
    checkpoint.require_text(embeddings)
    samples = config.samples or round(config.share * len(stored.augmented)) * (config.share < 1)
    wanted = wanted_triplets(store, stored.augmented, samples, config.seed)
    means = initial_features(store, wanted, config.init, config.init_map, config.seed)

    def sampler(of: tuple[ConditionTokens, np.ndarray], init: Sampler | None, purpose: str) -> Sampler:
        def sample(rows: np.ndarray) -> np.ndarray:
            begin = None if init is None else init(rows)
            return sample_features(checkpoint, of[0], of[1][rows], config, init=begin, rows=rows, purpose=purpose)

        return sample

    regions = {"union": sampler(triplet_conditions(embeddings, wanted, stored), means, "sample union")}
    learnt = config.entity_features == "auto" and "box" in checkpoint.identity.regions
    for role in ("subject", "object") if learnt or config.entity_features == "generated" else ():
        boxes, conditions = wanted[f"{role}_box"].to_numpy(), box_conditions(embeddings, wanted[role].to_numpy())
        init = None if means is None else (lambda rows, boxes=boxes: store.box(boxes[rows]))
        regions[role] = sampler(conditions, init, f"sample {role}")
    work = {"config": asdict(config), "denoiser": sha256_of_file(path), "augmented": len(stored.augmented)}
    work |= {"noise": checkpoint.network.mean.device.type}  # drawn where the network is
    written = write_generated(folder, wanted, store, regions, work)
    return written | {"regions": list(regions), "seconds": round(time.monotonic() - began, 3)}
