"""People: a big head, a torso, four jointed limbs that a pose moves, hair, and clothes of a trade."""

import math
from dataclasses import dataclass

import numpy as np

from drawn_scenes.palette import HAIR, PAINT, SKIN, WHITE, Colour, jitter, pick, shade
from drawn_scenes.pose import Pose
from drawn_scenes.sketch import Point, Sketch

MIDDLE = 62.0
GROUND = 116.0
WEARING_ARMS = ((-24.0, -24.0), (24.0, 24.0))


@dataclass(frozen=True)
class Person:
    """Proportions in units; limbs are given as length of the upper and of the lower half."""

    head: float = 11
    shoulders: float = 13
    torso: float = 33
    leg: float = 21
    arm: float = 15
    hair: str = "short"
    beard: float = 0.0
    dress: float = 0.0
    outfit: str = ""


MEMBERS = {
    "man": Person(beard=0.5),
    "woman": Person(10.5, 11, 30, 22, 14, "long", dress=0.85),
    "boy": Person(13.5, 10.5, 25, 15, 12, "tousled"),
    "girl": Person(13.5, 10, 25, 15, 12, "pigtails", dress=0.75),
    "baby": Person(16.5, 11.5, 22, 7.5, 8, "wisp", outfit="romper"),
    "soldier": Person(outfit="camouflage"),
    "chef": Person(outfit="whites", beard=0.6),
}


def draw(name: str, rng: np.random.Generator, pixels: float, pose: Pose) -> Sketch:
    """One person; marks hands, feet, head, neck, waist, seat and mouth, and the lengths that clothing needs."""
    person = MEMBERS[name]
    sketch = Sketch(124, 124, pixels)
    skin, hair = pick(rng, SKIN, 0.02), pick(rng, HAIR, 0.03)
    top, bottom = (
        pick(rng, PAINT),
        jitter(rng, ((60, 72, 108), (74, 70, 72), (120, 100, 78), (50, 56, 60))[int(rng.integers(4))]),
    )
    if person.outfit == "camouflage":
        top = bottom = jitter(rng, (104, 112, 70), 0.03)
    elif person.outfit == "whites":
        top = jitter(rng, WHITE, 0.01)
    elif person.outfit == "romper":
        bottom = top
    dressed = rng.random() < person.dress and pose.stance in ("stand", "walk") and not pose.bare
    hip = _hip_height(person, pose.stance)
    neck = hip - person.torso
    if person.hair in ("long", "pigtails"):
        _hair_behind(sketch, person, neck, hair)
    _legs(sketch, rng, person, pose, hip, skin if dressed else bottom, skin)
    arms = pose.arms or _free_arms(rng)
    hands = _arm_ends(person, neck, arms)
    _arms(sketch, person, neck, arms, top, skin, behind=True)
    _torso(sketch, rng, person, neck, hip, top, dressed)
    _arms(sketch, person, neck, arms, top, skin, behind=False)
    head = (MIDDLE + rng.uniform(-0.6, 0.6), neck - person.head * 0.82)
    sketch.line([(MIDDLE, neck + 2), (MIDDLE, neck - 3)], 7, shade(skin, 0.88))
    _head(sketch, rng, person, pose, head, skin, hair)
    _mark(sketch, person, head, neck, hip, hands, skin)
    return sketch


def _hip_height(person: Person, stance: str) -> float:
    drop = {"sit": person.leg + 3, "ride": person.leg * 1.25, "lie": 2 * person.leg + 4}.get(stance, 2 * person.leg + 4)
    return GROUND - drop


def _free_arms(rng: np.random.Generator):
    left = -rng.uniform(8, 30) if rng.random() < 0.75 else -rng.uniform(120, 160)
    right = rng.uniform(8, 30) if rng.random() < 0.75 else rng.uniform(60, 150)
    return ((left, left - rng.uniform(-10, 25)), (right, right + rng.uniform(-10, 25)))


def _along(start: Point, degrees: float, length: float) -> Point:
    return (start[0] + length * math.sin(math.radians(degrees)), start[1] + length * math.cos(math.radians(degrees)))


def _shoulders(person: Person, neck: float) -> tuple[Point, Point]:
    return (MIDDLE - person.shoulders + 3, neck + 5), (MIDDLE + person.shoulders - 3, neck + 5)


def _arm_ends(person: Person, neck: float, arms) -> list[Point]:
    ends = []
    for shoulder, (upper, lower) in zip(_shoulders(person, neck), arms, strict=True):
        ends.append(_along(_along(shoulder, upper, person.arm), lower, person.arm))
    return ends


