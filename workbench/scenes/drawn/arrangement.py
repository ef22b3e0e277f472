"""The layout of a pair: two sprites put together so that their relation can be seen.

Coordinates are picture pixels; the ground is y = 0 and y grows downwards, x is free.
"""

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from workbench.randomness import generator
from workbench.scenes.drawn.catalogue import FAMILY_OF, draw_object
from workbench.scenes.drawn.families.clothing import MEMBERS as GARMENTS
from workbench.scenes.drawn.families.people import WEARING_ARMS
from workbench.scenes.drawn.pose import FREE, Pose
from workbench.scenes.drawn.rules import LEFT, RIGHT
from workbench.scenes.drawn.sketch import SUPERSAMPLING, Point, Sprite


@dataclass
class Placed:
    """A sprite with its upper left corner; ``role`` is "subject", "object" or "" for what nobody annotates."""

    sprite: Sprite
    left: float
    top: float
    role: str = ""
    grounded: bool = True

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 in pixels, inclusive."""
        return (self.left, self.top, self.left + self.sprite.width - 1, self.top + self.sprite.height - 1)

    def at(self, name: str, default: Point = (0.5, 0.5)) -> Point:
        """A named point of the sprite where it has been placed."""
        x, y = self.sprite.point(name, default)
        return (self.left + x, self.top + y)


@dataclass
class Group:
    """Placed sprites in drawing order, the farthest first."""

    placed: list[Placed] = field(default_factory=list)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The box of all of them."""
        boxes = np.array([item.box for item in self.placed])
        return (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))

    def moved(self, dx: float, dy: float) -> "Group":
        """Shift in place."""
        for item in self.placed:
            item.left += dx
            item.top += dy
        return self

    def mirrored(self) -> "Group":
        """The mirror image, in place."""
        for item in self.placed:
            item.left = -(item.left + item.sprite.width)
            item.sprite = item.sprite.flipped()
        return self


@cache
def usual_size(name: str) -> tuple[int, int]:
    """Width and height in pixels of an average member of the class at scale 1."""
    sprite = draw_object(name, generator(0, "usual size", name))
    return sprite.width, sprite.height


def arrange(subject: str, relation: str, object_: str, rng: np.random.Generator, scale: float = 1.0) -> Group:
    """Lay the pair out; for left and right the order is kept, otherwise the group may be mirrored."""
    layout = _LAYOUTS[relation]
    group = layout(subject, object_, rng, scale)
    if relation not in (LEFT, RIGHT) and rng.random() < 0.5:
        group.mirrored()
    return group


def arrange_single(name: str, rng: np.random.Generator, scale: float = 1.0) -> Group:
    """One object on the ground."""
    return Group([_grounded(_sprite(name, rng, scale), 0.0, "subject")])


def _sprite(name: str, rng, scale: float, pose: Pose = FREE, turn: float = 4.0, face: int = 0) -> Sprite:
    """Draw with a small turn; ``face`` +1 or -1 fixes the direction, 0 leaves it to chance."""
    sprite = draw_object(name, rng, scale, pose)
    family = FAMILY_OF[name]
    upright = family in ("buildings", "furniture", "people", "plants", "vehicles", "four-legged animals", "birds")
    sprite = sprite.turned(rng.uniform(-turn, turn) * (0.35 if upright else 1.0))
    if face < 0 or (face == 0 and rng.random() < 0.5):
        sprite = sprite.flipped()
    return sprite


def _grounded(sprite: Sprite, left: float, role: str, lift: float = 0.0) -> Placed:
    return Placed(sprite, left, -sprite.height - lift, role, lift <= 0.5)


def _measure(name: str) -> float:
    width, height = usual_size(name)
    return math.sqrt(width * height)


def _even(subject: str, object_: str, ratio: float = 1.9) -> tuple[float, float]:
    """Scales that keep neither more than ``ratio`` times larger than the other."""
    first, second = _measure(subject), _measure(object_)
    excess = max(first, second) / (min(first, second) * ratio)
    if excess <= 1:
        return 1.0, 1.0
    small, large = excess**0.55, excess**-0.45
    return (small, large) if first < second else (large, small)


def _relative(name: str, pixels: float, dimension: str = "measure") -> float:
    """The scale at which ``name`` measures ``pixels`` in width, height or overall."""
    width, height = usual_size(name)
    usual = {"width": width, "height": height, "measure": math.sqrt(width * height), "longest": max(width, height)}[
        dimension
    ]
    return pixels / usual


