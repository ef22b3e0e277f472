"""Four-legged animals from the side: two round body ends, four legs, a neck, a head, and what makes the kind."""

import math

import numpy as np

from drawn_scenes.families.animal_details import crest, ears, headgear, hide, tail
from drawn_scenes.families.animal_kinds import MEMBERS, Animal
from drawn_scenes.palette import BLACK, Colour, jitter, mix, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Point, Sketch

GROUND = 112.0


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One animal; marks ``back``, ``mouth``, ``head_top`` and the length ``head_width``."""
    kind = MEMBERS[name]
    sketch = Sketch(150, 120, pixels)
    coat = pick(rng, kind.coat, 0.035)
    stance = pose.stance if pose.stance in ("sit", "lie") else "stand"
    legs = kind.legs * rng.uniform(0.92, 1.08)
    rump, chest = _body(kind, stance, legs)
    head = _head_at(kind, chest, pose, rng)
    dark = shade(coat, 0.8)
    tail(sketch, rng, kind.tail, (rump[0] - kind.rump * 0.9, rump[1] - 4), coat, stance)
    _legs(sketch, rng, kind, stance, rump, chest, dark, near=False)
    if kind.crest in ("mane", "short mane"):
        crest(sketch, rng, kind.crest, chest, head, kind.head, coat)
    coats = _solid(kind, rump, chest, head)
    for outline in coats:
        sketch.polygon(outline, coat)
    for outline in coats:
        sketch.polygon(_shrunk(outline), coat, edge=None)
    sketch.within(
        lambda: [sketch.polygon(outline, coat) for outline in coats],
        lambda: hide(sketch, rng, kind, rump, chest, head, coat),
    )
    _legs(sketch, rng, kind, stance, rump, chest, coat, near=True)
    if kind.crest == "udder":
        sketch.ellipse(rump[0] + 6, rump[1] + kind.rump, 6, 4, (236, 170, 170))
    _face(sketch, rng, kind, chest, head, coat)
    sketch.mark("back", (rump[0] + chest[0]) / 2 - 2, (rump[1] - kind.rump + chest[1] - kind.chest) / 2 + 3)
    sketch.mark("head_top", head[0], head[1] - kind.head * 0.75)
    sketch.mark("neck", (chest[0] + head[0]) / 2, (chest[1] + head[1]) / 2)
    sketch.mark(
        "mouth",
        head[0] + kind.muzzle[0] + kind.muzzle_radius * 0.6,
        head[1] + kind.muzzle[1] + kind.muzzle_radius * 0.5,
    )
    sketch.fact("head_width", 1.7 * kind.head)
    return sketch


def _body(kind: Animal, stance: str, legs: float) -> tuple[Point, Point]:
    x0, x1 = 62 - kind.length / 2, 62 + kind.length / 2 - kind.chest * 0.3
    if stance == "lie":
        return (x0, GROUND - kind.rump), (x1, GROUND - kind.chest - 2)
    if stance == "sit":
        rise = max(legs, kind.length * 0.55)
        return (x0 + kind.length * 0.2, GROUND - kind.rump), (x1 - kind.length * 0.15, GROUND - kind.chest * 0.6 - rise)
    return (x0, GROUND - legs - kind.rump), (x1, GROUND - legs - kind.chest)


def _head_at(kind: Animal, chest: Point, pose: Pose, rng: np.random.Generator) -> Point:
    dx, dy = kind.neck
    reach = math.hypot(dx, dy)
    angle = math.atan2(dy, dx) + rng.uniform(-0.14, 0.14)
    if pose.head_down:
        angle = 0.55
        reach = max(reach, kind.legs * 0.8)
    return (chest[0] + 4 + reach * math.cos(angle), chest[1] - 2 + reach * math.sin(angle))


def _solid(kind: Animal, rump: Point, chest: Point, head: Point) -> list[list[Point]]:
    body = hull([(*rump, kind.rump), (*chest, kind.chest)])
    neck = hull([(chest[0] + 1, chest[1] - 3, kind.neck_width * 1.35), (*head, kind.neck_width * 0.8)])
    skull = hull([(*head, kind.head), (head[0] + kind.muzzle[0], head[1] + kind.muzzle[1], kind.muzzle_radius)])
    return [body, neck, skull]


def hull(circles: list[tuple[float, float, float]]) -> list[Point]:
    """The convex outline of circles (x, y, radius)."""
    angles = np.linspace(0, 2 * math.pi, 20, endpoint=False)
    points = sorted((x + r * math.cos(a), y + r * math.sin(a)) for x, y, r in circles for a in angles)

    def half(sequence) -> list[Point]:
        chain: list[Point] = []
        for p in sequence:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], p) <= 0:
                chain.pop()
            chain.append(p)
        return chain[:-1]

    return half(points) + half(points[::-1])


def _turn(o: Point, a: Point, b: Point) -> float:
    return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])


def _shrunk(outline: list[Point]) -> list[Point]:
    """A little smaller: filled again, it hides the outlines between body, neck and head."""
    x, y = (float(np.mean([p[axis] for p in outline])) for axis in (0, 1))
    return [(px + (x - px) * 0.075, py + (y - py) * 0.075) for px, py in outline]


def _legs(
    sketch: Sketch, rng, kind: Animal, stance: str, rump: Point, chest: Point, colour: Colour, near: bool
) -> None:
    width = kind.leg_width
    colour = kind.belly if kind.hide == "wool" and kind.belly else colour
    if stance == "lie":
        if near:
            sketch.line(
                [(chest[0] - 4, GROUND - width / 2), (chest[0] + kind.chest * 1.15, GROUND - width / 2)],
                width,
                colour,
                "auto",
            )
            sketch.line(
                [(rump[0] - 2, GROUND - width / 2), (rump[0] + kind.rump * 1.1, GROUND - width / 2)],
                width,
                colour,
                "auto",
            )
        return
    offset = 0.0 if near else width * 0.95
    swing = rng.uniform(-4, 4)
    starts = [(chest[0] + kind.chest * 0.35 - offset, chest[1] + kind.chest * 0.3, swing if near else -swing)]
    if stance == "sit":
        if near:
            sketch.ellipse(rump[0] + 4, rump[1] + kind.rump * 0.2, kind.rump * 0.75, kind.rump * 0.8, colour)
            sketch.line(
                [(rump[0] + 2, GROUND - width / 2), (rump[0] + kind.rump, GROUND - width / 2)], width, colour, "auto"
            )
    else:
        starts.append((rump[0] - kind.rump * 0.4 + offset * 1.2, rump[1] + kind.rump * 0.3, -swing if near else swing))
    for x, y, move in starts:
        foot = GROUND - width * 0.3
        sketch.line([(x, y), (x + move * 0.4, (y + foot) / 2), (x + move, foot)], width, colour, "auto")
        sketch.line([(x, y - 1), (x + move * 0.35, (y + foot) / 2 - 4)], width, colour)
        if kind.hooves:
            sketch.line([(x + move, foot - 1), (x + move, foot)], width, (52, 44, 42))


def _face(sketch: Sketch, rng, kind: Animal, chest: Point, head: Point, coat: Colour) -> None:
    x, y = head
    mx, my = x + kind.muzzle[0], y + kind.muzzle[1]
    if kind.crest == "lion":
        crest(sketch, rng, "lion", chest, head, kind.head, coat)
    headgear(sketch, rng, kind.headgear, head, kind.head)
    if kind.ears == "sails":
        ears(sketch, rng, kind.ears, head, kind.head, coat)
    light = kind.belly if kind.belly and kind.hide != "wool" else mix(coat, (255, 246, 232), 0.4)
    if kind.hide == "wool":
        sketch.polygon(hull([(x + 1, y + 1, kind.head * 0.8), (mx, my, kind.muzzle_radius)]), kind.belly or BLACK)
    elif kind.crest != "trunk":
        sketch.ellipse(mx, my, kind.muzzle_radius * 0.92, kind.muzzle_radius * 0.85, light, None)
    if kind.crest == "trunk":
        length = rng.uniform(26, 34)
        curl = rng.uniform(-2, 10)
        path = [(mx + 2, my), (mx + 9, my + length * 0.45), (mx + 8, my + length * 0.8), (mx + 8 + curl, my + length)]
        sketch.line(path, 9, coat, "auto")
        sketch.line([(mx - 2, my - 2), *path[:2]], 10, coat)
        sketch.polygon([(mx - 3, my + 5), (mx + 3, my + 4), (mx + 14, my + 14)], (246, 240, 226))
    else:
        nose = (70, 48, 50) if sum(coat) > 260 else (30, 26, 30)
        sketch.ellipse(mx + kind.muzzle_radius * 0.72, my - kind.muzzle_radius * 0.25, 2.5, 2.0, nose, None)
    if kind.crest == "whiskers":
        for dy in (-1, 2, 5):
            sketch.line([(mx + 2, my + dy * 0.6), (mx + 12, my + dy)], 0.9, (250, 250, 250))
    if kind.crest == "beard":
        sketch.polygon([(mx - 4, my + 4), (mx + 3, my + 4), (mx - 1, my + 16)], shade(coat, 0.75))
    if kind.ears != "sails":
        ears(sketch, rng, kind.ears, head, kind.head, (kind.belly or coat) if kind.hide == "wool" else coat)
    eye = (x + kind.head * 0.38, y - kind.head * 0.22)
    sketch.ellipse(*eye, 2.5, 2.9, jitter(rng, (250, 248, 240), 0.01), None)
    sketch.ellipse(eye[0] + 0.6, eye[1], 1.6, 2.1, (28, 24, 26), None)
