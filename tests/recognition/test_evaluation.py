"""Evaluation of a trained recogniser on a split: tables, probabilities, what is refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.upstream.ltvrr_tables import read_result_csv
from workbench.errors import WorkbenchError
from workbench.recognition import evaluation
from workbench.recognition.batches import RelationRows
from workbench.recognition.config import EvaluationConfig
from workbench.recognition.evaluation import evaluate_recogniser, prediction_table, probability_batches
from workbench.recognition.recogniser import load_recogniser
from workbench.regions.features import FeaturesFolder
from workbench.scenes.vocabulary import ROLES

SYNSETS = "object_name,synset\ndog,animal.n.01\ncat,animal.n.01\n"


def probabilities(trained, store):
    """Class probabilities (N, C) by role."""
    loaded = load_recogniser(trained)
    batches = [scores for _, scores in probability_batches(loaded.head, RelationRows(store, loaded.vocabulary))]
    return {role: np.concatenate([scores[role] for scores in batches]) for role in ROLES}


@pytest.fixture(scope="module")
def evaluated(small_data, trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "objects_synsets.csv").write_text(SYNSETS)
    (folder / "predicates_synsets.csv").write_text("predicate_name,synset\non,on.r.01\n")
    config = EvaluationConfig(synset_folder=folder)
    return folder, evaluate_recogniser(folder, recogniser=trained, features=small_data.features, config=config)


def test_tables_agree_with_predictions_and_scikit_learn(small_data, trained, evaluated):
    from sklearn.metrics import balanced_accuracy_score

    folder, metrics = evaluated
    test = FeaturesFolder(small_data.features).test
    table = pd.read_parquet(folder / "predictions.parquet")
    found = {role: scores.argmax(axis=1) for role, scores in probabilities(trained, test).items()}
    assert table["row"].tolist() == list(range(len(test)))
    for role in ROLES:
        assert np.array_equal(table[role], test.relations[role])
        assert np.array_equal(table[f"{role}_predicted"], found[role])
        balanced = balanced_accuracy_score(test.relations[role], found[role])
        assert metrics[f"exact {role} all"] == pytest.approx(100 * balanced)
    json.dumps(metrics, allow_nan=False)
    assert metrics["rows"] == 150 and metrics["exact combined all"] > 30
    assert "3 of 4 relations have no synset ('under', 'near'," in metrics["table_gaps"]
    summary = pd.read_parquet(folder / "summary.parquet")
    assert set(summary["metric"]) == {"exact", "synset"} and len(summary) == 2 * 5 * 4


def test_synset_matching_only_adds_hits(evaluated):
    folder, metrics = evaluated
    per_class = pd.read_parquet(folder / "per_class.parquet")
    assert (per_class["correct_synset"] >= per_class["correct_exact"]).all()
    joined = per_class["name"].isin(["dog", "cat"])
    assert (per_class["correct_synset"] == per_class["correct_exact"])[~joined].all()
    assert "objects_synsets.csv" in metrics["synset_source"]


def test_result_csv_can_be_read_back(small_data, evaluated):
    folder, _ = evaluated
    truth, predicted, ranks = read_result_csv(folder / "rel_detections_gt_boxes_prdcls.csv", small_data.vocabulary)
    table = pd.read_parquet(folder / "predictions.parquet")
    for role in ROLES:
        assert np.array_equal(truth[role], table[role]) and np.array_equal(predicted[role], table[f"{role}_predicted"])
        assert np.array_equal(ranks[role] == 0, table[f"{role}_correct"])


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_top_five_are_the_five_best(classes):
    scores = {role: np.random.default_rng(classes).random((6, classes)) for role in ROLES}
    table = prediction_table(np.arange(6), {role: np.zeros(6, int) for role in ROLES}, scores)
    for place in range(5):
        top, probability = (table[f"object_{name}{place + 1}"] for name in ("top", "probability"))
        if place < classes:
            assert np.array_equal(probability, np.sort(scores["object"], axis=1)[:, -1 - place])
        else:
            assert (top == -1).all() and probability.isna().all()


def test_batch_size_does_not_change_probabilities(small_data, trained, monkeypatch):
    test = FeaturesFolder(small_data.features).test
    whole = probabilities(trained, test)
    monkeypatch.setattr(evaluation, "ROWS_PER_BATCH", 7)
    for role, scores in probabilities(trained, test).items():
        np.testing.assert_allclose(scores, whole[role], rtol=1e-4, atol=1e-6)


def test_features_of_another_encoder_are_refused(small_data, trained, tmp_path):
    features = shutil.copytree(small_data.features, tmp_path / "features")
    for split in ("train", "test"):
        manifest = features / split / "features.json"
        manifest.write_text(manifest.read_text().replace('"made-up"', '"another"'))
    with pytest.raises(WorkbenchError, match=r"test: features of the encoder 'another'"):
        evaluate_recogniser(tmp_path, recogniser=trained, features=features, config=EvaluationConfig())
