"""Running notebooks: the record, what is kept after a failure, and what is not done twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.runs.conftest import wait_until
from workbench.errors import WorkbenchError
from workbench.folders import Replace
from workbench.locks import only_one
from workbench.runs import notebooks
from workbench.runs.execution import environment
from workbench.runs.kernels import OwnKernels
from workbench.runs.notebooks import NotebookFailed, run_profile
from workbench.runs.run_records import RunRecord


def record_of(project):
    return RunRecord.read(project / "reports" / "toy")


def states(project):
    return {name: entry.status for name, entry in record_of(project).notebooks.items()}


def is_running(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_run_leaves_notebooks_pages_metrics_and_a_record_and_goes_on_after_failures(toy_project, capfd):
    with pytest.raises(NotebookFailed, match="3 rows, expected 4") as failed:
        run_profile("toy", parameters={"end": "ours"})
    assert "KeyError" not in str(failed.value) and "02_finish.ipynb" in str(failed.value)
    assert "Traceback" not in str(failed.value) and failed.value.exit_code == 1
    assert states(toy_project) == {"01_count": "done", "02_finish": "failed"}
    folder = toy_project / "reports" / "toy"
    assert "3 rows, expected 4" in (folder / "02_finish.html").read_text()

    assert run_profile("toy", only=["02"]) == folder and "rows: 7" in capfd.readouterr().out
    assert states(toy_project) == {"01_count": "done", "02_finish": "done"}
    names = {"01_count.ipynb", "01_count.html", "02_finish.ipynb", "02_finish.html", "index.html", "metrics.json"}
    assert names < {path.name for path in folder.iterdir()}
    assert json.loads((folder / "metrics.json").read_text()) == {"01_count": {"headline": {"rows": 7}, "none": None}}
    entry = record_of(toy_project).notebooks["01_count"]
    assert entry.parameters == {"run_name": "toy", "seed": 4, "lr": 0.001}
    assert entry.seconds > 0 and entry.peak_memory_mb > 10 and (toy_project / "built.log").read_text() == "counts\n"

    left = [folder / ".01_count.ipynb", folder / ".run.4711.json", toy_project / "data/runs/toy/metrics/.02.4711.json"]
    for path in left:
        path.touch()
        os.utime(path, (0, 0))
    assert run_profile("toy", only=["02"]) == folder and not any(path.exists() for path in left)

    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    with pytest.raises(NotebookFailed, match=r"01_count: counts/default is complete.*\n.*seed: 4 -> 5"):
        run_profile("toy", only=["01"], parameters={"seed": 5})
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before
    run_profile("toy", only=["01"], parameters={"seed": 5}, replace=Replace.CHANGED)
    assert (toy_project / "built.log").read_text() == "counts\ncounts\n"
    assert nbformat.read(folder / "01_count.ipynb", 4).metadata.papermill.parameters["seed"] == 5


@pytest.mark.slow
def test_a_dead_kernel_is_told_and_another_error_shows_its_place(toy_project):
    (toy_project / "notebooks" / "params" / "toy.yml").write_text("notebooks: [02_finish]\nrun: toy\n")
    with pytest.raises(NotebookFailed, match="out of memory") as failed:
        run_profile("toy", parameters={"end": "dead"})
    assert failed.value.exit_code == 138 and states(toy_project) == {"02_finish": "dead kernel"}
    with pytest.raises(NotebookFailed, match=r"KeyError in cell \d+: 'rows'") as failed:
        run_profile("toy", parameters={"end": "other"})
    assert failed.value.exit_code == 1 and "toy_stages.py" in str(failed.value)
    assert len(str(failed.value).splitlines()) < 20


def test_the_kernel_is_this_interpreter_whatever_stands_on_jupyters_path(toy_project, monkeypatch, tmp_path):
    foreign = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text(json.dumps({"argv": ["/bin/false", "{connection_file}"], "display_name": "a", "language": "R"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.chdir(toy_project / "notebooks")
    before = {path.name for path in Path().iterdir()}
    run_profile("toy", only=["01"])
    assert states(toy_project) == {"01_count": "done"}
    assert {path.name for path in Path().iterdir()} - {"__pycache__"} == before
    assert OwnKernels().find_kernel_specs().keys() == {"python3"}
    command = OwnKernels().get_kernel_spec("python3").argv
    assert command[0] == sys.executable and "--log-level=CRITICAL" in command  # each is interrupted at its end


def test_a_wrong_parameter_is_refused_before_a_kernel_starts(toy_project, monkeypatch):
    monkeypatch.setattr(notebooks, "execute", lambda *a: pytest.fail("a notebook was started"))
    for parameters in ({"sead": "1"}, {"seed": "a"}, {"02.flags": "[a]"}):
        with pytest.raises(WorkbenchError):
            run_profile("toy", parameters=parameters)
    assert not (toy_project / "reports").exists()


def test_the_same_run_is_not_run_twice_at_once(toy_project):
    with (
        only_one(toy_project / "reports" / "toy" / ".lock", "held", wait=False),
        pytest.raises(WorkbenchError, match=rf"'toy' is running already \(process {os.getpid()}\)"),
    ):
        run_profile("toy")


def begun_run(project: Path, wait: str) -> tuple[subprocess.Popen, int]:
    """A run of the first notebook that does ``wait`` in its stage, and its kernel, which has come so far."""
    stages = project / "notebooks" / "toy_stages.py"
    tell = 'open(os.environ["WORKBENCH_HOME"] + "/pid", "w").write(str(os.getpid()))'
    stages.write_text(stages.read_text().replace('    (folder / "rows.txt")', wait.format(tell=tell)))
    command = [sys.executable, "-m", "workbench", "run", "--profile", "toy", "--only", "01"]
    runner = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (project / "pid").exists() and (project / "pid").read_text())
    return runner, int((project / "pid").read_text())


SLEEP = '    {tell}\n    import time; time.sleep(60)\n    (folder / "rows.txt")'
LOOP = """    from workbench.stopping import Stopped, stop_on_sigterm
    import time
    with stop_on_sigterm() as stop:
        {tell}
        for step in range(1200):
            time.sleep(0.05)
            if stop.asked:
                (folder / "state.txt").write_text(str(step))
                raise Stopped("the state is saved; the same command goes on")
    (folder / "rows.txt")"""


@pytest.mark.slow
def test_a_killed_runner_takes_its_kernel_along(toy_project):
    runner, kernel = begun_run(toy_project, SLEEP)
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    wait_until(lambda: not is_running(kernel))
    assert states(toy_project) == {"01_count": "running"}
    assert not (toy_project / "data/runs/toy/counts/default").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("wait", "told"), [(LOOP, "the state is saved"), (SLEEP, "SIGTERM")], ids=["looks", "sleeps"])
def test_sigterm_ends_a_run_cleanly(toy_project, wait, told):
    runner, kernel = begun_run(toy_project, wait)
    runner.terminate()
    assert told in runner.communicate(timeout=60)[1] and runner.returncode == 128 + signal.SIGTERM
    assert not is_running(kernel) and states(toy_project) == {"01_count": "stopped"}
    assert (toy_project / "data/runs/toy/counts/.default.partial/state.txt").exists() == (wait is LOOP)


def test_the_environment_of_a_notebook(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    variables = environment(tmp_path, replace=Replace.CHANGED)
    assert variables["WORKBENCH_HEADLESS"] == "1" and variables["TQDM_MININTERVAL"] == "30"
    assert variables["WORKBENCH_REPLACE"] == "1" and "WORKBENCH_REPLACE" not in environment(tmp_path)
    assert int(variables["OMP_NUM_THREADS"]) >= 1 and variables["MKL_NUM_THREADS"] == "1"
    assert variables["WORKBENCH_HOME"] == str(tmp_path)
