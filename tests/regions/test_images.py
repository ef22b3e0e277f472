import numpy as np
import pytest
from PIL import Image

from workbench.regions.images import UnreadableImage, batches_of_equal_shape, decoded, image_size, read_image

RANDOM = np.random.default_rng(4).integers(0, 256, (9, 7, 3), dtype=np.uint8)
# What turns the stored pixels upright, by the number of the EXIF note.
UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_images_are_turned_upright(tmp_path, orientation, kind):
    note = Image.Exif()
    note[0x0112] = orientation
    path = tmp_path / f"image.{kind}"
    Image.fromarray(RANDOM).save(path, exif=note, **({"lossless": True} if kind == "webp" else {}))
    expected = UPRIGHT[orientation](RANDOM)
    assert np.array_equal(read_image(path), expected) and image_size(path) == expected.shape[1::-1]


@pytest.mark.parametrize("name", ["image.png", "image.tiff"])
def test_of_sixteen_bits_the_upper_eight_are_taken(tmp_path, name):
    levels = np.random.default_rng(5).integers(0, 1 << 16, (9, 7), dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name), np.repeat((levels >> 8).astype(np.uint8)[:, :, None], 3, axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "F"])
def test_every_mode_gives_three_channels(tmp_path, mode):
    path = tmp_path / ("image.png" if mode in ("1", "L", "LA", "P", "RGBA") else "image.tiff")
    saved = Image.fromarray(RANDOM).convert(mode)
    saved.save(path, **({"transparency": 3} if mode == "P" else {}))
    image = read_image(path)
    assert image.shape == (9, 7, 3) and image.dtype == np.uint8
    if mode in ("L", "LA", "P"):  # transparency is ignored
        assert np.array_equal(image, np.asarray(saved.convert("RGB")))


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
        assert isinstance(read_image(path), np.ndarray | UnreadableImage)


def test_unreadable_images_are_values_not_exceptions(tmp_path):
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    damaged = data[:100] + bytes(64) + data[164:]
    contents = {"truncated": data[: len(data) // 2], "damaged": damaged, "empty": b"", "text": b"not an image"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in (*contents, "missing"):
        image = read_image(tmp_path / name)
        assert isinstance(image, UnreadableImage) and image.file_name == name and image.reason
    assert image.reason == "the file is missing"


def test_batches_hold_images_of_one_shape():
    plan = batches_of_equal_shape([(30, 40), (20, 20), (30, 40), (20, 20), (30, 40)], 2)
    assert [batch.tolist() for batch in plan] == [[1, 3], [0, 2], [4]]
    assert [len(batch) for batch in batches_of_equal_shape([(10, 10)] * 5, 4, pixels=250)] == [2, 2, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_images_are_decoded_a_few_batches_ahead_and_in_order(tmp_path, threads):
    for number in range(12):
        Image.fromarray(np.full((4, 5, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "7.png").write_text("no image")
    asked = []

    def batches():
        for start in range(0, 12, 2):
            asked.append(start)
            yield [tmp_path / f"{start}.png", tmp_path / f"{start + 1}.png"]

    for place, images in enumerate(decoded(batches(), threads)):
        assert len(asked) <= place + 4
        for number, image in enumerate(images, start=2 * place):
            assert isinstance(image, UnreadableImage) if number == 7 else (image == number).all()
    assert asked == list(range(0, 12, 2))
