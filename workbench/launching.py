"""Building one stage in several processes, one a GPU, from within a notebook or a program.

A notebook's kernel is one process. Where ``WORKBENCH_PROCESSES`` asks for more, the stages that can share their work
are built by processes that ``torch.distributed.run`` starts, and the notebook waits for the folder.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.stopping import Stopped, StopRequest, stop_on_sigterm, waited_for

PROCESSES_VARIABLE = "WORKBENCH_PROCESSES"
PATH_KEY = "__path__"
SHARED_STAGES = frozenset(
    {
        "workbench.regions.extraction:extract_features",
        "workbench.diffusion.training:train_diffusion",
        "workbench.diffusion.sampling:generate_features",
        "workbench.recognition.training:train_recogniser",
        "workbench.recognition.finetuning:finetune_recogniser",
        "workbench.recognition.rebalancing:rebalance_recogniser",
    }
)
_LAST_LINES = 15


def asked_processes() -> int:
    """How many processes shall share a stage's work; WorkbenchError where the variable is no number above 0."""
    text = os.environ.get(PROCESSES_VARIABLE, "1") or "1"
    if not text.isdigit() or int(text) < 1:
        raise WorkbenchError(f"{PROCESSES_VARIABLE}={text}: expected a whole number above 0.")
    return int(text)


def shared_by_processes(build: Callable[..., dict | None]) -> Callable[..., dict | None]:
    """``build`` itself, or where several processes are asked for and it can share its work, a builder that starts them.

    The started processes cannot call back into this one: callbacks of a ``functools.partial`` are left out, and what
    they would have shown stands in the stage's log.
    """
    count, inner = asked_processes(), build
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = f"{getattr(inner, '__module__', '')}:{getattr(inner, '__qualname__', '')}"
    if count == 1 or name not in SHARED_STAGES or "WORLD_SIZE" in os.environ:
        return build

    def launched(folder: Path, **parameters: Any) -> dict | None:
        return build_in_processes(name, folder, _without_callbacks(build) | parameters, count)

    return launched


def build_in_processes(name: str, folder: Path, parameters: dict[str, Any], count: int) -> dict | None:
    """Call the builder ``module:function`` in ``count`` processes; returns what the first of them returned.

    SIGTERM is passed on, so that each saves its state. Raises the processes' own WorkbenchError or Stopped.
    """
    with tempfile.TemporaryDirectory(prefix="wb-") as place:
        request = {"build": name, "folder": str(folder), "parameters": as_json(parameters)}
        (Path(place) / "request.json").write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        command += ["-m", "workbench.stage_process", str(Path(place) / "request.json")]
        messages = Path(place) / "messages.txt"
        with open(messages, "wb") as stderr, stop_on_sigterm() as stop:
            code = _watched(subprocess.Popen(command, env=_environment(count), stderr=stderr), stop)
        answers = [read_json(path) for path in sorted(Path(place).glob("answer-*.json"))]
        told = "\n".join(messages.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    for answer in answers:
        if answer["error"] is not None:
            kinds = {"Stopped": Stopped, "WorkbenchError": WorkbenchError}
            raise kinds.get(answer["error"]["type"], RuntimeError)(answer["error"]["text"])
    if code or not answers:
        raise WorkbenchError(
            f"{folder}: one of the {count} processes that share this stage ended with status {code}. What was finished "
            f"is kept; run the same command again to continue.\n{told}"
        )
    return answers[0]["metrics"]


def as_json(value: Any) -> Any:
    """Parameters as JSON, in which a path stays a path."""
    if isinstance(value, Path):
        return {PATH_KEY: str(value)}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value: Any) -> Any:
    """The inverse of ``as_json``; tuples come back as lists."""
    if isinstance(value, dict):
        return Path(value[PATH_KEY]) if PATH_KEY in value else {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


def _without_callbacks(build: Callable) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while isinstance(build, functools.partial):
        found = {key: value for key, value in build.keywords.items() if not callable(value)} | found
        build = build.func
    return found


def _watched(child: subprocess.Popen, stop: StopRequest) -> int:
    try:
        return waited_for(child, stop)
    except BaseException:
        child.terminate()
        child.wait()
        raise


def _environment(count: int) -> dict[str, str]:
    # The launcher gives each process one thread unless told otherwise; the cores are shared evenly here.
    from workbench.identity import available_cores

    threads = str(max(1, available_cores() // count))
    return os.environ | {"OMP_NUM_THREADS": threads, PROCESSES_VARIABLE: "1"}
