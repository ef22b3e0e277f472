"""The region encoder and its checkpoints against torchvision and against the words of the reference."""

import json
import re

import numpy as np
import pytest
import scipy
import torch
from safetensors.torch import save_file

from tests.refusals import refused
from tests.synthetic import cut_short
from workbench.checkpoints import read_tensors
from workbench.regions.config import ExtractionConfig
from workbench.regions.encoders import VGGEncoder
from workbench.regions.vgg import CHANNEL_MEANS_BGR, VGGConfig, VGGNetwork, open_detector, prepare, save_detector

WIDTH = 1 / 64


def bilinear(feature_map, y, x):
    """(C, h, w) at all pairs of rows y and columns x, clamped at the border: (C, len(y), len(x))."""
    places = np.meshgrid(y, x, indexing="ij")
    return np.stack([scipy.ndimage.map_coordinates(part, places, order=1, mode="nearest") for part in feature_map])


@pytest.mark.parametrize("width", [1 / 64, 0.05, 1 / 8, 0.3, 1])
def test_width_scales_channels_and_dimension(width):
    with torch.device("meta"):
        encoder = VGGNetwork(width)
    assert encoder.dimension == round(4096 * width) == encoder.heads[3].out_features
    channels = [layer.out_channels for layer in encoder.convs if isinstance(layer, torch.nn.Conv2d)]
    assert channels == [max(1, round(c * width)) for c in [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6]


def test_identity_names_the_weights_and_the_preparation():
    encoder, same, other = (VGGNetwork(WIDTH, short_side=side) for side in (160, 160, 161))
    for network in (same, other):
        network.load_state_dict(encoder.state_dict())
    assert same.identity == encoder.identity and "short_side=160" in encoder.identity
    with torch.no_grad():
        same.convs[0].bias[0] += 1e-3
    assert encoder.identity not in (same.identity, other.identity)


@pytest.mark.parametrize("shape", [(11, 17), (37, 23), (50, 50), (13, 200)])
@pytest.mark.parametrize("short_side", [16, 29, 64])
def test_preparing_equals_an_independent_bilinear_resize(shape, short_side):
    config = VGGConfig(0.1, short_side=short_side, longest_side=150)
    bgr = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    images, scale = prepare(bgr, config)
    assert (scale, images.shape[2:]) == config.resizing(*shape)
    places = [(np.arange(round(size * scale)) + 0.5) / scale - 0.5 for size in shape]  # half-pixel centres
    for image, one in zip(images, bgr, strict=True):
        expected = bilinear((one.astype(np.float64) - CHANNEL_MEANS_BGR).transpose(2, 0, 1), *places)
        assert np.allclose(image, expected, atol=2e-3)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("height", "width", "scale", "shape"), [
    (600, 800, 800 / 600, (800, 1067)), (375, 500, 800 / 375, (800, 1067)), (500, 375, 800 / 375, (1067, 800)),
    (300, 900, 1333 / 900, (444, 1333)), (800, 800, 1, (800, 800)),
    # The longest side limits only what would round above it.
    (100, 166, 8, (800, 1328)), (1000, 1666, 0.8, (800, 1333)), (1000, 1667, 1333 / 1667, (800, 1333)),
])  # fmt: skip
def test_scaling_rule_of_the_reference(height, width, scale, shape):
    assert VGGConfig().resizing(height, width) == (scale, shape)


def ltvrr_state(seed=0, width=WIDTH):
    """All keys of the reference's 2.8, at a fraction of the width; RPN and Box_Outs with their real shapes."""
    torch.manual_seed(seed)
    network = VGGNetwork(width)
    state, dimension, channels = network.layout_state(), network.dimension, network.convs[28].out_channels
    shapes = {"RPN.RPN_conv": (channels, channels, 3, 3), "RPN.RPN_cls_score": (15, channels, 1, 1)}
    shapes |= {"RPN.RPN_bbox_pred": (60, channels, 1, 1), "Box_Outs.cls_score": (151, dimension)}
    for name, shape in (shapes | {"Box_Outs.bbox_pred": (604, dimension)}).items():
        state |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}
    return state


