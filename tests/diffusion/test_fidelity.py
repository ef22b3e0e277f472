from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy
import torch

from tests.diffusion.cases import COLUMNS
from tests.refusals import refused
from workbench.diffusion import fidelity_classes, fidelity_distances
from workbench.diffusion.config import FidelityConfig, SamplingConfig
from workbench.diffusion.fidelity import SAMPLE_SETS, fidelity_report, generated_with, known_rows, study_fidelity
from workbench.diffusion.fidelity_classes import ClassDiscriminant, LabelledFeatures, agreement, memorisation
from workbench.diffusion.fidelity_distances import Gaussian, dimension_errors, frechet_distance, nearest_distances
from workbench.diffusion.generators import BaselineConfig


def two_sets(rows, other_rows, dimension, seed=0):
    draw = np.random.default_rng(seed)
    mix = draw.standard_normal((dimension, dimension)) / dimension**0.5
    real = draw.standard_normal((rows, dimension)) @ mix + 1
    generated = draw.standard_normal((other_rows, dimension)) @ (mix + 0.1 * np.eye(dimension)) + 1.2
    return real.astype(np.float32), generated.astype(np.float32)


def distances(rows, others):
    return np.linalg.norm(rows[:, None].astype(np.float64) - others, axis=-1)


@pytest.mark.parametrize("sizes", [(60, 40, 8), (300, 500, 20), (30, 25, 50), (40, 200, 60), (200, 40, 60)])
def test_frechet_distance_is_torch_fidelitys(sizes):
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    real, generated = two_sets(*sizes)
    statistics = [fid_features_to_statistics(torch.from_numpy(rows.astype(np.float64))) for rows in (real, generated)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    assert frechet_distance(Gaussian.fit(real), generated) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert frechet_distance(Gaussian.fit(real), real) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("components", [1, 5, 19, 20, 64])
def test_frechet_distance_after_pca_of_the_real_rows(components):
    real, generated = two_sets(300, 200, 20)
    centred = real.astype(np.float64) - real.mean(axis=0, dtype=np.float64)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:components].T
    sets = [(rows - real.mean(axis=0, dtype=np.float64)) @ axes for rows in (real, generated)]
    covariances = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in sets]
    offset = sets[0].mean(axis=0) - sets[1].mean(axis=0)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = offset @ offset + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(Gaussian.fit(real), generated, components=components) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dimension", [5, 40])
def test_kernel_distance_is_the_unbiased_cubic_mmd(dimension):
    real, generated = (rows.astype(np.float64) for rows in two_sets(150, 150, dimension))

    def kernel(x, y):
        return (x @ y.T / dimension + 1) ** 3

    n = len(real)
    within = sum((kernel(x, x).sum() - np.trace(kernel(x, x))) / (n * (n - 1)) for x in (real, generated))
    mean, spread = fidelity_distances.kernel_distance(real, generated, seed=0)
    assert mean == pytest.approx(within - 2 * kernel(real, generated).mean(), rel=1e-9)
    assert spread == pytest.approx(0, abs=1e-9)  # each subset is the whole set
    assert fidelity_distances.kernel_distance(real, generated, seed=1, rows_per_subset=50)[1] > 0


@pytest.mark.parametrize(("rows", "other_rows", "neighbours"), [(50, 80, 1), (200, 150, 5), (120, 300, 10)])
def test_neighbour_manifolds_are_torch_fidelitys_and_those_of_the_definitions(rows, other_rows, neighbours):
    real, generated = two_sets(rows, other_rows, 6)
    found = fidelity_distances.neighbour_manifolds(real, generated, neighbours=neighbours)
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    both = (torch.from_numpy(features.astype(np.float64)) for features in (generated, real))
    precision, recall = calculate_precision_recall_full(*both, neighborhood=neighbours)
    assert (found["precision"], found["recall"]) == pytest.approx((precision, recall))
    # Density and coverage by their definitions (Naeem et al. 2020).
    reach = np.sort(distances(real, real), axis=1)[:, neighbours, None]  # the first is the row itself
    inside = distances(real, generated) <= reach
    assert found["density"] == pytest.approx(inside.sum() / (neighbours * other_rows))
    assert found["coverage"] == pytest.approx(inside.any(axis=1).mean())
    from sklearn import config_context  # a second of importing that collecting the tests need not wait for

    with config_context(working_memory=3e-3):  # in chunks of a row or a few
        assert fidelity_distances.neighbour_manifolds(real, generated, neighbours=neighbours) == found


