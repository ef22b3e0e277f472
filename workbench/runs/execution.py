"""One notebook, executed by papermill in this process with its kernel as a child, and the environment of kernels."""

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from workbench.errors import WorkbenchError
from workbench.escaping import escaped_lines
from workbench.folders import REPLACE_VARIABLE, Replace
from workbench.identity import available_cores
from workbench.paths import HOME_VARIABLE
from workbench.stopping import Stopped, StopRequest, stop_on_sigterm

DONE, FAILED, DEAD_KERNEL, STOPPED = "done", "failed", "dead kernel", "stopped"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_HEADLESS = {"WORKBENCH_HEADLESS": "1", "TQDM_MININTERVAL": "30"}
_TRACEBACK_LINES = 12
_SECONDS_BETWEEN_LOOKS = 0.25
# jsonschema compiles a grammar of internationalised addresses at import where this package is installed, as
# JupyterLab has it; notebooks hold no such addresses. Without it jsonschema leaves out that one format check.
_UNUSED_GRAMMAR = "rfc3987_syntax"
_LONGEST_SOCKET_NAME = 100


class Outcome(NamedTuple):
    """How a notebook ended; ``error`` is what a person needs to know of a failure."""

    status: str
    error: str | None
    peak_memory_mb: int


def execute(source: Path, output: Path, parameters: dict[str, Any], variables: dict[str, str]) -> Outcome:
    """Execute one notebook with ``variables`` as its kernel's environment.

    ``output`` is written after every cell, also when the notebook fails. SIGTERM is passed on to the kernel: long work
    in it saves its state, anything else ends. The peak of memory is the kernel's.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    peaks: dict[int, int] = {}
    # The runtime folder is private, so that a home folder that cannot be written is no obstacle, and its name short,
    # because sockets lie in it.
    with (
        tempfile.TemporaryDirectory(prefix="wb-") as runtime,
        stop_on_sigterm() as stop,
        _watched_kernels(stop, peaks),
        environment_of(variables | {"JUPYTER_RUNTIME_DIR": runtime}),
    ):
        status, error = _executed(source, output, parameters, runtime)
    if stop.asked and status != DONE:
        status, error = STOPPED, "was asked to stop (SIGTERM)." if status == DEAD_KERNEL else error
    return Outcome(status, error, max(peaks.values(), default=0) // 2**20)


def _executed(source: Path, output: Path, parameters: dict[str, Any], runtime: str) -> tuple[str, str | None]:
    import_nbformat()
    import papermill
    from nbclient.exceptions import DeadKernelError

    # Our own reading of the parameters cell is stricter than papermill's, which warns of what it cannot parse.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            source,
            output,
            parameters=parameters,
            kernel_name="python3",
            language="python",
            cwd=source.parent,  # as nbval and JupyterLab do
            progress_bar=False,
            stdout_file=_Indented(),
            config=kernel_transport(runtime),
        )
    except papermill.PapermillExecutionError as error:
        if error.ename in (WorkbenchError.__name__, Stopped.__name__):
            return FAILED, error.evalue  # our own message alone
        text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
        lines = [f"  {line}" for line in text.splitlines() if line.strip()][-_TRACEBACK_LINES:]
        return FAILED, "\n".join([f"{error.ename} in cell {error.cell_index}: {error.evalue}", *lines])
    except DeadKernelError:
        remedy = "out of memory? Smaller batches or a smaller profile help."
        return DEAD_KERNEL, f"the kernel died without an error of its own: {remedy}"
    return DONE, None


@contextlib.contextmanager
def _watched_kernels(stop: StopRequest, peaks: dict[int, int]) -> Iterator[None]:
    """Within the block keep the kernels' most bytes of memory in ``peaks``, and pass a stop on to them, once."""
    import psutil

    ended, told = threading.Event(), set()

    def watch() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            for kernel in psutil.Process().children():
                with contextlib.suppress(psutil.Error, OSError):
                    peaks[kernel.pid] = max(peaks.get(kernel.pid, 0), _peak_bytes(kernel))
                    if stop.asked and kernel.pid not in told:
                        told.add(kernel.pid)
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


def import_nbformat() -> ModuleType:
    """The nbformat module; the first import in a process takes a fifth of the usual time."""
    blocked = _UNUSED_GRAMMAR not in sys.modules
    if blocked:
        sys.modules[_UNUSED_GRAMMAR] = None  # type: ignore[assignment]
    try:
        import nbformat

        return nbformat
    finally:
        if blocked:
            del sys.modules[_UNUSED_GRAMMAR]


def kernel_transport(runtime: str) -> Any:
    """Sockets in the file system: no port that another kernel may take, nothing that others can read."""
    from traitlets.config import Config

    if os.name != "posix" or len(runtime) + 60 > _LONGEST_SOCKET_NAME:
        return Config()
    return Config({"KernelManager": {"transport": "ipc"}})


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
    # A kernel starts in another folder, and the package need not be installed.
    places = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    return {name: value for name, value in variables.items() if name not in (*_HEADLESS, REPLACE_VARIABLE)}


@contextlib.contextmanager
def environment_of(variables: dict[str, str]) -> Iterator[None]:
    """Within the block this process has the environment that its kernels shall inherit."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
