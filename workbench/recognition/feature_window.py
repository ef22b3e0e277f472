"""Features of some relations in memory, each box once however many relations share it."""

from typing import NamedTuple

import numpy as np
import torch

REGIONS = ("subject", "union", "object")

# Features of subject, union and object, (n, D) each, float16 where that is how they are stored, else float32.
Regions = tuple[np.ndarray, np.ndarray, np.ndarray]


class HeldRegion(NamedTuple):
    """Features (m, D) in memory, and which of them is each row's, (n,), where that is not its own number."""

    values: np.ndarray
    place: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Features (m, D) of rows (m,)."""
        return self.values[rows if self.place is None else self.place[rows]]


class FeatureWindow:
    """Features of ``rows`` (n,), ascending and distinct, in memory; called like the `FeatureRows` they come from."""

    def __init__(self, rows: np.ndarray, held: dict[str, HeldRegion]):
        self._rows, self._held = rows, held

    def __call__(self, rows: np.ndarray) -> Regions:
        """Features (m, D) of subject, union and object of some of the window's rows, in any order."""
        return three_regions(self._held, np.searchsorted(self._rows, rows))


def three_regions(held: dict[str, HeldRegion], rows: np.ndarray) -> Regions:
    """Features (m, D) of subject, union and object; the same array where only the union is held."""
    if "subject" not in held:
        return (held["union"].of(rows),) * 3
    return tuple(held[region].of(rows) for region in REGIONS)


def on_device(features: Regions, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The three as float32 tensors; they travel as they are, and one that is all three travels once."""
    if features[0] is features[1] is features[2]:
        return (torch.from_numpy(features[0]).to(device).float(),) * 3
    return tuple(torch.from_numpy(array).to(device).float() for array in features)
