import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.regions import shard_files
from workbench.regions.feature_store import FeatureStore, FeatureStoreWriter

BOXES, UNIONS = "box_features-00000.npy", "union_features-00000.npy"


class RandomSplit:
    """Random tables and features of one split; float16, so that a store holds them exactly."""

    def __init__(self, seed: int, boxes: int = 9, relations: int = 14, dimension: int = 6):
        random = np.random.default_rng(seed)
        self.images = pd.DataFrame({"image_id": [3, 8], "file_name": ["a.jpg", "b.jpg"], "width": 60, "height": 50})
        corners = {name: random.random(boxes).astype(np.float32) for name in ("x1", "y1", "x2", "y2")}
        image = np.sort(random.integers(0, 2, boxes))
        self.boxes = pd.DataFrame({"image": image, **corners, "object_class": random.integers(0, 4, boxes)})
        ends = {f"{end}_box": random.integers(0, max(boxes, 1), relations) for end in ("subject", "object")}
        roles = {role: random.integers(0, 3, relations) for role in ("subject", "relation", "object")}
        self.relations = pd.DataFrame({"image": random.integers(0, 2, relations), **ends, **roles})
        self.box_features = random.standard_normal((boxes, dimension)).astype(np.float16)
        self.union_features = random.standard_normal((relations, dimension)).astype(np.float16)

    def writer(self, folder: Path, **changes) -> FeatureStoreWriter:
        arguments = {"images": self.images, "boxes": self.boxes, "relations": self.relations, "encoder": "test/1"}
        arguments |= {"dimension": self.box_features.shape[1], "support": "signed", "entity_region": "box"}
        return FeatureStoreWriter(folder, **(arguments | changes))

    def write(self, folder: Path, **changes) -> Path:
        writer = self.writer(folder, **changes)
        writer.write_boxes(0, self.box_features)
        writer.write_unions(0, self.union_features)
        writer.finish()
        return folder


@pytest.mark.parametrize(
    ("seed", "boxes", "relations", "dimension"), [(0, 9, 14, 6), (1, 1, 1, 1), (2, 300, 700, 33), (3, 5, 0, 4)]
)
def test_rows_come_back_in_any_order(tmp_path, seed, boxes, relations, dimension):
    split = RandomSplit(seed, boxes, relations, dimension)
    store = FeatureStore.open(split.write(tmp_path))
    store.check_finite()
    assert (len(store), store.dimension, store.encoder, store.support) == (relations, dimension, "test/1", "signed")
    random = np.random.default_rng(seed)
    rows = random.integers(0, relations, 50) if relations else np.empty(0, dtype=np.int64)
    np.testing.assert_array_equal(store.union(rows), split.union_features[rows])
    for role, features in (("subject", store.subject(rows)), ("object", store.object(rows))):
        np.testing.assert_array_equal(features, split.box_features[split.relations[f"{role}_box"].to_numpy()[rows]])
    box_rows = random.permutation(boxes)
    np.testing.assert_array_equal(store.box(box_rows), split.box_features[box_rows])
    assert store.union(rows).dtype == np.float32
    for name in ("images", "boxes", "relations"):
        pd.testing.assert_frame_equal(getattr(store, name), getattr(split, name))


def test_rows_outside_are_refused(tmp_path):
    store = FeatureStore.open(RandomSplit(0).write(tmp_path))
    for row in (-1, len(store)):
        with pytest.raises(IndexError):
            store.union([row])


def test_unions_stand_in_for_boxes(tmp_path):
    split = RandomSplit(0, boxes=14, relations=14)
    split.relations = split.relations.assign(subject_box=range(14), object_box=range(14))
    writer = split.writer(tmp_path, entity_region="union", support="rectified")
    writer.write_unions(0, np.abs(split.union_features))
    with pytest.raises(ValueError, match="no box features"):
        writer.write_boxes(0, split.box_features)
    writer.finish()
    store = FeatureStore.open(tmp_path)
    rows = np.array([5, 2, 5])
    for features in (store.subject(rows), store.object(rows), store.box(rows)):
        np.testing.assert_array_equal(features, store.union(rows))
    assert not (tmp_path / BOXES).exists()
    assert (store.entity_region, store.support) == ("union", "rectified")