def _side_by_side(first: str, second: str, rng, scale: float, gap: float, roles: tuple[str, str]) -> Group:
    a, b = _even(first, second)
    left, right = _sprite(first, rng, a * scale), _sprite(second, rng, b * scale)
    one, two = _grounded(left, 0, roles[0]), _grounded(right, left.width + gap * scale, roles[1])
    two.top += rng.uniform(-6, 6) * scale if gap > 4 else rng.uniform(-1.5, 1.5) * scale
    return Group(sorted((one, two), key=lambda item: item.box[3]))


def _left(subject, object_, rng, scale):
    return _side_by_side(subject, object_, rng, scale, rng.uniform(9, 34), ("subject", "object"))


def _right(subject, object_, rng, scale):
    return _side_by_side(object_, subject, rng, scale, rng.uniform(9, 34), ("object", "subject"))


def _next_to(subject, object_, rng, scale):
    return _side_by_side(subject, object_, rng, scale, rng.uniform(-1, 1.5), ("subject", "object"))


def _near(subject, object_, rng, scale):
    group = _side_by_side(subject, object_, rng, scale, rng.uniform(3, 7), ("subject", "object"))
    for item in group.placed:
        if item.role == "subject":
            item.top += rng.uniform(8, 15) * scale * rng.choice([-1, 1])
    group.placed.sort(key=lambda item: item.box[3])
    return group


def _depth(back: str, front: str, rng, scale: float, roles: tuple[str, str]) -> Group:
    """One thing partly hides the other, which stands higher up in the picture."""
    a, b = _even(back, front, 1.35)
    rear, fore = _sprite(back, rng, a * scale * 0.95), _sprite(front, rng, b * scale)
    shared = rng.uniform(0.35, 0.6) * min(rear.width, fore.width)
    lift = rng.uniform(0.12, 0.25) * fore.height
    first = Placed(rear, fore.width - shared, -rear.height - lift, roles[0])
    return Group([first, _grounded(fore, 0, roles[1])])


def _behind(subject, object_, rng, scale):
    return _depth(subject, object_, rng, scale, ("subject", "object"))


def _in_front(subject, object_, rng, scale):
    return _depth(object_, subject, rng, scale, ("object", "subject"))


def _stacked(high: str, low: str, rng, scale: float, roles: tuple[str, str]) -> Group:
    """One thing floats clear above the other."""
    a, b = _even(high, low, 1.6)
    pose = Pose("fly") if FAMILY_OF[high] == "birds" else FREE
    upper, lower = _sprite(high, rng, a * scale * 0.85, pose), _sprite(low, rng, b * scale * 0.85)
    shift = rng.uniform(-0.25, 0.25) * max(upper.width, lower.width)
    top = Placed(
        upper,
        lower.width / 2 - upper.width / 2 + shift,
        -lower.height - upper.height - rng.uniform(5, 12) * scale,
        roles[0],
        False,
    )
    return Group([top, _grounded(lower, 0, roles[1])])


def _above(subject, object_, rng, scale):
    return _stacked(subject, object_, rng, scale, ("subject", "object"))


def _below(subject, object_, rng, scale):
    return _stacked(object_, subject, rng, scale, ("object", "subject"))


def _surface_of(item: Placed) -> tuple[Point, float]:
    if "surface" in item.sprite.points:
        return item.at("surface"), item.sprite.length("surface_width", 0.8)
    if "roof" in item.sprite.points:
        return item.at("roof"), 0.3 * item.sprite.width
    if "opening" in item.sprite.points and item.sprite.name == "box":
        x, y = item.at("opening")
        return (x, y + 2), 0.7 * item.sprite.width
    return (item.left + item.sprite.width / 2, item.top + 2), 0.3 * item.sprite.width


def _resting(item: Sprite, below: Placed, rng, foot: Point = (0.5, 1.0), name: str = "") -> Placed:
    """Put a sprite's foot somewhere on the surface of another."""
    (x, y), width = _surface_of(below)
    room = max(0.0, width - item.width * 0.6) / 2
    fx, fy = item.point(name, foot) if name else (foot[0] * item.width, foot[1] * item.height)
    return Placed(item, x + rng.uniform(-room, room) - fx, y - fy + 1, "subject", False)


