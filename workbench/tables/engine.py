"""Works through the jobs of a grid on Dask's workers, which stay warm: on this machine, or on a cluster's scheduler.

Starting Python, torch and the workbench takes 5 s of processor time, which is more than most jobs take.
"""

import contextlib
import io
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, TimeoutError, WorkerPlugin, wait

from workbench.errors import WorkbenchError
from workbench.identity import available_cores
from workbench.launching import environment_of
from workbench.stopping import Stopped, ask_to_stop, stop_on_sigterm
from workbench.tables.rows import Job, Outcome

DIED = "its process died without an error of its own: out of memory? Fewer --jobs or a smaller profile help."
GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_WITHOUT_WORKERS = 60.0
# However many workers there are, a job has one thread: the last bits of a product depend on the number of threads,
# and rows of one table must not differ in it. Threads that spin while they wait halve the speed of other jobs.
WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "WORKBENCH_HEADLESS": "1", "TQDM_MININTERVAL": "3600",
}  # fmt: skip
SCHEDULER_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,  # a job whose worker died is tried once more
    "distributed.scheduler.worker-ttl": None,  # a worker may be silent for as long as a matrix product takes
    "distributed.admin.tick.limit": "1 hour",
    "distributed.admin.system-monitor.gil.enabled": False,
}


def work_through(
    needs: Mapping[Job, Sequence[Job]],
    build: Callable[[int, str], Any],
    on_outcome: Callable[[Job, Outcome, int], None],
    *,
    processes: int = 0,
    scheduler: str = "",
) -> dict[Job, str]:
    """Build every job once the jobs that it needs are built; returns the reasons of those that failed.

    ``needs`` has the jobs, each after those that it needs; one whose needs failed fails with their reason, others go
    on. ``build(*job)`` builds a job in a worker, where its module must be importable; ``on_outcome(job, outcome,
    finished so far)`` hears of each that was tried. ``processes`` are workers on this machine with one job at a time
    (0: one a GPU, without a GPU one a core); a Dask ``scheduler``'s are used instead, which may join and leave.
    SIGTERM asks the running jobs to save their state and raises ``Stopped`` once they have.
    """
    running: dict[Future, Job] = {}
    done: set[Job] = set()
    failures: dict[Job, str] = {}
    waiting = list(needs)
    with _client(processes, scheduler) as client, stop_on_sigterm() as stop:
        alive = time.monotonic()
        while True:
            ready = [] if stop.asked else [job for job in waiting if done.issuperset(needs[job])]
            if not ready and not running:
                break
            workers = sum(client.nthreads().values())
            alive = time.monotonic() if workers or scheduler else alive
            if time.monotonic() - alive > SECONDS_WITHOUT_WORKERS:
                raise WorkbenchError("all workers have ended and none comes back. Is there memory for --jobs of them?")
            if stop.asked:
                client.run(ask_to_stop)
            # No more jobs than workers: the scheduler would blame a worker's death on all jobs that it was given.
            for job in ready[: max(0, workers - len(running))]:
                running[client.submit(_outcome, build, job, key=f"{job}-{time.time_ns()}", pure=False)] = job
                waiting.remove(job)
            for future in _finished(running):
                job = running.pop(future)
                try:
                    outcome = future.result()
                except KilledWorker:
                    outcome = Outcome(0.0, DIED, "")
                if outcome.failure and stop.asked:
                    waiting.append(job)
                    continue
                if outcome.failure:
                    failures[job] = outcome.failure
                else:
                    done.add(job)
                on_outcome(job, outcome, len(done) + len(failures))
    if stop.asked and waiting:
        raise Stopped("the tables were asked to stop. Run the same command again to resume them.")
    for job in waiting:
        failed = next(need for need in needs[job] if need in failures)
        failures[job] = f"needs {failed[1]}, which failed: {failures[failed]}"
    return failures


def _finished(running: Mapping[Future, Job]) -> list[Future]:
    if not running:
        time.sleep(SECONDS_BETWEEN_LOOKS)  # until a worker joins
        return []
    with contextlib.suppress(TimeoutError):
        return list(wait(list(running), timeout=SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED").done)
    return []


@contextlib.contextmanager
def _client(processes: int, scheduler: str) -> Iterator[Client]:
    gpus = [] if scheduler else _visible_gpus()
    # Dask leaves its workers' variables behind, with which this process would compute on one thread.
    with environment_of(dict(os.environ)), contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(SCHEDULER_SETTINGS))
        if not scheduler:
            # Without a limit of memory: Dask counts memory-mapped files and would kill who reads a large store.
            cluster = LocalCluster(
                n_workers=processes or len(gpus) or available_cores(), threads_per_worker=1, memory_limit=0,
                host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs="CRITICAL",
            )  # fmt: skip
            stack.enter_context(cluster)
        client = stack.enter_context(Client(scheduler or cluster))
        client.register_plugin(_Surroundings(gpus))
        yield client


def _visible_gpus() -> list[str]:
    import torch

    numbers = os.environ.get(GPUS_VARIABLE) or ",".join(map(str, range(torch.cuda.device_count())))
    return numbers.split(",") if torch.cuda.is_available() else []


class _Surroundings(WorkerPlugin):
    """What a worker has around its jobs: an environment, one of ``gpus`` in turn, and an end that saves their state.

    The environment counts for torch, which no worker has imported yet. What is typed at the terminal is not for it.
    """

    name = "workbench"

    def __init__(self, gpus: list[str]):
        self.gpus = gpus

    def setup(self, worker: Any) -> None:
        os.environ.update(WORKER_ENVIRONMENT)
        if self.gpus:
            os.environ[GPUS_VARIABLE] = self.gpus[worker.name % len(self.gpus)]
        signal.signal(signal.SIGTERM, lambda number, frame: ask_to_stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: Any) -> None:
        ask_to_stop()


def _outcome(build: Callable[[int, str], Any], job: Job) -> Outcome:
    """Build in this worker; every error becomes an outcome, ours with its text, others with a traceback."""
    started, printed = time.monotonic(), io.StringIO()
    failure = ""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            build(*job)
        except WorkbenchError as error:
            failure = str(error)
        except Exception as error:  # reported with its row; the other rows go on
            failure = f"{type(error).__name__}: {error}"
            traceback.print_exc()
    return Outcome(time.monotonic() - started, failure, printed.getvalue())
