"""Re-balancing a trained recogniser on the same features, without any generated one: the bar for a generator.

Source: Kang et al. 2020, "Decoupling representation and classifier for long-tailed recognition" (cRT, LWS,
tau-normalisation); Menon et al. 2021, "Long-tail learning via logit adjustment" (post hoc).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.randomness import derived_seed
from workbench.recognition.batches import BalancedBatches
from workbench.recognition.checkpoint import RECOGNISER_FILE, Recogniser, load_recogniser, save_recogniser
from workbench.recognition.fit_plan import FitPlan
from workbench.recognition.heads import empty_head
from workbench.recognition.losses import log_priors
from workbench.recognition.lsvru import LsvruHead
from workbench.recognition.objective import Objective, ObjectivePlan
from workbench.recognition.prediction import validation_of
from workbench.recognition.scene_features import ImageScenes
from workbench.recognition.stored_features import FeatureRows
from workbench.recognition.trials import before_and_after, fit_learning_rates, forget_trials
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.bands import Counts, count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

METHODS = ("crt", "lws", "tau_norm", "logit_adjustment")
CLASSIFIER_PARTS = ("so_sem_embeddings.", "prd_sem_embeddings.", "so_classifier.", "prd_classifier.")
Validation = dict[str, float]


@dataclass(frozen=True)
class _Work:
    """What all methods share: the recogniser, its train counts, and validation as a function of a head."""

    start: Recogniser
    counts: Counts
    validate: Callable[[LsvruHead], Validation]


def rebalance_recogniser(
    folder: Path,
    *,
    recogniser: Path,
    features: Path,
    method: str,
    epochs: int = 5,
    batch_size: int = 256,
    learning_rates: Sequence[float] = (1e-3,),
    strengths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
    seed: int = 0,
    optimiser: str = "adamw",
    weight_decay: float = 0.01,
    schedule: str = "cosine",
    precision: str = "auto",
    device: str = "auto",
    only_trained: bool = False,
    memory_gigabytes: float = 2.0,
    on_epoch: Callable[[dict], None] | None = None,
) -> dict[str, Any]:
    """Re-balance a recogniser whose features stay as they are; choices are made on validation (exact-match).

    "crt" draws the classifier anew and trains it alone on class-balanced batches; "lws" trains one factor per class
    on them; "tau_norm" divides each row of a linear classifier by its norm to the power of tau; "logit_adjustment"
    takes tau x log prior off the logits. The last two train nothing: each role takes the tau of ``strengths`` that is
    best for it on validation (subject and object share theirs where they share the classifier).
    Writes ``recogniser.safetensors`` (and ``log.jsonl`` where something is trained); a killed run continues. A linear
    classifier is needed for "tau_norm": word classifiers compare unit vectors, which have no norm to take away.
    Processes that a launcher started together share the work, and return once the first one has written the files.
    """
    if method not in METHODS:
        raise WorkbenchError(f"method {method!r} is not known. Choose one of: {', '.join(METHODS)}.")
    folder, features, processes = Path(folder), Path(features), Processes.current()
    vocabulary = Vocabulary.read(features)
    train, held_out = FeatureStore.open(features / "train"), FeatureStore.open(features / "val")
    start = load_recogniser(recogniser)
    for store in (train, held_out):
        start.check_fits(store, vocabulary, store.folder)
    counts, chosen = count_classes(train.relations, vocabulary), chosen_device(device)
    validate = validation_of(FeatureRows(held_out, f"{features / 'val'}", memory_gigabytes), counts, only_trained,
                             processes)  # fmt: skip
    work = _Work(start, counts, lambda head: validate(head.to(chosen), chosen))
    before = work.validate(start.head)
    start.head.cpu()
    if method in ("crt", "lws"):
        plan = FitPlan(epochs, batch_size, 1.0, seed, optimiser, weight_decay, schedule, 0, precision, device)
        rows = FeatureRows(train, f"{features / 'train'}", memory_gigabytes)
        source = BalancedBatches(rows, batch_size, seed, ImageScenes(rows) if start.head.reads_scenes else None)
        trials = fit_learning_rates(
            lambda: _prepared(method, load_recogniser(recogniser).head, seed), source,
            Objective(ObjectivePlan(), counts, seed), validate, plan, learning_rates, folder, on_epoch=on_epoch,
            processes=processes,
        )  # fmt: skip
        head, found = _prepared(method, start.head, seed).requires_grad_(True), trials.metrics()
        head.load_state_dict(trials.best.best_weights)
    else:
        head, found = _TUNED[method](work, recogniser, strengths)
    after = work.validate(head)
    history = {"stage": "rebalancing", "method": method, "seed": seed, "validation": after, **found,
               "before": start.history | {"validation": before}}  # fmt: skip
    if processes.main:
        save_recogniser(folder / RECOGNISER_FILE, replace(start, head=head.cpu(), history=history))
        forget_trials(folder)
    processes.wait()
    return found | before_and_after(before, after)


def _prepared(method: str, head: LsvruHead, seed: int) -> LsvruHead:
    """The head with only that left to train which the method trains."""
    head = adjustable(head) if method == "lws" else head
    if method == "crt":
        _draw_classifier_anew(head, seed)
    parts = ("class_factor.",) if method == "lws" else CLASSIFIER_PARTS
    for name, parameter in head.named_parameters():
        parameter.requires_grad_(name.startswith(parts))
    return head


def _draw_classifier_anew(head: LsvruHead, seed: int) -> None:
    fresh = empty_head(head.config).initialise(derived_seed(seed, "classifier drawn anew")).state_dict()
    drawn = {name: value for name, value in fresh.items() if name.startswith(CLASSIFIER_PARTS)}
    head.load_state_dict(head.state_dict() | drawn)


def _tau_normalised(work: _Work, place: Path, strengths: Sequence[float]):
    head = work.start.head
    if head.config.classifier != "linear":
        raise WorkbenchError(
            f"{place}: its classifier is {head.config.classifier!r}; tau-normalisation needs a linear one. "
            "Train a recogniser with sizes={'classifier': 'linear'}."
        )
    layers = {"subject/object": head.so_classifier, "relation": head.prd_classifier}
    weights = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    for layer in layers.values():
        layer.bias.data.zero_()  # as its authors do: the bias is as biased as the norms

    def normalise(name: str, tau: float) -> None:
        norms = weights[name].norm(dim=1, keepdim=True).clamp_min(1e-12)
        layers[name].weight.data.copy_(weights[name] / norms**tau)

    return head, {"tau": _best_by_part(head, tuple(layers), strengths, normalise, work.validate)}


def _logit_adjusted(work: _Work, place: Path, strengths: Sequence[float]):
    head = adjustable(work.start.head)
    labels = {role: work.counts.labels_of_role(role) for role in ROLES}
    # The background never occurs among stored relations; it is adjusted like a class without examples.
    labels["relation"] = np.concatenate([[0], labels["relation"]])
    priors = {role: log_priors(counts) for role, counts in labels.items()}
    offsets = {role: head.class_offset[role].detach().clone() for role in ROLES}

    def adjust(role: str, tau: float) -> None:
        head.class_offset[role].data.copy_(offsets[role] - tau * torch.from_numpy(priors[role]))

    return head, {"tau": _best_by_part(head, ROLES, strengths, adjust, work.validate)}


_TUNED = {"tau_norm": _tau_normalised, "logit_adjustment": _logit_adjusted}


def _best_by_part(head, parts, strengths, apply, validate) -> dict[str, float]:
    """For each part the strength whose accuracy is highest (of equal ones the first), applied to the head."""
    if not strengths:
        raise WorkbenchError("strengths is empty; give at least one number, 0 leaves the recogniser as it is.")
    scores = {part: [] for part in parts}
    for strength in strengths:
        for part in parts:
            apply(part, strength)
        found = validate(head)
        head.cpu()
        for part in parts:
            scores[part].append(found[part])
    best = {part: float(strengths[int(np.argmax(values))]) for part, values in scores.items()}
    for part, strength in best.items():
        apply(part, strength)
    return best


def adjustable(head: LsvruHead) -> LsvruHead:
    """The same head with a factor of 1 and an offset of 0 for each class, or itself where it has them already."""
    if head.config.adjusted:
        return head
    wider = empty_head(replace(head.config, adjusted=True))
    wider.initialise(0)
    wider.load_state_dict(wider.state_dict() | head.state_dict())
    return wider.eval()
