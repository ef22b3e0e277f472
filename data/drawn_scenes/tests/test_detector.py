import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from annotated_scenes.annotations import read_annotations
from drawn_scenes import detector, detector_batches
from drawn_scenes.detector import DetectorInTraining, frequent_classes, pretrain_detector
from drawn_scenes.detector_batches import Examples, background_boxes, colour_changed, flipped, jittered, training_boxes
from drawn_scenes.detector_config import DETECTOR_TRAINING, BoxConfig, DetectorConfig
from workbench.checkpoints import read_tensors
from workbench.errors import WorkbenchError
from workbench.regions.images import read_image
from workbench.regions.vgg import VGGNetwork, open_detector
from workbench.training import read_log
from workbench.training_config import TrainingConfig, TrainingEdge

TRAINING = replace(DETECTOR_TRAINING, learning_rate=5e-3)
SMALL = DetectorConfig(width=1 / 32, classes=3, short_side=64, batch_images=4, epochs=6, seed=3, training=TRAINING)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_scenes):
    folder = tmp_path_factory.mktemp("detector")
    return folder, pretrain_detector(folder, scenes=small_scenes, config=SMALL)


def test_the_loss_falls_and_the_detector_learns(trained):
    folder, metrics = trained
    log = read_log(folder)
    losses = [line["loss"] for line in log]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])
    assert [line["step"] for line in log] == list(range(1, len(log) + 1))
    assert all(later["seconds"] >= sooner["seconds"] for sooner, later in itertools.pairwise(log))
    assert metrics["val_boxes"] > 0 and 0 <= metrics["val_class_mean_accuracy"] <= 1
    assert metrics["val_top1_accuracy"] > metrics["val_most_frequent_class_share"]
    assert sorted(path.name for path in folder.iterdir()) == ["detector.safetensors", "log.jsonl"]


def test_the_detector_file_says_what_it_was_trained_on(trained, small_scenes):
    folder, metrics = trained
    network, (tensors, facts) = open_detector(folder), read_tensors(folder / "detector.safetensors")
    names, labels = frequent_classes(read_annotations(small_scenes, "train"), 3)
    assert facts["classes"] == names == metrics["classes"] and sorted(labels)[-3:] == [1, 2, 3]
    assert tensors["Box_Outs.cls_score.weight"].shape == (4, 128)
    assert network.config.short_side == 64 and network.dimension == 128


def test_a_killed_training_ends_with_the_same_weights(tmp_path, trained, small_scenes):
    def die(line):
        if line["step"] == 17:
            raise KeyboardInterrupt

    edge = TrainingEdge(checkpoint_seconds=0.0, on_log=die)
    with pytest.raises(KeyboardInterrupt):
        pretrain_detector(tmp_path, scenes=small_scenes, config=SMALL, edge=edge)
    metrics = pretrain_detector(tmp_path, scenes=small_scenes, config=SMALL)
    assert open_detector(tmp_path).identity == open_detector(trained[0]).identity
    assert [line["loss"] for line in read_log(tmp_path)] == [line["loss"] for line in read_log(trained[0])]
    assert metrics | {"seconds": 0} == trained[1] | {"seconds": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"training": TrainingConfig(steps=5)}, "follow from epochs"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(WorkbenchError, match=message):
        DetectorConfig(**changes)


def test_parts_of_a_step_share_its_images(small_scenes):
    annotations = read_annotations(small_scenes, "train")
    examples = Examples(annotations, frequent_classes(annotations, 3)[1], 4)
    batches = detector._Batches(examples, SMALL)
    for step in (0, 5, 7):
        whole, parts = batches(step, 0, 1), [batches(step, part, 2) for part in range(2)]
        assert len(whole.bgr) == sum(len(part.bgr) for part in parts) or len(whole.bgr) == 1
        assert all(len(part.boxes) == len(part.labels) == len(part.bgr) for part in parts)


