"""Which pairs of objects go into which image, decided before anything is drawn.

First the pairs that are laid out for a relation, then left and right between things that are already in one
image, then single things where a class still lacks examples. The counts of a split are met exactly.
"""

from dataclasses import dataclass, field

import numpy as np

from drawn_scenes.catalogue import OBJECT_NAMES
from drawn_scenes.long_tail import Targets
from drawn_scenes.rules import ALSO, ALSO_SWAPPED, LEFT, RELATION_NAMES, RIGHT, allowed
from workbench.randomness import generator

COMPANION_SHARE = 0.15
MOST_GROUPS = 4
MOST_MIRRORED = 5


@dataclass
class GroupPlan:
    """A pair with its relation, or a single thing (``relation`` empty). ``also`` are further relations of the
    pair: (relation, whether subject and object change places). ``order`` sorts groups from left to right.
    """

    subject: str
    relation: str = ""
    object: str = ""
    also: list[tuple[str, bool]] = field(default_factory=list)
    order: float = 0.0

    def things(self) -> list[tuple[str, str]]:
        """(role, class) of what is in the group."""
        return [("subject", self.subject)] + ([("object", self.object)] if self.object else [])


@dataclass
class ImagePlan:
    """Groups, and the pairs (group, role, group, role) of which the first is to the left of the second."""

    groups: list[GroupPlan] = field(default_factory=list)
    mirrored: list[tuple[int, str, int, str]] = field(default_factory=list)

    def relations(self) -> list[tuple[tuple[int, str], str, tuple[int, str]]]:
        """All annotations: ((group, role), relation, (group, role))."""
        rows = []
        for index, group in enumerate(self.groups):
            if group.relation:
                rows.append(((index, "subject"), group.relation, (index, "object")))
            for relation, swapped in group.also:
                ends = ((index, "object"), (index, "subject")) if swapped else ((index, "subject"), (index, "object"))
                rows.append((ends[0], relation, ends[1]))
        for left, left_role, right, right_role in self.mirrored:
            rows.append(((left, left_role), LEFT, (right, right_role)))
            rows.append(((right, right_role), RIGHT, (left, left_role)))
        return rows

    def triplets(self) -> list[tuple[str, str, str]]:
        """The annotations as names."""
        names = [dict(group.things()) for group in self.groups]
        return [(names[i][a], relation, names[j][b]) for (i, a), relation, (j, b) in self.relations()]


def plan_images(targets: Targets, images: int, seed: int, split: str) -> list[ImagePlan]:
    """Plan ``images`` images that together hold what ``targets`` asks for."""
    rng = generator(seed, "plan", split)
    tally = _Tally(targets)
    pairs = _pairs(targets, tally, rng)
    plans = [ImagePlan() for _ in range(images)]
    for position, place in enumerate(rng.permutation(len(pairs))):
        group = pairs[place]
        plan = plans[position % images]
        group.order = float(len(plan.groups))
        plan.groups.append(group)
    wanted = tally.mirrored_wanted(rng)
    _mirror_existing(plans, wanted, tally.index, rng)
    _mirror_added(plans, wanted, targets.classes, tally.index, rng)
    _fill_empty(plans, targets.classes, rng)
    return plans


