"""The features that the steps of an epoch need, read from disk a window of steps ahead."""

from collections.abc import Callable

import numpy as np

from workbench.randomness import generator
from workbench.recognition.scene_features import ReadRows, ScenesOfRows
from workbench.recognition.stored_features import FeatureRows
from workbench.regions.block_order import ROWS_PER_BLOCK, BlockOrder
from workbench.regions.window_reader import WindowReader


class FeatureStream:
    """Features by step: of ``features`` itself, or, where those are ``by_blocks``, of windows read in the background.

    ``rows_of_step`` says which rows (n,) a step of ``steps`` needs, of at most ``rows_per_step`` in all processes;
    ``scenes`` which rows those need besides. It is called in the background too. Use as a context manager.
    """

    def __init__(
        self,
        features: FeatureRows,
        rows_of_step: Callable[[int], np.ndarray],
        steps: range,
        rows_per_step: int,
        scenes: ScenesOfRows | None = None,
    ):
        self._features, self._reader = features, None
        if features.by_blocks and rows_per_step:
            windows = _StepWindows(rows_of_step, steps, steps_per_window(features, rows_per_step), scenes)
            self._reader, self._steps = WindowReader(features.window, windows), windows.steps_per_window
        self._number, self._window = -1, None

    def at(self, step: int) -> ReadRows:
        """What gives the features of the step's rows, and of those that their scenes need."""
        if self._reader is None:
            return self._features
        if step // self._steps != self._number:
            self._window = None  # gone before the next one is waited for
            self._number = step // self._steps
            self._window = self._reader.window(self._number).values
        return self._window

    def __enter__(self) -> "FeatureStream":
        return self

    def __exit__(self, *exception: object) -> None:
        self._window = None
        if self._reader is not None:
            self._reader.close()


class _StepWindows:
    """The rows of ``steps_per_window`` steps at a time; none behind the last step."""

    def __init__(self, rows_of_step, steps: range, steps_per_window: int, scenes: ScenesOfRows | None):
        self._rows_of_step, self._steps, self._scenes = rows_of_step, steps, scenes
        self.steps_per_window = steps_per_window

    def window(self, number: int) -> np.ndarray:
        first = number * self.steps_per_window
        steps = range(max(first, self._steps.start), min(first + self.steps_per_window, self._steps.stop))
        found = [self._rows_of_step(step) for step in steps]
        rows = np.concatenate([np.empty(0, dtype=np.int64), *found])
        if self._scenes is None or not len(rows):
            return rows
        return np.concatenate([rows, self._scenes.rows_needed(rows)])


def steps_per_window(features: FeatureRows, rows_per_step: int) -> int:
    """How many steps read their features together."""
    return max(1, features.rows_per_window // rows_per_step)


def shuffled_rows(features: FeatureRows, rows: int, rows_per_step: int, seed: int, *purpose: object) -> np.ndarray:
    """A permutation of ``rows`` numbers (rows,) int64, a function of (seed, purpose).

    It is uniform where ``features`` are in memory. Else blocks of neighbours come in random order and are shuffled
    within the windows in which they are read.
    """
    if not features.by_blocks:
        return generator(seed, *purpose).permutation(rows)
    window = rows_per_step * steps_per_window(features, rows_per_step)
    return _permuted_blocks(rows, window, ROWS_PER_BLOCK, seed, purpose)


def shuffled_images(features: FeatureRows, images: int, seed: int, *purpose: object) -> np.ndarray:
    """The same for the images (images,) that the rows of ``features`` belong to, in windows of about as many rows."""
    if not features.by_blocks:
        return generator(seed, *purpose).permutation(images)
    window, block = (max(1, size * images // len(features)) for size in (features.rows_per_window, ROWS_PER_BLOCK))
    return _permuted_blocks(images, window, block, seed, purpose)


def _permuted_blocks(rows: int, window: int, block: int, seed: int, purpose: tuple) -> np.ndarray:
    order = BlockOrder(
        seed, rows=rows, rows_per_window=window, rows_per_block=block, purpose="/".join(map(str, purpose))
    )
    windows = -(-rows // order.rows_per_window)
    return np.concatenate([order.window(number) for number in range(windows)])[:rows]
