"""Which regions belong to which picture, and where their features go in the bank."""

from dataclasses import replace

import numpy as np

from workbench.regions.bank import FeatureBankWriter
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
    """The boxes and unions of each image, and the rows of the bank where their features belong."""

    def __init__(self, annotations: Annotations):
        images = np.arange(len(annotations.images) + 1)
        # Both tables are in image order, so an image's rows are one run.
        self._box_start = np.searchsorted(annotations.boxes["image"].to_numpy(), images)
        self._union_start = np.searchsorted(annotations.relations["image"].to_numpy(), images)
        self._boxes = annotations.boxes_xyxy()
        self._unions = annotations.unions_xyxy()

    def xyxy(self, image: int) -> np.ndarray:
        """The boxes of an image, then the union boxes of its relations, (n, 4) float32."""
        boxes = self._boxes[self._box_start[image] : self._box_start[image + 1]]
        unions = self._unions[self._union_start[image] : self._union_start[image + 1]]
        return np.concatenate([boxes, unions])

    def write(self, writer: FeatureBankWriter, batch: np.ndarray, features: list[np.ndarray]) -> None:
        """Write the features of the images of ``batch``, each in the order of ``xyxy``."""
        for image, rows in zip(batch, features, strict=True):
            first_box, first_union = int(self._box_start[image]), int(self._union_start[image])
            boxes = int(self._box_start[image + 1]) - first_box
            writer.write_boxes(first_box, rows[:boxes])
            writer.write_unions(first_union, rows[boxes:])

    def are_written(self, writer: FeatureBankWriter, window: np.ndarray) -> bool:
        """Whether the features of all images up to the last of ``window`` are safely on disk."""
        end = int(window[-1]) + 1
        return writer.done_boxes >= self._box_start[end] and writer.done_unions >= self._union_start[end]


def _new_rows(kept: np.ndarray) -> np.ndarray:
    return np.where(kept, np.cumsum(kept) - 1, -1)
