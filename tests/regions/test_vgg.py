import numpy as np
import pytest
import torch
import torchvision

from workbench.errors import WorkbenchError
from workbench.regions.vgg import (
    CHANNEL_MEANS_BGR,
    VGGConfig,
    VGGNetwork,
    batches_of_equal_shape,
    pooled_regions,
    prepare,
    resize_scale,
    resized_shape,
    scaled_boxes,
)


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
    assert np.allclose(pooled_regions(feature_map, [boxes]).view(-1, channels, 7, 7), expected, atol=2e-5)


def test_at_full_width_the_layers_are_those_of_torchvision():
    with torch.device("meta"):
        ours = VGGNetwork(1.0)
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
    encoder = VGGNetwork(width)
    assert encoder.dimension == round(4096 * width) == encoder.heads[3].out_features
    channels = [layer.out_channels for layer in encoder.convs if isinstance(layer, torch.nn.Conv2d)]
    assert channels == [max(1, round(c * width)) for c in [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6]


def test_features_are_signed_and_follow_the_order_of_the_boxes():
    torch.manual_seed(0)
    encoder = VGGNetwork(1 / 32).eval()
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
    encoder = VGGNetwork(1 / 64, short_side=160)
    same = VGGNetwork.from_config(encoder.config)
    same.load_state_dict(encoder.state_dict())
    assert same.identity == encoder.identity and "short_side=160" in encoder.identity
    with torch.no_grad():
        same.convs[0].bias[0] += 1e-3
    assert same.identity != encoder.identity
    other = VGGNetwork(1 / 64, short_side=161)
    other.load_state_dict(encoder.state_dict())
    assert other.identity != encoder.identity


def test_impossible_configurations_are_refused():
    assert VGGConfig(**VGGConfig(0.5).as_dict()) == VGGConfig(0.5)
    for wrong in ({"width": 0}, {"short_side": 900, "longest_side": 800}, {"channel_means": (1, 2)}):
        with pytest.raises(WorkbenchError, match="short_side <= longest_side"):
            VGGConfig(**wrong)


def numpy_bilinear(image, scale):
    """(H, W, C) resized with half-pixel centres and clamped borders, no antialiasing."""
    height, width = image.shape[:2]

    def axis(size):
        place = (np.arange(round(size * scale)) + 0.5) / scale - 0.5
        place = np.clip(place, 0, size - 1)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, size - 1), place - low

    top, bottom, a = axis(height)
    left, right, b = axis(width)
    a, b = a[:, None, None], b[None, :, None]
    upper = image[top][:, left] * (1 - b) + image[top][:, right] * b
    lower = image[bottom][:, left] * (1 - b) + image[bottom][:, right] * b
    return upper * (1 - a) + lower * a


@pytest.mark.parametrize("shape", [(11, 17), (37, 23), (50, 50), (13, 200)])
@pytest.mark.parametrize("short_side", [16, 29, 64])
def test_preparing_equals_an_independent_bilinear_resize(shape, short_side):
    config = VGGConfig(0.1, short_side=short_side, longest_side=150)
    bgr = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    images, scale = prepare(bgr, config)
    assert scale == resize_scale(*shape, short_side, 150)
    for image, one in zip(images, bgr, strict=True):
        expected = numpy_bilinear(one.astype(np.float64) - CHANNEL_MEANS_BGR, scale)
        assert np.allclose(image.permute(1, 2, 0), expected, atol=2e-3)
    assert images.shape[2:] == resized_shape(*shape, scale)


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        (600, 800, (800, 1067)),
        (375, 500, (800, 1067)),
        (500, 375, (1067, 800)),
        (300, 900, (444, 1333)),
        (800, 800, (800, 800)),
    ],
)
def test_scaling_rule_of_the_reference(height, width, shape):
    scale = resize_scale(height, width, 800, 1333)
    assert resized_shape(height, width, scale) == shape


def test_the_longest_side_limits_only_what_would_round_above_it():
    assert resize_scale(100, 166, 800, 1333) == 8  # 1328
    assert resize_scale(1000, 1666, 800, 1333) == 0.8  # 1332.8 rounds to 1333
    assert resize_scale(1000, 1667, 800, 1333) == 1333 / 1667  # 1333.6 rounds to 1334


def test_boxes_are_scaled_without_adding_one():
    assert scaled_boxes(np.array([[0, 3, 9, 4]], dtype=np.float32), 2.5).tolist() == [[0, 7.5, 22.5, 10]]


def test_batches_hold_images_of_one_shape():
    plan = batches_of_equal_shape([(30, 40), (20, 20), (30, 40), (20, 20), (30, 40)], 2)
    assert [batch.tolist() for batch in plan] == [[1, 3], [0, 2], [4]]
    assert [len(batch) for batch in batches_of_equal_shape([(10, 10)] * 5, 4, pixels=250)] == [2, 2, 1]


def test_channels_last_memory():
    images, _ = prepare(np.zeros((2, 8, 8, 3), dtype=np.uint8), VGGConfig(0.1, short_side=8))
    assert images.is_contiguous(memory_format=torch.channels_last)
