"""Per-class accuracy against scikit-learn on random inputs, and its corner cases."""

import numpy as np
import pandas as pd
import pytest

from tests.synthetic import numbered_names
from workbench.recognition.accuracy import per_class_table, summary_table
from workbench.scenes.bands import BANDS, Counts
from workbench.scenes.vocabulary import ROLES, Vocabulary


def random_case(seed, n_objects, n_relations, rows):
    random = np.random.default_rng(seed)
    sizes = {"subject": n_objects, "relation": n_relations, "object": n_objects}
    truth = pd.DataFrame({role: random.integers(0, sizes[role], rows) for role in ROLES})
    right = random.random((rows, 3)) < 0.4
    predicted = pd.DataFrame({
        role: np.where(right[:, k], truth[role], random.integers(0, sizes[role], rows)) for k, role in enumerate(ROLES)
    })  # fmt: skip
    vocabulary = numbered_names(n_objects, n_relations)
    counts = Counts(*(random.integers(0, 50, n) for n in (n_objects, n_relations, n_objects)))
    return truth, predicted, vocabulary, counts


def value(summary, role, band, metric="exact"):
    here = summary[(summary["role"] == role) & (summary["band"] == band) & (summary["metric"] == metric)]
    return here["accuracy"].item()


@pytest.mark.parametrize(("n_objects", "n_relations", "rows"), [(2, 2, 9), (17, 5, 200), (80, 30, 3000)])
def test_averages_are_balanced_accuracy(n_objects, n_relations, rows):
    from sklearn.metrics import balanced_accuracy_score

    truth, predicted, vocabulary, counts = random_case(rows, n_objects, n_relations, rows)
    summary = summary_table(per_class_table(truth, predicted, vocabulary, counts))
    balanced = {role: 100 * balanced_accuracy_score(truth[role], predicted[role]) for role in ROLES}
    for role in ROLES:
        assert value(summary, role, "all") == pytest.approx(balanced[role])
    entity = (balanced["subject"] + balanced["object"]) / 2
    assert value(summary, "subject/object", "all") == pytest.approx(entity)
    assert value(summary, "combined", "all") == pytest.approx((entity + balanced["relation"]) / 2)


@pytest.mark.parametrize("band_rule", ["all classes", "present classes"])
def test_bands_partition_the_classes(band_rule):
    truth, predicted, vocabulary, counts = random_case(1, 60, 40, 150)
    per_class = per_class_table(truth, predicted, vocabulary, counts, band_rule=band_rule)
    summary = summary_table(per_class)
    for role in ROLES:
        here = summary[summary["role"] == role].set_index("band")
        assert here.loc[list(BANDS), "n_classes"].sum() == here.loc["all", "n_classes"] == truth[role].nunique()
        filled = here.loc[list(BANDS)][here.loc[list(BANDS), "n_classes"] > 0]
        average = np.average(filled["accuracy"], weights=filled["n_classes"])
        assert average == pytest.approx(here.loc["all", "accuracy"])


def test_an_absent_class_is_nan_and_an_empty_band_too():
    vocabulary = Vocabulary(tuple("abcdefghij"), ("on", "under"))
    truth = pd.DataFrame({"subject": [0, 0], "relation": [0, 1], "object": [1, 1]})
    per_class = per_class_table(truth, truth, vocabulary, Counts(np.arange(10, 0, -1), np.array([5, 3]), 0))
    subjects = per_class[per_class["role"] == "subject"].set_index("name")
    assert subjects.loc["a", "accuracy_exact"] == 100 and np.isnan(subjects.loc["b", "accuracy_exact"])
    summary = summary_table(per_class)
    assert np.isnan(value(summary, "subject", "few")) and np.isnan(value(summary, "combined", "few"))
    assert value(summary, "combined", "all") == 100


def test_classes_without_training_rows_are_left_out_on_request():
    vocabulary = Vocabulary(("a", "b"), ("on", "under", "near"))
    truth = pd.DataFrame({"subject": [0, 0, 0], "relation": [0, 1, 2], "object": [1, 1, 1]})
    predicted = truth.assign(relation=[0, 0, 0])
    counts = Counts(np.array([3, 3]), np.array([4, 0, 1]), 0)
    per_class = per_class_table(truth, predicted, vocabulary, counts)
    with_all, trained = summary_table(per_class), summary_table(per_class, only_trained=True)
    assert value(with_all, "relation", "all") == pytest.approx(100 / 3)
    assert value(trained, "relation", "all") == pytest.approx(50)
    row = trained[(trained["role"] == "relation") & (trained["band"] == "all")]
    assert row["n_left_out"].item() == 1 and row["n_classes"].item() == 2


def test_synsets_join_classes_and_a_class_without_one_never_hits():
    vocabulary = Vocabulary(("sofa", "couch", "thing"), ("on",))
    truth = pd.DataFrame({"subject": [0, 2], "relation": [0, 0], "object": [1, 1]})
    predicted = truth.assign(subject=[1, 2])
    synsets = {"objects": np.array([4, 4, -1]), "relations": np.array([0])}
    counts = Counts(np.ones(3, int), np.ones(1, int), 0)
    per_class = per_class_table(truth, predicted, vocabulary, counts, synsets=synsets)
    subjects = per_class[per_class["role"] == "subject"].set_index("name")
    assert subjects["accuracy_synset"].loc[["sofa", "thing"]].tolist() == [100, 0]
    assert subjects["accuracy_exact"].loc[["sofa", "thing"]].tolist() == [0, 100]
