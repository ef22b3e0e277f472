import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.regions import image_shard, shard_files, split_extraction
from workbench.regions.detector_checkpoint import open_detector, save_detector
from workbench.regions.encoder import RegionEncoder
from workbench.regions.extraction import extract_features
from workbench.regions.feature_store import FeatureStore
from workbench.regions.pictures import prepare, read_picture, scaled_boxes
from workbench.regions.region_rows import without_images
from workbench.scenes.annotations import read_annotations
from workbench.scenes.vocabulary import Vocabulary
from workbench.stopping import Stopped

SPLITS = ("train", "val", "test")
CUT = {"batch_images": 2, "images_per_shard": 5}


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("detector") / "detector.safetensors"
    save_detector(path, RegionEncoder(1 / 64, short_side=64))
    return path


@pytest.fixture(scope="module")
def features(tmp_path_factory, small_scenes, detector):
    folder = tmp_path_factory.mktemp("features")
    return folder, extract_features(folder, scenes=small_scenes, detector=detector, batch_images=4)


@pytest.fixture(scope="module")
def cut(tmp_path_factory, small_scenes, detector):
    """The features in many shards."""
    folder = tmp_path_factory.mktemp("cut")
    extract_features(folder, scenes=small_scenes, detector=detector, **CUT)
    return folder


def folder_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_stores_hold_the_feature_of_every_box_and_union(features, small_scenes, detector):
    folder, summary = features
    encoder, _ = open_detector(detector)
    assert Vocabulary.read(folder) == Vocabulary.read(small_scenes)
    for split in SPLITS:
        annotations, store = read_annotations(small_scenes, split), FeatureStore.open(folder / split)
        assert (store.dimension, store.support, store.entity_region) == (64, "signed", "box")
        assert store.encoder == summary["encoder"] == encoder.identity
        pd.testing.assert_frame_equal(store.relations, annotations.relations)
        pd.testing.assert_frame_equal(store.boxes, annotations.boxes)
        for row in range(0, len(store), 3):
            ends = annotations.relations.iloc[row]
            picture = read_picture(annotations.image_path(ends["image"]))
            images, scale = prepare(picture[None], encoder.config)
            pair = annotations.boxes_xyxy(np.array([ends["subject_box"], ends["object_box"]]))
            union = np.concatenate([pair[:, :2].min(axis=0), pair[:, 2:].max(axis=0)])
            with torch.no_grad():
                expected = encoder(images, [scaled_boxes(np.vstack([pair, union]), scale)]).numpy()
            found = np.concatenate([store.subject([row]), store.object([row]), store.union([row])])
            assert np.allclose(found, expected, rtol=2e-3, atol=1e-2) and (found < 0).any()
    assert summary["unreadable_images"] == [] and summary["splits"]["val"]["images"] == 7


@pytest.mark.parametrize("batch_images", [1, 3, 64])
def test_batch_size_does_not_matter(tmp_path, features, small_scenes, detector, batch_images):
    extract_features(tmp_path, scenes=small_scenes, detector=detector, batch_images=batch_images, splits=("val",))
    expected, found = FeatureStore.open(features[0] / "val"), FeatureStore.open(tmp_path / "val")
    rows = np.arange(len(expected))
    for region in ("subject", "union", "object"):
        a, b = getattr(expected, region)(rows), getattr(found, region)(rows)
        assert np.allclose(a, b, rtol=1e-3, atol=2e-3)


class Killed(BaseException):
    pass


def killing_after(batches, compute):
    """``region_features`` that dies after some batches, and the list of its calls."""
    calls = []

    def until_killed(*inputs):
        if len(calls) == batches:
            raise Killed
        calls.append(inputs)
        return compute(*inputs)

    return until_killed, calls


@pytest.mark.parametrize("seconds_between_marks", [0, 1000])
@pytest.mark.parametrize("batches_before_kill", [0, 1, 4, 9, 13])
def test_a_killed_extraction_continues_to_the_same_bytes(
    tmp_path, small_scenes, detector, monkeypatch, cut, batches_before_kill, seconds_between_marks
):
    monkeypatch.setattr(image_shard, "SECONDS_BETWEEN_MARKS", seconds_between_marks)
    killed, arguments = tmp_path / "killed", {"scenes": small_scenes, "detector": detector, **CUT}
    compute = split_extraction.region_features
    until_killed, calls = killing_after(batches_before_kill, compute)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(split_extraction, "region_features", until_killed)
        extract_features(killed, **arguments)
    again = []
    monkeypatch.setattr(split_extraction, "region_features", lambda *inputs: again.append(1) or compute(*inputs))
    extract_features(killed, **arguments)
    assert folder_bytes(killed) == folder_bytes(cut)
    computed = len(calls) + len(again) - total_batches(small_scenes, **CUT)
    assert computed == 0 if seconds_between_marks == 0 else computed <= 3  # none, or those of the shard, again


