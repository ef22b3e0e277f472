"""Which training rows a step takes, and their features: drawn one by one, or in blocks that are read ahead.

Features that fit in memory are drawn row by row. Of those on disk, neighbouring rows are drawn together and shuffled
within a window of some ten thousand draws, so that a disk reads them nearly in sequence (``BlockOrder``). Either way a
step's rows are a function of (seed, step), whatever number of processes share the batch.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from workbench.diffusion.training_batches import TrainingBatches
from workbench.diffusion.training_rows import StoreFeatures
from workbench.errors import WorkbenchError
from workbench.memory import map_large_blocks
from workbench.regions.block_order import ROWS_PER_WINDOW, BlockOrder
from workbench.regions.window_reader import WindowReader

ORDERS = ("auto", "rows", "blocks")
LARGEST_RESIDENT_BYTES = 16 << 30
# Two windows lie in memory, the one in use and the next.
WINDOW_BYTES = 128 << 20


class TrainingOrder(Protocol):
    """The rows of each step that one process computes."""

    def batch(self, step: int) -> tuple[np.ndarray, Tensor]:
        """Row numbers (n,) int64 and their features (n, D) float32 on the device."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


def chosen_order(name: str, features) -> str:
    """Resolve a name of ``ORDERS``: "auto" is "rows" for an array and "blocks" for what lies on disk."""
    if name not in ORDERS:
        raise WorkbenchError(f"order {name!r} is not known; expected one of {', '.join(ORDERS)}.")
    if name != "auto":
        return name
    return "rows" if isinstance(features, np.ndarray) else "blocks"


class SingleRows:
    """Every row drawn alone; on a GPU an array of features lies there as a whole where it fits."""

    def __init__(self, features, batches: TrainingBatches, own: slice, device: torch.device):
        self.features, self.batches, self.own, self.device = features, batches, own, device
        self.resident = None
        in_memory = isinstance(features, np.ndarray) and features.nbytes <= LARGEST_RESIDENT_BYTES
        if device.type == "cuda" and in_memory:
            self.resident = torch.from_numpy(np.ascontiguousarray(features)).to(device)

    def batch(self, step: int) -> tuple[np.ndarray, Tensor]:
        """Row numbers (n,) int64 and their features (n, D) float32 on the device."""
        rows = self.batches.rows(step)[self.own]
        if self.resident is not None:
            return rows, self.resident[torch.from_numpy(rows).to(self.device)].float()
        return rows, torch.from_numpy(np.asarray(self.features[rows], dtype=np.float32)).to(self.device)

    def close(self) -> None:
        """Nothing is read ahead."""


class BlockRows:
    """Rows drawn in blocks at the rates ``row_weights`` (N,), their features read a window ahead as float16."""

    def __init__(
        self, features, row_weights: np.ndarray, batch_size: int, own: slice, *, seed: int, device: torch.device
    ):
        self.rows, self.device = own.stop - own.start, device
        if device.type == "cpu":  # where the network's own blocks lie in the same memory
            map_large_blocks()
        row_bytes = 2 * features[np.arange(1)].shape[1]
        batches = max(1, min(ROWS_PER_WINDOW, WINDOW_BYTES // row_bytes) // batch_size)
        order = BlockOrder(seed, row_weights, rows_per_window=batches * batch_size, purpose="training blocks")
        read = features.half_precision if isinstance(features, StoreFeatures) else features.__getitem__
        self.reader = WindowReader(read, _OwnRows(order, batches, batch_size, own))

    def batch(self, step: int) -> tuple[np.ndarray, Tensor]:
        """Row numbers (n,) int64 and their features (n, D) float32 on the device."""
        rows, features = self.reader.rows(step * self.rows, self.rows)
        return rows, torch.from_numpy(np.ascontiguousarray(features)).to(self.device).float()

    def close(self) -> None:
        """Stop reading; the reader can be asked no more."""
        self.reader.close()


class _OwnRows:
    """One process's rows of each batch, in windows of ``batches`` batches."""

    def __init__(self, order: BlockOrder, batches: int, batch_size: int, own: slice):
        self.order, self.own, self.batch_size = order, own, batch_size
        self.draws_per_window = batches * batch_size
        self.rows_per_window = batches * (own.stop - own.start)

    def window(self, number: int) -> np.ndarray:
        """Row numbers (rows_per_window,) int64."""
        draws = self._draws(number * self.draws_per_window, self.draws_per_window)
        return draws.reshape(-1, self.batch_size)[:, self.own].reshape(-1)

    def _draws(self, first: int, count: int) -> np.ndarray:
        # Few features make shorter windows than batches would: the order's windows are as long as there are rows.
        size = self.order.rows_per_window
        numbers = range(first // size, (first + count - 1) // size + 1)
        draws = np.concatenate([self.order.window(number) for number in numbers])
        return draws[first - numbers[0] * size :][:count]
