"""Cutlery: a long handle with a working end, drawn upright."""

from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import METAL, PAINT, WOOD, Colour, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class Cutlery:
    """The working end, and whether the handle is another stuff than the blade."""

    end: str
    handles: tuple[Colour, ...] = ()


MEMBERS = {
    "fork": Cutlery("tines"),
    "knife": Cutlery("blade", ((52, 44, 44), *WOOD[:4], (40, 44, 60))),
    "spoon": Cutlery("bowl"),
    "butter knife": Cutlery("round blade"),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One piece of cutlery, working end up."""
    member = MEMBERS[name]
    sketch = Sketch(44, 110, pixels)
    steel = pick(rng, (*METAL, (222, 190, 110)), 0.03)
    handle = pick(rng, member.handles) if member.handles else steel
    if not member.handles and rng.random() < 0.25:
        handle = pick(rng, PAINT)
    x, wide = 22.0, rng.uniform(0.9, 1.15)
    if member.end == "tines":
        sketch.polygon([(x - 2.5, 44), (x + 2.5, 44), (x + 4.5, 104), (x, 108), (x - 4.5, 104)], handle)
        sketch.lathe(x, [(22, 12 * wide), (34, 12 * wide), (48, 3)], steel)
        for offset in (-10.2, -3.4, 3.4, 10.2):
            sketch.box(x + offset * wide - 2, 2, x + offset * wide + 2, 26, steel, 2)
        sketch.within(
            lambda: sketch.box(x - 11 * wide, 20, x + 11 * wide, 30, steel),
            lambda: sketch.box(0, 21, 44, 30, steel, edge=None),
        )
    elif member.end == "bowl":
        sketch.polygon([(x - 2.5, 36), (x + 2.5, 36), (x + 4.5, 104), (x, 108), (x - 4.5, 104)], handle)
        sketch.ellipse(x, 21, 13.5 * wide, 19, steel)
        sketch.ellipse(x + 1, 22, 9 * wide, 14, shade(steel, 0.8), edge=None)
        sketch.line([(x - 5, 12), (x - 7, 20)], 3, shade(steel, 1.6))
    elif member.end == "blade":
        sketch.polygon([(x - 7, 66), (x - 7, 16), (x - 3, 3), (x + 9 * wide, 26), (x + 12 * wide, 66)], steel)
        sketch.line([(x + 5, 24), (x + 8 * wide, 62)], 3, shade(steel, 1.6))
        sketch.box(x - 7, 65, x + 6, 108, handle, 5)
        for y in (76, 87, 98):
            sketch.ellipse(x - 0.5, y, 1.8, 1.8, shade(steel, 1.2), edge=None)
    else:
        sketch.polygon([(x - 3.5, 56), (x + 3.5, 56), (x + 6, 100), (x, 108), (x - 6, 100)], handle)
        sketch.box(x - 7 * wide, 2, x + 6 * wide, 58, steel, 6.5)
        sketch.line([(x - 3, 10), (x - 3, 48)], 2.5, shade(steel, 1.6))
    return sketch
