"""A small long-tailed data set: tables and class vectors, all that augmentation needs."""

import numpy as np
import pandas as pd
import pytest

from workbench.language.text_embedding import write_class_vectors
from workbench.scenes.annotations import Annotations
from workbench.scenes.relations import write_relation_tables
from workbench.scenes.vocabulary import Vocabulary

OBJECTS = ("cup", "mug", "plate", "bowl", "dog", "cat", "horse", "car", "truck", "bus", "apple", "orange")
RELATIONS = ("on", "near", "under", "holding")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """The folders ``features`` (tables of train alone) and ``text``."""
    folder, draw = tmp_path_factory.mktemp("language"), np.random.default_rng(0)
    vocabulary, rate, n = Vocabulary(OBJECTS, RELATIONS), 1.0 / np.arange(1, len(OBJECTS) + 1), 300
    ends = draw.choice(len(OBJECTS), (n, 2), p=rate / rate.sum())
    relation = draw.choice(len(RELATIONS), n, p=[0.6, 0.25, 0.1, 0.05])
    images = pd.DataFrame({"image_id": [0], "file_name": ["a.jpg"], "width": 9, "height": 9})
    boxes = pd.DataFrame({"image": 0, "x1": 0.0, "y1": 0.0, "x2": 5.0, "y2": 5.0, "object_class": ends.reshape(-1)})
    rows = {"image": 0, "subject_box": 2 * np.arange(n), "object_box": 2 * np.arange(n) + 1}
    relations = pd.DataFrame(rows | {"subject": ends[:, 0], "relation": relation, "object": ends[:, 1]})
    vocabulary.write(folder / "features")
    tables = Annotations("train", vocabulary, images, boxes, relations, folder)
    write_relation_tables(folder / "features" / "train", tables)
    vectors = {name: draw.standard_normal((len(getattr(vocabulary, name)), 6)) for name in ("objects", "relations")}
    write_class_vectors(folder / "text", vocabulary=vocabulary, encoder="test vectors", **vectors)
    return {"features": folder / "features", "text": folder / "text"}
