"""Distances between two sets of features: Frechet, kernel, nearest-neighbour manifolds, dimension by dimension.

Pure functions of matrices, in float64, of which a distance matrix is never in memory (diffusion reference, section D).
Too few rows give NaN.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy  # whose parts load when they are first used

from workbench.diffusion.exemplars import moments
from workbench.randomness import some_rows

NUMBERS_FOR_KERNEL = 1 << 26


@dataclass(frozen=True)
class Gaussian:
    """The Gaussian fitted to n rows: ``mean`` (D,), ``covariance`` (D, D) float64 with n - 1 in the denominator."""

    features: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray) -> "Gaussian":
        """Fit to features (n, D); the covariance of a single row is zero."""
        covariance = np.cov(features, rowvar=False, ddof=min(1, len(features) - 1), dtype=np.float64)
        return cls(features, features.mean(axis=0, dtype=np.float64), np.atleast_2d(covariance))

    @cached_property
    def factor(self) -> np.ndarray:
        """A matrix F (r, D), r at most min(n, D), with F^T F the covariance."""
        if len(self.features) <= len(self.mean):
            return (np.asarray(self.features, dtype=np.float64) - self.mean) / np.sqrt(len(self.features) - 1)
        values, vectors = scipy.linalg.eigh(self.covariance)
        return np.sqrt(values.clip(min=0))[:, None] * vectors.T

    def principal_axes(self, components: int) -> np.ndarray:
        """The ``components``, at most D, directions of largest variance (D, components), largest first."""
        last = len(self.mean) - 1
        return scipy.linalg.eigh(self.covariance, subset_by_index=[max(0, last + 1 - components), last])[1][:, ::-1]

    @property
    def effective_rank(self) -> float:
        """Participation ratio of the spectrum, tr(S)^2 / tr(S^2): how many directions carry the variance."""
        if len(self.features) < 2:
            return float("nan")
        squares = np.square(self.covariance).sum()
        return float(np.trace(self.covariance) ** 2 / squares) if squares > 0 else 0.0


def frechet_distance(real: Gaussian, generated: np.ndarray, *, components: int | None = None) -> float:
    """Squared Frechet distance of the Gaussian of real (n, D) rows from the one fitted to generated (m, D) rows.

    ``components`` measures it after a projection on the leading principal axes of the real rows. The trace of the
    root of the covariances' product is taken through the symmetric F S F^T, whose eigenvalues are real and not
    negative (torch-fidelity takes those of a product that is not symmetric). NaN with fewer than 2 rows in either set,
    or with no more rows than components.
    """
    dimension, rows = len(real.mean), min(len(real.features), len(generated))
    if rows < 2 or (components is not None and rows <= min(components, dimension)):
        return float("nan")
    if components is not None and components < dimension:
        axes, mean = real.principal_axes(components), real.mean
        real, generated = Gaussian.fit((real.features - mean) @ axes), (generated - mean) @ axes
    other = Gaussian.fit(generated)
    few, many = (other, real) if len(generated) < min(len(real.features), len(real.mean)) else (real, other)
    roots = scipy.linalg.eigvalsh(few.factor @ many.covariance @ few.factor.T).clip(min=0)
    offset = real.mean - other.mean
    return float(offset @ offset + np.trace(real.covariance) + np.trace(other.covariance) - 2 * np.sqrt(roots).sum())


def kernel_distance(
    real: np.ndarray, generated: np.ndarray, *, seed: int, subsets: int = 10, rows_per_subset: int = 1000
) -> tuple[float, float]:
    """Kernel distance (KID): mean and standard deviation over random subsets, by torch-fidelity's own function.

    Unbiased at any size, so it may be slightly negative; cubic polynomial kernel. NaN with fewer than 2 rows.
    """
    from torch import from_numpy
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = min(rows_per_subset, len(real), len(generated))
    if size < 2:
        return float("nan"), float("nan")
    kept = []
    for name, features in (("real", real), ("generated", generated)):
        rows = some_rows(np.arange(len(features)), NUMBERS_FOR_KERNEL // features.shape[1], seed, "kernel", name)
        kept.append(from_numpy(features[rows].astype(np.float64)))
    options = {"kid_subsets": subsets, "kid_subset_size": size, "rng_seed": seed}
    result = kid_features_to_metric(*kept, **options, verbose=False)
    return result[KEY_METRIC_KID_MEAN], result[KEY_METRIC_KID_STD]


def neighbour_manifolds(real: np.ndarray, generated: np.ndarray, *, neighbours: int = 5) -> dict[str, float]:
    """Precision, recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020) of generated rows.

    A set's manifold is the union of balls that reach to each row's ``neighbours``-th nearest other row. Distances
    are Euclidean and computed in chunks. NaN where a set has no more rows than ``neighbours``.
    """
    from sklearn.metrics import pairwise_distances_chunked
    from sklearn.neighbors import NearestNeighbors

    names = ("precision", "recall", "density", "coverage")
    if min(len(real), len(generated)) <= neighbours:
        return dict.fromkeys(names, float("nan"))
    real, generated = (np.asarray(features, dtype=np.float64) for features in (real, generated))
    real_reach, generated_reach = (
        NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(rows).kneighbors()[0][:, -1]
        for rows in (real, generated)
    )
    recalled, nearest = np.zeros(len(real), dtype=bool), np.full(len(real), np.inf)

    def real_balls(distance: np.ndarray, first: int) -> np.ndarray:  # of generated rows from ``first`` on: (rows, real)
        np.logical_or(recalled, (distance <= generated_reach[first:][: len(distance), None]).any(axis=0), out=recalled)
        np.minimum(nearest, distance.min(axis=0), out=nearest)
        return (distance <= real_reach).sum(axis=1)

    balls = np.concatenate(list(pairwise_distances_chunked(generated, real, reduce_func=real_balls)))
    values = ((balls > 0).mean(), recalled.mean(), balls.mean() / neighbours, (nearest <= real_reach).mean())
    return dict(zip(names, map(float, values), strict=True))


def nearest_distances(features: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Euclidean distance (n,) float64 of each feature row (n, D) to the nearest of ``among`` (m, D)."""
    from sklearn.metrics import pairwise_distances_argmin

    features, among = (np.asarray(rows, dtype=np.float64) for rows in (features, among))
    # From the difference itself: the expanded square loses half the digits, and a copy must have distance 0.
    return np.linalg.norm(features - among[pairwise_distances_argmin(features, among)], axis=1)


