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


def test_a_row_that_is_not_finite_is_named():
    features = np.zeros((30, 4), dtype=np.float32)
    features[17, 2] = np.inf
    with pytest.raises(WorkbenchError, match="row 17 is not finite"):
        fit_standardisation(features)
    with pytest.raises(WorkbenchError, match="at least 2"):
        fit_standardisation(features[:1])
