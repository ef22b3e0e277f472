"""Training a recogniser on the stored features of real relations, and what other trainings of a head share with it."""

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.language.text_embedding import TextEmbeddings, vocabulary_of
from workbench.launching import Processes
from workbench.recognition.batches import ImageScenes, RealBatches, RelationRows
from workbench.recognition.config import HeadTrainingConfig, LossConfig, RecogniserConfig, label
from workbench.recognition.evaluation import Validate, check_classes, validation_of
from workbench.recognition.lsvru import LsvruHead
from workbench.recognition.objective import RecogniserObjective
from workbench.recognition.recogniser import RECOGNISER_FILE, Recogniser, new_head, save_recogniser
from workbench.recognition.word_vectors import ClassVectors, read_class_vectors, text_word_vectors
from workbench.regions.features import FeaturesFolder
from workbench.scenes.bands import Counts
from workbench.training import Evaluation, Trained, TrainingEdge, forget_state, train

LOG_FILE = "log.jsonl"
SGD_BIAS_RATE = 2.0  # biases learn twice as fast (LTVRR reference, 6.1)


def train_recogniser(
    folder: Path,
    *,
    features: Path,
    text: Path,
    config: RecogniserConfig,
    edge: TrainingEdge | None = None,
) -> dict[str, Any]:
    """Train a recogniser and keep the epoch that is best on validation (exact-match Combined).

    ``features`` holds the vocabulary and the splits train/ and val/; ``text`` is a text folder. A store of union
    features alone gets separate embeddings of subject and object. Writes ``recogniser.safetensors`` and ``log.jsonl``
    (a line an epoch) into ``folder``; a killed run resumes from its last state. Returns headline numbers.
    """
    data = FeaturesFolder(features)
    validate = validation(data, config)
    vectors, word_source = class_vectors(Path(text), data, config)
    head = new_head(
        config.architecture, data.train.dimension, vectors, config.seed,
        separate_roles=data.train.entity_region == "union", sizes={"hidden": config.hidden} | config.sizes,
    )  # fmt: skip
    rows = RelationRows(data.train, str(data.train.folder), config.memory_gigabytes)
    batches = RealBatches(rows, config.batch_size, config.seed, ImageScenes(rows) if head.reads_scenes else None)
    with contextlib.closing(batches):
        training = HeadTraining(batches, data.counts, config.loss, validate, config, edge or TrainingEdge())
        trained = training.train(head, Path(folder))
    best = {"best_epoch": training.best_epoch(trained), **validation_numbers(trained)}
    store(
        Path(folder),
        Recogniser(
            head, data.vocabulary, data.train.encoder, data.train.entity_region, label(config.loss.name), word_source,
            {"stage": "training", "seed": config.seed, **best}, data.train.support,
        ),
    )  # fmt: skip
    return {
        "rows": len(rows),
        "epochs": config.epochs,
        "seconds": round(trained.seconds, 1),
        "train_loss": trained.log[-1]["loss"],
        **best,
    }


@dataclass(frozen=True)
class HeadTraining:
    """What the trainings of a head share: batches, class counts for the loss, validation, and how long and fast.

    The epoch with the highest "combined" of ``validate`` is kept, of those from ``first_choice`` on (half a curriculum
    is none). ``synthetic_weight`` as in `RecogniserObjective`.
    """

    batches: Any
    counts: Counts
    loss: LossConfig
    validate: Validate
    config: HeadTrainingConfig
    edge: TrainingEdge
    synthetic_weight: float = 1.0
    first_choice: int = 1

    def train(self, head: LsvruHead, folder: Path, name: str = "recogniser", **changes: Any) -> Trained:
        """Train ``head``, which ends with the best weights; ``changes`` replace fields of the `TrainingConfig`."""
        steps = self.batches.steps_per_epoch
        settings = self.config.training_of(steps, **changes)
        objective = RecogniserObjective(
            head, self.loss, self.counts, self.config.seed, synthetic_weight=self.synthetic_weight,
            bias_rate=SGD_BIAS_RATE if settings.optimiser == "sgd" else 1.0,
        )  # fmt: skip
        evaluation = Evaluation(
            steps, lambda network: named_validation(self.validate(network)), "validation_combined", self.first_choice
        )
        edge = replace(self.edge, name=name)
        return train(objective, self.batches, folder, settings, log_every=steps, evaluation=evaluation, edge=edge)

    def best_epoch(self, trained: Trained) -> int:
        """The epoch whose weights were kept, counted from 1."""
        return trained.best["step"] // self.batches.steps_per_epoch


