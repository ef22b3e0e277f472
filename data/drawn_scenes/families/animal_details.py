"""What tells one animal from another: hides, manes, ears, tails and headgear."""

import math

import numpy as np

from drawn_scenes.palette import Colour, mix, pick, shade
from drawn_scenes.sketch import Point, Sketch


def hide(sketch: Sketch, rng: np.random.Generator, kind, rump: Point, chest: Point, head: Point, coat: Colour) -> None:
    """Patterns over body, neck and head; the caller keeps them within the outline."""
    x0, x1 = rump[0] - kind.rump, chest[0] + kind.chest
    top, bottom = min(rump[1] - kind.rump, chest[1] - kind.chest), max(rump[1] + kind.rump, chest[1] + kind.chest)
    if kind.belly and kind.hide != "wool":
        sketch.ellipse((x0 + x1) / 2, bottom, (x1 - x0) * 0.45, (bottom - top) * 0.3, kind.belly, None)
    else:
        sketch.ellipse((x0 + x1) / 2, bottom + 2, (x1 - x0) * 0.55, (bottom - top) * 0.27, shade(coat, 0.85), None)
    if kind.hide in ("stripes", "tiger", "tabby"):
        _stripes(sketch, rng, kind, x0, x1, top, bottom, chest, head, coat)
    elif kind.hide == "blotches":
        ink = (52, 46, 46) if coat[2] > 150 else (240, 236, 228)
        for _ in range(6):
            _blob(sketch, rng, rng.uniform(x0, x1), rng.uniform(top, bottom), rng.uniform(5, 11), ink)
        _blob(sketch, rng, head[0] - 2, head[1] - 5, 7, ink)
    elif kind.hide == "patches" and rng.random() < 0.5:
        ink = mix(coat, (255, 250, 240), 0.75) if sum(coat) < 420 else shade(coat, 0.5)
        for _ in range(2):
            _blob(sketch, rng, rng.uniform(x0, x1), rng.uniform(top, bottom), rng.uniform(6, 12), ink)
    elif kind.hide == "patchwork":
        for row in np.arange(0, 130, 8.5):
            for column in np.arange(30, 130, 8.5):
                shift = (row / 8.5 % 2) * 4
                _blob(sketch, rng, column + shift, row, 3.4, (172, 104, 50), 6)
        sketch.ellipse(head[0] + 12, head[1] + 5, 9, 8, coat, None)
    elif kind.hide == "fawn" and rng.random() < 0.7:
        for _ in range(16):
            sketch.ellipse(
                rng.uniform(x0, x1), rng.uniform(top, top + (bottom - top) * 0.6), 1.6, 1.4, (244, 226, 196), None
            )
    elif kind.hide == "wool":
        _wool(sketch, rng, x0, x1, top, bottom, coat)


def _stripes(sketch, rng, kind, x0, x1, top, bottom, chest, head, coat) -> None:
    ink = {"stripes": (40, 36, 38), "tiger": (46, 34, 30), "tabby": shade(coat, 0.66)}[kind.hide]
    width, step = {"stripes": (3.6, 7.4), "tiger": (3.2, 8), "tabby": (2.6, 8)}[kind.hide]
    for x in np.arange(x0 + 3, x1 + 4, step):
        reach = bottom if kind.hide == "stripes" else top + (bottom - top) * rng.uniform(0.45, 0.75)
        bend = rng.uniform(-2, 2) + 2
        sketch.line([(x, top - 2), (x + bend, (top + reach) / 2), (x, reach)], width, ink)
    across = np.array([head[0] - chest[0], head[1] - chest[1]])
    normal = np.array([-across[1], across[0]]) / (np.hypot(*across) + 1e-6) * 12
    for part in np.arange(0.15, 0.8, 0.17 if kind.hide == "stripes" else 0.4):
        middle = np.array(chest) + across * part
        sketch.line([tuple(middle - normal), tuple(middle + normal)], width, ink)
    for dx in (-5, 0, 5):
        sketch.line(
            [(head[0] + dx - 3, head[1] - kind.head), (head[0] + dx - 1, head[1] - kind.head * 0.45)], width * 0.7, ink
        )


