"""What a notebook or profile may choose about training a denoiser, sampling from it, and measuring the samples."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.configuration import chosen_by, configured
from workbench.diffusion.denoiser import denoiser_classes
from workbench.errors import WorkbenchError
from workbench.ranges import Count, NonNegative, Positive, PositiveShare, Ranged, Seed, Share, Whole
from workbench.training_config import TrainingConfig

InitMap = Literal["none", "affine"]
Schedule = Literal["squaredcos_cap_v2", "scaled_linear", "linear"]
DEFAULT_TRAINING = TrainingConfig(betas=(0.9, 0.95), gradient_clip=1.0, ema_decay=0.999)


@dataclass(frozen=True)
class ConditionDropout(Ranged):
    """Shares of rows that lose every token, only the hardness token, or each other token alone (reference, F)."""

    everything: Share = 0.10
    hardness: Share = 0.10
    token: Share = 0.05


@dataclass(frozen=True)
class DiffusionConfig(Ranged):
    """How to build and train a denoiser; the defaults suit two CPU cores and some ten thousand rows.

    ``denoiser`` is a name of ``workbench.diffusion.denoiser.DENOISERS``, an import path or a pair of classes, and
    ``network`` its own configuration, which may be given as a dict. A GPU preset is ``network={"width": 1536, "blocks":
    6, "heads": 12}, batch_size=1024`` with a learning rate of 2e-4 and an EMA decay of 0.9999 (diffusion reference, F);
    the paper's words are ``denoiser="unet", network={"layout": "pooled"}, schedule="scaled_linear"``.

    ``training.steps`` 0 means ``epochs`` passes over the rows, of which a step takes ``batch_size`` in all processes
    and micro-batches together; ``warm_up`` is a share of the steps. Where ``batch_size`` changes, AdamW wants the
    learning rate multiplied by the square root of the change. Rows are drawn by the rarity of their rarest class to the
    power ``-sampling_power``. ``entity_features`` "generated" trains on box features too. ``class_balancing`` is tau of
    Qin et al. (``workbench.diffusion.objective``), 0 is off. WorkbenchError for values that are not known.
    """

    denoiser: Any = "mlp"
    network: Any = field(default=None, metadata=chosen_by("denoiser", lambda choice: denoiser_classes(choice)[0]))
    hardness: bool = True
    entity_features: Literal["boxes", "generated"] = "boxes"
    schedule: Schedule = "squaredcos_cap_v2"
    epochs: Positive = 60.0
    batch_size: Count = 512
    sampling_power: NonNegative = 0.5
    condition_dropout: ConditionDropout = field(default_factory=ConditionDropout)
    class_balancing: NonNegative = 0.0
    warm_up: Share = 0.05
    training: TrainingConfig = DEFAULT_TRAINING
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        network = configured(denoiser_classes(self.denoiser)[0], self.network, "network")
        object.__setattr__(self, "network", network)

    def steps_for(self, rows: int) -> int:
        """The number of optimiser steps on ``rows`` training rows."""
        return self.training.steps or max(1, math.ceil(self.epochs * rows / self.batch_size))


@dataclass(frozen=True)
class SamplingConfig(Ranged):
    """How to sample.

    ``init`` "random" begins at noise. "subject-object" begins at the noised mean of a training box of the subject's and
    one of the object's class (DiffAugment, section 3.3), "subject-relation-object" at that of the boxes and a training
    union of the relation, at ``strength`` of the schedule (1 is all noise), from where ``steps`` are taken.
    ``init_map`` "affine" carries the boxes' mean over to the union space. ``guidance`` 1 is none. ``entity_features``
    "auto" generates boxes where the denoiser has learnt them. ``samples`` 0 is one for each augmented triplet, more go
    round; ``share`` below 1 takes that part of the triplets, and of one seed a smaller part lies within a larger one.
    """

    init: Literal["random", "subject-object", "subject-relation-object"] = "subject-object"
    strength: PositiveShare = 0.5
    init_map: InitMap = "none"
    steps: Count = 8
    solver: Literal["dpm++", "dpm++sde", "ddim", "ddpm"] = "dpm++"
    guidance: NonNegative = 1.0
    entity_features: Literal["auto", "boxes", "generated"] = "auto"
    samples: Whole = 0
    share: PositiveShare = 1.0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples and self.share < 1:
            raise WorkbenchError(
                f"share is {self.share} and samples {self.samples}; give a share above 0 and up to 1, or samples "
                "(0: one for each augmented triplet), and not both."
            )


@dataclass(frozen=True)
class FidelityConfig(Ranged):
    """What the measures depend on; ``rows_at_most`` bounds every compared set, the time grows with its square.

    ``components`` of the Frechet distance and of the discriminant, ``neighbour_components`` those in which nearest
    ``neighbours`` are sought; ``copy_noise`` is the copies' noise in standard deviations.
    """

    rows_at_most: Count = 3000
    neighbours: Count = 5
    neighbour_components: Count = 64
    components: Count = 256
    copy_noise: NonNegative = 0.1
    seed: Seed = 0