def _support(object_: str, rng, scale: float, minimum: float = 0.0) -> Placed:
    factor = max(1.0, minimum / usual_size(object_)[0])
    return _grounded(_sprite(object_, rng, scale * factor, turn=1.5), 0, "object")


def _on(subject, object_, rng, scale):
    low = _support(object_, rng, scale)
    limit = 0.62 * low.sprite.height
    size = min(1.0, limit / usual_size(subject)[1], 0.8 * low.sprite.width / usual_size(subject)[0])
    upper = _sprite(subject, rng, max(size, 0.62) * scale, Pose("stand"), turn=3)
    return Group([low, _resting(upper, low, rng)])


def _standing_on(subject, object_, rng, scale):
    low = _support(object_, rng, scale * (1.25 if object_ == "skateboard" else 0.95))
    upper = _sprite(subject, rng, scale * 0.9, Pose("stand"), turn=1)
    return Group([low, _resting(upper, low, rng)])


def _sitting_on(subject, object_, rng, scale):
    low = _support(object_, rng, scale)
    if FAMILY_OF[subject] == "people":
        upper = _sprite(subject, rng, scale * 0.98, Pose("sit"), turn=2)
        return Group([low, _resting(upper, low, rng, name="seat")])
    upper = _sprite(subject, rng, scale * 0.9, Pose("sit"), turn=2)
    return Group([low, _resting(upper, low, rng)])


def _lying_on(subject, object_, rng, scale):
    low = _support(object_, rng, scale * 1.1)
    if FAMILY_OF[subject] == "people":
        size = _relative(subject, 0.84 * low.sprite.width, "height")
        upper = _sprite(subject, rng, min(size, 1.1 * scale), Pose("stand", arms=((-8, -8), (8, 8))), turn=0).turned(
            rng.choice([-90, 90])
        )
    else:
        upper = _sprite(
            subject, rng, min(scale, _relative(subject, 0.85 * low.sprite.width, "width")), Pose("lie"), turn=1
        )
    placed = _resting(upper, low, rng)
    placed.top += 0.1 * upper.height
    return Group([low, placed])


def _riding(subject, object_, rng, scale):
    board = object_ == "skateboard"
    person = FAMILY_OF[subject] == "people"
    mount = _grounded(_sprite(object_, rng, scale * (1.25 if board else 1.05), turn=2, face=1), 0, "object")
    seat = mount.at("back", (0.45, 0.3))
    if person and not board:
        pose = Pose("ride", arms=((24, 62), (38, 74)))
        rider = _sprite(
            subject,
            rng,
            min(0.95 * scale, _relative(subject, 1.15 * mount.sprite.height, "height")),
            pose,
            turn=2,
            face=1,
        )
        x, y = rider.point("seat")
        return Group([mount, Placed(rider, seat[0] - x, seat[1] - y + 3 * scale, "subject", False)])
    pose = Pose("stand", arms=((-70, -80), (70, 80))) if person else Pose("sit")
    size = 0.9 * scale if board else min(0.8 * scale, _relative(subject, 0.8 * mount.sprite.height, "height"))
    rider = _sprite(subject, rng, size, pose, turn=2, face=1).turned(rng.uniform(3, 9))
    return Group(
        [mount, Placed(rider, seat[0] - rider.width / 2, seat[1] - rider.height + 2 * scale, "subject", False)]
    )


def _wearing(subject, object_, rng, scale):
    slot = GARMENTS[object_].slot
    person = FAMILY_OF[subject] == "people"
    pose = Pose("stand", arms=WEARING_ARMS if slot == "torso" else (), bare="head" if slot == "head" else slot)
    wearer = _grounded(_sprite(subject, rng, scale * 1.12, pose, turn=2), 0, "subject")
    garment = draw_object(object_, rng, scale * 1.1)
    anchor = {"head": "head_top", "neck": "neck", "waist": "waist", "torso": "torso"}[slot]
    width = {
        "head": 1.02 * wearer.sprite.length("head_width", 0.4),
        "neck": (0.85 if person else 1.05) * wearer.sprite.length("head_width", 0.4),
        "waist": 0.84 * wearer.sprite.length("shoulder_width", 0.5),
        "torso": 1.06 * wearer.sprite.length("shoulder_width", 0.5),
    }[slot]
    factor = width / garment.length("fit_width", 0.6)
    tall = factor
    if slot == "torso":
        tall = 1.08 * wearer.sprite.length("torso_length", 0.5) / garment.length("fit_length", 0.6)
    garment = garment.resized(factor, tall)
    if slot == "head" and not person:
        garment = garment.turned(rng.uniform(-8, 8))
    x, y = wearer.at(anchor)
    gx, gy = garment.point("fit")
    return Group([wearer, Placed(garment, x - gx, y - gy, "object", False)])


