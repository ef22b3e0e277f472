"""Plants: crowns on trunks, leaves in pots, petals on stems."""

import math
from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import LEAF, WOOD, Colour, jitter, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Sketch


@dataclass(frozen=True)
class Plant:
    """How the plant is built and, for flowers, its petals."""

    form: str
    petals: tuple[Colour, ...] = ()
    petal_count: int = 0
    petal_size: tuple[float, float] = (0, 0)
    heart: float = 0
    heart_colour: Colour = (240, 200, 70)


MEMBERS = {
    "tree": Plant("crown"),
    "palm tree": Plant("palm"),
    "bush": Plant("bush"),
    "plant": Plant("potted"),
    "flower": Plant(
        "bloom", ((226, 70, 90), (200, 90, 190), (244, 150, 60), (120, 110, 220), (240, 130, 170)), 6, (15, 11), 7
    ),
    "sunflower": Plant("bloom", ((250, 200, 40), (244, 184, 30)), 15, (26, 6.5), 16, (104, 66, 36)),
    "daisy": Plant("bloom", ((252, 250, 246), (246, 240, 250)), 12, (20, 5), 7.5, (246, 200, 50)),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One plant; trees mark ``branch``, where something can hang."""
    plant = MEMBERS[name]
    sketch = Sketch(100, 120, pixels)
    {"crown": _tree, "palm": _palm, "bush": _bush, "potted": _potted, "bloom": _bloom}[plant.form](sketch, rng, plant)
    return sketch


def _foliage(sketch: Sketch, rng, circles, leaf: Colour) -> None:
    for x, y, r in circles:
        sketch.ellipse(x, y, r, r * 0.92, leaf)
    for x, y, r in circles:
        sketch.ellipse(x, y, r - 1.5, r * 0.92 - 1.5, leaf, None)
    for x, y, r in circles:
        sketch.ellipse(x - r * 0.25, y - r * 0.3, r * 0.5, r * 0.4, shade(leaf, 1.16), None)
        for _ in range(4):
            a, d = rng.uniform(0, 6.28), r * math.sqrt(rng.uniform(0, 0.75))
            sketch.arc(
                x + d * math.cos(a), y + d * math.sin(a), 3.4, 3, 20, 160, 1.6, shade(leaf, rng.choice([0.76, 1.3]))
            )


def _tree(sketch: Sketch, rng, plant: Plant) -> None:
    leaf = pick(rng, (*LEAF, (206, 136, 50), (150, 170, 70)), 0.05) if rng.random() < 0.25 else pick(rng, LEAF, 0.05)
    trunk = pick(rng, WOOD[:4])
    lean = rng.uniform(-4, 4)
    sketch.polygon([(43, 118), (57, 118), (54 + lean, 56), (46 + lean, 56)], trunk)
    sketch.line([(50 + lean, 80), (64 + lean, 62)], 4.5, trunk, "auto")
    sketch.line([(47, 112), (48 + lean, 70)], 1.8, shade(trunk, 0.7))
    crown = [(50 + lean, 42, 27), (28 + lean, 50, 18), (72 + lean, 50, 18), (37 + lean, 26, 19), (64 + lean, 26, 19)]
    crown = [(x + rng.normal(0, 2), y + rng.normal(0, 2), r * rng.uniform(0.9, 1.1)) for x, y, r in crown]
    _foliage(sketch, rng, crown, leaf)
    sketch.mark("branch", 70 + lean, 62)


def _palm(sketch: Sketch, rng, plant: Plant) -> None:
    trunk = pick(rng, WOOD[:3])
    bend = rng.uniform(-10, 10)
    path = [(50 + bend * (1 - t) ** 2, 30 + 88 * t) for t in np.linspace(0, 1, 9)]
    top = path[0]
    sketch.line(path, 8, trunk, "auto")
    for x, y in path[1:]:
        sketch.line([(x - 4, y - 4), (x + 4, y - 2)], 1.5, shade(trunk, 0.66))
    leaf = pick(rng, LEAF, 0.04)
    for angle in (-175, -5, -150, -30, -120, -62, 165, 15):
        a = math.radians(angle + rng.uniform(-7, 7))
        reach = 38 * rng.uniform(0.85, 1.05)
        tip = (top[0] + reach * math.cos(a), top[1] + reach * 0.62 * math.sin(a) + 13)
        middle = (top[0] + reach * 0.55 * math.cos(a), top[1] + reach * 0.75 * math.sin(a) - 4)
        sketch.polygon(
            [top, (middle[0], middle[1] - 6), tip, (middle[0], middle[1] + 5)], shade(leaf, rng.uniform(0.85, 1.12))
        )
    for dx in (-4, 4):
        sketch.ellipse(top[0] + dx, top[1] + 5, 4, 4, (112, 74, 44))
    sketch.mark("branch", top[0] + 30, top[1] + 12)


def _bush(sketch: Sketch, rng, plant: Plant) -> None:
    leaf = pick(rng, LEAF, 0.05)
    circles = [(22, 98, 17), (78, 98, 17), (36, 82, 19), (64, 82, 19), (50, 96, 22), (50, 76, 15)]
    _foliage(
        sketch,
        rng,
        [(x + rng.normal(0, 2), y + rng.normal(0, 1.5), r * rng.uniform(0.92, 1.08)) for x, y, r in circles],
        leaf,
    )
    if rng.random() < 0.5:
        berry = pick(rng, ((214, 50, 60), (240, 200, 220), (250, 220, 90)))
        for _ in range(10):
            sketch.ellipse(rng.uniform(16, 84), rng.uniform(72, 108), 2.4, 2.4, berry, None)


def _potted(sketch: Sketch, rng, plant: Plant) -> None:
    leaf, pot = pick(rng, LEAF, 0.05), pick(rng, ((190, 96, 60), (214, 206, 190), (84, 110, 150), (150, 120, 90)))
    count = int(rng.integers(6, 9))
    order = sorted(np.linspace(-68, 68, count), key=abs, reverse=True)
    for angle in order:
        a = math.radians(angle + rng.uniform(-5, 5) - 90)
        reach = 62 * rng.uniform(0.8, 1.05)
        tip = (50 + reach * 0.8 * math.cos(a), 84 + reach * math.sin(a))
        middle = (50 + reach * 0.45 * math.cos(a), 84 + reach * 0.62 * math.sin(a))
        side = (-math.sin(a) * 8, math.cos(a) * 8)
        sketch.polygon(
            [(50, 86), (middle[0] + side[0], middle[1] + side[1]), tip, (middle[0] - side[0], middle[1] - side[1])],
            shade(leaf, rng.uniform(0.86, 1.14)),
        )
        sketch.line([(50, 84), tip], 1.2, shade(leaf, 0.7))
    sketch.polygon([(30, 88), (70, 88), (64, 118), (36, 118)], pot)
    sketch.box(27, 82, 73, 92, shade(pot, 1.12), 2)


def _bloom(sketch: Sketch, rng, plant: Plant) -> None:
    petal, leaf = pick(rng, plant.petals, 0.03), pick(rng, LEAF, 0.05)
    x, y = 50 + rng.uniform(-4, 4), 38.0
    sketch.line([(50, 118), (49, 86), (x, y)], 4.5, leaf, "auto")
    for side, height in ((-1, 96), (1, 84)):
        sketch.polygon(
            [(50, height), (50 + side * 12, height - 12), (50 + side * 29, height - 11), (50 + side * 16, height + 1)],
            leaf,
        )
    reach, half = plant.petal_size
    turn = rng.uniform(0, 1)
    for index in range(plant.petal_count):
        a = 2 * math.pi * (index + turn) / plant.petal_count
        centre = (x + math.cos(a) * (plant.heart + reach * 0.36), y + math.sin(a) * (plant.heart + reach * 0.36))
        along, across = (math.cos(a), math.sin(a)), (-math.sin(a), math.cos(a))
        ring = [
            (
                centre[0] + along[0] * reach * 0.62 * math.cos(t) + across[0] * half * math.sin(t),
                centre[1] + along[1] * reach * 0.62 * math.cos(t) + across[1] * half * math.sin(t),
            )
            for t in np.linspace(0, 6.28, 12)
        ]
        sketch.polygon(ring, shade(petal, 0.93 if index % 2 else 1.0))
    heart = jitter(rng, plant.heart_colour, 0.03)
    sketch.ellipse(x, y, plant.heart, plant.heart, heart)
    for _ in range(int(plant.heart)):
        a, d = rng.uniform(0, 6.28), plant.heart * 0.75 * math.sqrt(rng.uniform(0, 1))
        sketch.ellipse(x + d * math.cos(a), y + d * math.sin(a), 1.2, 1.2, shade(heart, 0.6), None)
