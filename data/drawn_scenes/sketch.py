"""A small drawing board in its own units, and the sprite that is cut from it."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from drawn_scenes.palette import Colour, shade
from drawn_scenes.pen import Pen

SUPERSAMPLING = 3
# Units around the board, for outlines and for what reaches a little further in some poses.
MARGIN = 10
Point = tuple[float, float]
# Alpha up to here does not count for a box.
FAINT = 24
_OUTLINE = max(1, round(0.8 * SUPERSAMPLING))
_VISIBLE = [0] * (FAINT + 1) + [255] * (255 - FAINT)


@dataclass(frozen=True)
class Sprite:
    """A drawn thing on a transparent ground: ``image`` RGBA, tightly cut, and named points in its pixels.

    ``facts`` holds lengths (pixels) and colours that a composition needs, such as the width of a head.
    """

    name: str
    image: Image.Image
    points: dict[str, Point]
    facts: dict[str, Any]

    @property
    def width(self) -> int:
        """Pixels."""
        return self.image.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.image.height

    def point(self, name: str, default: Point = (0.5, 0.5)) -> Point:
        """A named point in pixels; ``default`` is a fraction of width and height."""
        return self.points.get(name, (default[0] * self.width, default[1] * self.height))

    def length(self, name: str, default: float) -> float:
        """A named length in pixels; ``default`` is a fraction of the width."""
        return float(self.facts.get(name, default * self.width))

    def flipped(self) -> "Sprite":
        """The mirror image."""
        points = {name: (self.width - x, y) for name, (x, y) in self.points.items()}
        return Sprite(self.name, self.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), points, self.facts)

    def turned(self, degrees: float, shear: float = 0.0, stretch: float = 1.0) -> "Sprite":
        """Seen a little differently: stretched sideways, sheared, rotated clockwise by ``degrees``; cut again."""
        if abs(degrees) < 0.5 and not shear and stretch == 1:
            return self
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turn = np.array([[cosine, -sine], [sine, cosine]])
        matrix = turn @ np.array([[stretch, shear], [0.0, 1 / stretch]])
        # Two transparent pixels all round keep the edges of the cut sprite smooth.
        padded = ImageOps.expand(self.image, 2, (70, 60, 60, 0))
        width, height = padded.size
        corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height]])
        xs, ys = corners.tolist()
        (a, b), (c, d) = matrix.tolist()
        left, top = min(xs) - 1, min(ys) - 1
        wide, tall = max(xs) - left + 1, max(ys) - top + 1
        back = np.linalg.inv(matrix)
        offset = (back @ (left, top)).tolist()
        image = padded.transform(
            (math.ceil(wide), math.ceil(tall)),
            Image.Transform.AFFINE,
            (*back[0].tolist(), offset[0], *back[1].tolist(), offset[1]),
            Image.Resampling.BICUBIC,
        )
        points = {
            name: (a * (x + 2) + b * (y + 2) - left, c * (x + 2) + d * (y + 2) - top)
            for name, (x, y) in self.points.items()
        }
        return Sprite(self.name, image, points, self.facts).cut()

    def resized(self, factor_x: float, factor_y: float | None = None) -> "Sprite":
        """Scaled by one or two factors; lengths follow the horizontal one."""
        factor_y = factor_x if factor_y is None else factor_y
        size = (max(2, round(self.width * factor_x)), max(2, round(self.height * factor_y)))
        points = {name: (x * size[0] / self.width, y * size[1] / self.height) for name, (x, y) in self.points.items()}
        facts = {
            name: value * size[0] / self.width if isinstance(value, float) else value
            for name, value in self.facts.items()
        }
        image = self.image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return replace(self, image=image, points=points, facts=facts)

    def cropped_below(self, y: float) -> "Sprite":
        """Only what lies above row ``y``: the rest is inside something."""
        return replace(self, image=self.image.crop((0, 0, self.width, max(2, min(self.height, round(y))))))

    def cut(self, left: int = 0, top: int = 0) -> "Sprite":
        """Cropped to what is visible; the points count from ``left`` and ``top`` before the image's corner."""
        whole = (0, 0, *self.image.size)
        # The core's own look-up: `Image.point` rounds all entries of the table each time.
        box = self.image.getchannel("A").im.point(_VISIBLE, "L").getbbox() or whole
        if box == whole and not left and not top:
            return self
        points = {name: (x - (left + box[0]), y - (top + box[1])) for name, (x, y) in self.points.items()}
        return Sprite(self.name, self.image if box == whole else self.image.crop(box), points, self.facts)


