"""Upstream's heads, drawn by name, and a small made-up data set: class centres, a long tail, text, generated rows."""

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.files import save_array
from workbench.language.text_embedding import write_class_vectors
from workbench.recognition.config import TRAINING, RecogniserConfig
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import FeatureStore, finish_generated
from workbench.scenes.vocabulary import Vocabulary

N_OBJECTS, N_RELATIONS, DIMENSION, TEXT_DIMENSION = 7, 4, 12, 9
SMALL = {"hidden": 24, "batch_size": 64, "training": replace(TRAINING, learning_rate=3e-3)}


ROLE_OF = {"sbj": "subject", "prd": "relation", "obj": "object"}
LOGITS = {"rtol": 1e-4, "atol": 3e-5}


def derived(expected, key, shape, factor=1.0):
    """The tensor that a fixture's numbers were computed from: normal draws by the fixture's seed and a name."""
    random = np.random.RandomState(zlib.crc32(f"{int(expected['seed'])}:{key}".encode()))
    return torch.from_numpy(random.standard_normal(shape).astype("float32") * np.float32(factor))


def derived_words(expected):
    return [derived(expected, f"input.{name}", (rows, 300), 1 / np.sqrt(300))
            for name, rows in {"obj_vecs": 1703, "prd_vecs": 311}.items()]  # fmt: skip


def upstream_lsvru(expected):
    head = LsvruHead(LsvruConfig(4096, 300, 1703, 310), *derived_words(expected))
    with torch.no_grad():
        for key, parameter in head.named_parameters():
            factor = 0.01 if parameter.ndim == 1 else 1 / np.sqrt(parameter.shape[-1])
            parameter.copy_(derived(expected, key, tuple(parameter.shape), factor))
    return head


@dataclass
class SmallData:
    features: Path
    text: Path
    generated: Path
    vocabulary: Vocabulary


def relations_table(random, rows, tail):
    shares = {n: (1 / np.arange(1, n + 1)) ** tail for n in (N_OBJECTS, N_RELATIONS)}
    draw = lambda n: random.choice(n, rows, p=shares[n] / shares[n].sum())  # noqa: E731
    return pd.DataFrame({"subject": draw(N_OBJECTS), "relation": draw(N_RELATIONS), "object": draw(N_OBJECTS)})


def write_split(folder, random, centres, rows, tail, entity_region="box", encoder="made-up", dimension=DIMENSION):
    """A store whose box features are noisy class centres and whose union features are those of all three roles."""
    table = relations_table(random, rows, tail)
    ends = np.concatenate([table["subject"], table["object"]])
    noise = lambda n: 0.7 * random.standard_normal((n, dimension))  # noqa: E731
    boxes = centres[0][ends][:, :dimension] + noise(2 * rows)
    unions = centres[1][table["relation"]][:, :dimension] + (boxes[:rows] + boxes[rows:]) / 4 + noise(rows)
    n_boxes = 2 * rows if entity_region == "box" else rows
    box_rows = (np.arange(rows), rows + np.arange(rows)) if entity_region == "box" else (np.arange(rows),) * 2
    relations = table.assign(image=np.arange(rows) // 3, subject_box=box_rows[0], object_box=box_rows[1])
    corners = {name: np.zeros(n_boxes, np.float32) for name in ("x1", "y1", "x2", "y2")}
    classes = ends if entity_region == "box" else np.zeros(rows, int)
    images = np.tile(relations["image"], 2)[:n_boxes]
    n_images = rows // 3 + 1
    writer = FeatureStoreWriter(
        folder,
        images=pd.DataFrame({"image_id": np.arange(n_images), "file_name": [f"{k}.jpg" for k in range(n_images)],
                             "width": 10, "height": 10}),
        boxes=pd.DataFrame({"image": images, **corners, "object_class": classes}),
        relations=relations, dimension=dimension, encoder=encoder, entity_region=entity_region,
    )  # fmt: skip
    if entity_region == "box":
        writer.write("box_features", 0, boxes)
    writer.write("union_features", 0, unions)
    writer.finish()
    return relations


def write_generated(folder, random, centres, rows, train):
    table = relations_table(random, rows, tail=0.0)
    replaced = random.choice(["subject", "object"], rows)
    because = np.where(random.random(rows) < 0.5, "relation", np.where(replaced == "subject", "object", "subject"))
    boxes = {f"{role}_box": random.integers(0, len(train.boxes), rows) for role in ("subject", "object")}
    table = table.assign(replaced=replaced, because=because, **boxes)
    folder.mkdir(parents=True, exist_ok=True)
    union = centres[1][table["relation"]] + 0.7 * random.standard_normal((rows, DIMENSION))
    save_array(folder / "union_features.npy", union.astype(np.float16))
    finish_generated(folder, table, train, "seed")


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    random = np.random.default_rng(0)
    centres = random.standard_normal((N_OBJECTS, DIMENSION)), random.standard_normal((N_RELATIONS, DIMENSION))
    vocabulary = Vocabulary(
        ("dog", "cat", "cup", "car", "bed", "hat", "sky"), ("on", "under", "near", "to the left of")
    )
    vocabulary.write(root / "features")
    for split, rows, tail in (("train", 300, 1.5), ("val", 120, 0.3), ("test", 150, 0.0)):
        write_split(root / "features" / split, random, centres, rows, tail)
    write_class_vectors(root / "text", vocabulary=vocabulary, encoder="made-up text",
                        objects=random.standard_normal((N_OBJECTS, TEXT_DIMENSION)),
                        relations=random.standard_normal((N_RELATIONS, TEXT_DIMENSION)))  # fmt: skip
    write_generated(root / "generated", random, centres, 200, FeatureStore.open(root / "features" / "train"))
    return SmallData(root / "features", root / "text", root / "generated", vocabulary)


@pytest.fixture(scope="session")
def trained(small_data, tmp_path_factory):
    """A recogniser trained on the small data; do not write into its folder."""
    from workbench.recognition.training import train_recogniser

    folder = tmp_path_factory.mktemp("trained")
    config = RecogniserConfig(epochs=4, **SMALL)
    train_recogniser(folder, features=small_data.features, text=small_data.text, config=config)
    return folder
