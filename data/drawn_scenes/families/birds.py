"""Birds: a drop-shaped body on two thin legs, a neck or none, a beak, a wing; owls and penguins stand upright."""

from dataclasses import dataclass

import numpy as np

from drawn_scenes.families.animals import hull
from drawn_scenes.palette import Colour, mix, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Point, Sketch


@dataclass(frozen=True)
class Bird:
    """Colours and proportions; ``upright`` ones face the viewer."""

    plumage: tuple[Colour, ...]
    beak: Colour
    neck: Point = (12, -16)
    head: float = 10
    body: float = 18
    legs: float = 14
    beak_shape: str = "cone"
    head_colour: Colour | None = None
    comb: bool = False
    collar: bool = False
    tail: str = "point"
    upright: str = ""


MEMBERS = {
    "duck": Bird(
        ((168, 130, 92), (146, 120, 96), (188, 160, 120)),
        (238, 176, 50),
        (15, -15),
        10,
        17,
        8,
        "bill",
        (36, 118, 78),
        collar=True,
    ),
    "goose": Bird(((238, 236, 228), (186, 176, 164), (222, 214, 200)), (240, 140, 50), (17, -36), 8.5, 19, 14, "bill"),
    "chicken": Bird(
        ((244, 240, 230), (190, 104, 54), (226, 186, 130), (86, 60, 52)),
        (244, 186, 60),
        (13, -17),
        9,
        19,
        14,
        "cone",
        comb=True,
        tail="fan",
    ),
    "eagle": Bird(
        ((96, 64, 42), (78, 54, 40)), (248, 196, 56), (13, -18), 10.5, 18, 12, "hook", (250, 248, 240), tail="wedge"
    ),
    "owl": Bird(((156, 116, 78), (130, 104, 84), (190, 160, 120)), (226, 170, 60), upright="owl"),
    "penguin": Bird(((44, 46, 58), (56, 58, 70)), (242, 160, 50), upright="penguin"),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One bird; marks ``mouth``, ``head_top``, ``back`` and the length ``head_width``."""
    bird = MEMBERS[name]
    sketch = Sketch(110, 110, pixels)
    plumage = pick(rng, bird.plumage, 0.03)
    if bird.upright:
        (_owl if bird.upright == "owl" else _penguin)(sketch, rng, bird, plumage)
    else:
        _side(sketch, rng, bird, plumage, pose)
    return sketch


def _side(sketch: Sketch, rng, bird: Bird, plumage: Colour, pose: Pose) -> None:
    flying = pose.stance == "fly"
    x, y = 46.0, 100 - bird.legs - bird.body * 0.75
    dx, dy = bird.neck
    head = (x + 14 + dx + rng.uniform(-2, 3), y - 4 + dy + rng.uniform(-2, 2))
    if pose.head_down:
        head = (x + 14 + abs(dy) * 0.9, y + 10)
    if not flying and pose.stance != "lie":
        for offset in (-4, 7):
            sketch.line(
                [(x + offset, y + 10), (x + offset + 1, 100), (x + offset + 8, 102)],
                2.6,
                bird.beak,
                shade(bird.beak, 0.6),
            )
    _tail(sketch, bird, x, y, plumage)
    body = hull([(x - 14, y - 2, bird.body * 0.55), (x + 8, y, bird.body * 0.85)])
    top = bird.head_colour or plumage
    neck_end = (head[0] - 1, head[1] + 2)
    sketch.polygon(
        hull([(x + 16, y - 5, bird.head * 0.95), (*neck_end, bird.head * 0.62)]), top if bird.head_colour else plumage
    )
    sketch.polygon(body, plumage)
    if not bird.head_colour:
        sketch.polygon(hull([(x + 14, y - 4, bird.head * 0.8), (*neck_end, bird.head * 0.5)]), plumage, None)
    if bird.collar:
        sketch.line([(x + 16, y - 15), (x + 27, y - 10)], 3.6, (248, 246, 240))
    sketch.within(
        lambda: sketch.polygon(body, plumage),
        lambda: sketch.ellipse(x, y + bird.body, 34, 12, mix(plumage, (255, 250, 240), 0.35), None),
    )
    wing = shade(plumage, 0.8)
    if flying:
        sketch.polygon([(x - 8, y - 6), (x - 26, y - 44), (x - 4, y - 36), (x + 14, y - 6)], wing)
        sketch.polygon([(x + 2, y - 4), (x + 20, y - 46), (x + 26, y - 24), (x + 14, y - 2)], shade(plumage, 0.92))
    else:
        sketch.polygon(hull([(x - 18, y + 1, 3.5), (x + 3, y - 2, bird.body * 0.5)]), wing)
        for step in range(3):
            sketch.arc(x - 8 + step * 6, y, 6, bird.body * 0.36, 60, 150, 1.4, shade(wing, 0.75))
    sketch.ellipse(*head, bird.head, bird.head * 0.95, top)
    _beak(sketch, bird, head)
    if bird.comb:
        for step in (-4, 0, 4):
            sketch.ellipse(head[0] + step, head[1] - bird.head - 1, 3.2, 4, (212, 46, 44))
        sketch.ellipse(head[0] + 7, head[1] + bird.head * 0.9, 2.8, 4, (212, 46, 44))
    sketch.ellipse(head[0] + 3, head[1] - 2, 2.5, 2.7, (252, 250, 244), None)
    sketch.ellipse(head[0] + 3.6, head[1] - 2, 1.6, 1.9, (26, 24, 26), None)
    sketch.mark("mouth", head[0] + bird.head + 7, head[1] + 4)
    sketch.mark("head_top", head[0], head[1] - bird.head * 0.8)
    sketch.mark("neck", (x + 16 + head[0]) / 2, (y - 5 + head[1]) / 2 + 3)
    sketch.mark("back", x - 2, y - bird.body * 0.7)
    sketch.fact("head_width", 1.8 * bird.head)


def _beak(sketch: Sketch, bird: Bird, head: Point) -> None:
    x, y = head[0] + bird.head * 0.8, head[1]
    if bird.beak_shape == "bill":
        sketch.polygon(
            [(x, y - 3), (x + 7, y + 1), (x + 14, y + 1), (x + 14, y + 5), (x + 5, y + 7), (x - 1, y + 5)], bird.beak
        )
    elif bird.beak_shape == "hook":
        sketch.polygon([(x, y - 4), (x + 9, y - 3), (x + 12, y + 8), (x + 6, y + 4), (x - 1, y + 5)], bird.beak)
    else:
        sketch.polygon([(x, y - 4), (x + 11, y + 1), (x - 1, y + 5)], bird.beak)


def _tail(sketch: Sketch, bird: Bird, x: float, y: float, plumage: Colour) -> None:
    dark = shade(plumage, 0.72)
    if bird.tail == "fan":
        for angle in (0, 1, 2):
            sketch.polygon(
                [(x - 16, y + 4), (x - 34 + angle * 7, y - 18 - angle * 7), (x - 12 + angle * 3, y - 10)],
                shade(dark, 1.0 - angle * 0.1),
            )
    elif bird.tail == "wedge":
        sketch.polygon([(x - 14, y - 6), (x - 42, y + 6), (x - 40, y + 16), (x - 12, y + 8)], (244, 240, 232))
    else:
        sketch.polygon([(x - 16, y - 8), (x - 36, y - 10), (x - 16, y + 8)], dark)


def _owl(sketch: Sketch, rng, bird: Bird, plumage: Colour) -> None:
    wide = rng.uniform(0.94, 1.08)
    profile = [(14, 24 * wide), (34, 27 * wide), (62, 29 * wide), (90, 20 * wide), (98, 8)]
    for side in (-1, 1):
        sketch.polygon([(55 + side * 24, 22), (55 + side * 25, 2), (55 + side * 8, 15)], plumage)
    sketch.lathe(55, profile, plumage)
    light = mix(plumage, (255, 246, 226), 0.55)

    def breast() -> None:
        sketch.ellipse(55, 74, 19, 25, light, None)
        for row in range(4):
            for column in range(-2, 3):
                sketch.arc(55 + column * 7 + row % 2 * 3.5, 58 + row * 9, 3, 3, 0, 180, 1.8, shade(plumage, 0.8))

    sketch.within(lambda: sketch.lathe(55, profile, plumage), breast)
    for side in (-1, 1):
        sketch.polygon(hull([(55 + side * 25, 50, 7), (55 + side * 25, 76, 4)]), shade(plumage, 0.76))
        sketch.ellipse(55 + side * 11, 31, 12, 12, light)
        sketch.ellipse(55 + side * 10, 31, 7.6, 7.6, (248, 200, 62))
        sketch.ellipse(55 + side * 9.5, 31, 4, 4, (24, 22, 24), None)
        sketch.line([(55 + side * 9, 98), (55 + side * 9, 102)], 5, bird.beak)
    sketch.polygon([(50, 36), (60, 36), (55, 47)], bird.beak)
    _mark_upright(sketch, 14, 44)


def _penguin(sketch: Sketch, rng, bird: Bird, plumage: Colour) -> None:
    wide = rng.uniform(0.92, 1.1)
    profile = [(4, 6), (12, 15), (28, 16), (40, 19 * wide), (70, 26 * wide), (94, 18 * wide), (99, 10)]
    for side in (-1, 1):
        sketch.polygon(
            [(55 + side * 16, 40), (55 + side * (36 + rng.uniform(-4, 3)), 74), (55 + side * 22, 68)],
            shade(plumage, 0.85),
        )
        sketch.ellipse(55 + side * 11, 101, 10, 4, bird.beak)
    sketch.lathe(55, profile, plumage)
    white = (248, 246, 240)
    sketch.lathe(55, [(38, 9), (52, 15 * wide), (76, 19 * wide), (94, 12)], white, None)
    for side in (-1, 1):
        sketch.ellipse(55 + side * 7, 24, 7, 9, white, None)
        sketch.ellipse(55 + side * 6, 21, 2.2, 2.6, (24, 22, 24), None)
    sketch.ellipse(55, 36, 13, 4, (244, 196, 80), None)
    sketch.polygon([(50, 25), (60, 25), (55, 35)], bird.beak)
    _mark_upright(sketch, 6, 32)


def _mark_upright(sketch: Sketch, top: float, mouth: float) -> None:
    sketch.mark("mouth", 58, mouth)
    sketch.mark("head_top", 55, top + 3)
    sketch.mark("neck", 55, mouth + 6)
    sketch.mark("back", 55, top + 2)
    sketch.fact("head_width", 34)
