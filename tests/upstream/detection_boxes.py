"""The detection boxes of a split as upstream reads them: the method does not need them, the comparison does."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from annotated_scenes.annotations import detections_path, read_annotations
from workbench.scenes.relations import BOX_COLUMNS


def detection_boxes(folder: Path, split: str) -> pd.DataFrame:
    """The detection boxes of a split's images, clipped and filtered as upstream does (LTVRR reference, 1.3).

    Returns image (row of ``Annotations.images``), x1, y1, x2, y2 (float32) and detection_class (1-based, by the order
    of the file's categories); boxes without area or narrower than two pixels after clipping are left out.
    """
    images = read_annotations(folder, split).images
    coco = json.loads(detections_path(folder, split).read_text(encoding="utf-8"))
    category = {entry["id"]: place for place, entry in enumerate(coco["categories"], start=1)}
    found = coco["annotations"]
    image = pd.Index(images["image_id"]).get_indexer([entry["image_id"] for entry in found])
    right, bottom = images[["width", "height"]].to_numpy()[image].T - 1
    x, y, w, h = np.array([entry["bbox"] for entry in found], dtype=np.float64).reshape(-1, 4).T
    xyxy = np.stack([x, y, x + np.maximum(0, w - 1), y + np.maximum(0, h - 1)])
    x1, x2 = np.clip(xyxy[[0, 2]], 0, right)
    y1, y2 = np.clip(xyxy[[1, 3]], 0, bottom)
    area = np.array([entry.get("area", entry["bbox"][2] * entry["bbox"][3]) for entry in found])
    boxes = pd.DataFrame(np.stack([x1, y1, x2, y2], axis=1).astype(np.float32), columns=BOX_COLUMNS)
    boxes.insert(0, "image", image)
    boxes["detection_class"] = [category[entry["category_id"]] for entry in found]
    kept = boxes[(image >= 0) & (area > 0) & (x2 > x1) & (y2 > y1)]
    return kept.sort_values("image", kind="stable", ignore_index=True)
