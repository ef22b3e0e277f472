"""Pictures with boxes: escaped text, boxes in the right place, and names that stay in their folder."""

import re

import numpy as np
import pytest
from PIL import Image

from workbench.errors import WorkbenchError
from workbench.studio.pictures import Tile, picture_path, prediction_line, text_line, tiles_html


def made_tile(picture=None, lines=("line",)) -> Tile:
    return Tile(picture, 40, 30, np.array([1, 2, 10, 12.0]), np.array([5, 0, 20, 8.0]), lines)


def test_union_box_is_the_smallest_around_both_and_inclusive():
    page = tiles_html([made_tile()])
    rectangles = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="none"', page)
    assert [tuple(map(float, values)) for values in rectangles] == [(1, 0, 20, 13), (1, 2, 10, 11), (5, 0, 16, 9)]


def test_picture_is_embedded_and_nothing_is_fetched(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    page = tiles_html([made_tile(picture_path(tmp_path, "a.jpg"))])
    assert "data:image/jpeg;base64," in page
    assert "http" not in page


def test_blank_canvas_is_said_once():
    assert tiles_html([made_tile(), made_tile()]).count("blank canvas") == 1


def test_text_from_data_is_escaped():
    assert text_line("<script>") == "&lt;script&gt;"
    assert "<script>" not in prediction_line("subject", "a", "<script>", "b&c")


def test_right_and_wrong_are_marked_by_sign_and_not_by_colour_alone():
    line = prediction_line("relation", "on", "under", "on")
    assert "✗ under" in line and "✓ on" in line


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(WorkbenchError, match="leads outside"):
        picture_path(tmp_path / "images", name)


def test_missing_pictures_are_none(tmp_path):
    assert picture_path(tmp_path, "absent.jpg") is None
    assert picture_path(None, "a.jpg") is None


def test_no_tiles_say_so():
    assert "Nothing to show" in tiles_html([])