def _arms(sketch: Sketch, person: Person, neck: float, arms, top: Colour, skin: Colour, behind: bool) -> None:
    for side, (shoulder, (upper, lower)) in enumerate(zip(_shoulders(person, neck), arms, strict=True)):
        across = (upper > 0) if side == 0 else (upper < 0)
        if across == behind:
            continue
        elbow = _along(shoulder, upper, person.arm)
        hand = _along(elbow, lower, person.arm)
        sketch.line([elbow, hand], 5.6, skin, "auto")
        sketch.ellipse(*hand, 3.9, 3.9, skin)
        sketch.line([shoulder, elbow], 7.4, top, "auto")


def _legs(sketch: Sketch, rng, person: Person, pose: Pose, hip: float, colour: Colour, skin: Colour) -> None:
    spread = person.shoulders * 0.45
    stride = rng.uniform(4, 10)
    angles = {
        "sit": ((82, 6), (78, -4)),
        "ride": ((44, -14),),
        "kick": ((-8, -14), (64, 78)),
        "walk": ((-26, -40), (24, 14)),
        "lean": ((6, 0), (14, 8)),
    }.get(pose.stance, ((-stride, -stride * 0.6), (stride, stride * 0.6)))
    shoe = pick(rng, ((60, 50, 48), (120, 70, 46), (236, 232, 226), (170, 50, 52)))
    for index, (thigh, shin) in enumerate(angles):
        start = (MIDDLE + (index * 2 - 1) * spread if len(angles) == 2 else MIDDLE + 1, hip - 2)
        knee = _along(start, thigh, person.leg)
        ankle = _along(knee, shin, person.leg)
        sketch.line([start, knee, ankle], 8.4, colour, "auto")
        toe = 1 if pose.stance in ("sit", "ride", "kick", "walk") or index else -1
        sketch.line([ankle, (ankle[0] + toe * 5, ankle[1] + (0 if shin < 50 else -5))], 6, shoe, "auto")
        sketch.mark(f"foot_{index}", *ankle)
    sketch.box(MIDDLE - spread - 5.5, hip - 9, MIDDLE + spread + 5.5, hip + 3, colour, 5)


def _torso(sketch: Sketch, rng, person: Person, neck: float, hip: float, top: Colour, dressed: bool) -> None:
    half = person.shoulders
    outline = [
        (MIDDLE - half * 0.5, neck),
        (MIDDLE + half * 0.5, neck),
        (MIDDLE + half, neck + 6),
        (MIDDLE + half * 0.74, hip + 1),
        (MIDDLE - half * 0.74, hip + 1),
        (MIDDLE - half, neck + 6),
    ]
    if dressed:
        flare = half * 1.65
        outline[3:5] = [
            (MIDDLE + half * 0.7, hip - 6),
            (MIDDLE + flare, hip + person.leg * 0.95),
            (MIDDLE - flare, hip + person.leg * 0.95),
            (MIDDLE - half * 0.7, hip - 6),
        ]
    sketch.polygon(outline, top)
    print_kind = rng.choice(["plain", "stripes", "emblem"], p=[0.55, 0.2, 0.25])

    def details() -> None:
        if person.outfit == "camouflage":
            for _ in range(22):
                blot = pick(rng, ((70, 80, 46), (140, 130, 84), (62, 54, 40)), 0.02)
                sketch.ellipse(
                    rng.uniform(MIDDLE - half, MIDDLE + half), rng.uniform(neck, hip + 8), 4.2, 2.8, blot, None
                )
            sketch.box(0, hip - 4, 124, hip, (60, 52, 40), edge=None)
        elif person.outfit == "whites":
            for y in np.arange(neck + 8, hip, 6):
                for dx in (-4, 4):
                    sketch.ellipse(MIDDLE + dx, y, 1.5, 1.5, (80, 80, 90), None)
            sketch.polygon([(MIDDLE - 7, neck - 1), (MIDDLE + 7, neck - 1), (MIDDLE, neck + 7)], (206, 58, 52), None)
        elif person.outfit == "romper":
            sketch.ellipse(MIDDLE, neck + person.torso * 0.55, half * 0.5, half * 0.5, shade(top, 1.5), None)
        elif print_kind == "stripes":
            for y in np.arange(neck + 4, hip + person.leg, 7):
                sketch.box(0, y, 124, y + 3, shade(top, 1.5), edge=None)
        elif print_kind == "emblem":
            sketch.ellipse(MIDDLE, neck + 14, 4.5, 4.5, shade(top, 1.6), None)
        if print_kind == "plain":
            sketch.box(MIDDLE + half * 0.45, neck, 124, GROUND, shade(top, 0.84), edge=None)

    sketch.within(lambda: sketch.polygon(outline, top), details)


