import signal

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from annotated_scenes import extraction
from annotated_scenes.annotations import read_annotations
from annotated_scenes.extraction import extract_features
from tests.refusals import refused
from tests.synthetic import cut_short, folder_bytes
from workbench.launching import PROCESSES_VARIABLE, shared_by_processes
from workbench.regions.config import ExtractionConfig
from workbench.regions.encoders import VGGEncoder
from workbench.regions.features import FeatureStore
from workbench.regions.images import read_image
from workbench.regions.vgg import VGGNetwork, open_detector, prepare, save_detector, scaled_boxes
from workbench.scenes.vocabulary import SPLITS, Vocabulary
from workbench.stages import Run
from workbench.stopping import Stopped


def extracted(folder, scenes, detector, image_folder=None, **settings):
    config = ExtractionConfig(**{"batch_images": 4} | settings)
    return extract_features(folder, scenes=scenes, detector=detector, image_folder=image_folder, config=config)


def saved_detector(folder, seed=0):
    torch.manual_seed(seed)
    save_detector(folder / "detector.safetensors", VGGNetwork(1 / 64, short_side=64))
    return folder / "detector.safetensors"


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return saved_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def features(tmp_path_factory, small_scenes, detector):
    folder = tmp_path_factory.mktemp("features")
    return folder, extracted(folder, small_scenes, detector)


def test_stores_hold_the_feature_of_every_box_and_union(features, small_scenes, detector):
    folder, summary = features
    encoder = open_detector(detector)
    assert Vocabulary.read(folder) == Vocabulary.read(small_scenes)
    for split in SPLITS:
        annotations, store = read_annotations(small_scenes, split), FeatureStore(folder / split)
        assert (store.dimension, store.support, store.entity_region) == (64, "signed", "box")
        assert store.encoder == summary["encoder"] == encoder.identity
        pd.testing.assert_frame_equal(store.relations, annotations.relations)
        pd.testing.assert_frame_equal(store.boxes, annotations.boxes)
        for row in range(0, len(store), 3):
            ends = annotations.relations.iloc[row]
            bgr = read_image(annotations.image_path(ends["image"]))[None, ..., ::-1].copy()
            images, scale = prepare(bgr, encoder.config)
            pair = annotations.boxes_xyxy()[[ends["subject_box"], ends["object_box"]]]
            union = np.concatenate([pair[:, :2].min(axis=0), pair[:, 2:].max(axis=0)])
            with torch.no_grad():
                expected = encoder(images, [scaled_boxes(np.vstack([pair, union]), scale)]).numpy()
            found = np.concatenate([store.subject([row]), store.object([row]), store.union([row])])
            assert np.allclose(found, expected, rtol=2e-3, atol=1e-2) and (found < 0).any()
    assert summary["unreadable_images"] == [] and summary["splits"]["val"]["images"] == 7


