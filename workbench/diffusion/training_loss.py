"""The loss of denoiser training at given rows, noise and noise levels.

For a network that predicts x_0 the loss is the squared x_0 error times min(1 + SNR, 5), which is the velocity error
(1 / sigma^2) capped: without the cap the nearly clean levels, which a network narrower than the features cannot win,
would outweigh the noisy ones, on which it depends what class a sample belongs to (diffusion reference, 0.3 and F;
Min-SNR weighting). For one that predicts the noise it is the plain squared error of the noise, all levels alike, as in
latent diffusion. Class balancing adds its terms at the same weights.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from workbench.devices import network_autocast
from workbench.diffusion.class_balancing import BalancedConditions, balancing_terms
from workbench.diffusion.conditioned_network import ConditionedNetwork
from workbench.diffusion.diffusion_config import DiffusionConfig
from workbench.diffusion.schedule import NoiseSchedule
from workbench.diffusion.token_bank import TokenBank
from workbench.diffusion.training_batches import BatchPart
from workbench.randomness import derived_seed
from workbench.row_dropout import rows_of_batch

LARGEST_WEIGHT = 5.0


class DenoisingLoss:
    """The loss for a ``target`` "x0" or "epsilon".

    ``region`` (M,) belongs to the conditions of ``bank``; ``balanced`` None is no balancing.
    """

    def __init__(
        self,
        config: DiffusionConfig,
        schedule: NoiseSchedule,
        bank: TokenBank,
        region: np.ndarray,
        *,
        target: str,
        balanced: BalancedConditions | None,
        seed: int,
        device: torch.device,
        precision: str,
    ):
        self.config, self.bank, self.region, self.target, self.balanced = config, bank, region, target, balanced
        self.seed, self.device, self.precision = seed, device, precision
        weight = torch.clamp(1.0 + (2.0 * schedule.half_log_snr.double()).exp(), max=LARGEST_WEIGHT)
        if target == "epsilon":
            weight = torch.ones_like(weight)
        self.level_weight = (weight / weight.mean()).float().to(device)
        self.time_share = (torch.arange(1, len(weight) + 1) / len(weight)).to(device)
        self.alpha, self.sigma = schedule.alpha.to(device), schedule.sigma.to(device)
        self.half_log_snr = schedule.half_log_snr.to(device)

    def __call__(
        self,
        model: ConditionedNetwork,
        clean: Tensor,
        noise: Tensor,
        timesteps: np.ndarray,
        ids: np.ndarray,
        index: np.ndarray,
        step: int | None = None,
        part: BatchPart | None = None,
    ) -> Tensor:
        """Mean loss over the L ``timesteps``, in the order of which ``clean`` and ``noise`` (n, D) are L equal groups.

        ``ids`` (n, S) are the rows' tokens, ``index`` (n,) their conditions. A ``step`` is one of training, with
        dropout and class balancing, and the rows are a ``part`` of its batch (None: all); without a step it measures.
        """
        levels = torch.from_numpy(timesteps).to(self.device)
        grouped = (len(timesteps), -1, clean.shape[1])
        alpha, sigma = self.alpha[levels, None, None], self.sigma[levels, None, None]
        noisy = (alpha * clean.view(grouped) + sigma * noise.view(grouped)).view_as(clean)
        region = torch.from_numpy(self.region[index]).to(self.device)
        wanted = clean if self.target == "x0" else noise
        predicted = self.predicted(model, noisy, levels, ids, region, step, part)
        error = (predicted - wanted).square().view(grouped).mean(dim=(1, 2))  # (L,)
        if self.balanced is not None and step is not None:
            other_ids = self.balanced_ids(step, ids, index, part)
            other = self.predicted(model, noisy, levels, other_ids, region, step, part)
            terms = balancing_terms(predicted, other).view(grouped).mean(dim=(1, 2))  # (L,)
            error = error + self.config.class_balancing * self.time_share[levels] * terms
        return (self.level_weight[levels] * error).mean()

    def predicted(
        self,
        model: ConditionedNetwork,
        noisy: Tensor,
        levels: Tensor,
        ids: np.ndarray,
        region: Tensor,
        step: int | None,
        part: BatchPart | None = None,
    ) -> Tensor:
        """The network's output (n, D) float32 at ``noisy``; one step's dropout masks are the same in every call."""
        # Both predictions of class balancing share their masks: they are to differ by their conditions alone.
        with self._network_dropout(step, part), network_autocast(self.device, self.precision):
            memory = model.encode(self.bank.batch(ids, self.device))
            return model(noisy, model.modulation(self.half_log_snr[levels]), memory, region).float()

    def balanced_ids(self, step: int, ids: np.ndarray, index: np.ndarray, part: BatchPart | None = None) -> np.ndarray:
        """Token ids (n, S) of the other conditions; what a row has lost is lost there too.

        A row without any condition has nothing to balance.
        """
        rows = slice(None) if part is None else part.rows
        other = self.bank.ids[self.balanced.draw(step, index, rows, 0 if part is None else self.config.batch_size)]
        return np.where(ids == self.bank.null_ids, ids, other)

    @contextlib.contextmanager
    def _network_dropout(self, step: int | None, part: BatchPart | None) -> Iterator[None]:
        if self.config.dropout <= 0.0 or step is None:
            yield
            return
        rows = slice(0, self.config.batch_size) if part is None else part.rows
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derived_seed(self.seed, "network dropout", step))
            with rows_of_batch(rows, self.config.batch_size):
                yield
