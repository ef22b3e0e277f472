"""Which regions belong to which picture, and which rows of the tables they are."""

from dataclasses import replace

import numpy as np

from workbench.regions.shard_files import KINDS
from workbench.scenes.annotations import Annotations


def without_images(annotations: Annotations, unreadable: set[int]) -> Annotations:
    """The annotations without some images (row numbers), their boxes and their relations; rows are renumbered."""
    if not unreadable:
        return annotations
    left_out = list(unreadable)
    boxes, relations = annotations.boxes, annotations.relations
    images = annotations.images.drop(index=left_out).reset_index(drop=True)
    kept_boxes, kept_relations = ~boxes["image"].isin(left_out), ~relations["image"].isin(left_out)
    new_image = _new_rows(~np.isin(np.arange(len(annotations.images)), left_out))
    new_box = _new_rows(kept_boxes.to_numpy())
    boxes = boxes[kept_boxes].reset_index(drop=True)
    relations = relations[kept_relations].reset_index(drop=True)
    boxes["image"] = new_image[boxes["image"]]
    relations["image"] = new_image[relations["image"]]
    for end in ("subject_box", "object_box"):
        relations[end] = new_box[relations[end]]
    return replace(annotations, images=images, boxes=boxes, relations=relations)


class RegionsByImage:
    """The boxes and unions of each image, and the rows of their tables that they have."""

    def __init__(self, annotations: Annotations):
        images = np.arange(len(annotations.images) + 1)
        # Both tables are in image order, so an image's rows are one run.
        self._starts = {
            "boxes": np.searchsorted(annotations.boxes["image"].to_numpy(), images),
            "unions": np.searchsorted(annotations.relations["image"].to_numpy(), images),
        }
        self._regions = {"boxes": annotations.boxes_xyxy(), "unions": annotations.unions_xyxy()}

    def rows(self, kind: str, first: int, stop: int) -> tuple[int, int]:
        """The rows (start, stop) of "boxes" or "unions" that the images ``first`` to ``stop`` have."""
        return int(self._starts[kind][first]), int(self._starts[kind][stop])

    def xyxy(self, image: int) -> np.ndarray:
        """The boxes of an image, then the union boxes of its relations, (n, 4) float32."""
        return np.concatenate([self._regions[kind][slice(*self.rows(kind, image, image + 1))] for kind in KINDS])


def _new_rows(kept: np.ndarray) -> np.ndarray:
    return np.where(kept, np.cumsum(kept) - 1, -1)
