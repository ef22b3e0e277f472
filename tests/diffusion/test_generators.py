import json
import shutil
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from tests.diffusion.cases import COLUMNS
from tests.refusals import refused
from tests.synthetic import write_features
from workbench.diffusion import generators
from workbench.diffusion.baselines import ClassGaussian, CopyNoise, Smote
from workbench.diffusion.conditions import triplet_conditions
from workbench.diffusion.exemplars import BACK_OFF, back_off_groups
from workbench.diffusion.fidelity_classes import LabelledFeatures
from workbench.diffusion.generators import GENERATORS, BaselineConfig, generate_baseline, wanted_triplets
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets
from workbench.regions.features import FeaturesFolder, GeneratedFeatures


@dataclass(frozen=True)
class Constant:
    """A generator of one's own."""

    value: float = 2.0
    columns: int = 8

    def fit(self, real, wanted, seed):
        return lambda rows: np.full((len(rows), self.columns), self.value)


def table(*triplets):
    return pd.DataFrame(triplets, columns=COLUMNS)


def made(generator, features, training, wanted, seed=0):
    sampler = generator.fit(LabelledFeatures(np.asarray(features), training), wanted, seed)
    return sampler(np.arange(len(wanted)))


def random_case(rows, dimension=5, classes=3, wanted=80):
    draw = np.random.default_rng(rows)
    features = (draw.standard_normal((rows, dimension)) * 10.0 ** np.arange(dimension)).astype(np.float32)
    training = pd.DataFrame(draw.integers(0, classes, (rows, 3)), columns=COLUMNS)
    return features, training, pd.DataFrame(draw.integers(0, classes + 1, (wanted, 3)), columns=COLUMNS)


def test_the_most_alike_training_rows_are_found():
    training = table((0, 0, 1), (0, 1, 1), (0, 0, 1), (2, 1, 3))
    wanted = table((0, 0, 1), (0, 5, 1), (9, 1, 3), (2, 1, 9), (9, 9, 3), (2, 9, 9), (9, 1, 9), (9, 9, 9), (0, 0, 1))
    groups = back_off_groups(training, wanted)
    assert groups.level.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    found = [groups.rows[group].tolist() for group in groups.group]
    assert found == [[0, 2], [0, 1, 2], [3], [3], [3], [3], [1, 3], [0, 1, 2, 3], [0, 2]]
    asked = table((0, 0, 1), (0, 1, 1), (9, 9, 9))
    coarser = back_off_groups(training, asked, levels=BACK_OFF[:4], least_rows=2)  # too few rows give way
    assert coarser.level.tolist() == [0, 1, -1] and coarser.group[2] == -1
    assert coarser.rows[coarser.group[1]].tolist() == [0, 1, 2]


@pytest.mark.parametrize("rows", [1, 5, 400])
def test_copies_are_training_rows_plus_the_noise_asked_for(rows):
    features, training, _ = random_case(rows)
    exact = made(CopyNoise(0.0), features, training, training)
    source = [np.flatnonzero((features == sample).all(axis=1))[0] for sample in exact]
    assert (training.iloc[source].to_numpy() == training.to_numpy()).all()
    noisy = made(CopyNoise(0.5), features, training, training)
    if rows > 100:
        np.testing.assert_allclose((noisy - exact).std(axis=0), 0.5 * features.std(axis=0), rtol=0.15)


def test_a_class_with_many_rows_keeps_its_own_mean_and_covariance():
    draw = np.random.default_rng(0)
    mix = draw.standard_normal((2, 6, 6))
    sets = [draw.standard_normal((400, 6)) @ mix[number] + 10 * number for number in range(2)]
    training = table(*[(number, 0, 0) for number in range(2) for _ in range(400)])
    wanted = table(*[(1, 0, 0)] * 6000)
    samples = made(ClassGaussian(prior_rows=0.01), np.concatenate(sets), training, wanted)
    np.testing.assert_allclose(samples.mean(axis=0), sets[1].mean(axis=0), atol=0.3)
    np.testing.assert_allclose(np.cov(samples, rowvar=False), np.cov(sets[1], rowvar=False), atol=0.6)


