"""Training a recogniser on the stored features of real relations, and what other trainings of a head share with it."""

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from workbench.configuration import as_values, configured
from workbench.errors import WorkbenchError
from workbench.escaping import escaped_lines
from workbench.files import atomic_path
from workbench.language.text_embedding import TextEmbeddings, vocabulary_of
from workbench.launching import Processes
from workbench.recognition.batches import RealBatches, RelationRows, scenes_of
from workbench.recognition.config import HeadTrainingConfig, RecogniserConfig
from workbench.recognition.evaluation import Validate, validation
from workbench.recognition.losses import LossConfig
from workbench.recognition.lsvru import LsvruHead
from workbench.recognition.objective import RecogniserObjective
from workbench.recognition.recogniser import FROM_DATA, RECOGNISER_FILE, Recogniser, head_class, save_recogniser
from workbench.recognition.word_vectors import ClassVectors, spelled_class_vectors, text_word_vectors
from workbench.regions.features import FeaturesFolder, FeatureStore
from workbench.scenes.bands import Counts
from workbench.training import Evaluation, Trained, train
from workbench.training_config import TrainingEdge
from workbench.training_state import forget_state

LOG_FILE = "log.jsonl"
SGD_BIAS_RATE = 2.0  # biases learn twice as fast (LTVRR reference, 6.1)
SHOWN_SPELLINGS = 20


def train_recogniser(
    folder: Path, *, features: Path, text: Path, config: RecogniserConfig, edge: TrainingEdge | None = None
) -> dict[str, Any]:
    """Train a recogniser and keep the epoch that is best on validation (exact-match Combined).

    ``features`` holds the vocabulary and the splits train/ and val/; ``text`` is a text folder. A store of union
    features alone gets separate embeddings of subject and object. Writes ``recogniser.safetensors`` and ``log.jsonl``
    (a line an epoch) into ``folder``; a killed run resumes from its last state. Returns headline numbers.
    """
    folder, data = Path(folder), FeaturesFolder(features)
    store = data.train
    vectors, word_source, spelled = _class_vectors(Path(text), data, config)
    head = _new_head(store, vectors, config)
    recogniser = Recogniser(
        head, data.vocabulary, store.encoder, store.entity_region, as_values(config.loss.name), word_source,
        support=store.support,
    )  # fmt: skip
    recogniser.check_fits(data.vocabulary, data.val)
    rows = RelationRows(store, data.vocabulary, config.memory_gigabytes)
    with contextlib.closing(RealBatches(rows, config.batch_size, config.seed, scenes_of(head, rows))) as batches:
        training = HeadTraining(batches, data.counts, config.loss, validation(data, config), config, edge)
        trained = training.train(head, folder)
    kept = {name: value for name, value in trained.best.items() if name.startswith("validation_")}
    best = {"best_epoch": training.best_epoch(trained), **kept}
    recogniser.history = {"stage": "training", "seed": config.seed, **best}
    store_recogniser(folder, recogniser)
    facts: dict[str, Any] = {"rows": len(rows), "epochs": config.epochs, "seconds": round(trained.seconds, 1)}
    facts |= {"words_spelled_otherwise": spelled} if spelled else {}
    return {**facts, "train_loss": trained.log[-1]["loss"], **best}


