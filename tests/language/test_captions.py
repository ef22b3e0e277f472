import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.language.captions import distinct_captions
from workbench.scenes.relations import TripletLookup, distinct_triplets, triplet_keys
from workbench.scenes.vocabulary import Vocabulary


@pytest.mark.parametrize("rows", [0, 1, 7, 500])
def test_every_triplet_finds_its_own_caption_and_none_is_there_twice(rows):
    vocabulary = Vocabulary(tuple(f"thing {i}" for i in range(6)), ("on", "to the left of"))
    draw = np.random.default_rng(rows)
    triplets = np.stack([draw.integers(0, 6, rows), draw.integers(0, 2, rows), draw.integers(0, 6, rows)], axis=1)
    table = distinct_captions(*triplets.T, vocabulary)
    assert len(set(table.captions)) == len(table)
    assert [table.captions[row] for row in table.row] == [vocabulary.caption(*triplet) for triplet in triplets]
    assert (table.triplets[table.row] == triplets).all()


def test_order_of_the_triplets_does_not_matter():
    vocabulary = Vocabulary(("cup", "plate"), ("on", "near"))
    forward = distinct_captions([0, 1, 1], [0, 1, 0], [1, 0, 0], vocabulary)
    backward = distinct_captions([1, 1, 0], [0, 1, 0], [0, 0, 1], vocabulary)
    assert forward.captions == backward.captions
    assert (forward.row == backward.row[::-1]).all()


def test_two_triplets_of_one_text_share_a_caption():
    vocabulary = Vocabulary(("cup", "cup on"), ("on tray", "tray"))
    table = distinct_captions([0, 1], [0, 1], [0, 0], vocabulary)
    assert table.captions == ("cup on tray cup",)
    assert table.row.tolist() == [0, 0]


@pytest.mark.parametrize("rows", [0, 1, 60, 3000])
def test_distinct_triplets_are_those_of_numpy(rows):
    triplets = np.random.default_rng(rows).integers(0, 9, (rows, 3))
    distinct, row = distinct_triplets(*triplets.T)
    expected, place = np.unique(triplets, axis=0, return_inverse=True)
    np.testing.assert_array_equal(distinct, expected)
    np.testing.assert_array_equal(row, place.reshape(-1))


@pytest.mark.parametrize("rows", [0, 1, 60, 3000])
def test_an_index_finds_the_first_row_of_each_triplet(rows):
    draw = np.random.default_rng(rows)
    stored, wanted = draw.integers(0, 12, (rows, 3)), draw.integers(0, 12, (50, 3))
    first = {}
    for row, triplet in enumerate(stored.tolist()):
        first.setdefault(tuple(triplet), row)
    assert TripletLookup(stored).rows(wanted).tolist() == [first.get(tuple(triplet), -1) for triplet in wanted.tolist()]


@pytest.mark.parametrize("wrong", [-1, 1 << 21])
def test_what_is_no_class_id_is_named(wrong):
    with pytest.raises(WorkbenchError, match=f"relation class {wrong}"):
        triplet_keys([1, 2], [0, wrong], [3, 4])
