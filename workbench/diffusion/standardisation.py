"""Per-dimension standardisation of features, fitted on the training rows and kept in the checkpoint."""

from dataclasses import dataclass

import numpy as np

from workbench.errors import WorkbenchError
from workbench.progress import track

ROWS_PER_CHUNK = 8192
# Below this share of the typical spread a dimension counts as constant (a dead unit of a rectified encoder).
CONSTANT_SHARE = 1e-4


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation per dimension, (D,) float32; a constant dimension has standard deviation 0."""

    mean: np.ndarray
    standard_deviation: np.ndarray

    @property
    def dimension(self) -> int:
        """D, the feature dimension."""
        return len(self.mean)

    def standardise(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features to zero mean and unit variance, float32; constant dimensions become 0."""
        scale = np.where(self.standard_deviation > 0, self.standard_deviation, np.float32(np.inf))
        return (np.asarray(features, dtype=np.float32) - self.mean) / scale

    def restore(self, standardised: np.ndarray) -> np.ndarray:
        """The inverse; constant dimensions get their constant back."""
        return np.asarray(standardised, dtype=np.float32) * self.standard_deviation + self.mean


def fit_standardisation(features) -> Standardisation:
    """Fit on ``features``: anything with a length that gives rows for a row-number array, (N, D).

    Sums are float64 and read in chunks of rows. Raises WorkbenchError for fewer than two rows and for the first row
    that is not finite.
    """
    n = len(features)
    if n < 2:
        raise WorkbenchError(f"{n} training rows: at least 2 are needed to standardise features.")
    total = squares = 0.0
    # The first row as origin keeps the sum of squares exact where the mean is far from zero.
    origin = np.asarray(features[np.arange(1)], dtype=np.float64)[0]
    for start in track(range(0, n, ROWS_PER_CHUNK), "Standardising features"):
        chunk = np.asarray(features[np.arange(start, min(start + ROWS_PER_CHUNK, n))], dtype=np.float64)
        _require_finite(chunk, start)
        chunk -= origin
        total = total + chunk.sum(axis=0)
        squares = squares + np.square(chunk).sum(axis=0)
    variance = np.maximum(squares / n - np.square(total / n), 0.0)
    deviation = np.sqrt(variance)
    deviation[deviation <= CONSTANT_SHARE * np.median(deviation)] = 0.0
    return Standardisation((origin + total / n).astype(np.float32), deviation.astype(np.float32))


def _require_finite(chunk: np.ndarray, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
    if len(bad):
        raise WorkbenchError(
            f"training feature row {start + bad[0]} is not finite ({len(bad)} such rows among rows {start} to "
            f"{start + len(chunk) - 1}); expected numbers. Make the feature bank again."
        )
