"""One resumable fit of a head: optimiser, learning rate, epochs, validation, and the best weights kept.

Training on real rows and fine-tuning on generated ones differ only in the batches that they hand in. Several processes
may share a fit: each embeds its part of a batch's rows, then all compute the objective of the whole batch, because
class-weighted losses, VilHub and RelMix look at its rows together.
"""

import contextlib
import json
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from workbench.devices import chosen_device, network_autocast, network_precision
from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.processes import Processes
from workbench.randomness import derived_seed
from workbench.recognition.feature_window import Regions, on_device
from workbench.recognition.fit_plan import FitPlan, learning_rate_factor, new_optimiser
from workbench.recognition.fit_state import FitState, Fitted, Progress
from workbench.recognition.lsvru import LsvruHead, VisualEmbeddings
from workbench.recognition.objective import ObjectiveFunction, Targets
from workbench.recognition.scene_features import SceneFeatures
from workbench.stopping import Stopped, StopRequest, stop_on_sigterm

SECONDS_WITHIN_EPOCHS = 300.0
ALONE = Processes()


@dataclass
class Batch:
    """Features of subject, union and object (m, D) float32 or float16, labels by role (n,) int64, 0-based.

    Of several processes each has the features and the scenes of its part of the rows, `Processes.part` of n, and all
    that is said of every row. ``active`` (n,) bool by role says which rows a role's loss looks at, None means all;
    ``generated`` (n,) bool says which rows are not real, None means none. ``scenes`` is given where the head reads
    them.
    """

    features: Regions
    labels: dict[str, np.ndarray]
    active: dict[str, np.ndarray] | None = None
    generated: np.ndarray | None = None
    scenes: SceneFeatures | None = None


class BatchSource(Protocol):
    """Batches of an epoch, a function of the epoch's number alone; ``name`` is for messages.

    ``order`` names the way in which rows follow each other: with another one a fit cannot be gone on with.
    """

    name: str
    order: str
    steps_per_epoch: int

    def batches(self, epoch: int, first: int = 0, processes: Processes = ALONE) -> Generator[Batch, None, None]:
        """The batches of an epoch (counted from 1) from step ``first`` (counted from 0) on."""
        ...


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
    seconds_within_epochs: float = SECONDS_WITHIN_EPOCHS,
    first_choice: int = 1,
    processes: Processes = ALONE,
) -> Fitted:
    """Train ``head`` and keep the weights of the epoch with the highest "combined" of ``validate``.

    Epochs before ``first_choice`` are not chosen (half a curriculum is none).
    Parameters that do not require a gradient stay as they are. Dropout draws from (seed, epoch, step).
    ``state`` is a safetensors file from which a killed fit continues to the same result; it is written after an epoch
    if ``seconds_between_states`` have passed, within one after ``seconds_within_epochs``, and on SIGTERM, which ends
    the fit with ``Stopped`` at the next step. A loss that is not finite stops with a WorkbenchError that says where;
    the last good state stays.

    All of several ``processes`` return the same; the first one writes the files and calls ``on_epoch``. They give the
    result of one process, but for rounding, and but for the draws of dropout, where a head has it.
    """
    plan.check()
    device = chosen_device(plan.device)
    head.to(device).train()
    optimiser = new_optimiser(head, plan)
    kept = FitState(state, head, optimiser, _work(plan, objective, source, head), processes)
    fitted, progress = kept.restore()
    epochs = _Epochs(head, source, objective, optimiser, plan, kept, processes, seconds_within_epochs)
    with stop_on_sigterm() as request:
        for epoch in range(len(fitted.log) + 1, plan.epochs + 1):
            started = time.monotonic() - progress.seconds
            entry = epochs.run(epoch, fitted, progress, request)
            validation = validate(head.eval(), device)
            head.train()
            entry |= named_validation(validation)
            entry |= {"held_out_loss": validation["loss"], "seconds": round(time.monotonic() - started, 3)}
            fitted.log.append(entry)
            if epoch >= first_choice and (not fitted.best or validation["combined"] > fitted.best["combined"]):
                fitted.best_weights = {name: value.detach().cpu().clone() for name, value in head.state_dict().items()}
                fitted.best_epoch, fitted.best = epoch, validation
            progress = Progress()
            if kept.older_than(seconds_between_states) or epoch == plan.epochs:
                kept.keep(fitted, progress)
            if processes.main and log_path is not None:
                write_log(log_path, fitted.log)
            if processes.main and on_epoch is not None:
                on_epoch(entry)
            epochs.stop_if_asked(fitted, progress, request)
    return fitted


def named_validation(numbers: dict[str, float], prefix: str = "validation") -> dict[str, float]:
    """Validation numbers as logs and metrics name them, for example "validation_subject_object"."""
    return {f"{prefix}_{name.replace('/', '_')}": value for name, value in numbers.items()}


