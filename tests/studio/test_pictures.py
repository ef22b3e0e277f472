"""Contact sheets: escaped text, boxes in the right place, pictures inside, and none where there are none."""

import re

import numpy as np
from PIL import Image

from workbench.studio.browsers.scene_drawing import Scene
from workbench.studio.browsers.thumbnails import Thumbnails
from workbench.studio.pictures import Tile, text_line, tiles_html


def made_tile(folder=None, name="", lines=("line",)) -> Tile:
    scene = Scene(name, 40, 30, np.array([1, 2, 10, 12.0]), np.array([5, 0, 20, 8.0]))
    return Tile(scene, Thumbnails(folder), lines)


def test_picture_is_embedded_and_nothing_is_fetched(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    page = tiles_html([made_tile(tmp_path, "a.jpg")])
    assert "data:image/jpeg;base64," in page and "data-picture" not in page
    assert not re.search(r"https?://", page)


def test_a_picture_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    page = tiles_html([made_tile(tmp_path, "a.jpg")])
    assert "a.jpg: the picture cannot be read" in page


def test_blank_canvas_is_said_once():
    assert tiles_html([made_tile(), made_tile()]).count("blank canvas") == 1


def test_text_from_data_is_escaped():
    assert text_line("<script>") == "&lt;script&gt;"


def test_no_tiles_say_so():
    assert "Nothing to show" in tiles_html([])
