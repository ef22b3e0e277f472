"""Colours: named palettes, shades of a colour, and the small differences between two things of one kind."""

import colorsys

import numpy as np

Colour = tuple[int, int, int]

PAINT: tuple[Colour, ...] = (
    (204, 62, 54),
    (226, 124, 48),
    (236, 190, 66),
    (94, 160, 76),
    (48, 128, 112),
    (66, 142, 196),
    (54, 82, 158),
    (122, 84, 168),
    (206, 98, 146),
    (232, 226, 214),
    (122, 126, 134),
    (70, 74, 84),
    (148, 98, 62),
)
WOOD: tuple[Colour, ...] = (
    (166, 112, 66),
    (140, 90, 54),
    (196, 146, 92),
    (112, 70, 44),
    (206, 170, 124),
    (226, 214, 196),
)
METAL: tuple[Colour, ...] = ((190, 196, 204), (168, 174, 184), (206, 206, 200), (150, 156, 166))
SKIN: tuple[Colour, ...] = (
    (250, 214, 184),
    (238, 188, 148),
    (214, 158, 114),
    (170, 114, 76),
    (124, 80, 54),
    (96, 62, 44),
)
HAIR: tuple[Colour, ...] = ((52, 38, 32), (92, 58, 36), (150, 96, 48), (218, 176, 88), (32, 30, 36), (176, 78, 42))
STONE: tuple[Colour, ...] = ((188, 182, 172), (164, 158, 150), (206, 194, 170), (150, 146, 152))
LEAF: tuple[Colour, ...] = ((74, 138, 62), (96, 156, 66), (54, 116, 66), (118, 160, 70), (66, 128, 88))
WHITE: Colour = (246, 244, 238)
BLACK: Colour = (38, 36, 42)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...], amount: float = 0.06) -> Colour:
    """One of ``colours``, jittered a little."""
    return jitter(rng, colours[int(rng.integers(len(colours)))], amount)


def jitter(rng: np.random.Generator, colour: Colour, amount: float = 0.06) -> Colour:
    """``colour`` with hue, saturation and value moved by about ``amount`` of their range."""
    hue, saturation, value = colorsys.rgb_to_hsv(colour[0] / 255, colour[1] / 255, colour[2] / 255)
    move = rng.normal(0, amount, 3).tolist()
    hue = (hue + 0.35 * move[0]) % 1.0
    saturation = min(max(saturation * (1 + 2 * move[1]), 0.0), 1.0)
    value = min(max(value * (1 + 1.5 * move[2]), 0.08), 1.0)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def shade(colour: Colour, factor: float) -> Colour:
    """Darker for a factor below 1; above 1 mixed with white by ``factor - 1``."""
    if factor <= 1:
        return int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor)
    return mix(colour, (255, 255, 255), factor - 1)


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """``first`` moved towards ``second`` by ``weight`` in 0..1."""
    (r, g, b), (red, green, blue) = first, second
    return int(r + (red - r) * weight), int(g + (green - g) * weight), int(b + (blue - b) * weight)
