"""What lies behind and over the objects: rooms, streets, fields, clutter, light, noise."""

import numpy as np
from PIL import Image, ImageDraw

from drawn_scenes.palette import LEAF, PAINT, STONE, WOOD, Colour, mix, pick, shade

OUTDOOR_KINDS = ("field", "street", "beach", "hills")
_SKIES: tuple[Colour, ...] = (
    (168, 208, 236),
    (196, 222, 236),
    (240, 206, 170),
    (150, 174, 206),
    (206, 208, 214),
    (112, 120, 160),
)
_WALLS: tuple[Colour, ...] = (
    (226, 214, 194),
    (200, 214, 206),
    (214, 196, 190),
    (186, 200, 214),
    (232, 224, 206),
    (170, 160, 172),
    (206, 190, 150),
)


def backdrop(rng: np.random.Generator, size: int, horizon: float, outdoors: bool) -> Image.Image:
    """A background with clutter that nobody annotates; ``horizon`` in pixels; RGB.

    It is drawn at twice its size, so that its edges are as smooth as those of the sprites.
    """
    kind = rng.choice(OUTDOOR_KINDS if outdoors else ("room", "room", "plain"))
    image = Image.new("RGB", (2 * size, 2 * size))
    pen = ImageDraw.Draw(image)
    {"room": _room, "plain": _plain, "field": _field, "street": _street, "beach": _beach, "hills": _field}[kind](
        image, pen, rng, 2 * size, 2 * horizon, kind
    )
    _blobs(pen, rng, 2 * size, 2 * horizon)
    image = image.reduce(2)
    return _mottled(image, rng, size) if rng.random() < 0.6 else image


def _vertical(image: Image.Image, top: Colour, bottom: Colour, y0: int, y1: int) -> None:
    ramp = np.linspace(np.array(top), np.array(bottom), max(2, y1 - y0)).astype(np.uint8)
    strip = Image.fromarray(ramp[:, None, :]).resize((image.width, len(ramp)), Image.Resampling.NEAREST)
    image.paste(strip, (0, y0))


def _sky(image, pen, rng, size: int, horizon: float) -> None:
    sky = pick(rng, _SKIES)
    _vertical(image, sky, mix(sky, (255, 250, 240), 0.5), 0, int(horizon) + 1)
    for _ in range(int(rng.integers(0, 5))):
        x, y, w = rng.uniform(0, size), rng.uniform(0, horizon * 0.6), rng.uniform(8, 24) * size / 160
        for dx in (-0.6, 0, 0.7):
            pen.ellipse(
                [x + dx * w - w * 0.6, y - w * 0.25, x + dx * w + w * 0.6, y + w * 0.25],
                fill=mix(sky, (255, 255, 255), 0.7),
            )


def _field(image, pen, rng, size: int, horizon: float, kind: str) -> None:
    _sky(image, pen, rng, size, horizon)
    if kind == "hills" or rng.random() < 0.4:
        for _ in range(3):
            x, r = rng.uniform(0, size), rng.uniform(0.2, 0.6) * size
            tone = pick(rng, (*LEAF, (130, 140, 160), (150, 130, 110)), 0.05)
            if rng.random() < 0.5:
                pen.ellipse([x - r, horizon - r * 0.35, x + r, horizon + r], fill=mix(tone, (230, 235, 240), 0.35))
            else:
                pen.polygon(
                    [(x - r, horizon + 2), (x, horizon - r * 0.7), (x + r, horizon + 2)],
                    fill=mix(tone, (230, 235, 240), 0.4),
                )
    ground = pick(rng, (*LEAF, (196, 176, 110), (170, 150, 110), (236, 238, 242)), 0.05)
    _vertical(image, mix(ground, (255, 255, 240), 0.2), shade(ground, 0.85), int(horizon), size)
    for _ in range(int(rng.integers(20, 90))):
        x, y = rng.uniform(0, size), rng.uniform(horizon, size)
        reach = 2 + 10 * (y - horizon) / size
        pen.line([(x, y), (x + rng.uniform(-4, 4), y - reach)], fill=shade(ground, rng.choice([0.75, 1.15])), width=2)


