"""Every number that decides how a recogniser is trained, fine-tuned, re-balanced and measured.

The stages of this room take their input folders and one of these. A nested `TrainingConfig` says how fast; its steps
follow from ``epochs`` and its seed is the config's own, so that neither is given twice.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from workbench.errors import WorkbenchError
from workbench.looks import WordVectorFile
from workbench.ranges import Count, NonNegative, PositiveShare, Ranged, Rate, Seed, Share
from workbench.recognition.accuracy import BandRule
from workbench.recognition.losses import LOSSES, LossConfig
from workbench.recognition.recogniser import check_sizes
from workbench.recognition.word_vectors import WordMode
from workbench.scenes.vocabulary import Split
from workbench.training_config import TrainingConfig

CROSS_ENTROPY = LossConfig()
# Warm-up begins at a third of the learning rate (LTVRR reference, 6.1).
WARM_UP_FROM = 1 / 3
TRAINING = TrainingConfig(warm_up_steps=100, warm_up_from=WARM_UP_FROM)
PLAIN_TRAINING = TrainingConfig()
FINE_TUNING = TrainingConfig(schedule="constant", warm_up_from=WARM_UP_FROM)


@dataclass(frozen=True, kw_only=True)
class HeadTrainingConfig(Ranged):
    """What all trainings of a head share: ``epochs`` passes over the rows in batches of ``batch_size``.

    ``only_trained`` leaves classes without a train row out of the validation mean. Features beyond ``memory_gigabytes``
    are shuffled in blocks of neighbours and read from disk ahead.
    """

    epochs: Count
    batch_size: Count = 256
    training: TrainingConfig = PLAIN_TRAINING
    only_trained: bool = False
    memory_gigabytes: NonNegative = 2.0
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.training.require_neither_steps_nor_seed()


@dataclass(frozen=True)
class RecogniserConfig(HeadTrainingConfig):
    """A recogniser and its training on the stored features of real relations.

    ``architecture`` is one of `recogniser.RECOGNISERS`, "module:name" or a head's class; ``hidden`` its width (the
    reference takes 1024), ``sizes`` further sizes by name, such as width or blocks. ``word_vectors`` is a word2vec,
    GloVe or JSON file (``word_mode`` as in `word_vectors`); without one the text folder's class vectors are used. The
    reference trains with ``{"optimiser": "sgd", "weight_decay": 1e-4, "schedule": "step"}`` (6.1); AdamW gets further
    in the same epochs on stored features.
    """

    architecture: str | type = "lsvru"
    hidden: Count = 1024
    sizes: dict[str, Any] = field(default_factory=dict)
    word_vectors: WordVectorFile | None = None
    word_mode: WordMode = "clean"
    loss: LossConfig = CROSS_ENTROPY
    epochs: Count = field(default=12, kw_only=True)
    training: TrainingConfig = field(default=TRAINING, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self.architecture, self.sizes)

    def with_losses(self, names: list[str]) -> dict[str, "RecogniserConfig"]:
        """The same with each of these classification losses, by its name."""
        if not names:
            raise WorkbenchError(f"losses is []; give at least one of: {', '.join(LOSSES)}.")
        return {name: replace(self, loss=replace(self.loss, name=name)) for name in names}


@dataclass(frozen=True, kw_only=True)
class SweepConfig(HeadTrainingConfig):
    """A training of a head with each of ``learning_rates``, of which validation chooses one."""

    learning_rates: tuple[Rate, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.learning_rate != TrainingConfig.learning_rate:
            raise WorkbenchError("training.learning_rate is chosen among candidates: give learning_rates instead.")


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig(SweepConfig):
    """Fine-tuning on generated rows; learning rate and epoch are chosen on validation.

    ``real_replay`` is the share of real train rows in each batch (0 as in the paper, 1 is the control without generated
    rows), ``synthetic_weight`` the weight of a generated row in the classification loss. ``prior``: class weights and
    priors of the loss come from the real "train" counts, or from what the "batches" show, since generated rows of rare
    classes have changed the prior. ``curriculum`` "easy_then_hard" shows rows of low hardness entropy first (section
    4.3) and needs the augmented triplets. ``roles`` says which roles of generated rows the loss looks at
    (`finetuning.active_roles`), ``scenes`` what a head that reads scenes is shown of them: the row alone ("own") or the
    "image" of its box. ``weight_interpolation`` lists shares of the fine-tuned weights to be averaged with those
    before. The recogniser before fine-tuning is no candidate, so the result may be worse.
    """

    epochs: Count = 10
    learning_rates: tuple[Rate, ...] = (1e-5, 3e-5, 1e-4, 3e-4)
    training: TrainingConfig = FINE_TUNING
    loss: LossConfig = CROSS_ENTROPY
    real_replay: Share = 0.0
    synthetic_weight: NonNegative = 1.0
    prior: Literal["train", "batches"] = "train"
    curriculum: Literal["none", "easy_then_hard"] = "none"
    roles: Literal["all", "entities", "kept", "tail"] = "all"
    scenes: Literal["own", "image"] = "own"
    weight_interpolation: tuple[PositiveShare, ...] = (1.0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss.relmix != "none" and self.roles != "all":
            what = f"relmix {self.loss.relmix!r} mixes all roles of a row, but roles is {self.roles!r}"
            raise WorkbenchError(f"{what}. Use roles='all'.")


@dataclass(frozen=True)
class RebalancingConfig(SweepConfig):
    """Re-balancing a trained recogniser on the features that it has, by a ``method`` as in `rebalance_recogniser`.

    "crt" and "lws" train with the best of ``learning_rates``; "tau_norm" and "logit_adjustment" train nothing and
    choose among ``strengths``, of which 0 leaves the recogniser as it is. All choices are made on validation.
    """

    method: Literal["crt", "lws", "tau_norm", "logit_adjustment"] = "logit_adjustment"
    strengths: tuple[NonNegative, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    epochs: Count = field(default=5, kw_only=True)
    learning_rates: tuple[Rate, ...] = field(default=(1e-3,), kw_only=True)


@dataclass(frozen=True)
class EvaluationConfig(Ranged):
    """How a recogniser is measured, on which ``split``.

    ``band_rule`` and ``only_trained`` as in `accuracy.per_class_table` and `accuracy.summary_table`. Tables of synsets
    come from ``synset_folder``, else from the features folder or the one above it, else WordNet.
    """

    split: Split = "test"
    band_rule: BandRule = "all classes"
    only_trained: bool = False
    synset_folder: Path | None = None
