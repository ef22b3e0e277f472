"""Buildings from the front: walls, a roof, windows, a door, and a tower or two."""

import math
from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import STONE, WOOD, Colour, jitter, mix, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class Building:
    """Which builder, and the colours of its walls."""

    form: str
    walls: tuple[Colour, ...]


ROOF: tuple[Colour, ...] = ((176, 72, 56), (110, 70, 58), (84, 92, 108), (150, 96, 60))
MEMBERS = {
    "house": Building("house", ((236, 222, 190), (206, 120, 90), (186, 206, 216), (232, 190, 120), (240, 236, 226))),
    "castle": Building("castle", STONE),
    "church": Building("church", ((242, 238, 228), (214, 196, 168), (176, 106, 84))),
    "temple": Building("temple", ((236, 226, 204), (222, 208, 180))),
    "skyscraper": Building("skyscraper", ((120, 150, 176), (96, 112, 134), (156, 176, 184), (112, 102, 110))),
    "tower": Building("tower", ((170, 118, 90), (188, 172, 148), (150, 150, 156))),
    "lighthouse": Building("lighthouse", ((246, 244, 238), (240, 236, 226))),
}
GLASS = (126, 176, 206)


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One building standing on the ground line."""
    building = MEMBERS[name]
    sketch = Sketch(100, 128, pixels)
    wall = pick(rng, building.walls, 0.03)
    painter = {
        "house": _house,
        "castle": _castle,
        "church": _church,
        "temple": _temple,
        "skyscraper": _skyscraper,
        "tower": _tower,
        "lighthouse": _lighthouse,
    }
    painter[building.form](sketch, rng, wall)
    return sketch


def _window(sketch: Sketch, x: float, y: float, w: float, h: float, lit: bool = False) -> None:
    sketch.box(x - w / 2, y - h / 2, x + w / 2, y + h / 2, (252, 224, 130) if lit else GLASS, 0, (246, 244, 236))


def _bricks(sketch: Sketch, rng, wall: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
    for _ in range(16):
        x, y = rng.uniform(x0 + 3, x1 - 5), rng.uniform(y0 + 3, y1 - 3)
        sketch.box(x, y, x + 5, y + 2.6, shade(wall, rng.choice([0.84, 0.9, 1.14])), edge=None)


def _house(sketch: Sketch, rng, wall: Colour) -> None:
    roof = pick(rng, ROOF)
    sketch.box(66, 34, 76, 62, shade(wall, 0.7))
    sketch.box(14, 70, 86, 122, wall)
    _bricks(sketch, rng, wall, 14, 72, 86, 122)
    sketch.polygon([(6, 72), (50, 34), (94, 72)], roof)
    for y in (50, 58, 66):
        sketch.line([(50 - (y - 36) * 1.05, y), (50 + (y - 36) * 1.05, y)], 1.4, shade(roof, 0.78))
    door = pick(rng, WOOD + ROOF)
    sketch.box(42, 92, 58, 122, door, 1)
    sketch.ellipse(55, 108, 1.4, 1.4, (250, 220, 110), None)
    for x in (27, 73):
        _window(sketch, x, 92, 14, 15, rng.random() < 0.3)
        sketch.line([(x, 86), (x, 99)], 1.4, (246, 244, 236))


def _battlements(sketch: Sketch, x0: float, x1: float, y: float, wall: Colour) -> None:
    count = max(2, round((x1 - x0) / 11))
    step = (x1 - x0) / (2 * count - 1)
    for index in range(count):
        left = x0 + 2 * index * step
        sketch.box(left, y - 8, left + step, y + 2, wall)


def _castle(sketch: Sketch, rng, wall: Colour) -> None:
    flag = pick(rng, ((206, 56, 56), (66, 100, 190), (240, 200, 60)))
    sketch.box(26, 66, 74, 122, wall)
    _battlements(sketch, 26, 74, 66, wall)
    peaked = rng.random() < 0.5
    for x in (15, 85):
        sketch.box(x - 13, 48, x + 13, 122, shade(wall, 0.92))
        if peaked:
            sketch.polygon([(x - 16, 50), (x, 20), (x + 16, 50)], pick(rng, ROOF))
        else:
            _battlements(sketch, x - 14, x + 14, 48, shade(wall, 0.92))
        sketch.line([(x, 34), (x, 8)], 1.8, (80, 70, 66))
        sketch.polygon([(x, 8), (x + 13, 12), (x, 17)], flag)
        sketch.box(x - 2.5, 64, x + 2.5, 78, (56, 50, 54), 2.5)
    _bricks(sketch, rng, wall, 26, 70, 74, 100)
    sketch.box(39, 90, 61, 128, (96, 66, 44), 11)
    sketch.box(38, 122, 62, 132, (96, 66, 44), 0, None)
    sketch.line([(46, 94), (46, 122)], 1.5, (60, 42, 32))
    sketch.line([(54, 94), (54, 122)], 1.5, (60, 42, 32))


def _church(sketch: Sketch, rng, wall: Colour) -> None:
    roof = pick(rng, ROOF)
    sketch.box(40, 78, 92, 122, wall)
    sketch.polygon([(36, 80), (48, 58), (86, 58), (97, 80)], roof)
    sketch.box(14, 50, 46, 122, shade(wall, 0.95))
    sketch.polygon([(11, 52), (30, 16), (49, 52)], roof)
    sketch.line([(30, 17), (30, 2)], 2.4, (70, 60, 50))
    sketch.line([(25, 7), (35, 7)], 2.4, (70, 60, 50))
    sketch.ellipse(30, 64, 6, 6, (250, 248, 240))
    sketch.line([(30, 64), (30, 60)], 1.4, (50, 46, 50))
    sketch.box(23, 94, 37, 126, (110, 70, 46), 7)
    for x in (56, 70, 84):
        sketch.box(x - 3.5, 90, x + 3.5, 110, pick(rng, ((90, 130, 190), (200, 110, 90), (220, 180, 80))), 3.5)


def _temple(sketch: Sketch, rng, wall: Colour) -> None:
    for step, half in ((0, 47), (1, 43), (2, 39)):
        sketch.box(50 - half, 116 - step * 6, 50 + half, 122 - step * 6, shade(wall, 0.92))
    sketch.box(18, 62, 82, 104, shade(wall, 0.55))
    for x in np.linspace(17, 83, 5 if rng.random() < 0.5 else 6):
        sketch.box(x - 4.5, 60, x + 4.5, 104, wall, 1)
        sketch.line([(x - 1, 64), (x - 1, 101)], 1.2, shade(wall, 0.8))
    sketch.box(9, 52, 91, 61, wall)
    sketch.polygon([(6, 53), (50, 28), (94, 53)], wall)
    sketch.polygon([(24, 49), (50, 34), (76, 49)], shade(wall, 0.82), None)


def _skyscraper(sketch: Sketch, rng, wall: Colour) -> None:
    half = rng.uniform(17, 25)
    top = rng.uniform(10, 22)
    if rng.random() < 0.6:
        sketch.box(50 - half * 0.6, top - 9, 50 + half * 0.6, top + 2, shade(wall, 0.85))
        sketch.line([(50, top - 8), (50, 0)], 1.8, (80, 80, 88))
    sketch.box(50 - half, top, 50 + half, 122, wall)
    columns = 4 if half < 21 else 5
    for y in np.arange(top + 7, 112, 8.5):
        for column in range(columns):
            x = 50 - half + (column + 0.5) * 2 * half / columns
            lit = rng.random() < 0.25
            sketch.box(
                x - 2.7,
                y - 2.6,
                x + 2.7,
                y + 2.6,
                (252, 226, 140) if lit else mix(GLASS, (230, 244, 250), rng.uniform(0, 0.6)),
                edge=None,
            )
    sketch.box(44, 112, 56, 122, shade(wall, 0.4))


def _tower(sketch: Sketch, rng, wall: Colour) -> None:
    sketch.polygon([(33, 122), (67, 122), (63, 40), (37, 40)], wall)
    _bricks(sketch, rng, wall, 38, 44, 60, 118)
    sketch.box(31, 30, 69, 56, shade(wall, 0.94))
    sketch.polygon([(28, 32), (50, 4), (72, 32)], pick(rng, ROOF))
    sketch.ellipse(50, 43, 9.5, 9.5, (252, 250, 242))
    turn = rng.uniform(0, 6.28)
    sketch.line([(50, 43), (50 + 6 * math.cos(turn), 43 + 6 * math.sin(turn))], 1.8, (40, 38, 42))
    sketch.line([(50, 43), (50, 37)], 1.8, (40, 38, 42))
    for y in (70, 90):
        sketch.box(47, y - 6, 53, y + 6, (60, 54, 58), 3)
    sketch.box(44, 106, 56, 122, (92, 62, 44), 2)


def _lighthouse(sketch: Sketch, rng, wall: Colour) -> None:
    band = jitter(rng, ((206, 52, 48), (48, 86, 150), (50, 50, 58))[int(rng.integers(3))])
    sketch.ellipse(50, 121, 34, 6, (128, 120, 112))
    outline = [(31, 120), (69, 120), (61, 38), (39, 38)]
    sketch.polygon(outline, wall)
    sketch.within(
        lambda: sketch.polygon(outline, wall),
        lambda: [sketch.box(0, y, 100, y + 15, band, edge=None) for y in (40, 70, 100)],
    )
    sketch.box(42, 20, 58, 38, (252, 228, 130))
    sketch.line([(50, 22), (50, 36)], 1.5, (90, 80, 60))
    sketch.box(35, 35, 65, 41, (70, 66, 72), 1)
    sketch.polygon([(39, 21), (50, 6), (61, 21)], band)
    sketch.box(46, 106, 54, 120, (84, 58, 44), 3)
