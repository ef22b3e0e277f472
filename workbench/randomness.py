"""Random draws as a function of (seed, purpose, row), so that batches and workers do not matter."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

ROWS_PER_BLOCK = 256


def derived_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed that depends on the run's seed and on what the draw is for."""
    text = "/".join([str(int(seed)), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """A NumPy generator for one purpose, for example ``generator(seed, "augment", "few")``."""
    return np.random.Generator(np.random.Philox(derived_seed(seed, *purpose)))


def torch_generator(seed: int, *purpose: object, device: str = "cpu") -> "torch.Generator":
    """The same for torch, on ``device``."""
    import torch

    return torch.Generator(device=device).manual_seed(derived_seed(seed, *purpose))


def row_normal(seed: int, purpose: str, rows: np.ndarray, dimension: int) -> np.ndarray:
    """Standard normal noise that belongs to rows, whatever batch they come in.

    ``rows`` (N,) non-negative integers; returns (N, dimension) float32.
    """
    rows = np.asarray(rows, dtype=np.int64)
    noise = np.empty((len(rows), dimension), dtype=np.float32)
    blocks = rows // ROWS_PER_BLOCK
    for block in np.unique(blocks):
        draw = generator(seed, purpose, int(block)).standard_normal((ROWS_PER_BLOCK, dimension), dtype=np.float32)
        here = blocks == block
        noise[here] = draw[rows[here] % ROWS_PER_BLOCK]
    return noise


def some_rows(rows: np.ndarray, at_most: int, seed: int, *purpose: object) -> np.ndarray:
    """``rows`` (n,) where they are few, else ``at_most`` of them, drawn for one purpose and in their order."""
    if len(rows) <= at_most:
        return rows
    return rows[np.sort(generator(seed, *purpose).choice(len(rows), at_most, replace=False))]
