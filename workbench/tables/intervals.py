"""Means of several seeds with their t-intervals, unpaired and paired by seed."""

import math
from collections.abc import Mapping
from typing import Any

CONFIDENCE = 0.95


def interval(values: list[float]) -> dict[str, Any]:
    """Mean, half width and ends of the 95 % t-interval of independent ``values``; without width for a single one."""
    from scipy import stats

    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2:
        return {"mean": mean, "half_width": None, "low": None, "high": None, "values": values}
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * spread / math.sqrt(count)
    return {"mean": mean, "half_width": half, "low": mean - half, "high": mean + half, "values": values}


def paired_interval(later: Mapping[int, float], earlier: Mapping[int, float]) -> dict[str, Any] | None:
    """`interval` of later minus earlier over the seeds that both have, in ascending order; None where there is none."""
    shared = sorted(later.keys() & earlier.keys())
    return interval([later[seed] - earlier[seed] for seed in shared]) if shared else None
