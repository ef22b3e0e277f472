"""Thumbnails: small, lazily read, cut where asked, never from outside the folder."""

import io

import numpy as np
import pytest
from PIL import Image

from workbench.browsers import drawing
from workbench.browsers.drawing import LONGEST_SIDE_PX, Thumbnails, image_path
from workbench.errors import WorkbenchError


@pytest.fixture
def folder(tmp_path):
    pixels = np.zeros((600, 900, 3), dtype=np.uint8)
    pixels[100:300, 200:500] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "b.jpg")
    return tmp_path


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_picture_keeps_its_shape_and_gets_small(folder):
    shown = Thumbnails(folder)
    for name in ("a.png", "b.jpg"):
        assert decoded(shown.jpeg(shown.token(name))).shape == (267, LONGEST_SIDE_PX, 3)


@pytest.mark.parametrize("annotated", [(900, 600), (450, 300), (1800, 1200)])
def test_a_crop_is_the_box_whatever_size_the_file_has(folder, annotated):
    scale = annotated[0] / 900
    box = np.array([200, 100, 500, 300]) * scale - [0, 0, 1, 1]
    shown = Thumbnails(folder)
    cut = decoded(shown.jpeg(shown.token("a.png", box, annotated)))
    assert cut.shape[1] / cut.shape[0] == pytest.approx(1.5, abs=0.03)
    assert (cut[5:-5, 5:-5, 0] > 230).all() and (cut[5:-5, 5:-5, 1] < 30).all()


def test_a_box_outside_the_picture_still_gives_one(folder):
    shown = Thumbnails(folder)
    assert decoded(shown.jpeg(shown.token("a.png", (950, 700, 960, 710), (900, 600)))).size


def test_nothing_is_read_before_it_is_asked_for(folder):
    (folder / "broken.jpg").write_bytes(b"no picture")
    shown = Thumbnails(folder)
    token = shown.token("broken.jpg")
    with pytest.raises(WorkbenchError, match=r"broken\.jpg: the image cannot be read"):
        shown.jpeg(token)


def test_a_token_that_no_page_has_shown_is_refused(folder):
    with pytest.raises(WorkbenchError, match="no image"):
        Thumbnails(folder).jpeg("../../etc/passwd")


def test_the_oldest_are_dropped_beyond_the_limit_and_read_again(folder, monkeypatch):
    monkeypatch.setattr(drawing, "KEPT_BYTES", 1)
    shown = Thumbnails(folder)
    first, second = shown.token("a.png"), shown.token("b.jpg")
    before = shown.jpeg(first)
    shown.jpeg(second)
    assert list(shown._kept) == [second] and shown.jpeg(first) == before


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(WorkbenchError, match="leads outside"):
        image_path(tmp_path / "images", name)


def test_missing_pictures_are_none(tmp_path):
    assert image_path(tmp_path, "absent.jpg") is None
    assert image_path(None, "a.jpg") is None
    assert Thumbnails(None).token("a.jpg") is None
