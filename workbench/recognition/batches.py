"""Batches of relations: real ones, real ones drawn class by class, and generated ones mixed with real ones.

What a step shows is a function of (seed, step). ``batches(step, part, parts)`` gives one of ``parts`` equal shares of
it, as the training loop asks for; features that are not in memory are read a window of steps ahead.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from workbench.randomness import generator
from workbench.recognition.config import FineTuningConfig
from workbench.recognition.scenes import ImageScenes, Scenes, ScenesOfRows, joined
from workbench.regions.block_order import ROWS_PER_BLOCK, BlockOrder
from workbench.regions.feature_rows import FeatureRows, Regions, StepFeatures
from workbench.regions.features import Features
from workbench.scenes.relations import rows_by_class
from workbench.scenes.vocabulary import ROLES

RowsOfStep = Callable[[int], np.ndarray]


@dataclass
class Batch:
    """Features of subject, union and object (n, D) float16, and labels by role (n,) int64, counted from 0.

    ``active`` (n,) bool by role says which rows a role's loss looks at, None means all; ``generated`` (n,) bool says
    which rows are not real, None means none. ``scenes`` is given where the head reads them.
    """

    features: Regions
    labels: dict[str, np.ndarray]
    active: dict[str, np.ndarray] | None = None
    generated: np.ndarray | None = None
    scenes: Scenes | None = None


class RelationRows:
    """Relations with their labels by role (N,) int64 and their features; called with row numbers it gives features.

    ``name`` says in messages where a row is; features that take more than ``memory_gigabytes`` stay on disk.
    """

    def __init__(self, features: Features, name: str, memory_gigabytes: float = 2.0):
        self.name, self.relations = name, features.relations
        self.labels = {role: features.relations[role].to_numpy().astype(np.int64) for role in ROLES}
        self.features = FeatureRows.of_relations(features, name, memory_gigabytes)

    def __len__(self) -> int:
        return len(self.relations)

    def __call__(self, rows: np.ndarray) -> Regions:
        """Features of subject, union and object of rows (n,) in any order, (n, D) float16 each."""
        return self.features(rows)


class StepRows:
    """The rows that each step takes from one table, with features and scenes, read ahead where they are on disk."""

    def __init__(self, rows: RelationRows, rows_of_step: RowsOfStep, rows_per_step: int, scenes: ScenesOfRows | None):
        self._rows, self.rows_of_step, self._scenes = rows, rows_of_step, scenes
        self._ahead = StepFeatures(rows.features, self._needed, rows_per_step)

    def share(self, step: int, part: int = 0, parts: int = 1) -> tuple[np.ndarray, Batch]:
        """Row numbers of one of ``parts`` shares of a step, and their batch."""
        numbers = self.rows_of_step(step)[part::parts]
        read = self._ahead.at(step)
        labels = {role: ids[numbers] for role, ids in self._rows.labels.items()}
        scenes = None if self._scenes is None else self._scenes(numbers, read)
        return numbers, Batch(read(numbers), labels, scenes=scenes)

    def close(self) -> None:
        """Stop reading ahead."""
        self._ahead.close()

    def _needed(self, step: int) -> np.ndarray:
        numbers = self.rows_of_step(step)
        return numbers if self._scenes is None else np.concatenate([numbers, self._scenes.rows_needed(numbers)])


class RealBatches(StepRows):
    """Real rows, each once an epoch in a new order.

    With ``scenes`` images are shuffled instead of rows, so that the relations of an image share a batch and its scene
    is encoded once (or twice, where a batch ends inside it).
    """

    def __init__(self, rows: RelationRows, batch_size: int, seed: int, scenes: ImageScenes | None = None):
        size = min(batch_size, len(rows))
        self.steps_per_epoch = math.ceil(len(rows) / size)
        order = rows.features.order(seed, size, purpose="recogniser").rows_of_step
        super().__init__(rows, order if scenes is None else _image_order(rows, scenes, size, seed), size, scenes)

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """One of ``parts`` shares of a step's batch."""
        return self.share(step, part, parts)[1]


def _image_order(rows: RelationRows, scenes: ImageScenes, size: int, seed: int) -> RowsOfStep:
    """Which rows a step takes where images are shuffled; the last step of an epoch may be smaller."""
    index, steps = scenes.index, math.ceil(len(rows) / size)
    rows_per_image = len(rows) / len(index)
    window, block = (max(1, int(n / rows_per_image)) for n in (rows.features.rows_per_window, ROWS_PER_BLOCK))
    images = BlockOrder(
        seed, rows=len(index), rows_per_window=window if rows.features.by_blocks else len(index),
        rows_per_block=block, purpose="recogniser images",
    )  # fmt: skip
    epochs: dict[int, np.ndarray] = {}

    def rows_of_step(step: int) -> np.ndarray:
        epoch, number = divmod(step, steps)
        if epoch not in epochs:
            # The reader ahead may be in the next epoch already; older ones are forgotten.
            for old in [other for other in epochs if other < epoch - 1]:
                epochs.pop(old, None)
            epochs[epoch] = index.rows_of_images(images.draws(epoch * len(index), len(index)))[0]
        return epochs[epoch][number * size : (number + 1) * size]

    return rows_of_step


