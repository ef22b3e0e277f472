"""Generated features on their way to disk: written in parts, by one process or several."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, save_array
from workbench.processes import Processes
from workbench.stopping import Stopped, stop_on_sigterm


class PartialFeatures:
    """``<region>_features.npy`` (N, D) float16 in the making: whole parts, each a file, joined at the end.

    Of several ``processes`` each writes every ``count``-th part, and the first one joins them.
    """

    def __init__(
        self,
        folder: Path,
        region: str,
        n: int,
        dimension: int,
        rows_per_part: int,
        processes: Processes | None = None,
    ):
        self.path = Path(folder) / f"{region}_features.npy"
        self.n, self.dimension, self.rows_per_part = n, dimension, rows_per_part
        self.processes = processes or Processes()

    def fill(self, make: Callable[[np.ndarray], np.ndarray], show: Callable[[Iterable], Iterable] = iter) -> None:
        """Write ``make(rows)`` (n, D) for each part that is not on disk yet, and join all parts.

        ``show`` wraps the loop over parts in its progress. All processes must call it and return together. After a
        SIGTERM to any of them the part at hand is finished and ``Stopped`` is raised.
        """
        # Every process goes through as many rounds, with a part of its own or without: all hear of a stop together.
        rounds = range(0, 0 if self.path.exists() else self.n, self.rows_per_part * self.processes.count)
        with stop_on_sigterm() as stop:
            for first in show(rounds):
                start = first + self.rows_per_part * self.processes.rank
                if start < self.n and not self._part(start).exists():
                    rows = self._rows(start)
                    self.write(rows, make(rows))
                if self.processes.any(stop.asked):
                    raise Stopped(
                        f"{self.path}: making features was asked to stop; every part that was finished is kept. "
                        "Run the same command again to go on with it."
                    )
        self.finish()

    def missing(self) -> Iterator[np.ndarray]:
        """Row numbers of each part that is not on disk yet."""
        if self.path.exists():
            return
        for start in range(0, self.n, self.rows_per_part):
            if not self._part(start).exists():
                yield self._rows(start)

    def write(self, rows: np.ndarray, features: np.ndarray) -> None:
        """Write one part, features (n, D); WorkbenchError where a value is too large for float16."""
        with np.errstate(over="ignore"):
            stored = features.astype(np.float16)
        if not np.isfinite(stored).all():
            raise WorkbenchError(
                f"{self.path}: a sample among rows {rows[0]} to {rows[-1]} is not a number or too large for float16. "
                "Lower guidance or the noise, or train the denoiser again with a lower learning rate."
            )
        save_array(self._part(int(rows[0])), stored)

    def finish(self) -> None:
        """Join the parts into one array and remove them, once all processes have written theirs."""
        self.processes.wait()
        if self.processes.main:
            self._join()
        self.processes.wait()

    def _join(self) -> None:
        starts = range(0, self.n, self.rows_per_part)
        if not self.path.exists():
            header = {"descr": "<f2", "fortran_order": False, "shape": (self.n, self.dimension)}
            with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for start in starts:
                    file.write(np.load(self._part(start), allow_pickle=False).tobytes())
        for start in starts:
            self._part(start).unlink(missing_ok=True)

    def _rows(self, start: int) -> np.ndarray:
        return np.arange(start, min(start + self.rows_per_part, self.n))

    def _part(self, start: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.part-{start:09d}.npy")