def _street(image, pen, rng, size: int, horizon: float, kind: str) -> None:
    _sky(image, pen, rng, size, horizon)
    x = -5.0
    while x < size:
        w, h = rng.uniform(0.08, 0.22) * size, rng.uniform(0.1, 0.42) * size
        tone = mix(pick(rng, (*STONE, *PAINT), 0.06), (200, 205, 212), 0.55)
        pen.rectangle([x, horizon - h, x + w, horizon], fill=tone)
        for wy in np.arange(horizon - h + 8, horizon - 8, 14):
            for wx in np.arange(x + 6, x + w - 6, 12):
                if rng.random() < 0.7:
                    pen.rectangle([wx, wy, wx + 4, wy + 6], fill=shade(tone, rng.choice([0.8, 1.25])))
        x += w + rng.uniform(-2, 10)
    road = pick(rng, ((128, 128, 134), (108, 106, 112), (150, 146, 142)))
    _vertical(image, shade(road, 1.12), shade(road, 0.9), int(horizon), size)
    pen.rectangle([0, horizon, size, horizon + 0.05 * size], fill=shade(road, 1.35))
    if rng.random() < 0.7:
        y = horizon + (size - horizon) * rng.uniform(0.4, 0.7)
        for x in np.arange(rng.uniform(-20, 0), size, 26 * size / 160):
            pen.polygon([(x, y), (x + 26, y), (x + 22, y + 6), (x - 4, y + 6)], fill=(232, 228, 206))


def _beach(image, pen, rng, size: int, horizon: float, kind: str) -> None:
    _sky(image, pen, rng, size, horizon)
    sea, sand = (
        pick(rng, ((70, 140, 180), (90, 170, 180), (60, 110, 150))),
        pick(rng, ((232, 212, 166), (216, 192, 150))),
    )
    shore = horizon + (size - horizon) * rng.uniform(0.15, 0.4)
    _vertical(image, sea, shade(sea, 1.3), int(horizon), int(shore) + 2)
    _vertical(image, sand, shade(sand, 0.88), int(shore), size)
    for _ in range(8):
        x, y = rng.uniform(0, size), rng.uniform(horizon + 2, shore)
        pen.line([(x, y), (x + rng.uniform(10, 36), y)], fill=shade(sea, 1.5), width=2)


def _room(image, pen, rng, size: int, horizon: float, kind: str) -> None:
    wall = pick(rng, _WALLS, 0.05)
    _vertical(image, wall, shade(wall, 0.92), 0, int(horizon) + 1)
    paper = rng.integers(4)
    tone = shade(wall, rng.choice([0.92, 1.12]))
    step = rng.uniform(9, 20) * size / 160
    if paper == 0:
        for x in np.arange(0, size, step):
            pen.rectangle([x, 0, x + step / 2, horizon], fill=tone)
    elif paper == 1:
        for y in np.arange(0, horizon, step):
            pen.line([(0, y), (size, y)], fill=tone, width=2)
            for x in np.arange((y / step % 2) * step / 2, size, step):
                pen.line([(x, y), (x, y + step)], fill=tone, width=2)
    elif paper == 2:
        for y in np.arange(0, horizon, step):
            for x in np.arange((y / step % 2) * step / 2, size, step):
                pen.ellipse([x, y, x + 6, y + 6], fill=tone)
    floor = pick(rng, (*WOOD, (176, 170, 164), (140, 150, 160), (190, 120, 100)), 0.05)
    _vertical(image, shade(floor, 1.1), shade(floor, 0.85), int(horizon), size)
    if rng.random() < 0.7:
        for x in np.arange(-size, 2 * size, step * 1.6):
            pen.line([(size / 2 + (x - size / 2) * 0.6, horizon), (x, size)], fill=shade(floor, 0.8), width=2)
        for y in np.cumsum(np.linspace(6, 28, 8)) + horizon:
            pen.line([(0, y), (size, y)], fill=shade(floor, 0.86), width=2)
    pen.rectangle([0, horizon - 6, size, horizon], fill=shade(wall, 1.25))
    for _ in range(int(rng.integers(0, 3))):
        _wall_piece(pen, rng, size, horizon)
    if rng.random() < 0.35:
        x, y, w = rng.uniform(0, size), rng.uniform(horizon + 8, size - 8), rng.uniform(0.2, 0.5) * size
        pen.ellipse([x - w, y - w * 0.2, x + w, y + w * 0.2], fill=pick(rng, PAINT, 0.08))


