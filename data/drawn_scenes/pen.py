"""Shapes as Pillow's `ImageDraw` draws them, pixel by pixel, without what it does around each of them."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Corner = tuple[float, float]


class Pen:
    """Draws on an image with inks, the numbers by which Pillow's core knows colours."""

    def __init__(self, image: Image.Image):
        self._whole = ImageDraw.ImageDraw(image)
        self._core = self._whole.draw
        self.ink = self._core.draw_ink

    def ellipse(self, box: Sequence[float], ink: int, outline: int | None = None, width: int = 1) -> None:
        """Within ``box`` x1, y1, x2, y2."""
        self._core.draw_ellipse(box, ink, 1)
        if outline is not None and outline != ink:
            self._core.draw_ellipse(box, outline, 0, width)

    def polygon(self, corners: Sequence[Corner], ink: int) -> None:
        """Filled."""
        self._core.draw_polygon(corners, ink, 1)

    def box(self, box: Sequence[int], radius: float, ink: int, outline: int | None = None, width: int = 1) -> None:
        """A rectangle with rounded corners, both corners inside."""
        if radius:
            self._whole.rounded_rectangle(box, radius, ink, outline, width)
            return
        self._core.draw_rectangle(box, ink, 1)
        if outline is not None and outline != ink:
            self._core.draw_rectangle(box, outline, 0, width)

    def line(self, corners: Sequence[Corner], ink: int, width: int) -> None:
        """A polyline, with round joints where it is wider than four pixels."""
        self._core.draw_lines(corners, ink, width)
        if width > 4:
            for before, at, after in zip(corners, corners[1:], corners[2:], strict=False):
                self._joint(before, at, after, ink, width)

    def _joint(self, before: Corner, at: Corner, after: Corner, ink: int, width: int) -> None:
        x, y = at
        first = math.degrees(math.atan2(x - before[0], before[1] - y)) % 360
        second = math.degrees(math.atan2(after[0] - x, y - after[1])) % 360
        if first == second:
            return
        flipped = first < second - 180 if second > first else second + 180 > first
        start, end = (second + 90, first + 90) if flipped else (first - 90, second - 90)
        half = width / 2
        self._core.draw_pieslice((x - half + 1, y - half + 1, x + half - 1, y + half - 1), start - 90, end - 90, ink, 1)
        if width > 8:  # there may be gaps between the line and the joint
            side = 90 if flipped else -90
            self._core.draw_lines([_beside(at, first + side, half), at, _beside(at, second + side, half)], ink, 3)


def _beside(at: Corner, angle: float, half: float) -> Corner:
    turn = math.radians(angle - 90)
    return at[0] + math.trunc((half - 1) * math.cos(turn)), at[1] + math.trunc((half - 1) * math.sin(turn))
