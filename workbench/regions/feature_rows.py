"""Features by row for training: in memory where they fit, else read ahead in blocks, in flat memory.

``FeatureRows`` gives features of rows, ``BlockOrder`` (by ``FeatureRows.order``) says which rows a step takes, and
``StepFeatures`` reads what the coming steps need in the background::

    features = FeatureRows.of_relations(store, "train")
    order = features.order(seed, batch_size, purpose="recogniser")
    with StepFeatures(features, order.rows_of_step, batch_size) as steps:
        subject, union, object_ = steps.at(step)(order.rows_of_step(step))
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np

from workbench.errors import WorkbenchError
from workbench.memory import map_large_blocks
from workbench.regions.block_order import ROWS_PER_WINDOW, BlockOrder
from workbench.regions.feature_file import rows_not_finite
from workbench.regions.features import Features, FeatureStore

# Two windows are in memory at a time, the one in use and the next.
BYTES_PER_WINDOW = 256 << 20
MEMORY_GIGABYTES = 2.0

# Float16 features (n, D) of some rows (n,), in their order: of subject, union and object, or of one region.
Regions = tuple[np.ndarray, ...]
Read = Callable[[np.ndarray], Regions]


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
        memory_gigabytes: float,
        bytes_per_window: int = BYTES_PER_WINDOW,
    ):
        self._rows, self._hold = rows, hold
        self.held = hold(np.arange(rows)) if rows * bytes_per_row <= memory_gigabytes * 1e9 else None
        self.rows_per_window = max(1, min(ROWS_PER_WINDOW, bytes_per_window // bytes_per_row))
        self.by_blocks = self.held is None and rows > self.rows_per_window

    @classmethod
    def of_relations(
        cls,
        features: Features,
        name: str,
        memory_gigabytes: float = MEMORY_GIGABYTES,
        bytes_per_window: int = BYTES_PER_WINDOW,
    ) -> "FeatureRows":
        """Subject, union and object of each relation; the same array three times where only unions have features.

        ``name`` says in messages where a row is. WorkbenchError where there are no rows or one is not finite.
        """
        if not len(features):
            raise WorkbenchError(f"{name}: no relations. Training and evaluation need at least one row.")
        regions = 1 if features.entity_region == "union" else 3
        hold, bytes_per_row = partial(_hold_relations, features, name), 2 * regions * features.dimension
        return cls(len(features), hold, bytes_per_row, memory_gigabytes, bytes_per_window)

    @classmethod
    def of_unions_and_boxes(
        cls,
        store: FeatureStore,
        box_rows: np.ndarray,
        memory_gigabytes: float = MEMORY_GIGABYTES,
        bytes_per_window: int = BYTES_PER_WINDOW,
    ) -> "FeatureRows":
        """One region: the union of each relation, then the boxes ``box_rows`` (n,), maybe with repeats."""
        rows = len(store) + len(box_rows)
        hold = partial(_hold_unions_and_boxes, store, box_rows)
        return cls(rows, hold, 2 * store.dimension, memory_gigabytes, bytes_per_window)

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
        rows = self._rows if weights is None else None
        return BlockOrder(seed, weights, rows=rows, rows_per_window=window, batch_size=batch_size, purpose=purpose)


class StepFeatures:
    """What gives the features of a step's rows: ``features`` itself, or a window of steps that was read ahead.

    ``rows_of_step`` says which rows (n,) a step needs, of at most about ``rows_per_step``; it is called in a thread of
    its own too. ``steps`` is their number, None for no end. At most two windows are in memory. Asking for steps in
    ascending order is quick, any other order works. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        features: FeatureRows,
        rows_of_step: Callable[[int], np.ndarray],
        rows_per_step: int,
        steps: int | None = None,
    ):
        self._features, self._rows_of_step, self._steps = features, rows_of_step, steps
        self._per_window = features.steps_per_window(rows_per_step)
        self._number = -1
        self._window: HeldRows | None = None
        self._ahead: dict[int, Future[HeldRows]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feature reader") if features.by_blocks else None
        if features.by_blocks:  # on a CPU a network's activations lie in the same memory and would leave holes
            map_large_blocks()

    def at(self, step: int) -> Read:
        """What gives the features of any of the step's rows; let go of it before asking for another step's."""
        if self._thread is None:
            return self._features
        number = step // self._per_window
        if self._window is None or number != self._number:
            self._window, self._number = None, -1  # the last one's memory is free before the next one is waited for
            for other in [other for other in self._ahead if other not in (number, number + 1)]:
                self._ahead.pop(other).cancel()
            coming = self._read_ahead(number)
            del self._ahead[number]  # where reading has failed it is tried again
            self._window, self._number = coming.result(), number
            if self._steps is None or (number + 1) * self._per_window < self._steps:
                self._read_ahead(number + 1)
        return self._window

    def close(self) -> None:
        """Stop reading ahead and let go of all windows; a read under way is waited for."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()
        self._window = None

    def __enter__(self) -> "StepFeatures":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read_ahead(self, number: int) -> "Future[HeldRows]":
        if number not in self._ahead:
            assert self._thread is not None
            self._ahead[number] = self._thread.submit(self._read, number)
        return self._ahead[number]

    def _read(self, number: int) -> HeldRows:
        steps = range(number * self._per_window, (number + 1) * self._per_window)
        if self._steps is not None:
            steps = steps[: max(0, self._steps - steps.start)]
        return self._features.hold(np.concatenate([self._rows_of_step(step) for step in steps]))


def _hold_relations(features: Features, name: str, rows: np.ndarray) -> HeldRows:
    union = (_checked(features.union, rows, f"{name}, row", "union"), None)
    if features.entity_region == "union":
        return HeldRows(rows, union, times=3)
    if not isinstance(features, FeatureStore):
        subject = _checked(features.subject, rows, f"{name}, row", "subject")
        return HeldRows(rows, (subject, None), union, (_checked(features.object, rows, f"{name}, row", "object"), None))
    ends = [features.relations[f"{role}_box"].to_numpy()[rows] for role in ("subject", "object")]
    boxes, place = np.unique(np.concatenate(ends), return_inverse=True)
    values = _checked(features.box, boxes, f"{name}, box row", "box")
    subject_place, object_place = np.split(place.reshape(-1), 2)
    return HeldRows(rows, (values, subject_place), union, (values, object_place))


def _hold_unions_and_boxes(store: FeatureStore, box_rows: np.ndarray, rows: np.ndarray) -> HeldRows:
    unions = int(np.searchsorted(rows, len(store)))  # ascending, so that the unions come first
    boxes = box_rows[rows[unions:] - len(store)]
    values = _checked(store.union, rows[:unions], f"{store.folder}, row", "union")
    if len(boxes):
        values = np.concatenate([values, _checked(store.box, boxes, f"{store.folder}, box row", "box")])
    return HeldRows(rows, (values, None))


def _checked(read: Callable[..., np.ndarray], rows: np.ndarray, where: str, region: str) -> np.ndarray:
    """Features (n, D) float16 of rows; WorkbenchError where one is not finite."""
    values = read(rows, dtype=np.float16)
    bad = rows_not_finite(values)
    if len(bad):
        raise WorkbenchError(
            f"{where} {int(rows[bad[0]])}: the {region} feature holds values that are not finite. Make the features of "
            "this row again."
        )
    return values