@pytest.mark.parametrize("components", [2, 6, 256])
def test_one_example_borrows_the_spread_of_the_others(components):
    draw = np.random.default_rng(0)
    scale = np.array([1, 2, 3, 4, 5, 6.0])
    centres = 20 * draw.standard_normal((21, 6))
    subject = np.append(np.repeat(np.arange(20), 50), 20)
    features = centres[subject] + scale * draw.standard_normal((1001, 6))
    training = table(*[(number, 0, 0) for number in subject])
    samples = made(ClassGaussian(components), features, training, table(*[(20, 0, 0)] * 4000))
    np.testing.assert_allclose(samples.std(axis=0), scale, rtol=0.1)
    np.testing.assert_allclose(samples.mean(axis=0), (features[1000] + features.mean(axis=0)) / 2, atol=0.5)


@pytest.mark.parametrize("generator", [CopyNoise(), ClassGaussian(), Smote()])
def test_a_sample_depends_on_seed_and_row_and_not_on_what_else_is_asked_for(generator):
    features, training, wanted = random_case(60)
    real = LabelledFeatures(features, training)
    sampler = generator.fit(real, wanted, 1)
    whole = sampler(np.arange(80))
    assert whole.dtype == np.float32 and np.isfinite(whole).all()
    for rows in (np.array([7]), np.array([79, 0, 33]), np.arange(20, 60)):
        np.testing.assert_allclose(sampler(rows), whole[rows], rtol=1e-5, atol=1e-2)
    assert not np.allclose(generator.fit(real, wanted, 2)(np.arange(80)), whole)


def test_a_single_training_row_is_enough_and_none_is_an_error():
    features = np.ones((1, 4), np.float32)
    for generator in (ClassGaussian(), Smote()):
        samples = made(generator, features, table((0, 0, 0)), table((0, 0, 0), (1, 1, 1)))
        np.testing.assert_allclose(samples, 1)
    refused("no training rows", made, CopyNoise(), features[:0], table((0, 0, 0))[:0], table((0, 0, 0)))


@pytest.mark.parametrize("rows", [2, 9, 60, 500])
@pytest.mark.parametrize("neighbours", [1, 5])
def test_interpolated_samples_lie_between_a_row_and_one_of_its_nearest_of_the_same_group(rows, neighbours):
    features, training, wanted = random_case(rows)
    smote, real = Smote(neighbours), LabelledFeatures(features, training)
    sources, others, shares = smote.pairs(real, wanted, 0)
    ends = features[sources].astype(float), features[others].astype(float)
    samples = ends[0] + shares[:, None] * (ends[1] - ends[0])
    np.testing.assert_allclose(smote.fit(real, wanted, 0)(np.arange(80)), samples, rtol=1e-5, atol=1e-2)
    assert (shares >= 0).all() and (shares < 1).all() and (sources != others).all()
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    asked = wanted[COLUMNS].to_numpy()
    for row, (source, neighbour) in enumerate(zip(sources, others, strict=True)):
        member = next(level for level in map(list, BACK_OFF) if matches(training, asked[row], level).any())
        shared = [level for level in map(list, BACK_OFF) if set(level) <= set(member)]
        pool = next(pool for level in shared if (pool := matches(training, asked[row], level)).sum() > 1)
        assert matches(training, asked[row], member)[source] and pool[source] and pool[neighbour]
        rest = np.flatnonzero(pool & (np.arange(rows) != source))
        distance = np.square(standardised[rest] - standardised[source]).sum(axis=1)
        reach = np.sort(distance)[min(neighbours, len(rest)) - 1]
        assert distance[rest == neighbour] <= reach * 1.0001


def matches(training, triplet, roles):
    wanted = dict(zip(COLUMNS, triplet, strict=True))
    return np.all([training[role] == wanted[role] for role in roles] or [np.ones(len(training), bool)], axis=0)


def test_a_group_larger_than_its_sample_is_drawn_from_as_a_whole():
    features, training, wanted = random_case(2000, classes=1, wanted=1500)
    sources, others, _ = Smote().pairs(LabelledFeatures(features, training), wanted, 0)
    assert len(np.unique(sources)) > 700 and len(np.unique(others)) <= 8 * 512 and (sources != others).all()


