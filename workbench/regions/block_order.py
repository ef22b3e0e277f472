"""The order in which rows of features too large for memory are used: shuffled, yet read almost sequentially.

Blocks of neighbouring rows come in random order, and what they hold is shuffled within windows: a window is read as a
few hundred contiguous pieces, and its rows come from all over the features.
"""

import threading
from collections.abc import Callable

import numpy as np

from workbench.errors import WorkbenchError
from workbench.randomness import generator

ROWS_PER_WINDOW = 65_536
ROWS_PER_BLOCK = 256
# Draws of one row beyond this many are strewn over the epoch: together they would crowd one window.
MOST_TOGETHER = 32
# What the step at hand needs, and what is read ahead for the coming ones.
MOST_KEPT = 2


class BlockOrder:
    """An endless stream of row numbers 0 to N - 1 in epochs of N draws, cut into windows of equal size.

    Without ``weights`` (``rows`` says N then) an epoch shows every row exactly once. With ``weights`` (N,), 0 or more,
    its N draws are independent and with replacement, a row's chance is its share of the sum; rows drawn more than
    `MOST_TOGETHER` times come anywhere in the epoch, the others with their block. The stream is a function of (seed,
    purpose), any window can be asked for first, and the draws of two epochs are never shuffled into each other: where
    an epoch ends inside a window, its part comes first. ``rows_per_window`` is N where N is smaller. Holds about five
    arrays (N,) int64. Raises WorkbenchError for weights that are negative, not finite or all 0.
    """

    def __init__(
        self,
        seed: int,
        weights: np.ndarray | None = None,
        *,
        rows: int | None = None,
        rows_per_window: int = ROWS_PER_WINDOW,
        rows_per_block: int = ROWS_PER_BLOCK,
        batch_size: int = 1,
        purpose: str = "block order",
    ):
        if (weights is None) == (rows is None):
            raise ValueError("give weights or, for every row once an epoch, the number of rows")
        self._cumulative = None if weights is None else _cumulative(np.asarray(weights, dtype=np.float64), purpose)
        self.rows = len(weights) if weights is not None else int(rows or 0)
        if min(self.rows, rows_per_window, rows_per_block) < 1:
            raise WorkbenchError(f"{purpose}: {self.rows} rows in windows of {rows_per_window} rows and blocks of "
                                 f"{rows_per_block}; expected at least 1 of each.")  # fmt: skip
        self.rows_per_window = min(rows_per_window, self.rows)
        self._seed, self._purpose, self._rows_per_block = seed, purpose, rows_per_block
        self.batch_size = batch_size
        self._epochs: dict[int, np.ndarray] = {}
        self._windows: dict[int, np.ndarray] = {}
        self._lock = threading.RLock()

    def rows_of_step(self, step: int) -> np.ndarray:
        """Row numbers (batch_size,) int64 of a step; the last step of an epoch ends in the next epoch's rows."""
        return self.draws(step * self.batch_size, self.batch_size)

    def draws(self, first: int, count: int) -> np.ndarray:
        """Row numbers (count,) int64 of the draws ``first`` and following; an epoch has as many as there are rows."""
        size = self.rows_per_window
        numbers = range(first // size, -(-(first + count) // size))
        windows = [self.window(number) for number in numbers] or [np.empty(0, dtype=np.int64)]
        whole = windows[0] if len(windows) == 1 else np.concatenate(windows)
        return whole[first - size * (first // size) :][:count]

    def window(self, number: int) -> np.ndarray:
        """Row numbers (rows_per_window,) int64 of draws number * rows_per_window and following, in order of use."""
        with self._lock:
            return _kept(self._windows, number, self._shuffled)

    def _shuffled(self, number: int) -> np.ndarray:
        first, stop = number * self.rows_per_window, (number + 1) * self.rows_per_window
        parts = []
        for epoch in range(first // self.rows, (stop - 1) // self.rows + 1):
            start = epoch * self.rows
            part = _kept(self._epochs, epoch, self._drawn)[max(first - start, 0) : stop - start]
            parts.append(generator(self._seed, self._purpose, "window", number, epoch).permutation(part))
        return np.concatenate(parts)

    def _drawn(self, epoch: int) -> np.ndarray:
        """The epoch's draws (N,) int64 before windows are shuffled."""
        draw = generator(self._seed, self._purpose, "epoch", epoch)
        if self._cumulative is None:
            return self._by_block(np.arange(self.rows), draw)
        uniform = np.sort(draw.random(self.rows)) * self._cumulative[-1]
        # A row of weight 0 has an empty interval; the minimum keeps a product that was rounded up inside the last one.
        last = np.searchsorted(self._cumulative, self._cumulative[-1])
        drawn = np.minimum(np.searchsorted(self._cumulative, uniform, side="right"), last)
        often = np.bincount(drawn, minlength=self.rows)[drawn] > MOST_TOGETHER
        strewn = draw.permutation(self.rows) < np.count_nonzero(often)
        order = np.empty(self.rows, dtype=np.int64)
        order[strewn] = draw.permutation(drawn[often])
        order[~strewn] = self._by_block(drawn[~often], draw)
        return order

    def _by_block(self, ascending: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Ascending rows with whole blocks of neighbouring rows in random order."""
        place = draw.permutation(-(-self.rows // self._rows_per_block))
        return ascending[np.argsort(place[ascending // self._rows_per_block], kind="stable")]


def _cumulative(weights: np.ndarray, purpose: str) -> np.ndarray:
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise WorkbenchError(f"{purpose}: weights of rows must be finite, 0 or more, and not all 0.")
    return np.cumsum(weights)


def _kept(known: dict[int, np.ndarray], number: int, make: Callable[[int], np.ndarray]) -> np.ndarray:
    """``known[number]``, made where it is not there; the oldest ones are forgotten."""
    if number not in known:
        known[number] = make(number)
        while len(known) > MOST_KEPT:
            del known[next(iter(known))]
    return known[number]