class _Tally:
    """Ends used so far, per class and role."""

    def __init__(self, targets: Targets):
        self.targets = targets
        self.index = {name: position for position, name in enumerate(targets.classes)}
        self.left = targets.placed.astype(np.float64).copy()
        self.roles = np.zeros((2, len(targets.classes)), dtype=np.int64)

    def use(self, subject: str, object_: str) -> None:
        for role, name in enumerate((subject, object_)):
            self.left[self.index[name]] -= 1
            self.roles[role, self.index[name]] += 1

    def mirrored_wanted(self, rng: np.random.Generator) -> np.ndarray:
        """How many left-right pairs each class should take part in; the sum is even."""
        used = self.roles.sum(axis=0)
        wanted = np.maximum(0, (self.targets.ends - used + (rng.random(len(used)) < 0.5)) // 2)
        if self.targets.complete:
            wanted = np.maximum(wanted, (used == 0).astype(np.int64))
        # Every left-right pair shows a class in both roles, so a floor on the roles is a floor on the pairs.
        wanted = np.maximum(wanted, self.targets.floor - self.roles.min(axis=0))
        if wanted.sum() % 2:
            wanted[int(np.argmax(wanted))] += 1
        return wanted


def _pairs(targets: Targets, tally: _Tally, rng: np.random.Generator) -> list[GroupPlan]:
    positions = [OBJECT_NAMES.index(name) for name in targets.classes]
    tables = {name: allowed(name)[np.ix_(positions, positions)] for name in RELATION_NAMES}
    hosted = {name for also in (*ALSO.values(), *ALSO_SWAPPED.values()) for name in also}
    pairs: list[GroupPlan] = []
    owed: dict[str, int] = {}
    # The rarest relations choose first, while every class is still to be had.
    for name, count in reversed(list(zip(RELATION_NAMES, targets.relations, strict=True))):
        if not count or not tables[name].any():
            continue
        owed[name] = int(COMPANION_SHARE * count) if name in hosted else 0
        pairs += [_drawn_pair(name, tables[name], targets, tally, rng) for _ in range(int(count) - owed[name])]
    for name, count in owed.items():
        placed = _accompany(pairs, name, count, tally, rng)
        pairs += [_drawn_pair(name, tables[name], targets, tally, rng) for _ in range(count - placed)]
    return pairs


def _drawn_pair(name: str, table: np.ndarray, targets: Targets, tally: _Tally, rng: np.random.Generator) -> GroupPlan:
    """One pair, both classes drawn by how many of their places are still free."""
    free = np.maximum(tally.left, 0) + 1e-7 * targets.ends
    subject = rng.choice(len(free), p=_normal(free * (table @ free > 0)))
    object_ = rng.choice(len(free), p=_normal(free * table[subject]))
    group = GroupPlan(targets.classes[subject], name, targets.classes[object_])
    tally.use(group.subject, group.object)
    return group


def _normal(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def _accompany(pairs: list[GroupPlan], name: str, count: int, tally: _Tally, rng: np.random.Generator) -> int:
    """Say relation ``name`` of up to ``count`` pairs that were laid out for another one; returns how many."""
    placed = 0
    for position in rng.permutation(len(pairs)):
        if placed == count:
            break
        group = pairs[position]
        swapped = name in ALSO_SWAPPED.get(group.relation, ())
        if group.also or not (swapped or name in ALSO.get(group.relation, ())):
            continue
        ends = (group.object, group.subject) if swapped else (group.subject, group.object)
        if min(tally.left[tally.index[ends[0]]], tally.left[tally.index[ends[1]]]) < 1:
            continue
        group.also.append((name, swapped))
        tally.use(*ends)
        placed += 1
    return placed


def _mirror_existing(
    plans: list[ImagePlan], wanted: np.ndarray, index: dict[str, int], rng: np.random.Generator
) -> None:
    """Left and right between things of different groups; a round adds at most one pair to an image."""
    for _ in range(MOST_MIRRORED):
        for position in rng.permutation(len(plans)):
            plan = plans[position]
            if len(plan.mirrored) >= MOST_MIRRORED:
                continue
            choices = _mirror_choices(plan, wanted, index)
            if choices:
                weights = _normal(np.array([weight for _, weight in choices], dtype=np.float64))
                pair = choices[int(rng.choice(len(choices), p=weights))][0]
                plan.mirrored.append(pair)
                for group, role in (pair[:2], pair[2:]):
                    wanted[index[dict(plan.groups[group].things())[role]]] -= 1


def _mirror_choices(plan: ImagePlan, wanted: np.ndarray, index: dict[str, int]):
    taken = {(a, x, b, y) for a, x, b, y in plan.mirrored}
    choices = []
    for i, first in enumerate(plan.groups):
        for j, second in enumerate(plan.groups):
            if first.order >= second.order:
                continue
            for role, name in first.things():
                for other_role, other in second.things():
                    weight = wanted[index[name]] * wanted[index[other]]
                    if weight > 0 and name != other and (i, role, j, other_role) not in taken:
                        choices.append(((i, role, j, other_role), weight))
    return choices


def _mirror_added(plans: list[ImagePlan], wanted: np.ndarray, classes, index, rng: np.random.Generator) -> None:
    """What is still wanted comes as single things beside what is there."""
    homes: dict[str, list[int]] = {}
    for position, plan in enumerate(plans):
        for group in plan.groups:
            for _, name in group.things():
                homes.setdefault(name, []).append(position)
    while wanted.sum() > 1:
        first = int(np.argmax(wanted))
        others = wanted.copy()
        others[first] = 0
        if not others.any():
            # Only one class is left: it stands beside another one, whose count grows by one pair.
            others[(first + 1) % len(others)] = 1
        second = int(rng.choice(len(others), p=_normal(others.astype(np.float64))))
        position = _add_beside(plans, homes, classes[first], classes[second], rng)
        for name in (classes[first], classes[second]):
            homes.setdefault(name, []).append(position)
        wanted[first] = max(0, wanted[first] - 1)
        wanted[second] = max(0, wanted[second] - 1)


def _add_beside(plans: list[ImagePlan], homes, first: str, second: str, rng: np.random.Generator) -> int:
    """Put one of the two beside the other where that one already is and there is room; else both anew."""
    for there, new in ((first, second), (second, first)):
        places = homes.get(there, [])
        tries = [places[int(i)] for i in rng.integers(0, len(places), min(12, len(places)))] if places else []
        for position in sorted(tries, key=lambda place: len(plans[place].groups)):
            plan = plans[position]
            if len(plan.groups) >= MOST_GROUPS or len(plan.mirrored) >= MOST_MIRRORED:
                continue
            home, role = next(
                (i, role) for i, group in enumerate(plan.groups) for role, name in group.things() if name == there
            )
            _append_single(plan, new, home, role, rng)
            return position
    position = int(min(rng.integers(0, len(plans), 12), key=lambda place: len(plans[place].groups)))
    plan = plans[position]
    orders = [group.order for group in plan.groups] or [0.0]
    plan.groups.append(GroupPlan(first, order=max(orders) + 1))
    _append_single(plan, second, len(plan.groups) - 1, "subject", rng)
    return position


def _append_single(plan: ImagePlan, name: str, home: int, role: str, rng: np.random.Generator) -> None:
    orders = [group.order for group in plan.groups]
    new = len(plan.groups)
    if rng.random() < 0.5:
        plan.groups.append(GroupPlan(name, order=max(orders) + 1))
        plan.mirrored.append((home, role, new, "subject"))
    else:
        plan.groups.append(GroupPlan(name, order=min(orders) - 1))
        plan.mirrored.append((new, "subject", home, role))


def _fill_empty(plans: list[ImagePlan], classes, rng: np.random.Generator) -> None:
    """An image without a relation would be no image: it gets the two commonest classes side by side."""
    for plan in plans:
        if not plan.groups:
            left, right = rng.permutation(classes[:2])
            plan.groups = [GroupPlan(str(left), order=0.0), GroupPlan(str(right), order=1.0)]
            plan.mirrored = [(0, "subject", 1, "subject")]
