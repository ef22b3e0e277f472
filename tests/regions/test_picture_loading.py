import numpy as np
import pytest
import torch
from PIL import Image

from workbench.regions.picture_files import UnreadablePicture
from workbench.regions.picture_loading import BATCHES_AHEAD, decoded, decoding_workers, picture_shapes


@pytest.fixture
def pictures(tmp_path):
    """Paths of nine pictures and one file that is none, and the pictures' pixels."""
    random, pixels = np.random.default_rng(0), []
    for number in range(9):
        pixels.append(random.integers(0, 256, (5 + number, 8, 3), dtype=np.uint8))
        Image.fromarray(pixels[-1]).save(tmp_path / f"{number}.png")
    (tmp_path / "9.png").write_text("no picture")
    return [tmp_path / f"{number}.png" for number in range(10)], pixels


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_a_little_ahead_of_their_use(pictures, workers):
    paths, pixels = pictures
    batches, asked = [[0, 1], [2], [], [9, 3], [4, 5, 6], [7], [8], [0], [1], [2], [3]], []

    def announced():
        for batch in batches:
            asked.append(batch)
            yield batch

    state = torch.random.get_rng_state()
    for number, (batch, found) in enumerate(
        decoded(announced(), lambda batch: [paths[p] for p in batch], workers=workers)
    ):
        assert batch == batches[number] and len(found) == len(batch)
        assert len(asked) <= number + 1 + BATCHES_AHEAD * max(workers, 1)
        for place, picture in zip(batch, found, strict=True):
            if place == 9:
                assert isinstance(picture, UnreadablePicture) and picture.file_name == "9.png"
            else:
                assert np.array_equal(picture[:, :, ::-1], pixels[place])
    assert asked == batches and torch.equal(torch.random.get_rng_state(), state)


def test_shapes_of_many_files(pictures):
    *shapes, last = picture_shapes(pictures[0])
    assert shapes == [(5 + number, 8) for number in range(9)] and isinstance(last, UnreadablePicture)


def test_a_cpu_keeps_its_cores_and_a_gpu_has_at_least_one_worker():
    assert decoding_workers(torch.device("cpu")) == 0
    counts = [decoding_workers(torch.device("cuda"), processes) for processes in (1, 4, 1000)]
    assert counts == sorted(counts, reverse=True) and counts[-1] == 1 and counts[0] <= 8
