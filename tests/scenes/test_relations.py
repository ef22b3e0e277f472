import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.scenes.relations import distinct_triplets, triplet_keys


@pytest.mark.parametrize("rows", [0, 1, 60, 3000])
def test_distinct_triplets_are_those_of_numpy(rows):
    triplets = np.random.default_rng(rows).integers(0, 9, (rows, 3))
    distinct, row = distinct_triplets(*triplets.T)
    expected, place = np.unique(triplets, axis=0, return_inverse=True)
    np.testing.assert_array_equal(distinct, expected)
    np.testing.assert_array_equal(row, place.reshape(-1))


@pytest.mark.parametrize("wrong", [-1, 1 << 21])
def test_what_is_no_class_id_is_named(wrong):
    with pytest.raises(WorkbenchError, match=f"relation class {wrong}"):
        triplet_keys([1, 2], [0, wrong], [3, 4])
