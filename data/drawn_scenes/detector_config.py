"""How the small detector is trained that stands in for a published one."""

from dataclasses import dataclass

from workbench.ranges import Count, Factor, Ranged, Seed, Share, ShareBelowOne, Whole
from workbench.training_config import TrainingConfig

DETECTOR_TRAINING = TrainingConfig(learning_rate=2e-3, betas=(0.9, 0.98), weight_decay=0.02, gradient_clip=5.0)


@dataclass(frozen=True)
class BoxConfig(Ranged):
    """How the training boxes of a detector vary.

    ``copies`` jittered copies of each annotated box, each side moved by up to ``jitter`` of the box's size;
    ``background`` boxes an image that overlap no annotated box by an IoU of 0.3 or more; ``colour`` is the largest
    relative change of each channel's gain, and of 128 grey levels as an offset.
    """

    copies: Whole = 2
    jitter: ShareBelowOne = 0.12
    background: Whole = 2
    colour: Share = 0.15


@dataclass(frozen=True)
class DetectorConfig(Ranged):
    """Pre-training of the VGG-16 region encoder on the ``classes`` most frequent object classes.

    ``width`` scales VGG-16's channels (1.0 gives 4096 dimensions); ``short_side`` and ``longest_side`` are pixels of
    the image as the network sees it; ``warm_up`` is a share of the steps, which follow from ``epochs``.
    """

    width: Factor = 0.125
    classes: Count = 40
    epochs: Count = 5
    seed: Seed = 0
    short_side: Count = 160
    longest_side: Count = 1333
    batch_images: Count = 16
    dropout: ShareBelowOne = 0.2
    warm_up: ShareBelowOne = 0.1
    boxes: BoxConfig = BoxConfig()
    training: TrainingConfig = DETECTOR_TRAINING

    def __post_init__(self) -> None:
        super().__post_init__()
        self.training.require_neither_steps_nor_seed()
