"""A small long-tailed data set with pictures, hostile names among its classes, and its triplets, indexed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workbench.browsers.triplet_index import write_triplet_index
from workbench.language.config import AugmentationConfig
from workbench.language.text_embedding import write_class_vectors
from workbench.language.triplets import write_triplets
from workbench.scenes.annotations import Annotations
from workbench.scenes.relations import write_relation_tables
from workbench.scenes.vocabulary import ROLES, Vocabulary

OBJECTS = ("Cup", "mug", "plate", "bowl", "dog", "cat", "horse", "car", "truck", "Café", "T-shirt", "<script>", "a&b")
RELATIONS = ("on", "next to", "under", '"><img src=x onerror=alert(1)>', "holding")


@pytest.fixture(scope="session")
def browsed(tmp_path_factory) -> Path:
    """Folders features (train tables), images, text, triplets and index of 400 relations in 40 pictures."""
    folder, vocabulary = tmp_path_factory.mktemp("browsed"), Vocabulary(OBJECTS, RELATIONS)
    random, rows = np.random.default_rng(1), 400
    relations = pd.DataFrame({role: random.zipf(1.4, rows) % len(vocabulary.names(role)) for role in ROLES})
    ends = relations[["subject", "object"]].to_numpy().reshape(-1)
    image = np.sort(random.integers(0, 40, rows))
    corners = random.integers(0, 30, (2 * rows, 2)).astype(float)
    boxes = pd.DataFrame({"image": image.repeat(2), "x1": corners[:, 0], "y1": corners[:, 1]})
    boxes = boxes.assign(x2=boxes["x1"] + 20, y2=boxes["y1"] + 20, object_class=ends)
    pairs = np.arange(2 * rows).reshape(-1, 2)
    relations = relations.assign(image=image, subject_box=pairs[:, 0], object_box=pairs[:, 1])
    names = [f"{number}.jpg" for number in range(40)]
    images = pd.DataFrame({"image_id": np.arange(40), "file_name": names, "width": 60, "height": 50})
    (folder / "images").mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (60, 50), (6 * number, 90, 120)).save(folder / "images" / name)
    vocabulary.write(folder / "features")
    annotations = Annotations("train", vocabulary, images, boxes, relations, folder)
    write_relation_tables(folder / "features" / "train", annotations)
    vectors = {name: random.standard_normal((len(getattr(vocabulary, name)), 6)) for name in ("objects", "relations")}
    write_class_vectors(folder / "text", vocabulary=vocabulary, encoder="test vectors", **vectors)
    write_triplets(folder / "triplets", features=folder / "features", text=folder / "text",
                   config=AugmentationConfig(medium_quota=40, few_quota=60, centroids=5))  # fmt: skip
    write_triplet_index(folder / "index", features=folder / "features", triplets=folder / "triplets")
    return folder
