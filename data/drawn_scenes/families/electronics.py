"""Electronics: boxes with screens, slots, knobs and keys."""

from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import METAL, PAINT, WOOD, Colour, mix, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class Appliance:
    """Builder and casing colours."""

    form: str
    casing: tuple[Colour, ...]


DARK: tuple[Colour, ...] = ((56, 56, 62), (74, 72, 76), (40, 42, 50))
LIGHT: tuple[Colour, ...] = ((228, 226, 218), (206, 206, 210), (240, 236, 226))
MEMBERS = {
    "television": Appliance("television", (*DARK, *WOOD[:2])),
    "radio": Appliance("radio", (*PAINT[:7], *WOOD[:3])),
    "computer": Appliance("computer", (*LIGHT, *DARK)),
    "printer": Appliance("printer", (*LIGHT, DARK[1])),
    "microwave": Appliance("microwave", (*LIGHT, DARK[0], METAL[0])),
    "toaster": Appliance("toaster", (*METAL, *PAINT[:6])),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One appliance."""
    appliance = MEMBERS[name]
    sketch = Sketch(116, 100, pixels)
    casing = pick(rng, appliance.casing, 0.03)
    {
        "television": _television,
        "radio": _radio,
        "computer": _computer,
        "printer": _printer,
        "microwave": _microwave,
        "toaster": _toaster,
    }[appliance.form](sketch, rng, casing)
    return sketch


def _screen(sketch: Sketch, rng, x0: float, y0: float, x1: float, y1: float) -> None:
    sky = pick(rng, ((90, 160, 210), (60, 80, 130), (230, 150, 90), (120, 190, 170)))
    sketch.box(x0, y0, x1, y1, sky, 2)
    kind = rng.integers(3)
    w, h = x1 - x0, y1 - y0

    def screen() -> None:
        if kind == 0:
            sketch.polygon([(x0, y1), (x0 + w * 0.35, y0 + h * 0.4), (x0 + w * 0.7, y1)], shade(sky, 0.6), None)
            sketch.polygon([(x0 + w * 0.4, y1), (x0 + w * 0.75, y0 + h * 0.5), (x1, y1)], shade(sky, 0.5), None)
            sketch.ellipse(x0 + w * 0.8, y0 + h * 0.25, 5, 5, (252, 236, 150), None)
        elif kind == 1:
            for row in range(4):
                sketch.line(
                    [(x0 + 6, y0 + h * (row + 1) / 5), (x0 + w * rng.uniform(0.4, 0.9), y0 + h * (row + 1) / 5)],
                    3,
                    shade(sky, 1.6),
                )
        else:
            sketch.ellipse((x0 + x1) / 2, y1, w * 0.3, h * 0.5, shade(sky, 0.55), None)
            sketch.ellipse((x0 + x1) / 2, y0 + h * 0.42, 8, 8, (236, 196, 160), None)
        if kind:
            glare = [(x0, y0), (x0 + w * 0.3, y0), (x0 + w * 0.1, y1), (x0, y1)]
            sketch.polygon(glare, mix(sky, (255, 255, 255), 0.25), None)

    sketch.within(lambda: sketch.box(x0, y0, x1, y1, sky, 2), screen)


def _television(sketch: Sketch, rng, casing: Colour) -> None:
    if rng.random() < 0.5:
        for x in (34, 82):
            sketch.line([(58, 26), (x, 4)], 2.2, (90, 90, 96))
        sketch.box(8, 24, 108, 92, casing, 6)
        _screen(sketch, rng, 15, 31, 82, 85)
        for y in (40, 54):
            sketch.ellipse(95, y, 5.5, 5.5, (214, 206, 190))
        for y in (66, 72, 78):
            sketch.line([(89, y), (101, y)], 1.8, shade(casing, 1.5))
        for x in (24, 92):
            sketch.line([(x, 93), (x + (x - 58) * 0.1, 99)], 4, (60, 46, 40))
    else:
        sketch.box(3, 20, 113, 86, DARK[0], 3)
        _screen(sketch, rng, 7, 24, 109, 81)
        sketch.box(52, 86, 64, 94, DARK[1])
        sketch.box(34, 93, 82, 98, DARK[1], 2)


def _radio(sketch: Sketch, rng, casing: Colour) -> None:
    sketch.line([(96, 36), (108, 2)], 2.2, (150, 152, 158))
    sketch.arc(58, 36, 34, 16, 180, 360, 4.5, shade(casing, 0.6), "auto")
    sketch.box(8, 34, 108, 94, casing, 7)
    sketch.ellipse(36, 66, 21, 21, shade(casing, 0.45))
    for r in (15, 9):
        sketch.arc(36, 66, r, r, 0, 360, 1.8, shade(casing, 0.9))
    sketch.box(64, 42, 102, 58, (248, 240, 206), 2)
    for x in range(69, 100, 6):
        sketch.line([(x, 46), (x, 51)], 1.3, (90, 80, 70))
    sketch.line([(84, 44), (84, 56)], 1.8, (206, 50, 44))
    for x in (74, 93):
        sketch.ellipse(x, 76, 7.5, 7.5, (230, 226, 216))
        sketch.line([(x, 76), (x + 3, 71)], 1.8, (70, 66, 66))


def _computer(sketch: Sketch, rng, casing: Colour) -> None:
    sketch.box(6, 8, 84, 66, casing, 4)
    _screen(sketch, rng, 12, 14, 78, 58)
    sketch.box(38, 66, 52, 76, shade(casing, 0.8))
    sketch.box(90, 8, 113, 76, shade(casing, 0.92), 2)
    sketch.box(94, 14, 109, 19, shade(casing, 0.6))
    sketch.ellipse(101, 64, 3, 3, (110, 220, 130))
    keys = [(14, 78), (92, 78), (102, 96), (4, 96)]
    sketch.polygon(keys, shade(casing, 0.95))
    for row in range(3):
        y = 82 + row * 5
        for x in np.linspace(16 - row * 3, 88 + row * 3, 10):
            sketch.box(x - 2, y, x + 2, y + 2.8, shade(casing, 0.55), edge=None)


def _printer(sketch: Sketch, rng, casing: Colour) -> None:
    paper = (252, 252, 250)
    sketch.polygon([(32, 46), (38, 4), (84, 4), (84, 46)], paper)
    sketch.box(8, 40, 108, 84, casing, 6)
    sketch.box(8, 40, 108, 52, shade(casing, 0.85), 5)
    sketch.box(22, 66, 94, 74, (46, 44, 50), 2)
    sketch.polygon([(28, 71), (88, 71), (94, 96), (22, 96)], paper)
    for y in (78, 84, 90):
        sketch.line([(34, y), (34 + rng.uniform(24, 48), y)], 2, (120, 130, 160))
    for x, ink in ((90, (110, 210, 120)), (98, (240, 120, 80))):
        sketch.ellipse(x, 58, 2.8, 2.8, ink)


def _microwave(sketch: Sketch, rng, casing: Colour) -> None:
    for x in (18, 98):
        sketch.box(x - 5, 86, x + 5, 92, (60, 58, 62))
    sketch.box(4, 28, 112, 88, casing, 4)
    glow = (250, 214, 120) if rng.random() < 0.4 else (70, 72, 82)
    sketch.box(11, 36, 78, 80, shade(casing, 0.75), 3)
    sketch.box(18, 42, 71, 74, glow, 3)
    sketch.ellipse(44, 69, 18, 3, shade(glow, 0.75), None)
    sketch.line([(82, 38), (82, 78)], 3.4, shade(casing, 0.5))
    sketch.box(89, 36, 107, 45, (60, 110, 80), 1)
    for row in range(4):
        for column in range(3):
            sketch.ellipse(92 + column * 6, 53 + row * 7.5, 1.9, 1.9, shade(casing, 0.45), None)


def _toaster(sketch: Sketch, rng, casing: Colour) -> None:
    for x in (34, 66):
        rise = rng.uniform(10, 24)
        sketch.box(x - 13, 44 - rise, x + 15, 66, (226, 176, 110), 6)
        sketch.box(x - 9, 48 - rise, x + 11, 66, (244, 212, 156), 4, None)
    sketch.box(8, 42, 96, 94, casing, 13)
    sketch.box(18, 44, 86, 50, shade(casing, 0.42), 3)
    sketch.line([(18, 60), (18, 82)], 4, shade(casing, 1.5))
    sketch.box(95, 54, 107, 61, (50, 48, 52), 2)
    sketch.ellipse(80, 80, 5, 5, (60, 58, 62))
    for x in (22, 82):
        sketch.box(x - 6, 93, x + 6, 98, (50, 48, 52), 1)
