"""Confusions: against scikit-learn, on an example counted by hand, and in the order of the tail."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from workbench.browsers.prediction_page import confusion, tail_first


def test_an_example_counted_by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1, 2])
    before = np.array([0, 0, 1, 3, 0, 0, 0])
    after = np.array([0, 1, 1, 3, 1, 0, 2])
    shown = confusion(truth, before, after, np.array([1, 0]), n_classes=4, most_columns=2)
    assert shown.columns.tolist() == [0, 1]  # class 0 takes 4 rows before and 2 after, class 1 one and three
    assert shown.before.tolist() == [[2, 0], [2, 1]]
    assert shown.after.tolist() == [[1, 1], [1, 2]]
    assert shown.test_rows.tolist() == [2, 4]
    assert shown.share_gained.tolist() == [[-0.5, 0.5], [-0.25, 0.25]]


@pytest.mark.parametrize(("seed", "n", "n_classes"), [(0, 1, 2), (1, 50, 3), (2, 400, 12), (3, 3000, 40)])
def test_against_scikit_learn(seed, n, n_classes):
    rng = np.random.default_rng(seed)
    truth, before, after = rng.integers(0, n_classes, (3, n))
    classes = rng.permutation(np.unique(truth))[:7]
    expected = [confusion_matrix(truth, predicted, labels=np.arange(n_classes)) for predicted in (before, after)]
    shown = confusion(truth, before, after, classes, n_classes=n_classes, most_columns=n_classes)
    for matrix, whole in zip((shown.before, shown.after), expected, strict=True):
        np.testing.assert_array_equal(matrix, whole[np.ix_(classes, shown.columns)])
        np.testing.assert_array_equal(matrix.sum(axis=1), shown.test_rows)
    taken = sum(whole[classes].sum(axis=0) for whole in expected)
    assert set(shown.columns) == set(np.flatnonzero(taken))
    assert (np.diff(taken[shown.columns]) <= 0).all()
    few = confusion(truth, before, after, classes, n_classes=n_classes, most_columns=2)
    np.testing.assert_array_equal(few.columns, shown.columns[:2])


def test_the_tail_comes_first_and_absent_classes_not_at_all():
    test_rows, band = np.array([90, 5, 0, 8, 20, 5]), np.array([0, 2, 2, 2, 1, 2])
    assert tail_first(test_rows, band).tolist() == [3, 1, 5, 4, 0]
