"""Training a recogniser on the stored features of real relations."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings, vocabulary_of
from workbench.processes import Processes
from workbench.recognition.batches import RealBatches
from workbench.recognition.checkpoint import RECOGNISER_FILE, Recogniser, save_recogniser
from workbench.recognition.fit_plan import FitPlan
from workbench.recognition.fitting import fit, named_validation
from workbench.recognition.heads import new_head
from workbench.recognition.objective import Objective, ObjectivePlan
from workbench.recognition.prediction import validation_of
from workbench.recognition.scene_features import ImageScenes
from workbench.recognition.stored_features import FeatureRows, check_classes
from workbench.recognition.trials import LOG_FILE
from workbench.recognition.word_vectors import ClassVectors, read_class_vectors, text_word_vectors
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import Vocabulary

STATE_FILE = "training_state.safetensors"


def train_recogniser(
    folder: Path,
    *,
    features: Path,
    text: Path,
    architecture: str = "lsvru",
    loss: str = "ce",
    epochs: int = 12,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    hidden: int = 1024,
    sizes: Mapping[str, Any] | None = None,
    seed: int = 0,
    word_vectors: str = "",
    word_mode: str = "clean",
    tau: float = 1.0,
    gamma: float = 2.0,
    vilhub_scale: float = 0.0,
    relmix: str = "none",
    optimiser: str = "adamw",
    weight_decay: float = 0.01,
    schedule: str = "cosine",
    warm_up_steps: int = 100,
    precision: str = "auto",
    device: str = "auto",
    only_trained: bool = False,
    memory_gigabytes: float = 2.0,
    seconds_between_states: float = 10.0,
    on_epoch: Callable[[dict], None] | None = None,
) -> dict[str, Any]:
    """Train a recogniser and keep the epoch that is best on validation (exact-match Combined).

    ``features`` holds the vocabulary and the stores train/ and val/; ``text`` a text folder, whose class vectors
    are used unless ``word_vectors`` names a word2vec, GloVe or JSON file (``word_mode`` as in `word_vectors`).
    ``architecture`` is "lsvru" or "reltransformer", ``hidden`` and ``sizes`` (others by name) its sizes. ``loss``,
    ``tau``, ``gamma``, ``vilhub_scale`` and ``relmix`` as in `ObjectivePlan`. ``only_trained`` leaves classes without
    a train row out of the validation mean. A store of union features alone gets separate embeddings of subject and
    object.
    The reference's optimiser is ``optimiser="sgd", weight_decay=1e-4, schedule="step"``
    (6.1); AdamW gets further in the same epochs on stored features. Features beyond ``memory_gigabytes`` are shuffled
    in blocks of neighbours and read from disk a window ahead. Writes ``recogniser.safetensors`` and
    ``log.jsonl`` into ``folder``; a killed run continues from its last state. Returns headline numbers, in each of the
    processes that a launcher started together to share the work, once the first one has written the files.
    """
    plan = FitPlan(epochs, batch_size, learning_rate, seed, optimiser, weight_decay, schedule, warm_up_steps,
                   precision, device)  # fmt: skip
    folder, features, processes = Path(folder), Path(features), Processes.current()
    vocabulary = Vocabulary.read(features)
    train, validation = FeatureStore.open(features / "train"), FeatureStore.open(features / "val")
    if _kind(train) != _kind(validation):
        raise WorkbenchError(
            f"{features}: train has {_kind(train)}, val {_kind(validation)}. Make both splits with the same encoder."
        )
    check_classes(validation.relations, vocabulary, validation.folder)
    counts = count_classes(train.relations, vocabulary)
    vectors, word_source = class_vectors(Path(text), vocabulary, word_vectors, word_mode)
    head = new_head(architecture, train.dimension, vectors, seed, separate_roles=train.entity_region == "union",
                    sizes={"hidden": hidden} | dict(sizes or {}))  # fmt: skip
    objective = ObjectivePlan(loss, tau, gamma, vilhub_scale, relmix)
    rows = FeatureRows(train, f"{features / 'train'}", memory_gigabytes)
    fitted = fit(
        head,
        RealBatches(rows, batch_size, seed, ImageScenes(rows) if head.reads_scenes else None),
        Objective(objective, counts, seed),
        validation_of(
            FeatureRows(validation, f"{features / 'val'}", memory_gigabytes), counts, only_trained, processes
        ),
        plan,
        folder / STATE_FILE,
        log_path=folder / LOG_FILE,
        on_epoch=on_epoch,
        seconds_between_states=seconds_between_states,
        processes=processes,
    )
    head.load_state_dict(fitted.best_weights)
    history = {"stage": "training", "plan": asdict(plan), "objective": asdict(objective),
               "best_epoch": fitted.best_epoch, "validation": fitted.best}  # fmt: skip
    if processes.main:
        trained = Recogniser(head, vocabulary, train.encoder, train.entity_region, loss, word_source, history,
                             train.support)  # fmt: skip
        save_recogniser(folder / RECOGNISER_FILE, trained)
        (folder / STATE_FILE).unlink(missing_ok=True)
    processes.wait()
    return {
        "rows": len(train),
        "epochs": epochs,
        "best_epoch": fitted.best_epoch,
        "seconds": round(sum(entry["seconds"] for entry in fitted.log), 1),
        "train_loss": fitted.log[-1]["loss"],
        **named_validation(fitted.best),
    }


def _kind(store: FeatureStore) -> str:
    return f"{store.support} {store.dimension}-D features of {store.encoder!r} ({store.entity_region})"


def class_vectors(text: Path, vocabulary: Vocabulary, word_vectors: str, word_mode: str) -> tuple[ClassVectors, str]:
    """The head's word matrices and a line that says where they come from."""
    if word_vectors:
        return read_class_vectors(Path(word_vectors), vocabulary, word_mode), f"{Path(word_vectors).name} ({word_mode})"
    embeddings = TextEmbeddings.open(text)
    if vocabulary_of(text) != vocabulary:
        raise WorkbenchError(
            f"{text}: its class names are not those of the features. Make the text embeddings from the same vocabulary."
        )
    return text_word_vectors(embeddings), f"text tower {embeddings.encoder}"