@dataclass
class LearningRateSweep:
    """A training for each candidate learning rate: the best on validation (of equal ones the first), and all in short.

    ``metrics`` is what a stage records: "learning_rate", "best_epoch", "steps" of the chosen one, "seconds" of all, and
    "candidates".
    """

    best: Trained
    metrics: dict[str, Any]

    @classmethod
    def run(
        cls, training: HeadTraining, new_head: Callable[[], LsvruHead], learning_rates: tuple[float, ...], folder: Path
    ) -> "LearningRateSweep":
        """Train a head of ``new_head`` with each learning rate, in a folder of its own below ``folder``.

        A killed sweep resumes; `store` removes these folders. Writes ``log.jsonl``, in which "trial" counts the
        learning rates and "step" counts on, so that a figure shows them side by side.
        """
        best: Trained | None = None
        chosen: dict[str, Any] = {}
        candidates: list[dict[str, Any]] = []
        lines: list[dict[str, Any]] = []
        seconds = 0.0
        for number, rate in enumerate(learning_rates):
            name, place = f"recogniser at {rate:g}", folder / f"learning_rate_{number}"
            trained = training.train(new_head(), place, name, learning_rate=rate)
            epoch, combined = training.best_epoch(trained), trained.best["validation_combined"]
            candidates.append({"learning_rate": rate, "epoch": epoch, "validation_combined": combined})
            offset = lines[-1]["step"] if lines else 0
            lines += [line | {"trial": number, "step": line["step"] + offset} for line in trained.log]
            seconds += trained.seconds
            if best is None or combined > best.best["validation_combined"]:
                best, chosen = trained, {"learning_rate": rate, "best_epoch": epoch, "steps": trained.steps}
        if Processes.current().main:
            with atomic_path(folder / LOG_FILE) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert best is not None  # configs refuse an empty list of learning rates
        return cls(best, {**chosen, "seconds": round(seconds, 1), "candidates": candidates})


def store(folder: Path, recogniser: Recogniser) -> None:
    """Write a recogniser and remove the states of its training; of several processes the first one does it."""
    processes = Processes.current()
    if processes.main:
        recogniser.head.cpu().requires_grad_(True)
        save_recogniser(folder / RECOGNISER_FILE, recogniser)
        forget_state(folder)
        for candidate in folder.glob("learning_rate_*"):
            shutil.rmtree(candidate)
    processes.wait()


def validation(data: FeaturesFolder, config: HeadTrainingConfig) -> Validate:
    """The validation of a features folder whose splits are of one kind and whose rows have known classes."""
    kinds = [
        f"{split.support} {split.dimension}-D features of {split.encoder!r} ({split.entity_region})"
        for split in (data.train, data.val)
    ]
    if kinds[0] != kinds[1]:
        raise WorkbenchError(
            f"{data.folder}: train has {kinds[0]}, val {kinds[1]}. Make both splits with the same encoder."
        )
    check_classes(data.val, data.vocabulary)
    rows = RelationRows(data.val, str(data.val.folder), config.memory_gigabytes)
    return validation_of(rows, data.counts, config.only_trained)


def named_validation(numbers: dict[str, float], prefix: str = "validation") -> dict[str, float]:
    """Validation numbers as logs and metrics name them, for example "validation_subject_object"."""
    return {f"{prefix}_{name.replace('/', '_')}": value for name, value in numbers.items()}


def validation_numbers(trained: Trained) -> dict[str, float]:
    """The validation numbers of the kept epoch, named so."""
    return {name: value for name, value in trained.best.items() if name.startswith("validation_")}


def class_vectors(text: Path, data: FeaturesFolder, config: RecogniserConfig) -> tuple[ClassVectors, str]:
    """The head's word matrices and a line that says where they come from."""
    if config.word_vectors is not None:
        vectors = read_class_vectors(config.word_vectors, data.vocabulary, config.word_mode)
        return vectors, f"{config.word_vectors.name} ({config.word_mode})"
    embeddings = TextEmbeddings.open(text)
    if vocabulary_of(text) != data.vocabulary:
        raise WorkbenchError(
            f"{text}: its class names are not those of the features. Make the text embeddings from the same vocabulary."
        )
    return text_word_vectors(embeddings), f"text tower {embeddings.encoder}"
