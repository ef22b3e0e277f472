"""The state of a training that may be killed at any point: weights, their average, optimiser, and the loss log."""

import json
from pathlib import Path

import torch

from workbench.diffusion.checkpoint import read_tensors
from workbench.diffusion.conditioned_network import ConditionedNetwork
from workbench.errors import WorkbenchError
from workbench.files import atomic_path

STATE = "training_state.safetensors"
LOG = "log.jsonl"


class TrainingState:
    """A denoiser, the exponential moving average of its weights, AdamW, and how far training has come.

    ``loss_sum`` is the sum of the steps' losses since the last logged line.
    """

    def __init__(self, model: ConditionedNetwork, average: ConditionedNetwork, optimiser: torch.optim.AdamW):
        self.model, self.average, self.optimiser = model, average, optimiser
        self.step = 0
        self.seconds = 0.0
        self.loss_sum = 0.0

    def save(self, folder: Path) -> None:
        """Write the state to ``folder`` through a temporary name."""
        from safetensors.torch import save_file

        metadata = {"step": str(self.step), "seconds": repr(self.seconds), "loss_sum": repr(self.loss_sum)}
        with atomic_path(Path(folder) / STATE) as temporary:
            save_file({name: value.cpu() for name, value in self._tensors().items()}, temporary, metadata=metadata)

    def resume(self, folder: Path) -> bool:
        """Take up the state in ``folder``, if there is one; WorkbenchError where it is cut short or does not fit."""
        path = Path(folder) / STATE
        if not path.exists():
            return False
        saved, metadata = read_tensors(path)
        own = self._tensors()
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in saved.items()}:
            raise WorkbenchError(f"{path}: the state is of another network. Delete the folder to start afresh.")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(saved[name])
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.loss_sum = float(metadata.get("loss_sum", "0"))
        return True

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for prefix, model in (("model", self.model), ("average", self.average)):
            tensors |= {f"{prefix}.{name}": value.detach() for name, value in model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            moments = self._moments(parameter)
            tensors |= {f"optimiser.{name}.{key}": value for key, value in moments.items()}
        return tensors

    def _moments(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        # AdamW makes its state at the first step; to restore into it, it has to exist before.
        state = self.optimiser.state[parameter]
        if not state:
            fused = self.optimiser.defaults["fused"]
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device if fused else "cpu")
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state


class TrainingLog:
    """One JSON line for each logged step in ``log.jsonl``; lines after the resumed step are dropped."""

    def __init__(self, folder: Path, step: int):
        self.path = Path(folder) / LOG
        kept = [line for line in _lines(self.path) if line["step"] <= step]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def append(self, line: dict) -> None:
        """Add one line and see it written."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_log(folder: Path) -> list[dict]:
    """The loss curve of a training folder: step, seconds, loss, learning_rate, and now and then the two seen losses.

    ``held_out_loss`` and ``train_loss`` are the averaged model's on fixed rows with fixed noise, without rare rows
    drawn more often, so these two compare; ``loss`` is the running model's on the drawn batches.
    """
    return list(_lines(Path(folder) / LOG))


def _lines(path: Path):
    if not path.exists():
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return  # a kill may cut the last line short; training writes it again
