"""Figures hold what their tables hold, from empty tables to full ones."""

import numpy as np
import pandas as pd
import pytest

from tests.synthetic import numbered_names
from workbench.figures import fidelity, language, long_tail, results, training
from workbench.scenes.bands import BANDS, Counts, count_classes


def made_relations(rng, rows: int, objects: int, relations: int) -> pd.DataFrame:
    sizes = {"subject": objects, "relation": relations, "object": objects}
    return pd.DataFrame({role: rng.integers(0, size, rows) for role, size in sizes.items()})


@pytest.mark.parametrize(("objects", "relations", "rows"), [(3, 2, 1), (40, 12, 300), (150, 60, 4000)])
def test_rank_frequency_draws_every_class_that_occurs(objects, relations, rows):
    vocabulary = numbered_names(objects, relations)
    counts = count_classes(made_relations(np.random.default_rng(rows), rows, objects, relations), vocabulary)
    classes = long_tail.class_table(counts, vocabulary)
    figure = long_tail.rank_frequency(classes)
    drawn = sum(len(trace.x) for trace in figure.data)
    assert drawn == (counts.objects > 0).sum() + (counts.relation > 0).sum()
    assert {trace.legendgroup for trace in figure.data} == set(BANDS)


def test_class_table_ranks_by_falling_frequency():
    table = long_tail.class_table(Counts(np.array([1, 9, 4]), np.array([2, 7]), 0), numbered_names(3, 2))
    assert table.loc[table["kind"] == "object", "name"].tolist() == ["object 1", "object 2", "object 0"]
    assert table["rank"].tolist() == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("rows", [1, 500])
def test_triplet_matrix_counts_every_shown_relation(rows):
    vocabulary = numbered_names(8, 5)
    relations = made_relations(np.random.default_rng(0), rows, 8, 5)
    figure = long_tail.triplet_matrix(relations, vocabulary, most=40)
    assert int(np.sum(figure.data[0].customdata)) == rows


@pytest.mark.parametrize("augmented", [0, 30])
def test_hardness_spectrum_with_and_without_augmented_captions(augmented):
    rng = np.random.default_rng(1)
    hardness = rng.dirichlet(np.full(7, 50.0), 20 + augmented)
    entropy = -(hardness * np.log(hardness)).sum(axis=1)
    figure = language.hardness_spectrum(hardness, entropy, np.arange(20 + augmented) < 20)
    assert sum(trace.type == "histogram" for trace in figure.data) == 1 + (augmented > 0)


def test_augmented_by_class_adds_up():
    table = made_relations(np.random.default_rng(2), 90, 6, 4).assign(band=["few"] * 50 + ["medium"] * 40)
    figure = language.augmented_by_class(table, numbered_names(6, 4).relations, "relation")
    assert sum(sum(trace.y) for trace in figure.data) == 90


def test_similarity_below_the_threshold_is_left_out():
    lch = np.array([[3.6, 2.3, np.nan], [2.3, 3.6, 1.0], [np.nan, 1.0, np.nan]])
    figure = language.similarity_matrix(lch, ("a", "b", "c"), np.arange(3), 2.26)
    assert np.isfinite(np.array(figure.data[0].z, dtype=float)).sum() == 4


@pytest.mark.parametrize("names", [1, 2, 25])
def test_name_similarity_keeps_all_names(names):
    vectors = np.random.default_rng(3).standard_normal((names, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    figure = language.name_similarity(vectors, tuple(map(str, range(names))))
    assert set(figure.data[0].x) == set(map(str, range(names)))
    assert np.allclose(np.diag(np.array(figure.data[0].z)), 1.0)


def test_live_loss_is_one_figure_that_changes_and_draws_nothing_without_a_screen(monkeypatch):
    monkeypatch.delenv("WORKBENCH_HEADLESS", raising=False)
    live, shown = training.LiveLoss("title"), []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **options: shown.append(options["update"]))
    for step in range(5):
        live({"step": step, "seconds": float(step), "loss": 2.0})
    assert shown == [False, True, True]
    monkeypatch.setenv("WORKBENCH_HEADLESS", "1")
    live({"step": 5, "seconds": 60.0, "loss": 1.0})
    assert len(shown) == 3 and len(live.rows) == 6


def test_per_class_change_shows_points_of_each_class():
    change = pd.DataFrame({
        "role": ["subject", "subject", "relation"], "name": ["a", "b", "on"], "band": ["many", "few", "many"],
        "n_train": [9, 1, 5], "n_test": [3, 3, 3], "before": [50.0, 0.0, 10.0], "after": [40.0, 30.0, 10.0],
    })  # fmt: skip
    figure = results.per_class_figure(change)
    assert sorted(value for trace in figure.data for value in trace.y) == [-10.0, 0.0, 30.0]


def test_fidelity_bars_have_a_bar_for_each_set_and_metric():
    values = {"precision": [0.5, 0.9], "recall": [0.2, np.nan], "frechet": [np.nan, np.nan]}
    figure = fidelity.fidelity_bars(pd.DataFrame(values, index=["generated", "floor"]), {name: name for name in values})
    assert [len(trace.y) for trace in figure.data] == [2, 2, 2]
    notes = [note for note in figure.layout.annotations if "too few rows" in note.text]
    assert [note.xref for note in notes] == ["x3 domain"]  # an empty panel says why it is empty


def test_what_more_evaluations_change_is_said():
    figure = fidelity.evaluations_bars({"4": 9.0, "8": 6.0, "20": 6.3, "floor": 2.5})
    assert "from 8 to 20 +5.0 %; 3.5 above" in figure.layout.title.text
    assert list(figure.data[0].y) == [9.0, 6.0, 6.3, 2.5]
    figure = fidelity.evaluations_bars({"4": 9.0, "8": 6.0, "20": 5.7, "floor": 7.0})
    assert "\N{MINUS SIGN}5.0 %; no further than the floor" in figure.layout.title.text
    for few in ({}, {"floor": None}, {"4": None, "8": None, "floor": None}):
        figure = fidelity.evaluations_bars(few)
        assert "above" not in figure.layout.title.text and "too few rows" in figure.layout.annotations[-1].text
