"""Scene tokens: which rows share an image, and what a generated relation is shown."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.recognition.scene_features import (
    ImageScenes,
    OwnScenes,
    SeedImageScenes,
    generated_scenes,
    joined,
    scenes_of,
)
from workbench.recognition.scene_tokens import MOST_TOKENS, SceneIndex


class Table:
    """Rows whose features are their own number, so that a token tells where it comes from."""

    name = "made-up"

    def __init__(self, relations):
        self.relations = pd.DataFrame(relations)

    def __call__(self, rows):
        values = np.asarray(rows, dtype=np.float32)[:, None] + 1
        return values, values + 1000, values + 2000


@pytest.mark.parametrize("images", [[3, 3, 7, 3, 5], [0], list(np.random.default_rng(0).integers(0, 9, 200))])
def test_a_scene_holds_the_relations_of_its_image_in_the_order_of_the_table(images):
    images, index = np.array(images), SceneIndex(np.array(images))
    rows = np.random.default_rng(1).permutation(len(images))[: max(1, len(images) // 2)]
    found = index.scenes_of(rows)
    for row, scene in zip(rows, found.of_row, strict=True):
        tokens = found.rows[scene]
        assert tokens[tokens >= 0].tolist() == np.flatnonzero(images == images[row]).tolist()
    assert len(found.rows) == len(np.unique(images[rows]))
    everything = np.concatenate(index.rows_of_images(np.arange(len(index))))
    assert sorted(everything.tolist()) == list(range(len(images)))


def test_only_the_first_hundred_relations_become_tokens():
    index = SceneIndex(np.zeros(130, dtype=int))
    assert index.scenes_of(np.array([129])).rows.tolist() == [list(range(MOST_TOKENS))]
    assert len(index.rows_of_images(np.array([0]))[0]) == 130


def test_tokens_are_the_three_features_and_zero_elsewhere():
    found = ImageScenes(Table({"image": [0, 1, 1]}))(np.array([2, 0]))
    assert found.present.tolist() == [[True, False], [True, True]] and found.of_row.tolist() == [1, 0]
    assert found.tokens[1].tolist() == [[2, 1002, 2002], [3, 1003, 2003]]
    assert not found.tokens[0, 1].any()


def test_rows_without_images_are_scenes_of_their_own():
    table = Table({"subject": [4, 5, 6]})
    assert isinstance(scenes_of(table), OwnScenes) and isinstance(scenes_of(Table({"image": [0]})), ImageScenes)
    found = OwnScenes(table)(np.array([2, 0]))
    assert found.tokens[:, :, 0].tolist() == [[3], [1]] and found.present.all() and found.of_row.tolist() == [0, 1]


def test_a_generated_relation_joins_the_image_of_its_kept_entity():
    real = Table({"image": [4, 4, 9]})
    generated = Table({"replaced": ["subject", "object", "subject"], "subject_box": [0, 1, 2], "object_box": [3, 4, 5]})
    image_of_box = np.array([4, 9, 4, 4, 9, 77])  # boxes kept: 3 (image 4), 1 (image 9), 5 (an image without relations)
    found = SeedImageScenes(generated, real, image_of_box)(np.array([0, 1, 2]))
    first = [found.tokens[row, found.present[row], 0].tolist() for row in range(3)]
    assert first == [[1, 1, 2], [2, 3], [3]]
    assert found.of_row.tolist() == [0, 1, 2]


def test_two_parts_of_a_batch_keep_their_scenes():
    left, right = ImageScenes(Table({"image": [0, 0, 0]}))(np.array([1])), OwnScenes(Table({"image": [0, 0]}))
    both = joined(left, right(np.array([0, 1])))
    assert both.tokens.shape == (3, 3, 3) and both.of_row.tolist() == [0, 1, 2]
    assert both.present.sum(axis=1).tolist() == [3, 1, 1] and np.array_equal(both.tokens[0], left.tokens[0])


def test_unknown_scenes_are_refused():
    with pytest.raises(WorkbenchError, match="scenes 'all' is not known"):
        generated_scenes("all", Table({}), None, Table({}), None)
