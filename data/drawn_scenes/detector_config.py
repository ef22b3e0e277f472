"""How the small detector is trained that stands in for a published one."""

from dataclasses import dataclass

from workbench.errors import WorkbenchError
from workbench.training_config import TrainingConfig

DETECTOR_TRAINING = TrainingConfig(learning_rate=2e-3, betas=(0.9, 0.98), weight_decay=0.02, gradient_clip=5.0)


@dataclass(frozen=True)
class BoxConfig:
    """How the training boxes of a detector vary.

    ``copies`` jittered copies of each annotated box, each side moved by up to ``jitter`` of the box's size;
    ``background`` boxes an image that overlap no annotated box by an IoU of 0.3 or more; ``colour`` is the largest
    relative change of each channel's gain, and of 128 grey levels as an offset.
    """

    copies: int = 2
    jitter: float = 0.12
    background: int = 2
    colour: float = 0.15


@dataclass(frozen=True)
class DetectorConfig:
    """Pre-training of the VGG-16 region encoder on the ``classes`` most frequent object classes.

    ``width`` scales VGG-16's channels (1.0 gives 4096 dimensions); ``short_side`` and ``longest_side`` are pixels of
    the image as the network sees it; ``warm_up`` is a share of the steps, which follow from ``epochs``.
    """

    width: float = 0.125
    classes: int = 40
    epochs: int = 5
    seed: int = 0
    short_side: int = 160
    longest_side: int = 1333
    batch_images: int = 16
    dropout: float = 0.2
    warm_up: float = 0.1
    boxes: BoxConfig = BoxConfig()
    training: TrainingConfig = DETECTOR_TRAINING

    def __post_init__(self) -> None:
        for name in ("width", "classes", "epochs", "batch_images"):
            if not getattr(self, name) > 0:
                raise WorkbenchError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        if not 0 <= self.dropout < 1 or not 0 <= self.warm_up < 1:
            raise WorkbenchError(f"dropout {self.dropout} and warm_up {self.warm_up}: expected 0 or more and below 1.")
        self.training.require_neither_steps_nor_seed()