def test_dimension_and_norm_errors_by_hand():
    draw = np.random.default_rng(0)
    real = draw.standard_normal((5000, 4)).astype(np.float32)
    assert dimension_errors(real, real) == {"mean_error": 0, "spread_error": 0, "zero_rate_error": 0}
    moved = dimension_errors(real, 2 * real + 2 * real.std(axis=0))
    assert moved["spread_error"] == pytest.approx(np.log(2), rel=1e-4)
    assert moved["mean_error"] == pytest.approx(2, abs=0.05)
    assert dimension_errors(real, np.maximum(real, 0))["zero_rate_error"] == 0
    assert dimension_errors(np.maximum(real, 0), np.abs(real))["zero_rate_error"] == pytest.approx(0.5, abs=0.02)
    norms = fidelity_distances.norm_errors(real, 3 * real)
    assert norms["norm_mean_ratio"] == pytest.approx(3, rel=1e-5)
    assert norms["norm_distance"] > 0.7 and fidelity_distances.norm_errors(real, real)["norm_distance"] == 0
    dead = np.zeros((5, 3), np.float32)
    assert dimension_errors(dead, dead + 1) == {"mean_error": 0, "spread_error": 0, "zero_rate_error": 1}


def labelled(rows, dimension=12, seed=0, centres_seed=0, classes=5, widening=0):
    """Rows around a sum of class centres, ``widening`` wider with each relation class."""
    centres = np.random.default_rng(centres_seed).standard_normal((3, classes, dimension)) * 1.5
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, classes, (rows, 3))
    noise = draw.standard_normal((rows, dimension)) * (1 + widening * ids[:, 1:2])
    features = sum(centres[role, ids[:, role]] for role in range(3)) + noise
    return LabelledFeatures(features.astype(np.float32), pd.DataFrame(ids, columns=COLUMNS))


def test_the_discriminant_is_scikit_learns():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    train, test = labelled(400), labelled(300, seed=1)
    counts = np.tile(np.arange(5), 80)  # equal counts: even priors weigh the classes as ours does
    train.relations["relation"] = counts
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.0001, priors=[0.2] * 5)
    expected = peer.fit(train.features, counts).predict(test.features)
    ours = ClassDiscriminant.fit(train, shrinkage=0.0001).predict(test.features)
    assert (ours["relation"].to_numpy() == expected).mean() > 0.99


def test_one_row_a_class_is_nearest_mean():
    rows = np.diag([1.0, 2.0, 3.0, 4.0]).astype(np.float32)
    labels = pd.DataFrame({role: [7, 3, 9, 1] for role in COLUMNS})
    assert (ClassDiscriminant.fit(LabelledFeatures(rows, labels)).predict(rows) == labels).all().all()


def test_agreement_and_training_on_generated():
    intended = pd.DataFrame({"subject": [0, 1, 2, 3], "relation": [1, 1, 1, 1], "object": [0, 0, 0, 0]})
    predicted = pd.DataFrame({"subject": [0, 1, 0, 0], "relation": [1, 1, 1, 1], "object": [1, 1, 1, 1]})
    recogniser = SimpleNamespace(predict=lambda features: predicted)
    found = agreement(recogniser, LabelledFeatures(np.zeros((4, 2)), intended))
    assert found["agreement"] == pytest.approx((0.5 + 1 + 0) / 3) and found["agreement_subject"] == 0.5
    train, test = labelled(2000), labelled(500, seed=1)
    shuffled = LabelledFeatures(train.features, train.relations.sample(frac=1, random_state=0).reset_index(drop=True))
    tried = fidelity_classes.train_on_generated_test_on_real
    good, bad = (tried(rows, test)["test_on_real"] for rows in (train, shuffled))
    assert good > 0.6 and bad == pytest.approx(0.2, abs=0.1)


