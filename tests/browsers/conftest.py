"""A small long-tailed data set with images, hostile names among its classes, features, triplets and generated rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workbench.browsers.triplet_index import write_triplet_index
from workbench.files import save_array
from workbench.language.config import AugmentationConfig
from workbench.language.text_embedding import write_class_vectors
from workbench.language.triplets import write_triplets
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import FeatureStore, finish_generated
from workbench.scenes.vocabulary import ROLES, Vocabulary

OBJECTS = ("Cup", "mug", "<script>alert(1)</script>", "plate", "bowl", "dog", "cat", "horse", "A & B", "truck", "Café")
RELATIONS = ("on", "next to", "<b>near</b>", '"><img src=x onerror=alert(1)>', "under $x$")
VOCABULARY = Vocabulary(OBJECTS, RELATIONS)
DIMENSION, REAL, GENERATED, IMAGES = 16, 400, 150, 40


def write_store(folder: Path, rows: int = REAL, seed: int = 1, dimension: int = DIMENSION) -> FeatureStore:
    """A split of random relations with features in which classes can be told apart."""
    random = np.random.default_rng(seed)
    relations = pd.DataFrame({role: random.zipf(1.4, rows) % len(VOCABULARY.names(role)) for role in ROLES})
    ends = relations[["subject", "object"]].to_numpy().reshape(-1)
    image = np.sort(random.integers(0, IMAGES, rows))
    corners = random.integers(0, 30, (2 * rows, 2)).astype(np.float32)
    boxes = pd.DataFrame({"image": image.repeat(2), "x1": corners[:, 0], "y1": corners[:, 1]})
    boxes = boxes.assign(x2=boxes["x1"] + 20, y2=boxes["y1"] + 20, object_class=ends)
    relations = relations.assign(
        image=image, subject_box=np.arange(0, 2 * rows, 2), object_box=np.arange(1, 2 * rows, 2)
    )
    images = pd.DataFrame({"image_id": range(IMAGES), "file_name": [f"{number}.jpg" for number in range(IMAGES)]})
    writer = FeatureStoreWriter(
        folder, relations=relations, boxes=boxes, images=images.assign(width=60, height=50), dimension=dimension,
        encoder="made-up", support="signed",
    )  # fmt: skip
    writer.write("box_features", 0, random.standard_normal((2 * rows, dimension)) + ends[:, None])
    writer.write(
        "union_features", 0, random.standard_normal((rows, dimension)) + relations["relation"].to_numpy()[:, None]
    )
    writer.finish()
    return FeatureStore.open(folder)


@pytest.fixture(scope="session")
def browsed(tmp_path_factory) -> Path:
    """Folders features (train, val), images, text, triplets, index and generated."""
    folder, random = tmp_path_factory.mktemp("browsed"), np.random.default_rng(7)
    (folder / "images").mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (60, 50), (6 * number, 90, 120)).save(folder / "images" / f"{number}.jpg")
    VOCABULARY.write(folder / "features")
    store = write_store(folder / "features" / "train")
    write_store(folder / "features" / "val", rows=90, seed=2)
    vectors = {name: random.standard_normal((len(getattr(VOCABULARY, name)), 6)) for name in ("objects", "relations")}
    write_class_vectors(folder / "text", vocabulary=VOCABULARY, encoder="test vectors", **vectors)
    config = AugmentationConfig(medium_quota=40, few_quota=60, centroids=5, threshold=1.2)
    write_triplets(folder / "triplets", features=folder / "features", text=folder / "text", config=config)
    write_triplet_index(folder / "index", features=folder / "features", triplets=folder / "triplets")
    augmented = pd.read_parquet(folder / "triplets" / "augmented.parquet")
    boxes = {f"{role}_box": random.integers(0, 2 * REAL, GENERATED) for role in ("subject", "object")}
    table = augmented.iloc[np.arange(GENERATED) % len(augmented)].reset_index(drop=True).assign(**boxes)
    features = random.standard_normal((GENERATED, DIMENSION)) + table["relation"].to_numpy()[:, None]
    (folder / "generated").mkdir()
    save_array(folder / "generated" / "union_features.npy", features.astype(np.float16))
    finish_generated(folder / "generated", table, store, "seed")
    return folder
