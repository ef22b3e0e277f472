import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.regions.feature_writer import FeatureStoreWriter, RangeWriter
from workbench.regions.features import FeatureStore, damaged_files

BOXES, UNIONS = "box_features.npy", "union_features.npy"


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
        writer.write("box_features", 0, self.box_features)
        writer.write("union_features", 0, self.union_features)
        writer.finish()
        return folder


@pytest.mark.parametrize(
    ("seed", "boxes", "relations", "dimension"), [(0, 9, 14, 6), (1, 1, 1, 1), (2, 300, 700, 33), (3, 5, 0, 4)]
)
def test_rows_come_back_in_any_order(tmp_path, seed, boxes, relations, dimension):
    split = RandomSplit(seed, boxes, relations, dimension)
    store = FeatureStore.open(split.write(tmp_path))
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
    writer.write("union_features", 0, np.abs(split.union_features))
    writer.finish()
    store = FeatureStore.open(tmp_path)
    rows = np.array([5, 2, 5])
    for features in (store.subject(rows), store.object(rows), store.box(rows)):
        np.testing.assert_array_equal(features, store.union(rows))
    assert not (tmp_path / BOXES).exists()
    assert (store.entity_region, store.support) == ("union", "rectified")


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_resumes_to_the_same_bytes(tmp_path, seed):
    split, random = RandomSplit(seed, 40, 60), np.random.default_rng(seed)
    whole = split.write(tmp_path / "whole")
    writer = split.writer(tmp_path / "killed")
    arrays = {"box_features": split.box_features, "union_features": split.union_features}
    while any(writer.leading(name) < len(features) for name, features in arrays.items()):
        for name, features in arrays.items():
            first = writer.leading(name)
            writer.write(name, first, features[first : first + random.integers(1, 9)])
        if random.random() < 0.7:
            writer.flush()
        with open(tmp_path / "killed" / "progress-0.jsonl", "a") as notes:  # killed in the midst of a note
            notes.write('{"rows": {"union_features": [[0, 60')
        writer = split.writer(tmp_path / "killed")
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
        writer.write("union_features", start, split.union_features[start : start + 3])
    writer.flush()
    assert writer.leading("union_features") == 0
    with pytest.raises(WorkbenchError, match="0 of 9 rows of box_features"):
        writer.finish()
    writer.write("union_features", 0, split.union_features[:3])
    writer.flush()
    assert (writer.leading("union_features"), writer.leading("box_features")) == (9, 0)


def test_an_unfinished_folder_of_something_else_is_refused(tmp_path):
    writer = RandomSplit(0).writer(tmp_path)
    writer.flush()
    for change in ({"encoder": "test/2"}, {"dimension": 7}, {"images": RandomSplit(0).images.assign(width=1)}):
        with pytest.raises(WorkbenchError, match="begun with other inputs or settings"):
            RandomSplit(0).writer(tmp_path, **change)
    writer.write("union_features", 0, RandomSplit(0).union_features[:3])
    writer.flush()
    (tmp_path / UNIONS).unlink()
    with pytest.raises(WorkbenchError, match=r"union_features\.npy: missing"):
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
    with pytest.raises(WorkbenchError, match=r"union_features\.npy: row 4 is not finite"):
        writer.write("union_features", 0, features)
    writer.flush()
    assert writer.leading("union_features") == 0


