"""Vehicles from the side, driving right: a body on wheels, windows, lights; and a boat."""

import math
from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import PAINT, WOOD, Colour, jitter, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch

GLASS = (178, 214, 230)
ROAD = 76.0


@dataclass(frozen=True)
class Vehicle:
    """Builder and colours."""

    form: str
    colours: tuple[Colour, ...] = PAINT


MEMBERS = {
    "car": Vehicle("saloon"),
    "taxi": Vehicle("saloon", ((248, 200, 40), (244, 188, 30))),
    "bus": Vehicle("bus"),
    "truck": Vehicle("truck"),
    "tractor": Vehicle("tractor", ((66, 140, 60), (200, 50, 44), (40, 100, 170))),
    "train": Vehicle("train"),
    "motorcycle": Vehicle("motorcycle"),
    "bicycle": Vehicle("bicycle"),
    "boat": Vehicle("boat"),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One vehicle; those that are ridden mark ``back``, all mark ``hitch`` behind and ``roof``."""
    vehicle = MEMBERS[name]
    sketch = Sketch(140, 92, pixels)
    colour = pick(rng, vehicle.colours)
    painter = {
        "saloon": _saloon,
        "bus": _bus,
        "truck": _truck,
        "tractor": _tractor,
        "train": _train,
        "motorcycle": _motorcycle,
        "bicycle": _bicycle,
        "boat": _boat,
    }
    painter[vehicle.form](sketch, rng, colour, name)
    return sketch


def _wheel(sketch: Sketch, x: float, y: float, r: float, hub: Colour = (190, 192, 198)) -> None:
    sketch.ellipse(x, y, r, r, (46, 44, 48), (24, 22, 26))
    sketch.ellipse(x, y, r * 0.52, r * 0.52, hub)
    sketch.ellipse(x, y, r * 0.18, r * 0.18, (90, 90, 96), None)


def _saloon(sketch: Sketch, rng, colour: Colour, name: str) -> None:
    roof = rng.uniform(24, 30)
    cabin = [(32, 50), (46, roof), (88, roof), (108, 50)]
    sketch.polygon(cabin, colour)
    sketch.polygon([(39, 49), (49, roof + 5), (66, roof + 5), (66, 49)], GLASS)
    sketch.polygon([(70, 49), (70, roof + 5), (86, roof + 5), (100, 49)], GLASS)
    body = [(8, 54), (14, 48), (104, 47), (128, 53), (134, 62), (132, 74), (8, 74)]
    sketch.polygon(body, colour)
    sketch.within(
        lambda: sketch.polygon(body, colour), lambda: sketch.box(0, 66, 140, 80, shade(colour, 0.72), edge=None)
    )
    sketch.line([(68, 50), (68, 70)], 1.4, shade(colour, 0.6))
    sketch.line([(74, 55), (80, 55)], 2.2, shade(colour, 0.5))
    sketch.box(125, 55, 133, 61, (255, 240, 170), 2)
    sketch.box(8, 55, 14, 62, (220, 60, 50), 1)
    if name == "taxi":
        sketch.box(58, roof - 9, 80, roof, (252, 250, 240), 2)
        sketch.line([(62, roof - 5), (76, roof - 5)], 2.4, (40, 38, 40))
        for index in range(11):
            for row in (0, 1):
                if (index + row) % 2:
                    sketch.box(20 + index * 9, 60 + row * 3, 29 + index * 9, 63 + row * 3, (36, 34, 38), edge=None)
    for x in (34, 106):
        _wheel(sketch, x, ROAD, 12)
    sketch.mark("roof", 68, roof)


def _bus(sketch: Sketch, rng, colour: Colour, name: str) -> None:
    double = rng.random() < 0.3
    top = 6 if double else 24
    sketch.box(4, top, 136, 78, colour, 6)
    for row in ((14, 34), (44, 58)) if double else ((32, 50),):
        for x in range(12, 108, 19):
            sketch.box(x, row[0], x + 15, row[1], GLASS, 2)
        sketch.box(120 - 8, row[0], 132, row[1] + 3, GLASS, 2)
    sketch.box(4, 62, 136, 67, shade(colour, 1.6), edge=None)
    if not double:
        sketch.box(112, 54, 124, 78, shade(GLASS, 0.85), 1)
    sketch.box(130, 66, 137, 71, (255, 240, 170), 1)
    for x in (32, 102):
        _wheel(sketch, x, ROAD + 2, 10.5)
    sketch.mark("roof", 66, top)


def _truck(sketch: Sketch, rng, colour: Colour, name: str) -> None:
    load = pick(rng, ((236, 232, 222), (206, 206, 212), *PAINT[:8]))
    sketch.box(2, 70, 132, 77, (70, 68, 72))
    sketch.box(2, 14, 90, 70, load, 2)
    for x in (18, 36, 54, 72):
        sketch.line([(x, 18), (x, 66)], 1.6, shade(load, 0.82))
    sketch.polygon([(94, 28), (118, 28), (128, 48), (136, 52), (136, 76), (94, 76)], colour)
    sketch.polygon([(101, 33), (116, 33), (124, 49), (101, 49)], GLASS)
    sketch.line([(99, 54), (99, 72)], 1.4, shade(colour, 0.6))
    sketch.box(129, 60, 137, 66, (255, 240, 170), 1)
    for x in (22, 46, 114):
        _wheel(sketch, x, ROAD + 1, 11)
    sketch.mark("roof", 46, 14)


def _tractor(sketch: Sketch, rng, colour: Colour, name: str) -> None:
    sketch.box(60, 42, 118, 66, colour, 4)
    for x in (96, 102, 108):
        sketch.line([(x, 46), (x, 60)], 2, shade(colour, 0.6))
    sketch.line([(92, 42), (92, 20)], 4, (80, 78, 82), "auto")
    sketch.box(34, 10, 72, 16, shade(colour, 0.85), 2)
    for x in (37, 69):
        sketch.line([(x, 14), (x, 46)], 3, shade(colour, 0.8))
    sketch.polygon([(40, 17), (66, 17), (66, 44), (40, 44)], GLASS)
    sketch.box(34, 42, 72, 62, colour, 2)
    rim = (248, 210, 70) if rng.random() < 0.6 else (220, 220, 214)
    _wheel(sketch, 42, 60, 27, rim)
    for step in range(14):
        a = step * math.pi / 7
        sketch.line(
            [
                (42 + 24 * math.cos(a), 60 + 24 * math.sin(a)),
                (42 + 28 * math.cos(a + 0.1), 60 + 28 * math.sin(a + 0.1)),
            ],
            3,
            (34, 32, 36),
        )
    _wheel(sketch, 106, 74, 14, rim)
    sketch.mark("roof", 53, 10)
    sketch.mark("back", 55, 44)


def _train(sketch: Sketch, rng, colour: Colour, name: str) -> None:
    sketch.line([(0, 88), (140, 88)], 3, (120, 112, 108))
    if rng.random() < 0.5:
        sketch.box(4, 20, 50, 74, colour, 3)
        sketch.box(2, 14, 54, 22, shade(colour, 0.55), 2)
        sketch.box(14, 30, 40, 48, GLASS, 2)
        sketch.box(48, 38, 122, 74, shade(colour, 0.75), 8)
        for x in (66, 86, 106):
            sketch.line([(x, 40), (x, 72)], 2.4, (236, 200, 90))
        sketch.polygon([(104, 40), (100, 12), (120, 12), (116, 40)], (52, 50, 56))
        sketch.ellipse(76, 36, 7, 6, (236, 200, 90))
        sketch.polygon([(118, 72), (138, 86), (112, 86)], (140, 60, 50))
    else:
        sketch.polygon([(2, 26), (104, 26), (126, 40), (138, 66), (136, 78), (2, 78)], colour)
        for x in (10, 32, 54, 76):
            sketch.box(x, 36, x + 16, 50, GLASS, 2)
        sketch.polygon([(104, 34), (114, 40), (124, 54), (102, 54)], GLASS)
        sketch.box(2, 60, 137, 66, shade(colour, 1.6), edge=None)
        sketch.line([(44, 26), (52, 12), (64, 12)], 2.4, (70, 68, 72))
    for x in (18, 38, 62, 84, 106):
        _wheel(sketch, x, 79, 8.5, (150, 60, 54))
    sketch.mark("roof", 40, 20)


def _spokes(sketch: Sketch, x: float, y: float, r: float, tyre: float) -> None:
    sketch.arc(x, y, r, r, 0, 360, tyre, (44, 42, 46))
    for step in range(4):
        a = step * math.pi / 4 + 0.3
        sketch.line(
            [(x - r * math.cos(a), y - r * math.sin(a)), (x + r * math.cos(a), y + r * math.sin(a))], 1, (170, 172, 178)
        )
    sketch.ellipse(x, y, 2.6, 2.6, (120, 120, 126), None)


def _bicycle(sketch: Sketch, rng, colour: Colour, name: str) -> None:
    for x in (36, 100):
        _spokes(sketch, x, 66, 22, 3.6)
    dark = shade(colour, 0.6)
    for path in ([(36, 66), (58, 36), (90, 36), (66, 66), (36, 66)], [(66, 66), (56, 32)], [(100, 66), (88, 28)]):
        sketch.line(path, 4.4, colour, dark)
    sketch.line([(80, 26), (88, 27), (97, 22)], 4, (50, 48, 52))
    sketch.polygon([(46, 28), (68, 28), (64, 34), (50, 33)], (60, 44, 38))
    sketch.ellipse(66, 66, 6, 6, (150, 152, 158))
    sketch.line([(66, 66), (72, 76)], 3, (90, 90, 96))
    sketch.mark("back", 58, 30)
    sketch.mark("roof", 58, 28)


def _motorcycle(sketch: Sketch, rng, colour: Colour, name: str) -> None:
    for x in (30, 108):
        sketch.arc(x, 68, 17, 17, 0, 360, 8, (40, 38, 42))
        sketch.ellipse(x, 68, 9, 9, (176, 178, 184))
    sketch.line([(108, 68), (92, 28)], 5, (170, 172, 180), "auto")
    sketch.box(48, 50, 84, 72, (110, 110, 118), 5)
    for y in (55, 61, 67):
        sketch.line([(52, y), (80, y)], 1.6, (70, 70, 76))
    sketch.line([(40, 76), (72, 74), (16, 74)], 5, (190, 192, 198), "auto")
    sketch.polygon([(60, 34), (92, 32), (98, 44), (84, 52), (58, 50)], colour)
    sketch.polygon([(20, 42), (34, 36), (62, 40), (62, 50), (36, 50)], (50, 42, 40))
    sketch.polygon([(14, 56), (22, 46), (44, 50), (36, 58)], colour)
    sketch.line([(80, 22), (92, 26), (98, 20)], 4, (44, 42, 46))
    sketch.ellipse(102, 36, 6.5, 6.5, (255, 244, 190))
    sketch.mark("back", 46, 39)
    sketch.mark("roof", 46, 39)


def _boat(sketch: Sketch, rng, colour: Colour, name: str) -> None:
    sail = pick(rng, ((250, 248, 240), (240, 200, 180), *PAINT[:6]))
    mast = pick(rng, WOOD)
    if rng.random() < 0.75:
        sketch.line([(64, 64), (64, 2)], 3.4, mast, "auto")
        sketch.polygon([(68, 4), (68, 58), (112, 58)], sail)
        sketch.polygon([(60, 12), (60, 58), (28, 58)], shade(sail, 0.88))
        sketch.line([(72, 42), (98, 42)], 3, jitter(rng, (206, 70, 60)))
    else:
        sketch.box(44, 40, 92, 66, (246, 242, 232), 3)
        for x in (50, 65, 80):
            sketch.box(x, 46, x + 9, 55, GLASS, 1)
        sketch.box(60, 18, 74, 41, colour, 1)
        sketch.box(60, 24, 74, 29, (250, 248, 240), edge=None)
    hull = [(8, 62), (134, 60), (112, 86), (28, 86)]
    sketch.polygon(hull, colour)
    sketch.within(
        lambda: sketch.polygon(hull, colour), lambda: sketch.box(0, 76, 140, 92, shade(colour, 0.62), edge=None)
    )
    sketch.line([(10, 65), (131, 63)], 3, shade(colour, 1.6))
    sketch.mark("back", 70, 63)
    sketch.mark("roof", 36, 62)
