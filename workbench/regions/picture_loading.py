"""Decoding pictures a few batches ahead of their use, in processes of their own or in threads."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from workbench.errors import WorkbenchError
from workbench.regions.picture_files import UnreadablePicture, picture_shape, read_picture

Batch = TypeVar("Batch")
Picture = np.ndarray | Tensor | UnreadablePicture

BATCHES_AHEAD = 3
THREADS = 2
THREADS_FOR_HEADERS = 8
MOST_WORKERS = 8


def decoding_workers(device: torch.device, processes: int = 1) -> int:
    """How many processes decode pictures for one of ``processes`` that compute: 0 means threads.

    A GPU asks for more pictures than threads can decode; on a CPU the network takes a hundred times as long as the
    decoder, which would only take its cores away.
    """
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(np.clip(cores // processes, 1, MOST_WORKERS))


def decoded(
    batches: Iterable[Batch], paths_of: Callable[[Batch], Sequence[Path]], *, workers: int, pinned: bool = False
) -> Iterator[tuple[Batch, list[Picture]]]:
    """Each batch with its decoded pictures, (H, W, 3) uint8 or ``UnreadablePicture``, in the order of ``batches``.

    ``batches`` is read a few batches ahead. ``workers`` processes decode, or threads of this one for 0; ``pinned``
    puts the pictures of processes into page-locked memory, from which a GPU copies while it computes.
    """
    waiting: deque[Batch] = deque()

    def requests() -> Iterator[list[Path]]:
        for batch in batches:
            waiting.append(batch)
            yield list(paths_of(batch))

    source = _by_processes(requests(), workers, pinned) if workers else _by_threads(requests())
    for pictures in source:
        yield waiting.popleft(), pictures


def picture_shapes(paths: Sequence[Path]) -> list[tuple[int, int] | UnreadablePicture]:
    """``picture_shape`` of many files at once."""
    with ThreadPoolExecutor(THREADS_FOR_HEADERS) as pool:
        return list(pool.map(picture_shape, paths))


def _by_threads(requests: Iterator[list[Path]]) -> Iterator[list[Picture]]:
    with ThreadPoolExecutor(THREADS) as pool:
        ahead = deque()
        for paths in requests:
            ahead.append([pool.submit(read_picture, path) for path in paths])
            if len(ahead) > BATCHES_AHEAD:
                yield [picture.result() for picture in ahead.popleft()]
        while ahead:
            yield [picture.result() for picture in ahead.popleft()]


def _by_processes(requests: Iterator[list[Path]], workers: int, pinned: bool) -> Iterator[list[Picture]]:
    # A fork would take over threads and a GPU's state; a started process has neither.
    way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    loader = DataLoader(
        _PictureFiles(),
        sampler=requests,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=BATCHES_AHEAD,
        pin_memory=pinned,
        multiprocessing_context=way,
        worker_init_fn=_leave_stopping_to_the_parent,
        generator=torch.Generator(),  # the loader draws from it; nobody else's numbers may change by that
    )
    pictures = iter(loader)
    while True:
        try:
            batch = next(pictures)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise WorkbenchError(
                f"a process that decodes pictures ended ({error}). What was finished is kept: run the same command "
                "again, with fewer workers where memory was short."
            ) from error
        yield batch.pictures


class _PictureFiles(Dataset):
    def __getitem__(self, paths: list[Path]) -> "_Pictures":
        return _Pictures([read_picture(path) for path in paths])


class _Pictures:
    """Decoded pictures on their way between processes: as arrays, since tensors would go through /dev/shm, which is
    too small for them in many containers.
    """

    def __init__(self, pictures: list[Picture]):
        self.pictures = pictures

    def pin_memory(self) -> "_Pictures":
        """Called by the loader's thread in the receiving process."""
        return _Pictures(
            [picture if isinstance(picture, UnreadablePicture) else _pinned(picture) for picture in self.pictures]
        )


def _pinned(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).pin_memory()


def _as_it_is(item: _Pictures) -> _Pictures:
    return item


def _leave_stopping_to_the_parent(worker: int) -> None:
    # Schedulers send SIGTERM and terminals send SIGINT to all processes; the parent still needs the current batch.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
