"""Weights between those before and those after fine-tuning, to keep what fine-tuning would forget.

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models".
"""

from collections.abc import Callable, Sequence

import torch

from workbench.errors import WorkbenchError
from workbench.recognition.lsvru import LsvruHead

Weights = dict[str, torch.Tensor]


def interpolated(before: Weights, after: Weights, share: float) -> Weights:
    """``share`` of the weights after and the rest of those before; 0 is before, 1 is after, both exactly."""
    return {
        name: value.clone() if share == 1 else torch.lerp(before[name], value, share) for name, value in after.items()
    }


def best_interpolation(
    head: LsvruHead,
    before: Weights,
    after: Weights,
    shares: Sequence[float],
    validate: Callable[[LsvruHead], dict[str, float]],
) -> tuple[float, Weights, dict[str, float]]:
    """The share with the highest "combined" of ``validate``, its weights and its validation numbers.

    Of equal ones the first in ``shares`` is taken. ``head`` is left with the weights that were tried last.
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise WorkbenchError(f"weight_interpolation is {list(shares)}; expected numbers above 0 and up to 1.")
    best: tuple[float, Weights, dict[str, float]] | None = None
    for share in shares:
        weights = interpolated(before, after, share)
        head.load_state_dict(weights)
        found = validate(head)
        if best is None or found["combined"] > best[2]["combined"]:
            best = share, weights, found
    return best