def _hand(holder: Placed, name: str) -> Placed:
    """A hand drawn again, over what it holds."""
    radius = max(1.5, holder.sprite.length("hand_radius", 0.06))
    size = math.ceil(2 * radius) + 2
    image = Image.new("RGBA", (size * SUPERSAMPLING,) * 2, (0, 0, 0, 0))
    skin = holder.sprite.facts.get("skin", (200, 150, 120))
    edge = tuple(int(0.55 * channel) for channel in skin)
    ImageDraw.Draw(image).ellipse(
        [2, 2, size * SUPERSAMPLING - 3, size * SUPERSAMPLING - 3], fill=(*skin, 255), outline=(*edge, 255), width=2
    )
    x, y = holder.at(name)
    return Placed(Sprite("hand", image.reduce(SUPERSAMPLING), {}, {}), x - size / 2, y - size / 2, "", False)


def _holding(subject, object_, rng, scale):
    pose = Pose("stand", arms=((-14, -8), (rng.uniform(35, 75), rng.uniform(85, 150))))
    holder = _grounded(_sprite(subject, rng, scale * 1.08, pose, turn=2, face=1), 0, "subject")
    height = holder.sprite.height
    long = object_ in (
        "racket",
        "bat",
        "surfboard",
        "kite",
        "fork",
        "knife",
        "spoon",
        "butter knife",
        "flower",
        "sunflower",
        "daisy",
    )
    thing = _sprite(object_, rng, _relative(object_, height * (0.5 if long else 0.34), "longest"), turn=3).turned(
        rng.uniform(-5, 25) if long else 0
    )
    x, y = holder.at("hand_right", (0.9, 0.5))
    hold = thing.point("handle", (0.5, 0.8 if long else 0.55))
    return Group(
        [
            holder,
            Placed(thing, x - hold[0] + (0 if long else 0.12 * thing.width), y - hold[1], "object", False),
            _hand(holder, "hand_right"),
        ]
    )


def _carrying(subject, object_, rng, scale):
    overhead = rng.random() < 0.35
    arms = ((-150, -172), (150, 172)) if overhead else ((38, 78), (-30, -72))
    holder = _grounded(_sprite(subject, rng, scale * 1.08, Pose("walk", arms=arms), turn=2, face=1), 0, "subject")
    thing = _sprite(object_, rng, _relative(object_, 0.52 * holder.sprite.height, "longest"), turn=3)
    if overhead:
        left, right = holder.at("hand_left"), holder.at("hand_right")
        x, y = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
        item = Placed(thing, x - thing.width / 2, y - thing.height + 3 * scale, "object", False)
    else:
        x, y = holder.at("chest")
        item = Placed(thing, x - thing.width / 2, y - thing.height / 2, "object", False)
    return Group([holder, item, _hand(holder, "hand_left"), _hand(holder, "hand_right")])


def _kicking(subject, object_, rng, scale):
    kicker = _grounded(
        _sprite(subject, rng, scale * 1.08, Pose("kick", arms=((-50, -40), (40, 60))), turn=3, face=1), 0, "subject"
    )
    thing = _sprite(object_, rng, _relative(object_, 0.27 * kicker.sprite.height, "longest"), turn=25)
    x, y = kicker.at("foot_1", (1.0, 0.8))
    return Group([kicker, Placed(thing, x + 3 * scale, y - 0.55 * thing.height, "object", False)])


def _eating(subject, object_, rng, scale):
    person = FAMILY_OF[subject] == "people"
    down = not person and rng.random() < 0.6
    plant = FAMILY_OF[object_] == "plants"
    pose = Pose("stand", arms=((-14, -10), (58, 196))) if person else Pose("stand", head_down=down)
    eater = _grounded(_sprite(subject, rng, scale * 1.08, pose, turn=2, face=1), 0, "subject")
    share = 0.27 if person else (0.6 if plant else 0.36)
    thing = _sprite(object_, rng, _relative(object_, share * max(eater.sprite.height, 50 * scale), "longest"), turn=10)
    x, y = eater.at("mouth", (0.9, 0.4))
    if person:
        item = Placed(thing, x - 0.2 * thing.width, y - 0.35 * thing.height, "object", False)
        return Group([eater, _hand(eater, "hand_right"), item])
    top = max(y - 0.35 * thing.height, -thing.height) if not down else -thing.height + rng.uniform(0, 2)
    item = Placed(thing, x - 0.3 * thing.width, top if not plant else -thing.height, "object", down or plant)
    return Group([eater, item])


