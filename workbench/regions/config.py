"""Every number that decides how region features are made: the detector's pre-training and the extraction."""

from dataclasses import dataclass, field
from typing import Any

from workbench.errors import WorkbenchError
from workbench.scenes.vocabulary import SPLITS
from workbench.training_config import TrainingConfig

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
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
        if self.training.steps or self.training.seed:
            raise WorkbenchError("training.steps and training.seed follow from epochs and seed: give those instead.")


@dataclass(frozen=True)
class ExtractionConfig:
    """What encodes the regions, and how.

    ``encoder`` is a name of ``ENCODERS``, an encoder itself, or "module:name" of one. ``short_side`` and
    ``longest_side`` replace those of the detector's checkpoint. ``batch_images`` images are decoded and encoded
    together. ``precision`` "auto" computes in float32 on a CPU and in bfloat16 on a GPU. ``device`` and ``threads``
    (that decode images, 0 chooses) change no result.
    """

    encoder: Any = "vgg16"
    splits: tuple[str, ...] = SPLITS
    short_side: int | None = None
    longest_side: int | None = None
    batch_images: int = 32
    precision: str = "auto"
    device: str = field(default="auto", metadata={"influence": False})
    threads: int = field(default=0, metadata={"influence": False})

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise WorkbenchError(f"precision {self.precision!r} is not known; expected one of {', '.join(PRECISIONS)}.")
        if self.batch_images < 1:
            raise WorkbenchError(f"batch_images is {self.batch_images}; expected a number above 0.")
