"""Sizes of pictures and places of boxes, in blocks of pictures that do not depend on each other."""

import numpy as np

# width, height and how common it is, roughly as in a collection of photographs shown at 500 to 1024 pixels
PICTURE_SIZES = np.array([(500, 375), (375, 500), (640, 480), (480, 640), (500, 333), (800, 600), (1024, 768)])
SIZE_SHARES = np.array([0.36, 0.14, 0.16, 0.06, 0.12, 0.10, 0.06])
MEDIAN_SIDE = 0.22  # of the picture's side
SIDE_SPREAD = 0.75  # standard deviation of its logarithm
SMALLEST_SIDE = 4
FLAW_SHARES = {"empty": 0.6, "partly outside": 0.3, "outside": 0.1}


def picture_sizes(random: np.random.Generator, images: int) -> np.ndarray:
    """Width and height of pictures, (images, 2) int64."""
    return PICTURE_SIZES[random.choice(len(PICTURE_SIZES), size=images, p=SIZE_SHARES)]


def box_places(random: np.random.Generator, size: np.ndarray, flaws: float = 0.0) -> np.ndarray:
    """A box for each row of ``size`` (B, 2) width and height: (B, 4) int64, inclusive xyxy, inside its picture.

    ``flaws`` is the share of boxes that are one pixel thin, reach outside, or lie outside (``FLAW_SHARES``).
    """
    side = MEDIAN_SIDE * np.exp(SIDE_SPREAD * random.standard_normal(size.shape)) * size
    side = np.clip(side.astype(np.int64), SMALLEST_SIDE, size)
    low = (random.random(size.shape) * (size - side + 1)).astype(np.int64)
    boxes = np.concatenate([low, low + side - 1], axis=1)
    kind = random.choice(list(FLAW_SHARES), size=len(size), p=list(FLAW_SHARES.values()))
    kind[random.random(len(size)) >= flaws] = ""
    empty, partly, outside = (kind == name for name in FLAW_SHARES)
    boxes[empty, 2] = boxes[empty, 0]
    boxes[partly, 3] = size[partly, 1] + side[partly, 1] // 2
    boxes[outside, 0::2] += size[outside, :1]
    return boxes
