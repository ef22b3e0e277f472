import numpy as np
import pandas as pd
import pytest
import scipy

from workbench.diffusion import exemplars
from workbench.diffusion.exemplars import draw_boxes, fit_init_map, initial_features, moments
from workbench.errors import WorkbenchError


class Store:
    """A store in memory: boxes of 4 classes; class 3 is an object only; unions are an affine map of their boxes."""

    def __init__(self, n=400, dimension=5, entity_region="box", seed=0):
        draw = np.random.default_rng(seed)
        self.dimension, self.entity_region = dimension, entity_region
        ends, rows = draw.integers(0, (3, 4), (n, 2)), np.arange(2 * n).reshape(n, 2)
        if entity_region == "union":
            rows = np.arange(n).repeat(2).reshape(n, 2)
        columns = {"subject": ends[:, 0], "object": ends[:, 1], "subject_box": rows[:, 0], "object_box": rows[:, 1]}
        self.relations = pd.DataFrame(columns | {"relation": 0})
        self.boxes = pd.DataFrame({"object_class": ends.reshape(-1) if entity_region == "box" else ends[:, 0]})
        self.box = draw.standard_normal((len(self.boxes), dimension)).astype(np.float32).__getitem__
        self.map, self.offset = draw.standard_normal((dimension, dimension)), draw.standard_normal(dimension)

    def __len__(self):
        return len(self.relations)

    def subject(self, rows):
        return self.box(self.relations["subject_box"].to_numpy()[rows])

    def object(self, rows):
        return self.box(self.relations["object_box"].to_numpy()[rows])

    def union(self, rows):
        return ((self.subject(rows) + self.object(rows)) / 2 @ self.map + self.offset).astype(np.float32)


def triplets(n, seed=0):
    draw = np.random.default_rng(seed)
    return pd.DataFrame({"subject": draw.integers(0, 4, n), "relation": 0, "object": draw.integers(0, 4, n)})


def test_boxes_are_of_the_asked_class_and_drawn_alike():
    store, asked = Store(), triplets(20_000)
    drawn, classes = draw_boxes(store, asked, 0), store.boxes["object_class"].to_numpy()
    for role in ("subject", "object"):
        assert (classes[drawn[f"{role}_box"]] == asked[role]).all()
    for object_class in range(4):
        often = np.bincount(drawn["subject_box"][asked["subject"] == object_class], minlength=len(classes))
        often = often[classes == object_class]
        assert often.min() > 0 and often.max() < 3 * often.mean() + 15


def test_unions_stand_in_by_role_and_fall_back_to_the_other_role():
    store, asked = Store(entity_region="union"), triplets(500)
    drawn, relations = draw_boxes(store, asked, 0), store.relations
    as_subject = asked["subject"] < 3  # class 3 is never a subject
    subjects, objects = relations["subject"].to_numpy(), relations["object"].to_numpy()
    assert (subjects[drawn["subject_box"][as_subject]] == asked["subject"][as_subject]).all()
    assert (objects[drawn["subject_box"][~as_subject]] == 3).all()
    assert (objects[drawn["object_box"]] == asked["object"]).all()


def test_draws_depend_on_the_seed_alone():
    store, asked = Store(), triplets(50)
    first, again, other = (draw_boxes(store, asked, seed) for seed in (0, 0, 1))
    assert first.equals(again) and (first["subject_box"] != other["subject_box"]).any()
    assert draw_boxes(store, asked[:20], 0).equals(first[:20])


def test_a_class_that_training_never_shows_is_named():
    remedy = "Sample triplets of classes that the training split"
    with pytest.raises(WorkbenchError, match=f"object class 7, the object of a triplet to sample, .*{remedy}"):
        draw_boxes(Store(), triplets(5).assign(object=7), 0)
    with pytest.raises(WorkbenchError, match="relation class 9, the relation of a triplet"):
        asked = draw_boxes(Store(), triplets(5).assign(relation=9), 0)
        initial_features(Store(), asked, "subject-relation-object", "none", 0)


@pytest.mark.parametrize("init_map", ["none", "affine"])
def test_the_initial_features_are_means_of_what_was_drawn(init_map):
    store, rows = Store(), np.array([7, 0, 3])
    table = draw_boxes(store, triplets(9), 0)
    pair = 0.5 * (store.box(table["subject_box"][rows]) + store.box(table["object_box"][rows]))
    if init_map == "affine":
        pair = fit_init_map(store, 0)(pair)
    kinds = ("subject-object", "subject-relation-object")
    two, three = (initial_features(store, table, init, init_map, 0)(rows) for init in kinds)
    np.testing.assert_allclose(two, pair, rtol=1e-5, atol=1e-6)
    distances = scipy.spatial.distance.cdist(3 * three - 2 * pair, store.union(np.arange(len(store))))
    assert distances.min(axis=1).max() < 1e-4 and initial_features(store, table, "random", init_map, 0) is None


def test_the_init_map_recovers_an_affine_relation():
    store, dimension = Store(2000, 7), 7
    fitted = fit_init_map(store, seed=0, ridge=1e-9)
    seeds = np.random.default_rng(1).standard_normal((20, dimension)).astype(np.float32)
    np.testing.assert_allclose(fitted(seeds), seeds @ store.map + store.offset, atol=2e-3)
    from sklearn.linear_model import Ridge

    x = 0.5 * (store.subject(np.arange(2000)) + store.object(np.arange(2000)))
    trace = np.square(x - x.mean(0)).sum()
    reference = Ridge(alpha=0.3 * trace / dimension).fit(x, store.union(np.arange(2000)))
    np.testing.assert_allclose(fit_init_map(store, 0, ridge=0.3)(seeds), reference.predict(seeds), atol=2e-3)
    few = Store(4, 9)  # fewer rows than dimensions
    assert np.isfinite(fit_init_map(few, 0)(few.box(np.arange(8)))).all()


def test_moments_are_those_of_the_rows_in_any_chunks(monkeypatch):
    features = np.random.default_rng(0).standard_normal((2500, 4)) * [1, 2, 3, 0] + [0, 9, 1e4, 0.1]
    features, rows = features.astype(np.float32), np.arange(5, 2500)
    for chunk in (2048, 100):
        monkeypatch.setattr(exemplars, "ROWS_PER_CHUNK", chunk)
        mean, spread = moments(features.__getitem__, rows)
        np.testing.assert_allclose(mean, features[5:].mean(axis=0, dtype=np.float64), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(spread, features[5:].std(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-9)
        assert spread[3] == 0 and mean[3] == features[0, 3]
