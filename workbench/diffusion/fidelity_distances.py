"""Distances between two sets of features: Frechet, kernel, nearest-neighbour manifolds, dimension by dimension.

Pure functions of matrices, in float64 and in chunks, so that 96,000 rows of 4096 numbers need a few covariance
matrices of memory and never a distance matrix (diffusion reference, section D). Too few rows give NaN.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from workbench.errors import WorkbenchError

ROWS_PER_CHUNK = 2048
DISTANCES_PER_CHUNK = 1 << 24
NUMBERS_FOR_KERNEL = 1 << 26


def require_finite(features: np.ndarray, what: str) -> None:
    """WorkbenchError that names the first row of ``features`` (n, D) with a value that is not finite."""
    for start in range(0, len(features), ROWS_PER_CHUNK):
        bad = np.flatnonzero(~np.isfinite(features[start : start + ROWS_PER_CHUNK]).all(axis=1))
        if len(bad):
            raise WorkbenchError(
                f"{what}: row {start + bad[0]} is not finite. Fidelity needs numbers in every row: look at what made "
                "this row (a diverged model, a broken image) and make the features again."
            )


@dataclass(frozen=True)
class Gaussian:
    """The Gaussian fitted to n rows: ``mean`` (D,), ``covariance`` (D, D) float64 with n - 1 in the denominator."""

    features: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, chunk_rows: int = ROWS_PER_CHUNK) -> "Gaussian":
        """Fit to features (n, D), n at least 2, reading them once and in chunks."""
        shift = np.asarray(features[:chunk_rows], dtype=np.float64).mean(axis=0)
        total, products = np.zeros_like(shift), np.zeros((len(shift), len(shift)))
        for chunk in _chunks(features, chunk_rows):
            centred = chunk - shift
            total += centred.sum(axis=0)
            products += centred.T @ centred
        rows = len(features)
        covariance = (products - np.outer(total, total) / rows) / (rows - 1)
        return cls(features, shift + total / rows, covariance)

    @cached_property
    def factor(self) -> np.ndarray:
        """A matrix F (r, D), r at most min(n, D), with F^T F the covariance."""
        if len(self.features) <= len(self.mean):
            return (np.asarray(self.features, dtype=np.float64) - self.mean) / np.sqrt(len(self.features) - 1)
        values, vectors = linalg.eigh(self.covariance)
        return np.sqrt(values.clip(min=0))[:, None] * vectors.T

    def principal_axes(self, components: int) -> np.ndarray:
        """The directions of largest variance (D, components), largest first."""
        dimension = len(self.mean)
        _, vectors = linalg.eigh(self.covariance, subset_by_index=[dimension - components, dimension - 1])
        return vectors[:, ::-1]

    @property
    def effective_rank(self) -> float:
        """Participation ratio of the spectrum, tr(S)^2 / tr(S^2): how many directions carry the variance."""
        squares = np.square(self.covariance).sum()
        return float(np.trace(self.covariance) ** 2 / squares) if squares > 0 else 0.0


def frechet_distance(real: np.ndarray | Gaussian, generated: np.ndarray, *, components: int | None = None) -> float:
    """Squared Frechet distance between Gaussians fitted to real (n, D) and generated (m, D) rows.

    ``components`` measures it after a projection on the leading principal axes of the real rows. The trace of the
    root of the covariances' product is taken through the symmetric F S F^T, whose eigenvalues are real and not
    negative (torch-fidelity takes those of a product that is not symmetric). NaN with fewer than 2 rows, or with no
    more real rows than components.
    """
    rows = len(real.features if isinstance(real, Gaussian) else real)
    if min(rows, len(generated)) < 2 or (components is not None and rows <= components):
        return float("nan")
    real = real if isinstance(real, Gaussian) else Gaussian.fit(real)
    if components is not None and components < len(real.mean):
        axes = real.principal_axes(components)
        return frechet_distance(project(real.features, real.mean, axes), project(generated, real.mean, axes))
    other = Gaussian.fit(generated)
    few, many = (other, real) if len(generated) < min(rows, len(real.mean)) else (real, other)
    roots = linalg.eigvalsh(few.factor @ many.covariance @ few.factor.T).clip(min=0)
    offset = real.mean - other.mean
    return float(offset @ offset + np.trace(real.covariance) + np.trace(other.covariance) - 2 * np.sqrt(roots).sum())


def project(features: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Coordinates (n, components) float64 of features (n, D) along axes (D, components), from the mean."""
    projected = np.empty((len(features), axes.shape[1]))
    for start, chunk in zip(range(0, len(features), ROWS_PER_CHUNK), _chunks(features, ROWS_PER_CHUNK), strict=True):
        projected[start : start + len(chunk)] = (chunk - mean) @ axes
    return projected


