"""Boxes: the one convention, and the few things done with them.

A box is (x1, y1, x2, y2) in pixels of the original image, float32, **inclusive**: its width is
``x2 - x1 + 1``. Relation boxes may reach outside the image and are kept as annotated
(upstream does not clip them either); detection boxes are clipped.
"""

import numpy as np

BOX_COLUMNS = ["x1", "y1", "x2", "y2"]


def union_boxes(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """The smallest box around each pair, without a margin (LTVRR reference, section 2.5).

    ``boxes_a`` and ``boxes_b`` (N, 4) xyxy; returns (N, 4) of the same dtype.
    """
    low = np.minimum(boxes_a[..., :2], boxes_b[..., :2])
    high = np.maximum(boxes_a[..., 2:], boxes_b[..., 2:])
    return np.concatenate([low, high], axis=-1)


def xyxy_from_relation_bbox(bbox: np.ndarray) -> np.ndarray:
    """Re-order the relation files' [ymin, ymax, xmin, xmax] to xyxy; (N, 4) to (N, 4) float32."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and the reader refuses that
        return np.asarray(bbox)[:, [2, 0, 3, 1]].astype(np.float32)


def xyxy_from_detection_bbox(bbox: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """COCO [x, y, w, h] as xyxy, clipped to the image (LTVRR reference, section 1.3).

    ``bbox`` (N, 4) numbers, ``width`` and ``height`` (N,) of each box's image; returns (N, 4) float64.
    """
    x, y, w, h = np.asarray(bbox, dtype=np.float64).reshape(-1, 4).T
    xyxy = np.stack([x, y, x + np.maximum(0, w - 1), y + np.maximum(0, h - 1)], axis=1)
    return clip_boxes(xyxy, width, height)


def clip_boxes(boxes: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) xyxy moved into [0, width - 1] x [0, height - 1]; sizes are scalars or (N,)."""
    right, bottom = np.asarray(width) - 1, np.asarray(height) - 1
    x1, y1, x2, y2 = np.asarray(boxes).T
    clipped = [np.clip(x1, 0, right), np.clip(y1, 0, bottom), np.clip(x2, 0, right), np.clip(y2, 0, bottom)]
    return np.stack(clipped, axis=1).astype(np.asarray(boxes).dtype)
