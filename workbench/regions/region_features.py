"""The features of boxes in pictures: what the region encoder computes for one batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.regions.encoder import STRIDE, RegionEncoder
from workbench.regions.picture_files import UnreadablePicture
from workbench.regions.picture_loading import Picture
from workbench.regions.pictures import batches_of_equal_shape, prepare, resize_scale, resized_shape, scaled_boxes


@dataclass(frozen=True)
class RegionNetwork:
    """A region encoder with its ``identity``, which takes a second to compute, and the checkpoint's unused keys."""

    encoder: RegionEncoder
    identity: str
    ignored_keys: tuple[str, ...] = ()


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def feature_precision(device: torch.device, precision: str = "auto") -> str:
    """The format of the encoder's products: "auto" is "float32" on a CPU and "bfloat16" on a GPU."""
    if precision == "auto":
        return "float32" if device.type == "cpu" else "bfloat16"
    if precision not in PRECISIONS:
        raise WorkbenchError(f"precision {precision!r} is not known; expected one of auto, {', '.join(PRECISIONS)}.")
    return precision


def usable(encoder: RegionEncoder, picture: Picture, file_name: str) -> Picture:
    """The picture, or why the encoder has no map of it: after resizing it is narrower than one position."""
    if isinstance(picture, UnreadablePicture):
        return picture
    config = encoder.config
    height, width = picture.shape[:2]
    shape = resized_shape(height, width, resize_scale(height, width, config.short_side, config.longest_side))
    if min(shape) >= STRIDE:
        return picture
    return UnreadablePicture(
        file_name, f"{height} x {width} pixels are {shape[0]} x {shape[1]} for the network: too narrow"
    )


def region_features(
    encoder: RegionEncoder,
    pictures: Sequence[np.ndarray | Tensor],
    boxes: Sequence[np.ndarray],
    precision: str = "auto",
) -> list[np.ndarray]:
    """Features (n_i, D) float32 of the boxes of each picture.

    ``pictures`` B times (H_i, W_i, 3) uint8 blue-green-red; ``boxes`` B times (n_i, 4) xyxy in pixels of the original.
    Pictures of one shape after resizing go through the network together, with one product over all their boxes; equal
    boxes of a picture are computed once. ``precision`` as in ``feature_precision``.
    """
    device = next(encoder.parameters()).device
    precision = feature_precision(device, precision)
    images, scales = zip(*(_prepared(encoder, picture, device) for picture in pictures), strict=True)
    features: list[np.ndarray] = [np.empty(0)] * len(images)
    for members in batches_of_equal_shape([image.shape[2:] for image in images], len(images)):
        together = torch.cat([images[member] for member in members])  # (b, 3, h, w)
        own = [boxes[member] for member in members], [scales[member] for member in members]
        computed = _features(encoder, together, *own, precision)
        for member, rows in zip(members, computed, strict=True):
            features[member] = rows
    return features


def _prepared(encoder: RegionEncoder, picture: np.ndarray | Tensor, device: torch.device) -> tuple[Tensor, float]:
    pixels = torch.as_tensor(picture).to(device, non_blocking=True)
    return prepare(pixels[None], encoder.config)


def _features(
    encoder: RegionEncoder, images: Tensor, boxes: list[np.ndarray], scales: list[float], precision: str
) -> list[np.ndarray]:
    device, dtype = images.device, PRECISIONS[precision]
    distinct, places = zip(*(_distinct(xyxy) for xyxy in boxes), strict=True)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        scaled = [scaled_boxes(xyxy, scale).to(device) for xyxy, scale in zip(distinct, scales, strict=True)]
        features = encoder(images, scaled)  # (n, D)
    per_picture = np.split(features.float().cpu().numpy(), np.cumsum([len(xyxy) for xyxy in distinct])[:-1])
    return [rows[place] for rows, place in zip(per_picture, places, strict=True)]


def _distinct(xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, place = np.unique(xyxy, axis=0, return_inverse=True)
    return distinct, place.reshape(-1)
