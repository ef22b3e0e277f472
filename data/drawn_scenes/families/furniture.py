"""Furniture: tops and seats on legs, cushions, doors and shelves."""

from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import PAINT, WOOD, Colour, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class Furniture:
    """Builder and colours; ``width`` of the board."""

    form: str
    colours: tuple[Colour, ...] = WOOD
    width: float = 100


MEMBERS = {
    "chair": Furniture("chair", (*WOOD, *PAINT[:6]), 70),
    "bench": Furniture("bench", WOOD, 130),
    "couch": Furniture("couch", PAINT, 130),
    "bed": Furniture("bed", PAINT, 140),
    "table": Furniture("table", WOOD, 130),
    "cabinet": Furniture("cabinet", (*WOOD, *PAINT[3:6], (236, 232, 222))),
    "bookcase": Furniture("bookcase", WOOD),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One piece; marks ``surface`` (middle of what carries things) and the length ``surface_width``."""
    piece = MEMBERS[name]
    sketch = Sketch(piece.width, 104, pixels)
    colour = pick(rng, piece.colours)
    {
        "chair": _chair,
        "bench": _bench,
        "couch": _couch,
        "bed": _bed,
        "table": _table,
        "cabinet": _cabinet,
        "bookcase": _bookcase,
    }[piece.form](sketch, rng, colour)
    return sketch


def _surface(sketch: Sketch, x: float, y: float, width: float) -> None:
    sketch.mark("surface", x, y)
    sketch.fact("surface_width", width)


def _legs(sketch: Sketch, places, top: float, bottom: float, width: float, colour: Colour) -> None:
    for x in places:
        sketch.box(x - width / 2, top, x + width / 2, bottom, colour, 1)


def _chair(sketch: Sketch, rng, colour: Colour) -> None:
    dark = shade(colour, 0.72)
    back = rng.uniform(6, 16)
    _legs(sketch, (16, 54), 60, 92, 5, dark)
    if rng.random() < 0.5:
        sketch.box(13, back, 57, 58, colour, 6)
        sketch.box(21, back + 8, 49, 50, shade(colour, 1.25), 4)
    else:
        for x in (15, 55):
            sketch.line([(x, back), (x, 60)], 5.5, colour, "auto")
        for y in (back + 5, back + 18, back + 31):
            sketch.box(14, y, 56, y + 7, colour, 2)
    sketch.polygon([(13, 56), (57, 56), (64, 68), (6, 68)], shade(colour, 1.12))
    sketch.box(6, 67, 64, 74, colour, 2)
    _legs(sketch, (9, 61), 72, 102, 6, colour)
    _surface(sketch, 35, 63, 40)


def _bench(sketch: Sketch, rng, colour: Colour) -> None:
    iron = pick(rng, ((60, 60, 66), (90, 66, 50), (50, 80, 66)))
    for x in (16, 114):
        sketch.line([(x, 24), (x, 100)], 5, iron, "auto")
    for y in (22, 34, 46):
        sketch.box(6, y, 124, y + 8, colour, 2)
    sketch.polygon([(8, 60), (122, 60), (128, 70), (2, 70)], shade(colour, 1.12))
    sketch.line([(5, 65), (125, 65)], 1.4, shade(colour, 0.6))
    sketch.box(2, 69, 128, 75, colour, 2)
    _legs(sketch, (12, 118), 75, 102, 6, iron)
    _surface(sketch, 65, 65, 104)


def _couch(sketch: Sketch, rng, colour: Colour) -> None:
    sketch.box(14, 26, 116, 84, colour, 10)
    for x in (20, 66):
        sketch.box(x, 34, x + 44, 66, shade(colour, 1.1), 6)
    for x in (18, 66):
        sketch.box(x, 62, x + 46, 78, shade(colour, 1.2), 5)
    sketch.box(14, 76, 116, 92, shade(colour, 0.86), 2)
    for x in (2, 110):
        sketch.box(x, 46, x + 18, 93, shade(colour, 0.95), 8)
    _legs(sketch, (14, 116), 93, 100, 6, (74, 52, 40))
    if rng.random() < 0.6:
        pillow = pick(rng, PAINT)
        sketch.polygon([(24, 44), (44, 40), (46, 60), (26, 62)], pillow)
    _surface(sketch, 65, 66, 86)


def _bed(sketch: Sketch, rng, colour: Colour) -> None:
    wood = pick(rng, WOOD)
    sketch.box(2, 20, 12, 100, wood, 3)
    sketch.box(128, 44, 138, 100, wood, 3)
    sketch.box(8, 66, 132, 88, shade(wood, 0.85), 2)
    sketch.box(11, 50, 130, 74, (248, 246, 240), 5)
    sketch.box(14, 40, 42, 56, (252, 250, 246), 7)
    blanket = [(44, 49), (128, 49), (130, 82), (46, 82)]
    sketch.polygon(blanket, colour)
    kind = rng.integers(3)

    def details() -> None:
        if kind == 0:
            for x in range(50, 130, 14):
                sketch.box(x, 40, x + 6, 90, shade(colour, 1.4), edge=None)
        elif kind == 1:
            for x in range(50, 130, 12):
                for y in range(54, 84, 10):
                    sketch.ellipse(x, y, 2.6, 2.6, shade(colour, 1.5), None)

    sketch.within(lambda: sketch.polygon(blanket, colour), details)
    sketch.polygon([(44, 48), (58, 48), (60, 82), (46, 82)], shade(colour, 1.5))
    _surface(sketch, 78, 52, 96)


def _table(sketch: Sketch, rng, colour: Colour) -> None:
    dark = shade(colour, 0.75)
    _legs(sketch, (24, 106), 50, 92, 6, dark)
    if rng.random() < 0.25:
        sketch.ellipse(65, 44, 62, 12, shade(colour, 1.12))
        _legs(sketch, (65,), 54, 100, 12, colour)
        sketch.box(42, 94, 88, 101, dark, 3)
    else:
        _legs(sketch, (12, 118), 50, 102, 8, colour)
        sketch.box(6, 50, 124, 60, dark, 1)
        sketch.polygon([(16, 34), (114, 34), (128, 48), (2, 48)], shade(colour, 1.12))
        sketch.box(2, 47, 128, 54, colour, 1)
        for y, x0, x1 in ((39, 24, 84), (43, 46, 108)):
            sketch.line([(x0, y), (x1, y)], 1.2, shade(colour, 0.82))
    _surface(sketch, 65, 43, 100)


def _cabinet(sketch: Sketch, rng, colour: Colour) -> None:
    _legs(sketch, (16, 84), 92, 102, 7, shade(colour, 0.6))
    sketch.box(8, 14, 92, 96, colour, 2)
    sketch.polygon([(12, 8), (88, 8), (95, 16), (5, 16)], shade(colour, 1.15))
    drawers = rng.random() < 0.4
    if drawers:
        for y in (22, 46, 70):
            sketch.box(14, y, 86, y + 20, shade(colour, 1.08), 1)
            sketch.ellipse(50, y + 10, 3.6, 2.6, (240, 210, 120))
    else:
        for x in (14, 52):
            sketch.box(x, 22, x + 34, 90, shade(colour, 1.08), 1)
            sketch.box(x + 6, 28, x + 28, 84, shade(colour, 0.92), 1)
        for x in (46, 54):
            sketch.ellipse(x, 56, 2.2, 3.2, (240, 210, 120))
    _surface(sketch, 50, 11, 76)


def _bookcase(sketch: Sketch, rng, colour: Colour) -> None:
    sketch.box(10, 4, 90, 102, colour, 2)
    for shelf in range(3):
        top, bottom = 10 + shelf * 31, 37 + shelf * 31
        sketch.box(15, top, 85, bottom, shade(colour, 0.45))
        x = 17.0
        while x < 79:
            thick = rng.uniform(4, 8)
            if rng.random() < 0.88:
                sketch.box(x, bottom - rng.uniform(15, 24), x + thick, bottom, pick(rng, PAINT))
            x += thick + 0.6
    _surface(sketch, 50, 6, 70)
