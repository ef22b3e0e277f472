"""Batches for pre-training: pictures of one shape with their boxes and labels, changed at random."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.regions.box_sampling import BACKGROUND, BoxDraws, colour_changed, flipped, sample_picture_boxes
from workbench.regions.encoder import EncoderConfig
from workbench.regions.pictures import (
    PictureReader,
    UnreadablePicture,
    batches_of_equal_shape,
    prepare,
    scaled_boxes,
)
from workbench.scenes.annotations import Annotations

Item = TypeVar("Item")


@dataclass
class PictureBatch:
    """Pictures (B, H, W, 3) of one shape, 0 to 255, and for each its boxes (n_i, 4) xyxy and labels (n_i,)."""

    pictures: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]

    def tensors(self, config: EncoderConfig, device: torch.device) -> tuple[Tensor, list[Tensor], Tensor]:
        """What the network takes: images (B, 3, h, w), scaled boxes of each picture, labels of all boxes (n,)."""
        images, scale = prepare(torch.from_numpy(self.pictures).to(device), config)
        boxes = [scaled_boxes(xyxy, scale).to(device) for xyxy in self.boxes]
        return images, boxes, torch.from_numpy(np.concatenate(self.labels)).to(device)


class Examples:
    """The readable pictures of a split with their boxes and labels."""

    def __init__(self, annotations: Annotations, label_of_class: np.ndarray, batch_images: int):
        self.batch_images = batch_images
        self._reader = PictureReader([annotations.image_path(index) for index in range(len(annotations.images))])
        found = self._reader.survey(f"reading {annotations.split} pictures")
        self.unreadable = [item for item in found if isinstance(item, UnreadablePicture)]
        labels = label_of_class[annotations.boxes["object_class"].to_numpy()]
        start = np.searchsorted(annotations.boxes["image"].to_numpy(), np.arange(len(found) + 1))
        xyxy = annotations.boxes_xyxy().astype(np.float64)
        self._boxes = [xyxy[start[index] : start[index + 1]] for index in range(len(found))]
        self._labels = [labels[start[index] : start[index + 1]] for index in range(len(found))]
        readable = np.array([not isinstance(item, UnreadablePicture) for item in found])
        self.images = np.flatnonzero(readable & [(own > BACKGROUND).any() for own in self._labels])
        if not len(self.images):
            raise WorkbenchError(
                f"{annotations.image_folder}: no readable picture of split {annotations.split!r} has a box of a class "
                "to be learned. Give the folder that holds the pictures, or more classes."
            )
        self._shapes = {int(index): found[index] for index in self.images}

    def plan(self, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """Batches of one epoch: pictures of one shape, shuffled where there is a generator."""
        images = self.images if rng is None else rng.permutation(self.images)
        shapes = [self._shapes[int(index)] for index in images]
        batches = [images[members] for members in batches_of_equal_shape(shapes, self.batch_images)]
        return batches if rng is None else [batches[place] for place in rng.permutation(len(batches))]

    def read(self, plan: list[np.ndarray]) -> Iterator[PictureBatch]:
        """The batches of a plan, unchanged, with all annotated boxes."""
        for images, pictures in zip(plan, self._reader.batches(plan), strict=True):
            yield PictureBatch(pictures, [self._boxes[i] for i in images], [self._labels[i] for i in images])


def randomly_changed(rng: np.random.Generator, batch: PictureBatch, draws: BoxDraws) -> PictureBatch:
    """Half of the pictures mirrored, all with other colours, and training boxes drawn around the annotated ones."""
    shape = batch.pictures.shape[1:3]
    mirrored = rng.random(len(batch.pictures)) < 0.5
    pictures = colour_changed(rng, batch.pictures, draws.colour)
    pictures[mirrored] = pictures[mirrored, :, ::-1]
    boxes, labels = [], []
    for annotated, own, mirror in zip(batch.boxes, batch.labels, mirrored, strict=True):
        around = flipped(annotated, shape[1]) if mirror else annotated
        for drawn, values in zip((boxes, labels), sample_picture_boxes(rng, around, own, draws, shape), strict=True):
            drawn.append(values)
    return PictureBatch(pictures, boxes, labels)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in another thread while its predecessor is used."""
    nothing_left = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, nothing_left)
        while (item := coming.result()) is not nothing_left:
            coming = thread.submit(next, items, nothing_left)
            yield item
