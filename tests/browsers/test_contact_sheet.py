"""Contact sheets: escaped text, boxes in the right place, pictures inside, and none where there are none."""

import re

import numpy as np
from PIL import Image

from workbench.browsers.contact_sheet import Tile, text_line, tiles_html
from workbench.browsers.drawing import Scene


def made_tile(name="", lines=("line",)) -> Tile:
    return Tile(Scene(name, 40, 30, np.array([1, 2, 10, 12.0]), np.array([5, 0, 20, 8.0])), lines)


def test_picture_is_embedded_and_nothing_is_fetched(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    page = tiles_html([made_tile("a.jpg")], tmp_path)
    assert "data:image/jpeg;base64," in page and "data-image" not in page
    assert not re.search(r"https?://", page)


def test_a_picture_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    page = tiles_html([made_tile("a.jpg")], tmp_path)
    assert "a.jpg: the image cannot be read" in page


def test_blank_canvas_is_said_once():
    assert tiles_html([made_tile(), made_tile()], None).count("blank canvas") == 1


def test_every_tile_has_its_own_picture(tmp_path):
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        Image.new("RGB", (40, 30), (50 * number, 0, 0)).save(tmp_path / name)
    page = tiles_html([made_tile(name) for name in [*names, names[0]]], tmp_path)
    shown = re.findall(r'href="(data:image/jpeg;base64,[^"]+)"', page)
    assert len(shown) == 6 and len(set(shown)) == 5 and shown[0] == shown[5] and 'wb-problem">' not in page


def test_pictures_that_the_folder_lacks_are_told_once(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    page = tiles_html([made_tile("a.jpg"), made_tile("b.jpg"), made_tile("c.jpg")], tmp_path)
    assert page.count("blank canvas") == 1 and "lacks b.jpg" in page and page.count("data:image") == 1


def test_text_from_data_is_escaped():
    assert text_line("<script>") == "&lt;script&gt;"


def test_no_tiles_say_so():
    assert "Nothing to show" in tiles_html([], None)
