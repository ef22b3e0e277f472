"""Simulated stores: rows are functions of seed and row, signed, of unit variance, and tell the classes apart."""

import numpy as np
import pytest

from tests.regions.conftest import write_small_scenes
from tests.scale import features as simulated_features
from tests.scale.features import SimulatedFeatures, simulate_features
from workbench.errors import WorkbenchError
from workbench.regions.features import FeatureStore
from workbench.scenes.annotations import read_annotations


@pytest.fixture(scope="module")
def small_scenes(tmp_path_factory):
    return write_small_scenes(tmp_path_factory.mktemp("small") / "scenes", {"train": 23, "val": 7, "test": 5})


@pytest.fixture
def store_rows(small_scenes, tmp_path):
    def make(name, **options):
        rows = simulate_features(tmp_path / name, annotations=small_scenes, dimension=32, **options)
        return rows, {split: FeatureStore.open(tmp_path / name / split) for split in ("train", "val", "test")}

    return make


def test_stores_fit_the_annotations(store_rows, small_scenes):
    rows, stores = store_rows("stores")
    for split, store in stores.items():
        annotations = read_annotations(small_scenes, split)
        assert rows[split] == {"boxes": len(annotations.boxes), "unions": len(annotations.relations)}
        assert store.dimension == 32 and store.support == "signed" and len(store) == len(annotations.relations)
        unions = store.union(np.arange(len(store)))
        assert (unions < 0).any() and (unions > 0).any()
        assert not np.array_equal(unions, store.subject(np.arange(len(store))))


def test_rows_do_not_depend_on_the_pieces_in_which_they_are_written(store_rows, monkeypatch):
    _, whole = store_rows("whole")
    monkeypatch.setattr(simulated_features, "ROWS_PER_CHUNK", 7)
    monkeypatch.setattr(simulated_features, "ROWS_PER_FLUSH", 14)
    _, pieces = store_rows("pieces")
    _, other = store_rows("other", seed=1)
    for split in whole:
        every = np.arange(len(whole[split]))
        assert np.array_equal(whole[split].union(every), pieces[split].union(every))
        assert not np.array_equal(whole[split].union(every), other[split].union(every))


def test_a_killed_call_goes_on_and_finished_stores_stay(store_rows, tmp_path, monkeypatch):
    _, whole = store_rows("whole")
    monkeypatch.setattr(simulated_features, "ROWS_PER_CHUNK", 4)
    monkeypatch.setattr(simulated_features, "ROWS_PER_FLUSH", 8)
    unions, calls = SimulatedFeatures.unions, []

    def killed(self, rows, *classes):
        calls.append(int(rows[0]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return unions(self, rows, *classes)

    monkeypatch.setattr(SimulatedFeatures, "unions", killed)
    with pytest.raises(KeyboardInterrupt):
        store_rows("cut")
    _, cut = store_rows("cut")
    assert calls[4] == 8  # flushed before the kill, so not written again
    every = np.arange(len(whole["train"]))
    assert np.array_equal(whole["train"].union(every), cut["train"].union(every))
    assert np.array_equal(whole["train"].subject(every), cut["train"].subject(every))
    count = len(calls)
    store_rows("cut")
    assert len(calls) == count


def test_sparse_stores_have_the_shape_and_hold_zeros(store_rows):
    _, stores = store_rows("holes", sparse=True)
    assert not stores["train"].union(np.arange(len(stores["train"]))).any()


def test_features_are_standardised_and_nearest_to_their_class():
    features = SimulatedFeatures(objects=20, relations=5, dimension=512, seed=2)
    random = np.random.default_rng(0)
    rows, labels = np.arange(2000), random.integers(0, 20, 2000)
    boxes = features.boxes(rows, labels).astype(np.float32)
    assert boxes.dtype == np.float32 and abs(boxes.mean()) < 0.05 and abs(boxes.std() - 1) < 0.05
    assert len(np.unique(boxes, axis=0)) == 2000
    means = np.stack([boxes[labels == label].mean(axis=0) for label in range(20)])
    fresh = features.boxes(rows + 5000, labels).astype(np.float32)
    assert (np.argmin(((fresh[:, None] - means) ** 2).sum(axis=2), axis=1) == labels).mean() > 0.99
    relation = random.integers(0, 5, 2000)
    unions = features.unions(rows, labels, relation, labels[::-1]).astype(np.float32)
    means = np.stack([unions[relation == label].mean(axis=0) for label in range(5)])
    assert (np.argmin(((unions[:, None] - means) ** 2).sum(axis=2), axis=1) == relation).mean() > 0.9


def test_the_dimension_is_checked():
    with pytest.raises(WorkbenchError, match="multiple of 16"):
        SimulatedFeatures(objects=3, relations=2, dimension=20)
