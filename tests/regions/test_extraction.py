import numpy as np
import pandas as pd
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.regions import extraction
from workbench.regions.bank import FeatureBank
from workbench.regions.detector_checkpoint import open_detector, save_detector
from workbench.regions.encoder import RegionEncoder
from workbench.regions.extraction import extract_features, without_images
from workbench.regions.pictures import prepare, read_picture, scaled_boxes
from workbench.scenes.annotations import read_annotations
from workbench.scenes.vocabulary import Vocabulary

SPLITS = ("train", "val", "test")


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


def feature_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.npy"))}


def test_banks_hold_the_feature_of_every_box_and_union(features, small_scenes, detector):
    folder, summary = features
    encoder, _ = open_detector(detector)
    assert Vocabulary.read(folder) == Vocabulary.read(small_scenes)
    for split in SPLITS:
        annotations, bank = read_annotations(small_scenes, split), FeatureBank.open(folder / split)
        assert (bank.dimension, bank.support, bank.entity_region) == (64, "signed", "box")
        assert bank.encoder == summary["encoder"] == encoder.identity
        pd.testing.assert_frame_equal(bank.relations, annotations.relations)
        pd.testing.assert_frame_equal(bank.boxes, annotations.boxes)
        for row in range(0, len(bank), 3):
            ends = annotations.relations.iloc[row]
            picture = read_picture(annotations.image_path(ends["image"]))
            images, scale = prepare(picture[None], encoder.config)
            pair = annotations.boxes_xyxy(np.array([ends["subject_box"], ends["object_box"]]))
            union = np.concatenate([pair[:, :2].min(axis=0), pair[:, 2:].max(axis=0)])
            with torch.no_grad():
                expected = encoder(images, [scaled_boxes(np.vstack([pair, union]), scale)]).numpy()
            found = np.concatenate([bank.subject([row]), bank.object([row]), bank.union([row])])
            assert np.allclose(found, expected, rtol=2e-3, atol=1e-2) and (found < 0).any()
    assert summary["unreadable_images"] == [] and summary["splits"]["val"]["images"] == 7


@pytest.mark.parametrize("batch_images", [1, 3, 64])
def test_batch_size_does_not_matter(tmp_path, features, small_scenes, detector, batch_images):
    extract_features(tmp_path, scenes=small_scenes, detector=detector, batch_images=batch_images, splits=("val",))
    expected, found = FeatureBank.open(features[0] / "val"), FeatureBank.open(tmp_path / "val")
    rows = np.arange(len(expected))
    for region in ("subject", "union", "object"):
        a, b = getattr(expected, region)(rows), getattr(found, region)(rows)
        assert np.allclose(a, b, rtol=1e-3, atol=2e-3)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("batches_before_kill", [0, 1, 4, 9, 13])
def test_a_killed_extraction_continues_to_the_same_bytes(
    tmp_path, small_scenes, detector, monkeypatch, batches_before_kill
):
    monkeypatch.setattr(extraction, "IMAGES_PER_WINDOW", 5)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = {"scenes": small_scenes, "detector": detector, "batch_images": 2}
    extract_features(whole, **arguments)
    compute, calls = extraction.region_features, []

    def until_killed(*inputs):
        if len(calls) == batches_before_kill:
            raise Killed
        calls.append(inputs)
        return compute(*inputs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(extraction, "region_features", until_killed)
        extract_features(killed, **arguments)
    again = []
    monkeypatch.setattr(extraction, "region_features", lambda *inputs: again.append(1) or compute(*inputs))
    extract_features(killed, **arguments)
    assert feature_bytes(killed) == feature_bytes(whole)
    if batches_before_kill > 6:
        assert len(again) < len(calls) + len(again) - 3  # finished windows are not computed again


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
    bank = FeatureBank.open(tmp_path / "features" / "train")
    assert len(bank) == 18 and not set(bank.images["file_name"]) & set(names)
    # What is left has the features and the boxes that it would have had anyway.
    annotations = read_annotations(scenes, "train")
    rows = np.flatnonzero(~annotations.relations["image"].isin([0, 4, 5]))
    whole = annotations.relations.iloc[rows]
    for role in ("subject", "object"):
        assert np.array_equal(bank.relations[role], whole[role])
        theirs = annotations.boxes_xyxy(whole[f"{role}_box"].to_numpy())
        ours = bank.boxes[["x1", "y1", "x2", "y2"]].to_numpy()[bank.relations[f"{role}_box"]]
        assert np.array_equal(ours, theirs)
    shown = bank.images["file_name"].to_numpy()[bank.relations["image"]]
    assert np.array_equal(shown, annotations.images["file_name"].to_numpy()[whole["image"]])


def test_a_split_without_any_readable_picture_is_refused(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 2})
    with pytest.raises(WorkbenchError, match="can be read"):
        extract_features(
            tmp_path / "features", scenes=scenes, detector=detector, splits=("train",), image_folder=tmp_path / "empty"
        )


def test_a_picture_of_another_size_is_listed(tmp_path, new_small_scenes, detector):
    from PIL import Image

    scenes = new_small_scenes({"train": 3}, one_shape=True)
    Image.open(scenes / "images" / "train_001.jpg").resize((100, 64)).save(scenes / "images" / "train_001.jpg")
    summary = extract_features(tmp_path / "features", scenes=scenes, detector=detector, splits=("train",))
    assert summary["splits"]["train"]["images_of_unexpected_size"] == ["train_001.jpg"]


def test_finished_banks_of_another_encoder_are_refused(tmp_path, features, small_scenes, detector):
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
