"""Region encoders: what turns boxes of an image into features, and the registry in which new ones are put."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.regions.images import batches_of_equal_shape
from workbench.regions.vgg import STRIDE, VGGNetwork, open_detector, prepare, scaled_boxes, weights_digest
from workbench.registry import Registry

if TYPE_CHECKING:
    from workbench.regions.config import ExtractionConfig

# Keeps conv1_2 of a batch near 1 GB at width 1; smaller widths have room for more.
PIXELS_PER_BATCH = 4_000_000


class RegionEncoder:
    """What turns boxes of an image into features. A new one derives from this, or has ``name``, ``dimension`` and
    ``__call__`` like it.

    ``name`` tells it from all others (say what weights it has): features of two encoders are never mixed. ``support``
    is "rectified" where no number is ever negative, as after a ReLU, else "signed".
    """

    name: str
    dimension: int
    support: str = "signed"

    def __call__(self, image: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Features (n, D) float32 of the boxes of one image.

        ``image`` (H, W, 3) uint8, red, green, blue; ``boxes_xyxy`` (n, 4) float32, x1, y1, x2, y2 in its pixels with
        both corners inside, though an annotated box may reach out of the image or be a pixel wide.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it encodes boxes: define __call__.")

    @property
    def identity(self) -> str:
        """What is recorded beside the features: the name, and a hash of the weights of a torch module."""
        return _identity(self)

    def encode(self, images: Sequence[np.ndarray], boxes_xyxy: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Features of the boxes of several images; where one product over all of them is faster, define it too."""
        return [self(image, own) for image, own in zip(images, boxes_xyxy, strict=True)]

    def refusal(self, height: int, width: int) -> str:
        """Why it has no use for an image of this size, which is left out then; empty where it has."""
        return ""


Maker = Callable[[Path | None, "ExtractionConfig", torch.device], RegionEncoder]
# Name to an encoder, its class, or a function that makes one for (detector's checkpoint or None, config, device).
ENCODERS: Registry[RegionEncoder | type[RegionEncoder] | Maker] = Registry("encoder")


def chosen_encoder(config: "ExtractionConfig", detector: Path | None = None) -> RegionEncoder:
    """The encoder that ``config.encoder`` names or is; WorkbenchError where it is none."""
    found = ENCODERS.resolve(config.encoder)
    if isinstance(found, type):
        found = found()
    elif callable(found) and not hasattr(found, "dimension"):
        found = found(detector, config, chosen_device(config.device))
    if isinstance(found, RegionEncoder):
        return found
    if not (callable(found) and hasattr(found, "dimension") and hasattr(found, "name")):
        raise WorkbenchError(
            f"encoder {config.encoder!r}: expected an object with name, dimension and __call__(image, boxes_xyxy), its "
            "class, or a function of (detector, config, device) that returns one; see docs/own-encoder.md."
        )
    return _Wrapped(found)


class _Wrapped(RegionEncoder):
    """An encoder that does not derive from `RegionEncoder`."""

    def __init__(self, encoder: Any):
        self._encoder, self.name, self.dimension = encoder, str(encoder.name), int(encoder.dimension)
        self.support = getattr(encoder, "support", "signed")

    def __call__(self, image: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
        return self._encoder(image, boxes_xyxy)

    @property
    def identity(self) -> str:
        return getattr(self._encoder, "identity", None) or _identity(self._encoder)


def _identity(encoder: Any) -> str:
    weights = f" weights_sha256={weights_digest(encoder.state_dict())}" if isinstance(encoder, nn.Module) else ""
    return f"{encoder.name}{weights}"


class VGGEncoder(RegionEncoder):
    """VGG-16 Fast R-CNN: fc7 before its ReLU of each box, one product over all boxes of images of one shape."""

    def __init__(self, network: VGGNetwork, config: "ExtractionConfig", device: torch.device):
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()
        self.name, self.dimension = "vgg16", network.dimension
        self._device, self._batch_images, self._precision = device, config.batch_images, config.precision
        if config.precision == "auto":
            self._precision = "float32" if device.type == "cpu" else "bfloat16"

    @cached_property
    def identity(self) -> str:
        """Architecture, preparation of images, and a hash of the weights, which takes a second to compute."""
        return self.network.identity

    def __call__(self, image: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Features (n, D) float32 of the boxes of one image."""
        return self.encode([image], [boxes_xyxy])[0]

    def encode(self, images: Sequence[np.ndarray], boxes_xyxy: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Images of one shape after resizing go together; equal boxes of an image are computed once."""
        bgr_images = [torch.as_tensor(image).to(self._device, non_blocking=True).flip(-1) for image in images]
        prepared, scales = zip(*(prepare(bgr[None], self.network.config) for bgr in bgr_images), strict=True)
        features: list[np.ndarray] = [np.empty(0)] * len(images)
        pixels = int(PIXELS_PER_BATCH / self.network.config.width)
        for members in batches_of_equal_shape([image.shape[2:] for image in prepared], self._batch_images, pixels):
            own = [np.unique(boxes_xyxy[member], axis=0, return_inverse=True) for member in members]
            scaled = [scaled_boxes(xyxy, scales[m]).to(self._device) for m, (xyxy, _) in zip(members, own, strict=True)]
            rows = self._features(torch.cat([prepared[member] for member in members]), scaled)
            split = np.split(rows, np.cumsum([len(xyxy) for xyxy in scaled])[:-1])
            for member, distinct, (_, place) in zip(members, split, own, strict=True):
                features[member] = distinct[place.reshape(-1)]
        return features

    def refusal(self, height: int, width: int) -> str:
        """An image that is narrower than one position of the feature map after resizing."""
        _, shape = self.network.config.resizing(height, width)
        if min(shape) >= STRIDE:
            return ""
        return f"{height} x {width} pixels are {shape[0]} x {shape[1]} for the network: too narrow"

    def _features(self, images: Tensor, boxes: list[Tensor]) -> np.ndarray:
        half, dtype = self._precision != "float32", getattr(torch, self._precision)
        with torch.inference_mode(), torch.autocast(self._device.type, dtype, enabled=half):
            return self.network(images, boxes).float().cpu().numpy()  # (n, D)


@ENCODERS.register("vgg16")
def vgg16(detector: Path | None, config: "ExtractionConfig", device: torch.device) -> VGGEncoder:
    """The region encoder of a detector's checkpoint; sides that are given replace the checkpoint's."""
    if detector is None:
        raise WorkbenchError("the encoder 'vgg16' needs a detector: pre-train one, or give the path of a checkpoint.")
    sides = {name: side for name in ("short_side", "longest_side") if (side := getattr(config, name)) is not None}
    return VGGEncoder(open_detector(detector, **sides), config, device)
