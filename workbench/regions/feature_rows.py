"""Features by row for training: in memory where they fit, else read ahead in blocks, in flat memory.

``FeatureRows`` gives features of rows, ``BlockOrder`` (by ``FeatureRows.order``) says which rows a step takes, and
``StepFeatures`` reads what the coming steps need in the background: ``steps.at(step)(order.rows_of_step(step))``.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.memory import keep_freed_blocks, map_large_blocks
from workbench.randomness import generator
from workbench.regions.feature_file import rows_not_finite
from workbench.regions.features import Features, FeatureStore

# Two windows are in memory at a time, the one in use and the next.
BYTES_PER_WINDOW = 256 << 20
MEMORY_GIGABYTES = 2.0
ROWS_PER_WINDOW = 65_536
ROWS_PER_BLOCK = 256
# Draws of one row beyond this many are strewn over the epoch: together they would crowd one window.
MOST_TOGETHER = 32

# Float16 features (n, D) of some rows (n,), in their order: of subject, union and object, or of one region.
Regions = tuple[np.ndarray, ...]
Read = Callable[[np.ndarray], Regions]


class BlockOrder:
    """An endless stream of row numbers 0 to ``rows`` - 1 in epochs of as many draws: shuffled, yet read in blocks.

    Blocks of neighbouring rows come in random order, and what they hold is shuffled within windows: a window is read as
    a few hundred contiguous pieces, and its rows come from all over the features.

    Without ``weights`` an epoch shows every row exactly once. With ``weights`` (rows,), 0 or more, its draws are
    independent and with replacement, a row's chance is its share of the sum; rows drawn more than `MOST_TOGETHER` times
    come anywhere in the epoch, the others with their block. The stream is a function of (seed, purpose), any window can
    be asked for first, and the draws of two epochs are never shuffled into each other: where an epoch ends inside a
    window, its part comes first. Holds about five arrays (rows,) int64. Raises WorkbenchError for weights that are
    negative, not finite or all 0.
    """

    def __init__(
        self,
        seed: int,
        rows: int,
        weights: np.ndarray | None = None,
        *,
        rows_per_window: int = ROWS_PER_WINDOW,
        rows_per_block: int = ROWS_PER_BLOCK,
        batch_size: int = 1,
        purpose: str = "block order",
    ):
        if rows < 1:
            raise WorkbenchError(f"{purpose}: there are no rows to draw from.")
        self._cumulative = None
        if weights is not None:
            if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
                raise WorkbenchError(f"{purpose}: weights of rows must be finite, 0 or more, and not all 0.")
            self._cumulative = np.cumsum(weights, dtype=np.float64)
        self.rows, self.rows_per_window, self.batch_size = rows, min(rows_per_window, rows), batch_size
        self._seed, self._purpose, self._rows_per_block = seed, purpose, rows_per_block
        # What the step at hand needs, and what is read ahead for the coming ones.
        self.window = lru_cache(2)(self._window)
        self._epoch = lru_cache(2)(self._drawn)

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

    def _window(self, number: int) -> np.ndarray:
        """Row numbers (rows_per_window,) int64 of draws number * rows_per_window and following, in order of use."""
        first, stop = number * self.rows_per_window, (number + 1) * self.rows_per_window
        parts = []
        for epoch in range(first // self.rows, (stop - 1) // self.rows + 1):
            start = epoch * self.rows
            part = self._epoch(epoch)[max(first - start, 0) : stop - start]
            parts.append(generator(self._seed, self._purpose, "window", number, epoch).permutation(part))
        return np.concatenate(parts)

    def _drawn(self, epoch: int) -> np.ndarray:
        """The epoch's draws (rows,) int64 before windows are shuffled."""
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


class HeldRows:
    """Features in memory of ascending distinct ``rows`` (n,), called with some of them in any order.

    ``regions`` has for each region an array (m, D) and which of its rows is each row's (n,), None for its own number:
    a box is held once, however many relations share it. ``times`` says how often the regions are given.
    """

    def __init__(self, rows: np.ndarray, *regions: tuple[np.ndarray, np.ndarray | None], times: int = 1):
        self.rows, self._regions, self._times = rows, regions, times

    def __call__(self, rows: np.ndarray) -> Regions:
        """Features (m, D) of rows (m,), region by region."""
        place = np.searchsorted(self.rows, rows)
        found = [values[place if own is None else own[place]] for values, own in self._regions]
        return tuple(found) * self._times


