"""Sports gear: balls, boards, things to hit and things that fly."""

import math
from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import PAINT, WOOD, Colour, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class Gear:
    """Builder and the size of its board."""

    form: str
    size: tuple[float, float] = (100, 100)


MEMBERS = {
    "ball": Gear("ball"),
    "soccer ball": Gear("soccer ball"),
    "racket": Gear("racket", (60, 120)),
    "bat": Gear("bat", (40, 120)),
    "skateboard": Gear("skateboard", (120, 44)),
    "surfboard": Gear("surfboard", (50, 130)),
    "frisbee": Gear("frisbee", (100, 50)),
    "kite": Gear("kite", (100, 140)),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One piece of gear; boards mark ``surface``."""
    gear = MEMBERS[name]
    sketch = Sketch(*gear.size, pixels)
    colour, second = pick(rng, PAINT), pick(rng, PAINT)
    {
        "ball": _ball,
        "soccer ball": _soccer_ball,
        "racket": _racket,
        "bat": _bat,
        "skateboard": _skateboard,
        "surfboard": _surfboard,
        "frisbee": _frisbee,
        "kite": _kite,
    }[gear.form](sketch, rng, colour, second)
    return sketch


def _ball(sketch: Sketch, rng, colour: Colour, second: Colour) -> None:
    turn = rng.uniform(0, 6.28)
    kind = rng.integers(3)
    sketch.ellipse(50, 50, 42, 42, colour)

    def details() -> None:
        if kind == 0:
            for step in range(3):
                a = turn + step * 2 * math.pi / 3
                sketch.polygon(
                    [
                        (50, 50),
                        (50 + 60 * math.cos(a), 50 + 60 * math.sin(a)),
                        (50 + 60 * math.cos(a + 1.05), 50 + 60 * math.sin(a + 1.05)),
                    ],
                    second,
                    None,
                )
            sketch.ellipse(50, 50, 9, 9, (250, 248, 240), None)
        elif kind == 1:
            dx, dy = math.cos(turn) * 70, math.sin(turn) * 70
            sketch.line([(50 - dx, 50 - dy), (50 + dx, 50 + dy)], 26, second)
        else:
            sketch.arc(22, 50, 34, 46, -80, 80, 4, shade(colour, 0.5))
            sketch.arc(78, 50, 34, 46, 100, 260, 4, shade(colour, 0.5))
        sketch.arc(50, 50, 36, 36, 10, 100, 9, shade(colour, 0.75))

    sketch.within(lambda: sketch.ellipse(50, 50, 42, 42, colour), details)
    sketch.ellipse(34, 30, 8, 6, shade(colour, 1.6), None)


def _soccer_ball(sketch: Sketch, rng, colour: Colour, second: Colour) -> None:
    white, ink = (248, 246, 242), (36, 34, 40)
    turn = rng.uniform(0, 6.28)
    sketch.ellipse(50, 50, 42, 42, white)

    def patch(x: float, y: float, r: float, a0: float) -> None:
        sketch.polygon(
            [(x + r * math.cos(a0 + k * 1.2566), y + r * math.sin(a0 + k * 1.2566)) for k in range(5)], ink, None
        )

    def details() -> None:
        patch(50, 50, 14, turn)
        for step in range(5):
            a = turn + step * 1.2566
            sketch.line(
                [(50 + 14 * math.cos(a), 50 + 14 * math.sin(a)), (50 + 28 * math.cos(a), 50 + 28 * math.sin(a))],
                2.2,
                ink,
            )
            patch(50 + 38 * math.cos(a), 50 + 38 * math.sin(a), 12.5, a + math.pi)
        sketch.arc(50, 50, 37, 37, 10, 100, 6, (190, 188, 190))

    sketch.within(lambda: sketch.ellipse(50, 50, 42, 42, white), details)


def _racket(sketch: Sketch, rng, colour: Colour, second: Colour) -> None:
    grip = pick(rng, ((50, 46, 50), (220, 216, 206), (120, 70, 44)))
    sketch.line([(30, 70), (30, 84)], 5, colour, "auto")
    sketch.line([(30, 86), (30, 114)], 8, grip, "auto")
    for y in (92, 99, 106):
        sketch.line([(27, y + 2), (33, y - 2)], 1.4, shade(grip, 0.6))
    sketch.ellipse(30, 36, 26, 34, colour)
    sketch.ellipse(30, 36, 20, 28, (226, 234, 232))
    sketch.within(
        lambda: sketch.ellipse(30, 36, 20, 28, colour),
        lambda: (
            [sketch.line([(x, 0), (x, 80)], 1.1, (120, 124, 124)) for x in range(9, 56, 6)]
            + [sketch.line([(0, y), (60, y)], 1.1, (120, 124, 124)) for y in range(8, 70, 6)]
        ),
    )


def _bat(sketch: Sketch, rng, colour: Colour, second: Colour) -> None:
    wood = pick(rng, (*WOOD[:3], (214, 178, 124), colour))
    profile = [(4, 6), (10, 9.5), (42, 9), (78, 4.5), (108, 4)]
    sketch.lathe(20, profile, wood)
    sketch.within(
        lambda: sketch.lathe(20, profile, wood),
        lambda: (
            sketch.box(0, 84, 40, 110, shade(second, 0.6), edge=None),
            sketch.box(0, 26, 40, 31, shade(wood, 0.66), edge=None),
            sketch.line([(15, 10), (15, 70)], 3, shade(wood, 1.4)),
        ),
    )
    sketch.ellipse(20, 111, 7, 4, shade(wood, 0.8))


def _skateboard(sketch: Sketch, rng, colour: Colour, second: Colour) -> None:
    for x in (32, 88):
        sketch.box(x - 8, 24, x + 8, 30, (150, 152, 158), 1)
        sketch.ellipse(x - 7, 34, 6.5, 6.5, shade(second, 1.2))
        sketch.ellipse(x + 7, 34, 6.5, 6.5, shade(second, 1.2))
    sketch.line([(7, 11), (20, 21), (100, 21), (113, 11)], 8, colour, "auto")
    sketch.line([(9, 9), (21, 18), (99, 18), (111, 9)], 2.4, (50, 48, 52))
    sketch.mark("surface", 60, 18)
    sketch.mark("back", 60, 19)
    sketch.fact("surface_width", 80)


def _surfboard(sketch: Sketch, rng, colour: Colour, second: Colour) -> None:
    profile = [(3, 1), (24, 13), (70, 19), (112, 14), (127, 6)]
    sketch.lathe(25, profile, colour)
    kind = rng.integers(3)

    def details() -> None:
        if kind == 0:
            sketch.box(0, 30, 50, 44, second, edge=None)
            sketch.box(0, 50, 50, 55, second, edge=None)
        elif kind == 1:
            sketch.box(17, 0, 33, 130, second, edge=None)
        else:
            sketch.polygon([(0, 90), (50, 60), (50, 80), (0, 112)], second, None)
        sketch.line([(25, 4), (25, 126)], 1.8, shade(colour, 0.5))

    sketch.within(lambda: sketch.lathe(25, profile, colour), details)
    sketch.mark("surface", 25, 60)


def _frisbee(sketch: Sketch, rng, colour: Colour, second: Colour) -> None:
    ry = rng.uniform(13, 20)
    sketch.ellipse(50, 28, 46, ry, shade(colour, 0.72))
    sketch.ellipse(50, 24, 46, ry, colour)
    sketch.ellipse(50, 24, 33, ry * 0.68, shade(colour, 1.18))
    sketch.ellipse(50, 24, 16, ry * 0.34, second)


def _kite(sketch: Sketch, rng, colour: Colour, second: Colour) -> None:
    tail = [(50 + 9 * math.sin(t * 1.7 + rng.uniform(0, 0.3)), 84 + t * 9) for t in np.linspace(0, 6, 12)]
    sketch.line(tail, 1.8, (90, 80, 76))
    for x, y in tail[2::3]:
        sketch.polygon([(x - 8, y - 4), (x + 8, y + 4), (x + 8, y - 4), (x - 8, y + 4)], second)
    sketch.polygon([(50, 4), (86, 38), (50, 88), (14, 38)], colour)
    sketch.polygon([(50, 4), (86, 38), (50, 38)], second, None)
    sketch.polygon([(14, 38), (50, 38), (50, 88)], second, None)
    sketch.line([(50, 4), (50, 88)], 1.8, shade(colour, 0.45))
    sketch.line([(14, 38), (86, 38)], 1.8, shade(colour, 0.45))
