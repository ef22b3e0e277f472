"""One step of denoiser training, as a function of the state before it, the data and (seed, step).

A batch is shared out by whole noise levels to processes, and by each to micro-batches; everything that is drawn is
drawn for the whole batch, so that however it is shared out, gradients differ by the order of their sums alone.
"""

import hashlib
from dataclasses import asdict

import numpy as np
import torch

from workbench.devices import chosen_device, network_precision
from workbench.diffusion.checkpoint import DenoiserCheckpoint, DenoiserIdentity
from workbench.diffusion.class_balancing import BalancedConditions
from workbench.diffusion.conditioned_network import ConditionedNetwork
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.denoiser_kinds import build_denoiser
from workbench.diffusion.diffusion_config import DiffusionConfig
from workbench.diffusion.schedule import NoiseSchedule
from workbench.diffusion.seen_losses import SeenRows
from workbench.diffusion.standardisation import fit_standardisation
from workbench.diffusion.token_bank import TokenBank
from workbench.diffusion.training_batches import TrainingBatches
from workbench.diffusion.training_loss import DenoisingLoss
from workbench.diffusion.training_order import BlockRows, SingleRows, TrainingOrder, chosen_order
from workbench.diffusion.training_state import TrainingState
from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.randomness import derived_seed

VECTORS_IN_FINGERPRINT = 512