def _wool(sketch, rng, x0, x1, top, bottom, coat) -> None:
    for _ in range(46):
        x, y, r = rng.uniform(x0, x1), rng.uniform(top, bottom), rng.uniform(4, 6)
        sketch.arc(x, y, r, r, 0, 250, 1.3, shade(coat, 0.84))


def _blob(sketch, rng, x, y, r, ink, corners: int = 9) -> None:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    sketch.polygon(
        [(x + r * rng.uniform(0.8, 1.25) * math.cos(a), y + r * rng.uniform(0.7, 1.15) * math.sin(a)) for a in angles],
        ink,
        None,
    )


def crest(
    sketch: Sketch, rng: np.random.Generator, kind: str, chest: Point, head: Point, radius: float, coat: Colour
) -> None:
    """A mane."""
    if kind == "lion":
        mane = pick(rng, ((140, 82, 40), (112, 64, 34), (164, 102, 48)))
        x, y = head[0] - 3, head[1] + 2
        rays = [
            (x + radius * (1.75 if i % 2 else 1.5) * math.cos(a), y + radius * (1.75 if i % 2 else 1.5) * math.sin(a))
            for i, a in enumerate(np.linspace(0, 2 * math.pi, 26, endpoint=False))
        ]
        sketch.polygon(rays, mane)
        sketch.ellipse(head[0] + 2, head[1], radius * 0.98, radius, coat)
        sketch.ellipse(head[0] + 8, head[1] + 5, 8.2, 6.8, coat, None)
        sketch.ellipse(head[0] + 9, head[1] + 6, 6.4, 5.6, mix(coat, (255, 246, 232), 0.55), None)
        return
    hair = shade(coat, 0.42) if kind == "mane" else (44, 40, 40)
    reach = 7 if kind == "mane" else 4.5
    for part in np.linspace(0, 1, 8):
        x, y = chest[0] - 8 + (head[0] - chest[0] + 2) * part, chest[1] - 10 + (head[1] - chest[1] + 3) * part
        sketch.ellipse(x, y, reach, reach * 1.2, hair, None)


def ears(sketch: Sketch, rng: np.random.Generator, kind: str, head: Point, r: float, coat: Colour) -> None:
    """One or two ears on the head."""
    x, y = head
    if kind == "floppy":
        sketch.polygon(
            [
                (x - r * 0.9, y - r * 0.8),
                (x - r * 0.1, y - r * 0.75),
                (x - r * 0.3, y + r * 0.7),
                (x - r * 0.95, y + r * 0.6),
            ],
            shade(coat, 0.62),
        )
    elif kind == "triangles":
        for dx in (-0.55, 0.45):
            sketch.polygon(
                [(x + r * (dx - 0.42), y - r * 0.6), (x + r * dx, y - r * 1.6), (x + r * (dx + 0.42), y - r * 0.6)],
                coat,
            )
            sketch.polygon(
                [(x + r * (dx - 0.18), y - r * 0.75), (x + r * dx, y - r * 1.3), (x + r * (dx + 0.2), y - r * 0.75)],
                (232, 170, 160),
                None,
            )
    elif kind == "pointed":
        for dx in (-0.55, 0.05):
            sketch.polygon(
                [(x + r * (dx - 0.25), y - r * 0.6), (x + r * dx, y - r * 1.55), (x + r * (dx + 0.35), y - r * 0.7)],
                coat,
            )
    elif kind == "side":
        sketch.ellipse(x - r * 0.95, y - r * 0.35, r * 0.6, r * 0.3, shade(coat, 0.85))
    elif kind == "leaf":
        sketch.polygon([(x - r * 0.4, y - r * 0.5), (x - r * 1.6, y - r * 1.1), (x - r * 0.9, y - r * 0.1)], coat)
    elif kind == "round":
        for dx in (-0.65, 0.5):
            sketch.ellipse(x + r * dx, y - r * 0.85, r * 0.34, r * 0.34, coat)
            sketch.ellipse(x + r * dx, y - r * 0.85, r * 0.17, r * 0.17, shade(coat, 0.55), None)
    elif kind == "sails":
        sketch.ellipse(x - r * 0.55, y + r * 0.15, r * 0.78, r * 1.05, shade(coat, 0.9))
        sketch.ellipse(x - r * 0.5, y + r * 0.2, r * 0.5, r * 0.75, mix(coat, (230, 180, 180), 0.35), None)


