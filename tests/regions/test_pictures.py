import numpy as np
import pytest
import torch
from PIL import Image

from workbench.errors import WorkbenchError
from workbench.regions.encoder import CHANNEL_MEANS_BGR, EncoderConfig
from workbench.regions.pictures import (
    PictureReader,
    UnreadablePicture,
    batches_of_equal_shape,
    prepare,
    read_picture,
    resize_scale,
    resized_shape,
    scaled_boxes,
)


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
    config = EncoderConfig(0.1, short_side=short_side, longest_side=150)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    images, scale = prepare(pictures, config)
    assert scale == resize_scale(*shape, short_side, 150)
    for image, picture in zip(images, pictures, strict=True):
        expected = numpy_bilinear(picture.astype(np.float64) - CHANNEL_MEANS_BGR, scale)
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


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_pictures_are_read_as_blue_green_red(tmp_path, mode):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    path = tmp_path / ("picture.tiff" if mode == "CMYK" else "picture.png")
    Image.fromarray(pixels).convert(mode).save(path)
    picture = read_picture(path)
    assert picture.shape == (9, 7, 3) and picture.dtype == np.uint8
    if mode in ("RGB", "RGBA"):
        assert np.array_equal(picture, pixels[:, :, ::-1])


def write_broken_pictures(folder):
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    Image.open(folder / "whole.jpg").save(folder / "whole.png")
    data = (folder / "whole.png").read_bytes()
    (folder / "truncated.png").write_bytes(data[: len(data) // 2])
    (folder / "damaged.png").write_bytes(data[:100] + bytes(64) + data[164:])
    return ["truncated.jpg", "empty.jpg", "text.jpg", "truncated.png", "damaged.png", "missing.jpg"]


def test_unreadable_pictures_are_values_not_exceptions(tmp_path):
    for name in write_broken_pictures(tmp_path):
        picture = read_picture(tmp_path / name)
        assert isinstance(picture, UnreadablePicture) and picture.file_name == name and picture.reason


@pytest.mark.parametrize(("threads", "bytes_kept"), [(1, 0), (3, 0), (2, 20_000), (2, 1 << 30)])
def test_reader_gives_the_same_pictures_whatever_it_keeps(tmp_path, threads, bytes_kept):
    rng = np.random.default_rng(3)
    shapes = [(30, 40), (20, 20), (30, 40), (20, 20), (30, 40)]
    for number, shape in enumerate(shapes):
        Image.fromarray(rng.integers(0, 255, (*shape, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    reader = PictureReader([tmp_path / f"{n}.png" for n in range(5)], threads=threads, bytes_kept=bytes_kept)
    assert reader.survey("reading") == shapes
    plan = batches_of_equal_shape(shapes, 2)
    assert sorted(np.concatenate(plan).tolist()) == [0, 1, 2, 3, 4] and [len(batch) for batch in plan] == [2, 2, 1]
    for batch, pictures in zip(plan, reader.batches(plan), strict=True):
        assert np.array_equal(pictures, np.stack([read_picture(tmp_path / f"{n}.png") for n in batch]))


def test_reader_surveys_failures_and_refuses_a_picture_that_vanished(tmp_path):
    names = write_broken_pictures(tmp_path)
    reader = PictureReader([tmp_path / "whole.jpg", *(tmp_path / name for name in names)], bytes_kept=0)
    found = reader.survey("reading")
    assert found[0] == (64, 64) and [item.file_name for item in found[1:]] == names
    (tmp_path / "whole.jpg").unlink()
    with pytest.raises(WorkbenchError, match=r"whole\.jpg.*missing"):
        list(reader.batches([np.array([0])]))


def test_channels_last_memory():
    images, _ = prepare(np.zeros((2, 8, 8, 3), dtype=np.uint8), EncoderConfig(0.1, short_side=8))
    assert images.is_contiguous(memory_format=torch.channels_last)
