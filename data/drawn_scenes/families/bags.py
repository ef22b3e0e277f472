"""Bags and boxes: something that carries, with handles, straps or flaps."""

from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import PAINT, WOOD, Colour, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class Bag:
    """Builder and colours."""

    form: str
    colours: tuple[Colour, ...] = PAINT


MEMBERS = {
    "bag": Bag("tote", (*PAINT, (206, 170, 120))),
    "backpack": Bag("backpack"),
    "purse": Bag("purse"),
    "box": Bag("box", ((204, 160, 104), (190, 144, 90), (220, 184, 132))),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One bag; marks ``handle``, and a box its ``opening``."""
    bag = MEMBERS[name]
    sketch = Sketch(100, 108, pixels)
    {"tote": _tote, "backpack": _backpack, "purse": _purse, "box": _box}[bag.form](sketch, rng, pick(rng, bag.colours))
    return sketch


def _tote(sketch: Sketch, rng, colour: Colour) -> None:
    for x in (38, 62):
        sketch.arc(x - (x - 50) * 0.9, 42, 17, 30 if x < 50 else 26, 180, 360, 3.6, shade(colour, 0.66), "auto")
    outline = [(20, 40), (80, 40), (88, 104), (12, 104)]
    sketch.polygon(outline, colour)
    sketch.polygon([(20, 40), (80, 40), (81, 47), (19, 47)], shade(colour, 0.8))
    second = pick(rng, PAINT)
    if rng.random() < 0.5:
        sketch.ellipse(50, 74, 15, 15, second)
        sketch.ellipse(50, 74, 7, 7, shade(second, 1.5), None)
    else:
        sketch.within(
            lambda: sketch.polygon(outline, colour),
            lambda: [sketch.box(0, y, 100, y + 8, second, edge=None) for y in (58, 76, 94)],
        )
    sketch.mark("handle", 50, 14)
    sketch.mark("opening", 50, 42)
    sketch.fact("opening_width", 56)


def _backpack(sketch: Sketch, rng, colour: Colour) -> None:
    dark = shade(colour, 0.62)
    for side in (-1, 1):
        sketch.arc(50 + side * 34, 62, 11, 27, -90 if side > 0 else 90, 90 if side > 0 else 270, 5, dark, "auto")
    sketch.arc(50, 16, 9, 10, 180, 360, 4, dark, "auto")
    sketch.box(18, 14, 82, 104, colour, 22)
    sketch.box(18, 14, 82, 50, shade(colour, 0.84), 20)
    sketch.box(26, 60, 74, 98, shade(colour, 1.15), 8)
    sketch.line([(28, 70), (72, 70)], 2.4, dark)
    for x in (36, 64):
        sketch.line([(x, 34), (x, 62)], 4.5, dark)
        sketch.box(x - 4, 52, x + 4, 59, (230, 200, 120), 1)
    sketch.mark("handle", 50, 8)


def _purse(sketch: Sketch, rng, colour: Colour) -> None:
    gold = (236, 200, 104)
    sketch.arc(50, 52, 26, 42, 180, 360, 3.4, gold if rng.random() < 0.5 else shade(colour, 0.7), "auto")
    sketch.polygon([(14, 56), (30, 48), (70, 48), (86, 56), (92, 92), (82, 103), (18, 103), (8, 92)], colour)
    sketch.polygon([(14, 56), (30, 48), (70, 48), (86, 56), (70, 78), (50, 83), (30, 78)], shade(colour, 1.18))
    sketch.ellipse(50, 79, 6, 6, gold)
    for x in (18, 82):
        sketch.ellipse(x + (50 - x) * 0.2, 54, 3, 3, gold)
    sketch.mark("handle", 50, 12)


def _box(sketch: Sketch, rng, colour: Colour) -> None:
    if rng.random() < 0.3:
        wood = pick(rng, WOOD[:4])
        sketch.box(10, 48, 90, 104, shade(wood, 0.5))
        for y in (48, 63, 78, 93):
            sketch.box(8, y, 92, y + 11, wood, 1)
        for x in (12, 80):
            sketch.box(x, 48, x + 8, 104, shade(wood, 0.85))
    else:
        sketch.polygon([(10, 50), (90, 50), (96, 36), (4, 36)], shade(colour, 0.5))
        sketch.polygon([(10, 50), (-2, 38), (10, 30), (24, 38)], shade(colour, 1.12))
        sketch.polygon([(90, 50), (102, 38), (90, 30), (76, 38)], shade(colour, 1.12))
        sketch.box(10, 48, 90, 104, colour, 1)
        sketch.box(44, 48, 56, 104, shade(colour, 1.25), edge=None)
        sketch.box(66, 84, 82, 96, (246, 242, 230))
    sketch.mark("opening", 50, 48)
    sketch.fact("opening_width", 72)
