"""The file from which a killed or stopped fit goes on: weights, optimiser, and how far it has come."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.recognition.checkpoint import read_tensors, save_tensors
from workbench.recognition.lsvru import LsvruHead
from workbench.scenes.vocabulary import ROLES


@dataclass
class Fitted:
    """What a fit leaves: the best epoch's weights, its validation numbers, and the log of all epochs."""

    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Progress:
    """How far an epoch has come: steps taken, the sums of their losses by role, and seconds."""

    steps: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ROLES, 0.0))
    seconds: float = 0.0


class FitState:
    """The state of one fit in a safetensors file; of several processes the first one writes it, all of them read it.

    ``work`` (JSON) is what an unfinished fit must share with this one to be gone on with.
    """

    def __init__(
        self,
        path: Path,
        head: LsvruHead,
        optimiser: torch.optim.Optimizer,
        work: dict[str, Any],
        processes: Processes,
    ):
        self.path, self._head, self._optimiser, self._work, self._processes = path, head, optimiser, work, processes
        self._kept_at, self.kept = time.monotonic(), ""

    def older_than(self, seconds: float) -> bool:
        """Whether so much work would be lost in a kill."""
        return time.monotonic() - self._kept_at >= seconds

    def keep(self, fitted: Fitted, progress: Progress) -> None:
        """Write where the fit is: after the epochs of the log and the steps of ``progress``."""
        self._kept_at, self.kept = time.monotonic(), _told(fitted, progress)
        if not self._processes.main:
            return
        tensors = {f"head.{name}": value for name, value in self._head.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in fitted.best_weights.items()}
        for index, values in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": value for key, value in values.items() if value is not None}
        facts = {"work": self._work, "best_epoch": fitted.best_epoch, "best": fitted.best, "log": fitted.log,
                 "progress": asdict(progress)}  # fmt: skip
        save_tensors(self.path, tensors, facts)

    def restore(self) -> tuple[Fitted, Progress]:
        """Set head and optimiser to what was kept, or leave them as they are; WorkbenchError for other work's state."""
        found = self._read() if self.path.exists() else (Fitted(), Progress())
        # The first process may be done and remove the file before another has looked for it.
        self._processes.wait()
        return found

    def _read(self) -> tuple[Fitted, Progress]:
        tensors, facts = read_tensors(self.path)
        if facts.get("work") != self._work:
            raise WorkbenchError(
                f"{self.path}: belongs to a fit with other parameters. Delete the folder and start again."
            )
        parts: dict[str, dict[str, torch.Tensor]] = {"head": {}, "best": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = tensor
        self._head.load_state_dict(parts["head"])
        values: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimiser"].items():
            index, key = name.split(".", 1)
            values.setdefault(int(index), {})[key] = tensor
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": values, "param_groups": groups})
        fitted = Fitted(parts["best"], facts["best_epoch"], facts["best"], facts["log"])
        progress = Progress(**facts["progress"])
        self.kept = _told(fitted, progress)
        return fitted, progress


def _told(fitted: Fitted, progress: Progress) -> str:
    within = f" and {progress.steps} steps" if progress.steps else ""
    return f"after epoch {len(fitted.log)}{within}"
