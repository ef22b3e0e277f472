"""Batches of an epoch, as a function of (seed, epoch): real rows, or generated rows mixed with real ones."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.recognition.fitting import Batch
from workbench.recognition.scene_features import ImageScenes, SceneFeatures, joined
from workbench.recognition.stored_features import FeatureRows
from workbench.scenes.vocabulary import ROLES

ScenesOfRows = Callable[[np.ndarray], SceneFeatures]


class RealBatches:
    """Real rows in a new order each epoch; the last batch may be smaller.

    With ``scenes`` images are shuffled instead of rows, so that the relations of an image share a batch and its
    scene is encoded once (or twice, where a batch ends inside it).
    """

    def __init__(self, features: FeatureRows, batch_size: int, seed: int, scenes: ImageScenes | None = None):
        self.name, self._features, self._batch_size, self._seed = features.name, features, batch_size, seed
        self._scenes = scenes
        self.steps_per_epoch = math.ceil(len(features) / batch_size)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The epoch's batches."""
        order = self._order(epoch)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            labels = {role: ids[rows] for role, ids in self._features.labels.items()}
            yield Batch(self._features(rows), labels, scenes=None if self._scenes is None else self._scenes(rows))

    def _order(self, epoch: int) -> np.ndarray:
        draw = generator(self._seed, "recogniser", "order", epoch)
        if self._scenes is None:
            return draw.permutation(len(self._features))
        index = self._scenes.index
        return np.concatenate(index.rows_of_images(draw.permutation(len(index))))


class BalancedBatches:
    """Real rows drawn so that every class of a role is equally likely, for each role a part of the batch of its own.

    Class-balanced sampling of decoupled training (Kang et al. 2020): a row has three classes, so each role draws its
    own rows, and only that role's loss looks at them. An epoch shows as many rows per role as there are real ones.
    """

    def __init__(self, features: FeatureRows, batch_size: int, seed: int, scenes: ImageScenes | None = None):
        self.name, self._features, self._seed, self._scenes = features.name, features, seed, scenes
        self._per_role = max(1, batch_size // len(ROLES))
        self.steps_per_epoch = math.ceil(len(features) / self._per_role)
        self._rows = {role: _rows_by_class(ids) for role, ids in features.labels.items()}

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The epoch's batches."""
        for step in range(self.steps_per_epoch):
            draw = generator(self._seed, "class-balanced rows", epoch, step)
            parts = [self._drawn(role, draw) for role in ROLES]
            rows = np.concatenate(parts)
            labels = {role: ids[rows] for role, ids in self._features.labels.items()}
            part = np.repeat(np.arange(len(ROLES)), self._per_role)
            active = {role: part == number for number, role in enumerate(ROLES)}
            scenes = None if self._scenes is None else self._scenes(rows)
            yield Batch(self._features(rows), labels, active, scenes=scenes)

    def _drawn(self, role: str, draw: np.random.Generator) -> np.ndarray:
        by_class = self._rows[role]
        classes = draw.integers(len(by_class), size=self._per_role)
        share = draw.random(self._per_role)
        return np.array([by_class[c][int(u * len(by_class[c]))] for c, u in zip(classes, share, strict=True)])


class MixedBatches:
    """Generated rows in a new order each epoch, each batch filled up with a share of real rows.

    An epoch shows every generated row once (every real row once where ``real_share`` is 1). ``active`` (by role,
    bool per generated row) says where a role's loss looks at generated rows; real rows always count. ``easy`` (bool
    per generated row) turns a curriculum on: easy rows alone in the first half of ``epochs``, the others in the
    second. ``scenes`` are those of generated and of real rows, where the head reads them.
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
        self._seed, self._orders, self._scenes, self._epochs = seed, {}, scenes, epochs
        self._n_real = round(real_share * batch_size)
        self._n_generated = batch_size - self._n_real
        # Without hard or without easy rows (all entropies equal) there is nothing to put in an order.
        curriculum = easy is not None and 0 < easy.sum() < len(easy)
        self._pools = {"easy": np.flatnonzero(easy), "hard": np.flatnonzero(~easy)} if curriculum else {}
        passed, per_step = (len(generated), self._n_generated) if self._n_generated else (len(real), self._n_real)
        self.steps_per_epoch = math.ceil(passed / per_step)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The epoch's batches, a function of (seed, epoch)."""
        for step in range(self.steps_per_epoch):
            generated = self._generated_rows(epoch, step)
            # An epoch's last batch is smaller; its real part shrinks with it, so the share stays.
            share = len(generated) / self._n_generated if self._n_generated else 1.0
            whole = self._n_generated == 0
            real = self._piece("real", len(self._real), self._n_real, epoch, step, once=whole)
            yield self._batch(generated, real[: math.ceil(share * self._n_real)])

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
        return Batch(features, labels, active, np.arange(len(everywhere) + len(generated)) < len(generated),
                     self._scenes_of(generated, real))  # fmt: skip

    def _scenes_of(self, generated: np.ndarray, real: np.ndarray) -> SceneFeatures | None:
        if self._scenes is None:
            return None
        parts = [scenes(rows) for scenes, rows in zip(self._scenes, (generated, real), strict=True) if len(rows)]
        return parts[0] if len(parts) == 1 else joined(*parts)


def _rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(labels, kind="stable")
    starts = np.unique(labels[order], return_index=True)[1]
    return np.split(order, starts[1:])
