"""Fine-tuning a trained recogniser on generated relation features (DiffAugment, sections 3.2 stage 4 and 4.1)."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.recognition.checkpoint import RECOGNISER_FILE, load_recogniser, save_recogniser
from workbench.recognition.fitting import Batch, FitPlan, Fitted, fit, write_log
from workbench.recognition.losses import role_losses
from workbench.recognition.prediction import validation_of
from workbench.recognition.stored_features import FeatureRows, GeneratedRows
from workbench.recognition.training import LOG_FILE
from workbench.recognition.weight_interpolation import best_interpolation
from workbench.regions.bank import FeatureBank
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

LOSS_ROLES = ("all", "kept", "tail")


class MixedBatches:
    """Generated rows in a new order each epoch, each batch filled up with a share of real rows.

    An epoch shows every generated row once (every real row once where ``real_share`` is 1). ``active`` (by role,
    bool per generated row) says where a role's loss looks at generated rows; real rows always count.
    """

    def __init__(
        self,
        generated: FeatureRows,
        real: FeatureRows,
        active: dict[str, np.ndarray],
        *,
        batch_size: int,
        real_share: float,
        seed: int,
    ):
        if not 0.0 <= real_share <= 1.0:
            raise WorkbenchError(f"real_replay is {real_share}; expected a share between 0 and 1.")
        self.name, self._generated, self._real, self._active = generated.name, generated, real, active
        self._seed, self._orders = seed, {}
        self._n_real = round(real_share * batch_size)
        self._n_generated = batch_size - self._n_real
        passed, per_step = (len(generated), self._n_generated) if self._n_generated else (len(real), self._n_real)
        self.steps_per_epoch = math.ceil(passed / per_step)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The epoch's batches, a function of (seed, epoch)."""
        for step in range(self.steps_per_epoch):
            generated = self._rows("generated", len(self._generated), self._n_generated, epoch, step)
            # An epoch's last batch is smaller; its real part shrinks with it, so the share stays.
            share = len(generated) / self._n_generated if self._n_generated else 1.0
            real = self._rows("real", len(self._real), self._n_real, epoch, step)[: math.ceil(share * self._n_real)]
            yield self._batch(generated, real)

    def _rows(self, kind: str, rows: int, per_step: int, epoch: int, step: int) -> np.ndarray:
        """Consecutive pieces of permutations; real rows go round as often as it takes, generated ones once."""
        if per_step == 0:
            return np.empty(0, dtype=np.int64)
        start, stop = step * per_step, (step + 1) * per_step
        if kind == "generated" or self._n_generated == 0:
            return self._order(kind, rows, epoch, 0)[start : min(stop, rows)]
        rounds = range(start // rows, (stop - 1) // rows + 1)
        orders = np.concatenate([self._order(kind, rows, epoch, number) for number in rounds])
        offset = start - rounds[0] * rows
        return orders[offset : offset + per_step]

    def _order(self, kind: str, rows: int, epoch: int, number: int) -> np.ndarray:
        key = (kind, epoch, number)
        if key not in self._orders:
            # Only this epoch's permutations are kept.
            self._orders = {other: order for other, order in self._orders.items() if other[1] == epoch}
            self._orders[key] = generator(self._seed, "finetuning", *key).permutation(rows)
        return self._orders[key]

    def _batch(self, generated: np.ndarray, real: np.ndarray) -> Batch:
        parts = [source(rows) for source, rows in ((self._generated, generated), (self._real, real)) if len(rows)]
        features = tuple(np.concatenate(region) for region in zip(*parts, strict=True))
        labels = {
            role: np.concatenate([self._generated.labels[role][generated], self._real.labels[role][real]])
            for role in ROLES
        }
        everywhere = np.ones(len(real), dtype=bool)
        active = {role: np.concatenate([self._active[role][generated], everywhere]) for role in ROLES}
        return Batch(features, labels, active)


def active_roles(relations, roles: str, place: Path) -> dict[str, np.ndarray]:
    """Which roles of generated rows the loss looks at, (N,) bool by role.

    "all": every role. "kept": all but the one that augmentation replaced (column "replaced"), so the tail role
    and the other one that came with it. "tail": only the tail role (column "because").
    """
    if roles not in LOSS_ROLES:
        raise WorkbenchError(f"roles {roles!r} is not known. Choose one of: {', '.join(LOSS_ROLES)}.")
    if roles == "all":
        return {role: np.ones(len(relations), dtype=bool) for role in ROLES}
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
    text: Path | None = None,
    learning_rates: Sequence[float] = (1e-5, 3e-5, 1e-4, 3e-4),
    epochs: int = 10,
    batch_size: int = 256,
    loss: str = "ce",
    real_replay: float = 0.0,
    roles: str = "all",
    entities: str = "auto",
    weight_interpolation: Sequence[float] = (1.0,),
    seed: int = 0,
    tau: float = 1.0,
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
    generated rows); ``roles`` as in `active_roles`, ``entities`` as in `GeneratedRows`. ``weight_interpolation``
    lists shares of the fine-tuned weights to be averaged with those before, tried on the best learning rate.
    Loss weights and priors come from the real train counts.
    ``text`` is not read: the class vectors are the recogniser's own. The recogniser before fine-tuning is measured
    on validation too and reported as ``validation_before_*``; it is not a candidate, so the result may be worse
    than it, unless ``keep_if_worse`` is False: then the unchanged recogniser is kept and ``changed`` says so.
    Writes ``recogniser.safetensors`` and ``log.jsonl`` (all learning rates); a killed run continues.
    """
    if not learning_rates:
        raise WorkbenchError("learning_rates is empty; give at least one number above 0.")
    folder, features = Path(folder), Path(features)
    vocabulary = Vocabulary.read(features)
    train, validation = FeatureBank.open(features / "train"), FeatureBank.open(features / "val")
    start = load_recogniser(recogniser)
    for bank in (train, validation):
        start.check_fits(bank, vocabulary, bank.folder)
    rows = GeneratedRows(generated, train, entities)
    counts = count_classes(train.relations, vocabulary)
    source = MixedBatches(
        FeatureRows(rows, str(generated), memory_gigabytes),
        # Real rows that never come into a batch need no place in memory.
        FeatureRows(train, f"{features / 'train'}", memory_gigabytes if real_replay else 0.0),
        active_roles(rows.relations, roles, rows.folder / "generated.parquet"),
        batch_size=batch_size, real_share=real_replay, seed=seed,
    )  # fmt: skip
    validate = validation_of(FeatureRows(validation, f"{features / 'val'}", memory_gigabytes), counts, only_trained)
    chosen = chosen_device(device)
    before = validate(start.head.to(chosen), chosen)
    start_weights = {name: value.cpu().clone() for name, value in start.head.state_dict().items()}
    trials = []
    for number, learning_rate in enumerate(learning_rates):
        plan = FitPlan(epochs, batch_size, float(learning_rate), seed, optimiser, weight_decay, schedule,
                       warm_up_steps, precision, device)  # fmt: skip
        trials.append(
            fit(
                load_recogniser(recogniser).head,
                source,
                role_losses(loss, counts.objects, counts.relations, tau),
                validate,
                plan,
                folder / f"learning_rate_{number}.safetensors",
                on_epoch=on_epoch,
                seconds_between_states=seconds_between_states,
            )
        )
        write_log(folder / LOG_FILE, _joined_log(trials))
    best_number = max(range(len(trials)), key=lambda number: trials[number].best["combined"])
    best, best_rate = trials[best_number], float(learning_rates[best_number])
    share, best_weights, after = best_interpolation(
        start.head,
        start_weights,
        best.best_weights,
        weight_interpolation,
        lambda head: validate(head, chosen),
    )
    changed = keep_if_worse or after["combined"] > before["combined"]
    history = {"stage": "finetuning", "loss": loss, "learning_rate": best_rate, "best_epoch": best.best_epoch,
               "real_replay": real_replay, "roles": roles, "seed": seed, "changed": changed,
               "weight_share": share, "validation": after,
               "before": start.history | {"validation": before}}  # fmt: skip
    start.head.load_state_dict(best_weights if changed else start_weights)
    start.history = history
    save_recogniser(folder / RECOGNISER_FILE, start)
    for number in range(len(trials)):
        (folder / f"learning_rate_{number}.safetensors").unlink(missing_ok=True)
    return {
        "generated_rows": len(rows),
        "learning_rate": best_rate,
        "best_epoch": best.best_epoch,
        "weight_share": share,
        "changed": changed,
        "seconds": round(sum(entry["seconds"] for trial in trials for entry in trial.log), 1),
        "candidates": [
            {"learning_rate": float(rate), "epoch": trial.best_epoch, "validation_combined": trial.best["combined"]}
            for rate, trial in zip(learning_rates, trials, strict=True)
        ],
        **{f"validation_before_{name.replace('/', '_')}": value for name, value in before.items()},
        **{f"validation_{name.replace('/', '_')}": value for name, value in after.items()},
    }


def _joined_log(trials: list[Fitted]) -> list[dict[str, Any]]:
    """All trials in one log; "step" keeps counting, so that a figure shows them side by side."""
    entries, offset = [], 0
    for number, trial in enumerate(trials):
        entries += [entry | {"trial": number, "step": entry["step"] + offset} for entry in trial.log]
        offset = entries[-1]["step"]
    return entries
