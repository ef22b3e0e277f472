"""Reading rows of features in a shuffled order, a window ahead of their use, with few windows in memory."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np


class WindowOrder(Protocol):
    """What a reader needs of a `BlockOrder`: windows of ``rows_per_window`` row numbers each."""

    rows_per_window: int

    def window(self, number: int) -> np.ndarray:
        """Row numbers (rows_per_window,) int64, maybe with repeats."""
        ...


class Window(NamedTuple):
    """Row numbers (n,) int64 of a window in order of use, and what was read of the distinct ones among them.

    Row ``rows[i]`` is the ``place[i]``-th of those, ``place`` (n,) int64.
    """

    rows: np.ndarray
    place: np.ndarray
    values: Any


class WindowReader:
    """The stream of draws of ``order`` with their values, read ahead in the background.

    ``read`` takes ascending distinct row numbers (n,) int64 and returns their values: an array (n, ...), a tuple of
    such arrays, or anything that gives either for an array of places 0 to n - 1 by ``[]``. It runs in one thread of
    its own. At most ``ahead`` + 1 windows of values are held: let ``read`` return float16 where that is exact, since
    65,536 rows of 4096 take 0.5 GB then. An exception in ``read`` is raised by the `rows` that needs the window.
    """

    def __init__(self, read: Callable[[np.ndarray], Any], order: WindowOrder, *, ahead: int = 1):
        self._read, self._order, self._ahead = read, order, ahead
        self._windows: dict[int, Future[Window]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="window reader")

    def rows(self, first_draw: int, count: int) -> tuple[np.ndarray, Any]:
        """Row numbers (count,) int64 of draws ``first_draw`` and following, and their values as ``read`` makes them.

        Quick where draws are asked for in ascending order; any other order works.
        """
        size, parts = self._order.rows_per_window, []
        for number in range(first_draw // size, max(first_draw + count - 1, first_draw) // size + 1):
            start = max(first_draw - number * size, 0)
            parts.append(self._part(number, slice(start, first_draw + count - number * size)))
        return np.concatenate([rows for rows, _ in parts]), _joined([values for _, values in parts])

    def window(self, number: int) -> Window:
        """A whole window; the ones after it are read meanwhile. Let go of it before asking for another."""
        wanted = range(number, number + self._ahead + 1)
        for other in [other for other in self._windows if other not in wanted]:
            self._windows.pop(other).cancel()
        if number not in self._windows:
            self._windows[number] = self._thread.submit(self._load, number)
        try:
            window = self._windows[number].result()
        except BaseException:
            del self._windows[number]
            raise
        for following in wanted:
            if following not in self._windows:
                self._windows[following] = self._thread.submit(self._load, following)
        return window

    def close(self) -> None:
        """Stop reading ahead and let go of all windows; a read under way is waited for."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._windows.clear()

    def __enter__(self) -> "WindowReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _part(self, number: int, part: slice) -> tuple[np.ndarray, Any]:
        # Copies, so that no window outlives its turn.
        window = self.window(number)
        return window.rows[part].copy(), _taken(window.values, window.place[part])

    def _load(self, number: int) -> Window:
        rows = self._order.window(number)
        distinct, place = np.unique(rows, return_inverse=True)
        return Window(rows, place.reshape(-1), self._read(distinct))


def _taken(values: Any, places: np.ndarray) -> Any:
    return tuple(array[places] for array in values) if isinstance(values, tuple) else values[places]


def _joined(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return np.concatenate(parts)
