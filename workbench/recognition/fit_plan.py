"""How long and how fast a head is fitted: epochs, optimiser, learning rate and its schedule."""

import math
from dataclasses import dataclass

import torch

from workbench.devices import PRECISIONS
from workbench.errors import WorkbenchError
from workbench.recognition.lsvru import LsvruHead
from workbench.scenes.vocabulary import ROLES

SCHEDULES = ("cosine", "step", "constant")
OPTIMISERS = ("adamw", "sgd")
MOMENTUM = 0.9
# The reference decays at 5.33 and 7.11 of 12 epochs (6.2) and warms up from a third (6.1).
STEP_DECAYS = (5.33 / 12, 7.11 / 12)
WARM_UP_FROM = 1 / 3


@dataclass(frozen=True)
class FitPlan:
    """How long and how fast: the numbers of the reference (6.1) are SGD, weight decay 1e-4 and step decay."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warm_up_steps: int = 100
    precision: str = "auto"
    device: str = "auto"

    def check(self) -> None:
        """Refuse values outside their range with a message that names the allowed ones."""
        for name, allowed in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise WorkbenchError(
                    f"{name} {getattr(self, name)!r} is not known. Choose one of: {', '.join(allowed)}."
                )
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise WorkbenchError(f"{name} is {getattr(self, name)}; expected a number above 0.")


def learning_rate_factor(step: int, total_steps: int, plan: FitPlan) -> float:
    """Factor on the learning rate before step ``step`` (0-based): linear warm-up from 1/3, then the schedule."""
    warm_up = min(plan.warm_up_steps, total_steps // 5)
    factor = WARM_UP_FROM + (1 - WARM_UP_FROM) * step / warm_up if step < warm_up else 1.0
    if plan.schedule == "cosine":
        return factor * 0.5 * (1 + math.cos(math.pi * step / total_steps))
    if plan.schedule == "step":
        return factor * 0.1 ** sum(step >= share * total_steps for share in STEP_DECAYS)
    return factor


def new_optimiser(head: LsvruHead, plan: FitPlan) -> torch.optim.Optimizer:
    """Biases, class factors and offsets without weight decay; with SGD they learn twice as fast (reference 6.1)."""
    undecayed = (".bias", *(f"class_{kind}.{role}" for kind in ("factor", "offset") for role in ROLES))
    trained = [(name, parameter) for name, parameter in head.named_parameters() if parameter.requires_grad]
    bias = [parameter for name, parameter in trained if name.endswith(undecayed)]
    weight = [parameter for name, parameter in trained if not name.endswith(undecayed)]
    groups = [
        {"params": weight, "weight_decay": plan.weight_decay, "multiple": 1.0},
        {"params": bias, "weight_decay": 0.0, "multiple": 2.0 if plan.optimiser == "sgd" else 1.0},
    ]
    if plan.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=MOMENTUM)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)
