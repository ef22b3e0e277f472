"""Drawing in several processes, in order, whatever their number."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from workbench.errors import WorkbenchError
from workbench.identity import available_cores
from workbench.stopping import end_with

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


def mapped(function: Callable[[Chunk], Result], chunks: Sequence[Chunk], workers: int, pool: bool) -> Iterator[Result]:
    """``function`` of each chunk, in order; ``workers`` 0 means one per core, ``pool`` False stays in this process.

    A process that dies becomes a WorkbenchError; where this one is killed the others end with it.
    """
    workers = min(workers or available_cores(), max(1, len(chunks)))
    if workers == 1 or not pool:
        yield from map(function, chunks)
        return
    try:
        # Spawned, not forked: a fork would copy the threads of torch in a half-finished state. Where this process is
        # killed, siblings hold the pipe open on which each waits for work, so they watch it themselves.
        with ProcessPoolExecutor(workers, get_context("spawn"), end_with, (os.getpid(),)) as executor:
            yield from executor.map(function, chunks)
    except BrokenProcessPool as error:
        raise WorkbenchError(
            "A drawing process ended before its work was done (killed, out of memory, or started by a script without "
            "an 'if __name__ == \"__main__\"' guard). What is finished is kept; run again, perhaps with workers=1."
        ) from error
