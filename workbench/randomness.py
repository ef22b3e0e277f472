"""Random draws as a function of (seed, purpose, row), so that batches and workers do not matter."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

ROWS_PER_BLOCK = 256
# GPUs that hold at least so many threads at a time (V100, A100, H100) draw the same numbers.
NUMBERS_AT_ONCE = 1 << 17


def derived_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed that depends on the run's seed and on what the draw is for."""
    text = "/".join([str(int(seed)), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """A NumPy generator for one purpose, for example ``generator(seed, "augment", "few")``."""
    return np.random.Generator(np.random.Philox(derived_seed(seed, *purpose)))


def torch_generator(seed: int, *purpose: object, device: Any = "cpu") -> "torch.Generator":
    """The same for torch, on ``device``."""
    import torch

    return torch.Generator(device=device).manual_seed(derived_seed(seed, *purpose))


def row_normal(seed: int, purpose: str, rows: np.ndarray, dimension: int, device: Any = "cpu") -> "torch.Tensor":
    """Standard normal noise that belongs to rows, whatever batch they come in, drawn on ``device``.

    ``rows`` (N,) non-negative integers; returns (N, dimension) float32. A GPU draws other numbers than a CPU.
    """
    import torch

    rows = np.asarray(rows, dtype=np.int64)
    noise, blocks = torch.empty((len(rows), dimension), device=device), rows // ROWS_PER_BLOCK

    def draw(block: int) -> None:
        whole = noise.new_empty((ROWS_PER_BLOCK, dimension))
        random = torch_generator(seed, purpose, block, device=device)
        for piece in whole.view(-1).split(NUMBERS_AT_ONCE):
            piece.normal_(generator=random)
        here: Any = np.flatnonzero(blocks == block)
        own = rows[here] % ROWS_PER_BLOCK
        if (np.diff(here) == 1).all() and (np.diff(own) == 1).all():  # slices need no wait for a GPU
            here, own = slice(here[0], here[-1] + 1), slice(own[0], own[-1] + 1)
        noise[here] = whole[own]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list((pool.map if noise.device.type == "cpu" else map)(draw, np.unique(blocks).tolist()))
    return noise


def some_rows(rows: np.ndarray, at_most: int, seed: int, *purpose: object) -> np.ndarray:
    """``rows`` (n,) where they are few, else ``at_most`` of them, drawn for one purpose and in their order."""
    if len(rows) <= at_most:
        return rows
    return rows[np.sort(generator(seed, *purpose).choice(len(rows), at_most, replace=False))]
