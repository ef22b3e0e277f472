"""Images are small, read when asked for, never from outside their folder; contact sheets hold them and escaped text."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused
from workbench.browsers.contact_sheet import Tile, neighbour_tiles, tiles_html
from workbench.browsers.drawing import LONGEST_SIDE_PX, Scene, Thumbnails
from workbench.regions.features import FeaturesFolder


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


def test_a_token_that_no_page_has_shown_is_refused(folder):
    refused("no image", Thumbnails(folder).jpeg, "../../etc/passwd")


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    refused("leads outside", Thumbnails(tmp_path / "images").token, name)


def made_tile(name="", lines=("line",)) -> Tile:
    return Scene(name, 40, 30, np.array([1, 2, 10, 12.0]), np.array([5, 0, 20, 8.0])), lines


def test_every_tile_of_a_sheet_has_its_own_picture_and_nothing_is_fetched(tmp_path):
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        Image.new("RGB", (40, 30), (50 * number, 0, 0)).save(tmp_path / name)
    page = tiles_html([made_tile(name) for name in [*names, names[0]]], tmp_path)
    shown = re.findall(r'href="(data:image/jpeg;base64,[^"]+)"', page)
    assert len(shown) == 6 and len(set(shown)) == 5 and shown[0] == shown[5]
    assert not re.search(r'https?://|data-image|wb-problem">|blank canvas', page)


def test_what_a_sheet_cannot_show_is_told_once(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    page = tiles_html([made_tile(name) for name in ("a.jpg", "a.jpg", "b.jpg", "c.jpg")], tmp_path)
    assert page.count("a.jpg: the image cannot be read") == page.count("blank canvas") == 1 and "lacks b.jpg" in page
    assert tiles_html([made_tile(), made_tile()], None).count("blank canvas") == 1
    assert "Nothing to show" in tiles_html([], None)


def test_text_from_data_is_escaped():
    page = tiles_html([made_tile(lines=("<script>\u202e",))], None)
    assert "<script>" not in page and "&lt;script&gt;\\u202e" in page


def test_neighbours_of_a_relation_are_from_other_images(browsed):
    data = FeaturesFolder(browsed / "features")
    tiles = neighbour_tiles(data.train, data.vocabulary, queries=3, neighbours=4, seed=1)
    titles = [lines[0] for _, lines in tiles]
    neighbours = [f"neighbour {place}" for place in (1, 2, 3, 4)]
    assert titles == [text for number in (1, 2, 3) for text in (f"<b>query {number}</b>", *neighbours)]
    for start in (0, 5, 10):
        assert len({scene.file_name for scene, _ in tiles[start : start + 5]}) == 5