def tail(sketch: Sketch, rng: np.random.Generator, kind: str, root: Point, coat: Colour, stance: str) -> None:
    """The tail, behind everything else."""
    x, y = root[0] + 4, root[1] - 2
    wag = rng.uniform(-4, 4)
    if kind == "up":
        sketch.line([(x, y), (x - 10, y - 8 + wag), (x - 13, y - 20)], 5, coat, "auto")
    elif kind == "curl":
        sketch.line([(x, y), (x - 11, y + 2), (x - 16, y - 12), (x - 11 + wag, y - 26)], 5, coat, "auto")
    elif kind == "flowing":
        sketch.polygon([(x + 2, y - 3), (x - 13, y + 2), (x - 17 + wag, y + 36), (x - 6, y + 30)], shade(coat, 0.42))
    elif kind in ("tuft", "ringed", "thin"):
        end = (x - 11 + wag, y + 24)
        sketch.line([(x, y), (x - 9, y + 8), end], 3.6 if kind == "tuft" else 5, coat, "auto")
        if kind == "tuft":
            sketch.ellipse(end[0], end[1] + 2, 3.6, 5.5, shade(coat, 0.35))
        elif kind == "ringed":
            for part in (0.3, 0.6, 0.95):
                sketch.ellipse(x - 9 + (end[0] - x + 9) * part, y + 8 + 16 * part, 2.8, 1.8, (46, 34, 30), None)
    elif kind == "short":
        sketch.ellipse(x - 4, y - 1, 5, 4.5, coat)
    elif kind == "white":
        sketch.ellipse(x - 3, y - 1, 5, 5.5, (246, 240, 228))


def headgear(sketch: Sketch, rng: np.random.Generator, kind: str, head: Point, r: float) -> None:
    """Horns, antlers, ossicones."""
    x, y = head[0] - r * 0.3, head[1] - r * 0.8
    bone = pick(rng, ((222, 208, 178), (196, 178, 146)))
    if kind == "horns":
        for side in (-1, 1):
            sketch.line(
                [(x + 2 + side * 3, y + 2), (x + 2 + side * 8, y - 3), (x + 2 + side * 7, y - 10)], 3.4, bone, "auto"
            )
    elif kind == "swept":
        sketch.arc(x - 9, y + 3, 13, 15, 270, 375, 4, shade(bone, 0.72), "auto")
    elif kind == "antlers":
        bone = shade(bone, 0.68)
        for side, lean in ((-1, -6), (1, 5)):
            sketch.line([(x + 2, y + 2), (x + lean, y - 11), (x + lean * 1.3 + side * 2, y - 25)], 2.8, bone)
            sketch.line([(x + lean, y - 11), (x + lean + side * 9, y - 18)], 2.4, bone)
            sketch.line([(x + lean * 1.15, y - 18), (x + lean - side * 5, y - 26)], 2.2, bone)
    elif kind == "ossicones":
        for dx in (0, 5):
            sketch.line([(x + dx, y + 3), (x + dx - 1, y - 7)], 2.6, (206, 160, 90))
            sketch.ellipse(x + dx - 1, y - 8, 2.6, 2.4, (70, 46, 36), None)
