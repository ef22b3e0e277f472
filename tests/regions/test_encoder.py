import numpy as np
import pytest
import torch
import torchvision
from torchvision.ops import roi_align

from workbench.errors import WorkbenchError
from workbench.regions.encoder import EncoderConfig, RegionEncoder
from workbench.regions.roi_pooling import pooled_regions


def naive_roi_align(feature_map, box, bins, scale):
    """RoIAlign as it is described, one sample at a time: (C, h, w) and one box to (C, bins, bins)."""
    channels, height, width = feature_map.shape
    x1, y1, x2, y2 = (float(value) * scale for value in box)
    roi_width, roi_height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    across, down = int(np.ceil(roi_width / bins)), int(np.ceil(roi_height / bins))
    pooled = np.zeros((channels, bins, bins))
    for i in range(bins):
        for j in range(bins):
            for iy in range(down):
                for ix in range(across):
                    y = y1 + (i + (iy + 0.5) / down) * roi_height / bins
                    x = x1 + (j + (ix + 0.5) / across) * roi_width / bins
                    if -1 <= y <= height and -1 <= x <= width:
                        pooled[:, i, j] += bilinear(feature_map, y, x) / (down * across)
    return pooled


def bilinear(feature_map, y, x):
    _, height, width = feature_map.shape
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    a, b = y - top, x - left
    upper = (1 - b) * feature_map[:, top, left] + b * feature_map[:, top, right]
    lower = (1 - b) * feature_map[:, bottom, left] + b * feature_map[:, bottom, right]
    return (1 - a) * upper + a * lower


def random_boxes(rng, count, height, width):
    corners = rng.uniform(-0.1, 1.1, (count, 2, 2)) * (width, height)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    boxes[0, 2:] = boxes[0, :2]  # an empty box counts as one map position
    return torch.tensor(boxes, dtype=torch.float32)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 10, 4), (2, 22, 31)])
def test_pooling_equals_a_naive_roi_align(shape):
    rng = np.random.default_rng(sum(shape))
    channels, height, width = shape
    feature_map = torch.tensor(rng.normal(size=(1, *shape)), dtype=torch.float32)
    boxes = random_boxes(rng, 6, height * 16, width * 16)
    expected = np.stack([naive_roi_align(feature_map[0].double().numpy(), box, 7, 1 / 16) for box in boxes])
    encoder = RegionEncoder(1 / 64)
    assert np.allclose(encoder.pooled(feature_map, [boxes]).view(-1, channels, 7, 7), expected, atol=2e-5)
    assert np.allclose(pooled_regions(feature_map, [boxes], 7, 1 / 16), expected, atol=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_pooling_as_matrix_products_has_the_gradient_of_the_operator(seed):
    rng = np.random.default_rng(seed)
    boxes = [random_boxes(rng, count, 9 * 16, 6 * 16) for count in (1, 5, 2)]
    feature_map = torch.tensor(rng.normal(size=(3, 4, 9, 6)), dtype=torch.float32, requires_grad=True)
    weight = torch.tensor(rng.normal(size=(8, 4, 7, 7)), dtype=torch.float32)
    (roi_align(feature_map, boxes, 7, 1 / 16, -1, False) * weight).sum().backward()
    expected, feature_map.grad = feature_map.grad, None
    (pooled_regions(feature_map, boxes, 7, 1 / 16) * weight).sum().backward()
    torch.testing.assert_close(feature_map.grad, expected, atol=2e-5, rtol=1e-4)


def test_at_full_width_the_layers_are_those_of_torchvision():
    with torch.device("meta"):
        ours = RegionEncoder(1.0)
        theirs = torchvision.models.vgg16(weights=None, init_weights=False)
    shapes = {
        key.replace("convs.", "features."): value.shape for key, value in ours.convs.state_dict(prefix="convs.").items()
    }
    assert shapes == {key: value.shape for key, value in theirs.features.state_dict(prefix="features.").items()}
    assert [str(layer) for layer in ours.convs] == [str(layer) for layer in theirs.features[:-1]]
    for place in (0, 3):
        assert str(ours.heads[place]) == str(theirs.classifier[place])
    assert ours.dimension == 4096


@pytest.mark.parametrize("width", [1 / 64, 0.05, 1 / 8, 0.3])
def test_width_scales_channels_and_dimension(width):
    encoder = RegionEncoder(width)
    assert encoder.dimension == round(4096 * width) == encoder.heads[3].out_features
    channels = [layer.out_channels for layer in encoder.convs if isinstance(layer, torch.nn.Conv2d)]
    assert channels == [max(1, round(c * width)) for c in [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6]


def test_features_are_signed_and_follow_the_order_of_the_boxes():
    torch.manual_seed(0)
    encoder = RegionEncoder(1 / 32).eval()
    images = torch.randn(3, 3, 64, 96) * 60
    boxes = [random_boxes(np.random.default_rng(count), count, 64, 96) for count in (2, 4, 1)]
    with torch.no_grad():
        together = encoder(images, boxes)
        numbered = torch.cat([torch.cat([torch.full((len(b), 1), float(i)), b], 1) for i, b in enumerate(boxes)])
        one_by_one = torch.cat(
            [encoder(image[None], [box[None]]) for image, own in zip(images, boxes, strict=True) for box in own]
        )
        assert torch.allclose(encoder(images, numbered), together, atol=1e-4)
    assert together.shape == (7, 128) and torch.allclose(together, one_by_one, atol=1e-3)
    assert (together < 0).any() and (together > 0).any()


def test_identity_names_the_weights_and_the_preparation():
    encoder = RegionEncoder(1 / 64, short_side=160)
    same = RegionEncoder.from_config(encoder.config)
    same.load_state_dict(encoder.state_dict())
    assert same.identity == encoder.identity and "short_side=160" in encoder.identity
    with torch.no_grad():
        same.convs[0].bias[0] += 1e-3
    assert same.identity != encoder.identity
    other = RegionEncoder(1 / 64, short_side=161)
    other.load_state_dict(encoder.state_dict())
    assert other.identity != encoder.identity


def test_impossible_configurations_are_refused():
    assert EncoderConfig(**EncoderConfig(0.5).as_dict()) == EncoderConfig(0.5)
    for wrong in ({"width": 0}, {"short_side": 900, "longest_side": 800}, {"channel_means": (1, 2)}):
        with pytest.raises(WorkbenchError, match="short_side <= longest_side"):
            EncoderConfig(**wrong)
