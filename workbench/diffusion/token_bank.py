"""Conditions as the denoiser reads them: distinct vectors per token slot, and an id for every token.

Ids 0 .. S-1 are the learned null tokens of the S slots; the distinct vectors of the slots follow. Dropping a token is
replacing its id, and what a batch repeats is encoded once.
"""

from dataclasses import dataclass

import numpy as np
import torch

from workbench.diffusion.conditions import ABSENT, SLOTS, ConditionTable
from workbench.diffusion.vector_rows import BesideRows, Rows, chosen, held, tensor
from workbench.errors import WorkbenchError

LAYOUTS = ("tokens", "pooled")


@dataclass(frozen=True)
class TokenBatch:
    """Distinct tokens of a batch: ``nulls`` (n,), ``vectors`` per slot (u_s, dimension_s), ``place`` (B, S).

    The distinct tokens are numbered nulls first, then slot by slot; ``place`` holds these numbers.
    """

    nulls: torch.Tensor
    vectors: list[torch.Tensor]
    place: torch.Tensor


class TokenBank:
    """The tokens of a ConditionTable in a layout: "tokens" (subject, relation, object, caption, hardness) or "pooled".

    "pooled" has one token, the caption's embedding beside the hardness vector, as the paper seems to do it (section
    3.4: "concatenated"). ``hardness`` says whether the network has hardness at all. ``vectors`` holds a matrix for each
    slot: an array where it is small, else rows that a batch gathers, or computes on its device.
    """

    def __init__(self, conditions: ConditionTable, *, layout: str, hardness: bool):
        if layout not in LAYOUTS:
            raise WorkbenchError(f"condition layout {layout!r} is not known; expected one of {', '.join(LAYOUTS)}.")
        if layout == "tokens":
            self.vectors, places = _token_slots(conditions, hardness)
        else:
            self.vectors, places = _pooled_slot(conditions, hardness)
        slots = len(self.vectors)
        sizes = [slots, *(len(vectors) for vectors in self.vectors)]
        self.offsets = np.cumsum(sizes)  # offsets[s]: first id of slot s
        shifted = [np.where(place < 0, null, place + self.offsets[null]) for null, place in enumerate(places)]
        self.ids = np.stack(shifted, axis=1)  # (M, S)

    @property
    def slots(self) -> int:
        """S, the number of tokens of a condition."""
        return len(self.vectors)

    @property
    def null_ids(self) -> np.ndarray:
        """The ids (1, S) of the condition of which everything is dropped."""
        return np.arange(self.slots)[None]

    def batch(self, ids: np.ndarray, device: torch.device) -> TokenBatch:
        """Move the distinct tokens behind ``ids`` (B, S) to ``device``."""
        used, place = np.unique(ids, return_inverse=True)
        bounds = np.searchsorted(used, self.offsets)
        vectors = [
            tensor(self.vectors[slot], used[bounds[slot] : bounds[slot + 1]] - self.offsets[slot], device)
            for slot in range(self.slots)
        ]
        nulls = torch.from_numpy(used[: bounds[0]]).to(device)
        return TokenBatch(nulls, vectors, torch.from_numpy(place.reshape(ids.shape)).to(device))


def _token_slots(conditions: ConditionTable, hardness: bool) -> tuple[list[Rows], list[np.ndarray]]:
    vectors, places = [], []
    for slot in range(len(SLOTS)):
        rows = conditions.token_index[:, slot]
        distinct, place = np.unique(rows, return_inverse=True)
        absent = int(len(distinct) > 0 and distinct[0] == ABSENT)  # the absent one sorts first
        vectors.append(held(chosen(conditions.vectors, distinct[absent:])))
        places.append(place.reshape(-1) - absent)
    if hardness:
        m = len(conditions)
        known = conditions.hardness is not None
        vectors.append(held(conditions.hardness) if known else np.zeros((0, 1), dtype=np.float32))
        places.append(np.arange(m) if known else np.full(m, ABSENT))
    return vectors, places


def _pooled_slot(conditions: ConditionTable, hardness: bool) -> tuple[list[Rows], list[np.ndarray]]:
    rows = conditions.token_index[:, SLOTS.index("caption")]
    if (rows == ABSENT).any():
        raise WorkbenchError('a condition has no caption embedding, which the layout "pooled" cannot do without.')
    if hardness and conditions.hardness is None:
        raise WorkbenchError(
            'the layout "pooled" holds hardness and caption in one token, but the conditions have no hardness vectors. '
            "Pass the hardness model that the denoiser was trained with."
        )
    parts = [chosen(conditions.vectors, rows), *([conditions.hardness] if hardness else [])]
    return [held(BesideRows(parts))], [np.arange(len(conditions))]
