"""Every number that decides how a recogniser is trained, fine-tuned, re-balanced and measured.

The stages of this room take their input folders and one of these. A nested `TrainingConfig` says how fast; its steps
follow from ``epochs`` and its seed is the config's own, so that neither is given twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.training_config import TrainingConfig

RELMIX = ("none", "clean", "upstream")
WORD_MODES = ("clean", "upstream")
CURRICULA = ("none", "easy_then_hard")
GENERATED_SCENES = ("own", "image")
LOSS_ROLES = ("all", "entities", "kept", "tail")
ENTITIES = ("auto", "stored", "union")
PRIORS = ("train", "batches")
METHODS = ("crt", "lws", "tau_norm", "logit_adjustment")
BAND_RULES = ("all classes", "present classes")
# Warm-up begins at a third of the learning rate (LTVRR reference, 6.1).
WARM_UP_FROM = 1 / 3
TRAINING = TrainingConfig(warm_up_steps=100, warm_up_from=WARM_UP_FROM)
FINE_TUNING = TrainingConfig(schedule="constant", warm_up_from=WARM_UP_FROM)
REBALANCING = TrainingConfig()


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise WorkbenchError(f"{name} {value!r} is not known. Choose one of: {', '.join(allowed)}.")


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise WorkbenchError(f"{name} is {value}; expected a number above 0.")


def _at_least_zero(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise WorkbenchError(f"{name} is {value}; expected 0 or more.")


@dataclass(frozen=True)
class LossConfig:
    """What is minimised: a classification loss and the terms that are added to it.

    ``name`` is one of `losses.LOSSES`, "module:name" or a builder itself; ``tau`` is the strength of "logit_adjusted",
    ``gamma`` the exponent of the focal losses, ``options`` whatever else an own loss reads. ``vilhub_scale`` weighs the
    VilHub term (0 is none, the reference takes 100000 on GQA-LT); ``relmix`` is "none", "clean" or "upstream". Both
    terms look at all rows and roles alike.
    """

    name: str | Callable = "ce"
    tau: float = 1.0
    gamma: float = 2.0
    vilhub_scale: float = 0.0
    relmix: str = "none"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("relmix", self.relmix, RELMIX)
        _at_least_zero(gamma=self.gamma, vilhub_scale=self.vilhub_scale)


@dataclass(frozen=True, kw_only=True)
class HeadTrainingConfig:
    """What all trainings of a head share: ``epochs`` passes over the rows in batches of ``batch_size``.

    ``only_trained`` leaves classes without a train row out of the validation mean. Features beyond ``memory_gigabytes``
    are shuffled in blocks of neighbours and read from disk ahead.
    """

    epochs: int
    batch_size: int = 256
    training: TrainingConfig = REBALANCING
    only_trained: bool = False
    memory_gigabytes: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(epochs=self.epochs, batch_size=self.batch_size)
        if self.training.steps or self.training.seed:
            raise WorkbenchError("training.steps and training.seed follow from epochs and seed: give those instead.")

    def training_of(self, steps_per_epoch: int, **changes: Any) -> TrainingConfig:
        """The nested `TrainingConfig` with what was left to the stage, and ``changes`` to it."""
        return replace(self.training, steps=self.epochs * steps_per_epoch, seed=self.seed, **changes)

    def _require_candidates(self, learning_rates: tuple[float, ...]) -> None:
        if not learning_rates or not all(rate > 0 for rate in learning_rates):
            raise WorkbenchError(f"learning_rates is {list(learning_rates)}; give at least one number above 0.")
        if self.training.learning_rate != TrainingConfig.learning_rate:
            raise WorkbenchError("training.learning_rate is chosen among candidates: give learning_rates instead.")


@dataclass(frozen=True)
class RecogniserConfig(HeadTrainingConfig):
    """A recogniser and its training on the stored features of real relations.

    ``architecture`` is one of `heads.RECOGNISERS`, "module:name" or a head's class; ``hidden`` its width (the reference
    takes 1024), ``sizes`` further sizes by name, such as width or blocks. ``word_vectors`` is a word2vec, GloVe or JSON
    file (``word_mode`` as in `word_vectors`); without one the text folder's class vectors are used. The reference
    trains with ``{"optimiser": "sgd", "weight_decay": 1e-4, "schedule": "step"}`` (6.1); AdamW gets further in the same
    epochs on stored features.
    """

    architecture: str | type = "lsvru"
    hidden: int = 1024
    sizes: dict[str, Any] = field(default_factory=dict)
    word_vectors: Path | None = None
    word_mode: str = "clean"
    loss: LossConfig = LossConfig()
    epochs: int = field(default=12, kw_only=True)
    training: TrainingConfig = field(default=TRAINING, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("word_mode", self.word_mode, WORD_MODES)
        _positive(hidden=self.hidden)

    def with_loss(self, name: str | Callable) -> "RecogniserConfig":
        """The same with another classification loss."""
        return replace(self, loss=replace(self.loss, name=name))


@dataclass(frozen=True)
class FineTuningConfig(HeadTrainingConfig):
    """Fine-tuning on generated rows; learning rate and epoch are chosen on validation.

    ``learning_rates`` are the candidates. ``real_replay`` is the share of real train rows in each batch (0 as in the
    paper, 1 is the control without generated rows), ``synthetic_weight`` the weight of a generated row in the
    classification loss. ``prior``: class weights and priors of the loss come from the real "train" counts, or from what
    the "batches" show, since generated rows of rare classes have changed the prior. ``curriculum`` "easy_then_hard"
    shows rows of low hardness entropy first (section 4.3) and needs the augmented triplets. ``roles`` says which roles
    of generated rows the loss looks at (`finetuning.active_roles`), ``entities`` where their subjects and objects come
    from (`GeneratedFeatures`), ``scenes`` what a head that reads scenes is shown of them: the row alone ("own") or the
    "image" of its box. ``weight_interpolation`` lists shares of the fine-tuned weights to be averaged with those
    before. The recogniser before fine-tuning is no candidate, so the result may be worse, unless ``keep_if_worse`` is
    False.
    """

    learning_rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4)
    loss: LossConfig = LossConfig()
    real_replay: float = 0.0
    synthetic_weight: float = 1.0
    prior: str = "train"
    curriculum: str = "none"
    roles: str = "all"
    entities: str = "auto"
    scenes: str = "own"
    weight_interpolation: tuple[float, ...] = (1.0,)
    keep_if_worse: bool = True
    epochs: int = field(default=10, kw_only=True)
    training: TrainingConfig = field(default=FINE_TUNING, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_candidates(self.learning_rates)
        for name, allowed in (
            ("prior", PRIORS), ("curriculum", CURRICULA), ("roles", LOSS_ROLES), ("entities", ENTITIES),
            ("scenes", GENERATED_SCENES),
        ):  # fmt: skip
            _one_of(name, getattr(self, name), allowed)
        _at_least_zero(synthetic_weight=self.synthetic_weight)
        if not 0 <= self.real_replay <= 1:
            raise WorkbenchError(f"real_replay is {self.real_replay}; expected a share between 0 and 1.")
        if not self.weight_interpolation or not all(0 < share <= 1 for share in self.weight_interpolation):
            raise WorkbenchError(
                f"weight_interpolation is {list(self.weight_interpolation)}; expected numbers above 0 and up to 1."
            )
        if self.loss.relmix != "none" and self.roles != "all":
            raise WorkbenchError(
                f"relmix {self.loss.relmix!r} mixes all roles of a row, but roles is {self.roles!r}. Use roles='all'."
            )


@dataclass(frozen=True)
class RebalancingConfig(HeadTrainingConfig):
    """Re-balancing a trained recogniser on the features that it has, by a ``method`` as in `rebalance_recogniser`.

    "crt" and "lws" train with the best of ``learning_rates``; "tau_norm" and "logit_adjustment" train nothing and
    choose among ``strengths``. All choices are made on validation.
    """

    method: str = "logit_adjustment"
    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    learning_rates: tuple[float, ...] = (1e-3,)
    epochs: int = field(default=5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_candidates(self.learning_rates)
        _one_of("method", self.method, METHODS)
        if not self.strengths:
            raise WorkbenchError("strengths is empty; give at least one number, 0 leaves the recogniser as it is.")


@dataclass(frozen=True)
class EvaluationConfig:
    """How a recogniser is measured, on which ``split``.

    ``band_rule`` and ``only_trained`` as in `accuracy.per_class_table` and `accuracy.summary_table`. Tables of synsets
    come from ``synset_folder``, else from the features folder or the one above it, else WordNet.
    """

    split: str = "test"
    band_rule: str = "all classes"
    only_trained: bool = False
    synset_folder: Path | None = None

    def __post_init__(self) -> None:
        _one_of("band_rule", self.band_rule, BAND_RULES)


def label(choice: str | Callable) -> str:
    """The name of a registered choice, or the import path of an object that was given itself."""
    return choice if isinstance(choice, str) else f"{choice.__module__}:{choice.__qualname__}"
