"""Batches for the detector's pre-training: images of one shape with boxes and labels, changed at random."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from annotated_scenes.annotations import Annotations
from drawn_scenes.detector_config import BoxConfig
from workbench.errors import WorkbenchError
from workbench.progress import track
from workbench.regions.images import UnreadableImage, batches_of_equal_shape, read_image
from workbench.regions.vgg import VGGConfig, prepare, scaled_boxes

BYTES_KEPT = 1 << 30  # of decoded images
BACKGROUND = 0
BACKGROUND_IOU = 0.3
CANDIDATES_PER_BACKGROUND_BOX = 8
SMALLEST_SIDE = 4.0


@dataclass
class ImageBatch:
    """Images (B, H, W, 3) of one shape, blue, green, red, and for each its boxes (n_i, 4) xyxy and labels (n_i,)."""

    bgr: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]

    def tensors(self, config: VGGConfig, device: torch.device) -> tuple[Tensor, list[Tensor], Tensor]:
        """What the network takes: images (B, 3, h, w), scaled boxes of each image, labels of all boxes (n,)."""
        images, scale = prepare(torch.from_numpy(self.bgr).to(device), config)
        boxes = [scaled_boxes(xyxy, scale).to(device) for xyxy in self.boxes]
        return images, boxes, torch.from_numpy(np.concatenate(self.labels)).to(device)


class Examples:
    """The readable images of a split that have a box of a learned class, with all their boxes and labels."""

    def __init__(self, annotations: Annotations, label_of_class: np.ndarray, batch_images: int):
        self.annotations, self.batch_images = annotations, batch_images
        bytes_per_image = 3 * annotations.images[["width", "height"]].prod(axis=1).mean()
        self._image = lru_cache(max(1, int(BYTES_KEPT / bytes_per_image)))(self._decoded)
        count = len(annotations.images)
        with ThreadPoolExecutor(2) as pool:
            reading = track(pool.map(self._image, range(count)), f"reading {annotations.split} images", count)
            read = [image if isinstance(image, UnreadableImage) else image.shape[:2] for image in reading]
        self.unreadable = [image for image in read if isinstance(image, UnreadableImage)]
        self._shapes = np.array([(0, 0) if isinstance(shape, UnreadableImage) else shape for shape in read])
        labels = label_of_class[annotations.boxes["object_class"].to_numpy()]
        start = np.searchsorted(annotations.boxes["image"].to_numpy(), np.arange(1, count))
        self._boxes = np.split(annotations.boxes_xyxy().astype(np.float64), start)
        self._labels = np.split(labels, start)
        useful = np.array([(own > BACKGROUND).any() for own in self._labels])
        self.images = np.flatnonzero(useful & (self._shapes > 0).all(axis=1))
        if not len(self.images):
            raise WorkbenchError(
                f"{annotations.image_folder}: no readable image of split {annotations.split!r} has a box of a class "
                "to be learned. Give the folder that holds the images, or more classes."
            )

    def plan(self, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """Batches of one epoch: images of one shape, shuffled where there is a generator."""
        images = self.images if rng is None else rng.permutation(self.images)
        batches = [images[members] for members in batches_of_equal_shape(self._shapes[images], self.batch_images)]
        return batches if rng is None else [batches[place] for place in rng.permutation(len(batches))]

    def read(self, images: np.ndarray) -> ImageBatch:
        """The images of one batch, unchanged, with all annotated boxes; WorkbenchError for one that has vanished."""
        pixels: list[np.ndarray] = []
        for image in images.tolist():
            found = self._image(image)
            if isinstance(found, UnreadableImage):
                path = self.annotations.image_path(image)
                raise WorkbenchError(f"{path}: the image cannot be read ({found.reason}). Restore it and run again.")
            pixels.append(found)
        bgr = np.ascontiguousarray(np.stack(pixels)[..., ::-1])
        return ImageBatch(bgr, [self._boxes[image] for image in images], [self._labels[image] for image in images])

    def _decoded(self, image: int) -> np.ndarray | UnreadableImage:
        return read_image(self.annotations.image_path(image))


def randomly_changed(rng: np.random.Generator, batch: ImageBatch, config: BoxConfig) -> ImageBatch:
    """Half of the images mirrored, all with other colours, and training boxes drawn around the annotated ones."""
    height, width = batch.bgr.shape[1:3]
    mirrored = rng.random(len(batch.bgr)) < 0.5
    bgr = colour_changed(rng, batch.bgr, config.colour)
    bgr[mirrored] = bgr[mirrored, :, ::-1]
    around = [flipped(own, width) if mirror else own for own, mirror in zip(batch.boxes, mirrored, strict=True)]
    drawn = [
        training_boxes(rng, own, labels, config, (height, width))
        for own, labels in zip(around, batch.labels, strict=True)
    ]
    return ImageBatch(bgr, [boxes for boxes, _ in drawn], [labels for _, labels in drawn])


def jittered(rng: np.random.Generator, box_xyxy: np.ndarray, jitter: float, shape: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) with each side moved independently, kept inside the image of ``shape`` (height, width)."""
    sides = np.maximum(box_xyxy[:, 2:] - box_xyxy[:, :2], 1.0)
    moved = box_xyxy + rng.uniform(-jitter, jitter, box_xyxy.shape) * np.tile(sides, 2)
    return _inside(moved, shape)