def dimension_errors(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Mean over dimensions of how far mean, spread and zero-rate of generated (m, D) are from real (n, D) rows.

    ``mean_error`` in real standard deviations; ``spread_error`` as |log| of the ratio of standard deviations;
    ``zero_rate_error`` as a difference of shares of values at or below 0, which is what a ReLU sets to zero.
    Dimensions that are constant among the real rows count for the zero-rate only.
    """
    (mean, spread), (other_mean, other_spread) = (
        moments(features.__getitem__, np.arange(len(features))) for features in (real, generated)
    )
    alive = spread > 0
    ratio = np.log(np.maximum(other_spread[alive], np.finfo(np.float64).tiny) / spread[alive])
    return {
        "mean_error": float(np.abs((other_mean - mean)[alive] / spread[alive]).mean()) if alive.any() else 0.0,
        "spread_error": float(np.abs(ratio).mean()) if alive.any() else 0.0,
        "zero_rate_error": float(np.abs((generated <= 0).mean(axis=0) - (real <= 0).mean(axis=0)).mean()),
    }


def norm_errors(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Norm distribution: mean norm and its ratio to the real one, and the Kolmogorov-Smirnov distance in 0..1."""
    from scipy.stats import ks_2samp

    norms, other = (np.linalg.norm(np.asarray(rows, dtype=np.float64), axis=1) for rows in (real, generated))
    return {
        "norm_mean": float(other.mean()),
        "norm_mean_ratio": float(other.mean() / norms.mean()) if norms.mean() > 0 else float("nan"),
        "norm_distance": float(ks_2samp(norms, other).statistic),
    }
