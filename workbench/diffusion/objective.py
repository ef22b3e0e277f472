"""What a denoiser is trained for: the loss at noised features, and class balancing.

For a network that predicts x_0 the loss is the squared x_0 error times min(1 + SNR, 5), which is the velocity error
(1 / sigma^2) capped: without the cap the nearly clean levels, which a network narrower than the features cannot win,
would outweigh the noisy ones, on which it depends what class a sample belongs to (diffusion reference, 0.3 and F;
Min-SNR weighting). For one that predicts the noise it is the plain squared error of the noise, all levels alike, as in
latent diffusion.

Class balancing (Qin et al. 2023, "Class-Balancing Diffusion Models") draws the prediction for a row's own condition y
to the one for a condition y' from a balanced label distribution, more so the noisier the row is::

    w ( |e(y)|^2 + tau s |f(y) - sg f(y')|^2 + gamma tau s |sg f(y) - f(y')|^2 ),  gamma = 1/4

with f the network's output at the same noisy feature, e its error and sg a stopped gradient. Two things are ours. ``s``
is the time as a share of the schedule, (t + 1) / T, so that tau 1 here is 1 / T for each timestep. And f is the output
in the network's own target, with the weight ``w`` of the denoising loss at that noise level. For the target epsilon w
is 1 and this is the article's loss. A difference in epsilon is alpha / sigma times one in x_0, so for the target x_0
the article's three terms have the weight SNR; training replaces SNR by min(1 + SNR, 5) in all three alike.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from workbench.devices import network_autocast, network_precision
from workbench.diffusion.conditioned_network import ConditionedNetwork
from workbench.diffusion.conditions import ConditionBatch, ConditionTokens
from workbench.diffusion.schedule import NoiseSchedule
from workbench.randomness import derived_seed, some_rows, torch_generator

LARGEST_WEIGHT = 5.0
COMMITMENT = 0.25
# Of the rows on which two moments of a training are compared.
MOST_EVAL_ROWS, MOST_EVAL_LEVELS = 2048, 16


@dataclass(frozen=True)
class TrainingBatch:
    """B features (B, D) with their conditions, and timesteps (L,) int64, one for each L-th part of the rows.

    ``balanced`` are the conditions y' of class balancing, or None.
    """

    features: Tensor
    conditions: ConditionBatch
    timesteps: Tensor
    balanced: ConditionBatch | None = None


class DenoisingObjective(nn.Module):
    """The losses "denoising" and, with a ``class_balancing`` (tau) above 0, "balancing" of ``network``."""

    def __init__(self, network: ConditionedNetwork, schedule: NoiseSchedule, class_balancing: float = 0.0):
        super().__init__()
        self.network, self.class_balancing = network, class_balancing
        weight = torch.clamp(1.0 + (2.0 * schedule.half_log_snr.double()).exp(), max=LARGEST_WEIGHT)
        if network.config.target == "epsilon":
            weight = torch.ones_like(weight)
        table = partial(nn.Buffer, persistent=False)  # of the timesteps
        self.level_weight = table((weight / weight.mean()).float())
        self.time_share = table(torch.arange(1, len(weight) + 1) / len(weight))
        self.alpha, self.sigma = table(schedule.alpha), table(schedule.sigma)
        self.half_log_snr = table(schedule.half_log_snr.clone())  # which the schedule keeps

    def forward(self, batch: TrainingBatch, step: int) -> dict[str, Tensor]:
        """The losses of a batch; noise and dropout come from torch's generator, which the training loop seeds."""
        noise = torch.randn(batch.features.shape, device=self.alpha.device)
        # Both predictions of class balancing share their masks: they are to differ by their conditions alone.
        masks = derived_seed(torch.initial_seed(), "masks")  # drawing it would wait for the device
        torch.manual_seed(masks)
        predicted, loss = self.denoised(self.network, batch, noise)
        losses = {"denoising": loss}
        if batch.balanced is not None:
            torch.manual_seed(masks)
            other, _ = self.denoised(self.network, replace(batch, conditions=batch.balanced), noise)
            timesteps = batch.timesteps.to(noise.device)
            terms = self.time_share[timesteps] * _per_level(balancing_terms(predicted, other), timesteps)
            losses["balancing"] = self.class_balancing * self._weighted(terms, timesteps)
        return losses

    def denoised(self, network: ConditionedNetwork, batch: TrainingBatch, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What a network predicts (B, D) of features noised by ``noise`` (B, D), and the denoising loss."""
        timesteps = batch.timesteps.to(noise.device)
        features = network.standardise(batch.features.to(noise.device))
        grouped = (len(timesteps), -1, features.shape[1])
        alpha, sigma = self.alpha[timesteps, None, None], self.sigma[timesteps, None, None]
        noisy = (alpha * features.view(grouped) + sigma * noise.view(grouped)).view_as(features)
        memory = network.encode(batch.conditions.to(noise.device))
        predicted = network(noisy, network.modulation(self.half_log_snr[timesteps]), memory).float()
        error = (predicted - (features if network.config.target == "x0" else noise)).square()
        return predicted, self._weighted(error, timesteps)

    def _weighted(self, error: Tensor, timesteps: Tensor) -> Tensor:
        return (self.level_weight[timesteps] * _per_level(error, timesteps)).mean()


def balancing_terms(predicted: Tensor, balanced: Tensor) -> Tensor:
    """Both squared differences of the outputs for y and y', elementwise (B, D), before tau, time share and weight.

    The first has a gradient in ``predicted`` alone, the second, `COMMITMENT` times it, in ``balanced`` alone.
    """
    return (predicted - balanced.detach()).square() + COMMITMENT * (predicted.detach() - balanced).square()


class BalancedConditions:
    """Draws y': a relation class uniformly among those trained on, then one of its conditions uniformly.

    A box has no relation; its class is the name that captions it, and the y' of a box is a box. Row and y' may be of
    the same class, as in the article.
    """

    def __init__(self, conditions: ConditionTokens, index: np.ndarray):
        trained = np.flatnonzero(np.bincount(index))
        region, relation = conditions.region[trained], conditions.classes[trained, 1]
        keys = np.stack([region, np.where(region == 1, conditions.caption[trained], relation)], axis=1)
        classes, of_condition = np.unique(keys, axis=0, return_inverse=True)  # sorted by region, then class
        self.members = trained[np.argsort(of_condition.reshape(-1), kind="stable")]
        self.counts = np.bincount(of_condition.reshape(-1))
        self.starts = np.cumsum(self.counts) - self.counts
        self.region = conditions.region
        regions = np.arange(conditions.region.max() + 1)
        self.first_class = np.searchsorted(classes[:, 0], regions)
        self.n_classes = np.searchsorted(classes[:, 0], regions, side="right") - self.first_class

    def draw(self, uniform: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Conditions (n,) of y' for rows with the conditions ``index`` (n,), by ``uniform`` (2, n) in [0, 1)."""
        region = self.region[index]
        drawn = self.first_class[region] + np.floor(uniform[0] * self.n_classes[region]).astype(np.int64)
        return self.members[self.starts[drawn] + np.floor(uniform[1] * self.counts[drawn]).astype(np.int64)]


class EvalRows:
    """At most 2,048 rows with fixed noise, an equal share at each noise level, to compare moments of a training by.

    ``rows`` are the rows, at least one, of a `workbench.diffusion.train.TrainingRows`.
    """

    def __init__(self, rows, name: str, seed: int):
        chosen = some_rows(np.arange(len(rows.index)), MOST_EVAL_ROWS, seed, "eval rows", name)
        self.levels = min(MOST_EVAL_LEVELS, len(chosen))
        chosen = chosen[: len(chosen) // self.levels * self.levels]
        self.index, self.conditions = rows.index[chosen], rows.conditions
        self.features = torch.from_numpy(rows.features(chosen)[0].astype(np.float32))
        self.noise = torch.randn(self.features.shape, generator=torch_generator(seed, "eval noise", name))

    @torch.no_grad()
    def loss(self, objective: DenoisingObjective, network: ConditionedNetwork, precision: str = "auto") -> float:
        """The mean denoising loss of ``network``."""
        device, steps = objective.alpha.device, len(objective.alpha)
        timesteps = torch.from_numpy(((np.arange(self.levels) + 0.5) / self.levels * steps).astype(np.int64))
        total, by_level = 0.0, np.arange(len(self.index)).reshape(self.levels, -1)  # (L, rows of a level)
        share = max(1, network.rows_at_once // self.levels)
        with network_autocast(device, network_precision(device, precision)):
            for first in range(0, by_level.shape[1], share):
                rows = by_level[:, first : first + share].reshape(-1)
                batch = TrainingBatch(self.features[rows], self.conditions.batch(self.index[rows]), timesteps)
                total += objective.denoised(network, batch, self.noise[rows].to(device))[1].item() * len(rows)
        return total / len(self.index)


def _per_level(values: Tensor, timesteps: Tensor) -> Tensor:
    """Means (L,) of (B, D) values over each of L equal groups of rows."""
    return values.view(len(timesteps), -1).mean(dim=1)
