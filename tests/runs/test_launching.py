"""Stages that several processes build together."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from workbench.diffusion.sampling import generate_features
from workbench.errors import WorkbenchError
from workbench.runs.launching import PROCESSES_VARIABLE, as_json, build_in_processes, from_json, shared_by_processes
from workbench.stopping import Stopped


def test_parameters_survive_the_way_to_another_process():
    given = {"features": Path("/a/b"), "rates": [1e-5, 3e-4], "sizes": {"width": 8, "at": Path("c")}, "loss": "ce"}
    assert from_json(as_json(given)) == given


def test_only_stages_that_can_share_their_work_are_launched(monkeypatch):
    monkeypatch.delenv(PROCESSES_VARIABLE, raising=False)
    assert shared_by_processes(generate_features) is generate_features
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    assert shared_by_processes(generate_features) is not generate_features
    assert shared_by_processes(partial(generate_features, callback=print)) is not generate_features
    assert shared_by_processes(np.sum) is np.sum
    monkeypatch.setenv("WORLD_SIZE", "2")  # one of several processes already
    assert shared_by_processes(generate_features) is generate_features


@pytest.mark.parametrize("text", ["0", "two", "-1"])
def test_a_wrong_number_of_processes_is_refused(monkeypatch, text):
    monkeypatch.setenv(PROCESSES_VARIABLE, text)
    with pytest.raises(WorkbenchError, match=PROCESSES_VARIABLE):
        shared_by_processes(generate_features)


def test_an_error_of_the_processes_arrives_with_its_own_text(tmp_path):
    missing = tmp_path / "nowhere"
    parameters = dict.fromkeys(("features", "text", "triplets", "diffusion"), missing)
    with pytest.raises(WorkbenchError, match="nowhere") as error:
        build_in_processes("workbench.diffusion.sampling:generate_features", tmp_path / "out", parameters, 2)
    assert not isinstance(error.value, Stopped)