@pytest.mark.parametrize(("seed", "rows_per_shard"), [(0, 7), (1, 3), (2, 40), (3, None)])
def test_a_killed_writer_continues_to_the_same_bytes(tmp_path, seed, rows_per_shard):
    split, random = RandomSplit(seed, 40, 60), np.random.default_rng(seed)
    cut = {"rows_per_shard": rows_per_shard}
    whole = split.write(tmp_path / "whole", **cut)
    writer = split.writer(tmp_path / "killed", **cut)
    while writer.done_boxes < 40 or writer.done_unions < 60:
        writer.write_boxes(writer.done_boxes, split.box_features[writer.done_boxes :][: random.integers(1, 9)])
        writer.write_unions(writer.done_unions, split.union_features[writer.done_unions :][: random.integers(1, 9)])
        if random.random() < 0.7:
            writer.flush()
        del writer  # killed: marks that were not flushed are lost
        writer = split.writer(tmp_path / "killed", **cut)
    with pytest.raises(WorkbenchError, match="unfinished"):
        FeatureStore.open(tmp_path / "killed")
    writer.finish()
    assert {p.name for p in (tmp_path / "killed").iterdir()} == {p.name for p in whole.iterdir()}
    for path in whole.iterdir():
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()


def test_marks_stop_at_gaps(tmp_path):
    split = RandomSplit(0)
    writer = split.writer(tmp_path)
    for start in (6, 3):
        writer.write_unions(start, split.union_features[start : start + 3])
    writer.flush()
    assert writer.done_unions == 0
    with pytest.raises(WorkbenchError, match="0 of 9 rows of boxes"):
        writer.finish()
    writer.write_unions(0, split.union_features[:3])
    writer.flush()
    assert (writer.done_unions, writer.done_boxes) == (9, 0)


def test_an_unfinished_folder_of_something_else_is_refused(tmp_path):
    writer = RandomSplit(0).writer(tmp_path)
    writer.flush()
    for change in ({"encoder": "test/2"}, {"dimension": 7}, {"images": RandomSplit(0).images.assign(width=1)}):
        with pytest.raises(WorkbenchError, match="other annotations, dimension or encoder"):
            RandomSplit(0).writer(tmp_path, **change)
    writer.write_unions(0, RandomSplit(0).union_features[:3])
    writer.flush()
    (tmp_path / UNIONS).unlink()
    with pytest.raises(WorkbenchError, match="cannot be continued"):
        RandomSplit(0).writer(tmp_path)


