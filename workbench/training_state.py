"""The state of a training, in one safetensors file, from which a killed training resumes to the same result."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from workbench.checkpoints import load_weights, read_tensors, save_tensors
from workbench.errors import WorkbenchError
from workbench.identity import described
from workbench.training_config import TrainingConfig

STATE = "training_state.safetensors"
_FACTS = ("step", "seconds", "log", "best", "summed_from")
_REMEDY = "Delete the folder and train again."


@dataclass(eq=False)
class TrainingState:
    """Network, average of its weights, best weights, optimiser, log, and the sums of losses since its last line."""

    path: Path
    network: nn.Module
    average: nn.Module | None
    optimiser: torch.optim.Optimizer
    config: TrainingConfig
    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    summed_from: int = 0
    saved_at: float = field(default_factory=time.monotonic)

    def add(self, losses: dict[str, Tensor], share: float = 1.0) -> None:
        """Add a step's losses, without waiting for the device to have computed them."""
        for name, value in losses.items():
            value = share * value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def taken_means(self, accelerator: Accelerator) -> dict[str, float]:
        """Mean of each loss over the steps since they were last taken and over the processes."""
        steps = max(1, self.step - self.summed_from)
        sums = sorted(self.sums.items())  # a stored state has them in this order, in which they are added up
        means = {name: accelerator.reduce(value, "mean").item() / steps for name, value in sums}
        self.sums, self.summed_from = {}, self.step
        return means

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Move the averaged weights towards those after ``step``; buffers are copied."""
        if self.average is None:
            return
        averages: list[Tensor] = list(self.average.parameters())
        weights: list[Tensor] = list(self.network.parameters())
        # Shorter at first, so that it forgets the initial weights.
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(averages, weights, 1.0 - decay)
        for mean, value in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mean.copy_(value)

    def keep_if_best(self, name: str, line: dict[str, Any], network: nn.Module) -> None:
        """Keep the weights where number ``name`` of ``line`` is higher than before."""
        if name not in line:
            raise WorkbenchError(f"no number {name!r} in the evaluation, which has: {', '.join(line)}.")
        if not self.best or line[name] > self.best[name]:
            self.best = dict(line)
            self.best_weights = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}

    def finished_network(self) -> nn.Module:
        """The network with the weights that a training ends with."""
        if self.best_weights:
            self.network.load_state_dict(self.best_weights)
        elif self.average is not None:
            self.network.load_state_dict(self.average.state_dict())
        return self.network

    def save(self) -> None:
        """Write the state."""
        parts = {"network": self.network.state_dict(), "best": self.best_weights, "sum": self.sums}
        parts |= {} if self.average is None else {"average": self.average.state_dict()}
        parts |= {f"optimiser.{number}": values for number, values in self.optimiser.state_dict()["state"].items()}
        named = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        tensors = {name: value for name, value in named.items() if value is not None}
        facts = {name: getattr(self, name) for name in _FACTS}
        save_tensors(self.path, tensors, facts | {"config": described(self.config)})
        self.saved_at = time.monotonic()

    def restore(self, device: torch.device) -> None:
        """Take up the saved state, if there is one; WorkbenchError where it belongs to another training."""
        if not self.path.exists():
            return
        tensors, facts = read_tensors(self.path, _REMEDY)
        if facts.get("config") != described(self.config):
            raise WorkbenchError(f"{self.path}: belongs to a training with another configuration. {_REMEDY}")
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, rest = name.split(".", 1)
            parts.setdefault(part, {})[rest] = tensor
        load_weights(self.network, parts["network"], self.path, _REMEDY)
        if self.average is not None:
            load_weights(self.average, parts["average"], self.path, _REMEDY)
        self._restore_optimiser(parts.get("optimiser", {}))
        self.best_weights = parts.get("best", {})
        self.sums = {name: value.to(device) for name, value in parts.get("sum", {}).items()}
        for name in _FACTS:
            setattr(self, name, facts[name])

    def _restore_optimiser(self, tensors: dict[str, Tensor]) -> None:
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        values: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            number, key = name.split(".", 1)
            if tensor.shape == parameters[int(number)].shape:
                # In the memory order of the weight (channels last, say), as the fused optimiser takes both.
                tensor = torch.empty_like(parameters[int(number)]).copy_(tensor)
            values.setdefault(int(number), {})[key] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": values, "param_groups": groups})


def forget_state(folder: Path) -> None:
    """Remove the training state below ``folder``, once the result of the training is stored."""
    for path in Path(folder).rglob(STATE):
        path.unlink()
