"""Right or wrong on the map is what evaluation says of the same rows."""

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.browsers.map_points import right_or_wrong
from workbench.errors import WorkbenchError
from workbench.files import save_array
from workbench.language.text_embedding import write_class_vectors
from workbench.recognition.checkpoint import load_recogniser
from workbench.recognition.evaluation import evaluate_recogniser
from workbench.recognition.prediction import probability_batches
from workbench.recognition.stored_features import FeatureRows
from workbench.recognition.training import train_recogniser
from workbench.regions.feature_store import FeatureStore
from workbench.regions.feature_store_writer import FeatureStoreWriter
from workbench.regions.generated_features import GeneratedFeatures, finish_generated
from workbench.scenes.vocabulary import ROLES, Vocabulary

OBJECTS, RELATIONS, DIMENSION, ROWS = 6, 3, 10, 90


def write_features(folder, seed: int = 0):
    random = np.random.default_rng(seed)
    vocabulary = Vocabulary(tuple(f"o{k}" for k in range(OBJECTS)), tuple(f"r{k}" for k in range(RELATIONS)))
    vocabulary.write(folder)
    for split in ("train", "val"):
        ends = random.integers(0, OBJECTS, (ROWS, 2))
        relations = pd.DataFrame({
            # Images of several relations that are not neighbours in the table.
            "image": np.arange(ROWS) % 25, "subject_box": np.arange(ROWS), "object_box": ROWS + np.arange(ROWS),
            "subject": ends[:, 0], "relation": random.integers(0, RELATIONS, ROWS), "object": ends[:, 1],
        })  # fmt: skip
        boxes = pd.DataFrame({"image": np.tile(relations["image"], 2), "object_class": ends.T.reshape(-1)})
        boxes = boxes.assign(**dict.fromkeys(("x1", "y1", "x2", "y2"), np.float32(1)))
        images = pd.DataFrame({"image_id": np.arange(25), "file_name": "a.jpg", "width": 9, "height": 9})
        writer = FeatureStoreWriter(folder / split, images=images, boxes=boxes, relations=relations,
                                   dimension=DIMENSION, encoder="made-up", support="signed")  # fmt: skip
        writer.write_boxes(0, random.standard_normal((2 * ROWS, DIMENSION)) + boxes["object_class"].to_numpy()[:, None])
        writer.write_unions(0, random.standard_normal((ROWS, DIMENSION)))
        writer.finish()
    vectors = {name: random.standard_normal((size, 5)) for name, size in
               (("objects", OBJECTS), ("relations", RELATIONS))}  # fmt: skip
    write_class_vectors(folder / "text", vocabulary=vocabulary, encoder="made-up text", **vectors)
    return folder


def write_generated(folder, features, rows: int = 40):
    random = np.random.default_rng(1)
    table = pd.DataFrame({role: random.integers(0, RELATIONS, rows) for role in ROLES})
    table = table.assign(**{f"{role}_box": random.integers(0, 2 * ROWS, rows) for role in ("subject", "object")})
    save_array(folder / "union_features.npy", random.standard_normal((rows, DIMENSION)).astype(np.float16))
    finish_generated(folder, table, FeatureStore.open(features / "train"), "seed")
    return folder


@pytest.mark.parametrize("architecture", ["lsvru", "reltransformer"])
def test_points_are_right_where_evaluation_finds_their_rows_right(tmp_path, architecture):
    features = write_features(tmp_path / "features")
    generated = write_generated(tmp_path / "generated", features)
    sizes = (
        {"heads": 2, "width": 8, "scene_layers": 1, "scene_hidden": 8, "block_hidden": 8, "memory": 2}
        if architecture == "reltransformer"
        else None
    )
    train_recogniser(tmp_path / "recogniser", features=features, text=features / "text", architecture=architecture,
                     epochs=3, hidden=8, sizes=sizes, batch_size=32, device="cpu")  # fmt: skip
    evaluate_recogniser(tmp_path / "evaluation", recogniser=tmp_path / "recogniser", features=features, split="train")
    evaluated = pd.read_parquet(tmp_path / "evaluation" / "predictions.parquet").set_index("row")
    real, made = np.array([71, 3, 40, 4]), np.array([39, 0, 17])
    points = pd.DataFrame({"source": np.repeat(["generated", "real"], [3, 4]), "row": np.concatenate([made, real])})
    right = right_or_wrong(tmp_path / "recogniser", features, generated, points)
    alone = FeatureRows(GeneratedFeatures.open(generated, FeatureStore.open(features / "train")), "generated")
    head = load_recogniser(tmp_path / "recogniser").head
    ((_, scores),) = probability_batches(head, alone, torch.device("cpu"))
    for role in ROLES:
        assert right[role][3:].tolist() == evaluated.loc[real, f"{role}_correct"].tolist()
        assert right[role][:3].tolist() == (scores[role].argmax(axis=1) == alone.labels[role])[made].tolist()


def test_a_recogniser_of_other_features_is_refused(tmp_path):
    features = write_features(tmp_path / "features")
    train_recogniser(tmp_path / "recogniser", features=features, text=features / "text", epochs=1, hidden=4,
                     device="cpu")  # fmt: skip
    Vocabulary(("a",), ("b",)).write(features)
    points = pd.DataFrame({"source": ["real"], "row": [0]})
    with pytest.raises(WorkbenchError, match="names"):
        right_or_wrong(tmp_path / "recogniser", features, tmp_path, points)