def test_the_report_ranks_what_must_be_ranked():
    config = FidelityConfig(components=8, neighbour_components=8, copy_noise=0.02)
    train, held_out = labelled(1200), labelled(500, seed=1)
    fresh, off = labelled(500, seed=2), labelled(500, seed=3, centres_seed=9)
    report = fidelity_report(train, held_out, fresh, config)
    assert tuple(report.index) == SAMPLE_SETS and (report["reason"] == "").all()
    assert np.isfinite(report.drop(columns="reason").to_numpy(dtype=float)).all()
    assert report["memorisation"]["copy plus noise"] > 0.95
    assert report["memorisation"]["floor"] == pytest.approx(0.5, abs=0.08)
    assert report["memorisation"]["generated"] == pytest.approx(0.5, abs=0.08)
    assert report["agreement"]["generated"] == pytest.approx(report["agreement"]["floor"], abs=0.1)
    wrong = fidelity_report(train, held_out, off, config).loc["generated"]
    for worse in ("frechet_pca", "frechet_full", "kernel_distance", "mean_error"):
        assert wrong[worse] > 2 * report[worse]["generated"], worse
    for better in ("precision", "coverage", "agreement", "test_on_real"):
        assert wrong[better] < report[better]["generated"], better
    again = fidelity_report(train, held_out, fresh, config)
    pd.testing.assert_frame_equal(report, again)


@pytest.mark.parametrize(("train", "held_out", "generated"), [(1, 1, 1), (2, 3, 1), (30, 4, 5), (1, 40, 40)])
def test_too_few_rows_give_a_reason_and_no_error(train, held_out, generated):
    report = fidelity_report(labelled(train), labelled(held_out, seed=1), labelled(generated, seed=2), FidelityConfig())
    lacking = report.drop(columns="reason").isna().any(axis=1)
    assert (report["reason"][lacking] != "").all() and lacking.any()
    assert not np.isinf(report.drop(columns="reason").to_numpy(dtype=float)).any()


def test_bad_rows_are_named():
    train, held_out, fresh = labelled(50), labelled(40, seed=1), labelled(30, seed=2)
    fresh.features[17, 2] = np.nan
    refused("generated rows: row 17 is not finite", fidelity_report, train, held_out, fresh, FidelityConfig())
    refused("no held-out rows", fidelity_report, train, labelled(0), fresh, FidelityConfig())


@pytest.mark.parametrize(("rows", "among", "dimension"), [(1, 1, 3), (50, 200, 8), (300, 90, 40)])
def test_nearest_distances_by_definition(rows, among, dimension):
    draw = np.random.default_rng(rows)
    features, others = draw.standard_normal((rows, dimension)), draw.standard_normal((among, dimension))
    np.testing.assert_allclose(nearest_distances(features, others), distances(features, others).min(axis=1), rtol=1e-6)


def test_copies_are_memorised_and_fresh_rows_are_not():
    # What counts as near differs from class to class.
    sets = [labelled(800, seed=seed, classes=4, widening=1) for seed in range(3)]
    copied, distance, new = (nearest_distances(rows.features, sets[0].features) for rows in sets)
    training, unseen, fresh = (rows.relations for rows in sets)
    copies = memorisation(copied, training, distance, unseen)
    assert set(copies.values()) == {1.0} and len(copies) == 5
    honest = memorisation(new, fresh, distance, unseen)
    assert honest.pop("memorised_share") < 0.03 and list(honest.values()) == pytest.approx([0.5] * 4, abs=0.06)
    assert np.isnan(memorisation(new, fresh, distance, unseen + 10)["memorisation"])  # no class in common


