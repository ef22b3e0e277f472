"""Giving memory back between pieces of long work in one process."""

import ctypes
import gc
import sys
from typing import Any

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # glibc's names for options of mallopt
BLOCK_BYTES = 1 << 20
LARGEST_KEPT_BLOCK, KEPT_BYTES = 32 << 20, 256 << 20


def release_memory() -> None:
    """Collect what only cycles keep alive, and return freed blocks to the system, which glibc does not do by itself.

    A notebook's kernel trains, samples and evaluates one after the other: what the first leaves behind would add to
    the peak of the next.
    """
    gc.collect()
    _of_glibc("malloc_trim")(0)


def map_large_blocks() -> None:
    """From now on give each block of 1 MB and more pages of its own, which go back to the system once it is freed.

    By default glibc moves that limit up to 32 MB as a program runs, and the holes between a network's activations then
    cost gigabytes. It costs some page faults: for work on data that do not fit memory, where the disk is slower.
    """
    _of_glibc("mallopt")(MMAP_THRESHOLD, BLOCK_BYTES)


def keep_freed_blocks() -> None:
    """From now on keep 256 MB of what is freed for the next step, which else faults in each page of it again."""
    _of_glibc("mallopt")(MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
    _of_glibc("mallopt")(TRIM_THRESHOLD, KEPT_BYTES)


def _of_glibc(name: str) -> Any:
    """A function of the C library that does nothing where that is another: musl has neither."""
    found = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    return found or (lambda *numbers: None)
