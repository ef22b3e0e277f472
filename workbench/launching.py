"""Building one stage in several processes, one a GPU, from within a notebook or a program.

A notebook's kernel is one process. Where ``WORKBENCH_PROCESSES`` asks for more, the stages that can share their work
are built by processes that it starts, and the notebook waits for the folder. They find each other by a file in a
private folder, speak on the loopback interface alone, and end with the notebook's kernel however that ends. Each is
``python -m workbench.launching REQUEST.json``, which may as well be started by hand under ``torchrun`` or ``accelerate
launch`` on several machines, whose rendezvous is then theirs; the answer is written beside the request, one a process.
"""

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.configuration import as_values, checked_value
from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json
from workbench.identity import available_cores, without_nan
from workbench.locks import temporary_folder
from workbench.registry import imported
from workbench.stopping import Stopped, end_with, stop_on_sigterm, waited_for

PROCESSES_VARIABLE = "WORKBENCH_PROCESSES"
_MEETING_VARIABLE, _PARENT_VARIABLE = "WORKBENCH_MEETING_FILE", "WORKBENCH_STARTED_BY"
SHARED_STAGES = {
    "annotated_scenes.extraction:extract_features",
    "workbench.diffusion.train:train_diffusion",
    "workbench.diffusion.sample:generate_features",
    "workbench.recognition.training:train_recogniser",
    "workbench.recognition.finetuning:finetune_recogniser",
    "workbench.recognition.rebalancing:rebalance_recogniser",
}
_LAST_LINES = 15


@contextlib.contextmanager
def environment_of(variables: dict[str, str]) -> Iterator[None]:
    """Within the block this process has the environment that those it starts shall inherit."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Processes:
    """The ``rank`` of this process among ``count``; alone unless a launcher said otherwise."""

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> "Processes":
        """Join the processes that a launcher started together (``WORLD_SIZE`` is set), or stand alone."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        import torch
        from accelerate import PartialState

        gpu, meeting = torch.cuda.is_available(), os.environ.get(_MEETING_VARIABLE)
        if meeting and not torch.distributed.is_initialized():
            place: dict[str, Any] = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
            # A store in a file: one on a port would listen on all interfaces.
            torch.distributed.init_process_group("nccl" if gpu else "gloo", init_method=f"file://{meeting}", **place)
        state = PartialState(cpu=not gpu)
        return cls(state.process_index, state.num_processes)

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes logs, checkpoints and manifests."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def shared_by_processes(build: Callable[..., dict | None]) -> Callable[..., dict | None]:
    """``build`` itself, or where several processes are asked for and it can share its work, a builder that starts them.

    The started processes cannot call back into this one: what watches a training here is left out, and what it would
    have shown stands in the stage's log.
    """
    name = f"{getattr(build, '__module__', '')}:{getattr(build, '__qualname__', '')}"
    count = os.environ.get(PROCESSES_VARIABLE) or "1"
    if not count.isdigit() or int(count) < 1:
        raise WorkbenchError(f"{PROCESSES_VARIABLE}={count}: expected a whole number above 0.")
    if int(count) == 1 or name not in SHARED_STAGES or "WORLD_SIZE" in os.environ:
        return build
    return functools.partial(_build_in_processes, name, int(count))


def threads_of(build: Callable[..., dict | None]) -> str:
    """The GPU and the CPU threads for ``build``: they decide the last bits of sums, and a GPU the noise of samples."""
    import torch

    gpu = f"{torch.cuda.get_device_name()} and " if torch.cuda.is_available() else ""
    if shared_by_processes(build) is build:
        return f"{gpu}{torch.get_num_threads()}"
    count = int(os.environ[PROCESSES_VARIABLE])
    return f"{count} processes of {gpu}{max(1, available_cores() // count)}"


def _build_in_processes(name: str, count: int, folder: Path, **parameters: Any) -> dict | None:
    """Call the builder ``module:function`` in ``count`` processes; returns what the first of them returned.

    SIGTERM is passed on, so that each saves its state. Raises the processes' own WorkbenchError or Stopped.
    """
    request = json.dumps({"build": name, "folder": str(folder), "parameters": as_json(parameters)})
    with temporary_folder() as place:
        path, messages = Path(place) / "request.json", Path(place) / "messages.txt"
        path.write_text(request, encoding="utf-8")
        command = [sys.executable, "-m", "workbench.launching", str(path)]
        with open(messages, "ab") as stderr, stop_on_sigterm() as stop:
            variables = [os.environ | _variables(rank, count, Path(place)) for rank in range(count)]
            starts = (functools.partial(subprocess.Popen, command, env=each, stderr=stderr) for each in variables)
            code = waited_for(starts, stop)
        answers = [read_json(path) for path in sorted(Path(place).glob("answer-*.json"))]
        last = "\n".join(messages.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    for error in filter(None, (answer["error"] for answer in answers)):
        kinds = {"Stopped": Stopped, "WorkbenchError": WorkbenchError}
        raise kinds.get(error["type"], RuntimeError)(error["text"])
    if code or not answers:
        what = f"{folder}: one of the {count} processes that share this stage ended with status {code}"
        raise WorkbenchError(f"{what}. What was finished is kept; run the same command again to continue.\n{last}")
    return answers[0]["metrics"]


def _variables(rank: int, count: int, place: Path) -> dict[str, str]:
    """The environment of one of ``count`` processes on this machine, which share its cores evenly."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    numbers |= {"OMP_NUM_THREADS": max(1, available_cores() // count), PROCESSES_VARIABLE: 1}
    names = {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback, _MEETING_VARIABLE: str(place / "meeting")}
    return {name: str(value) for name, value in (numbers | {_PARENT_VARIABLE: os.getpid()}).items()} | names


def as_json(parameters: dict[str, Any]) -> dict[str, Any]:
    """A builder's paths and configs as JSON, without what watches here; code is named by its import path."""
    values = {name: as_values(value) for name, value in parameters.items()}
    local = re.search(r'"(?:__main__:[^"]*|[^"]*<locals>[^"]*)"', json.dumps(values))
    if local:
        what = f"{local[0]}: several processes cannot share what a notebook's cell defines"
        remedy = "Move it to a module beside the notebook and import it, or run without --processes."
        raise WorkbenchError(f"{what}. {remedy}")
    return values


def from_json(build: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `as_json`, by the types of the builder's parameters."""
    kinds = typing.get_type_hints(build)
    return {name: checked_value(value, kinds.get(name, Any), name) for name, value in values.items()}


def main(request_path: str) -> int:
    """Build the stage of the request together with the other processes; returns the exit status."""
    if parent := os.environ.get(_PARENT_VARIABLE):  # none where it is started by hand
        end_with(int(parent))
    request = read_json(Path(request_path))
    rank = int(os.environ.get("RANK", "0"))
    if rank:  # the first process speaks for all
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    answer: dict[str, Any] = {"metrics": None, "error": None}
    try:
        Processes.current()  # before accelerate is asked who this process is
        build = imported(request["build"])
        answer["metrics"] = without_nan(build(Path(request["folder"]), **from_json(build, request["parameters"])))
    except Exception as error:
        ours = isinstance(error, WorkbenchError)
        answer["error"] = {"type": type(error).__name__, "text": str(error) if ours else traceback.format_exc()}
    write_json(Path(request_path).with_name(f"answer-{rank:05d}.json"), answer)
    return int(answer["error"] is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