def background_boxes(
    rng: np.random.Generator, annotated_xyxy: np.ndarray, count: int, shape: tuple[int, int]
) -> np.ndarray:
    """Up to ``count`` random boxes (n, 4) with little overlap with any annotated box; fewer where there is no room."""
    from torchvision.ops import box_iou

    height, width = shape
    tried = count * CANDIDATES_PER_BACKGROUND_BOX
    centres = rng.uniform(0, 1, (tried, 2)) * (width, height)
    halves = rng.uniform(0.05, 0.25, (tried, 2)) * (width, height)
    candidates = _inside(np.concatenate([centres - halves, centres + halves], axis=1), shape)
    if len(annotated_xyxy):
        # Boxes are inclusive.
        both = (torch.from_numpy(boxes + np.array([0, 0, 1, 1])) for boxes in (candidates, annotated_xyxy))
        candidates = candidates[box_iou(*both).amax(dim=1).numpy() < BACKGROUND_IOU]
    return candidates[:count]


def flipped(box_xyxy: np.ndarray, width: int) -> np.ndarray:
    """Boxes of the mirrored image: x1' = width - x2 - 1 (reference 1.5)."""
    return np.stack([width - 1 - box_xyxy[:, 2], box_xyxy[:, 1], width - 1 - box_xyxy[:, 0], box_xyxy[:, 3]], axis=1)


def training_boxes(
    rng: np.random.Generator, box_xyxy: np.ndarray, labels: np.ndarray, config: BoxConfig, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Training boxes (n, 4) float32 and labels (n,) of one image.

    ``box_xyxy`` all annotated boxes, ``labels`` their labels: 0 background, 1 and up the classes, -1 for a box of a
    class that is not learned, which is neither an example nor background.
    """
    learned = np.repeat(np.flatnonzero(labels > BACKGROUND), config.copies)
    objects = jittered(rng, box_xyxy[learned], config.jitter, shape)
    background = background_boxes(rng, box_xyxy, config.background, shape)
    boxes = np.concatenate([objects, background]).astype(np.float32)
    return boxes, np.concatenate([labels[learned], np.full(len(background), BACKGROUND)])


def colour_changed(rng: np.random.Generator, images: np.ndarray, colour: float) -> np.ndarray:
    """Images (B, H, W, 3) with a random gain and offset for each image and channel, float32 in 0 to 255."""
    count = len(images)
    gain = (1 + rng.uniform(-colour, colour, (count, 1, 1, 3))).astype(np.float32)
    offset = (128 * rng.uniform(-colour, colour, (count, 1, 1, 1))).astype(np.float32)
    changed = images * gain
    changed += offset
    return np.clip(changed, 0, 255, out=changed)


def _inside(box_xyxy: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    limits = np.array([width - 1, height - 1], dtype=np.float64)
    # Annotated boxes may reach outside or be thin; a training box needs some pixels of the image.
    low = np.clip(box_xyxy[:, :2], 0, np.maximum(limits - SMALLEST_SIDE, 0))
    high = np.minimum(np.maximum(box_xyxy[:, 2:], low + SMALLEST_SIDE), limits)
    return np.concatenate([low, high], axis=1)