def test_pieces_that_do_not_fit_are_refused(tmp_path):
    split = RandomSplit(0)
    writer = split.writer(tmp_path)
    for start, features in (
        (1, split.union_features),
        (-1, split.union_features[:1]),
        (0, split.union_features[:, :2]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            writer.write("union_features", start, features)


def truncate(name, keep=0.5):
    def spoil(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])

    return spoil


def replace_array(name, change):
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def replace_table(name, change):
    return lambda folder: change(pd.read_parquet(folder / name)).to_parquet(folder / name)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda folder: (folder / "features.json").unlink(), "unfinished"),
        (lambda folder: (folder / "features.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "features.json").write_text("[]"), "is no manifest"),
        (lambda folder: (folder / BOXES).unlink(), r"box_features\.npy: missing"),
        (lambda folder: (folder / "relations.parquet").unlink(), r"relations\.parquet: not a readable table"),
        (truncate(UNIONS), "cut short"),
        (truncate(UNIONS, 0), "cut short or not an array"),
        (truncate("boxes.parquet"), "not a readable table"),
        (replace_array(UNIONS, lambda a: a[:-1]), r"float16 \(13, 6\), expected"),
        (replace_array(UNIONS, lambda a: a.astype(np.float32)), "float32 .*, expected float16"),
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


def test_damaged_files_are_told_by_their_checksums(tmp_path):
    folder = RandomSplit(0).write(tmp_path / "val")
    RandomSplit(1).write(tmp_path / "test")
    recorded = json.loads((folder / "features.json").read_text())["arrays"]
    for name, array in recorded.items():
        assert array["sha256"] == hashlib.sha256((folder / f"{name}.npy").read_bytes()).hexdigest()
    assert list(damaged_files(tmp_path)) == []
    content = (folder / UNIONS).read_bytes()
    (folder / UNIONS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    truncate(BOXES)(tmp_path / "test")
    first, second = damaged_files(tmp_path)
    assert str(folder / UNIONS) in first and str(tmp_path / "test" / BOXES) in second
    assert all("Delete the folder of this split and run the stage again." in line for line in (first, second))
    with pytest.raises(WorkbenchError, match="no finished features"):
        list(damaged_files(tmp_path / "nowhere"))


@pytest.mark.parametrize("left_out", [set(), {0}, {2, 4}])
def test_rows_of_images_left_out_are_holes(tmp_path, left_out):
    split, random = RandomSplit(3, 40, 60), np.random.default_rng(3)
    split.images = pd.DataFrame({"image_id": range(5), "file_name": list("abcde"), "width": 60, "height": 50})
    split.boxes["image"] = np.sort(random.integers(0, 5, 40))
    split.relations["image"] = np.sort(random.integers(0, 5, 60))
    for end in ("subject_box", "object_box"):  # boxes of the same image
        for image in range(5):
            own = split.relations["image"] == image
            split.relations.loc[own, end] = random.choice(np.flatnonzero(split.boxes["image"] == image), own.sum())
    writer = split.writer(tmp_path)
    kept_boxes, kept = (~table["image"].isin(left_out).to_numpy() for table in (split.boxes, split.relations))
    for row in np.flatnonzero(kept_boxes):
        writer.write("box_features", row, split.box_features[row : row + 1])
    for row in np.flatnonzero(kept):
        writer.write("union_features", row, split.union_features[row : row + 1])
    writer.finish(left_out, noted="a fact")
    store = FeatureStore.open(tmp_path)
    assert store.facts["noted"] == "a fact"
    assert len(store.images) == 5 - len(left_out) and len(store) == kept.sum()
    np.testing.assert_array_equal(store.union(np.arange(len(store))), split.union_features[kept])
    np.testing.assert_array_equal(store.box(np.arange(len(store.boxes))), split.box_features[kept_boxes])
    for role in ("subject", "object"):
        theirs = split.box_features[split.relations[f"{role}_box"].to_numpy()[kept]]
        np.testing.assert_array_equal(getattr(store, role)(np.arange(len(store))), theirs)
    names = store.images["file_name"].to_numpy()[store.relations["image"]]
    assert (names == split.images["file_name"].to_numpy()[split.relations["image"][kept]]).all()


def test_a_sparse_store_takes_place_for_what_is_written_alone(tmp_path, monkeypatch):
    split = RandomSplit(0, 9, 100_000, 64)  # 13 MB of unions
    monkeypatch.setattr(FeatureStoreWriter, "sparse", True)
    writer = split.writer(tmp_path)
    writer.write("union_features", 50_000, split.union_features[:10])
    writer.finish()
    store = FeatureStore.open(tmp_path)
    np.testing.assert_array_equal(store.union(np.arange(50_000, 50_010)), split.union_features[:10])
    assert not store.union([0, 49_999, 99_999]).any() and not store.box(np.arange(9)).any()
    taken = sum(path.stat().st_blocks * 512 for path in tmp_path.glob("*.npy"))
    assert taken < 1_000_000


def test_the_expected_encoder_and_dimension(tmp_path):
    RandomSplit(0).write(tmp_path)
    assert len(FeatureStore.open(tmp_path, expect_encoder="test/1", expect_dimension=6)) == 14
    with pytest.raises(WorkbenchError, match="encoder is 'test/1', expected 'test/2'"):
        FeatureStore.open(tmp_path, expect_encoder="test/2")
    with pytest.raises(WorkbenchError, match="dimension is 6, expected 4096"):
        FeatureStore.open(tmp_path, expect_dimension=4096)
    with pytest.raises(WorkbenchError, match="holds no features"):
        FeatureStore.open(tmp_path / "nowhere")


def test_a_disk_that_is_full_at_the_start_leaves_no_file(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    split = RandomSplit(0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full_disk)
        with pytest.raises(WorkbenchError, match=r"box_features\.npy: the disk is full"):
            split.writer(tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    split.write(tmp_path)
    np.testing.assert_array_equal(FeatureStore.open(tmp_path).union(np.arange(14)), split.union_features)


def test_missing_ranges_are_what_was_not_flushed(tmp_path):
    for flushed, missing in (([], [(0, 4), (4, 8), (8, 10)]), ([(0, 4), (8, 10)], [(4, 8)]), ([(0, 5), (5, 10)], [])):
        writer = RangeWriter(tmp_path / str(flushed), {"made": (10, 3)}, {"seed": 1})
        for start, stop in flushed:
            writer.write("made", start, np.full((stop - start, 3), start))
        writer.flush(note=1)
        writer.write("made", 0, np.zeros((10, 3)))  # lost
        again = RangeWriter(tmp_path / str(flushed), {"made": (10, 3)}, {"seed": 1})
        assert again.missing("made", 4) == missing and again.notes[0]["note"] == 1
        with pytest.raises(WorkbenchError, match="other inputs or settings"):
            RangeWriter(tmp_path / str(flushed), {"made": (10, 3)}, {"seed": 2})
