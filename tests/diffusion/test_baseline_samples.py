import numpy as np
import pandas as pd
import pytest

from workbench.diffusion import baseline_samples
from workbench.diffusion.baseline_samples import class_gaussian, copy_plus_noise, training_groups
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
