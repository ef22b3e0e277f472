"""Region encoders: the VGG-16 one against the network alone, and encoders of one's own by name, object and path."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import roi_align

from workbench.errors import WorkbenchError
from workbench.regions.config import ExtractionConfig
from workbench.regions.encoders import ENCODERS, RegionEncoder, VGGEncoder, chosen_encoder
from workbench.regions.vgg import VGGNetwork, prepare, scaled_boxes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return VGGEncoder(VGGNetwork(1 / 64, short_side=48, longest_side=96), ExtractionConfig(), CPU)


def random_boxes(random, count):
    low = random.uniform(0, 20, (count, 2))
    return np.concatenate([low, low + random.uniform(1, 20, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_of_mixed_shapes_gives_what_each_image_gives_alone(encoder, seed):
    random = np.random.default_rng(seed)
    shapes = [[(30, 40), (60, 80), (48, 48), (24, 32), (90, 30)][place] for place in random.integers(0, 5, 7)]
    images = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    boxes = [random_boxes(random, count) for count in random.integers(1, 6, 7)]
    for image, xyxy, found in zip(images, boxes, encoder.encode(images, boxes), strict=True):
        prepared, scale = prepare(image[None, ..., ::-1].copy(), encoder.network.config)
        with torch.no_grad():
            expected = encoder.network(prepared, [scaled_boxes(xyxy, scale)]).numpy()
        assert found.dtype == np.float32 and found.shape == (len(xyxy), 64)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(encoder(image, xyxy), expected, rtol=1e-3, atol=1e-3)


def test_a_batch_gives_what_torchvisions_layers_give_for_each_image():
    torch.manual_seed(1)
    network, random = VGGNetwork(1 / 8, short_side=45, longest_side=96), np.random.default_rng(1)
    images = random.integers(0, 256, (9, 45, 60, 3), dtype=np.uint8)
    boxes = [random_boxes(random, count) for count in range(1, 10)]
    found = VGGEncoder(network, ExtractionConfig(), CPU).encode(images, boxes)
    means = torch.tensor([122.7717, 115.9465, 102.9801])
    for image, xyxy, rows in zip(images, boxes, found, strict=True):
        bgr = (torch.as_tensor(image) - means).permute(2, 0, 1)[[2, 1, 0]]
        with torch.no_grad():
            feature_map = network.convs(bgr[None].contiguous())
            bins = roi_align(feature_map, [torch.as_tensor(xyxy)], 7, 1 / 16, -1, False)
            expected = network.heads(bins.flatten(1)).numpy()
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_equal_boxes_of_an_image_are_computed_once(encoder, monkeypatch):
    random, computed = np.random.default_rng(0), []
    boxes = [random_boxes(random, 3)[[0, 1, 0, 2, 2, 0]], random_boxes(random, 2)]
    heads = encoder.network.heads
    monkeypatch.setitem(encoder.network._modules, "heads", lambda pooled: computed.append(len(pooled)) or heads(pooled))
    found = encoder.encode(random.integers(0, 256, (2, 48, 48, 3), dtype=np.uint8), boxes)
    assert computed == [5]
    for one, other in ((0, 2), (0, 5), (3, 4)):
        assert np.array_equal(found[0][one], found[0][other])
    assert len(found[0]) == 6 and not np.array_equal(found[0][0], found[0][1])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near(encoder, precision):
    half = VGGEncoder(encoder.network, ExtractionConfig(precision=precision), CPU)
    random = np.random.default_rng(0)
    image, boxes = random.integers(0, 256, (48, 60, 3), dtype=np.uint8), random_boxes(random, 5)
    exact, near = encoder(image, boxes), half(image, boxes)
    assert not np.array_equal(exact, near) and np.abs(exact - near).max() < 0.05 * np.abs(exact).max()
    assert half.identity == encoder.identity


class Means(RegionEncoder):
    """The mean colour of a box."""

    name, dimension, support = "mean colours", 3, "rectified"

    def __call__(self, image, boxes_xyxy):
        whole = [np.round(xyxy).astype(int) for xyxy in boxes_xyxy]
        return np.array([image[y1 : y2 + 1, x1 : x2 + 1].mean(axis=(0, 1)) for x1, y1, x2, y2 in whole], np.float32)


class Weights(nn.Module):
    """An encoder that derives from nothing of ours."""

    name, dimension = "a module", 2

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, image, boxes_xyxy):
        return self.layer(torch.from_numpy(boxes_xyxy)).detach().numpy()


def test_an_encoder_is_chosen_by_name_object_maker_or_path(monkeypatch):
    means = Means()
    assert chosen_encoder(ExtractionConfig(encoder=means)) is means and means.identity == "mean colours"
    monkeypatch.setitem(ENCODERS, "means", lambda detector, config, device: Means())
    assert chosen_encoder(ExtractionConfig(encoder="means")).support == "rectified"
    monkeypatch.setattr(sys.modules[__name__], "MEANS", means, raising=False)
    assert chosen_encoder(ExtractionConfig(encoder=f"{__name__}:MEANS")) is means
    assert chosen_encoder(ExtractionConfig(encoder=f"{__name__}:Means")).name == "mean colours"
    image, boxes = np.zeros((9, 9, 3), np.uint8), np.ones((2, 4), np.float32)
    assert means.encode([image], [boxes])[0].shape == (2, 3) and means.refusal(1, 1) == ""


def test_an_encoder_need_not_derive_from_ours():
    module = Weights()
    found = chosen_encoder(ExtractionConfig(encoder=module))
    assert (found.dimension, found.support) == (2, "signed") and found.identity.startswith("a module weights_sha256=")
    boxes = np.ones((2, 4), np.float32)
    assert np.array_equal(found(np.zeros((9, 9, 3), np.uint8), boxes), module(None, boxes))
    before = found.identity
    with torch.no_grad():
        module.layer.bias += 1
    assert found.identity != before


@pytest.mark.parametrize(("choice", "message"), [("vgg", "Did you mean 'vgg16'"), (3, "docs/own-encoder.md"),
                                                 ("vgg16", "needs a detector"), (dict, "docs/own-encoder.md"),
                                                 ("nowhere:x", "cannot be imported")])  # fmt: skip
def test_what_is_no_encoder_is_refused(choice, message):
    with pytest.raises(WorkbenchError, match=message):
        chosen_encoder(ExtractionConfig(encoder=choice))
