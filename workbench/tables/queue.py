"""The tasks of a grid on several processes: each once its inputs are there; one that fails does not stop the others."""

import contextlib
import io
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from workbench.errors import WorkbenchError

Job = tuple[int, str]  # seed, key of the task
DIED = "its process died without an error of its own: out of memory? Fewer --jobs or a smaller profile help."
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Outcome(NamedTuple):
    """What became of a job: seconds, the reason of a failure or "", and everything that it printed."""

    seconds: float
    failure: str
    printed: str


class TaskQueue:
    """Jobs with the jobs that each needs first, worked through on ``processes`` processes.

    ``work(*job)`` builds one job in a worker and must be importable there. ``failures`` fills up with reasons in
    words; a job whose needs failed fails with them. A worker that dies takes its neighbours' work with it: all of them
    are tried again, one at a time, so that only the one that kills fails.
    """

    def __init__(self, needs: dict[Job, list[Job]], work: Callable[[int, str], Outcome], processes: int):
        self._needs, self._work, self._processes = needs, work, processes
        self._waiting, self._running, self._done = list(needs), {}, set()
        self.failures: dict[Job, str] = {}

    def run(self, on_outcome: Callable[[Job, Outcome, int], None]) -> None:
        """Work through all jobs; ``on_outcome(job, outcome, finished so far)`` after each."""
        while self._waiting:
            try:
                self._until_a_death(self._processes, on_outcome)
            except BrokenProcessPool:
                self._one_by_one(list(self._running.values()), on_outcome)

    def _until_a_death(self, processes: int, on_outcome) -> None:
        self._running: dict[Future, Job] = {}
        with _pool(processes) as pool:
            while self._waiting or self._running:
                self._submit(pool, processes)
                if not self._running and self._waiting:
                    raise ValueError(f"jobs that need what nobody builds: {self._waiting}")
                for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                    outcome = future.result()
                    self._finish(self._running.pop(future), outcome, on_outcome)

    def _submit(self, pool: ProcessPoolExecutor, processes: int) -> None:
        for job in list(self._waiting):
            failed = [need for need in self._needs[job] if need in self.failures]
            if failed:
                self._waiting.remove(job)
                self.failures[job] = f"needs {failed[0][1]}, which failed: {self.failures[failed[0]]}"
            elif len(self._running) < processes and all(need in self._done for need in self._needs[job]):
                # Taken out of those that wait only once it is given away: a dead worker makes this raise.
                self._running[pool.submit(self._work, *job)] = job
                self._waiting.remove(job)

    def _one_by_one(self, suspects: list[Job], on_outcome) -> None:
        self._running = {}
        for job in suspects:
            try:
                with _pool(1) as pool:
                    outcome = pool.submit(self._work, *job).result()
            except BrokenProcessPool:
                outcome = Outcome(0.0, DIED, "")
            self._finish(job, outcome, on_outcome)

    def _finish(self, job: Job, outcome: Outcome, on_outcome) -> None:
        if outcome.failure:
            self.failures[job] = outcome.failure
        else:
            self._done.add(job)
        on_outcome(job, outcome, len(self._done) + len(self.failures))


@contextlib.contextmanager
def _pool(processes: int):
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin_worker, (os.getpid(),))
    try:
        yield pool
    finally:
        # Not waiting: after an interruption what runs is of no use, and finished stages are kept anyway.
        pool.shutdown(wait=False, cancel_futures=True)


def quiet_workers() -> None:
    """One thread for each worker, through the environment that it inherits, and no progress bars.

    However many workers there are, a task has one thread: the last bits of a bfloat16 product depend on the number of
    threads, and rows of one table must not differ in it.
    """
    for name in _THREADS:
        os.environ[name] = "1"
    # Threads that spin while they wait halve the speed as soon as anything else runs on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ["WORKBENCH_HEADLESS"] = "1"
    os.environ["TQDM_MININTERVAL"] = "3600"


def built(profile: str, root: Path, seed: int, key: str) -> Outcome:
    """Build one task in this process; every error becomes an outcome, ours with its text, others with a traceback."""
    from workbench.tables.plan import table_plan

    started, printed = time.monotonic(), io.StringIO()
    failure = ""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            table_plan(profile, root).build(seed, key)
        except WorkbenchError as error:
            failure = str(error)
        except Exception as error:  # reported with its row; the other rows go on
            failure = f"{type(error).__name__}: {error}"
            traceback.print_exc()
    return Outcome(time.monotonic() - started, failure, printed.getvalue())


def _begin_worker(parent: int) -> None:
    """Give each worker a GPU in turn, where there are any; end it when its parent was killed."""
    import torch

    if torch.cuda.is_available():
        number = int(multiprocessing.current_process().name.rpartition("-")[2])
        torch.cuda.set_device(number % torch.cuda.device_count())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