def _rope(start: Point, end: Point, rng, sag: float, thickness: float) -> Placed:
    """A rope or string between two points, sagging in the middle."""
    x0, y0 = min(start[0], end[0]) - 3, min(start[1], end[1]) - 3
    width, height = abs(end[0] - start[0]) + 6, abs(end[1] - start[1]) + abs(sag) + 6
    image = Image.new("RGBA", (math.ceil(width) * SUPERSAMPLING, math.ceil(height) * SUPERSAMPLING), (0, 0, 0, 0))
    ts = np.linspace(0, 1, 9)
    path = [
        (
            (start[0] + (end[0] - start[0]) * t - x0) * SUPERSAMPLING,
            (start[1] + (end[1] - start[1]) * t + 4 * sag * t * (1 - t) - y0) * SUPERSAMPLING,
        )
        for t in ts
    ]
    tone = (112, 82, 54) if rng.random() < 0.6 else (70, 66, 70)
    ImageDraw.Draw(image).line(path, fill=(*tone, 255), width=max(2, round(thickness * SUPERSAMPLING)), joint="curve")
    return Placed(Sprite("rope", image.reduce(SUPERSAMPLING), {}, {}), x0, y0, "", False)


def _pulling(subject, object_, rng, scale):
    a, b = _even(subject, object_, 1.5)
    person = FAMILY_OF[subject] == "people"
    pose = Pose("walk", arms=((-48, -62), (-36, -58))) if person else FREE
    puller = _sprite(subject, rng, a * scale * 0.95, pose, turn=1, face=1)
    if person:
        puller = puller.turned(11)
    load = _sprite(object_, rng, b * scale * 0.85, turn=2, face=1)
    gap = rng.uniform(13, 22) * scale
    behind, ahead = _grounded(load, 0, "object"), _grounded(puller, load.width + gap, "subject")
    start = (load.width - 2, -min(0.45 * load.height, 0.4 * puller.height))
    end = ahead.at("hand_left", (0.15, 0.5)) if person else (ahead.left + 0.12 * puller.width, -0.5 * puller.height)
    return Group([behind, ahead, _rope(start, end, rng, 2 * scale, 1.8 * scale)])


def _pushing(subject, object_, rng, scale):
    a, b = _even(subject, object_, 1.4)
    person = FAMILY_OF[subject] == "people"
    pose = Pose("walk", arms=((66, 88), (76, 94))) if person else FREE
    pusher = _sprite(subject, rng, a * scale * 0.98, pose, turn=1, face=1)
    if person:
        pusher = pusher.turned(13)
    load = _sprite(object_, rng, b * scale * 0.92, turn=2)
    first = _grounded(pusher, 0, "subject")
    reach = first.at("hand_right", (0.95, 0.5))[0] if person else pusher.width
    return Group([_grounded(load, reach - 3 * scale, "object"), first])


def _hanging_from(subject, object_, rng, scale):
    holder = _grounded(_sprite(object_, rng, scale * 1.15, turn=1, face=1), 0, "object")
    hook = holder.at("branch", (0.93, 0.22))
    thing = _sprite(subject, rng, _relative(subject, 0.38 * holder.sprite.height, "longest"), turn=3)
    x, y = thing.point("handle", (0.5, 0.04))
    drop = rng.uniform(4, 8) * scale
    top = min(hook[1] + drop, -thing.height - 3 * scale + y)
    item = Placed(thing, hook[0] + 2 * scale - x, top - y, "subject", False)
    string = _rope((hook[0] + 2 * scale, hook[1] - 2), (hook[0] + 2 * scale, top + 1), rng, 0, 1.5 * scale)
    return Group([holder, string, item])


