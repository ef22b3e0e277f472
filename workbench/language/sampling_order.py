"""In which order the candidates of a band are sampled, so that tail classes, or roles, take turns.

``"class"`` cycles over the tail classes: one subject, relation or object class after another gives its next triplet.
``"role"`` does so within each role and takes the roles in turn, since relation classes are far fewer than object
classes. ``"triplet"`` draws distinct triplets uniformly.
"""

from typing import NamedTuple

import numpy as np

from workbench.scenes.vocabulary import ROLES


class Causes(NamedTuple):
    """Why candidates are tail: the number of a candidate, what makes it tail and that one's role, each (n,).

    A candidate comes once for each role whose class is tail; ``cause`` is a number for the class in that role.
    """

    item: np.ndarray
    cause: np.ndarray
    role: np.ndarray


def sampling_order(
    causes: Causes, random: np.random.Generator, balance: str, quota: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct candidates (m,) in the order of sampling, and for each the role (m,) that it is drawn for.

    All candidates, or at least the first ``quota``, which do not depend on it.
    """
    shuffled = random.permutation(len(causes.item))
    item, cause, role_of = (part[shuffled] for part in causes)
    if balance != "triplet":
        # Cycle over the tail classes: first the first candidate of each, then the second of each, and so on. A
        # candidate comes once for each role at most, so that the first 3 quota places of a role hold all that is drawn.
        turn = place_within(cause)
        soon = turn <= _last_turn(turn, role_of, len(ROLES) * quota)
        item, role_of = item[soon], role_of[soon]
        cycled = np.argsort(turn[soon], kind="stable")
        item, role_of = item[cycled], role_of[cycled]
    if balance == "role":
        # The same within each role, and the roles in turn: relations are few, but a third of what is asked for.
        cycled = np.argsort(place_within(role_of), kind="stable")
        item, role_of = item[cycled], role_of[cycled]
    _, earliest = np.unique(item, return_index=True)  # a candidate of two tail classes comes once
    if balance != "triplet":
        earliest.sort()
    else:
        earliest = random.permutation(earliest)  # candidates of two tail classes come no sooner than others
    return item[earliest], role_of[earliest]


def _last_turn(turn: np.ndarray, role_of: np.ndarray, wanted: int) -> int:
    """The turn by which every role has had ``wanted`` places, or all that it has."""
    last = 0
    for role in np.unique(role_of):
        reached = np.cumsum(np.bincount(turn[role_of == role]))
        last = max(last, int(np.searchsorted(reached, min(wanted, reached[-1]))))
    return last


def place_within(group: np.ndarray) -> np.ndarray:
    """The place (N,) of each element among those of its group, in the order given."""
    by_group = np.argsort(group, kind="stable")
    ordered = group[by_group]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(group)])
    place = np.empty(len(group), dtype=np.int64)
    place[by_group] = np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))
    return place
