"""Clothing as it lies flat or is worn: torso wear with sleeves, skirts, scarves, and what goes on a head."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from drawn_scenes.palette import PAINT, Colour, jitter, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Point, Sketch


@dataclass(frozen=True)
class Garment:
    """``slot`` is where it is worn; torso wear has a hem (units below the neck) and a sleeve length."""

    slot: str
    hem: float = 0
    sleeve: float = 0
    front: str = ""


MEMBERS = {
    "hat": Garment("head"),
    "cap": Garment("head"),
    "helmet": Garment("head"),
    "shirt": Garment("torso", 66, 24, "collar"),
    "jacket": Garment("torso", 62, 56, "zip"),
    "coat": Garment("torso", 108, 58, "buttons"),
    "skirt": Garment("waist"),
    "scarf": Garment("neck"),
}
SLEEVE_ANGLE = 24.0


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One garment; marks ``fit`` (the point that goes on the wearer) and the length ``fit_width``."""
    garment = MEMBERS[name]
    colour = pick(rng, PAINT)
    if garment.slot == "torso":
        return _torso_wear(garment, rng, pixels, colour)
    sketch = Sketch(100, 100, pixels)
    {"hat": _hat, "cap": _cap, "helmet": _helmet, "skirt": _skirt, "scarf": _scarf}[name](sketch, rng, colour)
    return sketch


def _torso_wear(garment: Garment, rng: np.random.Generator, pixels: float, colour: Colour) -> Sketch:
    sketch = Sketch(124, garment.hem + 14, pixels)
    x, neck, half = 62.0, 6.0, 27.0
    angle = math.radians(SLEEVE_ANGLE)
    hem = neck + garment.hem
    for side in (-1, 1):
        shoulder = (x + side * (half - 7), neck + 11)
        end = (shoulder[0] + side * garment.sleeve * math.sin(angle), shoulder[1] + garment.sleeve * math.cos(angle))
        sketch.line([shoulder, end], 17, colour, "auto")
        if garment.sleeve > 40:
            cuff = (end[0] - side * 3, end[1] - 6)
            sketch.line([cuff, end], 17, shade(colour, 0.78))
    flare = 1.35 if garment.hem > 90 else 0.86
    outline = [
        (x - 13, neck),
        (x + 13, neck),
        (x + half, neck + 11),
        (x + half * 0.84, neck + 44),
        (x + half * flare, hem),
        (x - half * flare, hem),
        (x - half * 0.84, neck + 44),
        (x - half, neck + 11),
    ]
    sketch.polygon(outline, colour)
    kind = rng.choice(["plain", "stripes", "checks"], p=[0.4, 0.35, 0.25]) if garment.front == "collar" else "plain"
    sketch.within(lambda: sketch.polygon(outline, colour), lambda: _cloth(sketch, rng, kind, colour, hem))
    _front(sketch, rng, garment, x, neck, hem, colour)
    sketch.mark("fit", x, neck)
    sketch.fact("fit_width", 2 * half)
    sketch.fact("fit_length", 66)
    return sketch


def _cloth(sketch: Sketch, rng, kind: str, colour: Colour, bottom: float, top: float = 0) -> None:
    second = jitter(rng, shade(colour, 1.6) if sum(colour) < 480 else shade(colour, 0.6), 0.03)
    if kind in ("stripes", "checks"):
        for y in np.arange(top + 6, bottom, 11).tolist():
            sketch.box(0, y, 130, y + 4, second, edge=None)
    if kind == "checks":
        for x in range(4, 130, 11):
            sketch.box(x, 0, x + 3, bottom, second, edge=None)
    if kind == "plain":
        sketch.box(76, 0, 130, bottom, shade(colour, 0.86), edge=None)


def _front(sketch: Sketch, rng, garment: Garment, x: float, neck: float, hem: float, colour: Colour) -> None:
    dark = shade(colour, 0.5)
    if garment.front == "collar":
        white = shade(colour, 1.65)
        for side in (-1, 1):
            sketch.polygon([(x, neck + 10), (x + side * 14, neck - 3), (x + side * 12, neck + 13)], white)
        for y in np.arange(neck + 18, hem - 3, 12):
            sketch.ellipse(x, y, 2, 2, white, dark)
    elif garment.front == "zip":
        sketch.polygon([(x - 10, neck), (x + 10, neck), (x + 7, hem), (x - 7, hem)], (240, 236, 228))
        for side in (-1, 1):
            sketch.polygon(
                [(x + side * 3, neck + 30), (x + side * 8, neck - 3), (x + side * 19, neck + 8)], shade(colour, 0.72)
            )
            sketch.line([(x + side * 8, neck + 26), (x + side * 7, hem)], 2.4, (90, 90, 96))
            sketch.line([(x + side * 13, hem - 18), (x + side * 20, hem - 24)], 2.6, dark)
        sketch.box(x - 25, hem - 6, x - 6, hem, shade(colour, 0.66), 1)
        sketch.box(x + 6, hem - 6, x + 25, hem, shade(colour, 0.66), 1)
    else:
        sketch.line([(x, neck + 22), (x, hem)], 2, dark)
        for side in (-1, 1):
            sketch.polygon([(x, neck + 26), (x + side * 9, neck - 3), (x + side * 22, neck + 10)], shade(colour, 0.76))
            for y in (neck + 34, neck + 46, neck + 58):
                sketch.ellipse(x + side * 7, y, 2.4, 2.4, (240, 206, 110))
        if rng.random() < 0.5:
            sketch.box(x - 27, neck + 48, x + 27, neck + 54, dark, 1, None)
        sketch.line([(x - 20, hem - 30), (x - 10, hem - 32)], 3, dark)
        sketch.line([(x + 20, hem - 30), (x + 10, hem - 32)], 3, dark)


