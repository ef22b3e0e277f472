"""One image from its plan: groups placed from left to right, shadows, light, and the boxes of what is in it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from drawn_scenes.arrangement import arrange, arrange_single
from drawn_scenes.backdrop import backdrop, lit
from drawn_scenes.catalogue import FAMILY_OF, draw_object
from drawn_scenes.palette import LEAF, STONE, WOOD, pick, shade
from drawn_scenes.placement import Group, Placed
from drawn_scenes.plan import GroupPlan, ImagePlan
from drawn_scenes.sketch import Sprite

Box = tuple[int, int, int, int]
_OUTDOOR_FAMILIES = {"vehicles", "buildings", "plants", "four-legged animals", "birds"}
_SCALE_OF_GROUPS = {1: 1.4, 2: 1.16, 3: 0.96, 4: 0.82}
_TRIES = 4
_SPREADS = 5
_SMALL_FAULT = 0.04
_MOST_HIDDEN = 0.4


@dataclass
class DrawnImage:
    """``pixels`` (H, W, 3) uint8; ``boxes`` of (group, role): x1, y1, x2, y2 in pixels, inclusive, inside."""

    pixels: np.ndarray
    boxes: dict[tuple[int, str], Box]


def draw_image(plan: ImagePlan, rng: np.random.Generator, size: int = 160) -> DrawnImage:
    """Draw a planned image of ``size`` x ``size`` pixels."""
    horizon = size * rng.uniform(0.4, 0.6)
    groups = _placed_groups(plan, rng, size, horizon)
    families = [FAMILY_OF[name] for group in plan.groups for _, name in group.things()]
    # A matter of chance everywhere, so that the background does not give the class away.
    outdoors = rng.random() < 0.2 + 0.65 * np.mean([family in _OUTDOOR_FAMILIES for family in families])
    canvas = backdrop(rng, size, horizon, bool(outdoors))
    if outdoors:
        _clutter(canvas, rng, size, horizon)
    light = rng.uniform(-0.4, 0.4)
    for group in sorted(groups, key=lambda group: group.box[3]):
        for item in group.placed:
            _paste(canvas, item, rng, light)
    for _ in range(int(rng.integers(0, 3))):
        _foreground(canvas, rng, size, horizon, bool(outdoors))
    boxes = {
        (index, item.role): clipped(item.box, size)
        for index, group in enumerate(groups)
        for item in group.placed
        if item.role
    }
    return DrawnImage(lit(canvas, rng), boxes)


def clipped(box: tuple[float, float, float, float], size: int) -> Box:
    """Whole pixels inside the image, at least two pixels wide and high."""
    x1, y1 = (min(max(round(v), 0), size - 2) for v in box[:2])
    x2, y2 = (min(max(round(v), 1), size - 1) for v in box[2:])
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _placed_groups(plan: ImagePlan, rng: np.random.Generator, size: int, horizon: float) -> list[Group]:
    """Lay all groups out; shrink and try again while an order is unclear or something is hidden."""
    scale = size / 160 * _SCALE_OF_GROUPS.get(len(plan.groups), 0.6) * rng.uniform(0.88, 1.1)
    best: tuple[float, list[Group]] = (np.inf, [])
    for _ in range(_TRIES):
        groups = [_laid_out(group, rng, scale, size) for group in plan.groups]
        fault = _best_spread(plan, groups, rng, size, horizon)
        if not best[1] or fault < best[0]:
            best = (fault, groups)
        if fault < _SMALL_FAULT:
            break
        scale *= 0.86
    return best[1]


def _best_spread(plan: ImagePlan, groups: list[Group], rng: np.random.Generator, size: int, horizon: float) -> float:
    """Move the groups to the best of a few random places (much cheaper than drawing them again); its fault."""
    best: tuple[float, list[tuple[float, float]]] = (np.inf, [])
    for _ in range(_SPREADS):
        _spread(plan, groups, rng, size, horizon)
        fault = _fault(plan, groups, size)
        if fault < best[0]:
            best = (fault, [(item.left, item.top) for group in groups for item in group.placed])
        if fault < _SMALL_FAULT:
            break
    for item, (left, top) in zip((item for group in groups for item in group.placed), best[1], strict=True):
        item.left, item.top = left, top
    return float(best[0])


def _laid_out(plan: GroupPlan, rng: np.random.Generator, scale: float, size: int) -> Group:
    own = scale * rng.uniform(0.9, 1.1)
    for _ in range(3):
        group = (
            arrange(plan.subject, plan.relation, plan.object, rng, own)
            if plan.relation
            else arrange_single(plan.subject, rng, own)
        )
        x1, y1, x2, y2 = group.box
        excess = max((x2 - x1) / (0.96 * size), (y2 - y1) / (0.92 * size))
        if excess <= 1:
            break
        own /= 1.05 * excess
    return group


def _spread(plan: ImagePlan, groups: list[Group], rng: np.random.Generator, size: int, horizon: float) -> None:
    order = sorted(range(len(groups)), key=lambda index: plan.groups[index].order)
    widths = np.array([groups[i].box[2] - groups[i].box[0] + 1 for i in order])
    room = size - 4 - widths.sum()
    gaps = rng.dirichlet(np.full(len(order) + 1, 1.6)) * max(room, 0)
    if room < 0 and len(order) > 1:
        gaps[1:-1] = room / (len(order) - 1)
    left = 2 + gaps[0]
    depth = rng.integers(2)
    for place, index in enumerate(order):
        group = groups[index]
        x1, y1, _, y2 = group.box
        far = (place + depth) % 2 == 1 and len(order) > 2
        low, high = (horizon + 0.1 * size, horizon + 0.22 * size) if far else (horizon + 0.2 * size, 0.97 * size)
        ground = min(rng.uniform(low, max(high, low + 1)), size - 3 - max(0.0, y2))
        ground = max(ground, -y1 + 2)
        group.moved(round(left - x1), round(min(ground, size - 2 - y2)))
        for item in group.placed:
            item.left, item.top = round(item.left), round(item.top)
        left += widths[place] + gaps[place + 1]


def _fault(plan: ImagePlan, groups: list[Group], size: int) -> float:
    """0 for a good layout; grows with what lies outside, is hidden by other groups or out of order."""
    things = {(i, item.role): item.box for i, group in enumerate(groups) for item in group.placed if item.role}
    fault = 0.0
    for (index, _), (x1, y1, x2, y2) in things.items():
        inside = max(0, min(x2, size - 1) - max(x1, 0) + 1) * max(0, min(y2, size - 1) - max(y1, 0) + 1)
        area = (x2 - x1 + 1) * (y2 - y1 + 1)
        fault += max(0.0, 0.85 - inside / area)
        for other, group in enumerate(groups):
            if other == index or group.box[3] < groups[index].box[3]:
                continue
            for item in group.placed:
                a1, b1, a2, b2 = item.box
                shared = max(0, min(x2, a2) - max(x1, a1) + 1) * max(0, min(y2, b2) - max(y1, b1) + 1)
                fault += max(0.0, shared / area - _MOST_HIDDEN)
    for left, left_role, right, right_role in plan.mirrored:
        a, b = things[left, left_role], things[right, right_role]
        fault += max(0.0, 4 - ((b[0] + b[2]) - (a[0] + a[2])) / 2)
    return fault


def _paste(canvas: Image.Image, item: Placed, rng: np.random.Generator, light: float) -> None:
    sprite = item.sprite
    x, y = round(item.left), round(item.top)
    if item.grounded:
        width, height = round(sprite.width * 1.08), max(3, round(sprite.width * 0.16))
        mask = _shadow(int(rng.integers(len(_SHADOWS))), width, height)
        corner = (x - (width - sprite.width) // 2, y + sprite.height - height // 2 - 1)
        canvas.paste((40, 36, 44), corner, mask)
    shaded = _shaded(sprite, rng, light)
    canvas.paste(shaded, (x, y), shaded)


def _shaded(sprite: Sprite, rng: np.random.Generator, light: float) -> Image.Image:
    """The sprite's colours under the light of the image, with a brightness and saturation of its own."""
    width, height = sprite.image.size
    rgba = np.frombuffer(sprite.image.tobytes(), dtype=np.uint8).reshape(height, width, 4)
    pixels = rgba.transpose(2, 0, 1).astype(np.float32, order="C")  # (4, H, W); a contiguous channel at a time
    colours = pixels[:3]
    grey = colours[0] + colours[1]
    grey += colours[2]
    grey /= 3
    colours -= grey
    colours *= np.float32(rng.uniform(0.5, 1.2))
    colours += grey
    light_here = 1 + np.float32(light) * _ramp(-1.0, 1.0, width) + _ramp(0.06, -0.1, height)[:, None]
    colours *= np.float32(rng.uniform(0.66, 1.24)) * light_here
    np.clip(colours, 0, 255, out=colours)
    return Image.fromarray(pixels.transpose(1, 2, 0).astype(np.uint8, order="C"))


