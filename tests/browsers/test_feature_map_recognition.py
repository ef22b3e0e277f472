"""Right or wrong on the map is what evaluation says of the same rows."""

import shutil

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from workbench.browsers.map_points import right_or_wrong
from workbench.recognition.batches import RelationRows
from workbench.recognition.config import EvaluationConfig, RecogniserConfig
from workbench.recognition.evaluation import evaluate_recogniser, probability_batches
from workbench.recognition.recogniser import load_recogniser
from workbench.recognition.training import train_recogniser
from workbench.regions.features import FeaturesFolder, GeneratedFeatures
from workbench.scenes.vocabulary import ROLES, Vocabulary

SMALL = {"heads": 2, "width": 8, "scene_layers": 1, "scene_hidden": 8, "block_hidden": 8, "memory": 2}


@pytest.mark.parametrize(("architecture", "sizes"), [("lsvru", {}), ("reltransformer", SMALL)])
def test_points_are_right_where_evaluation_finds_their_rows_right(browsed, tmp_path, architecture, sizes):
    features, generated = browsed / "features", browsed / "generated"
    config = RecogniserConfig(architecture, 8, sizes, epochs=3, batch_size=32)
    train_recogniser(tmp_path / "recogniser", features=features, text=browsed / "text", config=config)
    evaluate_recogniser(tmp_path / "evaluation", recogniser=tmp_path / "recogniser", features=features,
                        config=EvaluationConfig(split="train"))  # fmt: skip
    evaluated = pd.read_parquet(tmp_path / "evaluation" / "predictions.parquet").set_index("row")
    real, made = np.array([71, 3, 40, 4]), np.array([39, 0, 17])
    points = pd.DataFrame({"source": np.repeat(["generated", "real"], [3, 4]), "row": np.concatenate([made, real])})
    data = FeaturesFolder(features)
    samples = GeneratedFeatures(generated, data.train)
    right = right_or_wrong(tmp_path / "recogniser", data, samples, points)
    loaded = load_recogniser(tmp_path / "recogniser")
    alone = RelationRows(samples, loaded.vocabulary)
    ((_, scores),) = probability_batches(loaded.head, alone)
    for role in ROLES:
        assert right[role][3:].tolist() == evaluated.loc[real, f"{role}_correct"].tolist()
        assert right[role][:3].tolist() == (scores[role].argmax(axis=1) == alone.labels[role])[made].tolist()


def test_a_recogniser_of_other_features_is_refused(browsed, tmp_path):
    features = shutil.copytree(browsed / "features", tmp_path / "features")
    config = RecogniserConfig(epochs=1, hidden=4)
    train_recogniser(tmp_path / "recogniser", features=features, text=browsed / "text", config=config)
    Vocabulary(("a",), ("b",)).write(features)
    points = pd.DataFrame({"source": ["real"], "row": [0]})
    refused("names", right_or_wrong, tmp_path / "recogniser", FeaturesFolder(features), None, points)
