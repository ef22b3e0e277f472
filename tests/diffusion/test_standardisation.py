import numpy as np
import pytest

from workbench.diffusion import standardisation
from workbench.diffusion.standardisation import fit_standardisation
from workbench.errors import WorkbenchError


@pytest.mark.parametrize(("n", "dimension"), [(2, 1), (50, 7), (1000, 33)])
def test_round_trip_and_statistics_against_numpy(n, dimension, monkeypatch):
    monkeypatch.setattr(standardisation, "ROWS_PER_CHUNK", 13)
    draw = np.random.default_rng(n)
    features = (draw.standard_normal((n, dimension)) * draw.uniform(0.01, 50, dimension) + 1000).astype(np.float32)
    fitted = fit_standardisation(features)
    np.testing.assert_allclose(fitted.mean, features.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(fitted.standard_deviation, features.std(0, dtype=np.float64), rtol=1e-4)
    np.testing.assert_allclose(fitted.restore(fitted.standardise(features)), features, rtol=1e-5)
    np.testing.assert_allclose(fitted.standardise(features).mean(0), 0, atol=0.05)


def test_a_dead_dimension_becomes_zero_and_comes_back_as_its_constant():
    features = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    features[:, 2] = 3.0
    fitted = fit_standardisation(features)
    standardised = fitted.standardise(features)
    assert fitted.standard_deviation[2] == 0 and not standardised[:, 2].any()
    # Whatever a network says about that dimension, the constant comes back.
    np.testing.assert_array_equal(fitted.restore(standardised + 5.0)[:, 2], 3.0)


@pytest.mark.parametrize(("n", "most"), [(10_000, 4096), (50_000, 8000), (3000, 2048)])
def test_evenly_spaced_blocks_stand_for_all_rows(n, most):
    draw, asked = np.random.default_rng(n), []
    features = (draw.standard_normal((n, 6)) + np.linspace(0, 3, n)[:, None]).astype(np.float32)

    class OnDisk:
        def __len__(self):
            return n

        def __getitem__(self, rows):
            asked.append(rows)
            return features[rows]

    fitted = fit_standardisation(OnDisk(), most_rows=most)
    read = np.unique(np.concatenate(asked))
    assert len(read) <= most and read[0] == 0 and read[-1] == n - 1
    np.testing.assert_allclose(fitted.mean, features[read].mean(0, dtype=np.float64), rtol=1e-5)
    np.testing.assert_allclose(fitted.mean, features.mean(0), atol=0.15)
    np.testing.assert_allclose(fitted.standard_deviation, features.std(0), rtol=0.1)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_no_bit(threads, monkeypatch):
    monkeypatch.setattr(standardisation, "ROWS_PER_CHUNK", 50)
    features = np.random.default_rng(0).standard_normal((777, 9)).astype(np.float32)
    expected = fit_standardisation(features)
    monkeypatch.setattr(standardisation, "THREADS", threads)
    monkeypatch.setattr(standardisation, "NUMBERS_IN_CACHE", 64)
    fitted = fit_standardisation(features)
    np.testing.assert_array_equal(fitted.mean, expected.mean)
    np.testing.assert_array_equal(fitted.standard_deviation, expected.standard_deviation)


def test_a_row_that_is_not_finite_is_named():
    features = np.zeros((30, 4), dtype=np.float32)
    features[17, 2] = np.inf
    with pytest.raises(WorkbenchError, match="row 17 is not finite"):
        fit_standardisation(features)
    with pytest.raises(WorkbenchError, match="at least 2"):
        fit_standardisation(features[:1])
