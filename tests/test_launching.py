"""Stages that several processes build together."""

import dataclasses
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.refusals import refused
from workbench import launching, stopping
from workbench.errors import WorkbenchError
from workbench.launching import PROCESSES_VARIABLE, SHARED_STAGES, as_json, from_json, shared_by_processes
from workbench.recognition.config import RecogniserConfig
from workbench.recognition.lsvru import LsvruHead
from workbench.recognition.recogniser import RECOGNISERS
from workbench.recognition.training import train_recogniser
from workbench.stages import Run
from workbench.stopping import Stopped, StopRequest, waited_for
from workbench.training_config import TrainingConfig, TrainingEdge

BUILDER = """
import os
from pathlib import Path
from workbench.errors import WorkbenchError
from workbench.launching import Processes
from workbench.training_config import TrainingConfig, TrainingEdge

def build(folder: Path, *, source: Path, config: TrainingConfig, edge: TrainingEdge):
    processes = Processes.current()
    if not source.exists():
        raise WorkbenchError(f"{source}: there is no such file.")
    (folder / f"part-{processes.rank}.txt").write_text(f"{processes.count} {config.betas}")
    import psutil

    sockets = [socket for socket in psutil.Process().net_connections() if socket.status == "LISTEN"]
    (folder / f"heard-{processes.rank}.txt").write_text(" ".join(socket.laddr.ip for socket in sockets))
    processes.wait()
    return {"parts": len(list(folder.glob("part-*.txt"))), "nan": float("nan")}
"""


@pytest.fixture
def shared_builder(tmp_path, monkeypatch):
    """A builder in a module of its own that two processes share."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "shared_builder.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'code'}:{Path(launching.__file__).parents[1]}")
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    monkeypatch.setattr(launching, "SHARED_STAGES", {"shared_builder:build"})
    return importlib.import_module("shared_builder").build


def given(source, **more):
    edge = TrainingEdge(device="cpu", on_log=Watch())
    return {"source": source, "config": TrainingConfig(betas=(0.5, 0.9)), "edge": edge} | more


class Watch:
    """What looks at a training in a notebook."""

    WITHOUT_INFLUENCE = True


def test_parameters_survive_the_way_to_another_process(shared_builder):
    value = given(Path("/a/b"))
    back = from_json(shared_builder, json.loads(json.dumps(as_json(value))))
    assert back == value | {"edge": TrainingEdge(device="cpu")}
    config = RecogniserConfig(architecture=LsvruHead, word_vectors=Path("/c"), epochs=3)
    assert as_json({"config": config})["config"]["architecture"] == f"{LsvruHead.__module__}:LsvruHead"
    back = from_json(train_recogniser, json.loads(json.dumps(as_json({"config": config}))))["config"]
    assert RECOGNISERS.resolve(back.architecture) is LsvruHead
    assert dataclasses.replace(back, architecture=LsvruHead) == config


def test_code_of_a_cell_cannot_go_there():
    class Own(LsvruHead):
        pass

    with pytest.raises(WorkbenchError, match=r"Own.*Move it to a module"):
        as_json({"config": RecogniserConfig(architecture=Own)})


@pytest.mark.parametrize("name", sorted(SHARED_STAGES))
def test_every_shared_stage_is_there(name):
    module, _, function = name.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_only_stages_that_can_share_their_work_are_launched(shared_builder, monkeypatch):
    assert shared_by_processes(shared_builder) is not shared_builder and shared_by_processes(print) is print
    monkeypatch.setenv("WORLD_SIZE", "2")  # one of several processes already
    assert shared_by_processes(shared_builder) is shared_builder
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv(PROCESSES_VARIABLE)
    assert shared_by_processes(shared_builder) is shared_builder


@pytest.mark.parametrize("text", ["0", "two", "-1"])
def test_a_wrong_number_of_processes_is_refused(monkeypatch, text):
    monkeypatch.setenv(PROCESSES_VARIABLE, text)
    refused(PROCESSES_VARIABLE, shared_by_processes, print)


@pytest.mark.slow
def test_two_processes_build_a_stage_together_and_their_error_arrives_as_it_is(shared_builder, tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("rows")
    stage = Run.open("shared", root=tmp_path).stage("parts", shared_builder, **given(source))
    assert stage.metrics == {"parts": 2, "nan": None} and (stage / "part-1.txt").read_text() == "2 (0.5, 0.9)"
    assert {ip for rank in (0, 1) for ip in (stage / f"heard-{rank}.txt").read_text().split()} <= {"127.0.0.1"}
    with pytest.raises(WorkbenchError, match="nowhere: there is no such file") as error:
        shared_by_processes(shared_builder)(tmp_path, **given(tmp_path / "nowhere"))
    assert not isinstance(error.value, Stopped)


def test_a_process_ends_when_the_one_that_started_it_is_killed(tmp_path):
    child = "import sys, time; from workbench.stopping import end_with as e; e(int(sys.argv[1])); print(1, flush=True)"
    child += "; time.sleep(60)"
    parent = "import os, subprocess, sys\n"
    parent += f"subprocess.run([sys.executable, '-c', {child!r}, str(os.getpid())])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.kill()
    assert process.stdout.read() == b""  # returns once nobody holds the other end


def test_where_one_process_fails_the_others_are_ended(monkeypatch):
    monkeypatch.setattr(stopping, "SECONDS_AFTER_FAILURE", 0.1)
    commands = ["import time; time.sleep(60)", "raise SystemExit(3)"]
    starts = [lambda command=command: subprocess.Popen([sys.executable, "-c", command]) for command in commands]
    started = time.monotonic()
    assert waited_for(starts, StopRequest()) == 3 and time.monotonic() < started + 30
