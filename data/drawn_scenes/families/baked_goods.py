"""Baked goods: a golden crust, what is on it and what is missing from it."""

import math
from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import Colour, jitter, mix, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class BakedGood:
    """Shape of the dough and the colours of crust and topping."""

    shape: str
    crust: tuple[Colour, ...] = ((206, 148, 82), (190, 128, 66), (220, 166, 98))
    topping: tuple[Colour, ...] = ()


ICING = ((238, 130, 170), (110, 66, 44), (250, 240, 230), (150, 200, 226), (190, 150, 220))
MEMBERS = {
    "bread": BakedGood("loaf"),
    "bagel": BakedGood("ring", ((206, 146, 78), (184, 118, 60)), ((246, 232, 196), (40, 36, 36))),
    "donut": BakedGood("iced ring", topping=ICING),
    "croissant": BakedGood("crescent", ((222, 158, 80), (206, 136, 60))),
    "muffin": BakedGood(
        "muffin", ((190, 126, 70), (150, 94, 52), (214, 164, 92)), ((70, 48, 90), (70, 44, 34), (180, 50, 60))
    ),
    "cake": BakedGood("tiers", ((236, 206, 150), (130, 82, 54)), ICING),
    "cookie": BakedGood("disc", ((214, 160, 94), (190, 134, 74)), ((72, 44, 32), (110, 60, 40))),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One baked good."""
    member = MEMBERS[name]
    crust = pick(rng, member.crust, 0.03)
    topping = pick(rng, member.topping, 0.04) if member.topping else shade(crust, 0.8)
    painter = {
        "loaf": _loaf,
        "ring": _ring,
        "iced ring": _ring,
        "crescent": _crescent,
        "muffin": _muffin,
        "tiers": _cake,
        "disc": _cookie,
    }
    sketch = Sketch(100, 90, pixels)
    painter[member.shape](sketch, rng, crust, topping, member.shape == "iced ring")
    return sketch


def _loaf(sketch, rng, crust, topping, _iced) -> None:
    height = rng.uniform(28, 36)
    sketch.box(6, 78 - height - 8, 94, 80, crust, 17)
    light = mix(crust, (250, 226, 180), 0.6)
    for x in (24, 42, 60, 78):
        sketch.line([(x - 5, 78 - height + 12), (x + 5, 78 - height - 3)], 5.5, light)
    sketch.within(
        lambda: sketch.box(6, 78 - height - 8, 94, 80, crust, 17),
        lambda: sketch.box(0, 70, 100, 82, shade(crust, 0.75), edge=None),
    )


def _ring(sketch, rng, crust, topping, iced) -> None:
    tilt = rng.uniform(0.72, 0.98)
    ry = 40 * tilt
    sketch.ellipse(50, 46, 42, ry, crust)
    if iced:
        ripple = [
            (50 + (35 + 3 * math.sin(5 * a + 1)) * math.cos(a), 44 + (ry - 7 + 2.5 * math.sin(5 * a)) * math.sin(a))
            for a in np.linspace(0, 2 * math.pi, 40)
        ]
        sketch.polygon(ripple, topping)
        for _ in range(26):
            a, r = rng.uniform(0, 6.28), rng.uniform(0.5, 0.78)
            x, y, turn = 50 + 40 * r * math.cos(a), 44 + ry * r * math.sin(a), rng.uniform(0, 3.14)
            sprinkle = pick(rng, ((250, 220, 80), (90, 190, 120), (240, 90, 80), (90, 150, 230), (255, 255, 255)))
            sketch.line([(x, y), (x + 4 * math.cos(turn), y + 4 * math.sin(turn))], 2.4, sprinkle)
    else:
        sketch.arc(50, 45, 33, ry - 9, 190, 300, 6, shade(crust, 1.4))
        for _ in range(36):
            a, r = rng.uniform(0, 6.28), rng.uniform(0.45, 0.85)
            sketch.ellipse(50 + 42 * r * math.cos(a), 46 + ry * r * math.sin(a), 1.7, 1.2, topping, None)
    sketch.ellipse(50, 46, 13, 12 * tilt, (92, 70, 60) if iced else (104, 74, 50), edge=shade(crust, 0.6))


def _crescent(sketch, rng, crust, topping, _iced) -> None:
    bend = rng.uniform(20, 34)
    for step in (-4, 4, -3, 3, -2, 2, -1, 1, 0):
        x, y = 50 + step * 9.6, 40 + bend * (step / 4) ** 2
        rx, ry = 12.5 - abs(step) * 1.5, 23 - abs(step) * 4
        sketch.ellipse(x, y, rx, ry, shade(crust, 1.0 - 0.06 * (abs(step) % 2)))
        sketch.arc(x - 1, y, rx * 0.5, ry * 0.75, 200, 280, 2.6, shade(crust, 1.4))


def _muffin(sketch, rng, crust, topping, _iced) -> None:
    paper = jitter(rng, (236, 220, 190) if rng.random() < 0.5 else topping)
    sketch.polygon([(22, 46), (78, 46), (70, 84), (30, 84)], paper)
    for x in (32, 41, 50, 59, 68):
        sketch.line([(50 + (x - 50) * 1.35, 48), (x, 83)], 2, shade(paper, 0.72))
    for x, y, r in ((28, 42, 14), (72, 42, 14), (50, 32, 25)):
        sketch.ellipse(x, y, r, r * 0.82, crust)
    sketch.ellipse(50, 40, 31, 12, crust, None)
    for _ in range(9):
        sketch.ellipse(rng.uniform(26, 74), rng.uniform(20, 46), 3.2, 3, topping, None)
    sketch.arc(46, 30, 17, 12, 190, 280, 3.5, shade(crust, 1.4))


def _cake(sketch, rng, crust, topping, _iced) -> None:
    tiers = int(rng.integers(1, 3)) + 1
    base = 86.0
    for tier in range(tiers):
        half, height = 42 - 12 * tier, 28 if tiers == 2 else 19
        top = base - height
        sketch.box(50 - half, top, 50 + half, base, crust, 4)
        sketch.box(50 - half - 2, top - 4, 50 + half + 2, top + 8, topping, 4)
        for drop in np.arange(50 - half + 4, 50 + half, 10):
            sketch.ellipse(drop, top + 7, 4.4, 4 + rng.uniform(0, 5), topping, None)
        base = top - 2
    for x in (42, 50, 58)[: 3 if rng.random() < 0.6 else 2]:
        sketch.box(x - 1.8, base - 15, x + 1.8, base, pick(rng, ICING), 1)
        sketch.ellipse(x, base - 19, 2.4, 4, (252, 190, 60), (230, 110, 40))
    sketch.ellipse(50, 87, 46, 3.5, (226, 226, 230))


def _cookie(sketch, rng, crust, topping, _iced) -> None:
    tilt = rng.uniform(0.8, 1.0)
    rim = [(50 + (38 + rng.normal(0, 1)) * math.cos(a), 46 + 38 * tilt * math.sin(a)) for a in np.linspace(0, 6.28, 30)]
    sketch.polygon(rim, crust)
    sketch.arc(50, 46, 30, 30 * tilt, 195, 280, 4, shade(crust, 1.35))
    for _ in range(10):
        a, r = rng.uniform(0, 6.28), 32 * math.sqrt(rng.uniform(0.03, 1))
        sketch.ellipse(50 + r * math.cos(a), 46 + r * tilt * math.sin(a), 5, 4.4, topping, shade(topping, 0.7))
