"""The layout of a pair for its relation."""

import numpy as np

from drawn_scenes import action_layouts as action
from drawn_scenes import spatial_layouts as spatial
from drawn_scenes.placement import Group, drawn, grounded
from drawn_scenes.rules import LEFT, RIGHT


def arrange(subject: str, relation: str, object_: str, rng: np.random.Generator, scale: float = 1.0) -> Group:
    """Lay the pair out; for left and right the order is kept, otherwise the group may be mirrored."""
    layout = _LAYOUTS[relation]
    group = layout(subject, object_, rng, scale)
    if relation not in (LEFT, RIGHT) and rng.random() < 0.5:
        group.mirrored()
    return group


def arrange_single(name: str, rng: np.random.Generator, scale: float = 1.0) -> Group:
    """One object on the ground."""
    return Group([grounded(drawn(name, rng, scale), 0.0, "subject")])


_LAYOUTS = {
    LEFT: spatial.left,
    RIGHT: spatial.right,
    "next to": spatial.next_to,
    "near": spatial.near,
    "behind": spatial.behind,
    "in front of": spatial.in_front,
    "above": spatial.above,
    "below": spatial.below,
    "on": spatial.on,
    "standing on": action.standing_on,
    "sitting on": action.sitting_on,
    "lying on": action.lying_on,
    "riding": action.riding,
    "wearing": action.wearing,
    "holding": action.holding,
    "carrying": action.carrying,
    "kicking": action.kicking,
    "eating": action.eating,
    "pulling": action.pulling,
    "pushing": action.pushing,
    "hanging from": spatial.hanging_from,
    "leaning on": spatial.leaning_on,
    "covering": spatial.covering,
    "under": spatial.under,
    "inside": spatial.inside,
}
