"""A fit that is killed or stopped anywhere goes on to the same bits."""

import os
import signal

import numpy as np
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.recognition import stored_features
from workbench.recognition.batches import BalancedBatches, RealBatches
from workbench.recognition.fit_plan import FitPlan
from workbench.recognition.fitting import fit
from workbench.recognition.heads import new_head
from workbench.recognition.mixed_batches import MixedBatches
from workbench.recognition.objective import Objective, ObjectivePlan
from workbench.recognition.prediction import validation_of
from workbench.recognition.scene_features import ImageScenes, OwnScenes
from workbench.recognition.stored_features import FeatureRows
from workbench.recognition.training import class_vectors
from workbench.regions.feature_store import FeatureStore
from workbench.regions.generated_features import GeneratedFeatures
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES
from workbench.stopping import Stopped

SIZES = {"width": 16, "heads": 2, "memory": 4, "scene_hidden": 16, "block_hidden": 16}
KINDS = ("rows", "blocks", "balanced", "mixed")


class Killed(BaseException):
    pass


def interrupted(monkeypatch, at_step, interrupt):
    """Call ``interrupt`` in the objective of a step."""
    honest = Objective.__call__

    def told(self, head, visual, logits, targets, step):
        if step == at_step:
            interrupt()
        return honest(self, head, visual, logits, targets, step)

    monkeypatch.setattr(Objective, "__call__", told)


def kill():
    raise Killed


@pytest.fixture
def fitted(small_data, monkeypatch):
    """Fit a small head with dropout to batches of a kind; returns what `fit` does."""

    def run(kind, state, *, seconds_within_epochs=1e9, **changes):
        store = FeatureStore.open(small_data.features / "train")
        if kind == "blocks":
            monkeypatch.setattr(stored_features, "BYTES_PER_WINDOW", 70 * 3 * store.dimension * 2)
        rows = FeatureRows(store, "train", memory_gigabytes=0.0 if kind == "blocks" else 1.0)
        assert rows.by_blocks == (kind == "blocks")
        reads_scenes = kind == "mixed"
        source = RealBatches(rows, 75, 0) if kind != "balanced" else BalancedBatches(rows, 225, 0)
        if kind == "mixed":
            made = FeatureRows(GeneratedFeatures.open(small_data.generated, store), "made")
            everything = {role: np.ones(len(made), bool) for role in ROLES}
            source = MixedBatches(made, rows, everything, batch_size=75, real_share=0.4, seed=0,
                                  scenes=(OwnScenes(made), ImageScenes(rows)))  # fmt: skip
        counts = count_classes(store.relations, small_data.vocabulary)
        vectors, _ = class_vectors(small_data.text, small_data.vocabulary, "", "clean")
        architecture, sizes = ("reltransformer", SIZES) if reads_scenes else ("lsvru", {})
        head = new_head(architecture, store.dimension, vectors, 0, sizes={"hidden": 16} | sizes)
        plan = FitPlan(**{"epochs": 2, "batch_size": 75, "learning_rate": 3e-3, "seed": 0, **changes})
        validation = validation_of(FeatureRows(FeatureStore.open(small_data.features / "val"), "val"), counts, False)
        objective = Objective(ObjectivePlan("wce", vilhub_scale=0.05, relmix="clean"), counts, 0)
        return fit(head, source, objective, validation, plan, state, seconds_within_epochs=seconds_within_epochs)

    return run


def assert_same(one, other):
    assert [{**entry, "seconds": 0} for entry in one.log] == [{**entry, "seconds": 0} for entry in other.log]
    assert (one.best_epoch, one.best) == (other.best_epoch, other.best)
    assert all(torch.equal(value, other.best_weights[name]) for name, value in one.best_weights.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_killed_within_an_epoch_ends_with_the_same_weights(fitted, tmp_path, monkeypatch, kind):
    whole = fitted(kind, tmp_path / "whole.safetensors")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupted(patch, 6, kill)
        fitted(kind, tmp_path / "killed.safetensors", seconds_within_epochs=0.0)
    assert (tmp_path / "killed.safetensors").exists()
    assert_same(whole, fitted(kind, tmp_path / "killed.safetensors"))


@pytest.mark.parametrize("kind", KINDS)
def test_sigterm_keeps_the_state_at_the_next_step(fitted, tmp_path, monkeypatch, kind):
    whole = fitted(kind, tmp_path / "whole.safetensors")
    state, before = tmp_path / "stopped.safetensors", signal.getsignal(signal.SIGTERM)
    for at_step in (2, 6):
        with (
            monkeypatch.context() as patch,
            pytest.raises(Stopped, match=r"stopped after epoch \d( and \d steps)?\. The"),
        ):
            interrupted(patch, at_step, lambda: os.kill(os.getpid(), signal.SIGTERM))
            fitted(kind, state)
    assert signal.getsignal(signal.SIGTERM) == before
    assert_same(whole, fitted(kind, state))


def test_no_state_is_written_within_an_epoch_before_its_time(fitted, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupted(patch, 3, kill)
        fitted("rows", tmp_path / "state.safetensors")
    assert not (tmp_path / "state.safetensors").exists()


def test_a_state_of_other_work_is_refused(fitted, tmp_path, monkeypatch):
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupted(patch, 3, kill)
        fitted("rows", state, seconds_within_epochs=0.0)
    for kind, changes in (("rows", {"learning_rate": 1.0}), ("blocks", {}), ("balanced", {}), ("mixed", {})):
        with pytest.raises(WorkbenchError, match="belongs to a fit with other parameters"):
            fitted(kind, state, **changes)