class BalancedBatches(StepRows):
    """Real rows drawn so that every class of a role is equally likely, for each role a part of the batch of its own.

    Class-balanced sampling of decoupled training (Kang et al. 2020): a row has three classes, so each role draws its
    own rows, and only that role's loss looks at them. An epoch shows as many rows per role as there are real ones.
    Rows of a class lie anywhere, so features that are not in memory are read at random places, though each row once
    a window.
    """

    def __init__(self, rows: RelationRows, batch_size: int, seed: int, scenes: ImageScenes | None = None):
        self._per_role, self._seed = max(1, batch_size // len(ROLES)), seed
        self.steps_per_epoch = math.ceil(len(rows) / self._per_role)
        self._by_class = {role: list(rows_by_class(ids).values()) for role, ids in rows.labels.items()}
        super().__init__(rows, self._drawn_rows, self._per_role * len(ROLES), scenes)

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """One of ``parts`` shares of a step's batch."""
        batch = self.share(step, part, parts)[1]
        role_of_row = np.repeat(np.arange(len(ROLES)), self._per_role)[part::parts]
        batch.active = {role: role_of_row == number for number, role in enumerate(ROLES)}
        return batch

    def _drawn_rows(self, step: int) -> np.ndarray:
        draw = generator(self._seed, "class-balanced rows", step)
        return np.concatenate([self._drawn(self._by_class[role], draw) for role in ROLES])

    def _drawn(self, by_class: list[np.ndarray], draw: np.random.Generator) -> np.ndarray:
        classes = draw.integers(len(by_class), size=self._per_role)
        share = draw.random(self._per_role)
        return np.array([by_class[c][int(u * len(by_class[c]))] for c, u in zip(classes, share, strict=True)])


class MixedBatches:
    """Generated rows, each once an epoch in a new order, with a share ``real_replay`` of real ones in every batch.

    ``active`` (by role, bool per generated row) says where a role's loss looks at generated rows; real rows always
    count. With ``easy`` (bool per generated row) easy rows come alone in the first half of the epochs, the others in
    the second. ``scenes`` are those of generated and of real rows, where the head reads them.
    """

    def __init__(
        self,
        generated: RelationRows,
        real: RelationRows,
        active: dict[str, np.ndarray],
        config: FineTuningConfig,
        easy: np.ndarray | None = None,
        scenes: tuple[ScenesOfRows | None, ScenesOfRows | None] = (None, None),
    ):
        batch_size, seed = config.batch_size, config.seed
        n_real = round(config.real_replay * batch_size)
        n_generated = min(batch_size - n_real, len(generated))
        # Few generated rows make a small batch; its real part shrinks with it, so the share stays.
        n_real = min(n_real, math.ceil(n_generated * n_real / (batch_size - n_real)) if n_generated else len(real))
        self.steps_per_epoch = math.ceil(len(generated) / n_generated if n_generated else len(real) / n_real)
        self._active, self._parts = active, []
        order: RowsOfStep
        if n_generated:
            order = generated.features.order(seed, n_generated, purpose="finetuning generated").rows_of_step
            # Without hard or without easy rows (all entropies equal) there is nothing to put in an order.
            if easy is not None and 0 < easy.sum() < len(generated):
                order = self._curriculum(generated, n_generated, seed, easy, config.epochs)
            self._parts.append(StepRows(generated, order, n_generated, scenes[0]))
        if n_real:
            order = real.features.order(seed, n_real, purpose="finetuning real").rows_of_step
            self._parts.append(StepRows(real, order, n_real, scenes[1]))
        self._has_generated = n_generated > 0

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """One of ``parts`` shares of a step's batch: generated rows first, then real ones."""
        shares = [read.share(step, part, parts) for read in self._parts]
        batches = [batch for _, batch in shares]
        lengths = [len(numbers) for numbers, _ in shares]
        is_generated = np.arange(sum(lengths)) < (lengths[0] if self._has_generated else 0)
        active = {role: np.ones(sum(lengths), dtype=bool) for role in ROLES}
        for role in ROLES if self._has_generated else ():
            active[role][is_generated] = self._active[role][shares[0][0]]
        features = tuple(np.concatenate(region) for region in zip(*(batch.features for batch in batches), strict=True))
        labels = {role: np.concatenate([batch.labels[role] for batch in batches]) for role in ROLES}
        scenes = [batch.scenes for batch in batches if batch.scenes is not None]
        return Batch(features, labels, active, is_generated, reduce(joined, scenes) if scenes else None)

    def close(self) -> None:
        """Stop reading ahead."""
        for read in self._parts:
            read.close()

    def _curriculum(self, rows: RelationRows, size: int, seed: int, easy: np.ndarray, epochs: int) -> RowsOfStep:
        """Easy rows in the first half of all steps, hard ones in the second, round and round as often as it takes."""
        half = epochs * self.steps_per_epoch / 2
        pools, orders = (np.flatnonzero(easy), np.flatnonzero(~easy)), []
        for name, pool in zip(("easy", "hard"), pools, strict=True):
            window = size * rows.features.steps_per_window(size) if rows.features.by_blocks else len(pool)
            orders.append(BlockOrder(seed, rows=len(pool), rows_per_window=window, batch_size=size,
                                     purpose=f"finetuning {name}"))  # fmt: skip

        def rows_of_step(step: int) -> np.ndarray:
            pool = int(step >= half)
            return pools[pool][orders[pool].rows_of_step(step - pool * math.ceil(half))]

        return rows_of_step
