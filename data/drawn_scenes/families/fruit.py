"""Fruit: a round or drawn-out body, a stem, a leaf, a skin."""

import math
from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import LEAF, Colour, mix, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class Fruit:
    """Outline, (y, half width) from top to bottom, with its skin."""

    profile: tuple[tuple[float, float], ...]
    colours: tuple[Colour, ...]
    skin: str = ""
    crown: str = "stem"


MEMBERS = {
    "apple": Fruit(
        ((27, 8), (25, 22), (38, 36), (58, 37), (77, 26), (88, 11)),
        ((200, 44, 44), (150, 190, 70), (216, 70, 50)),
        "blush",
    ),
    "orange": Fruit(
        ((17, 10), (28, 28), (50, 36), (72, 28), (83, 10)), ((240, 144, 36), (246, 160, 54)), "pores", "navel"
    ),
    "banana": Fruit((), ((246, 212, 70), (236, 196, 60), (206, 206, 80))),
    "lemon": Fruit(
        ((14, 3), (22, 8), (34, 23), (50, 29), (66, 23), (78, 8), (86, 3)),
        ((248, 222, 74), (240, 208, 50)),
        "pores",
        "tip",
    ),
    "pear": Fruit(
        ((17, 6), (28, 14), (44, 18), (64, 31), (80, 29), (91, 12)),
        ((186, 196, 76), (206, 190, 84), (160, 182, 80)),
        "freckles",
    ),
    "pineapple": Fruit(
        ((36, 12), (44, 22), (64, 27), (84, 23), (94, 11)), ((222, 164, 54), (206, 146, 50)), "diamonds", "tuft"
    ),
    "strawberry": Fruit(
        ((25, 15), (36, 31), (54, 28), (74, 14), (88, 3)), ((218, 46, 56), (200, 36, 60)), "seeds", "sepals"
    ),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One fruit."""
    fruit = MEMBERS[name]
    sketch = Sketch(100, 100, pixels)
    colour = pick(rng, fruit.colours, 0.035)
    if name == "banana":
        _banana(sketch, rng, colour)
        return sketch
    wide = rng.uniform(0.9, 1.1)
    profile = [(y, half * wide) for y, half in fruit.profile]
    if fruit.crown == "tuft":
        _tuft(sketch, rng)
    sketch.round_body(50, profile, colour)
    sketch.within(lambda: sketch.round_body(50, profile, colour), lambda: _skin(sketch, rng, fruit.skin, colour))
    if fruit.crown == "stem":
        sketch.line([(50, profile[0][0] + 5), (50 + rng.uniform(-3, 5), profile[0][0] - 9)], 4, (92, 64, 40))
        _leaf(sketch, rng, 52, profile[0][0] - 2)
    elif fruit.crown == "navel":
        sketch.ellipse(50, 25, 3, 2.2, (96, 130, 60))
        if rng.random() < 0.6:
            _leaf(sketch, rng, 51, 23)
    elif fruit.crown == "sepals":
        leaf = pick(rng, LEAF)
        for angle in range(-75, 76, 30):
            a = math.radians(angle + 90)
            sketch.polygon([(45, 24), (50 + 27 * math.cos(a), 24 + 15 * math.sin(a)), (55, 24)], leaf)
        sketch.line([(50, 24), (52, 14)], 4, leaf)
    return sketch


def _banana(sketch: Sketch, rng: np.random.Generator, colour: Colour) -> None:
    count = int(rng.integers(1, 4))
    for index in range(count):
        sag = 30 - 8 * index
        angles = np.linspace(math.pi * 0.98, math.pi * 0.06, 14)
        lower = [(50 + 44 * math.cos(a), 28 + (sag + 34) * math.sin(a)) for a in angles]
        upper = [(50 + 38 * math.cos(a), 28 + (sag + 8) * math.sin(a)) for a in angles[::-1]]
        sketch.polygon(lower + upper, colour)
        sketch.line(
            [(50 + 41 * math.cos(a), 30 + (sag + 20) * math.sin(a)) for a in angles[2:-2]], 2.2, shade(colour, 0.8)
        )
    sketch.box(85, 18, 96, 33, (128, 104, 50), 3)
    sketch.ellipse(7.5, 30, 3, 3, (84, 66, 44))


def _leaf(sketch: Sketch, rng: np.random.Generator, x: float, y: float) -> None:
    leaf = pick(rng, LEAF)
    sketch.polygon([(x, y), (x + 8, y - 9), (x + 22, y - 9), (x + 15, y + 1)], leaf)


def _tuft(sketch: Sketch, rng: np.random.Generator) -> None:
    leaf = pick(rng, LEAF)
    for reach, length in ((-24, 16), (24, 16), (-17, 24), (17, 24), (-9, 32), (9, 32), (0, 36)):
        sketch.polygon(
            [(50 + reach * 0.25 - 5, 40), (50 + reach, 40 - length), (50 + reach * 0.25 + 5, 40)],
            shade(leaf, rng.uniform(0.85, 1.1)),
        )


def _skin(sketch: Sketch, rng: np.random.Generator, skin: str, colour: Colour) -> None:
    sketch.ellipse(78, 62, 22, 46, shade(colour, 0.86), None)
    sketch.ellipse(50, 54, 28, 40, colour, None)
    if skin == "blush":
        sketch.ellipse(64, 62, 17, 20, mix(colour, (240, 190, 80), 0.35), None)
    elif skin == "diamonds":
        for offset in range(-70, 120, 13):
            sketch.line([(offset, 30), (offset + 62, 96)], 2, shade(colour, 0.66))
            sketch.line([(100 - offset, 30), (38 - offset, 96)], 2, shade(colour, 0.66))
    elif skin in ("seeds", "pores", "freckles"):
        ink = {"seeds": (250, 222, 120), "pores": shade(colour, 0.84), "freckles": shade(colour, 0.7)}[skin]
        for row in range(7):
            for column in range(7):
                x, y = 18 + column * 11 + (row % 2) * 5.5, 26 + row * 10
                sketch.ellipse(x + rng.normal(0, 1), y, 1.7, 2.4 if skin == "seeds" else 1.5, ink, None)
    sketch.ellipse(36, 42, 6, 10, shade(colour, 1.5), None)
