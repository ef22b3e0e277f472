"""Writing a feature store: across kills, with holes, and nothing that cannot be read back."""

import errno
import os

import numpy as np
import pytest

from tests.refusals import refused
from tests.synthetic import folder_bytes, long_tailed, split_writer
from workbench.files import sha256_of_file
from workbench.regions.feature_file import rows_not_finite
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import FeatureStore

TABLE = long_tailed(30)


def random_features(writer, seed=0):
    """Float16, so that a store holds them exactly."""
    draw = np.random.default_rng(seed)
    return {name: draw.standard_normal(shape).astype(np.float16) for name, shape in writer.arrays.items()}


def written(folder):
    writer = split_writer(folder, TABLE)
    for name, features in random_features(writer).items():
        writer.write(name, 0, features)
    writer.finish()
    return folder


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_resumes_to_the_same_bytes(tmp_path, seed):
    random, whole = np.random.default_rng(seed), written(tmp_path / "whole")
    writer = split_writer(tmp_path / "killed", TABLE)
    features = random_features(writer)
    while missing := [(name, *part) for name in features for part in writer.missing(name, 7)]:
        for name, start, stop in [missing[place] for place in random.permutation(len(missing))[:3]]:
            writer.write(name, start, features[name][start:stop])
        if random.random() < 0.7:
            writer.flush()
        with open(tmp_path / "killed" / "progress-0.jsonl", "a") as notes:  # killed in the midst of a note
            notes.write('{"rows": {"union_features": [[0, 60')
        writer = split_writer(tmp_path / "killed", TABLE)
    refused("unfinished", FeatureStore, tmp_path / "killed")
    writer.finish()
    assert folder_bytes(tmp_path / "killed") == folder_bytes(whole)
    refused("already finished", split_writer, whole, TABLE)


def test_what_is_not_flushed_counts_as_missing(tmp_path):
    writer = split_writer(tmp_path, TABLE)
    unions = random_features(writer)["union_features"]
    for start in (6, 3):
        writer.write("union_features", start, unions[start : start + 3])
    assert writer.missing("union_features", 9) == [(0, 9), (9, 18), (18, 27), (27, 30)]
    writer.write("union_features", 0, unions[:3])
    writer.flush()
    assert writer.missing("union_features", 9) == [(9, 18), (18, 27), (27, 30)]
    refused("0 of 60 rows of box_features", writer.finish)


def test_an_unfinished_folder_of_something_else_is_refused(tmp_path):
    writer = split_writer(tmp_path, TABLE)
    for change in ({"encoder": "test/2"}, {"dimension": 7}, {"seed": 1}):
        refused("begun with other inputs or settings", split_writer, tmp_path, TABLE, **change)
    writer.path("union_features").unlink()
    refused(r"union_features\.npy: the file is missing\. Delete .* and run again\.", split_writer, tmp_path, TABLE)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_float16_cannot_hold_is_not_written(tmp_path, value):
    writer = split_writer(tmp_path, TABLE)
    features = random_features(writer)["union_features"].astype(np.float32)
    features[4, 2] = value
    refused(r"union_features\.npy: row 4 is not finite", writer.write, "union_features", 0, features)
    writer.flush()
    assert not writer.written("union_features").any()


@pytest.mark.parametrize("other", [0.0, -65504.0])
def test_all_halves_that_are_not_finite_are_found(other):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    rows = np.stack([halves, np.full_like(halves, other)], axis=1)
    assert np.array_equal(rows_not_finite(rows), np.flatnonzero(~np.isfinite(halves)))


@pytest.mark.parametrize(("start", "shape"), [(1, (30, 8)), (-1, (1, 8)), (0, (30, 2)), (0, (8,))])
def test_pieces_that_do_not_fit_are_refused(tmp_path, start, shape):
    with pytest.raises(ValueError, match="do not fit"):
        split_writer(tmp_path, TABLE).write("union_features", start, np.zeros(shape))


@pytest.mark.parametrize("left_out", [set(), {0}, {2, 4}, {9}])
def test_rows_of_images_left_out_are_holes(tmp_path, left_out):
    writer = split_writer(tmp_path / "train", TABLE)
    features, tables = random_features(writer), writer.tables
    kept_boxes, kept = (~tables[name]["image"].isin(left_out).to_numpy() for name in ("boxes", "relations"))
    for name, rows in (("box_features", kept_boxes), ("union_features", kept)):
        for row in np.flatnonzero(rows):
            writer.write(name, row, features[name][row : row + 1])
    writer.finish(left_out, noted="a fact")
    store, whole = FeatureStore(tmp_path / "train"), tables["relations"][kept]
    assert store.facts["noted"] == "a fact"
    assert all(made["sha256"] == sha256_of_file(writer.path(name)) for name, made in store.facts["arrays"].items())
    assert len(store.images) == 10 - len(left_out) and len(store) == kept.sum()
    rows = np.arange(len(store))
    np.testing.assert_array_equal(store.union(rows), features["union_features"][kept])
    np.testing.assert_array_equal(store.subject(rows), features["box_features"][whole["subject_box"]])
    np.testing.assert_array_equal(store.object(rows), features["box_features"][whole["object_box"]])
    names = store.images["file_name"].to_numpy()[store.relations["image"]]
    assert (names == tables["images"]["file_name"].to_numpy()[whole["image"]]).all()
    assert (store.boxes["object_class"].to_numpy()[store.relations["object_box"]] == store.relations["object"]).all()


def test_a_sparse_store_takes_place_for_what_is_written_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(FeatureStoreWriter, "sparse", True)
    writer = split_writer(tmp_path / "train", long_tailed(100_000), dimension=64, entity_region="union")  # 13 MB
    writer.write("union_features", 50_000, np.ones((10, 64)))
    writer.finish()
    store = FeatureStore(tmp_path / "train")
    assert (store.union(np.arange(50_000, 50_010)) == 1).all() and not store.union([0, 49_999, 99_999]).any()
    assert store.facts["arrays"]["union_features"]["sha256"] is None
    assert writer.path("union_features").stat().st_blocks * 512 < 1_000_000


def test_a_disk_that_is_full_at_the_start_leaves_no_file(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full_disk)
        refused(r"box_features\.npy: the disk is full", split_writer, tmp_path, TABLE)
    assert not list(tmp_path.glob("*.npy")) and len(FeatureStore(written(tmp_path))) == len(TABLE)