class Sketch:
    """A board of ``width`` x ``height`` units; one unit becomes ``pixels`` / 100 image pixels.

    Every shape gets an outline in a darker shade unless ``edge`` is None.
    """

    def __init__(self, width: float, height: float, pixels: float):
        self.unit = SUPERSAMPLING * pixels / 100
        self.width, self.height = width, height
        size = (math.ceil((width + 2 * MARGIN) * self.unit), math.ceil((height + 2 * MARGIN) * self.unit))
        # With colours multiplied by alpha, as averages need them; here alpha is 0 or 255.
        self.image = Image.new("RGBa", size)
        self._pen = Pen(self.image)
        self._stencil_ink = False
        self.points: dict[str, Point] = {}
        self.facts: dict[str, Any] = {}

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, edge: Colour | str | None = "auto"
    ) -> None:
        """An ellipse about (x, y)."""
        box = [*self._at(x - rx, y - ry), *self._at(x + rx, y + ry)]
        self._pen.ellipse(box, self._ink(fill), self._outline(fill, edge), _OUTLINE)

    def polygon(self, points: Sequence[Point], fill: Colour, edge: Colour | str | None = "auto") -> None:
        """A closed polygon."""
        unit = self.unit
        corners = [((x + MARGIN) * unit, (y + MARGIN) * unit) for x, y in points]
        self._pen.polygon(corners, self._ink(fill))
        outline = self._outline(fill, edge)
        if outline is not None:
            self._pen.line([*corners, corners[0]], outline, _OUTLINE)

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour,
        radius: float = 0.0,
        edge: Colour | str | None = "auto",
    ) -> None:
        """A rectangle from (x0, y0) to (x1, y1) with rounded corners."""
        left, top = (round(v) for v in self._at(min(x0, x1), min(y0, y1)))
        right, bottom = (round(v) for v in self._at(max(x0, x1), max(y0, y1)))
        radius = min(radius * self.unit, (right - left) / 2, (bottom - top) / 2)
        ink, outline = self._ink(fill), self._outline(fill, edge)
        if min(right - left, bottom - top) <= (0 if outline is None else 2 * _OUTLINE) + 4 or radius < 1:
            radius = 0.0  # Pillow cannot round the corners of a few pixels.
        self._pen.box([left, top, right, bottom], radius, ink, outline, _OUTLINE)

    def line(self, points: Sequence[Point], width: float, fill: Colour, edge: Colour | str | None = None) -> None:
        """A polyline with round ends; with an ``edge`` it is a limb, a handle, a tail."""
        unit = self.unit
        corners = [((x + MARGIN) * unit, (y + MARGIN) * unit) for x, y in points]
        outline = self._outline(fill, edge)
        if outline is not None:
            self._stroke(corners, width * self.unit + 2 * _OUTLINE, outline)
        self._stroke(corners, width * self.unit, self._ink(fill))

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, width: float, fill: Colour, edge=None
    ) -> None:
        """Part of an ellipse's line; degrees clockwise from three o'clock."""
        steps = max(6, int(abs(end - start) / 12))
        step = (end - start) / (steps - 1)
        angles = [math.radians(start + place * step) for place in range(steps - 1)]
        angles.append(math.radians(end))
        self.line([(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles], width, fill, edge)

    def lathe(self, x: float, profile: Sequence[Point], fill: Colour, edge: Colour | str | None = "auto") -> None:
        """A body of revolution seen from the side: ``profile`` lists (y, half width), joined smoothly."""
        heights, halves = smooth(profile)
        right = [(x + half, y) for y, half in zip(heights, halves, strict=True)]
        left = [(x - half, y) for y, half in zip(heights[::-1], halves[::-1], strict=True)]
        self.polygon(right + left, fill, edge)

    def round_body(self, x: float, profile: Sequence[Point], fill: Colour, edge: Colour | str | None = "auto") -> None:
        """Like :meth:`lathe`, but closed smoothly at both ends, as a fruit is."""
        right = [(x + half, y) for y, half in profile]
        left = [(x - half, y) for y, half in reversed(profile)]
        self.polygon(closed_curve(right + left), fill, edge)

    def within(self, shapes: Callable[[], object], details: Callable[[], object]) -> None:
        """Draw ``details`` only where ``shapes`` would be: stripes on a hide, a label on a bottle."""
        image, pen = self.image, self._pen
        mask = Image.new("1", image.size)
        self._pen, self._stencil_ink = Pen(mask), True
        shapes()
        self._stencil_ink = False
        layer = image.copy()
        self.image, self._pen = layer, Pen(layer)
        details()
        self.image, self._pen = image, pen
        if box := mask.getbbox():
            image.paste(layer.crop(box), box, mask.crop(box))

    def mark(self, name: str, x: float, y: float) -> None:
        """Remember a point for the composition: a hand, a seat, a rim."""
        self.points[name] = self._at(x, y)

    def fact(self, name: str, value: object) -> None:
        """Remember a length (a float, in units) or a colour."""
        self.facts[name] = float(value) * self.unit if isinstance(value, float | int) else value

    def sprite(self, name: str) -> Sprite:
        """The finished sprite at image scale."""
        # Empty margins are left out first, which changes no average.
        box = self.image.getbbox() or (0, 0, *self.image.size)
        left, top = box[0] // SUPERSAMPLING, box[1] // SUPERSAMPLING
        right, bottom = -(-box[2] // SUPERSAMPLING) * SUPERSAMPLING, -(-box[3] // SUPERSAMPLING) * SUPERSAMPLING
        whole = (
            left * SUPERSAMPLING,
            top * SUPERSAMPLING,
            min(right, self.image.width),
            min(bottom, self.image.height),
        )
        small = self.image.reduce(SUPERSAMPLING, whole).convert("RGBA")
        points = {key: (x / SUPERSAMPLING, y / SUPERSAMPLING) for key, (x, y) in self.points.items()}
        facts = {key: v / SUPERSAMPLING if isinstance(v, float) else v for key, v in self.facts.items()}
        return Sprite(name, small, points, facts).cut(left, top)

    def _at(self, x: float, y: float) -> Point:
        return ((x + MARGIN) * self.unit, (y + MARGIN) * self.unit)

    def _ink(self, colour: Colour) -> int:
        return self._pen.ink(255 if self._stencil_ink else (*colour, 255))

    def _outline(self, fill: Colour, edge: Colour | str | None) -> int | None:
        if edge is None or self._stencil_ink:
            return None
        return self._pen.ink((*(shade(fill, 0.55) if isinstance(edge, str) else edge), 255))

    def _stroke(self, corners: list[Point], width: float, ink: int) -> None:
        width = max(1.0, width)
        self._pen.line(corners, ink, round(width))
        if width >= 3:
            half = width / 2
            for x, y in (corners[0], corners[-1]):
                self._pen.ellipse([x - half, y - half, x + half, y + half], ink)


def smooth(profile: Sequence[Point], steps: int = 6) -> tuple[list[float], list[float]]:
    """Monotone cubic (Fritsch-Carlson) interpolation of (position, value) pairs, ``steps`` per segment."""
    widths = [b[0] - a[0] for a, b in itertools.pairwise(profile)]
    slopes = [(b[1] - a[1]) / width for (a, b), width in zip(itertools.pairwise(profile), widths, strict=True)]
    tangents = [slopes[0]]
    for before, after in itertools.pairwise(slopes):
        tangents.append(0.0 if before * after <= 0 else 2 * before * after / (before + after))
    tangents.append(slopes[-1])
    positions, values = [], []
    for index, width in enumerate(widths):
        (start, low), (_, high) = profile[index], profile[index + 1]
        for step in range(steps):
            t = step / steps
            positions.append(start + width * t)
            values.append(
                low * (1 + 2 * t) * (1 - t) ** 2
                + high * t**2 * (3 - 2 * t)
                + width * (tangents[index] * t * (1 - t) ** 2 - tangents[index + 1] * t**2 * (1 - t))
            )
    positions.append(profile[-1][0])
    values.append(profile[-1][1])
    return positions, values


def closed_curve(points: Sequence[Point], steps: int = 5) -> list[Point]:
    """A Catmull-Rom curve through ``points`` and back to the first."""
    count, curve = len(points), []
    for index in range(count):
        p0, p1, p2, p3 = (np.asarray(points[(index + k) % count], dtype=float) for k in (-1, 0, 1, 2))
        for t in np.arange(steps) / steps:
            bend = 2 * p0 - 5 * p1 + 4 * p2 - p3
            curve.append(tuple(0.5 * (2 * p1 + (p2 - p0) * t + bend * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)))
    return curve