class DenoiserTraining:
    """The model, its data and its draws. ``features`` gives float rows for row numbers, ``conditions`` holds all.

    ``order`` is a name of ``workbench.diffusion.training_order.ORDERS``. Every one of ``processes`` has the same model
    and draws, and computes its part of each batch.
    """

    def __init__(
        self,
        features,
        condition_index: np.ndarray,
        conditions: ConditionTable,
        *,
        config: DiffusionConfig,
        seed: int,
        row_weights: np.ndarray | None = None,
        identity: DenoiserIdentity | None = None,
        order: str = "auto",
        device: str = "auto",
        processes: Processes | None = None,
    ):
        self.features, self.condition_index = features, np.asarray(condition_index)
        if len(self.condition_index) != len(features):
            raise WorkbenchError(f"{len(features)} feature rows but {len(self.condition_index)} condition indices.")
        self.config, self.seed, self.identity = config, seed, identity or DenoiserIdentity()
        self.processes = processes or Processes()
        self.device, self.order_name = chosen_device(device), chosen_order(order, features)
        self.precision = network_precision(self.device, config.precision)
        self.schedule = NoiseSchedule(config.schedule)
        weights = np.ones(len(features)) if row_weights is None else np.asarray(row_weights, dtype=np.float64)
        self.batches = TrainingBatches(seed, config.batch_size, weights, self.schedule.timesteps)
        self.parts = self.batches.parts(self.processes, config.accumulation)
        self.standardisation = fit_standardisation(features)
        self.conditions = conditions
        self.n_centres = 0 if conditions.hardness is None else conditions.hardness.shape[1]
        self.bank = TokenBank(conditions, layout=config.layout, hardness=self.n_centres > 0)
        self.network_config = config.network_config(
            feature_dimension=self.standardisation.dimension,
            text_dimension=conditions.text_dimension,
            n_centres=self.n_centres,
        )
        self.loss = self._denoising_loss()
        self.mean = torch.from_numpy(self.standardisation.mean).to(self.device)
        deviation = torch.from_numpy(self.standardisation.standard_deviation)
        self.inverse_deviation = torch.where(deviation > 0, 1.0 / deviation, 0.0).to(self.device)
        self.order = self._order(weights)
        self.state = self._initial_state()
        self.seen: list[SeenRows] = []

    @property
    def own_rows(self) -> slice:
        """The rows of each batch that this process computes."""
        return slice(self.parts[0].rows.start, self.parts[-1].rows.stop)

    def watch(self, name: str, features, condition_index: np.ndarray) -> None:
        """Have ``seen_losses`` report the loss on (at most 2,048) rows of ``features``."""
        seen = SeenRows.drawn(name, features, condition_index, self.seed)
        self.seen += [seen] if seen is not None else []

    def step(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one optimiser step; returns the loss and the gradient norm before clipping, as tensors on the device.

        The loss is this process's share of the batch's, the norm that of the whole batch's gradient.
        """
        model, own = self.state.model, self.own_rows
        numbers, features = self.order.batch(step)
        clean, index = self._standardised(features), self.condition_index[numbers]
        dropout = self.config.condition_dropout
        ids = self.batches.drop(step, self.bank.ids[index], self.bank, dropout, self.n_centres > 0, own)
        noise = self.batches.noise(step, clean.shape[1], self.device)
        timesteps = self.batches.level_timesteps(step)
        for group in self.state.optimiser.param_groups:
            group["lr"] = self.config.learning_rate_at(step)
        self.state.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part in self.parts:
            here = slice(part.rows.start - own.start, part.rows.stop - own.start)
            draws = noise[part.rows], timesteps[part.levels], ids[here], index[here]
            loss = part.share * self.loss(model, clean[here], *draws, step, part)
            loss.backward()
            total = total + loss.detach()
        self.processes.sum_gradients(model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.config.gradient_clip, foreach=True)
        self.state.optimiser.step()
        self._average(step)
        return total, norm.detach()

    def seen_losses(self) -> dict[str, float]:
        """Denoising losses of the averaged model on the watched rows, with fixed noise: ``{"held_out_loss": ...}``."""
        fixed = self.loss, self._standardised, self.schedule.timesteps
        return {f"{seen.name}_loss": seen.loss(self.state.average, *fixed) for seen in self.seen}

    def checkpoint(self) -> DenoiserCheckpoint:
        """The averaged weights with everything that sampling needs."""
        return DenoiserCheckpoint(
            self.state.average, self.standardisation, self.schedule, self.config.condition_dropout, self.identity
        )

    def fingerprint(self) -> dict:
        """What an unfinished training must share with this one to be gone on with.

        Of the vectors 512 evenly chosen rows count. How a batch is shared out does not: the result is the same.
        """
        digest = hashlib.sha256(self.identity.text_encoder.encode())
        vectors = self.conditions.vectors
        some = np.unique(np.linspace(0, vectors.shape[0] - 1, VECTORS_IN_FINGERPRINT).astype(np.int64))
        for array in (
            self.standardisation.mean,
            self.condition_index,
            self.conditions.token_index,
            vectors[some],
            self.batches.cumulative,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        sizes = {"rows": len(self.features), "dimension": self.standardisation.dimension, "centres": self.n_centres}
        config = {name: value for name, value in asdict(self.config).items() if name != "accumulation"}
        order = {"order": self.order_name}
        return {"config": config, "seed": self.seed, "data": digest.hexdigest()[:16]} | sizes | order

    def close(self) -> None:
        """Stop reading features ahead."""
        self.order.close()

    def _standardised(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) * self.inverse_deviation

    @torch.no_grad()
    def _average(self, step: int) -> None:
        averages, weights = list(self.state.average.parameters()), list(self.state.model.parameters())
        torch._foreach_lerp_(averages, weights, 1.0 - self.config.ema_decay_at(step))

    def _denoising_loss(self) -> DenoisingLoss:
        balanced = None
        if self.config.class_balancing > 0.0:
            balanced = BalancedConditions(self.seed, self.conditions, self.condition_index)
        return DenoisingLoss(
            self.config, self.schedule, self.bank, self.conditions.region, target=self.network_config.target,
            balanced=balanced, seed=self.seed, device=self.device, precision=self.precision,
        )  # fmt: skip

    def _order(self, weights: np.ndarray) -> TrainingOrder:
        if self.order_name == "rows":
            return SingleRows(self.features, self.batches, self.own_rows, self.device)
        size, own = self.config.batch_size, self.own_rows
        return BlockRows(self.features, weights, size, own, seed=self.seed, device=self.device)

    def _initial_state(self) -> TrainingState:
        config, sizes = self.config, self.network_config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "denoiser weights"))
            model, average = build_denoiser(sizes), build_denoiser(sizes)
        trained = self.conditions.rows(np.flatnonzero(np.bincount(self.condition_index)))
        model.fit_token_statistics(TokenBank(trained, layout=config.layout, hardness=self.n_centres > 0))
        average.load_state_dict(model.state_dict())
        model, average = model.to(self.device).train(), average.to(self.device).eval().requires_grad_(False)
        return TrainingState(model, average, _optimiser(model, config))


def _optimiser(model: ConditionedNetwork, config: DiffusionConfig) -> torch.optim.AdamW:
    # Weights of linear layers have two dimensions, those of convolutions four.
    matrices = [parameter for parameter in model.parameters() if parameter.ndim in (2, 4)]
    others = [parameter for parameter in model.parameters() if parameter.ndim not in (2, 4)]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
