import numpy as np
import pandas as pd
import pytest

from workbench.diffusion.seeds import fit_seed_map, subject_object_seed
from workbench.errors import WorkbenchError


class Store:
    """A store in memory: boxes of 4 classes; class 3 is an object only."""

    encoder, support = "fake", "signed"

    def __init__(self, n=400, dimension=5, entity_region="box", seed=0):
        draw = np.random.default_rng(seed)
        self.dimension, self.entity_region = dimension, entity_region
        subject, object_ = draw.integers(0, 3, n), draw.integers(0, 4, n)
        rows = np.arange(n)
        ends = (2 * rows, 2 * rows + 1) if entity_region == "box" else (rows, rows)
        self.relations = pd.DataFrame({"subject": subject, "object": object_, "relation": 0})
        self.relations = self.relations.assign(subject_box=ends[0], object_box=ends[1])
        classes = np.stack([subject, object_], 1).reshape(-1) if entity_region == "box" else subject
        self.boxes = pd.DataFrame({"object_class": classes})
        self.box_features = draw.standard_normal((len(classes), dimension)).astype(np.float32)
        self.map, self.offset = draw.standard_normal((dimension, dimension)), draw.standard_normal(dimension)

    def __len__(self):
        return len(self.relations)

    def box(self, rows):
        return self.box_features[rows]

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
    seeds = subject_object_seed(store, asked, seed=0)
    classes = store.boxes["object_class"].to_numpy()
    assert (classes[seeds.subject_box] == asked["subject"]).all() and (
        classes[seeds.object_box] == asked["object"]
    ).all()
    for object_class in range(4):
        drawn = np.bincount(seeds.subject_box[asked["subject"] == object_class], minlength=len(classes))
        drawn = drawn[classes == object_class]
        assert drawn.min() > 0 and drawn.max() < 3 * drawn.mean() + 15
    expected = 0.5 * (store.box_features[seeds.subject_box[:9]] + store.box_features[seeds.object_box[:9]])
    np.testing.assert_allclose(seeds.means(store, np.arange(9)), expected, rtol=1e-6)


def test_unions_stand_in_by_role_and_fall_back_to_the_other_role():
    store, asked = Store(entity_region="union"), triplets(500)
    seeds, relations = subject_object_seed(store, asked, seed=0), store.relations
    as_subject = asked["subject"] < 3  # class 3 is never a subject
    subjects, objects = relations["subject"].to_numpy(), relations["object"].to_numpy()
    assert (subjects[seeds.subject_box[as_subject]] == asked["subject"][as_subject]).all()
    assert (objects[seeds.subject_box[~as_subject]] == 3).all()
    assert (objects[seeds.object_box] == asked["object"]).all()


def test_draws_depend_on_the_seed_alone():
    store, asked = Store(), triplets(50)
    first, again, other = (subject_object_seed(store, asked, seed) for seed in (0, 0, 1))
    assert (first.subject_box == again.subject_box).all() and (first.subject_box != other.subject_box).any()
    part = subject_object_seed(store, asked[:20], 0)
    assert (part.object_box == first.object_box[:20]).all()


def test_a_class_without_boxes_is_named():
    with pytest.raises(WorkbenchError, match="object class 7, the object"):
        subject_object_seed(Store(), triplets(5).assign(object=7), 0)


@pytest.mark.parametrize("dimension", [3, 12])
def test_the_seed_map_recovers_an_affine_relation(dimension):
    store = Store(2000, dimension)
    fitted = fit_seed_map(store, seed=0, ridge=1e-9)
    seeds = np.random.default_rng(1).standard_normal((20, dimension)).astype(np.float32)
    np.testing.assert_allclose(fitted(seeds), seeds @ store.map + store.offset, atol=2e-3)
    from sklearn.linear_model import Ridge

    x = 0.5 * (store.subject(np.arange(2000)) + store.object(np.arange(2000)))
    trace = np.square(x - x.mean(0)).sum()
    reference = Ridge(alpha=0.3 * trace / dimension).fit(x, store.union(np.arange(2000)))
    np.testing.assert_allclose(fit_seed_map(store, 0, ridge=0.3)(seeds), reference.predict(seeds), atol=2e-3)


def test_a_seed_map_exists_for_fewer_rows_than_dimensions():
    store = Store(4, 9)
    assert np.isfinite(fit_seed_map(store, 0)(store.box_features)).all()
