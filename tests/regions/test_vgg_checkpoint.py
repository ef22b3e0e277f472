import json
import re

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from workbench.checkpoints import read_tensors
from workbench.errors import WorkbenchError
from workbench.regions.config import ExtractionConfig
from workbench.regions.encoders import VGGEncoder
from workbench.regions.vgg import VGGNetwork
from workbench.regions.vgg_checkpoint import open_detector, save_detector

WIDTH = 1 / 64


def ltvrr_state(seed=0, width=WIDTH):
    torch.manual_seed(seed)
    state = VGGNetwork(width).layout_state()
    return state | {
        "RPN.RPN_conv.weight": torch.zeros(2),
        "Box_Outs.cls_score.weight": torch.zeros(3),
        "Box_Outs.bbox_pred.bias": torch.zeros(3),
    }


def full_ltvrr_state(seed, width):
    """All keys of the reference's 2.8, at a fraction of the width; RPN and Box_Outs with their real shapes."""
    state = {
        key: value for key, value in ltvrr_state(seed, width).items() if key.startswith(("Conv_Body.", "Box_Head."))
    }
    dimension, channels = len(state["Box_Head.heads.3.bias"]), len(state["Conv_Body.convs.28.bias"])
    shapes = {"RPN.RPN_conv": (channels, channels, 3, 3), "RPN.RPN_cls_score": (15, channels, 1, 1)}
    shapes |= {"RPN.RPN_bbox_pred": (60, channels, 1, 1), "Box_Outs.cls_score": (151, dimension)}
    for name, shape in (shapes | {"Box_Outs.bbox_pred": (604, dimension)}).items():
        state |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}
    return state


@pytest.mark.parametrize(("seed", "width", "zip_format"), [(0, 1 / 64, True), (1, 1 / 64, False), (2, 1 / 16, True)])
def test_features_of_a_checkpoint_are_those_of_torchvision(tmp_path, seed, width, zip_format):
    state = full_ltvrr_state(seed, width)
    torch.save({"model": state, "step": 1}, tmp_path / "model.pth", _use_new_zipfile_serialization=zip_format)
    random_before = torch.random.get_rng_state()
    network, report = open_detector(tmp_path / "model.pth", short_side=96)
    assert torch.equal(torch.random.get_rng_state(), random_before)
    assert len(report.loaded) == 30 and len(report.ignored) == 10
    random = np.random.default_rng(seed)
    bgr_images = [random.integers(0, 256, (48, size, 3), dtype=np.uint8) for size in (60, 60, 80)]
    corners = [random.uniform(0, 40, (5, 2)) for _ in bgr_images]
    boxes = [np.concatenate([low, low + random.uniform(1, 20, (5, 2))], axis=1).astype(np.float32) for low in corners]
    encoder = VGGEncoder(network, ExtractionConfig(), torch.device("cpu"))
    found = encoder.encode([bgr[..., ::-1].copy() for bgr in bgr_images], boxes)
    for bgr, xyxy, features in zip(bgr_images, boxes, found, strict=True):
        np.testing.assert_allclose(features, independent_features(state, bgr, xyxy), rtol=1e-3, atol=1e-2)


def independent_features(state, bgr, xyxy):
    """From the words of the reference, with torchvision's layers; bgr_images are twice enlarged."""
    widths = iter([len(state[f"Conv_Body.convs.{n}.bias"]) for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)])
    layers = torchvision.models.vgg.make_layers(
        [n if n == "M" else next(widths) for n in torchvision.models.vgg.cfgs["D"]]
    )
    body = {key.removeprefix("Conv_Body.convs."): v for key, v in state.items() if key.startswith("Conv_Body.")}
    layers.load_state_dict(body)
    means = torch.tensor([102.9801, 115.9465, 122.7717])
    image = (torch.tensor(bgr).float() - means).permute(2, 0, 1)[None].contiguous()
    image = torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    rois = torch.cat([torch.zeros(len(xyxy), 1), 2 * torch.tensor(xyxy)], dim=1)
    with torch.no_grad():
        pooled = torchvision.ops.roi_align(layers[:-1](image), rois, 7, 1 / 16, -1, False).flatten(1)
        fc6 = torch.relu(pooled @ state["Box_Head.heads.0.weight"].T + state["Box_Head.heads.0.bias"])
        return (fc6 @ state["Box_Head.heads.3.weight"].T + state["Box_Head.heads.3.bias"]).numpy()


@pytest.mark.parametrize("zip_format", [True, False])
def test_ltvrr_layout_is_loaded_whole(tmp_path, zip_format):
    state = ltvrr_state()
    path = tmp_path / "model_step479999.pth"
    torch.save({"model": state, "step": 479999}, path, _use_new_zipfile_serialization=zip_format)
    network, report = open_detector(path, short_side=200)
    assert all(torch.equal(weight, state[key]) for key, weight in network.layout_state().items())
    assert set(report.ignored) == {"RPN.RPN_conv.weight", "Box_Outs.cls_score.weight", "Box_Outs.bbox_pred.bias"}
    assert set(report.loaded) == set(state) - set(report.ignored) and len(report.loaded) == 30
    assert network.config.width == WIDTH and network.config.short_side == 200 and not network.training


