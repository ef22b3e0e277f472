"""How often everything occurs: Zipf's law for training, flattened counts for validation and test."""

from dataclasses import dataclass

import numpy as np

from drawn_scenes.catalogue import OBJECT_NAMES
from drawn_scenes.rules import RELATION_NAMES

# From the most to the least frequent class of the training split; families are spread over the ranks.
POPULARITY: tuple[str, ...] = (
    "man", "tree", "shirt", "table", "woman", "car",
    "house", "dog", "cup", "chair", "bowl", "bag", "bottle", "horse", "bus", "hat", "boy", "plant", "bench", "ball",
    "cat", "box",
    "girl", "apple", "truck", "elephant", "jacket", "couch", "cake", "flower", "bicycle", "duck", "fork", "television",
    "banana", "bed", "cow", "bush", "skateboard", "church",
    "knife", "backpack", "bread", "zebra", "motorcycle", "mug", "orange", "helmet", "surfboard", "boat", "baby",
    "giraffe",
    "donut", "cabinet", "vase", "train", "cap", "sheep", "computer", "racket", "palm tree", "kite", "spoon", "chicken",
    "coat", "tower", "soldier", "pitcher", "microwave", "purse", "lemon", "cookie", "sunflower", "skirt", "bat", "lion",
    "taxi", "penguin", "castle", "bookcase", "goose", "kettle", "pear", "chef", "soccer ball", "muffin", "scarf",
    "deer",
    "frisbee", "jar", "strawberry", "radio", "tractor", "skyscraper", "goat", "bucket", "croissant", "owl", "printer",
    "pineapple", "daisy", "tiger", "temple", "bagel", "eagle", "lighthouse", "toaster", "butter knife",
)  # fmt: skip

RELATIONS_PER_IMAGE = {"train": 5.3, "val": 4.5, "test": 4.5}
FEWEST_CLASSES = 20
MIRRORED_SHARE = {"train": 0.62, "val": 0.45, "test": 0.42}


@dataclass(frozen=True)
class Targets:
    """What a split should hold. Arrays run over the chosen classes and over ``RELATION_NAMES``.

    ``ends`` (C,): ends of relations a class should have in all; ``placed`` (C,): those of them that are laid out
    as pairs, the rest come as left and right; ``relations`` (R,): counts, zero for the two mirror relations;
    ``floor``: the number of times that every class is wanted in each role; ``complete``: whether none may be absent.
    """

    classes: tuple[str, ...]
    ends: np.ndarray
    placed: np.ndarray
    relations: np.ndarray
    floor: int
    complete: bool


def zipf_counts(ranks: int, total: int, smallest: int, offset: float) -> np.ndarray:
    """Zipf-Mandelbrot counts: smallest * ((ranks + offset) / (rank + offset)) ** s, with s such that they sum to
    about ``total``; descending integers, the last ``smallest`` (or all of them that, where ``total`` is too small).
    """
    rank = np.arange(1, ranks + 1)
    low, high = 0.0, 12.0
    for _ in range(60):
        middle = (low + high) / 2
        counts = smallest * ((ranks + offset) / (rank + offset)) ** middle
        low, high = (middle, high) if counts.sum() < total else (low, middle)
    return np.maximum(smallest, np.floor(counts + 0.5)).astype(np.int64)


def training_targets(images: int, classes: int = 0) -> Targets:
    """Long-tailed counts for about 5.3 relations an image.

    With few images the rarest classes are left out, so that three ends are there for each of the others.
    """
    total = round(RELATIONS_PER_IMAGE["train"] * images)
    names = chosen_classes(classes)[: max(FEWEST_CLASSES, 2 * total // 3)]
    scarce = total < 4000
    ends = zipf_counts(len(names), 2 * total, 1 if scarce else 2, 12.0)
    single = len(RELATION_NAMES) - 2
    unmirrored = round((1 - MIRRORED_SHARE["train"]) * total)
    counts = zipf_counts(single, unmirrored, 1 if scarce else 2, 5.0)
    relations = np.concatenate([[0, 0], counts])
    placed = np.maximum(1, np.ceil((1 - MIRRORED_SHARE["train"]) * ends)).astype(np.int64)
    return Targets(names, ends, placed, relations, 0, True)


def evaluation_targets(split: str, images: int, per_class: int, classes: int = 0) -> Targets:
    """Flattened counts, so that per-class accuracy is not noise and the head does not swamp the rest.

    Every class is wanted ``per_class`` times (and once more) as subject and as object, every relation as often;
    where the images cannot hold that, the floor is the most they can hold evenly, possibly 0.
    """
    train = training_targets(3000, classes)
    total = RELATIONS_PER_IMAGE[split] * images
    mirrored = MIRRORED_SHARE[split] * total
    count = len(train.classes)
    floor = int(min(per_class + 1, mirrored / count))
    weights = train.ends**0.35
    placed = np.ceil((total - mirrored) * 2 * weights / weights.sum()).astype(np.int64)
    ends = placed + 2 * np.maximum(floor * 0.5, mirrored * weights / weights.sum()).astype(np.int64)
    weights = train.relations[2:] ** 0.3
    wanted = np.ceil((total - mirrored) * weights / weights.sum()).astype(np.int64)
    least = int(min(per_class + 2, (total - mirrored) / len(wanted)))
    return Targets(train.classes, ends, placed, np.concatenate([[0, 0], np.maximum(wanted, least)]), floor, False)


def chosen_classes(classes: int) -> tuple[str, ...]:
    """The ``classes`` most popular names, all of them for 0, in the order of popularity."""
    assert sorted(POPULARITY) == sorted(OBJECT_NAMES)
    return POPULARITY[: classes or None]
