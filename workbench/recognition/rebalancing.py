"""Re-balancing a trained recogniser on the same features, without any generated one: the bar for a generator.

Source: Kang et al. 2020, "Decoupling representation and classifier for long-tailed recognition" (cRT, LWS,
tau-normalisation); Menon et al. 2021, "Long-tail learning via logit adjustment" (post hoc).
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.randomness import derived_seed, generator
from workbench.recognition.batches import Batch, OwnScenes, RelationRows, StepRows, scenes_of
from workbench.recognition.config import RebalancingConfig
from workbench.recognition.evaluation import best_strengths, validation
from workbench.recognition.losses import LossConfig, role_classes
from workbench.recognition.lsvru import LsvruHead
from workbench.recognition.recogniser import load_recogniser
from workbench.recognition.training import HeadTraining, named_validation, store_recogniser
from workbench.regions.features import FeaturesFolder
from workbench.scenes.bands import Counts
from workbench.scenes.relations import rows_by_class
from workbench.scenes.vocabulary import ROLES
from workbench.training_config import TrainingEdge

# The parts of a head that a strength is chosen for, with a function that gives it to them.
Tunable = dict[str, Callable[[float], Any]]
CLASSIFIER_PARTS = ("so_sem_embeddings.", "prd_sem_embeddings.", "so_classifier.", "prd_classifier.")


def rebalance_recogniser(
    folder: Path, *, recogniser: Path, features: Path, config: RebalancingConfig, edge: TrainingEdge | None = None
) -> dict[str, Any]:
    """Re-balance a recogniser whose features stay as they are; choices are made on validation (exact-match).

    "crt" draws the classifier again and trains it alone on class-balanced batches; "lws" trains one factor per class
    on them; "tau_norm" divides each row of a linear classifier by its norm to the power of tau; "logit_adjustment"
    takes tau x log prior off the logits. The last two train nothing: each role takes the tau of ``strengths`` that is
    best for it on validation (subject and object share theirs where they share the classifier).
    Writes ``recogniser.safetensors`` (and ``log.jsonl`` where something is trained); a killed run resumes. A linear
    classifier is needed for "tau_norm": word classifiers compare unit vectors, which have no norm to take away.
    """
    folder, data, edge = Path(folder), FeaturesFolder(features), edge or TrainingEdge()
    start = load_recogniser(recogniser)
    start.check_fits(data.vocabulary, data.train, data.val)
    validate, device = validation(data, config), chosen_device(edge.device)
    before = validate(start.head.to(device))
    if config.method in ("crt", "lws"):
        rows = RelationRows(data.train, data.vocabulary, config.memory_gigabytes)
        scenes = scenes_of(start.head, rows)
        with contextlib.closing(BalancedBatches(rows, config.batch_size, config.seed, scenes)) as batches:
            training = HeadTraining(batches, data.counts, LossConfig(), validate, config, edge)
            head, found = training.sweep(
                lambda: _prepared(config.method, load_recogniser(recogniser).head, config.seed),
                config.learning_rates, folder,
            )  # fmt: skip
    else:
        if config.method == "tau_norm":
            head = start.head
            tunable = _tau_normalised(head, recogniser)
        else:
            head = adjustable(start.head).to(device)
            tunable = _logit_adjusted(head, data.counts)
        found = {"tau": best_strengths(head, tunable, config.strengths, validate)[0]}
    after = validate(head)
    history = {"stage": "rebalancing", "method": config.method, "seed": config.seed, "validation": after, **found,
               "before": start.history | {"validation": before}}  # fmt: skip
    store_recogniser(folder, replace(start, head=head, history=history))
    return found | named_validation(before, "validation_before") | named_validation(after)


class BalancedBatches(StepRows):
    """Real rows drawn so that every class of a role is equally likely, for each role a part of the batch of its own.

    Class-balanced sampling of decoupled training (Kang et al. 2020): a row has three classes, so each role draws its
    own rows, and only that role's loss looks at them. An epoch shows as many rows per role as there are real ones.
    Features that are not in memory are read at random places.
    """

    def __init__(self, rows: RelationRows, batch_size: int, seed: int, scenes: OwnScenes | None = None):
        self._per_role, self._seed = max(1, batch_size // len(ROLES)), seed
        self.steps_per_epoch = math.ceil(len(rows) / self._per_role)
        self._by_class = {role: list(rows_by_class(rows.labels[role]).values()) for role in ROLES}
        super().__init__(rows, self._drawn_rows, self._per_role * len(ROLES), scenes)

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """One of ``parts`` shares of a step's batch."""
        batch = super().__call__(step, part, parts)
        role_of_row = np.repeat(np.arange(len(ROLES)), self._per_role)[part::parts]
        batch.active = {role: role_of_row == number for number, role in enumerate(ROLES)}
        return batch

    def _drawn_rows(self, step: int) -> np.ndarray:
        draw = generator(self._seed, "class-balanced rows", step)
        drawn = []
        for by_class in self._by_class.values():
            classes, share = draw.integers(len(by_class), size=self._per_role), draw.random(self._per_role)
            drawn += [by_class[c][int(u * len(by_class[c]))] for c, u in zip(classes, share, strict=True)]
        return np.array(drawn)


def _prepared(method: str, head: LsvruHead, seed: int) -> LsvruHead:
    """The head with only that left to train which the method trains."""
    parts: tuple[str, ...] = ("class_factor.",)
    if method == "crt":
        parts = CLASSIFIER_PARTS
        fresh = type(head).empty(head.config).initialise(derived_seed(seed, "classifier drawn anew")).state_dict()
        drawn = {name: value for name, value in fresh.items() if name.startswith(parts)}
        head.load_state_dict(head.state_dict() | drawn)
    else:
        head = adjustable(head)
    for name, parameter in head.named_parameters():
        parameter.requires_grad_(name.startswith(parts))
    return head


def _tau_normalised(head: LsvruHead, place: Path) -> Tunable:
    if head.config.classifier != "linear":
        what = f"{place}: its classifier is {head.config.classifier!r}; tau-normalisation needs a linear one"
        raise WorkbenchError(f"{what}. Train a recogniser with sizes={{'classifier': 'linear'}}.")

    def normalised(layer: nn.Linear) -> Callable[[float], Any]:
        weight = layer.weight.detach().clone()
        norms = weight.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return lambda tau: layer.weight.data.copy_(weight / norms**tau)

    layers = {"subject/object": head.so_classifier, "relation": head.prd_classifier}
    for layer in layers.values():
        layer.bias.data.zero_()  # as its authors do: the bias is as biased as the norms
    return {part: normalised(layer) for part, layer in layers.items()}


def _logit_adjusted(head: LsvruHead, counts: Counts) -> Tunable:
    def adjusted(offset: nn.Parameter, prior: torch.Tensor) -> Callable[[float], Any]:
        before = offset.detach().cpu().clone()
        return lambda tau: offset.data.copy_(before - tau * prior)

    classes = role_classes(counts)
    return {role: adjusted(head.class_offset[role], classes[role].log_priors()) for role in classes}


def adjustable(head: LsvruHead) -> LsvruHead:
    """The same head with a factor of 1 and an offset of 0 for each class, or itself where it has them already."""
    if head.config.adjusted:
        return head
    wider = type(head).empty(replace(head.config, adjusted=True)).initialise(0)
    wider.load_state_dict(wider.state_dict() | head.state_dict())
    return wider.eval()