def total_batches(scenes, batch_images, images_per_shard):
    total = 0
    for split in SPLITS:
        images = read_annotations(scenes, split).images
        for start in range(0, len(images), images_per_shard):
            sizes = images.iloc[start : start + images_per_shard].groupby(["height", "width"]).size()
            total += int(np.ceil(sizes / batch_images).sum())
    return total


def test_sigterm_ends_after_the_batch_and_the_same_command_goes_on(tmp_path, small_scenes, detector, monkeypatch, cut):
    stopped, arguments = tmp_path / "stopped", {"scenes": small_scenes, "detector": detector, **CUT}
    compute, calls = split_extraction.region_features, []

    def with_sigterm(*inputs):
        calls.append(inputs)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return compute(*inputs)

    monkeypatch.setattr(split_extraction, "region_features", with_sigterm)
    with pytest.raises(Stopped, match="the same command goes on"):
        extract_features(stopped, **arguments)
    assert len(calls) == 2 and read_json(stopped / "train" / "shard-00000.json")["batches_done"] == 2
    extract_features(stopped, **arguments)
    assert folder_bytes(stopped) == folder_bytes(cut) and len(calls) == total_batches(small_scenes, **CUT)


@pytest.mark.parametrize("images_per_shard", [1, 4, 7, 800])
def test_the_cut_into_shards_changes_no_row(tmp_path, features, small_scenes, detector, images_per_shard):
    arguments = {"scenes": small_scenes, "detector": detector, "images_per_shard": images_per_shard}
    extract_features(tmp_path, batch_images=1, splits=("train",), **arguments)
    expected, found = FeatureStore.open(features[0] / "train"), FeatureStore.open(tmp_path / "train")
    assert len(list((tmp_path / "train").glob("union_features-*.npy"))) == -(-23 // images_per_shard)
    rows = np.arange(len(expected))
    for region in ("subject", "union", "object"):
        assert np.allclose(getattr(expected, region)(rows), getattr(found, region)(rows), rtol=1e-3, atol=2e-3)
    assert found.verify() == []


def test_processes_that_decode_change_no_byte(tmp_path, features, small_scenes, detector):
    arguments = {"scenes": small_scenes, "detector": detector, "batch_images": 4, "splits": ("train",)}
    (broken := tmp_path / "scenes").mkdir()
    shutil.copytree(small_scenes, broken, dirs_exist_ok=True)
    data = (broken / "images" / "train_003.jpg").read_bytes()
    (broken / "images" / "train_003.jpg").write_bytes(data[: len(data) // 2])
    summary = extract_features(tmp_path / "two", **arguments | {"scenes": broken}, workers=2)
    assert [item["file_name"] for item in summary["unreadable_images"]] == ["train_003.jpg"]
    extract_features(tmp_path / "none", **arguments | {"scenes": broken}, workers=0)
    assert folder_bytes(tmp_path / "two") == folder_bytes(tmp_path / "none")


SCRIPT = """
import json, sys
import torch
torch.set_num_threads(1)
from workbench.regions.extraction import extract_features
summary = extract_features(sys.argv[1], scenes=sys.argv[2], detector=sys.argv[3], batch_images=2, images_per_shard=4)
print(json.dumps(summary["splits"]))
"""


def test_two_processes_give_the_bytes_of_one(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 11, "test": 3})
    (scenes / "images" / "train_005.jpg").unlink()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = extract_features(tmp_path / "one", scenes=scenes, detector=detector, batch_images=2, images_per_shard=4)[
        "splits"
    ]
    torch.set_num_threads(threads)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", SCRIPT, tmp_path / "two", scenes, detector]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | together | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    told = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert folder_bytes(tmp_path / "two") == folder_bytes(tmp_path / "one")
    assert [json.loads(text.splitlines()[-1]) for text in told] == [expected, expected]
    assert sorted(expected) == ["test", "train"]


def test_a_full_disk_is_told_and_what_was_finished_stays(tmp_path, small_scenes, detector, monkeypatch, cut):
    arguments = {"scenes": small_scenes, "detector": detector, **CUT}
    reserve, reserved = shard_files._reserve, []

    def full_at_the_seventh(descriptor, size):
        if len(reserved) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserved.append(size)
        reserve(descriptor, size)

    with monkeypatch.context() as patch:
        patch.setattr(shard_files, "_reserve", full_at_the_seventh)
        with pytest.raises(WorkbenchError, match=r"the disk is full\. What was finished is kept"):
            extract_features(tmp_path / "full", **arguments)
    assert list((tmp_path / "full" / "train").glob("*.npy"))
    extract_features(tmp_path / "full", **arguments)
    assert folder_bytes(tmp_path / "full") == folder_bytes(cut)


def test_unfinished_features_of_other_settings_are_refused(tmp_path, small_scenes, detector, monkeypatch):
    until_killed, _ = killing_after(2, split_extraction.region_features)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(split_extraction, "region_features", until_killed)
        extract_features(tmp_path, scenes=small_scenes, detector=detector)
    for change in ({"batch_images": 3}, {"images_per_shard": 7}, {"precision": "bfloat16"}):
        with pytest.raises(WorkbenchError, match="unfinished features of other"):
            extract_features(tmp_path, scenes=small_scenes, detector=detector, **change)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near_and_another_word_is_refused(tmp_path, features, small_scenes, detector, precision):
    arguments = {"scenes": small_scenes, "detector": detector, "splits": ("val",)}
    extract_features(tmp_path, precision=precision, **arguments)
    expected, found = FeatureStore.open(features[0] / "val"), FeatureStore.open(tmp_path / "val")
    rows = np.arange(len(expected))
    a, b = expected.union(rows), found.union(rows)
    assert not np.array_equal(a, b) and np.abs(a - b).max() < 0.05 * np.abs(a).max()
    with pytest.raises(WorkbenchError, match="expected one of auto, float32, bfloat16, float16"):
        extract_features(tmp_path, precision="half", **arguments)


def test_splits_without_files_are_passed_over_and_train_is_required(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 3, "test": 2})
    assert set(extract_features(tmp_path / "a", scenes=scenes, detector=detector)["splits"]) == {"train", "test"}
    (scenes / "detections_train.json").unlink()
    with pytest.raises(WorkbenchError, match="detections_train"):
        extract_features(tmp_path / "b", scenes=scenes, detector=detector)


def test_unreadable_pictures_are_named_counted_and_left_out(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 9, "val": 3, "test": 3})
    names = [f"train_{number:03d}.jpg" for number in (0, 4, 5)]
    data = (scenes / "images" / names[0]).read_bytes()
    (scenes / "images" / names[0]).write_bytes(data[: len(data) // 2])
    (scenes / "images" / names[1]).write_text("no picture")
    (scenes / "images" / names[2]).unlink()
    summary = extract_features(tmp_path / "features", scenes=scenes, detector=detector)
    assert [item["file_name"] for item in summary["unreadable_images"]] == names
    assert all(item["reason"] for item in summary["unreadable_images"])
    train = summary["splits"]["train"]
    assert (train["images"], train["relations"], train["relations_left_out"]) == (6, 18, 9)
    store = FeatureStore.open(tmp_path / "features" / "train")
    assert len(store) == 18 and not set(store.images["file_name"]) & set(names)
    # What is left has the features and the boxes that it would have had anyway.
    annotations = read_annotations(scenes, "train")
    rows = np.flatnonzero(~annotations.relations["image"].isin([0, 4, 5]))
    whole = annotations.relations.iloc[rows]
    for role in ("subject", "object"):
        assert np.array_equal(store.relations[role], whole[role])
        theirs = annotations.boxes_xyxy(whole[f"{role}_box"].to_numpy())
        ours = store.boxes[["x1", "y1", "x2", "y2"]].to_numpy()[store.relations[f"{role}_box"]]
        assert np.array_equal(ours, theirs)
    shown = store.images["file_name"].to_numpy()[store.relations["image"]]
    assert np.array_equal(shown, annotations.images["file_name"].to_numpy()[whole["image"]])


def test_a_picture_too_narrow_for_the_network_is_left_out(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 3})
    for number, shape in ((0, (4, 500)), (2, (400, 3))):
        Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(scenes / "images" / f"train_{number:03d}.jpg")
    summary = extract_features(tmp_path / "features", scenes=scenes, detector=detector, short_side=64, longest_side=96)
    assert [item["file_name"] for item in summary["unreadable_images"]] == ["train_000.jpg", "train_002.jpg"]
    assert "too narrow" in summary["unreadable_images"][0]["reason"]


def test_a_split_without_any_readable_picture_is_refused(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 2})
    with pytest.raises(WorkbenchError, match="can be read"):
        extract_features(
            tmp_path / "features", scenes=scenes, detector=detector, splits=("train",), image_folder=tmp_path / "empty"
        )


