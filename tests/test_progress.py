"""Logged lines arrive as curves, also after work was gone on with."""

import importlib.util

import pytest

from workbench.errors import WorkbenchError
from workbench.progress import TRACKERS, tracked


def test_tensorboard_reads_what_was_logged_and_what_came_after_a_kill(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, last in ((0, 5), (3, 8)):  # killed at 5, gone on with from a state of step 3
        with tracked("tensorboard", tmp_path, "denoiser", first) as log:
            for step in range(first + 1, last + 1):
                log({"loss": step + first / 10, "broken": float("nan"), "name": "text"}, step)
    events = EventAccumulator(str(tmp_path / "tracking" / "denoiser"))
    events.Reload()
    points = {event.step: event.value for event in events.Scalars("loss")}
    assert points == pytest.approx({1: 1, 2: 2, 3: 3, 4: 4.3, 5: 5.3, 6: 6.3, 7: 7.3, 8: 8.3})
    assert events.Tags()["scalars"] == ["loss"]


def test_no_tracker_writes_nothing(tmp_path):
    with tracked("", tmp_path, "denoiser") as log:
        log({"loss": 1.0}, 1)
    assert not list(tmp_path.iterdir())


def test_unknown_trackers_and_missing_packages_are_named(tmp_path, monkeypatch):
    with pytest.raises(WorkbenchError, match="tracker 'wandb' is not known"), tracked("wandb", tmp_path, "denoiser"):
        pass
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for kind in TRACKERS[1:]:
        with pytest.raises(WorkbenchError, match=f"pip install {kind}"), tracked(kind, tmp_path, "denoiser"):
            pass
