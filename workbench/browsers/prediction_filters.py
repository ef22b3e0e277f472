"""Which test rows match what a person chose, how many each further choice would leave, and their order."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from workbench.browsers.prediction_pair import PredictionPair
from workbench.browsers.prediction_state import ALL, ROLE_CHOICES, WHAT_CHOICES, PredictionState
from workbench.randomness import generator
from workbench.scenes.bands import BANDS


def matching(pair: PredictionPair, state: PredictionState, *, without: tuple[str, ...] = ()) -> np.ndarray:
    """Which rows match, (n,) bool; filters named in ``without`` ("what", "bands", "true_class", "cell") are ignored."""
    role, mask = state.class_role, np.ones(len(pair), dtype=bool)
    if state.what != ALL and "what" not in without:
        mask &= pair.happened[state.role][state.what]
    if state.bands and "bands" not in without:
        mask &= np.isin(np.arange(len(BANDS)), [BANDS.index(band) for band in state.bands])[pair.band[role]]
    if state.true_class is not None and "true_class" not in without:
        mask &= pair.truth[role] == state.true_class
    if state.cell is not None and "cell" not in without:
        true, given = state.cell
        mask &= pair.truth[role] == true
        mask &= (pair.before.predicted[role] == given) | (pair.after.predicted[role] == given)
    return mask


@dataclass(frozen=True)
class FilterCounts:
    """Rows that each choice would leave with the other filters as they are.

    ``classes`` (C,) int64, whatever the cell.
    """

    roles: dict[str, int]
    what: dict[str, int]
    bands: dict[str, int]
    classes: np.ndarray


def filter_counts(pair: PredictionPair, state: PredictionState, n_classes: int) -> FilterCounts:
    """How many rows each choice leaves; ``n_classes`` are those of the state's role."""
    role = state.class_role
    roles = {choice: state.in_role(choice) for choice in ROLE_CHOICES}
    rest = matching(pair, state, without=("what",))
    what = {
        choice: int(np.count_nonzero(rest if choice == ALL else rest & pair.happened[state.role][choice]))
        for choice in WHAT_CHOICES
    }
    of_band = np.bincount(pair.band[role][matching(pair, state, without=("bands",))], minlength=len(BANDS))
    of_class = pair.truth[role][matching(pair, state, without=("true_class", "cell"))]
    return FilterCounts(
        {choice: int(np.count_nonzero(matching(pair, other))) for choice, other in roles.items()},
        what,
        dict(zip(BANDS, of_band.tolist(), strict=True)),
        np.bincount(of_class, minlength=n_classes),
    )


class RowOrder:
    """Orders of a pair's rows; each is computed once.

    ``train_counts`` by role (C,). Ties, and the order "random", are drawn by ``seed``.
    """

    def __init__(self, pair: PredictionPair, train_counts: dict[str, np.ndarray], seed: int):
        self._pair, self._train_counts, self._seed = pair, train_counts, seed
        self._places = lru_cache(maxsize=None)(self._ordered)

    def sorted(self, mask: np.ndarray, state: PredictionState) -> np.ndarray:
        """Positions (m,) of the rows in ``mask`` in the state's order."""
        order = self._places(state.sort, state.class_role if state.sort != "random" else "")
        return order[mask[order]]

    def _ordered(self, sort: str, role: str) -> np.ndarray:
        if sort == "random":
            return generator(self._seed, "order of predictions").permutation(len(self._pair)).astype(np.int32)
        order = self._places("random", "")
        if sort == "rarest":
            keys = self._train_counts[role][self._pair.truth[role][order]]
        else:  # the bits of floats that are not negative are in the order of the floats
            keys = np.uint32(2**32 - 1) - self._pair.after.probability[role][order].view(np.uint32)
        return order[_stable_order(keys)]


def _stable_order(keys: np.ndarray) -> np.ndarray:
    """Stable argsort of (n,) integers from 0 to 2**32 - 1: sorting key and place as one number is ten times as fast."""
    packed = (keys.astype(np.uint64) << np.uint64(32)) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    return packed & np.uint64(2**32 - 1)