def _hair_behind(sketch: Sketch, person: Person, neck: float, hair: Colour) -> None:
    y = neck - person.head * 0.82
    if person.hair == "long":
        sketch.polygon(
            [
                (MIDDLE - person.head, y - 8),
                (MIDDLE + person.head, y - 8),
                (MIDDLE + person.head * 1.5, neck + 14),
                (MIDDLE - person.head * 1.5, neck + 14),
            ],
            hair,
        )
    else:
        for side in (-1, 1):
            sketch.ellipse(MIDDLE + side * person.head * 1.28, y + 4, 6, 8.5, hair)


def _head(sketch: Sketch, rng, person: Person, pose: Pose, head: Point, skin: Colour, hair: Colour) -> None:
    x, y = head
    r = person.head
    for side in (-1, 1):
        sketch.ellipse(x + side * r, y + 1, 2.4, 3, skin)
    sketch.ellipse(x, y, r, r * 1.04, skin)
    cap = [
        (x + r * 1.05 * math.cos(a), y + 0.5 + r * 1.1 * math.sin(a))
        for a in np.linspace(math.pi * 1.02, math.pi * 1.98, 14)
    ]

    def fringe() -> None:
        lift = {"short": 0.45, "long": 0.3, "pigtails": 0.3, "tousled": 0.35, "wisp": 0.95}[person.hair]
        sketch.polygon([*cap, (x + r * 0.5, y - r * lift), (x - r * 0.3, y - r * (lift + 0.18))], hair)
        if person.hair == "tousled":
            for dx in (-6, -1, 4, 8):
                sketch.polygon(
                    [(x + dx - 4, y - r * 0.9), (x + dx + 1, y - r * 1.35), (x + dx + 4, y - r * 0.85)], hair, None
                )

    if person.hair == "wisp":
        sketch.arc(x, y - r - 2, 3.5, 4.5, 90, 330, 2.2, hair)
    else:
        fringe()
    for side in (-1, 1):
        sketch.ellipse(x + 1.6 + side * r * 0.38, y + r * 0.08, 1.7, 2.1, (34, 28, 28), None)
        sketch.ellipse(x + side * r * 0.6, y + r * 0.42, 2.2, 1.5, shade(skin, 0.88), None)
    if rng.random() < person.beard:
        sketch.arc(x, y + r * 0.25, r * 0.72, r * 0.62, 10, 170, 4, hair)
    sketch.arc(x + 1.2, y + r * 0.36, r * 0.34, r * 0.26, 20, 160, 1.7, (150, 60, 54))
    if pose.bare != "head":
        _trade_hat(sketch, rng, person, x, y, r)


def _trade_hat(sketch: Sketch, rng, person: Person, x: float, y: float, r: float) -> None:
    if person.outfit == "camouflage":
        green = jitter(rng, (86, 94, 58), 0.02)
        outline = [
            (x + r * 1.2 * math.cos(a), y - r * 0.3 + r * 1.0 * math.sin(a))
            for a in np.linspace(math.pi, 2 * math.pi, 14)
        ]
        sketch.polygon(outline, green)
        sketch.line([(x - r * 1.3, y - r * 0.3), (x + r * 1.3, y - r * 0.3)], 3, shade(green, 0.8))
    elif person.outfit == "whites":
        white = jitter(rng, WHITE, 0.01)
        for dx, dy, size in ((-7, -17, 7), (7, -17, 7), (0, -21, 8.5)):
            sketch.ellipse(x + dx, y + dy, size, size * 0.9, white)
        sketch.box(x - r * 0.85, y - 19, x + r * 0.85, y - r * 0.45, white, 1)
        sketch.box(x - r * 0.8, y - 22, x + r * 0.8, y - 15, white, 1, None)


def _mark(sketch: Sketch, person: Person, head: Point, neck: float, hip: float, hands, skin: Colour) -> None:
    sketch.mark("head_top", head[0], head[1] - person.head * 0.55)
    sketch.mark("mouth", head[0] + 2, head[1] + person.head * 0.5)
    sketch.mark("neck", MIDDLE, neck + 1)
    sketch.mark("torso", MIDDLE, neck)
    sketch.mark("waist", MIDDLE, hip - 5)
    sketch.mark("seat", MIDDLE - 2, hip + 3)
    sketch.mark("chest", MIDDLE + 2, neck + person.torso * 0.62)
    for name, hand in zip(("hand_left", "hand_right"), hands, strict=True):
        sketch.mark(name, *hand)
    sketch.fact("head_width", 2 * person.head)
    sketch.fact("shoulder_width", 2 * person.shoulders)
    sketch.fact("torso_length", person.torso)
    sketch.fact("hand_radius", 3.9)
    sketch.facts["skin"] = skin
