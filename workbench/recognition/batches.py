"""Batches of real rows, a function of (seed, epoch): all of them in a new order, or drawn class by class.

A batch is the same however many processes share it; each of them reads the features of its own part alone.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np

from workbench.processes import Processes
from workbench.randomness import generator
from workbench.recognition.feature_stream import FeatureStream, shuffled_images, shuffled_rows
from workbench.recognition.fitting import ALONE, Batch
from workbench.recognition.scene_features import ImageScenes
from workbench.recognition.stored_features import FeatureRows
from workbench.scenes.relations import rows_by_class
from workbench.scenes.vocabulary import ROLES


class RealBatches:
    """Real rows in a new order each epoch; the last batch may be smaller.

    With ``scenes`` images are shuffled instead of rows, so that the relations of an image share a batch and its
    scene is encoded once (or twice, where a batch ends inside it). Features that are ``by_blocks`` are shuffled in
    blocks of neighbours and read a window ahead.
    """

    def __init__(self, features: FeatureRows, batch_size: int, seed: int, scenes: ImageScenes | None = None):
        self.name, self._features, self._batch_size, self._seed = features.name, features, batch_size, seed
        self._scenes = scenes
        self.steps_per_epoch = math.ceil(len(features) / batch_size)
        self.order = features.order

    def batches(self, epoch: int, first: int = 0, processes: Processes = ALONE) -> Generator[Batch, None, None]:
        """The epoch's batches from step ``first`` on, with the features of this process's part of their rows."""
        order = self._order(epoch)

        def rows_of_step(step: int) -> np.ndarray:
            return order[step * self._batch_size : (step + 1) * self._batch_size]

        return _batches(self._features, self._scenes, rows_of_step, range(first, self.steps_per_epoch), processes)

    def _order(self, epoch: int) -> np.ndarray:
        purpose = ("recogniser", "order", epoch)
        if self._scenes is None:
            return shuffled_rows(self._features, len(self._features), self._batch_size, self._seed, *purpose)
        index = self._scenes.index
        return np.concatenate(index.rows_of_images(shuffled_images(self._features, len(index), self._seed, *purpose)))


class BalancedBatches:
    """Real rows drawn so that every class of a role is equally likely, for each role a part of the batch of its own.

    Class-balanced sampling of decoupled training (Kang et al. 2020): a row has three classes, so each role draws its
    own rows, and only that role's loss looks at them. An epoch shows as many rows per role as there are real ones.
    Rows of a class lie anywhere, so features that are not in memory are read at random places, though each row once
    a window.
    """

    def __init__(self, features: FeatureRows, batch_size: int, seed: int, scenes: ImageScenes | None = None):
        self.name, self._features, self._seed, self._scenes = features.name, features, seed, scenes
        self._per_role = max(1, batch_size // len(ROLES))
        self.steps_per_epoch = math.ceil(len(features) / self._per_role)
        self.order = "drawn"
        self._rows = {role: list(rows_by_class(ids).values()) for role, ids in features.labels.items()}

    def batches(self, epoch: int, first: int = 0, processes: Processes = ALONE) -> Generator[Batch, None, None]:
        """The epoch's batches from step ``first`` on, with the features of this process's part of their rows."""
        part = np.repeat(np.arange(len(ROLES)), self._per_role)
        active = {role: part == number for number, role in enumerate(ROLES)}

        def rows_of_step(step: int) -> np.ndarray:
            draw = generator(self._seed, "class-balanced rows", epoch, step)
            return np.concatenate([self._drawn(role, draw) for role in ROLES])

        steps = range(first, self.steps_per_epoch)
        for batch in _batches(self._features, self._scenes, rows_of_step, steps, processes):
            yield replace(batch, active=active)

    def _drawn(self, role: str, draw: np.random.Generator) -> np.ndarray:
        by_class = self._rows[role]
        classes = draw.integers(len(by_class), size=self._per_role)
        share = draw.random(self._per_role)
        return np.array([by_class[c][int(u * len(by_class[c]))] for c, u in zip(classes, share, strict=True)])


def _batches(
    features: FeatureRows,
    scenes: ImageScenes | None,
    rows_of_step: Callable[[int], np.ndarray],
    steps: range,
    processes: Processes,
) -> Generator[Batch, None, None]:
    """Batches of the rows of each step, in which every row counts for every role."""

    def own(step: int) -> np.ndarray:
        rows = rows_of_step(step)
        return rows[processes.part(len(rows))]

    with FeatureStream(features, own, steps, len(rows_of_step(0)), scenes) as stream:
        for step in steps:
            whole, rows, read = rows_of_step(step), own(step), stream.at(step)
            labels = {role: ids[whole] for role, ids in features.labels.items()}
            yield Batch(read(rows), labels, scenes=None if scenes is None else scenes(rows, read))
