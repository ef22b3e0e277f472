"""The denoising loss on fixed rows with fixed noise, by which two moments of a training compare."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from workbench.diffusion.conditioned_network import ConditionedNetwork
from workbench.diffusion.training_loss import DenoisingLoss
from workbench.randomness import generator, torch_generator

MOST_ROWS, MOST_LEVELS = 2048, 16


@dataclass(frozen=True)
class SeenRows:
    """``features`` (n, D) float32 and ``condition_index`` (n,) of some rows, an equal share for each noise level."""

    name: str
    features: np.ndarray
    condition_index: np.ndarray
    levels: int

    @classmethod
    def drawn(cls, name: str, features, condition_index: np.ndarray, seed: int) -> "SeenRows | None":
        """At most 2,048 rows of ``features``; None where there are none."""
        rows = np.arange(len(features))
        if len(rows) > MOST_ROWS:
            rows = np.sort(generator(seed, "seen rows", name).choice(len(rows), MOST_ROWS, replace=False))
        levels = min(MOST_LEVELS, len(rows))
        rows = rows[: len(rows) // max(1, levels) * levels]
        if not len(rows):
            return None
        return cls(name, np.asarray(features[rows], dtype=np.float32), condition_index[rows], levels)

    @torch.no_grad()
    def loss(self, model: ConditionedNetwork, denoising: DenoisingLoss, standardised, timesteps: int) -> float:
        """The mean denoising loss of ``model``; ``standardised`` maps features on the device, ``timesteps`` is T."""
        noise = torch_generator(denoising.seed, "seen noise", self.name, device="cpu")
        noise = torch.randn(self.features.shape, generator=noise).to(denoising.device)
        levels = ((np.arange(self.levels) + 0.5) / self.levels * timesteps).astype(np.int64)
        clean = standardised(torch.from_numpy(self.features).to(denoising.device))
        total = 0.0
        for rows in self._batches(model.rows_at_once):
            index, here = self.condition_index[rows], torch.from_numpy(rows).to(denoising.device)
            loss = denoising(model, clean[here], noise[here], levels, denoising.bank.ids[index], index)
            total += loss.item() * len(rows)
        return total / len(self.features)

    def _batches(self, most: int) -> Iterator[np.ndarray]:
        """Row numbers of all rows in batches of about ``most``, each an equal share of every level's rows."""
        by_level = np.arange(len(self.features)).reshape(self.levels, -1)  # (L, rows of a level)
        share = max(1, most // self.levels)
        for first in range(0, by_level.shape[1], share):
            yield by_level[:, first : first + share].reshape(-1)
