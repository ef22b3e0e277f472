"""The one training loop: denoiser, recogniser, text tower and region encoder are trained by ``train``.

Steps are counted, not epochs. What a step sees is a function of (seed, step), so a training that was killed or stopped
resumes to the same weights. Several processes that a launcher started share each batch through accelerate.
"""

import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from workbench.devices import accelerator_for
from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.progress import track, tracked
from workbench.randomness import derived_seed
from workbench.stopping import Stopped, stop_on_sigterm
from workbench.training_config import TrainingConfig, TrainingEdge
from workbench.training_state import STATE, TrainingState

LOG = "log.jsonl"
STEPS_BETWEEN_CHECKS = 50
GRADIENT_NORM = "gradient norm"
SGD_MOMENTUM = 0.9


@dataclass(frozen=True)
class Evaluation:
    """``run`` gives numbers of the network (averaged, if the training averages) every ``every`` steps and at the end.

    With ``best``, the weights with the highest number of that name are kept, from the ``first``-th evaluation on.
    """

    every: int
    run: Callable[[nn.Module], dict[str, float]]
    best: str = ""
    first: int = 1


@dataclass
class Trained:
    """The network with its best (else averaged, else last) weights, in evaluation mode, and how it came about.

    ``best`` is the log line of the kept evaluation, empty where none was chosen.
    """

    network: nn.Module
    log: list[dict[str, Any]]
    best: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds of training, over all attempts."""
        return self.log[-1]["seconds"]

    @property
    def steps(self) -> int:
        """Optimiser steps taken."""
        return self.log[-1]["step"]


def train(
    objective: nn.Module,
    batch: Callable[[int, int, int], Any],
    folder: Path,
    config: TrainingConfig,
    *,
    log_every: int = 50,
    evaluation: Evaluation | None = None,
    edge: TrainingEdge | None = None,
) -> Trained:
    """Train ``objective.network`` and leave ``log.jsonl`` and the training state in ``folder``.

    Parameters
    ----------
    objective
        ``objective(batch, step)`` gives scalar losses by name, whose sum is minimised. It may have
        ``parameter_groups()`` (dicts with "params", "weight_decay" and "multiple" of the learning rate) and
        ``after_step()``.
    batch
        ``batch(step, part, parts)`` gives one of ``parts`` equal shares of the step's batch. It runs in a thread, one
        ahead, in the order of the steps, and must not draw from torch's global generator.
    log_every
        Steps between two lines of the log: step, seconds, mean losses, learning rate, evaluation.

    An unfinished training in the folder is resumed; `forget_state` removes its state once the result is stored.
    SIGTERM saves the state and raises ``Stopped``. A loss or gradient that is not finite raises WorkbenchError, and the
    last good state stays.
    """
    return _Training(objective, batch, Path(folder), config, log_every, evaluation, edge or TrainingEdge()).run()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a training's log; empty where there is none."""
    path = Path(folder) / LOG
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def new_optimiser(config: TrainingConfig, objective: nn.Module) -> torch.optim.Optimizer:
    """An optimiser of the objective's ``parameter_groups()``, or with weight decay on matrices alone."""
    if hasattr(objective, "parameter_groups"):
        groups = [{"multiple": 1.0, **group} for group in cast(Any, objective).parameter_groups()]
    else:
        # Gains, biases and normalisations are not weights to be kept small.
        trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        others = [parameter for parameter in trained if parameter.ndim < 2]
        groups = [{"params": [p for p in trained if p.ndim >= 2]}, {"params": others, "weight_decay": 0.0}]
    groups = [{"weight_decay": config.weight_decay, **group} for group in groups if group["params"]]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=SGD_MOMENTUM)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