@pytest.fixture(scope="module", params=["box", "union"])
def inputs(request, small_features, union_features):
    """Folders of a small data set with boxes, and of one with union features alone."""
    return {"box": small_features, "union": union_features}[request.param]


def generate(inputs, folder, generator, options=None, samples=0, seed=3):
    config = BaselineConfig(generator, options, samples, seed)
    return generate_baseline(folder, features=inputs["features"], triplets=inputs["triplets"], config=config)


def unions(folder):
    return np.load(folder / "union_features.npy", allow_pickle=False).astype(np.float32)


@pytest.mark.parametrize("samples", [0, 30, 150])
@pytest.mark.parametrize("generator", GENERATORS)
def test_the_table_is_the_samplers(inputs, tmp_path, generator, samples):
    metrics = generate(inputs, tmp_path, generator, samples=samples)
    store = FeaturesFolder(inputs["features"]).train
    expected = wanted_triplets(store, read_triplets(inputs["triplets"]).augmented, samples, 3)
    conditions, index = triplet_conditions(TextEmbeddings.open(inputs["text"]), expected)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "generated.parquet"), expected)
    assert (expected["condition"] == index).all()
    assert json.loads(json.dumps(metrics)) == metrics and metrics["samples"] == (samples or 100)
    assert metrics["distinct_triplets"] == len(conditions) and sum(metrics["bands"].values()) == metrics["samples"]
    generated = GeneratedFeatures(tmp_path, store)
    assert np.isfinite(generated.union(np.arange(len(generated)))).all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_killed_run_resumes_and_parts_and_seed_tell_the_bytes(small_features, tmp_path, monkeypatch, generator):
    generate(small_features, tmp_path / "whole", generator)
    monkeypatch.setattr(generators, "ROWS_PER_PART", 16)
    honest, calls = generators.RangeWriter.write, []

    def killed_in_the_third(self, name, start, features):
        calls.append(start)
        if len(calls) == 3:
            raise KeyboardInterrupt
        honest(self, name, start, features)

    monkeypatch.setattr(generators.RangeWriter, "write", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        generate(small_features, tmp_path / "killed", generator)
    refused("other inputs or settings", generate, small_features, tmp_path / "killed", Constant)
    generate(small_features, tmp_path / "killed", generator)
    assert calls == [0, 16, 32, 32, 48, 64, 80, 96]
    np.testing.assert_allclose(unions(tmp_path / "killed"), unions(tmp_path / "whole"), rtol=2e-3, atol=1e-3)
    for name in ("generated.parquet", "generated.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    generate(small_features, tmp_path / "other", generator, seed=4)
    assert not np.allclose(unions(tmp_path / "other"), unions(tmp_path / "whole"))


def test_rectified_features_are_cut_at_zero(small_features, tmp_path):
    inputs = small_features | {"features": tmp_path / "features"}
    write_features(inputs["features"], support="rectified")
    generate(inputs, tmp_path / "cut", Constant(-1.0))
    assert not unions(tmp_path / "cut").any()


def test_a_generator_of_ones_own_is_taken_by_name_object_class_and_path(small_features, tmp_path):
    GENERATORS.register("constant")(Constant)
    try:
        for number, choice in enumerate(("constant", Constant, Constant(3.0), f"{__name__}:Constant")):
            generate(small_features, tmp_path / str(number), choice)
            assert (unions(tmp_path / str(number)) == (3.0 if number == 2 else 2.0)).all()
        generate(small_features, tmp_path / "options", "constant", {"value": 5.0})
        assert (unions(tmp_path / "options") == 5.0).all()
    finally:
        GENERATORS.pop("constant")
    refused(r"made features of shape \(100, 7\)", generate, small_features, tmp_path / "narrow", Constant(columns=7))


def test_triplets_that_are_missing_or_of_an_unknown_class_are_named(small_features, tmp_path):
    inputs = small_features | {"triplets": tmp_path / "triplets"}
    refused("notebook 02", generate, inputs, tmp_path / "none", "smote")
    shutil.copytree(small_features["triplets"], inputs["triplets"])
    path = inputs["triplets"] / "augmented.parquet"
    pd.read_parquet(path).assign(object=99).to_parquet(path)
    refused("object class 99", generate, inputs, tmp_path / "out", "smote")
