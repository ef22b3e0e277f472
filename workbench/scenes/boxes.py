"""Boxes: the one convention, and the few things done with them.

A box is (x1, y1, x2, y2) in pixels of the original image, float32, **inclusive**: its width is
``x2 - x1 + 1``. Relation boxes may reach outside the image and are kept as annotated
(upstream does not clip them either).
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
