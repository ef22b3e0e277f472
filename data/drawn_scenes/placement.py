"""Sprites put in their place: the parts from which the layout of a pair is made.

Coordinates are image pixels; the ground is y = 0 and y grows downwards, x is free.
"""

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from drawn_scenes.catalogue import FAMILY_OF, draw_object
from drawn_scenes.pose import FREE, Pose
from drawn_scenes.sketch import SUPERSAMPLING, Point, Sprite
from workbench.randomness import generator


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
        width, height = self.sprite.image.size
        return self.left, self.top, self.left + width - 1, self.top + height - 1

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
        left, top, right, bottom = zip(*(item.box for item in self.placed), strict=True)
        return min(left), min(top), max(right), max(bottom)

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
    sprite = draw_object(name, generator(0, "usual size", name), 1.0, Pose())
    return sprite.width, sprite.height


# How far a thing that lies about is turned, in degrees either way.
_LOOSE_TURN = {
    "vessels": 12,
    "cutlery": 100,
    "baked goods": 28,
    "fruit": 38,
    "four-legged animals": 9,
    "birds": 12,
    "vehicles": 9,
    "furniture": 5,
    "people": 9,
    "clothing": 26,
    "plants": 9,
    "buildings": 5,
    "sports gear": 60,
    "electronics": 9,
    "bags": 13,
}


_UPRIGHT = ("buildings", "furniture", "vehicles")


def drawn(
    name: str, rng, scale: float, pose: Pose = FREE, turn: float | None = None, face: int = 0, view: float = 1.0
) -> Sprite:
    """Draw and look at it from somewhere: ``turn`` limits the rotation (None: as far as its kind lies about),
    ``view`` scales the random shear and stretch; ``face`` +1 or -1 fixes the direction, 0 leaves it to chance.
    """
    sprite = draw_object(name, rng, scale, pose)
    if face < 0 or (face == 0 and rng.random() < 0.5):
        sprite = sprite.flipped()
    limit = _LOOSE_TURN[FAMILY_OF[name]] if turn is None else turn
    view *= 0.6 if FAMILY_OF[name] in _UPRIGHT else 1.0
    shear = view * min(max(rng.normal(0, 0.13), -0.3), 0.3)
    stretch = math.exp(view * min(max(rng.normal(0, 0.13), -0.3), 0.3))
    return sprite.turned(float(rng.uniform(-limit, limit)), shear, stretch)


def grounded(sprite: Sprite, left: float, role: str, lift: float = 0.0) -> Placed:
    """On the ground line, or ``lift`` pixels above it."""
    return Placed(sprite, left, -sprite.height - lift, role, lift <= 0.5)


def usual_measure(name: str) -> float:
    """The side of a square as large as an average member's box, in pixels."""
    width, height = usual_size(name)
    return math.sqrt(width * height)


def evened_scales(subject: str, object_: str, ratio: float = 1.9) -> tuple[float, float]:
    """Scales that keep neither more than ``ratio`` times larger than the other."""
    first, second = usual_measure(subject), usual_measure(object_)
    excess = max(first, second) / (min(first, second) * ratio)
    if excess <= 1:
        return 1.0, 1.0
    small, large = excess**0.55, excess**-0.45
    return (small, large) if first < second else (large, small)


def scale_for(name: str, pixels: float, dimension: str = "measure") -> float:
    """The scale at which ``name`` measures ``pixels`` in width, height or overall."""
    width, height = usual_size(name)
    usual = {"width": width, "height": height, "measure": math.sqrt(width * height), "longest": max(width, height)}[
        dimension
    ]
    return pixels / usual


def rope(start: Point, end: Point, rng, sag: float, thickness: float) -> Placed:
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


def hand_over(holder: Placed, name: str) -> Placed:
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


def surface_of(item: Placed) -> tuple[Point, float]:
    """Middle and width of what carries other things, in pixels."""
    if "surface" in item.sprite.points:
        return item.at("surface"), item.sprite.length("surface_width", 0.8)
    if "roof" in item.sprite.points:
        return item.at("roof"), 0.3 * item.sprite.width
    if "opening" in item.sprite.points and item.sprite.name == "box":
        x, y = item.at("opening")
        return (x, y + 2), 0.7 * item.sprite.width
    return (item.left + item.sprite.width / 2, item.top + 2), 0.3 * item.sprite.width


def resting_on(item: Sprite, below: Placed, rng, foot: Point = (0.5, 1.0), name: str = "") -> Placed:
    """Put a sprite's foot somewhere on the surface of another."""
    (x, y), width = surface_of(below)
    room = max(0.0, width - item.width * 0.6) / 2
    fx, fy = item.point(name, foot) if name else (foot[0] * item.width, foot[1] * item.height)
    return Placed(item, x + rng.uniform(-room, room) - fx, y - fy + 1, "subject", False)


def support(object_: str, rng, scale: float) -> Placed:
    """The object, level, to put something on."""
    return grounded(drawn(object_, rng, scale, turn=1.5), 0, "object")