def test_a_picture_of_another_size_is_listed(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 3}, one_shape=True)
    Image.open(scenes / "images" / "train_001.jpg").resize((100, 64)).save(scenes / "images" / "train_001.jpg")
    summary = extract_features(tmp_path / "features", scenes=scenes, detector=detector, splits=("train",))
    assert summary["splits"]["train"]["images_of_unexpected_size"] == ["train_001.jpg"]


def test_pictures_of_every_kind_are_used_as_they_decode(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 8}, one_shape=True)
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    kinds = [
        lambda picture, path: picture.convert("L").save(path),
        lambda picture, path: picture.convert("CMYK").save(path),
        lambda picture, path: picture.quantize(16).save(path, "PNG", transparency=2),
        lambda picture, path: picture.convert("RGBA").save(path, "PNG"),
        lambda picture, path: Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 256).save(
            path, "PNG"
        ),
        lambda picture, path: picture.resize((64, 90)).save(path, exif=on_its_side),
        lambda picture, path: picture.save(path, "WEBP", lossless=True),
        save_with_a_late_note,
    ]
    for number, save in enumerate(kinds):
        path = scenes / "images" / f"train_{number:03d}.jpg"
        with Image.open(path) as picture:
            picture.load()
        save(picture, path)
    summary = extract_features(tmp_path / "features", scenes=scenes, detector=detector)
    assert summary["unreadable_images"] == []
    assert summary["splits"]["train"]["images_of_unexpected_size"] == ["train_005.jpg", "train_007.jpg"]
    encoder, annotations = open_detector(detector)[0], read_annotations(scenes, "train")
    store = FeatureStore.open(tmp_path / "features" / "train")
    for number in range(8):
        picture = read_picture(annotations.image_path(number))
        assert picture.shape[:2] == {5: (64, 90), 7: (90, 64)}.get(number, (64, 64))
        rows = np.flatnonzero(store.boxes["image"] == number)
        images, scale = prepare(picture[None], encoder.config)
        with torch.no_grad():
            expected = encoder(images, [scaled_boxes(annotations.boxes_xyxy(rows), scale)]).numpy()
        assert np.allclose(store.box(rows), expected, rtol=2e-3, atol=1e-2)


