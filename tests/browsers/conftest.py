"""A small long-tailed data set with images, hostile names among its classes, features, triplets and generated rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.synthetic import write_features, write_generated, write_text
from workbench.browsers.triplet_index import write_triplet_index
from workbench.language.config import AugmentationConfig
from workbench.language.triplets import write_triplets
from workbench.scenes.vocabulary import Vocabulary

OBJECTS = ("Cup", "mug", "<script>alert(1)</script>", "plate", "bowl", "dog", "cat", "horse", "A & B", "truck", "Café")
RELATIONS = ("on", "next to", "<b>near</b>", '"><img src=x onerror=alert(1)>', "under $x$")
VOCABULARY = Vocabulary(OBJECTS, RELATIONS)
DIMENSION, REAL, GENERATED = 16, 400, 150


def write_images(folder: Path, names) -> Path:
    """An image of its own colour for each name."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (60, 50), (number, 90, 120)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def browsed(tmp_path_factory) -> Path:
    """Folders features (train, val), images, text, triplets, index and generated."""
    folder = tmp_path_factory.mktemp("browsed")
    rows = {"train": REAL, "val": 90}
    train = write_features(folder / "features", VOCABULARY, rows, tail=1.4, dimension=DIMENSION).train
    write_images(folder / "images", train.images["file_name"])
    write_text(folder / "text", VOCABULARY)
    config = AugmentationConfig(medium_quota=40, few_quota=60, centroids=5, threshold=1.2)
    write_triplets(folder / "triplets", features=folder / "features", text=folder / "text", config=config)
    write_triplet_index(folder / "index", features=folder / "features", triplets=folder / "triplets")
    augmented = pd.read_parquet(folder / "triplets" / "augmented.parquet")
    write_generated(folder / "generated", train, augmented.iloc[np.arange(GENERATED) % len(augmented)])
    return folder
