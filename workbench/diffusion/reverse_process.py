"""The reverse process of a trained denoiser: what all batches of a sampling run share, and one batch of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from workbench.devices import network_autocast, network_precision
from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.conditioned_network import NoiseLevels
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.schedule import solve
from workbench.diffusion.token_bank import TokenBank
from workbench.errors import WorkbenchError


@dataclass(frozen=True)
class SamplerSettings:
    """How to run the reverse process; see ``workbench.diffusion.sampling.sample_features``."""

    steps: int = 20
    guidance: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    solver: str = "dpm++"
    precision: str = "auto"


class ReverseProcess:
    """Timesteps, the modulation of every step and the token bank, for one table of conditions and a start time."""

    def __init__(
        self, checkpoint: DenoiserCheckpoint, conditions: ConditionTable, start_time: float, settings: SamplerSettings
    ):
        checkpoint.require_guidance(settings.guidance)
        require_conditions(checkpoint, conditions)
        self.schedule, self.model, self.settings = checkpoint.schedule, checkpoint.model, settings
        self.device = next(self.model.parameters()).device
        self.precision = network_precision(self.device, settings.precision)
        self.timesteps = self.schedule.grid(settings.steps, start_time)
        self.conditions = conditions
        self.bank = TokenBank(conditions, layout=self.model.config.layout, hardness=self.model.config.hardness)
        with torch.no_grad():
            self.modulation = self.model.modulation(self.schedule.half_log_snr[self.timesteps].to(self.device))
        times = (self.timesteps + 1) / self.schedule.timesteps
        low, high = settings.guidance_interval
        self.guided = (settings.guidance != 1.0) & (times >= low) & (times <= high)

    @torch.no_grad()
    def run(
        self, condition_index: np.ndarray, seeds: np.ndarray | None, draw_noise: Callable[[int], np.ndarray]
    ) -> np.ndarray:
        """Standardised features (B, D) float32 of one batch.

        ``seeds`` (B, D) are standardised start features or None; ``draw_noise(step)`` gives (B, D) standard normal
        noise: step -1 is the start, the others serve the stochastic solvers.
        """
        ids = self.bank.ids[condition_index]
        region = torch.from_numpy(self.conditions.region[condition_index]).to(self.device)
        noise = lambda step: torch.from_numpy(draw_noise(step)).to(self.device)  # noqa: E731
        noisy = self._start(seeds, noise(-1))
        with network_autocast(self.device, self.precision):
            memory = self._encode(ids)
            if self.guided.any():
                memory_of_both = self._encode(np.concatenate([ids, np.broadcast_to(self.bank.null_ids, ids.shape)]))

            def predict(x: torch.Tensor, step: int) -> torch.Tensor:
                level = self.modulation.level(step)
                if self.guided[step]:
                    predicted = self._guided(x, level, memory_of_both, region)
                else:
                    predicted = self.model(x, level, memory, region).float()
                return self.model.to_clean(predicted, x, level)

            solver = self.settings.solver
            clean = solve(self.schedule, noisy, self.timesteps, predict, solver=solver, step_noise=noise)
        return clean.cpu().numpy()

    def _encode(self, ids: np.ndarray) -> list[torch.Tensor]:
        return self.model.encode(self.bank.batch(ids, self.device))

    def _start(self, seeds: np.ndarray | None, noise: torch.Tensor) -> torch.Tensor:
        if seeds is None:
            return noise
        first = int(self.timesteps[0])
        alpha, sigma = self.schedule.alpha[first].item(), self.schedule.sigma[first].item()
        return alpha * torch.from_numpy(seeds).to(self.device) + sigma * noise

    def _guided(
        self, x: torch.Tensor, level: NoiseLevels, memory: list[torch.Tensor], region: torch.Tensor
    ) -> torch.Tensor:
        # One forward over both halves: the matrix products are bound by their number, not by their size. x_0 is linear
        # in the output, so guiding the output guides x_0 alike, whatever the target.
        both = self.model(x.repeat(2, 1), level, memory, region.repeat(2)).float()
        with_condition, without = both.chunk(2)
        return without + self.settings.guidance * (with_condition - without)


def require_conditions(checkpoint: DenoiserCheckpoint, conditions: ConditionTable) -> None:
    """WorkbenchError where conditions do not have the dimensions, hardness or regions that the denoiser knows."""
    config = checkpoint.config
    if conditions.text_dimension != config.text_dimension:
        raise WorkbenchError(
            f"the conditions hold {conditions.text_dimension}-D text vectors, the denoiser takes "
            f"{config.text_dimension}-D. Use the text embeddings it was trained with."
        )
    if config.hardness and conditions.hardness is None and checkpoint.dropout.hardness <= 0.0:
        raise WorkbenchError(
            "the conditions have no hardness vectors, and this denoiser never saw them dropped. "
            "Pass the hardness model it was trained with."
        )
    if config.hardness and conditions.hardness is not None and conditions.hardness.shape[1] != config.n_centres:
        raise WorkbenchError(
            f"the hardness vectors have {conditions.hardness.shape[1]} entries, the denoiser takes {config.n_centres}. "
            "Use the hardness model it was trained with."
        )
    if (conditions.region == 1).any() and "box" not in checkpoint.identity.regions:
        raise WorkbenchError(
            "this denoiser was trained on union regions alone and cannot generate boxes. "
            'Train it with entity_features "generated", or take the entities from the seed boxes.'
        )