def kernel_distance(
    real: np.ndarray, generated: np.ndarray, *, seed: int, subsets: int = 20, rows_per_subset: int = 1000
) -> tuple[float, float]:
    """Kernel distance (KID): mean and standard deviation over random subsets, by torch-fidelity's own function.

    Unbiased at any size, so it may be slightly negative; cubic polynomial kernel. NaN with fewer than 2 rows.
    """
    from torch import from_numpy
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = min(rows_per_subset, len(real), len(generated))
    if size < 2:
        return float("nan"), float("nan")
    draw = np.random.default_rng(seed)
    kept = [_at_most(features, NUMBERS_FOR_KERNEL // features.shape[1], draw) for features in (real, generated)]
    result = kid_features_to_metric(
        *(from_numpy(np.asarray(features, dtype=np.float64)) for features in kept),
        kid_subsets=subsets, kid_subset_size=size, rng_seed=seed % 2**32, verbose=False,
    )  # fmt: skip
    return result[KEY_METRIC_KID_MEAN], result[KEY_METRIC_KID_STD]


def neighbour_manifolds(
    real: np.ndarray, generated: np.ndarray, *, neighbours: int = 5, chunk_rows: int | None = None
) -> dict[str, float]:
    """Precision, recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020) of generated rows.

    A set's manifold is the union of balls that reach to each row's ``neighbours``-th nearest other row. Distances
    are Euclidean and computed in chunks. NaN where a set has no more rows than ``neighbours``.
    """
    names = ("precision", "recall", "density", "coverage")
    if min(len(real), len(generated)) <= neighbours:
        return dict.fromkeys(names, float("nan"))
    real, generated = (np.asarray(features, dtype=np.float64) for features in (real, generated))
    real_reach = _squared_reach(real, neighbours, chunk_rows)
    generated_reach = _squared_reach(generated, neighbours, chunk_rows)
    balls = np.empty(len(generated))  # real balls that each generated row lies in
    recalled = np.zeros(len(real), dtype=bool)
    nearest = np.full(len(real), np.inf)
    for start, squared in _squared_distances(generated, real, chunk_rows):
        rows = slice(start, start + len(squared))  # squared (rows, real)
        balls[rows] = (squared <= real_reach).sum(axis=1)
        recalled |= (squared <= generated_reach[rows, None]).any(axis=0)
        np.minimum(nearest, squared.min(axis=0), out=nearest)
    values = ((balls > 0).mean(), recalled.mean(), balls.mean() / neighbours, (nearest <= real_reach).mean())
    return dict(zip(names, map(float, values), strict=True))


def nearest_rows(
    features: np.ndarray, among: np.ndarray, *, chunk_rows: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of ``among`` (m, D) to each feature row (n, D): Euclidean distance (n,) float64 and its row (n,)."""
    features, among = (np.asarray(rows, dtype=np.float64) for rows in (features, among))
    row = np.empty(len(features), dtype=np.int64)
    for start, squared in _squared_distances(features, among, chunk_rows):
        row[start : start + len(squared)] = squared.argmin(axis=1)
    # From the difference itself: the expanded square loses half the digits, and a copy must have distance 0.
    distance = np.empty(len(features))
    for start in range(0, len(features), ROWS_PER_CHUNK):
        rows = slice(start, start + ROWS_PER_CHUNK)
        distance[rows] = np.linalg.norm(features[rows] - among[row[rows]], axis=1)
    return distance, row


def dimension_errors(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Mean over dimensions of how far mean, spread and zero-rate of generated (m, D) are from real (n, D) rows.

    ``mean_error`` in real standard deviations; ``spread_error`` as |log| of the ratio of standard deviations;
    ``zero_rate_error`` as a difference of shares of values at or below 0, which is what a ReLU sets to zero.
    Dimensions that are constant among the real rows count for the zero-rate only.
    """
    (mean, spread, zeros), (other_mean, other_spread, other_zeros) = _per_dimension(real), _per_dimension(generated)
    alive = spread > 0
    tiny = np.finfo(np.float64).tiny
    ratio = np.log(np.maximum(other_spread[alive], tiny) / spread[alive])
    return {
        "mean_error": float(np.abs((other_mean - mean)[alive] / spread[alive]).mean()) if alive.any() else 0.0,
        "spread_error": float(np.abs(ratio).mean()) if alive.any() else 0.0,
        "zero_rate_error": float(np.abs(other_zeros - zeros).mean()),
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


def _per_dimension(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and share of values at or below 0, each (D,) float64, read in chunks."""
    shift = np.asarray(features[:ROWS_PER_CHUNK], dtype=np.float64).mean(axis=0)
    total, squares, zeros = np.zeros_like(shift), np.zeros_like(shift), np.zeros_like(shift)
    for start in range(0, len(features), ROWS_PER_CHUNK):
        chunk = np.asarray(features[start : start + ROWS_PER_CHUNK], dtype=np.float64)
        total += (chunk - shift).sum(axis=0)
        squares += np.square(chunk - shift).sum(axis=0)
        zeros += (chunk <= 0).sum(axis=0)
    mean = total / len(features)
    return shift + mean, np.sqrt((squares / len(features) - mean**2).clip(min=0)), zeros / len(features)


def _squared_reach(features: np.ndarray, neighbours: int, chunk_rows: int | None) -> np.ndarray:
    reach = np.empty(len(features))
    for start, squared in _squared_distances(features, features, chunk_rows):
        rows = np.arange(len(squared))
        squared[rows, start + rows] = np.inf
        reach[start : start + len(squared)] = np.partition(squared, neighbours - 1, axis=1)[:, neighbours - 1]
    return reach


def _squared_distances(
    features: np.ndarray, among: np.ndarray, chunk_rows: int | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks (rows, m) of squared distances, each with the number of its first row."""
    chunk_rows = chunk_rows or max(1, DISTANCES_PER_CHUNK // max(1, len(among)))
    squares = np.einsum("nd,nd->n", among, among)
    for start in range(0, len(features), chunk_rows):
        chunk = features[start : start + chunk_rows]
        squared = chunk @ among.T
        squared *= -2
        squared += squares
        squared += np.einsum("nd,nd->n", chunk, chunk)[:, None]
        yield start, squared.clip(min=0, out=squared)


def _chunks(features: np.ndarray, chunk_rows: int) -> Iterator[np.ndarray]:
    for start in range(0, len(features), chunk_rows):
        yield np.asarray(features[start : start + chunk_rows], dtype=np.float64)


def _at_most(features: np.ndarray, rows: int, draw: np.random.Generator) -> np.ndarray:
    if len(features) <= rows:
        return features
    return features[np.sort(draw.choice(len(features), rows, replace=False))]
