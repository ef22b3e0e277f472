import numpy as np
import pandas as pd
import pytest

from workbench.diffusion import baseline_samples, class_groups
from workbench.diffusion.baseline_samples import ClassGaussian, CopyPlusNoise, class_gaussian, copy_plus_noise
from workbench.diffusion.class_groups import LEVELS, mean_and_spread, training_groups
from workbench.diffusion.smote import Interpolation
from workbench.errors import WorkbenchError

COLUMNS = ["subject", "relation", "object"]


def table(*triplets):
    return pd.DataFrame(list(triplets), columns=COLUMNS)


def test_the_most_alike_training_rows_are_found():
    training = table((0, 0, 1), (0, 1, 1), (0, 0, 1), (2, 1, 3))
    wanted = table((0, 0, 1), (0, 5, 1), (9, 1, 3), (2, 1, 9), (9, 9, 3), (2, 9, 9), (9, 1, 9), (9, 9, 9), (0, 0, 1))
    groups = training_groups(training, wanted)
    assert groups.level.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    found = [groups.rows[group].tolist() for group in groups.group]
    assert found == [[0, 2], [0, 1, 2], [3], [3], [3], [3], [1, 3], [0, 1, 2, 3], [0, 2]]


@pytest.mark.parametrize("rows", [1, 5, 400])
def test_copies_are_training_rows_plus_the_noise_asked_for(rows):
    draw = np.random.default_rng(rows)
    features = (draw.standard_normal((rows, 7)) * [1, 2, 3, 4, 5, 6, 7]).astype(np.float32)
    training = pd.DataFrame(draw.integers(0, 3, (rows, 3)), columns=COLUMNS)
    exact = copy_plus_noise(features, training, training, seed=0, noise=0)
    source = [np.flatnonzero((features == sample).all(axis=1))[0] for sample in exact]
    assert (training.iloc[source].to_numpy() == training.to_numpy()).all()
    noisy = copy_plus_noise(features, training, training, seed=0, noise=0.5)
    if rows > 100:
        np.testing.assert_allclose((noisy - exact).std(axis=0), 0.5 * features.std(axis=0), rtol=0.15)


def test_a_class_with_many_rows_keeps_its_own_mean_and_covariance():
    draw = np.random.default_rng(0)
    mix = draw.standard_normal((2, 6, 6))
    sets = [draw.standard_normal((400, 6)) @ mix[number] + 10 * number for number in range(2)]
    training = table(*[(number, 0, 0) for number in range(2) for _ in range(400)])
    wanted = table(*[(1, 0, 0)] * 6000)
    samples = class_gaussian(np.concatenate(sets), training, wanted, seed=0, prior_rows=0.01)
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
    samples = class_gaussian(features, training, table(*[(20, 0, 0)] * 4000), seed=0, components=components)
    np.testing.assert_allclose(samples.std(axis=0), scale, rtol=0.1)
    np.testing.assert_allclose(samples.mean(axis=0), (features[1000] + features.mean(axis=0)) / 2, atol=0.5)


@pytest.mark.parametrize("rival", [copy_plus_noise, class_gaussian])
def test_same_seed_same_rows_whatever_the_chunks(rival, monkeypatch):
    draw = np.random.default_rng(1)
    features = draw.standard_normal((50, 5)).astype(np.float32)
    training = pd.DataFrame(draw.integers(0, 4, (50, 3)), columns=COLUMNS)
    wanted = pd.DataFrame(draw.integers(0, 5, (300, 3)), columns=COLUMNS)
    samples = rival(features, training, wanted, seed=3)
    monkeypatch.setattr(baseline_samples, "SAMPLES_PER_CHUNK", 7)
    np.testing.assert_allclose(rival(features, training, wanted, seed=3), samples, atol=1e-6)
    assert samples.dtype == np.float32 and np.isfinite(samples).all()
    assert not np.allclose(rival(features, training, wanted, seed=4), samples)


def test_a_single_training_row_is_enough_and_none_is_an_error():
    features = np.ones((1, 4), np.float32)
    samples = class_gaussian(features, table((0, 0, 0)), table((0, 0, 0), (1, 1, 1)), seed=0)
    np.testing.assert_allclose(samples, 1)
    with pytest.raises(WorkbenchError, match="no training rows"):
        copy_plus_noise(features[:0], table((0, 0, 0))[:0], table((0, 0, 0)), seed=0)


