"""Scene tokens: which rows share an image, and what a generated relation is shown."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.recognition.batches import BoxImageScenes, ImageScenes, OwnScenes, scenes_of
from workbench.recognition.lsvru import MOST_TOKENS


class Table:
    """Rows whose features are their own number, so that a token tells where it comes from."""

    name = "made-up"

    def __init__(self, relations):
        self.relations = pd.DataFrame(relations)

    def __call__(self, rows):
        values = np.asarray(rows, dtype=np.float32)[:, None] + 1
        return values, values + 1000, values + 2000


@pytest.mark.parametrize("images", [[3, 3, 7, 3, 5], [0], [4] * 130, np.random.default_rng(0).integers(0, 9, 200)])
def test_a_scene_holds_the_first_hundred_relations_of_its_image_in_the_order_of_the_table(images):
    images, scenes = np.array(images), ImageScenes(Table({"image": images}))
    rows = np.random.default_rng(1).permutation(len(images))[: max(1, len(images) // 2)]
    found = scenes(rows)
    assert len(found.lengths) == len(np.unique(images[rows]))
    for row, scene in zip(rows, found.of_row, strict=True):
        expected = np.flatnonzero(images == images[row])[:MOST_TOKENS]
        assert [token[0] - 1 for token in by_scene(found)[scene]] == expected.tolist()
    assert sorted(scenes.rows_needed(rows)) == sorted(found.tokens[:, 0].astype(int) - 1)
    assert [len(part) for part in scenes(rows[:0])] == [0, 0, 0]


def by_scene(scenes):
    assert scenes.lengths.sum() == len(scenes.tokens)
    return [part.astype(int).tolist() for part in np.split(scenes.tokens, np.cumsum(scenes.lengths)[:-1])]


def test_tokens_are_the_three_features_scene_by_scene():
    found = ImageScenes(Table({"image": [0, 1, 1]}))(np.array([2, 0]))
    assert found.of_row.tolist() == [1, 0]
    assert by_scene(found) == [[[1, 1001, 2001]], [[2, 1002, 2002], [3, 1003, 2003]]]


def test_rows_without_images_are_scenes_of_their_own():
    table = Table({"subject": [4, 5, 6]})
    reader, other = (SimpleNamespace(reads_scenes=reads) for reads in (True, False))
    kinds = [type(scenes_of(*given)) for given in ((reader, table), (reader, Table({"image": [0]})), (other, table))]
    assert kinds == [OwnScenes, ImageScenes, type(None)]
    found = OwnScenes(table)(np.array([2, 0]))
    assert by_scene(found) == [[[3, 1003, 2003]], [[1, 1001, 2001]]] and found.of_row.tolist() == [0, 1]


def test_a_generated_relation_joins_the_image_of_its_kept_entity():
    real = Table({"image": [4, 4, 9]})
    generated = Table({"replaced": ["subject", "object", "subject"], "subject_box": [0, 1, 2], "object_box": [3, 4, 5]})
    image_of_box = np.array([4, 9, 4, 4, 9, 77])  # boxes kept: 3 (image 4), 1 (image 9), 5 (an image without relations)
    found = BoxImageScenes(generated, real, image_of_box)(np.array([0, 1, 2]))
    first = [[token[0] for token in scene] for scene in by_scene(found)]
    assert first == [[1, 1, 2], [2, 3], [3]]
    assert found.of_row.tolist() == [0, 1, 2]
    assert [len(part) for part in BoxImageScenes(generated, real, image_of_box)(np.array([], int))] == [0, 0, 0]


def test_a_generated_relation_and_its_scene_are_a_hundred_tokens_at_most():
    draw = np.random.default_rng(0)
    real = Table({"image": np.sort(draw.choice([0, 0, 0, 0, 3, 5, 8], 400))})
    boxes = draw.integers(0, 50, (30, 2))
    generated = Table({"replaced": ["subject"] * 30, "subject_box": boxes[:, 0], "object_box": boxes[:, 1]})
    image_of_box = draw.integers(0, 10, 50)
    rows = draw.permutation(30)[:20]
    images = real.relations["image"].to_numpy()
    for row, scene in zip(rows, by_scene(BoxImageScenes(generated, real, image_of_box)(rows)), strict=True):
        there = np.flatnonzero(images == image_of_box[boxes[row, 1]])[: MOST_TOKENS - 1]
        assert [token[0] for token in scene] == [row + 1, *(there + 1)]


def test_generated_rows_without_the_columns_of_their_boxes_are_refused():
    with pytest.raises(WorkbenchError, match="made-up: no column object_box, replaced, subject_box"):
        BoxImageScenes(Table({"subject": [0]}), Table({"image": [0]}), np.array([0]))