@pytest.mark.parametrize(("seed", "width", "zip_format"), [(0, 1 / 64, True), (1, 1 / 64, False), (2, 1 / 16, True)])
def test_features_of_a_checkpoint_are_those_of_torchvision(tmp_path, seed, width, zip_format):
    state = ltvrr_state(seed, width)
    torch.save({"model": state, "step": 1}, tmp_path / "model.pth", _use_new_zipfile_serialization=zip_format)
    random_before = torch.random.get_rng_state()
    network = open_detector(tmp_path / "model.pth", short_side=96)
    assert torch.equal(torch.random.get_rng_state(), random_before)
    assert network.config == VGGConfig(width, short_side=96) and not network.training
    assert all(torch.equal(weight, state[key]) for key, weight in network.layout_state().items())
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
    import torchvision

    widths = iter([len(state[f"Conv_Body.convs.{n}.bias"]) for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)])
    vgg = torchvision.models.vgg
    layers = vgg.make_layers([n if n == "M" else next(widths) for n in vgg.cfgs["D"]])
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


def test_all_gaps_are_listed_at_once(tmp_path):
    state = ltvrr_state()
    del state["Conv_Body.convs.5.bias"], state["Box_Head.heads.0.weight"]
    state["Conv_Body.convs.0.weight"] = torch.zeros(2, 3, 3, 3)
    state["module.Conv_Body.convs.7.weight"] = torch.zeros(1)
    path = tmp_path / "detector.pth"
    torch.save({"model": state}, path)
    caught = refused(re.escape(str(path)), open_detector, path)
    for line in (
        "missing Conv_Body.convs.5.bias", "missing Box_Head.heads.0.weight", "extra module.Conv_Body.convs.7.weight",
        "Conv_Body.convs.0.weight has shape (2, 3, 3, 3), expected (1, 3, 3, 3)",
    ):  # fmt: skip
        assert line in caught


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.98])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_truncated_files_are_named(tmp_path, share, kind):
    path = tmp_path / ("detector.safetensors" if kind == "safetensors" else "detector.pth")
    if kind == "safetensors":
        save_detector(path, VGGNetwork(WIDTH))
    else:
        torch.save({"model": ltvrr_state()}, path, _use_new_zipfile_serialization=kind == "zip")
    cut_short(path, share)
    refused(re.escape(str(path)), open_detector, path)


def test_files_that_are_no_detector_are_refused(tmp_path):
    torch.save({"model": {"a": 1}}, tmp_path / "numbers.pth")
    torch.save({"model": ltvrr_state(), "hook": np.random.default_rng}, tmp_path / "objects.pth")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    for name, words in [
        ("numbers.pth", "names and tensors"),
        ("objects.pth", "Python objects .numpy.random.*weights alone"),  # which are not run
        ("foreign.safetensors", "only a, so it is no VGG-16 detector"),
        ("absent.pth", "no checkpoint"),
    ]:
        refused(words, open_detector, tmp_path / name)


def test_own_files_keep_configuration_classes_and_further_tensors(tmp_path):
    encoder = VGGNetwork(WIDTH, short_side=160, longest_side=300, channel_means=(1.0, 2.0, 3.0))
    head = {"Box_Outs.cls_score.weight": torch.randn(3, encoder.dimension)}
    save_detector(tmp_path / "detector.safetensors", encoder, extra=head, classes=["cup", "dog"], a=1)
    opened = open_detector(tmp_path)
    assert opened.config == encoder.config and opened.identity == encoder.identity
    tensors, facts = read_tensors(tmp_path / "detector.safetensors")
    assert facts["classes"] == ["cup", "dog"] and facts["a"] == 1 and json.dumps(facts)
    assert torch.equal(tensors["Box_Outs.cls_score.weight"], head["Box_Outs.cls_score.weight"])