@dataclass(frozen=True)
class HeadTraining:
    """What the trainings of a head share: batches, class counts for the loss, validation, and how long and fast.

    ``batches(step, part, parts)`` gives a `batches.Batch` and knows its ``steps_per_epoch``. The epoch with the highest
    "combined" of ``validate`` is kept, of those from ``first_choice`` on (half a curriculum is none).
    ``synthetic_weight`` as in `RecogniserObjective`.
    """

    batches: Any
    counts: Counts
    loss: LossConfig
    validate: Validate
    config: HeadTrainingConfig
    edge: TrainingEdge | None
    synthetic_weight: float = 1.0
    first_choice: int = 1

    def train(self, head: LsvruHead, folder: Path, name: str = "recogniser", **changes: Any) -> Trained:
        """Train ``head``, which ends with the best weights; ``changes`` replace fields of the `TrainingConfig`."""
        config, steps = self.config, self.batches.steps_per_epoch
        settings = replace(config.training, steps=config.epochs * steps, seed=config.seed, **changes)
        objective = RecogniserObjective(
            head, self.loss, self.counts, config.seed, synthetic_weight=self.synthetic_weight,
            bias_rate=SGD_BIAS_RATE if settings.optimiser == "sgd" else 1.0,
        )  # fmt: skip
        evaluation = Evaluation(
            steps, lambda network: named_validation(self.validate(network)), "validation_combined", self.first_choice
        )
        edge = replace(self.edge or TrainingEdge(), name=name)
        return train(objective, self.batches, folder, settings, log_every=steps, evaluation=evaluation, edge=edge)

    def best_epoch(self, trained: Trained) -> int:
        """The epoch whose weights were kept, counted from 1."""
        return trained.best["step"] // self.batches.steps_per_epoch

    def sweep(
        self, new_head: Callable[[], LsvruHead], learning_rates: tuple[float, ...], folder: Path
    ) -> tuple[LsvruHead, dict[str, Any]]:
        """Train a head of ``new_head`` with each learning rate: the best on validation (of equal ones the first).

        Each is trained in a folder of its own below ``folder``, which `store_recogniser` removes, so a killed sweep
        resumes. Writes ``log.jsonl``, in which "trial" counts the learning rates and "step" counts on. Beside the
        head: "learning_rate", "best_epoch" and "steps" of the chosen one, "seconds" of all, and "candidates".
        """
        best: Trained | None = None
        chosen: dict[str, Any] = {}
        candidates: list[dict[str, Any]] = []
        lines: list[dict[str, Any]] = []
        seconds = 0.0
        for number, rate in enumerate(learning_rates):
            place = folder / f"learning_rate_{number}"
            trained = self.train(new_head(), place, f"recogniser at {rate:g}", learning_rate=rate)
            epoch, combined = self.best_epoch(trained), trained.best["validation_combined"]
            candidates.append({"learning_rate": rate, "epoch": epoch, "validation_combined": combined})
            lines += [line | {"trial": number, "step": line["step"] + number * trained.steps} for line in trained.log]
            seconds += trained.seconds
            if best is None or combined > best.best["validation_combined"]:
                best, chosen = trained, {"learning_rate": rate, "best_epoch": epoch, "steps": trained.steps}
        if Processes.current().main:
            with atomic_path(folder / LOG_FILE) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert best is not None  # configs refuse an empty list of learning rates
        return cast(LsvruHead, best.network), {**chosen, "seconds": round(seconds, 1), "candidates": candidates}


def store_recogniser(folder: Path, recogniser: Recogniser) -> None:
    """Write a recogniser and remove the states of its training; of several processes the first one does it."""
    processes = Processes.current()
    if processes.main:
        recogniser.head.cpu().requires_grad_(True)
        save_recogniser(folder / RECOGNISER_FILE, recogniser)
        forget_state(folder)
        for candidate in folder.glob("learning_rate_*"):
            shutil.rmtree(candidate)
    processes.wait()


def named_validation(numbers: dict[str, float], prefix: str = "validation") -> dict[str, float]:
    """Validation numbers as logs and metrics name them, for example "validation_subject_object"."""
    return {f"{prefix}_{name.replace('/', '_')}": value for name, value in numbers.items()}


def _new_head(store: FeatureStore, vectors: ClassVectors, config: RecogniserConfig) -> LsvruHead:
    kind = head_class(config.architecture)
    objects, relations = (torch.from_numpy(np.array(matrix)) for matrix in vectors)
    of_data = (
        store.dimension, objects.shape[1], len(objects), len(relations) - 1, store.entity_region == "union"
    )  # fmt: skip
    sizes = dict(zip(FROM_DATA, of_data, strict=True)) | {"hidden": config.hidden} | config.sizes
    return kind(configured(kind.config_class, sizes), objects, relations).initialise(config.seed)


def _class_vectors(
    text: Path, data: FeaturesFolder, config: RecogniserConfig
) -> tuple[ClassVectors, str, dict[str, str]]:
    """The head's word matrices, a line that says where they come from, and names that the file spells otherwise."""
    if config.word_vectors is not None:
        vectors, spelled = spelled_class_vectors(config.word_vectors, data.vocabulary, config.word_mode)
        if spelled:
            shown = ", ".join(f"{name} -> {keys}" for name, keys in list(spelled.items())[:SHOWN_SPELLINGS])
            more = f" and {len(spelled) - SHOWN_SPELLINGS:,} more (in the manifest)"
            more = more if len(spelled) > SHOWN_SPELLINGS else ""
            print(escaped_lines(f"{config.word_vectors}: names that it spells otherwise: {shown}{more}"))
        return vectors, f"{config.word_vectors.name} ({config.word_mode})", spelled
    embeddings = TextEmbeddings.open(text)
    if vocabulary_of(text) != data.vocabulary:
        raise WorkbenchError(
            f"{text}: its class names are not those of the features. Make the text embeddings from the same vocabulary."
        )
    return text_word_vectors(embeddings), f"text tower {embeddings.encoder}", {}