def _dome(x: float, y: float, rx: float, ry: float) -> list[Point]:
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in np.linspace(math.pi, 2 * math.pi, 18)]


def _hat(sketch: Sketch, rng, colour: Colour) -> None:
    brim = rng.uniform(38, 47)
    crown = rng.uniform(34, 46)
    sketch.ellipse(50, 76, brim, 9, shade(colour, 0.9))
    sketch.polygon(
        [(26, 76), (30, 76 - crown), (44, 72 - crown), (50, 76 - crown), (58, 72 - crown), (70, 76 - crown), (74, 76)],
        colour,
    )
    band = pick(rng, PAINT)
    sketch.polygon([(26, 76), (27, 64), (73, 64), (74, 76), (50, 80)], band)
    _fit_head(sketch, 50, 76, 46)


def _cap(sketch: Sketch, rng, colour: Colour) -> None:
    second = pick(rng, PAINT)
    sketch.polygon(_dome(42, 70, 30, 40), colour)
    sketch.polygon([(64, 62), (82, 64), (97, 72), (90, 78), (60, 72)], second)
    sketch.polygon([(12, 70), (42, 66), (72, 70), (42, 76)], shade(colour, 0.8), None)
    sketch.arc(42, 70, 11, 39, 180, 360, 1.6, shade(colour, 0.66))
    sketch.ellipse(42, 30, 3.6, 3, second)
    sketch.ellipse(56, 54, 6, 6, shade(second, 1.3), None)
    _fit_head(sketch, 43, 71, 56)


def _helmet(sketch: Sketch, rng, colour: Colour) -> None:
    sketch.line([(22, 66), (34, 92), (50, 97), (66, 92), (78, 66)], 3, (60, 56, 60))
    sketch.polygon([*_dome(50, 64, 38, 46), (86, 72), (14, 72)], colour)
    dark = shade(colour, 0.42)
    for x0, x1 in ((32, 27), (50, 50), (68, 73)):
        sketch.line([(50 + (x0 - 50) * 0.6, 27), (x1, 54)], 6.5, dark)
    sketch.box(13, 64, 87, 73, shade(colour, 1.5), 3)
    sketch.ellipse(34, 34, 7, 4, shade(colour, 1.6), None)
    _fit_head(sketch, 50, 72, 66)


def _fit_head(sketch: Sketch, x: float, y: float, width: float) -> None:
    sketch.mark("fit", x, y)
    sketch.fact("fit_width", width)


def _skirt(sketch: Sketch, rng, colour: Colour) -> None:
    length, flare = rng.uniform(52, 70), rng.uniform(32, 44)
    outline = [
        (32, 16),
        (68, 16),
        (50 + flare, 16 + length),
        (50 + flare * 0.5, 20 + length),
        (50, 17 + length),
        (50 - flare * 0.5, 20 + length),
        (50 - flare, 16 + length),
    ]
    sketch.polygon(outline, colour)
    kind = rng.choice(["pleats", "stripes", "checks"])

    def details() -> None:
        _cloth(sketch, rng, kind if kind != "pleats" else "plain", colour, 100, 24)
        for part in (-0.6, -0.2, 0.2, 0.6):
            sketch.line([(50 + part * 18, 22), (50 + part * flare, 22 + length)], 2, shade(colour, 0.66))

    sketch.within(lambda: sketch.polygon(outline, colour), details)
    sketch.box(31, 11, 69, 21, shade(colour, 0.66), 2)
    sketch.mark("fit", 50, 14)
    sketch.fact("fit_width", 36)


def _scarf(sketch: Sketch, rng, colour: Colour) -> None:
    second = shade(colour, 1.6) if sum(colour) < 480 else shade(colour, 0.55)
    ends = ((58, 84 + rng.uniform(-6, 6)), (40, 70 + rng.uniform(-6, 6)))
    for x, length in ends:
        outline = [(x - 4, 24), (x + 10, 24), (x + 13, length), (x - 6, length)]
        sketch.polygon(outline, colour)
        sketch.within(
            partial(sketch.polygon, outline, colour),
            lambda: [sketch.box(0, y, 100, y + 6, second, edge=None) for y in range(40, 100, 13)],
        )
        for fringe in range(-4, 13, 4):
            sketch.line([(x + fringe, length), (x + fringe, length + 7)], 2, second)
    collar = [(18, 14), (82, 14), (86, 24), (78, 34), (50, 39), (22, 34), (14, 24)]
    sketch.polygon(collar, colour)
    sketch.within(
        lambda: sketch.polygon(collar, colour),
        lambda: [
            sketch.polygon([(x, 0), (x + 6, 0), (x + 12, 44), (x + 6, 44)], second, None) for x in range(12, 90, 16)
        ],
    )
    sketch.mark("fit", 50, 18)
    sketch.fact("fit_width", 56)
