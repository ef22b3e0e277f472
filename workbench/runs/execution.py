"""One notebook, executed by papermill in this process with its kernel as a child, and the environment of kernels."""

import contextlib
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import WorkbenchError
from workbench.escaping import escaped_lines
from workbench.file_errors import system_error, writing
from workbench.folders import REPLACE_VARIABLE, Replace
from workbench.identity import available_cores
from workbench.launching import environment_of
from workbench.paths import HOME_VARIABLE, notebooks_folder
from workbench.registry import import_nbformat
from workbench.stopping import Stopped, StopRequest

DONE, FAILED, DEAD_KERNEL, STOPPED, REFUSED = "done", "failed", "dead kernel", "stopped", "refused"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_HEADLESS = {"WORKBENCH_HEADLESS": "1", "TQDM_MININTERVAL": "30"}
# The last one would start kernels elsewhere; they are children of the process that asks for them.
_OURS_ALONE = {*_HEADLESS, REPLACE_VARIABLE, "JUPYTER_DEFAULT_PROVISIONER_NAME"}
_SYSTEM_ERROR = re.compile(r"\[Errno (\d+)\] ([^:]*)(?:: '(.*)')?")  # what Python says of a file
_TRACEBACK_LINES = 12
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_BETWEEN_SIGNALS = 5.0
_START_SECONDS = 600  # on a machine with more to do


class Outcome(NamedTuple):
    """How a notebook ended; ``error`` is what a person needs to know of a failure."""

    status: str
    error: str | None
    peak_memory_mb: int


def execute(
    source: Path, output: Path, parameters: dict[str, Any], variables: dict[str, str], stop: StopRequest
) -> Outcome:
    """Execute one notebook with ``variables`` as its kernel's environment, until ``stop`` is asked.

    ``output`` is written every 5 seconds and at the end, also when the notebook fails. A stop is passed on to the
    kernel: long work in it saves its state, anything else ends, no further cell begins. The memory is the kernel's.
    """
    from workbench.runs.kernels import private_folder

    output.parent.mkdir(parents=True, exist_ok=True)
    peaks: dict[int, int] = {}
    # With a private runtime folder a home folder that cannot be written is no obstacle.
    with (
        private_folder() as runtime,
        _watched_kernels(stop, peaks),
        environment_of(variables | {"JUPYTER_RUNTIME_DIR": runtime}),
        writing(output),
    ):
        status, error = _executed(source, output, parameters, runtime, stop)
    if stop.asked and status != DONE:
        status, error = STOPPED, "was asked to stop (SIGTERM)." if status == DEAD_KERNEL else error
    return Outcome(status, error, max(peaks.values(), default=0) // 2**20)


def _executed(
    source: Path, output: Path, parameters: dict[str, Any], runtime: str, stop: StopRequest
) -> tuple[str, str | None]:
    import_nbformat()
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines

    from workbench.runs.kernels import of_one_kernel

    def begin_cell(**cell: Any) -> None:
        if stop.asked:
            raise RuntimeError("asked to stop")

    class Engine(NBClientEngine):
        """Writes the notebook at its end and every 5 seconds: papermill would twice a cell, also of text."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **told: Any) -> None:
            save, pause = nb_man.save, timedelta(seconds=5)
            nb_man.save = lambda **new: (
                (nb_man.end_time or nb_man.now() - nb_man.last_save_time > pause) and save(**new)
            )
            super().execute_managed_notebook(nb_man, kernel_name, **told)

    papermill_engines.register("seldom", Engine)
    # Our own reading of the parameters cell is stricter than papermill's, which warns of what it cannot parse.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            source,
            output,
            parameters=parameters,
            language="python",
            engine_name="seldom",
            cwd=source.parent,  # as nbval and JupyterLab do
            progress_bar=False,
            stdout_file=_Indented(),
            start_timeout=_START_SECONDS,
            on_cell_start=begin_cell,
            **of_one_kernel(runtime),
        )
    except papermill.PapermillExecutionError as error:
        if error.ename in (WorkbenchError.__name__, Stopped.__name__):
            return REFUSED, error.evalue  # our own message alone
        if not error.traceback:
            remedy = f"Run {source} with `workbench lab` to see it."
            return FAILED, f"cell {error.cell_index} failed, and its kernel sent no message. {remedy}"
        if said := _SYSTEM_ERROR.fullmatch(error.evalue):
            told = OSError(int(said[1]), said[2], said[3])
            return FAILED, str(system_error(told, f"a file of cell {error.cell_index}", "used"))
        text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
        lines = [f"  {line}" for line in text.splitlines() if line.strip()][-_TRACEBACK_LINES:]
        return FAILED, "\n".join([f"{error.ename} in cell {error.cell_index}: {error.evalue}", *lines])
    except RuntimeError as error:  # nbclient's, also of a kernel that died while it started
        remedy = "out of memory? Smaller batches or a smaller profile help."
        return DEAD_KERNEL, f"the kernel died without an error of its own ({error}): {remedy}"
    return DONE, None


@contextlib.contextmanager
def _watched_kernels(stop: StopRequest, peaks: dict[int, int]) -> Iterator[None]:
    """Within the block keep the kernels' most bytes of memory in ``peaks``, and pass a stop on to them.

    Again and again: a signal that comes before a kernel's interpreter runs, or after work looked at it last, is lost.
    """
    import psutil

    ended, told = threading.Event(), dict[int, float]()

    def watch() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            for kernel in psutil.Process().children():
                with contextlib.suppress(psutil.Error, OSError):
                    peaks[kernel.pid] = max(peaks.get(kernel.pid, 0), _peak_bytes(kernel))
                    if stop.asked and time.monotonic() > told.get(kernel.pid, -math.inf) + _SECONDS_BETWEEN_SIGNALS:
                        told[kernel.pid] = time.monotonic()
                        kernel.terminate()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _peak_bytes(process: Any) -> int:
    """Most bytes that a process has had in memory, on Linux since it began, elsewhere at the moment."""
    status = Path(f"/proc/{process.pid}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else process.memory_info().rss


class _Indented:
    """Standard output with what the notebook prints indented under its name."""

    def write(self, text: str) -> None:
        for line in text.replace("\r", "\n").splitlines():
            if line.strip():
                print(f"      {escaped_lines(line)}", flush=True)

    def flush(self) -> None:
        sys.stdout.flush()


def environment(root: Path, replace: Replace = Replace.NEVER) -> dict[str, str]:
    """The environment of a notebook's kernel: headless, quiet bars, this project, all cores and no more."""
    variables = live_environment(root) | _HEADLESS
    return variables | {REPLACE_VARIABLE: replace.value} if replace else variables


def live_environment(root: Path) -> dict[str, str]:
    """The environment of a kernel that somebody is looking at."""
    # Threads that spin while they wait halve the speed as soon as anything else runs on the same cores.
    variables = dict.fromkeys(_THREAD_VARIABLES, str(available_cores())) | {"OMP_WAIT_POLICY": "PASSIVE"}
    variables |= {"GOMP_SPINCOUNT": "0"} | os.environ
    variables |= {"JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", HOME_VARIABLE: str(root)}
    # A kernel starts in another folder, that of a copy too, and the package need not be installed.
    places = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"), str(notebooks_folder(root))]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    return {name: value for name, value in variables.items() if name not in _OURS_ALONE}
