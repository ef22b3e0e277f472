"""One resumable fit of a head: optimiser, learning rate, epochs, validation, and the best weights kept.

Training on real rows and fine-tuning on generated ones differ only in the batches that they hand in.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from workbench.devices import PRECISIONS, chosen_device, network_autocast, network_precision
from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.randomness import derived_seed
from workbench.recognition.checkpoint import read_tensors, save_tensors
from workbench.recognition.lsvru import LsvruHead
from workbench.recognition.objective import ObjectiveFunction, Targets
from workbench.recognition.scene_features import SceneFeatures
from workbench.scenes.vocabulary import ROLES

SCHEDULES = ("cosine", "step", "constant")
OPTIMISERS = ("adamw", "sgd")
MOMENTUM = 0.9
# The reference decays at 5.33 and 7.11 of 12 epochs (6.2) and warms up from a third (6.1).
STEP_DECAYS = (5.33 / 12, 7.11 / 12)
WARM_UP_FROM = 1 / 3


@dataclass(frozen=True)
class FitPlan:
    """How long and how fast: the numbers of the reference (6.1) are SGD, weight decay 1e-4 and step decay."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warm_up_steps: int = 100
    precision: str = "auto"
    device: str = "auto"

    def check(self) -> None:
        """Refuse values outside their range with a message that names the allowed ones."""
        for name, allowed in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise WorkbenchError(
                    f"{name} {getattr(self, name)!r} is not known. Choose one of: {', '.join(allowed)}."
                )
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise WorkbenchError(f"{name} is {getattr(self, name)}; expected a number above 0.")


@dataclass
class Batch:
    """Features of subject, union and object (n, D) float32, labels by role (n,) int64, 0-based.

    ``active`` (n,) bool by role says which rows a role's loss looks at, None means all; ``generated`` (n,) bool says
    which rows are not real, None means none. ``scenes`` is given where the head reads them.
    """

    features: tuple[np.ndarray, np.ndarray, np.ndarray]
    labels: dict[str, np.ndarray]
    active: dict[str, np.ndarray] | None = None
    generated: np.ndarray | None = None
    scenes: SceneFeatures | None = None


class BatchSource(Protocol):
    """Batches of an epoch, a function of the epoch's number alone; ``name`` is for messages."""

    name: str
    steps_per_epoch: int

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch (counted from 1)."""
        ...


@dataclass
class Fitted:
    """What a fit leaves: the best epoch's weights, its validation numbers, and the log of all epochs."""

    best_weights: dict[str, torch.Tensor]
    best_epoch: int
    best: dict[str, float]
    log: list[dict[str, Any]]


def fit(
    head: LsvruHead,
    source: BatchSource,
    objective: ObjectiveFunction,
    validate: Callable[[LsvruHead, torch.device], dict[str, float]],
    plan: FitPlan,
    state: Path,
    *,
    log_path: Path | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    seconds_between_states: float = 10.0,
    first_choice: int = 1,
) -> Fitted:
    """Train ``head`` and keep the weights of the epoch with the highest "combined" of ``validate``.

    Epochs before ``first_choice`` are not chosen (half a curriculum is none).
    Parameters that do not require a gradient stay as they are. Dropout draws from (seed, epoch).
    ``state`` is a safetensors file from which a killed fit continues to the same result. A loss that is not
    finite stops with a WorkbenchError that says where; the state of the last good epoch stays.
    """
    plan.check()
    device = chosen_device(plan.device)
    head.to(device).train()
    optimiser = _optimiser(head, plan)
    work = _work(plan, objective)
    fitted = _restore(state, head, optimiser, work) or Fitted({}, 0, {}, [])
    total_steps, saved_at = plan.epochs * source.steps_per_epoch, time.monotonic()
    for epoch in range(len(fitted.log) + 1, plan.epochs + 1):
        started = time.monotonic()
        entry = _run_epoch(head, source, objective, optimiser, plan, epoch, total_steps, state)
        validation = validate(head.eval(), device)
        head.train()
        entry |= named_validation(validation)
        entry |= {"held_out_loss": validation["loss"], "seconds": round(time.monotonic() - started, 3)}
        fitted.log.append(entry)
        if epoch >= first_choice and (not fitted.best or validation["combined"] > fitted.best["combined"]):
            fitted.best_weights = {name: value.detach().cpu().clone() for name, value in head.state_dict().items()}
            fitted.best_epoch, fitted.best = epoch, validation
        if time.monotonic() - saved_at >= seconds_between_states or epoch == plan.epochs:
            _keep(state, head, optimiser, fitted, work)
            saved_at = time.monotonic()
        if log_path is not None:
            write_log(log_path, fitted.log)
        if on_epoch is not None:
            on_epoch(entry)
    return fitted


