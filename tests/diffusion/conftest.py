import numpy as np
import pandas as pd
import pytest

from workbench.language.config import AugmentationConfig
from workbench.language.text_embedding import write_class_vectors
from workbench.language.triplets import write_triplets
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.scenes.vocabulary import Vocabulary

OBJECTS = ("cup", "mug", "plate", "bowl", "dog", "cat", "horse", "car", "truck", "bus", "apple", "orange")
RELATIONS = ("on", "near", "under", "holding")
DIMENSION = 8


def write_store(folder, relations, vocabulary, entity_region, seed):
    """A store whose features sit around one mean for each class; every relation has two boxes of its own."""
    draw = np.random.default_rng(seed)
    means = np.random.default_rng(99).standard_normal((len(vocabulary.objects), DIMENSION)) * 2
    n = len(relations)
    images = pd.DataFrame({"image_id": np.arange(3), "file_name": ["a", "b", "c"], "width": 9, "height": 9})
    s, o = relations["subject"].to_numpy(), relations["object"].to_numpy()
    noise = lambda rows: draw.standard_normal((rows, DIMENSION)) * 0.3  # noqa: E731
    unions = means[s] + means[o] + relations["relation"].to_numpy()[:, None] + noise(n)
    if entity_region == "box":
        boxes = pd.DataFrame({"image": np.arange(2 * n) % 3, "object_class": np.stack([s, o], 1).reshape(-1)})
        ends = {"subject_box": 2 * np.arange(n), "object_box": 2 * np.arange(n) + 1}
    else:
        boxes = pd.DataFrame({"image": np.arange(n) % 3, "object_class": s})
        ends = {"subject_box": np.arange(n), "object_box": np.arange(n)}
    for name in ("x1", "y1", "x2", "y2"):
        boxes[name] = np.float32(1.0)
    relations = relations.assign(image=np.arange(n) % 3, **ends)
    writer = FeatureStoreWriter(
        folder, images=images, boxes=boxes, relations=relations, dimension=DIMENSION, encoder="test encoder",
        support="signed", entity_region=entity_region,
    )  # fmt: skip
    writer.write("union_features", 0, unions)
    if entity_region == "box":
        writer.write("box_features", 0, means[boxes["object_class"]] + noise(2 * n))
    writer.finish()


def long_tailed_relations(n, seed):
    draw = np.random.default_rng(seed)
    rate = 1.0 / np.arange(1, len(OBJECTS) + 1)
    classes = draw.choice(len(OBJECTS), (n, 2), p=rate / rate.sum())
    relation = draw.choice(len(RELATIONS), n, p=[0.6, 0.25, 0.1, 0.05])
    return pd.DataFrame({"subject": classes[:, 0], "relation": relation, "object": classes[:, 1]})


def write_features(folder, entity_region="box", rows=300):
    """A features folder with a text folder; returns the input folders of the stages after it."""
    vocabulary = Vocabulary(OBJECTS, RELATIONS)
    vocabulary.write(folder)
    for seed, (split, n) in enumerate((("train", rows), ("val", 40), ("test", 40))):
        write_store(folder / split, long_tailed_relations(n, seed), vocabulary, entity_region, seed)
    draw = np.random.default_rng(5)
    vectors = {name: draw.standard_normal((len(getattr(vocabulary, name)), 6)) for name in ("objects", "relations")}
    write_class_vectors(folder / "text", vocabulary=vocabulary, encoder="test vectors", **vectors)
    return {"features": folder, "text": folder / "text"}


@pytest.fixture(scope="session")
def small_features(tmp_path_factory):
    """Folders features, text and triplets of a small long-tailed data set with boxes."""
    return write_stages(tmp_path_factory.mktemp("small"), "box")


@pytest.fixture(scope="session")
def union_features(tmp_path_factory):
    """The same for a data set that brings union features alone."""
    return write_stages(tmp_path_factory.mktemp("unions"), "union")


def write_stages(folder, entity_region):
    inputs = write_features(folder / "features", entity_region)
    config = AugmentationConfig(medium_quota=40, few_quota=60, centroids=5, seed=1)
    write_triplets(folder / "triplets", **inputs, config=config)
    return inputs | {"triplets": folder / "triplets"}
