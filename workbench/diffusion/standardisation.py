"""Per-dimension standardisation of features, fitted on the training rows and kept in the checkpoint."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from workbench.errors import WorkbenchError
from workbench.progress import track

ROWS_PER_CHUNK = 8192
ROWS_PER_BLOCK = 1024
MOST_ROWS = 500_000
THREADS = 2
NUMBERS_IN_CACHE = 1 << 16
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


def fit_standardisation(features, most_rows: int = MOST_ROWS) -> Standardisation:
    """Fit on ``features``: anything with a length that gives rows for a row-number array, (N, D).

    Of more than ``most_rows`` rows, evenly spaced blocks of 1,024 that make up as many are read: with 500,000 the mean
    of a dimension is known to 0.0014 standard deviations. Sums are float64 and do not depend on the number of cores.
    Raises WorkbenchError for fewer than two rows and for the first row read that is not finite.
    """
    n = len(features)
    if n < 2:
        raise WorkbenchError(f"{n} training rows: at least 2 are needed to standardise features.")
    # The first row as origin keeps the sum of squares exact where the mean is far from zero.
    origin = np.asarray(features[np.arange(1)], dtype=np.float64)[0]
    chunks = _chunks(n, most_rows)
    read = sum(len(rows) for rows in chunks)
    total = squares = 0.0
    with ThreadPoolExecutor(THREADS) as threads:
        # A few chunks at a time, in order: their sums are added up in one order, and few are in memory.
        for start in track(range(0, len(chunks), THREADS), "Standardising features"):
            for sums in threads.map(lambda rows: _sums(features, rows, origin), chunks[start : start + THREADS]):
                total, squares = total + sums[0], squares + sums[1]
    variance = np.maximum(squares / read - np.square(total / read), 0.0)
    deviation = np.sqrt(variance)
    deviation[deviation <= CONSTANT_SHARE * np.median(deviation)] = 0.0
    return Standardisation((origin + total / read).astype(np.float32), deviation.astype(np.float32))


def _chunks(n: int, most_rows: int) -> list[np.ndarray]:
    """Row numbers to read, ascending, in chunks."""
    rows = np.arange(n)
    if n > most_rows:
        blocks = max(1, most_rows // ROWS_PER_BLOCK)
        starts = np.linspace(0, n - min(n, ROWS_PER_BLOCK), blocks).astype(np.int64)
        rows = np.unique(starts[:, None] + np.arange(min(n, ROWS_PER_BLOCK)))
    return [rows[start : start + ROWS_PER_CHUNK] for start in range(0, len(rows), ROWS_PER_CHUNK)]


def _sums(features, rows: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and sum of squares (D,) float64 of the deviations of ``rows`` from ``origin`` (D,)."""
    chunk = np.asarray(features[rows])
    # Row by row in pieces that stay in the processor's cache; the sum so far is the first row of each piece.
    size = max(1, NUMBERS_IN_CACHE // len(origin))
    piece = np.empty((1 + min(size, len(chunk)), len(origin)))
    total, squares = np.zeros((2, len(origin)))
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(chunk), size):
            part = chunk[start : start + size]
            here = piece[: 1 + len(part)]
            np.subtract(part, origin, out=here[1:])
            here[0] = total
            np.add.reduce(here, axis=0, out=total)
            np.square(here[1:], out=here[1:])
            here[0] = squares
            np.add.reduce(here, axis=0, out=squares)
    if not (np.isfinite(total).all() and np.isfinite(squares).all()):
        _require_finite(chunk, rows)
    return total, squares


def _require_finite(chunk: np.ndarray, rows: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
    if len(bad):
        raise WorkbenchError(
            f"training feature row {rows[bad[0]]} is not finite ({len(bad)} such rows among rows {rows[0]} to "
            f"{rows[-1]}); expected numbers. Make the feature store again."
        )
