"""The engine of the grid: order, failures, deaths, a clean stop, and what it leaves behind."""

import importlib
import os
import signal
import sys
import threading
import time
from functools import partial

import pytest

from workbench.stopping import Stopped

PRETENDED = """
import os
import signal
import time

from workbench.errors import WorkbenchError
from workbench.stopping import Stopped, stop_on_sigterm

def pretend(folder, seed, key):
    if key == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if key == "broken":
        raise WorkbenchError("it is broken")
    if key == "long":
        with stop_on_sigterm() as stop:
            (folder / "begun").touch()
            while not stop.asked:
                time.sleep(0.05)
        (folder / "saved").touch()
        raise Stopped("its state is saved")
    (folder / key).write_text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}")
"""


@pytest.fixture
def worked(tmp_path, monkeypatch):
    """Works through jobs by key in worker processes, which import a module that pretends; failures and outcomes."""
    from workbench.tables.engine import work_through  # Dask takes a second that collecting the tests need not wait for

    (tmp_path / "pretended_work.py").write_text(PRETENDED)
    monkeypatch.syspath_prepend(tmp_path)
    pretend = importlib.import_module("pretended_work").pretend

    def work(needs: dict[str, list[str]], **options):
        jobs = {(0, key): [(0, other) for other in others] for key, others in needs.items()}
        outcomes = []
        options = {"processes": 2} | options
        failures = work_through(jobs, partial(pretend, tmp_path), lambda job, *_: outcomes.append(job[1]), **options)
        return {key: reason for (_, key), reason in failures.items()}, outcomes

    yield work
    sys.modules.pop("pretended_work")


def test_jobs_wait_for_what_they_need_and_failures_stay_with_their_rows(tmp_path, worked):
    before = dict(os.environ)
    needs = {"a": [], "broken": ["a"], "after": ["broken"], "last": ["after"], "b": ["a"], "c": ["b"], "d": ["b", "c"]}
    failures, outcomes = worked(needs)
    assert failures["broken"] == "it is broken" and failures.keys() == {"broken", "after", "last"}
    assert failures["last"] == "needs after, which failed: needs broken, which failed: it is broken"
    assert set(outcomes) == {"a", "b", "broken", "c", "d"}
    assert outcomes.index("a") < outcomes.index("b") < outcomes.index("c") < outcomes.index("d")
    written = [(tmp_path / key).read_text().split() for key in "abcd"]
    assert {threads for _, threads in written} == {"1"} and str(os.getpid()) not in dict(written)
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_worker_that_dies_takes_no_other_job_with_it(worked):
    failures, outcomes = worked({"a": [], "deadly": [], "b": ["a"], "c": ["deadly"], "d": ["a"], "e": ["b", "d"]})
    assert failures.keys() == {"deadly", "c"} and "out of memory" in failures["deadly"]
    assert set(outcomes) == {"a", "b", "d", "deadly", "e"}


@pytest.mark.slow
def test_a_stop_waits_until_states_are_saved(tmp_path, worked):
    def stop_soon():
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_soon).start()
    with pytest.raises(Stopped, match="again to resume"):
        worked({"long": [], "next": ["long"]}, processes=1)
    assert (tmp_path / "saved").exists() and not (tmp_path / "next").exists()


@pytest.mark.slow
def test_the_workers_of_a_scheduler_are_used(tmp_path, worked):
    from distributed import LocalCluster

    options = {"memory_limit": 0, "dashboard_address": ":0", "env": {"OMP_NUM_THREADS": "1"}}
    with LocalCluster(n_workers=1, threads_per_worker=1, **options) as there:
        failures, outcomes = worked({"a": [], "b": ["a"]}, scheduler=there.scheduler_address)
    assert not failures and outcomes == ["a", "b"]
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()  # one warm worker