def learning_rate_factor(step: int, total_steps: int, plan: FitPlan) -> float:
    """Factor on the learning rate before step ``step`` (0-based): linear warm-up from 1/3, then the schedule."""
    warm_up = min(plan.warm_up_steps, total_steps // 5)
    factor = WARM_UP_FROM + (1 - WARM_UP_FROM) * step / warm_up if step < warm_up else 1.0
    if plan.schedule == "cosine":
        return factor * 0.5 * (1 + math.cos(math.pi * step / total_steps))
    if plan.schedule == "step":
        return factor * 0.1 ** sum(step >= share * total_steps for share in STEP_DECAYS)
    return factor


def named_validation(numbers: dict[str, float], prefix: str = "validation") -> dict[str, float]:
    """Validation numbers as logs and metrics name them, for example "validation_subject_object"."""
    return {f"{prefix}_{name.replace('/', '_')}": value for name, value in numbers.items()}


def write_log(path: Path, entries: list[dict[str, Any]]) -> None:
    """The log as JSON lines, rewritten whole so that a resumed run has no line twice."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def _run_epoch(head, source, objective, optimiser, plan, epoch, total_steps, state) -> dict[str, Any]:
    device = next(head.parameters()).device
    precision = network_precision(device, plan.precision)
    sums, step = dict.fromkeys(ROLES, 0.0), (epoch - 1) * source.steps_per_epoch
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derived_seed(plan.seed, "recogniser dropout", epoch))
        for batch in source.batches(epoch):
            factor = learning_rate_factor(step, total_steps, plan)
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * group["multiple"] * factor
            scenes = None if batch.scenes is None else batch.scenes.on(device)
            with network_autocast(device, precision):
                visual = head.visual_embeddings(*_on_device(batch.features, device), scenes)
                logits = head.logits(visual)
            parts = objective(head, visual, logits, _targets(batch, device), step)
            total = parts["subject"] + parts["relation"] + parts["object"]
            if not torch.isfinite(total):
                raise _not_finite(source, epoch, step, parts, plan, state)
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            optimiser.step()
            step += 1
            for role, part in parts.items():
                sums[role] += part.item()
    means = {f"loss_{role}": value / source.steps_per_epoch for role, value in sums.items()}
    return {"epoch": epoch, "step": step, "loss": sum(means.values()), **means, "learning_rate": plan.learning_rate}


def _not_finite(source, epoch: int, step: int, parts, plan: FitPlan, state: Path) -> WorkbenchError:
    kept = f"The state after epoch {epoch - 1} is kept in {state}. " if state.exists() else ""
    bad = ", ".join(f"{role} {part.item():g}" for role, part in parts.items())
    return WorkbenchError(
        f"{source.name}, epoch {epoch}, step {step % source.steps_per_epoch + 1} of {source.steps_per_epoch}: "
        f"the loss is not finite ({bad}). {kept}Lower the learning rate ({plan.learning_rate:g}) or check the "
        "features of these rows."
    )


def _targets(batch: Batch, device: torch.device) -> Targets:
    # Relations of the head count from 1, because 0 is the background.
    labels = {role: torch.from_numpy(ids + (role == "relation")).to(device) for role, ids in batch.labels.items()}
    return Targets(labels, batch.active, batch.generated)


def _on_device(features, device: torch.device) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(device) for array in features]


def _optimiser(head: LsvruHead, plan: FitPlan) -> torch.optim.Optimizer:
    """Biases, class factors and offsets without weight decay; with SGD they learn twice as fast (reference 6.1)."""
    undecayed = (".bias", *(f"class_{kind}.{role}" for kind in ("factor", "offset") for role in ROLES))
    trained = [(name, parameter) for name, parameter in head.named_parameters() if parameter.requires_grad]
    bias = [parameter for name, parameter in trained if name.endswith(undecayed)]
    weight = [parameter for name, parameter in trained if not name.endswith(undecayed)]
    groups = [
        {"params": weight, "weight_decay": plan.weight_decay, "multiple": 1.0},
        {"params": bias, "weight_decay": 0.0, "multiple": 2.0 if plan.optimiser == "sgd" else 1.0},
    ]
    if plan.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=MOMENTUM)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)


def _work(plan: FitPlan, objective: ObjectiveFunction) -> dict[str, Any]:
    """What an unfinished fit must share with this one to be gone on with; it may change the device."""
    terms = getattr(objective, "plan", None)
    return {"plan": asdict(replace(plan, device="")), "objective": None if terms is None else asdict(terms)}


def _keep(state: Path, head: LsvruHead, optimiser: torch.optim.Optimizer, fitted: Fitted, work: dict) -> None:
    tensors = {f"head.{name}": value for name, value in head.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in fitted.best_weights.items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in values.items() if value is not None}
    facts = {"work": work, "best_epoch": fitted.best_epoch, "best": fitted.best, "log": fitted.log}
    save_tensors(state, tensors, facts)


def _restore(state: Path, head: LsvruHead, optimiser: torch.optim.Optimizer, work: dict) -> Fitted | None:
    if not state.exists():
        return None
    tensors, facts = read_tensors(state)
    if facts.get("work") != work:
        raise WorkbenchError(f"{state}: belongs to a fit with other parameters. Delete the folder and start again.")
    parts: dict[str, dict[str, torch.Tensor]] = {"head": {}, "best": {}, "optimiser": {}}
    for name, tensor in tensors.items():
        part, rest = name.split(".", 1)
        parts[part][rest] = tensor
    head.load_state_dict(parts["head"])
    values: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimiser"].items():
        index, key = name.split(".", 1)
        values.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": values, "param_groups": optimiser.state_dict()["param_groups"]})
    return Fitted(parts["best"], facts["best_epoch"], facts["best"], facts["log"])
