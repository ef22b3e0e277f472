"""What one training step sees, as a function of (seed, step) alone: rows, noise levels, noise and dropped tokens."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from workbench.diffusion.token_bank import TokenBank
from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.randomness import generator, torch_generator
from workbench.scenes.vocabulary import ROLES

ROWS_PER_LEVEL = 4


@dataclass(frozen=True)
class ConditionDropout:
    """Shares of rows that lose every token, only the hardness token, or each other token alone (reference, F)."""

    everything: float = 0.10
    hardness: float = 0.10
    token: float = 0.05


@dataclass(frozen=True)
class BatchPart:
    """Consecutive rows of a batch that are computed in one go: all rows of some whole noise levels.

    ``share`` is the part's share of the batch's levels, the weight of its mean loss in that of the batch.
    """

    rows: slice
    levels: slice
    share: float = 1.0


def rarity_weights(relations: pd.DataFrame, power: float) -> np.ndarray:
    """How often to draw each row of ``relations``: (its rarest role's class count) ** -power, (N,) float64, mean 1.

    0.5 is square-root sampling; 0 draws all rows alike. Subject and object are counted by role.
    """
    rarest = np.full(len(relations), np.inf)
    for role in ROLES:
        classes = relations[role].to_numpy()
        rarest = np.minimum(rarest, np.bincount(classes)[classes])
    weights = rarest**-power
    return weights / weights.mean()


class TrainingBatches:
    """Draws for batches of ``batch_size`` rows; ``row_weights`` (N,) are unnormalised drawing rates."""

    def __init__(self, seed: int, batch_size: int, row_weights: np.ndarray, timesteps: int):
        self.seed, self.batch_size, self.timesteps = seed, batch_size, timesteps
        cumulative = np.cumsum(row_weights, dtype=np.float64)
        self.cumulative = cumulative / cumulative[-1]
        self.levels = batch_size // math.gcd(batch_size, ROWS_PER_LEVEL)

    def parts(self, processes: Processes, accumulation: int = 1) -> list[BatchPart]:
        """The parts of every batch that one of ``processes`` computes one after the other, ``accumulation`` of them.

        They follow each other without a gap. WorkbenchError where the batch has fewer noise levels than all processes
        together have parts.
        """
        count = processes.count * accumulation
        if not 1 <= count <= self.levels:
            raise WorkbenchError(
                f"a batch of {self.batch_size} rows has {self.levels} noise levels, which cannot be shared out to "
                f"{processes.count} processes with accumulation {accumulation}. Choose a batch_size of at least "
                f"{ROWS_PER_LEVEL * count} rows and a multiple of {ROWS_PER_LEVEL}, or an accumulation of 1 or more."
            )
        bounds = np.linspace(0, self.levels, count + 1).astype(int)
        rows = self.batch_size // self.levels
        own = range(processes.rank * accumulation, (processes.rank + 1) * accumulation)
        edges = [(int(bounds[number]), int(bounds[number + 1])) for number in own]
        return [
            BatchPart(slice(first * rows, last * rows), slice(first, last), (last - first) / self.levels)
            for first, last in edges
        ]

    def rows(self, step: int) -> np.ndarray:
        """Training rows (B,) int64, drawn with replacement."""
        uniform = generator(self.seed, "training rows", step).random(self.batch_size)
        return np.minimum(np.searchsorted(self.cumulative, uniform, side="right"), len(self.cumulative) - 1)

    def level_timesteps(self, step: int) -> np.ndarray:
        """Timesteps (L,) int64, one from each L-th part of the schedule; B / L rows share one.

        Stratified, so that no batch lacks a noise level; shared, so that modulation costs a quarter.
        """
        uniform = generator(self.seed, "timesteps", step).random(self.levels)
        return np.floor((np.arange(self.levels) + uniform) / self.levels * self.timesteps).astype(np.int64)

    def noise(self, step: int, dimension: int, device: torch.device) -> torch.Tensor:
        """Standard normal noise (B, D), drawn on the device."""
        draw = torch_generator(self.seed, "noise", step, device=str(device))
        return torch.randn(self.batch_size, dimension, generator=draw, device=device)

    def drop(
        self,
        step: int,
        ids: np.ndarray,
        bank: TokenBank,
        dropout: ConditionDropout,
        hardness: bool,
        rows: slice = slice(None),
    ) -> np.ndarray:
        """Token ids (n, S) of the batch's ``rows`` with some replaced by their slot's null token."""
        draw = generator(self.seed, "condition dropout", step)
        everything, alone = draw.random((self.batch_size, 1))[rows], draw.random((self.batch_size, ids.shape[1]))[rows]
        rates = np.full(ids.shape[1], dropout.token)
        if ids.shape[1] == 1:
            rates[:] = 0.0  # a pooled condition has no token to lose alone
        elif hardness:
            rates[-1] = dropout.hardness
        dropped = (everything < dropout.everything) | (alone < rates)
        return np.where(dropped, bank.null_ids, ids)