def test_a_finished_folder_is_not_overwritten(tmp_path):
    RandomSplit(0).write(tmp_path)
    with pytest.raises(WorkbenchError, match="already finished"):
        RandomSplit(0).writer(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_float16_cannot_hold_is_not_written(tmp_path, value):
    split = RandomSplit(0)
    writer = split.writer(tmp_path)
    features = split.union_features.astype(np.float32)
    features[4, 2] = value
    with pytest.raises(WorkbenchError, match="unions row 4 is not finite"):
        writer.write_unions(0, features)
    writer.flush()
    assert writer.done_unions == 0


def test_pieces_that_do_not_fit_are_refused(tmp_path):
    split = RandomSplit(0)
    writer = split.writer(tmp_path)
    for start, features in (
        (1, split.union_features),
        (-1, split.union_features[:1]),
        (0, split.union_features[:, :2]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            writer.write_unions(start, features)


def test_the_first_non_finite_row_is_named(tmp_path):
    split = RandomSplit(0, 9, 5000)
    split.write(tmp_path)
    features = np.load(tmp_path / UNIONS, mmap_mode="r+")
    features[[4500, 4700]] = np.nan
    features.flush()
    with pytest.raises(WorkbenchError, match=r"union_features-00000\.npy: row 4500 \(image [38] [ab]\.jpg\)"):
        FeatureStore.open(tmp_path).check_finite()


def spoil_manifest(**changes):
    def spoil(folder):
        path = folder / "bank.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def truncate(name, keep=0.5):
    def spoil(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])

    return spoil


def replace_array(name, change):
    return lambda folder: np.save(folder / name, change(np.load(folder / name)), allow_pickle=True)


def replace_table(name, change):
    return lambda folder: change(pd.read_parquet(folder / name)).to_parquet(folder / name)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda folder: (folder / "bank.json").unlink(), "unfinished"),
        (lambda folder: (folder / "bank.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "bank.json").write_text("[]"), "'dimension' is missing"),
        (spoil_manifest(dimension="6"), "'dimension' is missing or not int"),
        (spoil_manifest(rows={"images": 2}), "'boxes'"),
        (spoil_manifest(support="positive"), "support 'positive'"),
        (spoil_manifest(dimension=7), r"shape is \((14|9), 6\), expected \((14|9), 7\)"),
        (lambda folder: (folder / BOXES).unlink(), r"box_features-00000\.npy: the file is missing"),
        (lambda folder: (folder / "relations.parquet").unlink(), r"relations\.parquet: the file is missing"),
        (truncate(UNIONS), "cut short"),
        (truncate(UNIONS, 0), "cut short"),
        (truncate("boxes.parquet"), "not a readable table"),
        (replace_array(UNIONS, lambda a: a[:-1]), r"shape is \(13, 6\)"),
        (replace_array(UNIONS, lambda a: a.astype(np.float32)), "float32, expected float16"),
        (replace_array(UNIONS, lambda a: a.astype(object)), "object, expected float16"),
        (replace_table("relations.parquet", lambda t: t[:-1]), "13 rows, but the manifest says 14"),
        (replace_table("relations.parquet", lambda t: t.drop(columns="subject_box")), "subject_box"),
        (replace_table("relations.parquet", lambda t: t.assign(object_box=99)), "row 0 points to boxes row 99"),
        (replace_table("boxes.parquet", lambda t: t.assign(image=-1)), "row 0 points to images row -1"),
    ],
)
def test_a_store_that_does_not_fit_is_refused(tmp_path, spoil, found):
    spoil(RandomSplit(0).write(tmp_path))
    with pytest.raises(WorkbenchError, match=found) as raised:
        FeatureStore.open(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_a_store_of_whole_files_without_shards_is_read(tmp_path):
    split = RandomSplit(0)
    split.write(tmp_path)
    for name in (BOXES, UNIONS):
        (tmp_path / name).rename(tmp_path / name.replace("-00000", ""))
    manifest = json.loads((tmp_path / "bank.json").read_text())
    del manifest["shards"]
    (tmp_path / "bank.json").write_text(json.dumps(manifest))
    store = FeatureStore.open(tmp_path)
    np.testing.assert_array_equal(store.union([3, 0]), split.union_features[[3, 0]])
    np.testing.assert_array_equal(store.box(np.arange(9)), split.box_features)
    assert store.verify() == []
    truncate("union_features.npy")(tmp_path)
    with pytest.raises(WorkbenchError, match=r"union_features\.npy.*cut short"):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"file": "../union_features-00000.npy"}, "a name in this folder"),
        ({"file": "/etc/union.npy"}, "a name in this folder"),
        ({"file": "union_features-00000.txt"}, "a name in this folder"),
        ({"rows": "14"}, "expected a list of file"),
        ({"sha256": 5}, "expected a list of file"),
        ({"rows": 13}, "have 13 rows, expected 14"),
    ],
)
def test_a_manifest_with_wrong_shards_is_refused(tmp_path, change, found):
    manifest = json.loads((RandomSplit(0).write(tmp_path) / "bank.json").read_text())
    manifest["shards"]["unions"][0] |= change
    (tmp_path / "bank.json").write_text(json.dumps(manifest))
    with pytest.raises(WorkbenchError, match=found):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize("rows_per_shard", [1, 3, 5, 100])