@lru_cache(1024)
def _ramp(start: float, stop: float, count: int) -> np.ndarray:
    return np.linspace(start, stop, count, dtype=np.float32)


@lru_cache(1024)
def _shadow(number: int, width: int, height: int) -> Image.Image:
    return _SHADOWS[number].resize((width, height), Image.Resampling.BILINEAR)


def _soft_ellipse(strength: float, width: int = 64, height: int = 24) -> Image.Image:
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return Image.fromarray((255 * np.clip(strength * np.clip(1 - (x**2 + y**2), 0, 1) ** 0.8, 0, 1)).astype(np.uint8))


_SHADOWS = [_soft_ellipse(strength) for strength in np.linspace(0.25, 0.6, 6)]
_BLUR = _soft_ellipse(2.0)
_FAR = ("tree", "bush", "house", "skyscraper", "palm tree", "tower")


def _clutter(canvas: Image.Image, rng: np.random.Generator, size: int, horizon: float) -> None:
    """Small pale things far away that nobody annotates."""
    for _ in range(int(rng.integers(0, 3))):
        far = draw_object(str(rng.choice(_FAR)), rng, rng.uniform(0.2, 0.36) * size / 160)
        haze = Image.new("RGB", far.image.size, canvas.getpixel((size // 2, max(0, int(horizon) - 4))))
        faded = Image.blend(far.image.convert("RGB"), haze, rng.uniform(0.45, 0.7))
        canvas.paste(faded, (int(rng.uniform(-8, size - 4)), int(horizon) - far.height + 2), far.image.getchannel("A"))


def _foreground(canvas: Image.Image, rng: np.random.Generator, size: int, horizon: float, outdoors: bool) -> None:
    """Something close to the camera that hides part of a thing: blades of grass, a post, a blurred shape."""
    pen = ImageDraw.Draw(canvas)
    x, tone = rng.uniform(0, size), tuple(int(v) for v in rng.integers(40, 210, 3))
    kind = rng.choice(["grass", "grass", "post", "blur"] if outdoors else ["post", "blur", "blur"])
    if kind == "grass":
        foot, reach = rng.uniform(horizon + 0.2 * size, 1.02 * size), rng.uniform(0.06, 0.14) * size
        leaf = pick(rng, LEAF, 0.06)
        for _ in range(int(rng.integers(6, 18))):
            root = x + rng.normal(0, 0.06) * size
            tip = (root + rng.normal(0, 0.03) * size, foot - reach * rng.uniform(0.5, 1.1))
            pen.polygon([(root - 1.4, foot), tip, (root + 1.4, foot)], fill=shade(leaf, rng.uniform(0.7, 1.2)))
    elif kind == "post":
        half, wood = rng.uniform(0.008, 0.02) * size, pick(rng, WOOD + STONE, 0.06)
        pen.rectangle([x - half, rng.uniform(0.2, 0.7) * size, x + half, size], fill=wood)
        pen.line([(x + half / 2, 0.7 * size), (x + half / 2, size)], fill=shade(wood, 0.75))
    else:
        width, height = int(rng.uniform(0.08, 0.26) * size), int(rng.uniform(0.06, 0.2) * size)
        mask = _BLUR.resize((width, height))
        canvas.paste(tone, (int(x) - width // 2, int(rng.uniform(0.55, 0.97) * size) - height // 2), mask)
