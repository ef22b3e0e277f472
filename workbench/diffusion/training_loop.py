"""The loop of denoiser training: what is logged and saved, a clean stop, and going on after one.

Every process takes every step. The first one alone writes the log, the curves, the state and the checkpoint; all of
them read the state when they go on.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from workbench.diffusion.training_state import STATE, TrainingLog
from workbench.diffusion.training_step import DenoiserTraining
from workbench.errors import WorkbenchError
from workbench.progress import track
from workbench.stopping import Stopped, stop_on_sigterm
from workbench.tracking import Tracker

CHECKPOINT = "denoiser.safetensors"


@dataclass
class TrainingLoop:
    """``training`` in ``folder``; the other settings are those of ``workbench.diffusion.training.train_denoiser``."""

    folder: Path
    training: DenoiserTraining
    callback: Callable[[dict], None] | None = None
    log_every: int = 50
    held_out_every: int = 250
    checkpoint_seconds: float = 60.0
    tracker: str = ""
    _begun: float = field(default=0.0, init=False)
    _last_saved: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Take the steps that are missing and write the checkpoint; raises ``Stopped`` after a SIGTERM."""
        state, main = self.training.state, self.training.processes.main
        state.resume(self.folder)
        # What was trained before counts too.
        self._last_saved = time.monotonic()
        self._begun = self._last_saved - state.seconds
        log = TrainingLog(self.folder, state.step) if main else None
        curves = Tracker(self.tracker if main else "", self.folder, "denoiser", state.step)
        with stop_on_sigterm() as stop, curves as tracker:
            self._steps(stop, log, tracker)
        if main:
            self.training.checkpoint().save(self.folder / CHECKPOINT)
            (self.folder / STATE).unlink(missing_ok=True)
        self.training.processes.wait()

    def _steps(self, stop, log: TrainingLog | None, tracker: Tracker) -> None:
        training, processes, last = self.training, self.training.processes, self.training.config.steps
        losses = torch.tensor(training.state.loss_sum if processes.main else 0.0, device=training.device)
        norms = torch.zeros((), device=training.device)
        steps = range(training.state.step, last)
        for step in track(steps, "Training the denoiser") if processes.main else steps:
            loss, norm = training.step(step)
            losses, norms = losses + loss, norms + norm
            done = step + 1
            if done % self.log_every == 0 or done == last:
                line = self._line(done, losses, norms)
                losses, norms = torch.zeros_like(losses), torch.zeros_like(norms)
                if log is not None:
                    self._write(line, log, tracker, last)
            if done < last and processes.any(stop.asked):
                self._stop(done, losses, norms)

    def _line(self, done: int, losses: torch.Tensor, norms: torch.Tensor, *, watched: bool = True) -> dict:
        """What is known after step ``done``, whose loss is a mean since the last line; WorkbenchError if not finite."""
        training = self.training
        since = done - (done - 1) // self.log_every * self.log_every
        loss = training.processes.sum(losses.clone()).item() / since
        line = {"step": done, "seconds": round(self._seconds(), 3), "loss": loss}
        line["learning_rate"] = training.config.learning_rate_at(done - 1)
        if watched and (done % self.held_out_every < since or done == training.config.steps):
            line |= training.seen_losses()
        self._require_finite(line, norms.item(), done - since + 1)
        return line

    def _write(self, line: dict, log: TrainingLog, tracker: Tracker, last: int) -> None:
        log.append(line)
        tracker.log({name: value for name, value in line.items() if name != "step"}, line["step"])
        # Saved before the callback: whatever a notebook's figure raises, this work is kept.
        if time.monotonic() - self._last_saved >= self.checkpoint_seconds and line["step"] < last:
            self._save(line["step"], 0.0)
        if self.callback is not None:
            self.callback(line)

    def _save(self, done: int, loss_sum: float) -> None:
        state = self.training.state
        state.step, state.seconds, state.loss_sum = done, self._seconds(), loss_sum
        state.save(self.folder)
        self._last_saved = time.monotonic()

    def _stop(self, done: int, losses: torch.Tensor, norms: torch.Tensor) -> None:
        processes, last = self.training.processes, self.training.config.steps
        if done % self.log_every:  # a state that is not finite must not replace a good one
            self._line(done, losses, norms, watched=False)
        loss_sum = processes.sum(losses.clone()).item()
        if processes.main:
            self._save(done, loss_sum)
        processes.wait()
        raise Stopped(
            f"{self.folder}: training was asked to stop and has saved its state after step {done} of {last}. "
            "Run the same command again to go on with it."
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    def _require_finite(self, line: dict, norms: float, first: int) -> None:
        values = {"gradient norm": norms} | {name: value for name, value in line.items() if name.endswith("loss")}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if not self.training.processes.any(bool(bad)):
            return
        kept = self.folder / STATE
        where = f"The last good state is kept in {kept}." if kept.exists() else "No state had been saved yet."
        raise WorkbenchError(
            f"{self.folder}: {', '.join(bad) or 'a loss that another process computed'} not finite within steps "
            f"{first} to {line['step']}. {where} Look for outliers in the features, or train anew with a lower "
            'learning_rate or precision "float32".'
        )
