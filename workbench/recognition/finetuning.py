"""Fine-tuning a trained recogniser on generated relation features (DiffAugment, sections 3.2 stage 4 and 4.1)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.recognition.checkpoint import RECOGNISER_FILE, load_recogniser, save_recogniser
from workbench.recognition.curriculum import CURRICULA, easy_rows
from workbench.recognition.fit_plan import FitPlan
from workbench.recognition.mixed_batches import MixedBatches
from workbench.recognition.objective import Objective, ObjectivePlan
from workbench.recognition.prediction import validation_of
from workbench.recognition.scene_features import ImageScenes, generated_scenes, images_of_boxes
from workbench.recognition.stored_features import FeatureRows, check_classes
from workbench.recognition.trials import before_and_after, fit_learning_rates, forget_trials
from workbench.recognition.weight_interpolation import best_interpolation
from workbench.regions.feature_store import FeatureStore
from workbench.regions.generated_features import GeneratedFeatures
from workbench.scenes.bands import Counts, count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

LOSS_ROLES = ("all", "entities", "kept", "tail")
PRIORS = ("train", "batches")


def active_roles(relations, roles: str, place: Path) -> dict[str, np.ndarray]:
    """Which roles of generated rows the loss looks at, (N,) bool by role.

    "all": every role. "entities": subject and object. "kept": all but the one that augmentation replaced (column
    "replaced"), so the tail role and the other one that came with it. "tail": only the tail role (column "because").
    """
    if roles not in LOSS_ROLES:
        raise WorkbenchError(f"roles {roles!r} is not known. Choose one of: {', '.join(LOSS_ROLES)}.")
    if roles in ("all", "entities"):
        return {role: np.full(len(relations), roles == "all" or role != "relation") for role in ROLES}
    column = "replaced" if roles == "kept" else "because"
    if column not in relations:
        raise WorkbenchError(f"{place}: no column {column!r}, which roles={roles!r} needs. Use roles='all'.")
    named = relations[column].to_numpy()
    return {role: (named != role) if roles == "kept" else (named == role) for role in ROLES}


def finetune_recogniser(
    folder: Path,
    *,
    recogniser: Path,
    generated: Path,
    features: Path,
    learning_rates: Sequence[float] = (1e-5, 3e-5, 1e-4, 3e-4),
    epochs: int = 10,
    batch_size: int = 256,
    loss: str = "ce",
    real_replay: float = 0.0,
    synthetic_weight: float = 1.0,
    prior: str = "train",
    curriculum: str = "none",
    triplets: Path | None = None,
    scenes: str = "own",
    roles: str = "all",
    entities: str = "auto",
    weight_interpolation: Sequence[float] = (1.0,),
    seed: int = 0,
    tau: float = 1.0,
    gamma: float = 2.0,
    vilhub_scale: float = 0.0,
    relmix: str = "none",
    optimiser: str = "adamw",
    weight_decay: float = 0.01,
    schedule: str = "constant",
    warm_up_steps: int = 0,
    precision: str = "auto",
    device: str = "auto",
    only_trained: bool = False,
    keep_if_worse: bool = True,
    memory_gigabytes: float = 2.0,
    seconds_between_states: float = 10.0,
    on_epoch: Callable[[dict], None] | None = None,
) -> dict[str, Any]:
    """Fine-tune on generated rows; learning rate and epoch are chosen on validation (exact-match Combined).

    ``real_replay`` is the share of real train rows in each batch (0 as in the paper, 1 is the control without
    generated rows); ``roles`` as in `active_roles`, ``entities`` as in `GeneratedFeatures`. ``weight_interpolation``
    lists shares of the fine-tuned weights to be averaged with those before, tried on the best learning rate.
    ``curriculum`` "easy_then_hard" needs ``triplets`` (section 4.3). ``scenes`` is what a head that reads scenes is
    shown of a generated row, as in `generated_scenes`. Loss, its parameters and ``synthetic_weight`` as in
    `ObjectivePlan`. Class weights and priors of the loss come from the real train counts, or, with ``prior``
    "batches", from what the batches show (`shown_counts`): generated rows of rare classes have changed the prior.
    The class vectors are the recogniser's own. The recogniser before fine-tuning is measured
    on validation too and reported as ``validation_before_*``; it is not a candidate, so the result may be worse
    than it, unless ``keep_if_worse`` is False: then the unchanged recogniser is kept and ``changed`` says so.
    Writes ``recogniser.safetensors`` and ``log.jsonl`` (all learning rates); a killed run continues. Processes that
    a launcher started together share the work, and return once the first one has written the files.
    """
    if relmix != "none" and roles != "all":
        raise WorkbenchError(f"relmix {relmix!r} mixes all roles of a row, but roles is {roles!r}. Use roles='all'.")
    folder, features, chosen, processes = Path(folder), Path(features), chosen_device(device), Processes.current()
    vocabulary = Vocabulary.read(features)
    train, validation = FeatureStore.open(features / "train"), FeatureStore.open(features / "val")
    start = load_recogniser(recogniser)
    for store in (train, validation):
        start.check_fits(store, vocabulary, store.folder)
    counts = count_classes(train.relations, vocabulary)
    rows = GeneratedFeatures.open(generated, train, entities)
    check_classes(rows.relations, vocabulary, rows.folder)
    active = active_roles(rows.relations, roles, rows.folder / "generated.parquet")
    source = _batches(
        rows, train, f"{features / 'train'}", memory_gigabytes, scenes if start.head.reads_scenes else None, active,
        batch_size=batch_size, real_share=real_replay, seed=seed, epochs=epochs,
        easy=_easy(curriculum, rows, triplets),
    )  # fmt: skip
    shown = _counts_of_loss(prior, counts, rows, active, real_replay, vocabulary)
    objective = ObjectivePlan(loss, tau, gamma, vilhub_scale, relmix, synthetic_weight)
    validate = validation_of(FeatureRows(validation, f"{features / 'val'}", memory_gigabytes), counts, only_trained,
                             processes)  # fmt: skip
    before = validate(start.head.to(chosen), chosen)
    start_weights = {name: value.cpu().clone() for name, value in start.head.state_dict().items()}
    # The candidates take the place of the plan's learning rate.
    plan = FitPlan(epochs, batch_size, 1.0, seed, optimiser, weight_decay, schedule, warm_up_steps, precision, device)
    trials = fit_learning_rates(
        lambda: load_recogniser(recogniser).head, source, Objective(objective, shown, seed), validate, plan,
        learning_rates, folder, on_epoch=on_epoch, seconds_between_states=seconds_between_states,
        first_choice=epochs // 2 + 1 if curriculum != "none" else 1, processes=processes,
    )  # fmt: skip
    share, best_weights, after = best_interpolation(
        start.head,
        start_weights,
        trials.best.best_weights,
        weight_interpolation,
        lambda head: validate(head, chosen),
    )
    changed = keep_if_worse or after["combined"] > before["combined"]
    if not changed:
        share, best_weights, after = 0.0, start_weights, before
    history = {"stage": "finetuning", "objective": asdict(objective), "prior": prior, "curriculum": curriculum,
               "scenes": scenes, "real_replay": real_replay, "roles": roles,
               "learning_rate": trials.learning_rate, "best_epoch": trials.best.best_epoch, "seed": seed,
               "changed": changed, "weight_share": share, "validation": after,
               "before": start.history | {"validation": before}}  # fmt: skip
    start.head.load_state_dict(best_weights)
    start.history = history
    start.loss = loss if changed else start.loss
    if processes.main:
        save_recogniser(folder / RECOGNISER_FILE, start)
        forget_trials(folder)
    processes.wait()
    facts = {"generated_rows": len(rows), "weight_share": share, "changed": changed}
    return facts | trials.metrics() | before_and_after(before, after)


def shown_counts(
    real: Counts, relations: pd.DataFrame, active: dict[str, np.ndarray], real_share: float, vocabulary: Vocabulary
) -> Counts:
    """How often the batches of a fine-tuning show each class to a loss, scaled to the size of the real train counts.

    ``relations`` are the generated rows, ``active`` (N,) bool by role which of them the role's loss looks at.
    """
    scale = (1 - real_share) * real.relations.sum() / len(relations)
    shown = {}
    for role in ROLES:
        generated = relations[role].to_numpy()[active[role]]
        tally = np.bincount(generated, minlength=len(vocabulary.names(role)))
        shown[role] = real_share * real.labels_of_role(role) + scale * tally
    return Counts(shown["subject"] + shown["object"], shown["relation"], shown["subject"], shown["object"])


def _counts_of_loss(
    prior: str,
    counts: Counts,
    rows: GeneratedFeatures,
    active: dict[str, np.ndarray],
    real_share: float,
    vocabulary: Vocabulary,
) -> Counts:
    if prior not in PRIORS:
        raise WorkbenchError(f"prior {prior!r} is not known. Choose one of: {', '.join(PRIORS)}.")
    if prior == "train":
        return counts
    return shown_counts(counts, rows.relations, active, real_share, vocabulary)


def _batches(
    rows: GeneratedFeatures, train: FeatureStore, name: str, memory_gigabytes: float, scenes: str | None,
    active: dict[str, np.ndarray], *, real_share: float, **options: Any,
) -> MixedBatches:  # fmt: skip
    """Generated rows mixed with real ones; ``scenes`` None where the head does not read them."""
    generated = FeatureRows(rows, str(rows.folder), memory_gigabytes)
    # Real rows that never come into a batch need no place in memory.
    real = FeatureRows(train, name, memory_gigabytes if real_share > 0 or scenes == "image" else 0.0)
    if scenes is not None:
        images = images_of_boxes(train.entity_region, train.boxes, train.relations)
        options["scenes"] = generated_scenes(scenes, generated, rows, real, images), ImageScenes(real)
    return MixedBatches(generated, real, active, real_share=real_share, **options)


def _easy(curriculum: str, rows: GeneratedFeatures, triplets: Path | None) -> np.ndarray | None:
    if curriculum not in CURRICULA:
        raise WorkbenchError(f"curriculum {curriculum!r} is not known. Choose one of: {', '.join(CURRICULA)}.")
    if curriculum == "none":
        return None
    if triplets is None:
        raise WorkbenchError("a curriculum needs the folder of augmented triplets with their hardness: give triplets.")
    return easy_rows(rows.relations, triplets)