def test_a_group_of_too_few_rows_gives_way_to_a_coarser_one():
    training = table((0, 0, 1), (0, 1, 1), (2, 1, 1))
    wanted = table((0, 0, 1), (2, 1, 1), (9, 9, 9))
    groups = training_groups(training, wanted, levels=LEVELS[:4], least_rows=2)
    assert groups.level.tolist() == [1, 2, -1] and groups.group[2] == -1
    assert [groups.rows[group].tolist() for group in groups.group[:2]] == [[0, 1], [1, 2]]


@pytest.mark.parametrize("at_most", [50_000, 300])
def test_moments_are_those_of_the_rows(at_most, monkeypatch):
    features = np.random.default_rng(0).standard_normal((2500, 4)) * [1, 2, 3, 0] + [0, 9, 1e4, 0.1]
    monkeypatch.setattr(class_groups, "ROWS_FOR_MOMENTS", at_most)
    mean, spread = mean_and_spread(features.astype(np.float32), seed=0)
    exact = at_most > 2500
    np.testing.assert_allclose(mean, features.mean(axis=0), rtol=1e-6 if exact else 0, atol=1e-6 if exact else 0.5)
    np.testing.assert_allclose(spread, features.std(axis=0), rtol=1e-3 if exact else 0.15, atol=1e-9)
    assert spread[3] == 0


def random_case(rows, dimension=5, classes=3, wanted=80):
    draw = np.random.default_rng(rows)
    features = draw.standard_normal((rows, dimension)) * 10.0 ** np.arange(dimension)
    training = pd.DataFrame(draw.integers(0, classes, (rows, 3)), columns=COLUMNS)
    return (
        features.astype(np.float32),
        training,
        pd.DataFrame(draw.integers(0, classes + 1, (wanted, 3)), columns=COLUMNS),
    )


@pytest.mark.parametrize("kind", [CopyPlusNoise, ClassGaussian, Interpolation])
def test_a_sample_does_not_depend_on_what_else_is_asked_for(kind):
    features, training, wanted = random_case(60)
    sampler = kind.fit(features, training, wanted, seed=1)
    whole = sampler(np.arange(80))
    assert whole.dtype == np.float32 and np.isfinite(whole).all()
    for rows in (np.array([7]), np.array([79, 0, 33]), np.arange(20, 60)):
        np.testing.assert_allclose(sampler(rows), whole[rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 9, 60, 500])
@pytest.mark.parametrize("neighbours", [1, 5])
def test_interpolated_samples_lie_between_a_row_and_one_of_its_nearest_of_the_same_group(rows, neighbours):
    features, training, wanted = random_case(rows)
    fitted = Interpolation.fit(features, training, wanted, seed=0, neighbours=neighbours)
    ends = features[fitted.source].astype(float), features[fitted.neighbour].astype(float)
    samples = ends[0] + fitted.share[:, None] * (ends[1] - ends[0])
    np.testing.assert_allclose(fitted(np.arange(80)), samples, rtol=1e-5, atol=1e-4)
    assert (fitted.share >= 0).all() and (fitted.share < 1).all() and (fitted.source != fitted.neighbour).all()
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    asked = wanted[COLUMNS].to_numpy()
    for row, (source, neighbour) in enumerate(zip(fitted.source, fitted.neighbour, strict=True)):
        member = next(level for level in map(list, LEVELS) if matches(training, asked[row], level).any())
        shared = [level for level in map(list, LEVELS) if set(level) <= set(member)]
        pool = next(pool for level in shared if (pool := matches(training, asked[row], level)).sum() > 1)
        assert matches(training, asked[row], member)[source] and pool[source] and pool[neighbour]
        others = np.flatnonzero(pool & (np.arange(rows) != source))
        distance = np.square(standardised[others] - standardised[source]).sum(axis=1)
        reach = np.sort(distance)[min(neighbours, len(others)) - 1]
        assert distance[others == neighbour] <= reach * 1.0001


def matches(training, triplet, roles):
    wanted = dict(zip(COLUMNS, triplet, strict=True))
    return np.all([training[role] == wanted[role] for role in roles] or [np.ones(len(training), bool)], axis=0)


def test_a_single_training_row_is_copied_where_there_is_nothing_to_interpolate():
    features, training, wanted = random_case(1)
    fitted = Interpolation.fit(features, training, wanted, seed=0)
    np.testing.assert_array_equal(fitted(np.arange(80)), np.repeat(features, 80, axis=0))


def test_a_group_larger_than_its_sample_is_drawn_from_as_a_whole():
    features, training, wanted = random_case(2000, classes=1, wanted=1500)
    fitted = Interpolation.fit(features, training, wanted, seed=0)
    assert len(np.unique(fitted.source)) > 700 and len(np.unique(fitted.neighbour)) <= 8 * 512
    assert (fitted.source != fitted.neighbour).all()