def test_each_class_is_compared_with_its_own_held_out_rows():
    def found_of(distance, classes, held_out_distance, held_out_classes):
        own, unseen = (pd.DataFrame(dict.fromkeys(COLUMNS, ids)) for ids in (classes, held_out_classes))
        return memorisation(np.array(distance), own, np.array(held_out_distance), unseen)

    found = found_of([1.0, 1.0, 5.0, 5.0], [0, 1, 1, 2], [2.0, 3.0, 1.0, 4.0], [0, 0, 1, 1])
    # A tie counts half; class 2 has no held-out rows.
    assert found["memorisation"] == found["memorisation_subject"] == pytest.approx((1.0 + 0.75 + 0.0) / 3)
    assert np.isnan(found["memorised_share"])  # which needs twenty held-out rows
    found = found_of([0.5, 1.0, 7.0], [0, 0, 0], np.arange(1.0, 21.0), [0] * 20)
    assert found["memorised_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("sampling", [SamplingConfig(init="random", steps=2), SamplingConfig(steps=2),
                                      BaselineConfig("pair_mean")])  # fmt: skip
def test_the_stage_measures_every_sample_set_against_the_validation_split(stages, tmp_path, sampling):
    config = FidelityConfig(rows_at_most=30, neighbours=3, seed=1)
    inputs = stages.inputs | {"diffusion": stages.folder / "boxes"}
    metrics = study_fidelity(tmp_path, **inputs, config=config, sampling=sampling)
    report = pd.read_parquet(tmp_path / "fidelity.parquet")
    assert tuple(report.index) == SAMPLE_SETS and set(SAMPLE_SETS) <= set(metrics)
    assert (report["rows"] == metrics["rows"]).all() and metrics["rows"] <= 30
    # Rows of real data are nearer to real data than what a model of a few steps paints.
    assert report.loc["floor", "frechet_full"] < report.loc["generated", "frechet_full"]
    relations = pd.read_parquet(tmp_path / "relations.parquet").groupby("samples")
    assert relations["rows"].sum().to_dict() == {"generated": metrics["rows"], "floor": metrics["rows"]}
    for name, own in relations:  # the classes together are the report's number
        recognised = np.average(own["recognised"], weights=own["rows"])
        assert recognised == pytest.approx(report.loc[name, "agreement_relation"])
        assert own["overall"].tolist() == pytest.approx([recognised] * len(own))
    with np.load(tmp_path / "norms.npz") as norms:
        assert len(norms["real"]) == len(norms["generated"]) == metrics["rows"]
    asked = [] if isinstance(sampling, BaselineConfig) else ["4", "8", "20"]
    assert list(metrics["evaluations"]) == [*asked, "floor"]


def test_a_start_too_near_to_the_end_for_many_evaluations_has_fewer(stages, tmp_path):
    inputs, near = stages.inputs | {"diffusion": stages.folder / "boxes"}, SamplingConfig(steps=2, strength=0.01)
    metrics = study_fidelity(tmp_path, **inputs, config=FidelityConfig(rows_at_most=30), sampling=near)
    assert list(metrics["evaluations"]) == ["4", "8", "floor"]


def test_how_features_were_made_is_read_from_their_stage():
    made = {"config": {"init": "random", "steps": 4}, "features": {"stage": "x"}}
    assert generated_with(made) == SamplingConfig(init="random", steps=4)
    made["config"] = {"generator": "smote", "options": {"neighbours": 3}, "samples": 0, "seed": 0}
    assert generated_with(made) == BaselineConfig("smote", {"neighbours": 3})


def test_held_out_rows_with_a_class_that_train_lacks_are_left_out():
    train = pd.DataFrame({"subject": [0, 1], "relation": [0, 0], "object": [1, 2]})
    held_out = pd.DataFrame({"subject": [0, 2, 1], "relation": [0, 0, 1], "object": [1, 1, 2]})
    assert known_rows(train, held_out, 10, 0).tolist() == [0]
