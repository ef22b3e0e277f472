"""Training boxes for a region classifier: jittered annotated boxes, background boxes, flips and colour changes."""

from dataclasses import dataclass

import numpy as np

BACKGROUND = 0
BACKGROUND_IOU = 0.3
CANDIDATES_PER_BACKGROUND_BOX = 8
SMALLEST_SIDE = 4.0


@dataclass(frozen=True)
class BoxDraws:
    """How training boxes vary.

    ``copies`` jittered copies of each annotated box, each side moved by up to ``jitter`` of the box's size;
    ``background`` boxes per picture that overlap no annotated box by an IoU of 0.3 or more; ``colour`` is the
    largest relative change of each channel's gain, and of 128 grey levels as an offset.
    """

    copies: int = 2
    jitter: float = 0.12
    background: int = 2
    colour: float = 0.15


def jittered(rng: np.random.Generator, box_xyxy: np.ndarray, jitter: float, shape: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) with each side moved independently, kept inside the picture of ``shape`` (height, width)."""
    sides = np.maximum(box_xyxy[:, 2:] - box_xyxy[:, :2], 1.0)
    moved = box_xyxy + rng.uniform(-jitter, jitter, box_xyxy.shape) * np.tile(sides, 2)
    return _inside(moved, shape)


def background_boxes(
    rng: np.random.Generator, annotated_xyxy: np.ndarray, count: int, shape: tuple[int, int]
) -> np.ndarray:
    """Up to ``count`` random boxes (n, 4) with little overlap with any annotated box; fewer where there is no room."""
    height, width = shape
    tried = count * CANDIDATES_PER_BACKGROUND_BOX
    centres = rng.uniform(0, 1, (tried, 2)) * (width, height)
    halves = rng.uniform(0.05, 0.25, (tried, 2)) * (width, height)
    candidates = _inside(np.concatenate([centres - halves, centres + halves], axis=1), shape)
    if len(annotated_xyxy):
        candidates = candidates[iou(candidates, annotated_xyxy).max(axis=1) < BACKGROUND_IOU]
    return candidates[:count]


def iou(first_xyxy: np.ndarray, second_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of inclusive boxes, (n, 4) and (m, 4) to (n, m)."""
    low = np.maximum(first_xyxy[:, None, :2], second_xyxy[None, :, :2])
    high = np.minimum(first_xyxy[:, None, 2:], second_xyxy[None, :, 2:])
    shared = np.prod(np.maximum(high - low + 1, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1) for boxes in (first_xyxy, second_xyxy)]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared)


def flipped(box_xyxy: np.ndarray, width: int) -> np.ndarray:
    """Boxes of the mirrored picture: x1' = width - x2 - 1 (reference 1.5)."""
    return np.stack([width - 1 - box_xyxy[:, 2], box_xyxy[:, 1], width - 1 - box_xyxy[:, 0], box_xyxy[:, 3]], axis=1)


def sample_picture_boxes(
    rng: np.random.Generator,
    box_xyxy: np.ndarray,
    labels: np.ndarray,
    draws: BoxDraws,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Training boxes (n, 4) float32 and labels (n,) of one picture.

    ``box_xyxy`` all annotated boxes, ``labels`` their labels: 0 background, 1 and up the classes, -1 for a box of a
    class that is not learned, which is neither an example nor background.
    """
    learned = np.repeat(np.flatnonzero(labels > BACKGROUND), draws.copies)
    objects = jittered(rng, box_xyxy[learned], draws.jitter, shape)
    background = background_boxes(rng, box_xyxy, draws.background, shape)
    boxes = np.concatenate([objects, background]).astype(np.float32)
    return boxes, np.concatenate([labels[learned], np.full(len(background), BACKGROUND)])


def colour_changed(rng: np.random.Generator, pictures: np.ndarray, colour: float) -> np.ndarray:
    """Pictures (B, H, W, 3) with a random gain and offset for each picture and channel, float32 in 0 to 255."""
    count = len(pictures)
    gain = (1 + rng.uniform(-colour, colour, (count, 1, 1, 3))).astype(np.float32)
    offset = (128 * rng.uniform(-colour, colour, (count, 1, 1, 1))).astype(np.float32)
    changed = pictures * gain
    changed += offset
    return np.clip(changed, 0, 255, out=changed)


def _inside(box_xyxy: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    limits = np.array([width - 1, height - 1], dtype=np.float64)
    # Annotated boxes may reach outside or be thin; a training box needs some pixels of the picture.
    low = np.clip(box_xyxy[:, :2], 0, np.maximum(limits - SMALLEST_SIDE, 0))
    high = np.minimum(np.maximum(box_xyxy[:, 2:], low + SMALLEST_SIDE), limits)
    return np.concatenate([low, high], axis=1)
