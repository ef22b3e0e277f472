"""Which boxes of which pictures are related: the graphs of a split, without classes."""

from dataclasses import dataclass

import numpy as np

RELATIONS_SPREAD = 0.75  # standard deviation of the logarithm of relations a picture: one in eleven has over 100
BOXES_SPREAD = 0.25
BOXES_EXPONENT = 0.6  # boxes grow slower than relations: crowded pictures are related more densely
MOST_RELATIONS = 700
HUBS = 1.6  # above 1 the first boxes of a picture end more relations than the last


@dataclass(frozen=True)
class RelationGraphs:
    """``image_of_box`` (B,); ``image`` (N,), ``subject_box`` and ``object_box`` (N,), in picture order."""

    image_of_box: np.ndarray
    image: np.ndarray
    subject_box: np.ndarray
    object_box: np.ndarray


def relation_graphs(random: np.random.Generator, images: int, relations: int, boxes: int) -> RelationGraphs:
    """Log-normal numbers of relations and boxes a picture, and random pairs of two different boxes.

    Exactly ``relations``, at least one a picture, at most ``MOST_RELATIONS`` where the mean allows it; about ``boxes``,
    each of which ends a relation.
    """
    per_image = _log_normal_numbers(random, images, relations)
    boxes_per_image = _box_numbers(random, per_image, boxes)
    image = np.repeat(np.arange(images), per_image)  # (N,)
    first_relation = np.concatenate([[0], np.cumsum(per_image)[:-1]])
    place = np.arange(relations) - first_relation[image]  # of a relation within its picture
    here = boxes_per_image[image]
    # The first relations of a picture join box 0 to 1, 2 to 3, ...: so every box is used.
    fixed = 2 * place < here
    subject = np.where(fixed, 2 * place, (here * random.random(relations) ** HUBS).astype(np.int64))
    step = 1 + ((here - 1) * random.random(relations)).astype(np.int64)
    object_ = np.where(fixed & (2 * place + 1 < here), 2 * place + 1, (subject + step) % here)
    swapped = random.random(relations) < 0.5
    first_box = np.concatenate([[0], np.cumsum(boxes_per_image)[:-1]])[image]
    return RelationGraphs(
        np.repeat(np.arange(images), boxes_per_image),
        image,
        first_box + np.where(swapped, object_, subject),
        first_box + np.where(swapped, subject, object_),
    )


def _log_normal_numbers(random: np.random.Generator, images: int, total: int) -> np.ndarray:
    drawn = np.exp(RELATIONS_SPREAD * random.standard_normal(images))
    mean = total / images
    limit = max(MOST_RELATIONS, 2 * mean)
    for _ in range(20):  # cutting the longest lists lowers the mean, so scale and cut again
        drawn = np.clip(drawn * (mean / drawn.mean()), 1, limit)
    numbers = np.maximum(1, np.diff(np.round(np.cumsum(drawn)).astype(np.int64), prepend=0))
    return _with_sum(random, numbers, total)


def _with_sum(random: np.random.Generator, numbers: np.ndarray, total: int) -> np.ndarray:
    """``numbers`` with ones added to or taken from random entries, never below one, until they sum to ``total``."""
    while difference := total - int(numbers.sum()):
        changeable = np.flatnonzero(numbers > 1) if difference < 0 else np.arange(len(numbers))
        chosen = random.permutation(changeable)[: abs(difference)]
        numbers[chosen] += np.sign(difference)
    return numbers


def _box_numbers(random: np.random.Generator, per_image: np.ndarray, total: int) -> np.ndarray:
    shape = per_image**BOXES_EXPONENT * np.exp(BOXES_SPREAD * random.standard_normal(len(per_image)))
    # A pair may carry several relations, but there are at least as many ordered pairs as relations.
    fewest = np.ceil(0.5 + np.sqrt(0.25 + per_image)).astype(np.int64)
    most = np.maximum(2, 2 * per_image)
    fewest = np.minimum(np.maximum(2, fewest), most)
    factor = total / shape.sum()
    for _ in range(20):
        numbers = np.clip(np.round(factor * shape).astype(np.int64), fewest, most)
        factor *= total / numbers.sum()
    return numbers
