import numpy as np
import pytest
from PIL import Image

from workbench.regions.picture_files import UnreadablePicture, picture_shape, read_picture

RANDOM = np.random.default_rng(4).integers(0, 256, (9, 7, 3), dtype=np.uint8)
# What turns the stored pixels upright, by the number of the EXIF note.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_pictures_are_turned_upright(tmp_path, orientation, kind):
    note = Image.Exif()
    note[0x0112] = orientation
    path = tmp_path / f"picture.{kind}"
    Image.fromarray(RANDOM).save(path, exif=note, **({"lossless": True} if kind == "webp" else {}))
    expected = UPRIGHT[orientation](RANDOM)
    assert np.array_equal(read_picture(path)[:, :, ::-1], expected)
    assert picture_shape(path) == expected.shape[:2]


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_shape_of_a_jpeg_comes_from_its_header_alone(tmp_path, orientation):
    note = Image.Exif()
    note[0x0112] = orientation
    Image.fromarray(RANDOM).save(tmp_path / "whole.jpg", exif=note)
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: whole.index(b"\xff\xda") + 20])
    shape = (9, 7) if orientation == 1 else (7, 9)
    assert picture_shape(tmp_path / "whole.jpg") == picture_shape(tmp_path / "cut.jpg") == shape
    assert isinstance(read_picture(tmp_path / "cut.jpg"), UnreadablePicture)


@pytest.mark.parametrize("name", ["picture.png", "picture.tiff"])
def test_of_sixteen_bits_the_upper_eight_are_taken(tmp_path, name):
    levels = np.random.default_rng(5).integers(0, 1 << 16, (9, 7), dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / name)
    expected = np.repeat((levels >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    assert np.array_equal(read_picture(tmp_path / name), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "F"])
def test_every_mode_gives_three_channels(tmp_path, mode):
    path = tmp_path / ("picture.png" if mode in ("1", "L", "LA", "P", "RGBA") else "picture.tiff")
    try:
        Image.fromarray(RANDOM).convert(mode).save(path)
    except (OSError, ValueError):
        pytest.skip("Pillow does not write this mode")
    picture = read_picture(path)
    assert picture.shape == (9, 7, 3) and picture.dtype == np.uint8 and picture_shape(path) == (9, 7)
    if mode in ("L", "LA"):
        grey = np.asarray(Image.fromarray(RANDOM).convert("L"))
        assert np.array_equal(picture, np.repeat(grey[:, :, None], 3, axis=2))


def test_a_palette_with_a_transparent_colour(tmp_path):
    palette = Image.fromarray(RANDOM).quantize(8)
    palette.save(tmp_path / "picture.png", transparency=3)
    assert np.array_equal(read_picture(tmp_path / "picture.png")[:, :, ::-1], np.asarray(palette.convert("RGB")))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP"])
def test_damaged_files_are_values_not_exceptions(tmp_path, kind, seed):
    random = np.random.default_rng(seed)
    Image.fromarray(RANDOM).save(tmp_path / "whole", kind)
    for _ in range(30):
        content = bytearray((tmp_path / "whole").read_bytes())
        for place in random.integers(0, len(content), 4):
            content[place] = random.integers(256)
        path = tmp_path / "damaged"
        path.write_bytes(content[: random.integers(1, 2 * len(content))])
        assert isinstance(read_picture(path), np.ndarray | UnreadablePicture)
        assert isinstance(picture_shape(path), tuple | UnreadablePicture)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    for found in (read_picture(tmp_path / "none.jpg"), picture_shape(tmp_path / "none.jpg")):
        assert found == UnreadablePicture("none.jpg", "the file is missing")
