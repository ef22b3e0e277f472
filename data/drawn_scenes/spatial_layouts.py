"""Layouts of the spatial relations: beside, behind, above, on, under, inside, hanging, leaning, covering.

Every layout takes (subject, object, generator, scale) and returns a :class:`Group` that shows the relation.
"""

import numpy as np

from drawn_scenes.catalogue import FAMILY_OF, draw_object
from drawn_scenes.placement import (
    Group,
    Placed,
    drawn,
    evened_scales,
    grounded,
    resting_on,
    rope,
    scale_for,
    support,
    usual_size,
)
from drawn_scenes.pose import FREE, Pose


def _side_by_side(first: str, second: str, rng, scale: float, gap: float, roles: tuple[str, str]) -> Group:
    a, b = evened_scales(first, second)
    left, right = drawn(first, rng, a * scale), drawn(second, rng, b * scale)
    one, two = grounded(left, 0, roles[0]), grounded(right, left.width + gap * scale, roles[1])
    two.top += rng.uniform(-6, 6) * scale if gap > 4 else rng.uniform(-1.5, 1.5) * scale
    return Group(sorted((one, two), key=lambda item: item.box[3]))


def left(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Subject on the left."""
    return _side_by_side(subject, object_, rng, scale, rng.uniform(9, 34), ("subject", "object"))


def right(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Subject on the right."""
    return _side_by_side(object_, subject, rng, scale, rng.uniform(9, 34), ("object", "subject"))


def next_to(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Side by side without a gap."""
    return _side_by_side(subject, object_, rng, scale, rng.uniform(-1, 1.5), ("subject", "object"))


def near(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """A small gap, not on one line."""
    group = _side_by_side(subject, object_, rng, scale, rng.uniform(3, 7), ("subject", "object"))
    for item in group.placed:
        if item.role == "subject":
            item.top += rng.uniform(8, 15) * scale * rng.choice([-1, 1])
    group.placed.sort(key=lambda item: item.box[3])
    return group


def _depth(back: str, front: str, rng, scale: float, roles: tuple[str, str]) -> Group:
    """One thing partly hides the other, which stands higher up in the image."""
    a, b = evened_scales(back, front, 1.35)
    rear, fore = drawn(back, rng, a * scale * 0.95), drawn(front, rng, b * scale)
    shared = rng.uniform(0.35, 0.6) * min(rear.width, fore.width)
    lift = rng.uniform(0.12, 0.25) * fore.height
    first = Placed(rear, fore.width - shared, -rear.height - lift, roles[0])
    return Group([first, grounded(fore, 0, roles[1])])


def behind(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """The object hides part of the subject."""
    return _depth(subject, object_, rng, scale, ("subject", "object"))


def in_front(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """The subject hides part of the object."""
    return _depth(object_, subject, rng, scale, ("object", "subject"))


def _stacked(high: str, low: str, rng, scale: float, roles: tuple[str, str]) -> Group:
    """One thing floats clear above the other."""
    a, b = evened_scales(high, low, 1.6)
    pose = Pose("fly") if FAMILY_OF[high] == "birds" else FREE
    upper, lower = drawn(high, rng, a * scale * 0.85, pose), drawn(low, rng, b * scale * 0.85)
    shift = rng.uniform(-0.25, 0.25) * max(upper.width, lower.width)
    top = Placed(
        upper,
        lower.width / 2 - upper.width / 2 + shift,
        -lower.height - upper.height - rng.uniform(5, 12) * scale,
        roles[0],
        False,
    )
    return Group([top, grounded(lower, 0, roles[1])])


def above(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """The subject floats over the object."""
    return _stacked(subject, object_, rng, scale, ("subject", "object"))


def below(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """The object floats over the subject."""
    return _stacked(object_, subject, rng, scale, ("object", "subject"))


_LYING = ("cutlery", "fruit", "baked goods", "clothing", "sports gear")


def on(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """The subject rests on the object."""
    low = support(object_, rng, scale)
    limit = 0.62 * low.sprite.height
    size = min(1.0, limit / usual_size(subject)[1], 0.8 * low.sprite.width / usual_size(subject)[0])
    upper = drawn(subject, rng, max(size, 0.62) * scale, Pose(), None if FAMILY_OF[subject] in _LYING else 5)
    return Group([low, resting_on(upper, low, rng)])


def hanging_from(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """On a string from a branch or an edge."""
    holder = grounded(drawn(object_, rng, scale * 1.15, turn=1, face=1), 0, "object")
    hook = holder.at("branch", (0.93, 0.22))
    thing = drawn(subject, rng, scale_for(subject, 0.38 * holder.sprite.height, "longest"), turn=3)
    x, y = thing.point("handle", (0.5, 0.04))
    drop = rng.uniform(4, 8) * scale
    top = min(hook[1] + drop, -thing.height - 3 * scale + y)
    item = Placed(thing, hook[0] + 2 * scale - x, top - y, "subject", False)
    string = rope((hook[0] + 2 * scale, hook[1] - 2), (hook[0] + 2 * scale, top + 1), rng, 0, 1.5 * scale)
    return Group([holder, string, item])


def leaning_on(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Tilted against the side of the object."""
    support = grounded(drawn(object_, rng, scale, turn=1), 0, "object")
    person = FAMILY_OF[subject] == "people"
    pose = Pose("lean", arms=((-16, -12), (-40, 30))) if person else FREE
    tall = (
        min(1.02 * scale, scale_for(subject, max(1.05 * support.sprite.height, 40 * scale), "height"))
        if person
        else scale_for(subject, max(0.8 * support.sprite.height, 34 * scale), "longest")
    )
    thing = draw_object(subject, rng, min(tall, 1.6 * scale), pose)
    if subject == "skateboard":
        thing = thing.turned(90)
    thing = thing.turned(rng.uniform(-27, -17) if not person else rng.uniform(-19, -12))
    overlap = rng.uniform(0.12, 0.2) * thing.width
    edge = 0.36 * support.sprite.width if object_ in ("tree", "palm tree") else 0.0
    return Group([support, grounded(thing, support.sprite.width - edge - overlap, "subject")])


def covering(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Cloth over the upper part of the object."""
    below = grounded(drawn(object_, rng, scale * 1.05, turn=1), 0, "object")
    # Drawn large enough that the fit below only ever shrinks it.
    wide = scale_for(subject, below.sprite.width, "width")
    cloth = draw_object(subject, rng, max(scale, wide)).turned(rng.uniform(-8, 8))
    factor_x = rng.uniform(0.78, 0.95) * below.sprite.width / cloth.width
    factor_y = rng.uniform(0.55, 0.72) * below.sprite.height / cloth.height
    cloth = cloth.resized(factor_x, factor_y)
    left = below.left + (below.sprite.width - cloth.width) / 2 + rng.uniform(-2, 2)
    return Group([below, Placed(cloth, left, below.top - 0.14 * cloth.height, "subject", False)])


def under(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Between the legs of furniture, or beneath a crown."""
    tree = object_ in ("tree", "palm tree")
    roof = grounded(drawn(object_, rng, scale * (1.45 if tree else 1.3), turn=1), 0, "object")
    width, height = roof.sprite.width, roof.sprite.height
    room = 0.5 * height if tree else 0.46 * height
    low_w, low_h = usual_size(subject)
    stance = "sit" if subject in ("dog", "cat") and tree else "stand"
    thing = drawn(subject, rng, min(scale, room / low_h, 0.75 * width / low_w), Pose(stance), turn=3)
    x = width * (0.5 + rng.uniform(0.14, 0.2) * rng.choice([-1, 1])) - thing.width / 2
    if tree:
        x = width * rng.choice([0.24, 0.76]) - thing.width / 2
        return Group([roof, grounded(thing, x, "subject", -2 * scale)])
    return Group([grounded(thing, x, "subject", 1.5 * scale), roof])


def inside(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """The lower part of the subject is hidden in the opening."""
    vessel = grounded(drawn(object_, rng, scale * 1.25, Pose(opened=True), turn=2), 0, "object")
    x, y = vessel.at("opening", (0.5, 0.1))
    mouth = vessel.sprite.length("opening_width", 0.6)
    slim = subject in ("flower", "sunflower", "daisy", "fork", "knife", "spoon", "butter knife", "bat", "racket")
    size = (
        scale_for(subject, min(1.0 * vessel.sprite.height, 44 * scale), "height")
        if slim
        else scale_for(subject, 0.84 * mouth, "width")
    )
    thing = drawn(subject, rng, size, Pose("sit"), turn=12 if slim else 8).turned(rng.uniform(-14, 14) if slim else 0)
    depth = rng.uniform(0.3, 0.4)
    left = x - thing.width / 2 + rng.uniform(-0.06, 0.06) * mouth
    visible = thing.cropped_below(thing.height * (1 - depth)).cut()
    return Group([vessel, Placed(visible, left, y - visible.height + 1.5 * scale, "subject", False)])