def save_with_a_late_note(picture, path):
    """A PNG whose EXIF note stands behind its pixels: the header's shape is not that of the upright picture."""
    picture.resize((90, 64)).save(path, "PNG")
    content = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    chunk = b"eXIf" + content
    note = len(content).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    whole = path.read_bytes()
    path.write_bytes(whole[:-12] + note + whole[-12:])


def test_finished_stores_of_another_encoder_are_refused(tmp_path, features, small_scenes, detector):
    torch.manual_seed(1)
    save_detector(tmp_path / "other.safetensors", RegionEncoder(1 / 64, short_side=64))
    with pytest.raises(WorkbenchError, match="encoder"):
        extract_features(features[0], scenes=small_scenes, detector=tmp_path / "other.safetensors")


@pytest.mark.parametrize("left_out", [set(), {0}, {2, 22}, set(range(5, 20))])
def test_leaving_images_out_keeps_the_tables_consistent(small_scenes, left_out):
    whole = read_annotations(small_scenes, "train")
    kept = without_images(whole, left_out)
    assert len(kept.images) == len(whole.images) - len(left_out)
    for table in (kept.boxes, kept.relations):
        assert table["image"].isin(range(len(kept.images))).all()
    ends = kept.boxes["object_class"].to_numpy()[kept.relations["subject_box"]]
    assert np.array_equal(ends, kept.relations["subject"])
    assert np.array_equal(kept.boxes["image"].to_numpy()[kept.relations["object_box"]], kept.relations["image"])