def test_all_gaps_are_listed_at_once(tmp_path):
    state = ltvrr_state()
    del state["Conv_Body.convs.5.bias"], state["Box_Head.heads.0.weight"]
    state["Conv_Body.convs.0.weight"] = torch.zeros(2, 3, 3, 3)
    state["module.Conv_Body.convs.7.weight"] = torch.zeros(1)
    path = tmp_path / "detector.pth"
    torch.save({"model": state}, path)
    with pytest.raises(WorkbenchError, match=re.escape(str(path))) as caught:
        open_detector(path)
    for line in (
        "missing Conv_Body.convs.5.bias",
        "missing Box_Head.heads.0.weight",
        "extra module.Conv_Body.convs.7.weight",
        "Conv_Body.convs.0.weight has shape (2, 3, 3, 3), expected (1, 3, 3, 3)",
    ):
        assert line in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.98])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_truncated_files_are_named(tmp_path, share, kind):
    path = tmp_path / ("detector.safetensors" if kind == "safetensors" else "detector.pth")
    if kind == "safetensors":
        save_detector(path, VGGNetwork(WIDTH))
    else:
        torch.save({"model": ltvrr_state()}, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(WorkbenchError, match=re.escape(str(path))):
        open_detector(path)


def test_files_that_are_no_detector_are_refused(tmp_path):
    torch.save(ltvrr_state(), tmp_path / "bare.pth")
    torch.save({"model": {"a": 1}}, tmp_path / "numbers.pth")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    for name, words in [
        ("bare.pth", "key 'model'"),
        ("numbers.pth", "names to tensors"),
        ("foreign.safetensors", "metadata"),
        ("absent.pth", "missing"),
    ]:
        with pytest.raises(WorkbenchError, match=words):
            open_detector(tmp_path / name)


def test_pickled_objects_are_not_run(tmp_path):
    torch.save({"model": ltvrr_state(), "hook": np.random.default_rng}, tmp_path / "objects.pth")
    with pytest.raises(WorkbenchError, match="holds other objects"):
        open_detector(tmp_path / "objects.pth")


def test_own_files_keep_configuration_classes_and_further_tensors(tmp_path):
    encoder = VGGNetwork(WIDTH, short_side=160, longest_side=300, channel_means=(1.0, 2.0, 3.0))
    head = {"Box_Outs.cls_score.weight": torch.randn(3, encoder.dimension)}
    save_detector(tmp_path / "detector.safetensors", encoder, details={"classes": ["cup", "dog"], "a": 1}, extra=head)
    opened, report = open_detector(tmp_path)
    assert opened.config == encoder.config and opened.identity == encoder.identity
    assert report.details["classes"] == ["cup", "dog"] and report.details["a"] == 1
    assert report.ignored == ("Box_Outs.cls_score.weight",) and json.dumps(report.details)
    read, _ = read_tensors(tmp_path / "detector.safetensors")
    assert torch.equal(read["Box_Outs.cls_score.weight"], head["Box_Outs.cls_score.weight"])


def narrow_torchvision_vgg(seed=0):
    """torchvision's VGG with 1/64 of VGG-16's channels, so that a test is quick."""
    torch.manual_seed(seed)
    with torch.device("meta"):  # the wide layers are replaced
        model = torchvision.models.vgg16(weights=None, init_weights=False)
    layout = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
    model.features = torchvision.models.vgg.make_layers(layout)
    model.classifier[0], model.classifier[3] = torch.nn.Linear(8 * 49, 64), torch.nn.Linear(64, 64)
    model.classifier[6] = torch.nn.Linear(64, 10)
    return model.eval()


@pytest.mark.parametrize("seed", range(2))
def test_imagenet_weights_see_what_torchvision_sees(tmp_path, seed):
    theirs = narrow_torchvision_vgg(seed)
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    ours, report = open_detector(tmp_path / "vgg16.pth", imagenet=True)
    assert report.ignored == ("classifier.6.bias", "classifier.6.weight")
    rgb = torch.randint(0, 256, (2, 3, 48, 80), dtype=torch.float32)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (rgb / 255 - mean[:, None, None]) / deviation[:, None, None]
    bgr = rgb.flip(1) - torch.tensor(ours.config.channel_means)[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(ours.convs(bgr), theirs.features[:-1](normalised), atol=1e-5, rtol=1e-4)
        pooled = torch.randn(5, 8 * 49)
        torch.testing.assert_close(ours.heads(pooled), theirs.classifier[:4](pooled))
