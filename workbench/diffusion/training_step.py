"""One step of denoiser training, as a function of the state before it, the data and (seed, step).

For a network that predicts x_0 the loss is the squared x_0 error times min(1 + SNR, 5), which is the velocity error
(1 / sigma^2) capped: without the cap the nearly clean levels, which a network narrower than the features cannot win,
would outweigh the noisy ones, on which it depends what class a sample belongs to (diffusion reference, 0.3 and F;
Min-SNR weighting). For one that predicts the noise it is the plain squared error of the noise, all levels alike, as in
latent diffusion. Class balancing adds its terms at the same weights.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from workbench.devices import chosen_device, network_autocast, network_precision
from workbench.diffusion.checkpoint import DenoiserCheckpoint, DenoiserIdentity
from workbench.diffusion.class_balancing import BalancedConditions, balancing_terms
from workbench.diffusion.conditioned_network import ConditionedNetwork
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.denoiser_kinds import build_denoiser
from workbench.diffusion.diffusion_config import DiffusionConfig
from workbench.diffusion.schedule import NoiseSchedule
from workbench.diffusion.standardisation import fit_standardisation
from workbench.diffusion.token_bank import TokenBank
from workbench.diffusion.training_batches import TrainingBatches
from workbench.diffusion.training_state import TrainingState
from workbench.errors import WorkbenchError
from workbench.randomness import derived_seed, generator, torch_generator

LARGEST_WEIGHT = 5.0
SEEN_ROWS, SEEN_LEVELS = 2048, 16
LARGEST_RESIDENT_BYTES = 16 << 30


class DenoiserTraining:
    """The model, its data and its draws. ``features`` gives float rows for row numbers, ``conditions`` holds all."""

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
        device: str = "auto",
    ):
        self.features, self.condition_index = features, np.asarray(condition_index)
        if len(self.condition_index) != len(features):
            raise WorkbenchError(f"{len(features)} feature rows but {len(self.condition_index)} condition indices.")
        self.config, self.seed, self.identity = config, seed, identity or DenoiserIdentity()
        self.device = chosen_device(device)
        self.precision = network_precision(self.device, config.precision)
        self.schedule = NoiseSchedule(config.schedule)
        self.standardisation = fit_standardisation(features)
        self.conditions = conditions
        self.n_centres = 0 if conditions.hardness is None else conditions.hardness.shape[1]
        self.bank = TokenBank(conditions, layout=config.layout, hardness=self.n_centres > 0)
        weights = np.ones(len(features)) if row_weights is None else np.asarray(row_weights, dtype=np.float64)
        self.batches = TrainingBatches(seed, config.batch_size, weights, self.schedule.timesteps)
        self.network_config = config.network_config(
            feature_dimension=self.standardisation.dimension,
            text_dimension=conditions.text_dimension,
            n_centres=self.n_centres,
        )
        self.balanced = None
        if config.class_balancing > 0.0:
            self.balanced = BalancedConditions(seed, conditions, self.condition_index)
        self._put_tables_on_device()
        self.state = self._initial_state()
        self.seen: dict[str, _SeenRows] = {}

    def watch(self, name: str, features, condition_index: np.ndarray) -> None:
        """Have ``seen_losses`` report the loss on (at most 2,048) rows of ``features``."""
        rows = np.arange(len(features))
        if len(rows) > SEEN_ROWS:
            rows = np.sort(generator(self.seed, "seen rows", name).choice(len(rows), SEEN_ROWS, replace=False))
        levels = min(SEEN_LEVELS, len(rows))
        rows = rows[: len(rows) // max(1, levels) * levels]
        if len(rows):
            self.seen[name] = _SeenRows(np.asarray(features[rows], dtype=np.float32), condition_index[rows], levels)

    def step(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one optimiser step; returns the loss and the gradient norm before clipping, as tensors on the device."""
        rows, model = self.batches.rows(step), self.state.model
        clean = self._standardised(self._rows(rows))
        index = self.condition_index[rows]
        ids = self.bank.ids[index]
        ids = self.batches.drop(step, ids, self.bank, self.config.condition_dropout, self.n_centres > 0)
        noise = self.batches.noise(step, clean.shape[1], self.device)
        loss = self._loss(model, clean, noise, self.batches.level_timesteps(step), ids, index, step)
        for group in self.state.optimiser.param_groups:
            group["lr"] = self.config.learning_rate_at(step)
        self.state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.config.gradient_clip, foreach=True)
        self.state.optimiser.step()
        self._average(step)
        return loss.detach(), norm.detach()

    @torch.no_grad()
    def seen_losses(self) -> dict[str, float]:
        """Denoising losses of the averaged model on the watched rows, with fixed noise: ``{"held_out_loss": ...}``."""
        losses = {}
        for name, seen in self.seen.items():
            noise = torch_generator(self.seed, "seen noise", name, device="cpu")
            noise = torch.randn(seen.features.shape, generator=noise).to(self.device)
            timesteps = ((np.arange(seen.levels) + 0.5) / seen.levels * self.schedule.timesteps).astype(np.int64)
            clean = self._standardised(torch.from_numpy(seen.features).to(self.device))
            total = 0.0
            for rows in seen.batches(self.state.average.rows_at_once):
                index, here = seen.condition_index[rows], torch.from_numpy(rows).to(self.device)
                loss = self._loss(self.state.average, clean[here], noise[here], timesteps, self.bank.ids[index], index)
                total += loss.item() * len(rows)
            losses[f"{name}_loss"] = total / len(seen.features)
        return losses

    def checkpoint(self) -> DenoiserCheckpoint:
        """The averaged weights with everything that sampling needs."""
        return DenoiserCheckpoint(
            self.state.average, self.standardisation, self.schedule, self.config.condition_dropout, self.identity
        )

    def fingerprint(self) -> dict:
        """What an unfinished training must share with this one to be gone on with."""
        digest = hashlib.sha256()
        for array in (
            self.standardisation.mean,
            self.condition_index,
            self.conditions.vectors,
            self.batches.cumulative,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        sizes = {"rows": len(self.features), "dimension": self.standardisation.dimension, "centres": self.n_centres}
        return {"config": asdict(self.config), "seed": self.seed, "data": digest.hexdigest()[:16]} | sizes

    def _loss(self, model, clean, noise, timesteps: np.ndarray, ids, index: np.ndarray, step: int | None = None):
        # clean, noise (B, D), whose rows are B / L equal groups in the order of the L timesteps; a ``step`` is one of
        # training, with dropout and class balancing, None is measuring.
        levels = torch.from_numpy(timesteps).to(self.device)
        grouped = (len(timesteps), -1, clean.shape[1])
        alpha, sigma = self.alpha[levels, None, None], self.sigma[levels, None, None]
        noisy = (alpha * clean.view(grouped) + sigma * noise.view(grouped)).view_as(clean)
        region = torch.from_numpy(self.conditions.region[index]).to(self.device)
        wanted = clean if self.network_config.target == "x0" else noise
        predicted = self._predicted(model, noisy, levels, ids, region, step)
        error = (predicted - wanted).square().view(grouped).mean(dim=(1, 2))  # (L,)
        if self.balanced is not None and step is not None:
            other = self._predicted(model, noisy, levels, self._balanced_ids(step, ids, index), region, step)
            terms = balancing_terms(predicted, other).view(grouped).mean(dim=(1, 2))  # (L,)
            error = error + self.config.class_balancing * self.time_share[levels] * terms
        return (self.loss_weight[levels] * error).mean()

    def _predicted(self, model, noisy, levels, ids: np.ndarray, region, step: int | None) -> torch.Tensor:
        # One step's dropout masks are the same in both predictions of class balancing, which compares conditions.
        with self._network_dropout(step), network_autocast(self.device, self.precision):
            memory = model.encode(self.bank.batch(ids, self.device))
            return model(noisy, model.modulation(self.half_log_snr[levels]), memory, region).float()

    def _balanced_ids(self, step: int, ids: np.ndarray, index: np.ndarray) -> np.ndarray:
        # What a row has lost is lost in its other condition too: a row without any condition has nothing to balance.
        other = self.bank.ids[self.balanced.draw(step, index)]
        return np.where(ids == self.bank.null_ids, ids, other)

    def _rows(self, rows: np.ndarray) -> torch.Tensor:
        if self.resident is not None:
            return self.resident[torch.from_numpy(rows).to(self.device)].float()
        return torch.from_numpy(np.asarray(self.features[rows], dtype=np.float32)).to(self.device)

    def _standardised(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) * self.inverse_deviation

    @torch.no_grad()
    def _average(self, step: int) -> None:
        averages, weights = list(self.state.average.parameters()), list(self.state.model.parameters())
        torch._foreach_lerp_(averages, weights, 1.0 - self.config.ema_decay_at(step))

    @contextlib.contextmanager
    def _network_dropout(self, step: int | None):
        if self.config.dropout <= 0.0 or step is None:
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derived_seed(self.seed, "network dropout", step))
            yield

    def _put_tables_on_device(self) -> None:
        weight = torch.clamp(1.0 + (2.0 * self.schedule.half_log_snr.double()).exp(), max=LARGEST_WEIGHT)
        if self.network_config.target == "epsilon":
            weight = torch.ones_like(weight)
        deviation = torch.from_numpy(self.standardisation.standard_deviation)
        tables = {
            "loss_weight": (weight / weight.mean()).float(),
            "time_share": torch.arange(1, len(weight) + 1) / len(weight),
            "alpha": self.schedule.alpha,
            "sigma": self.schedule.sigma,
            "half_log_snr": self.schedule.half_log_snr,
            "mean": torch.from_numpy(self.standardisation.mean),
            "inverse_deviation": torch.where(deviation > 0, 1.0 / deviation, 0.0),
        }
        for name, table in tables.items():
            setattr(self, name, table.to(self.device))
        self.resident = None
        in_memory = isinstance(self.features, np.ndarray) and self.features.nbytes <= LARGEST_RESIDENT_BYTES
        if self.device.type == "cuda" and in_memory:
            self.resident = torch.from_numpy(np.ascontiguousarray(self.features)).to(self.device)

    def _initial_state(self) -> TrainingState:
        config, sizes = self.config, self.network_config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "denoiser weights"))
            model, average = build_denoiser(sizes), build_denoiser(sizes)
        trained = self.conditions.rows(np.unique(self.condition_index))
        model.fit_token_statistics(TokenBank(trained, layout=config.layout, hardness=self.n_centres > 0))
        average.load_state_dict(model.state_dict())
        model, average = model.to(self.device).train(), average.to(self.device).eval().requires_grad_(False)
        return TrainingState(model, average, _optimiser(model, config))


@dataclass(frozen=True)
class _SeenRows:
    features: np.ndarray
    condition_index: np.ndarray
    levels: int

    def batches(self, most: int) -> Iterator[np.ndarray]:
        """Row numbers of all rows in batches of about ``most``, each an equal share of every level's rows."""
        by_level = np.arange(len(self.features)).reshape(self.levels, -1)  # (L, rows of a level)
        share = max(1, most // self.levels)
        for first in range(0, by_level.shape[1], share):
            yield by_level[:, first : first + share].reshape(-1)


def _optimiser(model: ConditionedNetwork, config: DiffusionConfig) -> torch.optim.AdamW:
    # Weights of linear layers have two dimensions, those of convolutions four.
    matrices = [parameter for parameter in model.parameters() if parameter.ndim in (2, 4)]
    others = [parameter for parameter in model.parameters() if parameter.ndim not in (2, 4)]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
