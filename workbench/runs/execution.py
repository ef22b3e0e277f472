"""One notebook in one process: ``python -m workbench.runs.execution REQUEST.json`` (called by the runner).

The request holds source, output, parameters, result; the result file gets status, error and peak memory.
Exit status: 0 done, 1 an error in the notebook, 138 the kernel died.
"""

import contextlib
import json
import logging
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from workbench.runs.notebook_format import import_nbformat
from workbench.spelling import spelt_lines

DONE, FAILED, DEAD_KERNEL = 0, 1, 138
_TRACEBACK_LINES = 12


def main(request_path: str) -> int:
    """Execute the notebook of the request and write its result; returns the exit status."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    threading.Thread(target=_stop_with_parent, args=(os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGTERM, _pass_on)
    with tempfile.TemporaryDirectory(prefix="wb-") as runtime:
        # Private, so that a home folder that cannot be written is no obstacle; short, for socket names.
        os.environ["JUPYTER_RUNTIME_DIR"] = runtime
        status, error = _execute(request, runtime)
    peak_kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # bytes on macOS
    peak_mb = peak_kilobytes / (2**20 if sys.platform == "darwin" else 2**10)
    Path(request["result"]).write_text(json.dumps({"error": error, "peak_memory_mb": round(peak_mb)}))
    return status


def _execute(request: dict[str, Any], runtime: str) -> tuple[int, dict[str, Any] | None]:
    import_nbformat()
    import papermill
    from nbclient.exceptions import DeadKernelError

    # Our own reading of the parameters cell is stricter than papermill's, which warns of what it cannot parse.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            request["source"],
            request["output"],
            parameters=request["parameters"],
            kernel_name="python3",
            language="python",
            cwd=Path(request["source"]).parent,  # as nbval and JupyterLab do
            progress_bar=False,
            stdout_file=_Indented(),
            config=kernel_transport(runtime),
        )
    except papermill.PapermillExecutionError as error:
        return FAILED, {
            "type": error.ename,
            "text": error.evalue,
            "cell": error.cell_index,
            "traceback": _last_lines(error.traceback),
        }
    except DeadKernelError:
        return DEAD_KERNEL, {"type": "DeadKernelError", "text": "the kernel died", "cell": None, "traceback": []}
    return DONE, None


def kernel_transport(runtime: str) -> Any:
    """Sockets in the file system: no port that another kernel may take, nothing that others can read."""
    from traitlets.config import Config

    longest_socket_name = 100
    if os.name != "posix" or len(runtime) + 60 > longest_socket_name:
        return Config()
    return Config({"KernelManager": {"transport": "ipc"}})


def _last_lines(traceback: list[str]) -> list[str]:
    import re

    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    return [line for line in text.splitlines() if line.strip()][-_TRACEBACK_LINES:]


class _Indented:
    """Standard output with what the notebook prints indented under its name."""

    def write(self, text: str) -> None:
        for line in text.replace("\r", "\n").splitlines():
            if line.strip():
                print(f"      {spelt_lines(line)}", flush=True)

    def flush(self) -> None:
        sys.stdout.flush()


def _pass_on(number: int, frame: FrameType | None) -> None:
    """Ask the kernel to stop: long work in it saves its state, anything else ends with the kernel."""
    import psutil

    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _stop_with_parent(parent: int) -> None:
    """End the kernel when the runner was killed, or it would go on computing unseen."""
    while os.getppid() == parent:
        time.sleep(0.5)
    with contextlib.suppress(OSError):
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
