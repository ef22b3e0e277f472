"""One notebook, executed by papermill in this process with its kernel as a child."""

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from workbench.errors import WorkbenchError
from workbench.escaping import escaped_lines
from workbench.stopping import Stopped

DONE, FAILED, DEAD_KERNEL, STOPPED = "done", "failed", "dead kernel", "stopped"
_TRACEBACK_LINES = 12
_SECONDS_BETWEEN_LOOKS = 0.5
# jsonschema compiles a grammar of internationalised addresses at import where this package is installed, as
# JupyterLab has it; notebooks hold no such addresses. Without it jsonschema leaves out that one format check.
_UNUSED_GRAMMAR = "rfc3987_syntax"


@dataclass(frozen=True)
class Outcome:
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
    # The runtime folder is private, so that a home folder that cannot be written is no obstacle, and its name short,
    # because sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="wb-") as runtime, _kernels() as kernels:
        with environment_of(variables | {"JUPYTER_RUNTIME_DIR": runtime}):
            status, error = _execute(source, output, parameters, runtime)
        if kernels.asked_to_stop and status != DONE:
            status = STOPPED
            error = error if isinstance(error, WorkbenchError) else WorkbenchError("was asked to stop (SIGTERM).")
        return Outcome(status, None if error is None else str(error), kernels.peak_bytes // 2**20)


def _execute(source: Path, output: Path, parameters: dict[str, Any], runtime: str) -> tuple[str, Exception | None]:
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
        return FAILED, _cell_error(error)
    except DeadKernelError:
        remedy = "out of memory? Smaller batches or a smaller profile help."
        return DEAD_KERNEL, RuntimeError(f"the kernel died without an error of its own: {remedy}")
    return DONE, None


def _cell_error(error: Any) -> Exception:
    """Our own message alone, of any other error the end of its traceback too."""
    if error.ename in (WorkbenchError.__name__, Stopped.__name__):
        return WorkbenchError(error.evalue)
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    lines = [f"  {line}" for line in text.splitlines() if line.strip()][-_TRACEBACK_LINES:]
    return RuntimeError("\n".join([f"{error.ename} in cell {error.cell_index}: {error.evalue}", *lines]))


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

    longest_socket_name = 100
    if os.name != "posix" or len(runtime) + 60 > longest_socket_name:
        return Config()
    return Config({"KernelManager": {"transport": "ipc"}})


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


class _Kernels:
    """The kernels that are children of this process: their peak of memory, and SIGTERM passed on to them."""

    def __init__(self) -> None:
        self.asked_to_stop = False
        self.peak_bytes = 0
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look_again_and_again, daemon=True)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM."""
        import psutil

        self.asked_to_stop = True
        for process in self._children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def start(self) -> None:
        """Begin to look at their memory."""
        self._watch.start()

    def end(self) -> None:
        """End the looking."""
        self._ended.set()
        self._watch.join()

    def _look_again_and_again(self) -> None:
        import psutil

        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            for process in self._children():
                with contextlib.suppress(psutil.Error, OSError):
                    self.peak_bytes = max(self.peak_bytes, _peak_of(process))

    @staticmethod
    def _children() -> list[Any]:
        import psutil

        return psutil.Process().children()


def _peak_of(process: Any) -> int:
    """Most bytes that a process has had in memory, on Linux since it began, elsewhere at the moment."""
    status = Path(f"/proc/{process.pid}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else process.memory_info().rss


@contextlib.contextmanager
def _kernels() -> Iterator[_Kernels]:
    kernels = _Kernels()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, kernels.stop) if in_main else None
    kernels.start()
    try:
        yield kernels
    finally:
        kernels.end()
        if in_main:
            signal.signal(signal.SIGTERM, before)


class _Indented:
    """Standard output with what the notebook prints indented under its name."""

    def write(self, text: str) -> None:
        for line in text.replace("\r", "\n").splitlines():
            if line.strip():
                print(f"      {escaped_lines(line)}", flush=True)

    def flush(self) -> None:
        sys.stdout.flush()