class _Training:
    """What all steps of one training share."""

    def __init__(self, objective, batch, folder: Path, config: TrainingConfig, log_every: int, evaluation, edge):
        if not config.steps:
            raise WorkbenchError("steps is 0; expected a number above 0.")
        self.objective, self.batch, self.folder, self.config = objective, batch, folder, config
        self.log_every, self.evaluation, self.edge = log_every, evaluation, edge
        self.accelerator = accelerator_for(edge.device, config.precision, config.accumulation)
        self.objective.to(self.accelerator.device).train()
        average = copy.deepcopy(objective.network).requires_grad_(False) if config.ema_decay else None
        optimiser = new_optimiser(config, objective)
        self.state = TrainingState(folder / STATE, objective.network, average, optimiser, config)
        # The average is not prepared: accelerate refuses a module without trainable weights in several processes.
        self.model, self.optimiser = self.accelerator.prepare(objective, optimiser)

    def run(self) -> Trained:
        state, main = self.state, self.accelerator.is_main_process
        self.folder.mkdir(parents=True, exist_ok=True)
        state.restore(self.accelerator.device)
        self.accelerator.wait_for_everyone()
        self.began = time.monotonic() - state.seconds
        curves = tracked(self.edge.tracker if main else "", self.folder, self.edge.name, state.step)
        # Dropout draws from torch's generator, seeded at each step; the caller's draws stay as they were.
        try:
            with stop_on_sigterm() as stop, curves as track_curves, torch.random.fork_rng():
                self._steps(stop, track_curves)
        finally:
            # Else the network would go on multiplying in this training's precision (accelerate 1.15).
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        return Trained(state.finished_network().eval(), state.log, state.best)

    def _steps(self, stop, track_curves) -> None:
        state, last = self.state, self.config.steps
        if main := self.accelerator.is_main_process:
            # Lines behind the state that is resumed would stand twice.
            with atomic_path(self.folder / LOG) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in state.log))
        remaining = range(state.step, last)
        batches = _one_ahead(self._shares(remaining))
        for step in track(remaining, f"Training: {self.edge.name}") if main else remaining:
            self._step(step, batches)
            state.step = step + 1
            is_logged = state.step % self.log_every == 0 or state.step == last or self._evaluation_is_due()
            if is_logged:
                self._log(track_curves)
            elif state.step % STEPS_BETWEEN_CHECKS == 0:
                self._require_finite()
            if main and time.monotonic() - state.saved_at >= self.edge.checkpoint_seconds:
                self._save()
            # After the state is saved: whatever a notebook's figure raises, this work is kept.
            if main and is_logged and self.edge.on_log is not None:
                self.edge.on_log(state.log[-1])
            if self._asked(stop) and state.step < last:
                self._stop()
        if main and remaining:
            self._save()

    def _shares(self, steps: range) -> Iterator[Any]:
        """The parts that are this process's of each step's batch, one after the other."""
        accumulation, parts = self.config.accumulation, self.config.accumulation * self.accelerator.num_processes
        first = self.accelerator.process_index * accumulation
        for step in steps:
            for part in range(first, first + accumulation):
                yield part, self.batch(step, part, parts)

    def _step(self, step: int, batches: Iterator[Any]) -> None:
        self.rate = self.config.learning_rate_at(step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * group.get("multiple", 1.0)
        for _ in range(self.config.accumulation):
            part, share = next(batches)
            torch.manual_seed(derived_seed(self.config.seed, "dropout", step, part))
            with self.accelerator.accumulate(self.model):
                losses = self.model(share, step)
                self.accelerator.backward(sum(losses.values()))
                self.state.add(losses, 1.0 / self.config.accumulation)
                if self.accelerator.sync_gradients and self.config.gradient_clip:
                    norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
                    self.state.add({GRADIENT_NORM: norm})
                self.optimiser.step()
                self.optimiser.zero_grad(set_to_none=True)
        if hasattr(self.objective, "after_step"):
            self.objective.after_step()
        self.state.update_average(step)

    def _log(self, track_curves) -> None:
        self._require_finite()
        state = self.state
        losses = state.taken_means(self.accelerator)
        losses.pop(GRADIENT_NORM, None)
        seconds = round(time.monotonic() - self.began, 3)
        line = {"step": state.step, "seconds": seconds, "loss": sum(losses.values())}
        line |= {f"loss_{name}": value for name, value in losses.items()} if len(losses) > 1 else {}
        line["learning_rate"] = self.rate
        if self._evaluation_is_due():
            line |= self._evaluate(line)
        state.log.append(line)
        if self.accelerator.is_main_process:
            with open(self.folder / LOG, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            track_curves({name: value for name, value in line.items() if name != "step"}, state.step)

    def _evaluation_is_due(self) -> bool:
        if self.evaluation is None:
            return False
        return self.state.step % self.evaluation.every == 0 or self.state.step == self.config.steps

    def _evaluate(self, line: dict[str, Any]) -> dict[str, float]:
        # What is measured is the average where there is one.
        evaluated = self.state.network if self.state.average is None else self.state.average
        training = self.objective.network.training
        numbers = self.evaluation.run(evaluated.eval())
        evaluated.train(training)
        number = -(-self.state.step // self.evaluation.every)
        if self.evaluation.best and number >= self.evaluation.first:
            self.state.keep_if_best(self.evaluation.best, line | numbers, evaluated)
        return numbers

    def _require_finite(self) -> None:
        not_finite = [name for name, value in self.state.sums.items() if not torch.isfinite(value)]
        if not not_finite:
            return
        bad = [name if name == GRADIENT_NORM else f"{name} loss" for name in not_finite]
        kept = f"The last good state is kept in {self.state.path}. " if self.state.path.exists() else ""
        raise WorkbenchError(
            f"{self.folder}: {' and '.join(bad)} of {self.edge.name} became not finite by step {self.state.step} "
            f"(learning rate {self.rate:g}). {kept}Lower the learning rate, or check the features."
        )

    def _asked(self, stop) -> bool:
        if self.accelerator.num_processes == 1:
            return stop.asked
        if stop.asked:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def _stop(self) -> None:
        self._require_finite()
        if self.accelerator.is_main_process:
            self._save()
        self.accelerator.wait_for_everyone()
        raise Stopped(
            f"{self.folder}: training of {self.edge.name} was asked to stop and has saved its state after step "
            f"{self.state.step} of {self.config.steps}. Run the same command again to resume it."
        )

    def _save(self) -> None:
        self._require_finite()  # a state that is not finite must not replace a good one
        self.state.seconds = time.monotonic() - self.began
        self.state.save()


def _one_ahead(items: Iterable[Any]) -> Iterator[Any]:
    """``items``, each made in a thread while the one before is used."""
    iterator, missing = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = pool.submit(next, iterator, missing)
        while (item := coming.result()) is not missing:
            coming = pool.submit(next, iterator, missing)
            yield item
