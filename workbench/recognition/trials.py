"""One fit for each candidate learning rate, and the best of them on validation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.recognition.fit_plan import FitPlan
from workbench.recognition.fit_state import Fitted
from workbench.recognition.fitting import ALONE, BatchSource, fit, named_validation, write_log
from workbench.recognition.lsvru import LsvruHead
from workbench.recognition.objective import Objective

LOG_FILE = "log.jsonl"


@dataclass
class Trials:
    """The fit with the highest "combined" on validation (of equal ones the first), and what to tell of all of them."""

    best: Fitted
    learning_rate: float
    candidates: list[dict[str, float]]
    seconds: float

    def metrics(self) -> dict[str, Any]:
        """What was chosen, for the record of a stage; ``steps`` is how many updates the chosen fit took in all."""
        return {
            "learning_rate": self.learning_rate,
            "best_epoch": self.best.best_epoch,
            "steps": self.best.log[-1]["step"],
            "seconds": self.seconds,
            "candidates": self.candidates,
        }


def fit_learning_rates(
    new_head: Callable[[], LsvruHead],
    source: BatchSource,
    objective: Objective,
    validate: Callable,
    plan: FitPlan,
    learning_rates: Sequence[float],
    folder: Path,
    processes: Processes = ALONE,
    **options: Any,
) -> Trials:
    """Fit a head of ``new_head`` under ``plan`` for each learning rate; ``options`` go to `fit`.

    Unfinished and finished fits keep their states in ``folder``, so that a killed call goes on; `forget_trials` removes
    them once the result is stored. Writes ``log.jsonl``, in which "trial" counts the learning rates. Of several
    ``processes`` the first one writes.
    """
    if not learning_rates:
        raise WorkbenchError("learning_rates is empty; give at least one number above 0.")
    trials: list[Fitted] = []
    for number, rate in enumerate(learning_rates):
        state = _state(folder, number)
        trials.append(fit(new_head(), source, objective, validate, replace(plan, learning_rate=float(rate)), state,
                          processes=processes, **options))  # fmt: skip
        if processes.main:
            write_log(folder / LOG_FILE, _joined_log(trials))
    best = max(range(len(trials)), key=lambda number: trials[number].best["combined"])
    candidates = [
        {"learning_rate": float(rate), "epoch": trial.best_epoch, "validation_combined": trial.best["combined"]}
        for rate, trial in zip(learning_rates, trials, strict=True)
    ]
    seconds = round(sum(entry["seconds"] for trial in trials for entry in trial.log), 1)
    return Trials(trials[best], float(learning_rates[best]), candidates, seconds)


def forget_trials(folder: Path) -> None:
    """Remove the states of all learning rates."""
    for state in folder.glob(_state(folder, 0).name.replace("0", "*")):
        state.unlink()


def before_and_after(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Validation numbers of a recogniser before and after, as a stage's metrics name them."""
    return named_validation(before, "validation_before") | named_validation(after)


def _state(folder: Path, number: int) -> Path:
    return folder / f"learning_rate_{number}.safetensors"


def _joined_log(trials: list[Fitted]) -> list[dict[str, Any]]:
    """All trials in one log; "step" keeps counting, so that a figure shows them side by side."""
    entries, offset = [], 0
    for number, trial in enumerate(trials):
        entries += [entry | {"trial": number, "step": entry["step"] + offset} for entry in trial.log]
        offset = entries[-1]["step"]
    return entries
