import numpy as np
import pandas as pd
import pytest

from workbench.diffusion.fidelity_distances import nearest_rows
from workbench.diffusion.memorisation import memorisation_by_class, memorisation_of
from workbench.errors import WorkbenchError


def rows_of(count, seed, classes=4, dimension=10):
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, classes, (count, 3))
    # Classes of different width: what counts as near differs from class to class.
    features = draw.standard_normal((count, dimension)) * (1 + ids[:, 1:2]) + 3 * ids[:, 1:2]
    return features.astype(np.float32), pd.DataFrame(ids, columns=["subject", "relation", "object"])


@pytest.mark.parametrize(("rows", "among", "dimension"), [(1, 1, 3), (50, 200, 8), (300, 90, 40)])
def test_nearest_rows_are_scikit_learns_in_any_chunks(rows, among, dimension):
    from sklearn.neighbors import NearestNeighbors

    draw = np.random.default_rng(rows)
    features, others = draw.standard_normal((rows, dimension)), draw.standard_normal((among, dimension))
    expected = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(others).kneighbors(features)
    for chunk_rows in (None, 1, 17):
        distance, row = nearest_rows(features, others, chunk_rows=chunk_rows)
        np.testing.assert_array_equal(row, expected[1][:, 0])
        np.testing.assert_allclose(distance, expected[0][:, 0], rtol=1e-6)


def test_copies_are_memorised_and_fresh_rows_are_not():
    training, labels = rows_of(800, 0)
    held_out, held_out_labels = rows_of(800, 1)
    fresh, fresh_labels = rows_of(800, 2)
    copies = memorisation_of(training, labels, training, held_out, held_out_labels)
    honest = memorisation_of(fresh, fresh_labels, training, held_out, held_out_labels)
    for name in ("memorisation", "memorisation_subject", "memorisation_relation", "memorisation_object"):
        assert copies[name] == 1
        assert honest[name] == pytest.approx(0.5, abs=0.06)
    assert copies["memorised_share"] == 1 and honest["memorised_share"] < 0.03


def test_each_class_is_compared_with_its_own_held_out_rows():
    distance = np.array([1.0, 1.0, 5.0, 5.0])
    table = memorisation_by_class(
        distance, np.array([0, 1, 1, 2]), np.array([2.0, 3.0, 1.0, 4.0]), np.array([0, 0, 1, 1])
    )
    assert table["rows"].tolist() == [1, 2, 1] and table["held_out_rows"].tolist() == [2, 2, 0]
    assert table["nearer_than_held_out"].tolist()[:2] == [1.0, pytest.approx((0.75 + 0) / 2)]
    assert np.isnan(table["nearer_than_held_out"][2]) and table["nearer_than_all"].isna().all()


def test_nearer_than_all_needs_twenty_held_out_rows():
    unseen = np.arange(1.0, 21.0)
    table = memorisation_by_class(np.array([0.5, 1.0, 7.0]), np.zeros(3), unseen, np.zeros(20))
    assert table["nearer_than_all"][0] == pytest.approx(1 / 3)


def test_no_common_class_is_nan_and_a_bad_row_is_named():
    features, labels = rows_of(30, 0)
    other = labels + 10
    assert np.isnan(memorisation_of(features, labels, features, features, other)["memorisation"])
    broken = features.copy()
    broken[4, 1] = np.inf
    with pytest.raises(WorkbenchError, match="held-out rows: row 4"):
        memorisation_of(features, labels, features, broken, labels)
