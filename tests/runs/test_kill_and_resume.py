"""A process killed inside a stage, and two processes at the same stage."""

import os
import signal
import subprocess
import sys

import pytest

from tests.runs.conftest import wait_until
from workbench.stages import Run

STEPS = 6
SCRIPT = f"""
import sys, time
from workbench.stages import Run

def build(folder, seed):
    done = sorted(folder.glob("step-*.txt"))
    for step in range(len(done), {STEPS}):
        time.sleep(float(sys.argv[2]))
        (folder / f"step-{{step}}.txt").write_text(str(seed * 1000 + step))
    return {{"sum": sum(int(path.read_text()) for path in folder.glob("step-*.txt"))}}

print(Run.open("trial", root=sys.argv[1]).stage("training", build, seed=7).metrics["sum"], flush=True)
"""


def start(root, seconds):
    # Unbuffered: what a killed or waiting process printed is read while it still runs.
    command = [sys.executable, "-u", "-c", SCRIPT, str(root), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "manifest.json"}


@pytest.mark.parametrize("steps", [0, 2])
def test_a_killed_stage_leaves_nothing_finished_and_goes_on_to_the_same_result(tmp_path, steps):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert start(alone, 0).communicate()[0].endswith("42015\n")
    process = start(killed, 0.2)
    partial = killed / "data/runs/trial/training/.default.partial"
    wait_until(lambda: (partial / "request.json").exists() and len(list(partial.glob("step*"))) >= steps)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "data/runs/trial/training/default").exists()
    again = start(killed, 0).communicate()[0]
    assert "resuming where an earlier attempt stopped" in again and again.endswith("42015\n")
    one, two = (Run.open("trial", root=root).find("training") for root in (alone, killed))
    assert contents(one.folder) == contents(two.folder) and one.identity == two.identity and one.metrics == two.metrics


def test_a_second_process_waits_and_loads(tmp_path):
    first = start(tmp_path, 1)  # a second for each step: another process takes some to start
    wait_until(lambda: (tmp_path / "data/runs/trial/training/.default.partial/request.json").exists())
    second = start(tmp_path, 0)
    told = second.communicate(timeout=60)[0]
    assert f"process {first.pid}" in told and "loaded" in told and told.endswith("42015\n")
    assert first.communicate()[0].endswith("42015\n")