class FeatureRows:
    """Features of ``len`` rows, with a copy in memory where it takes at most ``memory_gigabytes``.

    ``hold`` reads ascending distinct rows into memory; ``bytes_per_row`` is what a row takes there at most. No value
    depends on what is in memory. Rows that neither fit nor are few enough for one window are ``by_blocks``: their
    ``order`` shuffles them in blocks of neighbours, and a `StepFeatures` reads them a window at a time.
    """

    def __init__(
        self,
        rows: int,
        hold: Callable[[np.ndarray], HeldRows],
        bytes_per_row: int,
        memory_gigabytes: float = MEMORY_GIGABYTES,
        bytes_per_window: int = BYTES_PER_WINDOW,
    ):
        self._rows, self._hold = rows, hold
        self.held = hold(np.arange(rows)) if rows * bytes_per_row <= memory_gigabytes * 1e9 else None
        self.rows_per_window = max(1, min(ROWS_PER_WINDOW, bytes_per_window // bytes_per_row))
        self.by_blocks = self.held is None and rows > self.rows_per_window

    @classmethod
    def of_relations(cls, features: Features, name: str, **memory: Any) -> "FeatureRows":
        """Subject, union and object of each relation; the same array three times where only unions have features.

        ``name`` says in messages where a row is, ``memory`` is `FeatureRows`' memory_gigabytes and bytes_per_window.
        WorkbenchError where there are no rows or one is not finite.
        """
        if not len(features):
            raise WorkbenchError(f"{name}: no relations. Training and evaluation need at least one row.")
        bytes_per_row = (1 if features.entity_region == "union" else 3) * 2 * features.dimension
        return cls(len(features), partial(_hold_relations, features, name), bytes_per_row, **memory)

    @classmethod
    def of_unions_and_boxes(cls, store: FeatureStore, box_rows: np.ndarray, **memory: Any) -> "FeatureRows":
        """One region: the union of each relation, then the boxes ``box_rows`` (n,), maybe with repeats."""
        hold = partial(_hold_unions_and_boxes, store, box_rows)
        return cls(len(store) + len(box_rows), hold, 2 * store.dimension, **memory)

    def __len__(self) -> int:
        return self._rows

    def __call__(self, rows: np.ndarray) -> Regions:
        """Features (n, D) float16 of each region of rows (n,) in any order."""
        return (self.held or self.hold(rows))(rows)

    def hold(self, rows: np.ndarray) -> HeldRows:
        """Read some rows (n,), maybe with repeats, into memory; called with row numbers as this is."""
        return self._hold(np.unique(rows))

    def steps_per_window(self, rows_per_step: int) -> int:
        """How many steps read their features together."""
        return max(1, self.rows_per_window // max(1, rows_per_step))

    def order(self, seed: int, batch_size: int, weights: np.ndarray | None = None, *, purpose: str) -> BlockOrder:
        """Which rows the steps of ``batch_size`` rows take: a function of (seed, purpose, step), see `BlockOrder`.

        Where the features are not ``by_blocks`` the order of an epoch is uniform.
        """
        window = batch_size * self.steps_per_window(batch_size) if self.by_blocks else self._rows
        return BlockOrder(seed, self._rows, weights, rows_per_window=window, batch_size=batch_size, purpose=purpose)


class StepFeatures:
    """What gives the features of a step's rows: ``features`` itself, or a window of steps that was read ahead.

    ``rows_of_step`` says which rows (n,) a step needs, of at most about ``rows_per_step``; it is called in a thread of
    its own too. At most two windows are in memory. Asking for steps in ascending order is quick, any other order works.
    Close it (`contextlib.closing`).
    """

    def __init__(self, features: FeatureRows, rows_of_step: Callable[[int], np.ndarray], rows_per_step: int):
        self._features, self._rows_of_step = features, rows_of_step
        self._per_window = features.steps_per_window(rows_per_step)
        self._number = -1
        self._window: HeldRows | None = None
        self._ahead: dict[int, Future[HeldRows]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feature reader") if features.by_blocks else None
        if features.by_blocks:  # on a CPU a network's activations lie in the same memory and would leave holes
            map_large_blocks()
        else:
            keep_freed_blocks()

    def at(self, step: int) -> Read:
        """What gives the features of any of the step's rows; let go of it before asking for another step's."""
        if self._thread is None:
            return self._features
        number = step // self._per_window
        if self._window is None or number != self._number:
            self._window, self._number = None, number  # the last one's memory is free before the next one is waited for
            coming = self._ahead.pop(number, None) or self._thread.submit(self._read, number)
            for other in self._ahead.values():
                other.cancel()
            self._ahead.clear()
            self._window = coming.result()  # where reading has failed it is tried again
            self._ahead[number + 1] = self._thread.submit(self._read, number + 1)
        return self._window

    def close(self) -> None:
        """Stop reading ahead and let go of all windows; a read under way is waited for."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()
        self._window = None

    def _read(self, number: int) -> HeldRows:
        steps = range(number * self._per_window, (number + 1) * self._per_window)
        return self._features.hold(np.concatenate([self._rows_of_step(step) for step in steps]))


def _hold_relations(features: Features, name: str, rows: np.ndarray) -> HeldRows:
    union = (_checked(features, "union", rows, f"{name}, row"), None)
    if features.entity_region == "union":
        return HeldRows(rows, union, times=3)
    if not isinstance(features, FeatureStore):
        subject, object_ = ((_checked(features, role, rows, f"{name}, row"), None) for role in ("subject", "object"))
        return HeldRows(rows, subject, union, object_)
    ends = features.relations[["subject_box", "object_box"]].to_numpy()[rows]
    boxes, place = np.unique(ends, return_inverse=True)
    values = _checked(features, "box", boxes, f"{name}, box row")
    subject_place, object_place = place.reshape(-1, 2).T
    return HeldRows(rows, (values, subject_place), union, (values, object_place))


def _hold_unions_and_boxes(store: FeatureStore, box_rows: np.ndarray, rows: np.ndarray) -> HeldRows:
    unions = int(np.searchsorted(rows, len(store)))  # ascending, so that the unions come first
    boxes = box_rows[rows[unions:] - len(store)]
    values = _checked(store, "union", rows[:unions], f"{store.folder}, row")
    if len(boxes):
        values = np.concatenate([values, _checked(store, "box", boxes, f"{store.folder}, box row")])
    return HeldRows(rows, (values, None))


def _checked(features: Features, region: str, rows: np.ndarray, where: str) -> np.ndarray:
    """Features (n, D) float16 of rows; WorkbenchError where one is not finite."""
    values = getattr(features, region)(rows, dtype=np.float16)
    bad = rows_not_finite(values)
    if len(bad):
        what = f"{where} {int(rows[bad[0]])}: the {region} feature holds values that are not finite"
        raise WorkbenchError(f"{what}. Make the features of this row again.")
    return values