def write_log(path: Path, entries: list[dict[str, Any]]) -> None:
    """The log as JSON lines, rewritten whole so that a resumed run has no line twice."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


@dataclass(frozen=True)
class _Epochs:
    """What all epochs of a fit share."""

    head: LsvruHead
    source: BatchSource
    objective: ObjectiveFunction
    optimiser: torch.optim.Optimizer
    plan: FitPlan
    state: FitState
    processes: Processes
    seconds_within: float

    def run(self, epoch: int, fitted: Fitted, progress: Progress, request: StopRequest) -> dict[str, Any]:
        """Take the steps of an epoch that ``progress`` lacks; returns its entry of the log."""
        device, steps = next(self.head.parameters()).device, self.source.steps_per_epoch
        began = time.monotonic() - progress.seconds
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            contextlib.closing(self.source.batches(epoch, progress.steps, self.processes)) as batches,
        ):
            for batch in batches:
                step = (epoch - 1) * steps + progress.steps
                self._seed_dropout(epoch, progress.steps)
                parts, total = self._loss(batch, step, device)
                if self.processes.any(not bool(torch.isfinite(total))):
                    raise self._not_finite(epoch, progress.steps, parts)
                # Here and not behind the update: a finite loss has just shown that the weights are good.
                progress.seconds = time.monotonic() - began
                self.stop_if_asked(fitted, progress, request)
                if self.state.older_than(self.seconds_within):
                    self.state.keep(fitted, progress)
                self._update(total, step)
                progress.steps += 1
                for role, part in parts.items():
                    progress.sums[role] += part.item()
        means = {f"loss_{role}": value / steps for role, value in progress.sums.items()}
        numbers = {"epoch": epoch, "step": epoch * steps, "loss": sum(means.values())}
        return {**numbers, **means, "learning_rate": self.plan.learning_rate}

    def stop_if_asked(self, fitted: Fitted, progress: Progress, request: StopRequest) -> None:
        """Keep the state and raise ``Stopped`` where any process was asked to."""
        if self.processes.any(request.asked):
            self.state.keep(fitted, progress)
            self.processes.wait()
            raise Stopped(f"{self.source.name}: stopped {self.state.kept}. The same command goes on from there.")

    def _seed_dropout(self, epoch: int, step: int) -> None:
        rank = (self.processes.rank,) if self.processes.count > 1 else ()
        torch.manual_seed(derived_seed(self.plan.seed, "recogniser dropout", epoch, step, *rank))

    def _loss(self, batch: Batch, step: int, device: torch.device) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The objective's part of each role, and their sum."""
        scenes = None if batch.scenes is None else batch.scenes.on(device)
        with network_autocast(device, network_precision(device, self.plan.precision)):
            visual = self.head.visual_embeddings(*on_device(batch.features, device), scenes)
            visual = _of_all(visual, self.processes)
            logits = self.head.logits(visual)
        parts = self.objective(self.head, visual, logits, _targets(batch, device), step)
        return parts, parts["subject"] + parts["relation"] + parts["object"]

    def _update(self, total: torch.Tensor, step: int) -> None:
        factor = learning_rate_factor(step, self.plan.epochs * self.source.steps_per_epoch, self.plan)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.learning_rate * group["multiple"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        (total / self.processes.count).backward()
        self.processes.sum_gradients(self.head.parameters())
        self.optimiser.step()

    def _not_finite(self, epoch: int, step: int, parts: dict[str, torch.Tensor]) -> WorkbenchError:
        kept = f"The state {self.state.kept} is kept in {self.state.path}. " if self.state.kept else ""
        bad = ", ".join(f"{role} {part.item():g}" for role, part in parts.items())
        return WorkbenchError(
            f"{self.source.name}, epoch {epoch}, step {step + 1} of {self.source.steps_per_epoch}: the loss is not "
            f"finite ({bad}). {kept}Lower the learning rate ({self.plan.learning_rate:g}) or check the features of "
            "these rows."
        )


def _of_all(visual: VisualEmbeddings, processes: Processes) -> VisualEmbeddings:
    """The embeddings of a batch's rows from those of every process's part, in one message."""
    if processes.count == 1:
        return visual
    together = torch.cat([embedding.float() for embedding in visual], dim=1)  # (m, 4 hidden)
    return VisualEmbeddings(*processes.joined(together).chunk(len(visual), dim=1))


def _targets(batch: Batch, device: torch.device) -> Targets:
    # Relations of the head count from 1, because 0 is the background.
    labels = {role: torch.from_numpy(ids + (role == "relation")).to(device) for role, ids in batch.labels.items()}
    return Targets(labels, batch.active, batch.generated)


def _work(plan: FitPlan, objective: ObjectiveFunction, source: BatchSource, head: LsvruHead) -> dict[str, Any]:
    """What an unfinished fit must share with this one to be gone on with; it may change device and processes."""
    terms = getattr(objective, "plan", None)
    return {
        "plan": asdict(replace(plan, device="")),
        "objective": None if terms is None else asdict(terms),
        "head": head.config.as_json(),
        "batches": {"steps_per_epoch": source.steps_per_epoch, "order": source.order},
    }
