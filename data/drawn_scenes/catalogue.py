"""The object classes: which family draws them, how large they are, how often they are meant to occur."""

from functools import cache

import numpy as np

from drawn_scenes.families import (
    animals,
    bags,
    baked_goods,
    birds,
    buildings,
    clothing,
    cutlery,
    electronics,
    fruit,
    furniture,
    people,
    plants,
    sports_gear,
    vehicles,
    vessels,
)
from drawn_scenes.pose import FREE, Pose, chosen
from drawn_scenes.sketch import Sprite

_TEMPLATES = {
    "vessels": vessels,
    "cutlery": cutlery,
    "baked goods": baked_goods,
    "fruit": fruit,
    "four-legged animals": animals,
    "birds": birds,
    "vehicles": vehicles,
    "furniture": furniture,
    "people": people,
    "clothing": clothing,
    "plants": plants,
    "buildings": buildings,
    "sports gear": sports_gear,
    "electronics": electronics,
    "bags": bags,
}
FAMILIES: dict[str, tuple[str, ...]] = {family: tuple(template.MEMBERS) for family, template in _TEMPLATES.items()}
OBJECT_NAMES: tuple[str, ...] = tuple(name for members in FAMILIES.values() for name in members)
FAMILY_OF: dict[str, str] = {name: family for family, members in FAMILIES.items() for name in members}

# Image pixels per 100 board units in an image of 160 pixels.
_PIXELS = {
    "vessels": 34,
    "cutlery": 48,
    "baked goods": 32,
    "fruit": 30,
    "four-legged animals": 52,
    "birds": 42,
    "vehicles": 58,
    "furniture": 56,
    "people": 62,
    "clothing": 36,
    "plants": 58,
    "buildings": 72,
    "sports gear": 34,
    "electronics": 42,
    "bags": 38,
}
_PIXELS_OF_CLASS = {
    "bottle": 38, "vase": 38, "pitcher": 38, "cake": 38, "cookie": 26, "strawberry": 24, "pineapple": 34,
    "cat": 44, "dog": 46, "elephant": 62, "giraffe": 62, "horse": 58, "cow": 56, "sheep": 48, "goat": 46,
    "bus": 66, "truck": 64, "train": 68, "bicycle": 50, "motorcycle": 50, "boat": 60,
    "bed": 62, "chair": 54, "bookcase": 62, "baby": 44, "boy": 52, "girl": 52,
    "hat": 34, "cap": 30, "helmet": 32, "coat": 42, "scarf": 34, "jacket": 40, "shirt": 40,
    "bush": 46, "plant": 46, "flower": 40, "sunflower": 46, "daisy": 38,
    "skyscraper": 84, "castle": 80, "racket": 40, "bat": 42, "surfboard": 52, "kite": 40, "ball": 26,
    "soccer ball": 26, "frisbee": 30, "skateboard": 36,
}  # fmt: skip


def pixels_of(name: str) -> float:
    """The usual scale of a class: image pixels per 100 board units at an image size of 160."""
    return float(_PIXELS_OF_CLASS.get(name, _PIXELS[FAMILY_OF[name]]))


def draw_object(name: str, rng: np.random.Generator, scale: float = 1.0, pose: Pose = FREE) -> Sprite:
    """A sprite of class ``name``; ``scale`` multiplies its usual size."""
    family = FAMILY_OF[name]
    pose = chosen(pose, name, family, rng)
    return _TEMPLATES[family].draw(name, rng, pixels_of(name) * scale, pose).sprite(name)


@cache
def members(*families: str) -> tuple[str, ...]:
    """All classes of the families."""
    return tuple(name for family in families for name in FAMILIES[family])