def _wall_piece(pen, rng, size: int, horizon: float) -> None:
    """A window or a painting: a frame with something inside."""
    w, h = rng.uniform(0.12, 0.3) * size, rng.uniform(0.12, 0.28) * size
    x, y = rng.uniform(0, size - w), rng.uniform(4, max(8, horizon - h - 16))
    pen.rectangle([x - 4, y - 4, x + w + 4, y + h + 4], fill=pick(rng, WOOD))
    inside = pick(rng, (*_SKIES, *PAINT), 0.06)
    pen.rectangle([x, y, x + w, y + h], fill=mix(inside, (240, 240, 240), 0.35))
    if rng.random() < 0.5:
        pen.line([(x + w / 2, y), (x + w / 2, y + h)], fill=(240, 238, 230), width=4)
        pen.line([(x, y + h / 2), (x + w, y + h / 2)], fill=(240, 238, 230), width=4)
    else:
        pen.polygon(
            [(x, y + h), (x + w * 0.4, y + h * 0.4), (x + w * 0.8, y + h)],
            fill=mix(shade(inside, 0.6), (220, 220, 220), 0.3),
        )


def _plain(image, pen, rng, size: int, horizon: float, kind: str) -> None:
    tone = pick(rng, (*_WALLS, *PAINT, *STONE), 0.06)
    tone = mix(tone, (214, 212, 208), 0.45)
    _vertical(image, shade(tone, 1.15), shade(tone, 0.85), 0, size)


def _blobs(pen, rng, size: int, horizon: float) -> None:
    """Distractors: pebbles, boxes, bars and triangles in washed-out colours, most of them on the ground."""
    for _ in range(int(rng.integers(0, 7))):
        on_ground = rng.random() < 0.75
        x, y = rng.uniform(0, size), rng.uniform(horizon, size) if on_ground else rng.uniform(0, horizon)
        r = rng.uniform(0.012, 0.06) * size
        tone = mix(pick(rng, (*PAINT, *STONE), 0.08), (190, 188, 184), rng.uniform(0.3, 0.75))
        form = rng.integers(4)
        if form == 0:
            pen.ellipse([x - r, y - r * 0.6, x + r, y + r * 0.6], fill=tone)
        elif form == 1:
            pen.rectangle([x - r, y - r * rng.uniform(0.3, 1.5), x + r, y + r * 0.5], fill=tone)
        elif form == 2:
            pen.polygon([(x - r, y + r), (x + rng.uniform(-r, r), y - r), (x + r, y + r)], fill=tone)
        else:
            pen.line(
                [(x, y), (x + rng.uniform(-3, 3) * r, y + rng.uniform(-1, 1) * r)], fill=tone, width=max(1, int(r / 3))
            )


def _mottled(image: Image.Image, rng, size: int) -> Image.Image:
    """Low-frequency texture: coarse noise, enlarged smoothly, over the whole background."""
    coarse = int(rng.choice([6, 12, 24, 48]))
    noise = Image.fromarray(rng.integers(0, 256, (coarse, coarse), dtype=np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    strength = rng.uniform(0.02, 0.14)
    grain = (np.asarray(noise, dtype=np.float32) / 255 - 0.5) * 2 * strength + 1
    pixels = _rows(image)
    pixels *= grain.repeat(3, axis=1)
    return Image.fromarray(_bytes(pixels))


def lit(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """The finished image under a sloping light, a tint and sensor noise: (H, W, 3) uint8."""
    width, height = image.size
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.38)
    across = np.float32(np.cos(angle)) * np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.float32(np.sin(angle)) * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = np.exp(rng.uniform(-0.3, 0.17)) * (1 + strength * (across + down))
    tint = rng.uniform(0.87, 1.13, 3).astype(np.float32)
    pixels = _rows(image)
    pixels *= light.astype(np.float32).repeat(3, axis=1)
    pixels *= np.tile(tint, width)
    strength = rng.uniform(1.0, 8)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    noise *= strength
    pixels += noise
    return _bytes(pixels)


def _rows(image: Image.Image) -> np.ndarray:
    """(H, 3 W) float32: the colours of a row one after the other, so that operations run over whole rows."""
    return np.frombuffer(image.tobytes(), dtype=np.uint8).astype(np.float32).reshape(image.height, -1)


def _bytes(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of (H, 3 W) float32, which it changes."""
    np.clip(pixels, 0, 255, out=pixels)
    return pixels.astype(np.uint8).reshape(len(pixels), -1, 3)