@pytest.mark.parametrize("bytes_kept", [0, 100_000, 1 << 30])
def test_images_are_the_same_whatever_is_kept_and_one_that_vanished_is_named(new_small_scenes, monkeypatch, bytes_kept):
    monkeypatch.setattr(detector_batches, "BYTES_KEPT", bytes_kept)
    annotations = read_annotations(new_small_scenes({"train": 9}), "train")
    annotations.image_path(5).write_text("no image")
    examples = Examples(annotations, np.ones(5, dtype=int), 4)
    assert [image.file_name for image in examples.unreadable] == ["train_005.jpg"] and 5 not in examples.images
    for batch in examples.plan():
        expected = [read_image(annotations.image_path(image))[..., ::-1] for image in batch]
        assert np.array_equal(examples.read(batch).bgr, expected)
    annotations.image_path(0).unlink()
    if bytes_kept == 0:
        with pytest.raises(WorkbenchError, match=r"train_000\.jpg.*missing"):
            examples.read(np.array([0]))


def test_scenes_without_images_are_refused(tmp_path, small_scenes):
    with pytest.raises(WorkbenchError, match="no readable image"):
        pretrain_detector(tmp_path / "out", scenes=small_scenes, image_folder=tmp_path, config=SMALL)


@pytest.mark.parametrize("seed", range(2))
def test_folding_the_normalisations_changes_nothing(seed):
    torch.manual_seed(seed)
    encoder = VGGNetwork(1 / 32)
    network = DetectorInTraining(encoder, classes=4, dropout=0.5)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3)
    images, boxes = torch.randn(2, 3, 48, 64), [torch.tensor([[1.0, 2, 40, 30]]), torch.tensor([[0.0, 0, 63, 47]])]
    network.eval()
    encoder.eval()
    with torch.no_grad():
        expected = network(images, boxes)
        network.fold()
        torch.testing.assert_close(
            network.cls_score(torch.relu(encoder(images, boxes))), expected, atol=1e-4, rtol=1e-3
        )


def iou(first_xyxy, second_xyxy):
    """Of inclusive boxes."""
    from torchvision.ops import box_iou

    return box_iou(*(torch.from_numpy(boxes + np.array([0, 0, 1, 1])) for boxes in (first_xyxy, second_xyxy))).numpy()


@pytest.mark.parametrize("seed", range(5))
def test_training_boxes_keep_their_promises(seed):
    rng = np.random.default_rng(seed)
    shape = (60, 90)
    corner = rng.uniform(0, 40, (6, 2))
    annotated = np.concatenate([corner, corner + rng.uniform(8, 20, (6, 2))], axis=1)
    moved = jittered(rng, annotated, 0.12, shape)
    assert (iou(moved, annotated).diagonal() > 0.5).all()
    background = background_boxes(rng, annotated, 4, shape)
    assert len(background) <= 4 and (iou(background, annotated) < 0.3).all()
    labels = np.array([1, -1, 3, -1, 2, -1])
    boxes, chosen = training_boxes(rng, annotated, labels, BoxConfig(copies=3, background=2), shape)
    assert (chosen > 0).sum() == 9 and -1 not in chosen and boxes.dtype == np.float32
    outside = training_boxes(rng, annotated * 4 - 60, labels, BoxConfig(jitter=0.5), shape)[0]
    for found in (boxes, outside):
        assert (found[:, :2] >= 0).all() and (found[:, 2:] <= (89, 59)).all() and (found[:, 2:] > found[:, :2]).all()


def test_flips_mirror_pixels_and_boxes_alike():
    image = np.arange(7 * 9).reshape(7, 9)
    box = np.array([[2, 1, 5, 4]])
    x1, y1, x2, y2 = flipped(box, 9)[0]
    assert np.array_equal(image[:, ::-1][y1 : y2 + 1, x1 : x2 + 1], image[1:5, 2:6][:, ::-1])
    assert np.array_equal(flipped(flipped(box, 9), 9), box)


def test_colour_changes_are_bounded_and_differ_between_images():
    changed = colour_changed(np.random.default_rng(0), np.full((8, 4, 4, 3), 100, dtype=np.uint8), 0.15)
    assert changed.dtype == np.float32 and (np.abs(changed - 100) <= 15 + 128 * 0.15 + 1e-3).all()
    assert len(np.unique(changed[:, 0, 0, 0])) == 8
    assert np.array_equal(
        colour_changed(np.random.default_rng(0), np.full((1, 2, 2, 3), 9, np.uint8), 0.0), np.full((1, 2, 2, 3), 9)
    )
