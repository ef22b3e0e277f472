"""Rows of a store on disk are drawn in blocks, by (seed, step) alone."""

import itertools

import numpy as np
import pytest
import torch

from workbench.diffusion import training_order, training_rows
from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.training import CHECKPOINT, read_log, train_diffusion
from workbench.diffusion.training_batches import TrainingBatches
from workbench.diffusion.training_order import BlockRows, SingleRows, chosen_order
from workbench.diffusion.training_rows import StoreFeatures
from workbench.errors import WorkbenchError
from workbench.regions.feature_store import FeatureStore

CPU = torch.device("cpu")
OPTIONS = {"width": 16, "heads": 2, "blocks": 1, "token_width": 8, "batch_size": 32, "steps": 60, "seed": 1}


class Killed(Exception):
    """Stands in for a kill: nothing catches it."""


def killed(line):
    raise Killed


def weights(folder):
    return DenoiserCheckpoint.load(folder / CHECKPOINT, "cpu").model.state_dict()


@pytest.fixture
def store(small_features):
    return FeatureStore.open(small_features["features"] / "train")


@pytest.mark.parametrize("shares", [(32,), (12, 20), (8, 8, 8, 8)])
@pytest.mark.parametrize("window", [64, 1000])
def test_shares_of_a_batch_are_the_batch_whatever_was_asked_before(shares, window, monkeypatch):
    monkeypatch.setattr(training_order, "ROWS_PER_WINDOW", window)
    draw = np.random.default_rng(0)
    features, rates = draw.standard_normal((150, 5)).astype(np.float32), draw.random(150)
    bounds = np.cumsum([0, *shares])
    owns = [slice(int(first), int(last)) for first, last in itertools.pairwise(bounds)]
    whole = BlockRows(features, rates, 32, slice(0, 32), seed=3, device=CPU)
    parts = [BlockRows(features, rates, 32, own, seed=3, device=CPU) for own in owns]
    for step in (0, 1, 2, 7, 40, 3):  # in order, ahead, and back
        numbers, values = whole.batch(step)
        assert len(numbers) == 32
        np.testing.assert_array_equal(values.numpy(), features[numbers])
        found = [part.batch(step) for part in parts]
        np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), numbers)
        np.testing.assert_array_equal(torch.cat([part for _, part in found]).numpy(), values.numpy())
    for order in (whole, *parts):
        order.close()


def test_rows_come_at_their_rates():
    rates = np.random.default_rng(0).random(40) + 0.1
    order = BlockRows(np.zeros((40, 1), dtype=np.float32), rates, 32, slice(0, 32), seed=0, device=CPU)
    drawn = np.concatenate([order.batch(step)[0] for step in range(2000)])
    order.close()
    np.testing.assert_allclose(np.bincount(drawn, minlength=40) / len(drawn), rates / rates.sum(), atol=0.003)


def test_single_rows_are_the_batches_own():
    features, batches = np.arange(60.0).reshape(20, 3), TrainingBatches(0, 8, np.ones(20), 1000)
    numbers, values = SingleRows(features, batches, slice(2, 6), CPU).batch(4)
    np.testing.assert_array_equal(numbers, batches.rows(4)[2:6])
    np.testing.assert_array_equal(values.numpy(), features[numbers].astype(np.float32))


def test_the_order_follows_where_the_features_lie(store):
    on_disk = StoreFeatures(store, np.arange(3))
    assert chosen_order("auto", on_disk) == "blocks" and chosen_order("auto", np.zeros((2, 2))) == "rows"
    assert chosen_order("rows", on_disk) == "rows" and chosen_order("blocks", np.zeros((2, 2))) == "blocks"
    with pytest.raises(WorkbenchError, match="order 'shuffled' is not known"):
        chosen_order("shuffled", on_disk)


def test_rows_of_unions_and_boxes_are_the_stores(store):
    boxes = np.array([5, 1, 400])
    features, n = StoreFeatures(store, boxes), len(store)
    expected = np.concatenate([store.union(np.arange(n)), store.box(boxes)])
    for rows in (np.arange(n + 3), np.array([n + 2, 0, n]), np.array([4, 2]), np.array([n + 1])):
        np.testing.assert_array_equal(features[rows], expected[rows])
        half = features.half_precision(rows)
        np.testing.assert_array_equal(half.astype(np.float32), expected[rows])
        assert half.dtype == np.float16


@pytest.mark.parametrize("entities", ["seed", "generated"])
def test_a_store_on_disk_trains_and_goes_on_to_the_same_bits(small_features, tmp_path, monkeypatch, entities):
    monkeypatch.setattr(training_rows, "LARGEST_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr(training_order, "ROWS_PER_WINDOW", 256)
    options = OPTIONS | {"entity_features": entities, "tracker": "tensorboard", "accumulation": 2}
    metrics = train_diffusion(tmp_path / "alone", **small_features, **options)
    with pytest.raises(Killed):
        train_diffusion(tmp_path / "killed", **small_features, **options, callback=killed, checkpoint_seconds=0.0)
    train_diffusion(tmp_path / "killed", **small_features, **options)
    alone, resumed = weights(tmp_path / "alone"), weights(tmp_path / "killed")
    assert all(torch.equal(alone[name], resumed[name]) for name in alone)
    log = read_log(tmp_path / "killed")
    assert metrics["loss"] == log[-1]["loss"] and (tmp_path / "alone" / "tracking").is_dir()
    with pytest.raises(WorkbenchError, match="another order"):
        train_diffusion(tmp_path / "killed", **small_features, **options, order="rows")
