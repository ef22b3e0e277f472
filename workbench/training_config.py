"""How long, how fast and in what precision a model is trained, and how a training is watched."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from workbench.configuration import SET_IN_CODE
from workbench.errors import WorkbenchError
from workbench.looks import Device
from workbench.ranges import Count, NonNegative, Ranged, Rate, Seed, Share, ShareBelowOne, Whole

# Where "step" divides the learning rate by ten: 5.33 and 7.11 of 12 epochs (LTVRR reference code).
STEP_DECAYS = (5.33 / 12, 7.11 / 12)


@dataclass(frozen=True)
class TrainingConfig(Ranged):
    """Everything about a training but its data and its model.

    ``steps`` 0 leaves their number to a stage that counts passes over its rows. ``warm_up_steps`` raise the learning
    rate from ``warm_up_from`` of it; ``gradient_clip`` 0 clips nothing; ``ema_decay`` 0 averages no weights;
    ``accumulation`` micro-batches make one step and do not change a result beyond the order of sums. WorkbenchError for
    a value outside its range.
    """

    steps: Whole = 0
    learning_rate: Rate = 1e-3
    schedule: Literal["cosine", "linear", "step", "constant"] = "cosine"
    warm_up_steps: Whole = 0
    warm_up_from: Share = 0.0
    optimiser: Literal["adamw", "sgd"] = "adamw"
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.999)
    weight_decay: NonNegative = 0.01
    gradient_clip: NonNegative = 0.0
    ema_decay: ShareBelowOne = 0.0
    accumulation: Count = field(default=1, metadata={"influence": False})
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    seed: Seed = 0

    def require_neither_steps_nor_seed(self) -> None:
        """Refuse what follows from the epochs and the seed of a stage's own config."""
        if self.steps or self.seed:
            raise WorkbenchError("training.steps and training.seed follow from epochs and seed: give those instead.")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, then the schedule over what is left."""
        warm_up = min(self.warm_up_steps, self.steps // 2)
        if step < warm_up:
            return self.learning_rate * (self.warm_up_from + (1 - self.warm_up_from) * (step + 1) / (warm_up + 1))
        share = (step - warm_up) / max(1, self.steps - warm_up)
        if self.schedule == "step":
            return self.learning_rate * 0.1 ** sum(step >= decay * self.steps for decay in STEP_DECAYS)
        falling = {"cosine": 0.5 * (1 + math.cos(math.pi * share)), "linear": 1 - share}
        return self.learning_rate * falling.get(self.schedule, 1.0)


@dataclass(frozen=True)
class TrainingEdge(Ranged):
    """Where a training runs and how it is watched: nothing here changes its result.

    ``name`` says in messages what is trained; ``on_log`` gets each line of the log; ``tracker`` ("tensorboard" or
    "mlflow") draws it as curves too; the state is written every ``checkpoint_seconds``, a few minutes on a GPU, where
    writing takes as long as hundreds of steps.
    """

    WITHOUT_INFLUENCE: ClassVar[bool] = True

    device: Device = "auto"
    tracker: Literal["", "tensorboard", "mlflow"] = ""
    checkpoint_seconds: NonNegative = 60.0
    on_log: Callable[[dict[str, Any]], None] | None = field(default=None, metadata=SET_IN_CODE)
    name: str = field(default="the model", metadata=SET_IN_CODE)
