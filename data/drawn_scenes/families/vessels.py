"""Vessels: a body of revolution with a rim, and perhaps handles, a spout, a lid, a pattern."""

from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import METAL, PAINT, WHITE, Colour, jitter, mix, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Point, Sketch, smooth


@dataclass(frozen=True)
class Vessel:
    """Proportions of one vessel; ``profile`` lists (y, half width) from rim to foot."""

    profile: tuple[Point, ...]
    colours: tuple[Colour, ...] = PAINT
    handle: str = ""
    spout: str = ""
    lid: str = ""
    saucer: bool = False
    ribs: bool = False
    label: bool = False
    glassy: bool = False
    pattern: float = 0.5


GLASS: tuple[Colour, ...] = ((188, 216, 222), (170, 204, 196), (206, 220, 226))
BOTTLE: tuple[Colour, ...] = ((52, 110, 70), (110, 66, 36), (58, 104, 140), (150, 40, 46), (70, 120, 60))

MEMBERS = {
    "cup": Vessel(((40, 25), (62, 21), (84, 12), (88, 11)), handle="small", saucer=True),
    "mug": Vessel(((28, 25), (88, 25)), handle="big", pattern=0.9),
    "bowl": Vessel(((46, 44), (62, 38), (80, 20), (86, 15)), pattern=0.8),
    "vase": Vessel(((8, 14), (20, 9), (34, 14), (60, 27), (84, 15), (92, 13)), pattern=0.9),
    "pitcher": Vessel(((14, 17), (30, 15), (62, 27), (92, 20)), handle="tall", spout="lip"),
    "kettle": Vessel(
        ((38, 16), (54, 30), (84, 34), (90, 30)),
        METAL + PAINT[:6],
        handle="over",
        spout="long",
        lid="knob",
        pattern=0.1,
    ),
    "bottle": Vessel(((6, 6), (30, 6.5), (44, 16), (94, 16)), BOTTLE, lid="cork", label=True, glassy=True, pattern=0),
    "jar": Vessel(((22, 18), (30, 25), (90, 25)), GLASS, lid="screw", label=True, glassy=True, pattern=0),
    "bucket": Vessel(((34, 32), (90, 22)), METAL + PAINT[:7], handle="bail", ribs=True, pattern=0),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One vessel; marks ``opening`` and the length ``opening_width``."""
    vessel = MEMBERS[name]
    sketch = Sketch(100, 100, pixels)
    colour = pick(rng, vessel.colours)
    stretch = rng.uniform(0.88, 1.14)
    profile = tuple((y, half * stretch) for y, half in vessel.profile)
    (top, rim), (foot, base) = profile[0], profile[-1]
    middle = 50.0
    if vessel.saucer:
        sketch.ellipse(middle, foot + 2, 40, 6, shade(colour, 1.35))
    _handles(sketch, vessel, profile, middle, colour)
    if vessel.spout == "long":
        sketch.polygon([(26, 76), (6, 48), (13, 45), (32, 58)], colour)
    sketch.lathe(middle, [*profile, (foot + 2.5, base * 0.8)], colour)
    _surface(sketch, vessel, rng, profile, middle, colour)
    if vessel.spout == "lip":
        sketch.polygon([(middle - rim, top - 2), (middle - rim - 12, top - 6), (middle - rim + 2, top + 14)], colour)
    depth = max(2.0, rim * 0.17)
    inside = mix(shade(colour, 0.42), (255, 255, 255), 0.25) if vessel.glassy else shade(colour, 0.45)
    if not vessel.lid or pose.opened:
        sketch.ellipse(middle, top, rim, depth, inside, edge=shade(colour, 0.7))
    else:
        _lid(sketch, vessel, rng, middle, top, rim, colour)
    sketch.mark("opening", middle, top)
    sketch.fact("opening_width", 2 * rim)
    return sketch


def _handles(sketch: Sketch, vessel: Vessel, profile, x: float, colour: Colour) -> None:
    top, foot = profile[0][0], profile[-1][0]
    if vessel.handle == "small":
        sketch.arc(x + profile[0][1] - 3, top + 14, 15, 10, -100, 110, 4.5, colour, "auto")
    elif vessel.handle == "big":
        sketch.arc(x + profile[0][1] - 2, (top + foot) / 2, 19, 19, -95, 95, 7, colour, "auto")
    elif vessel.handle == "tall":
        sketch.arc(x + profile[1][1], (top + foot) / 2 - 6, 24, 26, -100, 100, 6, colour, "auto")
    elif vessel.handle == "over":
        sketch.arc(x, top + 8, 25, 30, 185, 355, 5, (60, 56, 58), "auto")
    elif vessel.handle == "bail":
        sketch.arc(x, top, profile[0][1] - 1, 28, 180, 360, 2.5, (110, 110, 116), "auto")


def _surface(sketch: Sketch, vessel: Vessel, rng: np.random.Generator, profile, x: float, colour: Colour) -> None:
    top, foot = profile[0][0], profile[-1][0]
    widest = max(half for _, half in profile)
    kind = rng.choice(["stripes", "dots", "band", "zigzag"]) if rng.random() < vessel.pattern else ""
    second = jitter(rng, WHITE if sum(colour) < 520 else shade(colour, 0.5), 0.04)
    span = foot - top

    def details() -> None:
        if kind == "stripes":
            for step in range(1, 6, 2):
                sketch.box(0, top + span * step / 7, 100, top + span * (step + 0.8) / 7, second, edge=None)
        elif kind == "dots":
            for row in range(4):
                for column in range(5):
                    sketch.ellipse(
                        x + (column - 2 + row % 2 / 2) * widest * 0.5,
                        top + span * (row + 0.7) / 4,
                        3.6,
                        3.6,
                        second,
                        None,
                    )
        elif kind == "band":
            sketch.box(0, top + span * 0.34, 100, top + span * 0.66, second, edge=None)
        elif kind == "zigzag":
            turns = [(x + (i - 5) * widest / 4.5, top + span * (0.4 if i % 2 else 0.62)) for i in range(11)]
            sketch.line(turns, 4.5, second)
        if vessel.ribs:
            for part in (0.25, 0.7):
                sketch.box(0, top + span * part, 100, top + span * part + 3, shade(colour, 0.7), edge=None)
        if vessel.label:
            paper = pick(rng, ((246, 240, 222), (236, 206, 120), (250, 250, 250), (214, 86, 70)))
            sketch.box(0, top + span * 0.52, 100, top + span * 0.84, paper, edge=None)
            sketch.line([(x - 9, top + span * 0.64), (x + 7, top + span * 0.64)], 3, shade(paper, 0.5))
        ys, halves = smooth(profile)
        sketch.line([(x - half * 0.68, y) for y, half in zip(ys, halves, strict=True)][1:-1], 4.5, shade(colour, 1.45))
        sketch.line([(x + half * 0.88, y) for y, half in zip(ys, halves, strict=True)], 6, shade(colour, 0.8))

    sketch.within(lambda: sketch.lathe(x, profile, colour), details)


def _lid(
    sketch: Sketch, vessel: Vessel, rng: np.random.Generator, x: float, top: float, rim: float, colour: Colour
) -> None:
    if vessel.lid == "cork":
        sketch.box(
            x - rim - 1.5, top - 7, x + rim + 1.5, top + 4, pick(rng, ((196, 150, 96), (60, 60, 66), (200, 60, 50))), 2
        )
    elif vessel.lid == "screw":
        sketch.box(x - rim - 3, top - 7, x + rim + 3, top + 5, pick(rng, PAINT), 3)
    elif vessel.lid == "knob":
        sketch.ellipse(x, top + 1, rim, 6, shade(colour, 1.15))
        sketch.ellipse(x, top - 6, 5, 4.5, (60, 56, 58))