@pytest.mark.parametrize("seconds_between_flushes", [0, 1000])
@pytest.mark.parametrize("batches_before_kill", [0, 3, 7])
def test_a_killed_extraction_resumes_to_the_same_bytes(
    tmp_path, small_scenes, detector, monkeypatch, features, batches_before_kill, seconds_between_flushes
):
    monkeypatch.setattr(extraction, "SECONDS_BETWEEN_FLUSHES", seconds_between_flushes)
    encode, calls = VGGEncoder.encode, []

    def until_killed(self, *inputs):
        if len(calls) == batches_before_kill:
            raise KeyboardInterrupt
        calls.append(inputs)
        return encode(self, *inputs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(VGGEncoder, "encode", until_killed)
        extracted(tmp_path, small_scenes, detector)
    again = []
    monkeypatch.setattr(VGGEncoder, "encode", lambda *inputs: again.append(1) or encode(*inputs))
    extracted(tmp_path, small_scenes, detector)
    assert folder_bytes(tmp_path) == folder_bytes(features[0])
    total = sum(-(-len(read_annotations(small_scenes, split).images) // 4) for split in SPLITS)
    computed_twice = len(calls) + len(again) - total
    since_flush = min(batches_before_kill, 6 if len(calls) < 7 else 1)
    assert computed_twice == (since_flush if seconds_between_flushes else 0)


def test_sigterm_ends_after_the_batch_and_the_same_command_resumes(
    tmp_path, small_scenes, detector, monkeypatch, features
):
    encode, calls = VGGEncoder.encode, []

    def with_sigterm(*inputs):
        calls.append(inputs)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return encode(*inputs)

    monkeypatch.setattr(VGGEncoder, "encode", with_sigterm)
    with pytest.raises(Stopped, match="the same command resumes it"):
        extracted(tmp_path, small_scenes, detector)
    assert len(calls) == 2
    extracted(tmp_path, small_scenes, detector)
    assert folder_bytes(tmp_path) == folder_bytes(features[0]) and len(calls) == 6 + 2 + 2


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(tmp_path, new_small_scenes, detector, monkeypatch):
    scenes = new_small_scenes({"train": 11, "test": 3})
    (scenes / "images" / "train_005.jpg").unlink()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    inputs = {"scenes": scenes, "detector": detector, "config": ExtractionConfig(batch_images=2, device="cpu")}
    expected = extract_features(tmp_path / "one", **inputs)
    torch.set_num_threads(threads)
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    monkeypatch.setattr("workbench.launching.available_cores", lambda: 2)
    told = shared_by_processes(extract_features)(tmp_path / "two", **inputs)
    assert folder_bytes(tmp_path / "two") == folder_bytes(tmp_path / "one")
    assert told | {"seconds": 0} == expected | {"seconds": 0} and sorted(expected["splits"]) == ["test", "train"]


class Corners:
    """An encoder that derives from nothing of ours: a box's corners, and the image's mean colour."""

    name, dimension = "corners", 5

    def __call__(self, image, boxes_xyxy):
        mean = np.full((len(boxes_xyxy), 1), image.mean())
        return np.concatenate([boxes_xyxy, mean], axis=1).astype(np.float32)


def test_an_encoder_of_ones_own_fills_a_store(tmp_path, small_scenes):
    summary = extracted(tmp_path, small_scenes, None, encoder=Corners())
    annotations, store = read_annotations(small_scenes, "train"), FeatureStore(tmp_path / "train")
    assert (store.encoder, store.dimension) == ("corners", 5) == (summary["encoder"], summary["dimension"])
    rows = np.arange(len(store))
    assert np.allclose(store.union(rows)[:, :4], annotations.unions_xyxy(), rtol=1e-3)
    mean = read_image(annotations.image_path(store.boxes["image"].iloc[9])).mean()
    assert np.allclose(store.box([9]), [[*annotations.boxes_xyxy()[9], mean]], rtol=1e-3)


def test_a_stage_is_known_by_the_encoder_that_is_given(tmp_path, small_scenes, capsys):
    def features(encoder):
        config = ExtractionConfig(encoder=encoder, splits=("train",))
        return Run.open("own", root=tmp_path).stage("features", extract_features, scenes=small_scenes, config=config)

    first, other = features(Corners()), Corners()
    assert features(Corners()).folder == first.folder and "loaded" in capsys.readouterr().out
    other.name = "other corners"
    refused(r"Corners corners' -> .*Corners other corners'", features, other)


@pytest.mark.parametrize(("shape", "value", "message"), [((1, 5), 0.0, r"shape \(1, 5\), expected"),
                                                         ((None, 5), np.nan, "not finite")])  # fmt: skip
def test_features_of_another_shape_or_not_finite_are_refused(tmp_path, small_scenes, shape, value, message):
    class Wrong(Corners):
        def __call__(self, image, boxes_xyxy):
            return np.full((shape[0] or len(boxes_xyxy), shape[1]), value)

    refused(rf"train_000\.jpg.*{message}", extracted, tmp_path, small_scenes, None, encoder=Wrong())


def test_splits_without_files_are_passed_over_and_train_is_required(tmp_path, new_small_scenes, detector):
    scenes = new_small_scenes({"train": 3, "test": 2})
    assert set(extracted(tmp_path / "a", scenes, detector)["splits"]) == {"train", "test"}
    refused("no image with relations of split 'train'", extracted, tmp_path / "b", scenes, detector, tmp_path / "empty")
    (scenes / "detections_train.json").unlink()
    refused("detections_train", extracted, tmp_path / "c", scenes, detector)


def test_images_that_are_no_use_are_named_and_left_out(tmp_path, new_small_scenes, detector):
    """Cut, foreign, missing, and too narrow for the network; one of another size is used and listed."""
    scenes = new_small_scenes({"train": 9, "val": 3, "test": 3}, one_shape=True)
    images, lost = scenes / "images", [0, 4, 5, 7]
    names = [f"train_{number:03d}.jpg" for number in lost]
    cut_short(images / names[0])
    (images / names[1]).write_text("no image")
    (images / names[2]).unlink()
    Image.fromarray(np.zeros((4, 500, 3), np.uint8)).save(images / names[3])
    Image.open(images / "train_001.jpg").resize((100, 64)).save(images / "train_001.jpg")
    summary = extracted(tmp_path, scenes, detector, longest_side=110)
    assert [item["file_name"] for item in summary["unreadable_images"]] == names
    assert all(item["reason"] for item in summary["unreadable_images"])
    assert "too narrow" in summary["unreadable_images"][3]["reason"]
    train = summary["splits"]["train"]
    assert train["images_of_unexpected_size"] == ["train_001.jpg"]
    assert (train["images"], train["relations"], train["relations_left_out"]) == (5, 15, 12)
    # What is left has the boxes that it would have had anyway.
    annotations, store = read_annotations(scenes, "train"), FeatureStore(tmp_path / "train")
    whole = annotations.relations[~annotations.relations["image"].isin(lost)]
    for role in ("subject", "object"):
        assert np.array_equal(store.relations[role], whole[role])
        theirs = annotations.boxes_xyxy()[whole[f"{role}_box"]]
        ours = store.boxes[["x1", "y1", "x2", "y2"]].to_numpy()[store.relations[f"{role}_box"]]
        assert np.array_equal(ours, theirs)
    shown = store.images["file_name"].to_numpy()[store.relations["image"]]
    assert np.array_equal(shown, annotations.images["file_name"].to_numpy()[whole["image"]])


def test_finished_stores_of_another_encoder_are_refused(tmp_path, features, small_scenes):
    refused("encoder", extracted, features[0], small_scenes, saved_detector(tmp_path, seed=1))