def _leaning_on(subject, object_, rng, scale):
    support = _grounded(_sprite(object_, rng, scale, turn=1), 0, "object")
    person = FAMILY_OF[subject] == "people"
    pose = Pose("lean", arms=((-16, -12), (-40, 30))) if person else FREE
    tall = (
        min(1.02 * scale, _relative(subject, max(1.05 * support.sprite.height, 40 * scale), "height"))
        if person
        else _relative(subject, max(0.8 * support.sprite.height, 34 * scale), "longest")
    )
    thing = draw_object(subject, rng, min(tall, 1.6 * scale), pose)
    if subject == "skateboard":
        thing = thing.turned(90)
    thing = thing.turned(rng.uniform(-27, -17) if not person else rng.uniform(-19, -12))
    overlap = rng.uniform(0.12, 0.2) * thing.width
    edge = 0.36 * support.sprite.width if object_ in ("tree", "palm tree") else 0.0
    return Group([support, _grounded(thing, support.sprite.width - edge - overlap, "subject")])


def _covering(subject, object_, rng, scale):
    below = _grounded(_sprite(object_, rng, scale * 1.05, turn=1), 0, "object")
    # Drawn large enough that the fit below only ever shrinks it.
    wide = _relative(subject, below.sprite.width, "width")
    cloth = draw_object(subject, rng, max(scale, wide)).turned(rng.uniform(-8, 8))
    factor_x = rng.uniform(0.78, 0.95) * below.sprite.width / cloth.width
    factor_y = rng.uniform(0.55, 0.72) * below.sprite.height / cloth.height
    cloth = cloth.resized(factor_x, factor_y)
    left = below.left + (below.sprite.width - cloth.width) / 2 + rng.uniform(-2, 2)
    return Group([below, Placed(cloth, left, below.top - 0.14 * cloth.height, "subject", False)])


def _under(subject, object_, rng, scale):
    tree = object_ in ("tree", "palm tree")
    roof = _grounded(_sprite(object_, rng, scale * (1.45 if tree else 1.3), turn=1), 0, "object")
    width, height = roof.sprite.width, roof.sprite.height
    room = 0.5 * height if tree else 0.46 * height
    low_w, low_h = usual_size(subject)
    stance = "sit" if subject in ("dog", "cat") and tree else "stand"
    thing = _sprite(subject, rng, min(scale, room / low_h, 0.75 * width / low_w), Pose(stance), turn=3)
    x = width * (0.5 + rng.uniform(0.14, 0.2) * rng.choice([-1, 1])) - thing.width / 2
    if tree:
        x = width * rng.choice([0.24, 0.76]) - thing.width / 2
        return Group([roof, _grounded(thing, x, "subject", -2 * scale)])
    return Group([_grounded(thing, x, "subject", 1.5 * scale), roof])


def _inside(subject, object_, rng, scale):
    vessel = _grounded(_sprite(object_, rng, scale * 1.25, Pose(opened=True), turn=2), 0, "object")
    x, y = vessel.at("opening", (0.5, 0.1))
    mouth = vessel.sprite.length("opening_width", 0.6)
    slim = subject in ("flower", "sunflower", "daisy", "fork", "knife", "spoon", "butter knife", "bat", "racket")
    size = (
        _relative(subject, min(1.0 * vessel.sprite.height, 44 * scale), "height")
        if slim
        else _relative(subject, 0.84 * mouth, "width")
    )
    thing = _sprite(subject, rng, size, Pose("sit"), turn=12 if slim else 8).turned(rng.uniform(-14, 14) if slim else 0)
    depth = rng.uniform(0.3, 0.4)
    left = x - thing.width / 2 + rng.uniform(-0.06, 0.06) * mouth
    visible = thing.cropped_below(thing.height * (1 - depth)).cut()
    return Group([vessel, Placed(visible, left, y - visible.height + 1.5 * scale, "subject", False)])


_LAYOUTS = {
    LEFT: _left,
    RIGHT: _right,
    "next to": _next_to,
    "near": _near,
    "behind": _behind,
    "in front of": _in_front,
    "above": _above,
    "below": _below,
    "on": _on,
    "standing on": _standing_on,
    "sitting on": _sitting_on,
    "lying on": _lying_on,
    "riding": _riding,
    "wearing": _wearing,
    "holding": _holding,
    "carrying": _carrying,
    "kicking": _kicking,
    "eating": _eating,
    "pulling": _pulling,
    "pushing": _pushing,
    "hanging from": _hanging_from,
    "leaning on": _leaning_on,
    "covering": _covering,
    "under": _under,
    "inside": _inside,
}
