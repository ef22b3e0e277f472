"""What one training step sees, as a function of (seed, step) alone: rows, noise levels, noise and dropped tokens."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from workbench.diffusion.token_bank import TokenBank
from workbench.randomness import generator, torch_generator
from workbench.scenes.vocabulary import ROLES

ROWS_PER_LEVEL = 4


@dataclass(frozen=True)
class ConditionDropout:
    """Shares of rows that lose every token, only the hardness token, or each other token alone (reference, F)."""

    everything: float = 0.10
    hardness: float = 0.10
    token: float = 0.05


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
        draw = torch_generator(self.seed, "noise", step, device=device.type)
        return torch.randn(self.batch_size, dimension, generator=draw, device=device)

    def drop(self, step: int, ids: np.ndarray, bank: TokenBank, dropout: ConditionDropout, hardness: bool):
        """Token ids (B, S) with some replaced by their slot's null token."""
        draw = generator(self.seed, "condition dropout", step)
        everything, alone = draw.random((len(ids), 1)), draw.random(ids.shape)
        rates = np.full(ids.shape[1], dropout.token)
        if ids.shape[1] == 1:
            rates[:] = 0.0  # a pooled condition has no token to lose alone
        elif hardness:
            rates[-1] = dropout.hardness
        dropped = (everything < dropout.everything) | (alone < rates)
        return np.where(dropped, bank.null_ids, ids)
