"""Batches of generated rows with a share of real ones, a function of (seed, epoch)."""

import math
import threading
from collections.abc import Generator
from functools import reduce

import numpy as np

from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.recognition.feature_stream import FeatureStream, shuffled_rows
from workbench.recognition.fitting import ALONE, Batch
from workbench.recognition.scene_features import ReadRows, ScenesOfRows, joined
from workbench.recognition.stored_features import FeatureRows
from workbench.scenes.vocabulary import ROLES


class MixedBatches:
    """Generated rows in a new order each epoch, each batch filled up with a share of real rows.

    An epoch shows every generated row once (every real row once where ``real_share`` is 1). ``active`` (by role,
    bool per generated row) says where a role's loss looks at generated rows; real rows always count. ``easy`` (bool
    per generated row) turns a curriculum on: easy rows alone in the first half of ``epochs``, the others in the
    second. ``scenes`` are those of generated and of real rows, where the head reads them. Features that are
    ``by_blocks`` are shuffled in blocks of neighbours and read a window ahead.
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
        easy: np.ndarray | None = None,
        epochs: int = 1,
        scenes: tuple[ScenesOfRows, ScenesOfRows] | None = None,
    ):
        if not 0.0 <= real_share <= 1.0:
            raise WorkbenchError(f"real_replay is {real_share}; expected a share between 0 and 1.")
        self.name, self._generated, self._real, self._active = generated.name, generated, real, active
        self._seed, self._orders, self._lock = seed, {}, threading.Lock()
        self._scenes, self._epochs = scenes or (None, None), epochs
        self._n_real = round(real_share * batch_size)
        self._n_generated = batch_size - self._n_real
        # Without hard or without easy rows (all entropies equal) there is nothing to put in an order.
        curriculum = easy is not None and 0 < easy.sum() < len(easy)
        self._pools = {"easy": np.flatnonzero(easy), "hard": np.flatnonzero(~easy)} if curriculum else {}
        passed, per_step = (len(generated), self._n_generated) if self._n_generated else (len(real), self._n_real)
        self.steps_per_epoch = math.ceil(passed / per_step)
        self.order = f"{generated.order}, {real.order}"

    def batches(self, epoch: int, first: int = 0, processes: Processes = ALONE) -> Generator[Batch, None, None]:
        """The epoch's batches from step ``first`` on, with the features of this process's part of their rows."""

        def own(step: int) -> tuple[np.ndarray, np.ndarray]:
            generated, real = self._rows(epoch, step)
            part = processes.part(len(generated) + len(real))
            return generated[part], real[max(part.start - len(generated), 0) : max(part.stop - len(generated), 0)]

        steps, (own_scenes, image_scenes) = range(first, self.steps_per_epoch), self._scenes
        with (
            FeatureStream(self._generated, lambda step: own(step)[0], steps, self._n_generated, own_scenes) as made,
            FeatureStream(self._real, lambda step: own(step)[1], steps, self._n_real, image_scenes) as stored,
        ):
            for step in steps:
                yield self._batch(*self._rows(epoch, step), *own(step), made.at(step), stored.at(step))

    def _rows(self, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the step's generated and real rows."""
        generated = self._generated_rows(epoch, step)
        # An epoch's last batch is smaller; its real part shrinks with it, so the share stays.
        share = len(generated) / self._n_generated if self._n_generated else 1.0
        whole = self._n_generated == 0
        real = self._piece("real", len(self._real), self._n_real, epoch, step, once=whole)
        return generated, real[: math.ceil(share * self._n_real)]

    def _generated_rows(self, epoch: int, step: int) -> np.ndarray:
        n = len(self._generated)
        if not self._pools:
            return self._piece("generated", n, self._n_generated, epoch, step, once=True)
        passed = (epoch - 1 + step / self.steps_per_epoch) / self._epochs
        pool = "easy" if passed < 0.5 else "hard"
        rows = self._piece(pool, len(self._pools[pool]), self._n_generated, epoch, step, once=False)
        return self._pools[pool][rows[: min(self._n_generated, n - step * self._n_generated)]]

    def _piece(self, kind: str, rows: int, per_step: int, epoch: int, step: int, *, once: bool) -> np.ndarray:
        """Consecutive pieces of permutations, which end with the rows (``once``) or go round as often as it takes."""
        if per_step == 0:
            return np.empty(0, dtype=np.int64)
        start, stop = step * per_step, (step + 1) * per_step
        if once:
            return self._order(kind, rows, per_step, epoch, 0)[start : min(stop, rows)]
        rounds = range(start // rows, (stop - 1) // rows + 1)
        orders = [self._order(kind, rows, per_step, epoch, number) for number in rounds]
        offset = start - rounds[0] * rows
        # One round may hold millions of rows: it is copied only where a piece goes on in the next.
        return (orders[0] if len(orders) == 1 else np.concatenate(orders))[offset : offset + per_step]

    def _order(self, kind: str, rows: int, per_step: int, epoch: int, number: int) -> np.ndarray:
        key = (kind, epoch, number)
        with self._lock:
            if key not in self._orders:
                # Only this epoch's permutations are kept.
                self._orders = {other: order for other, order in self._orders.items() if other[1] == epoch}
                features = self._real if kind == "real" else self._generated
                self._orders[key] = shuffled_rows(features, rows, per_step, self._seed, "finetuning", *key)
            return self._orders[key]

    def _batch(self, generated, real, own_generated, own_real, made: ReadRows, stored: ReadRows) -> Batch:
        """The batch of generated and real rows, of which this process reads its own."""
        pieces = [(read, rows, scenes) for read, rows, scenes in
                  zip((made, stored), (own_generated, own_real), self._scenes, strict=True) if len(rows)]  # fmt: skip
        # A process without a row of this batch still needs arrays of the right widths.
        pieces = pieces or [(stored, own_real, self._scenes[1])]
        features = tuple(
            np.concatenate(region) for region in zip(*(read(rows) for read, rows, _ in pieces), strict=True)
        )
        labels = {
            role: np.concatenate([self._generated.labels[role][generated], self._real.labels[role][real]])
            for role in ROLES
        }
        everywhere = np.ones(len(real), dtype=bool)
        active = {role: np.concatenate([self._active[role][generated], everywhere]) for role in ROLES}
        is_generated = np.arange(len(generated) + len(real)) < len(generated)
        found = [scenes(rows, read) for read, rows, scenes in pieces if scenes is not None]
        return Batch(features, labels, active, is_generated, reduce(joined, found) if found else None)
