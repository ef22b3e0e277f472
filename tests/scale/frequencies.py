"""A long tail of class counts with given extremes and a given sum."""

import numpy as np

from workbench.errors import WorkbenchError

HALVINGS = 100
STEEPEST = 60.0


def long_tailed_counts(classes: int, most: int, least: int, total: int) -> np.ndarray:
    """Counts (classes,) int64, descending, that begin with ``most``, end with ``least`` and sum to ``total``.

    The curve is the two-sided power law of ranks (Lavalette; Martinez-Mekler et al. 2009), c (K + 1 - k)^b / k^a: a
    power law at the head and a cliff at the rare end, as closed vocabularies have. The extremes fix c and a + b, the
    sum fixes a; where that would take the middle below ``least``, it stays there. WorkbenchError where no a does.
    """
    if classes < 2 or not 0 < least <= most:
        raise WorkbenchError(
            f"{classes} classes with {least} to {most} examples: expected 2 or more, 1 <= least <= most."
        )
    flattest, steepest = 0.0, STEEPEST
    largest, smallest = (int(_curve(classes, most, least, a).sum()) for a in (flattest, steepest))
    if not smallest <= total <= largest:
        raise WorkbenchError(
            f"{classes} classes with {least:,} to {most:,} examples cannot have {total:,} in all; expected "
            f"{smallest:,} to {largest:,}. Another scale gives another sum."
        )
    for _ in range(HALVINGS):
        middle = (flattest + steepest) / 2
        above = _curve(classes, most, least, middle).sum() > total
        flattest, steepest = (middle, steepest) if above else (flattest, middle)
    curve = _curve(classes, most, least, flattest)
    # Rounding the running sum, not the values, keeps the total; a class may then exceed its predecessor by one.
    counts = np.diff(np.round(np.cumsum(curve) * (total / curve.sum())).astype(np.int64), prepend=0)
    return np.sort(counts)[::-1].copy()


def drawn_counts(random: np.random.Generator, counts: np.ndarray, total: int) -> np.ndarray:
    """``total`` examples drawn from the distribution of ``counts`` (K,): the counts of another split, (K,) int64."""
    return random.multinomial(total, counts / counts.sum()).astype(np.int64)


def _curve(classes: int, most: int, least: int, a: float) -> np.ndarray:
    rank = np.arange(1, classes + 1)
    b = np.log(most / least) / np.log(classes) - a
    logarithm = b * np.log((classes + 1 - rank) / classes) - a * np.log(rank)
    return np.maximum(least, most * np.exp(np.minimum(logarithm, 0)))