def test_each_shard_has_its_rows_and_its_checksum(tmp_path, rows_per_shard):
    split = RandomSplit(0)
    store = FeatureStore.open(split.write(tmp_path, rows_per_shard=rows_per_shard))
    assert store.verify() == []
    shards = json.loads((tmp_path / "bank.json").read_text())["shards"]
    for kind, features in (("boxes", split.box_features), ("unions", split.union_features)):
        start = 0
        for entry in shards[kind]:
            stored = np.load(tmp_path / entry["file"])
            np.testing.assert_array_equal(stored, features[start : start + rows_per_shard])
            assert entry["sha256"] == hashlib.sha256((tmp_path / entry["file"]).read_bytes()).hexdigest()
            start += entry["rows"]
        assert start == len(features)
    np.testing.assert_array_equal(store.union([13, 0, 7], np.float16), split.union_features[[13, 0, 7]])
    last = tmp_path / shards["unions"][-1]["file"]
    last.write_bytes(last.read_bytes()[:-1] + b"!")
    assert store.verify() == [last.name]


def test_a_sparse_store_takes_place_for_what_is_written_alone(tmp_path):
    split = RandomSplit(0, 9, 300_000, 64)  # 38 MB of unions
    writer = split.writer(tmp_path, sparse=True, rows_per_shard=100_000)
    writer.write_unions(250_000, split.union_features[:10])
    writer.finish()
    store = FeatureStore.open(tmp_path)
    np.testing.assert_array_equal(store.union(np.arange(250_000, 250_010)), split.union_features[:10])
    assert not store.union([0, 249_999, 299_999]).any() and not store.box(np.arange(9)).any()
    assert store.verify() == []
    taken = sum(path.stat().st_blocks * 512 for path in tmp_path.glob("*.npy"))
    assert taken < 1_000_000


def test_the_expected_encoder_and_dimension(tmp_path):
    RandomSplit(0).write(tmp_path)
    assert len(FeatureStore.open(tmp_path, expect_encoder="test/1", expect_dimension=6)) == 14
    with pytest.raises(WorkbenchError, match="'test/1', expected 'test/2'"):
        FeatureStore.open(tmp_path, expect_encoder="test/2")
    with pytest.raises(WorkbenchError, match="6 dimensions, expected 4096"):
        FeatureStore.open(tmp_path, expect_dimension=4096)
    with pytest.raises(WorkbenchError, match="holds no features"):
        FeatureStore.open(tmp_path / "nowhere")


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_at_the_start_of_a_shard(tmp_path, monkeypatch):
    split = RandomSplit(0)
    writer = split.writer(tmp_path, rows_per_shard=5)
    writer.write_unions(0, split.union_features[:5])
    writer.flush()
    with monkeypatch.context() as patch:
        patch.setattr(shard_files, "_reserve", full_disk)
        with pytest.raises(WorkbenchError, match=r"union_features-00001\.npy: the disk is full"):
            writer.write_unions(5, split.union_features[5:])
    assert not (tmp_path / "union_features-00001.npy").exists()
    writer = split.writer(tmp_path, rows_per_shard=5)
    writer.write_unions(writer.done_unions, split.union_features[5:])
    writer.write_boxes(0, split.box_features)
    writer.finish()
    np.testing.assert_array_equal(FeatureStore.open(tmp_path).union(np.arange(14)), split.union_features)


def test_a_disk_that_fills_up_keeps_what_was_finished(tmp_path, monkeypatch):
    split = RandomSplit(0)
    writer = split.writer(tmp_path)
    writer.write_unions(0, split.union_features[:5])
    writer.flush()
    writer.write_unions(5, split.union_features[5:])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(WorkbenchError, match="disk is full"):
            writer.flush()
    assert split.writer(tmp_path).done_unions == 5


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve blocks")
def test_the_disk_space_is_reserved_at_once(tmp_path):
    split = RandomSplit(0, 9, 4000, 64)
    split.writer(tmp_path).write_unions(3999, split.union_features[:1])
    assert (tmp_path / UNIONS).stat().st_blocks * 512 >= 4000 * 64 * 2
