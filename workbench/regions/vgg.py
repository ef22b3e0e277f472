"""VGG-16 to conv5_3, RoIAlign 7x7, fc6 and fc7, as in LSVRU's Fast R-CNN, and how images are prepared for it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from workbench.errors import WorkbenchError

# The channels of VGG-16's thirteen 3x3 convolutions; "pool" halves the map. The last pool is left out.
CHANNELS_AT_FULL_WIDTH = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)
CHANNELS_OF_THE_MAP = 512
DIMENSION_AT_FULL_WIDTH = 4096
STRIDE = 16
BINS = 7
CHANNEL_MEANS_BGR = (102.9801, 115.9465, 122.7717)

# Our module names, and those of the other two layouts in which these weights are handed around.
LTVRR_PREFIXES = {"convs.": "Conv_Body.convs.", "heads.": "Box_Head.heads."}
TORCHVISION_PREFIXES = {"convs.": "features.", "heads.": "classifier."}


@dataclass(frozen=True)
class VGGConfig:
    """What a region encoder needs besides its weights.

    ``width`` scales all channels and the feature dimension; ``short_side`` and ``longest_side`` (pixels)
    and ``channel_means`` (blue, green, red, 0 to 255) say how images are prepared.
    """

    width: float = 1.0
    short_side: int = 800
    longest_side: int = 1333
    channel_means: tuple[float, float, float] = CHANNEL_MEANS_BGR

    def __post_init__(self):
        object.__setattr__(self, "channel_means", tuple(float(mean) for mean in self.channel_means))
        if not (self.width > 0 and 0 < self.short_side <= self.longest_side and len(self.channel_means) == 3):
            raise WorkbenchError(
                f"{self}: expected width > 0, 0 < short_side <= longest_side, three channel means (blue, green, red)."
            )

    @property
    def dimension(self) -> int:
        """Length of a region feature: 4096 at width 1."""
        return round(DIMENSION_AT_FULL_WIDTH * self.width)

    def as_dict(self) -> dict:
        """The fields as plain JSON values; ``VGGConfig(**value)`` takes them back."""
        return asdict(self)


class VGGNetwork(nn.Module):
    """Features of boxes in images, taken before fc7's ReLU, so they are signed.

    At ``width`` 1 the layers are those of ``torchvision.models.vgg16`` without its last max-pool and without
    its classification layer. Reference 2.1-2.3 (LTVRR: VGG16.py, NO_FC7_RELU).
    """

    def __init__(self, width: float = 1.0, **preparation):
        super().__init__()
        self.config = VGGConfig(width=width, **preparation)
        self.convs = _convolutions(width)
        channels = _scaled(CHANNELS_OF_THE_MAP, width)
        dimension = self.config.dimension
        self.heads = nn.Sequential(
            nn.Linear(channels * BINS * BINS, dimension),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(dimension, dimension),
        )
        self.apply(_kaiming)

    @classmethod
    def from_config(cls, config: VGGConfig) -> "VGGNetwork":
        """An encoder with random weights for ``config``."""
        return cls(**config.as_dict())

    @property
    def dimension(self) -> int:
        """Length of a region feature."""
        return self.config.dimension

    def forward(self, images: Tensor, boxes: list[Tensor] | Tensor) -> Tensor:
        """Features of ``boxes``, one matmul over all boxes of the batch.

        ``images`` (B, 3, H, W) float, prepared by ``prepare``; ``boxes`` either B tensors (n_i, 4)
        x1, y1, x2, y2 or one (n, 5) with the image's number first, in pixels of the resized image.
        Returns (n, D), in the order of the boxes.
        """
        return self.heads(pooled_regions(self.convs(images), boxes))

    def layout_state(self) -> dict[str, Tensor]:
        """The weights under the key names of LTVRR's detector (reference 2.8)."""
        return rename_keys(self.state_dict(), LTVRR_PREFIXES)

    @property
    def identity(self) -> str:
        """Architecture, preparation of images, and a hash of the weights, in one line.

        Two stores whose encoders have equal identities hold comparable features.
        """
        config = self.config
        means = ",".join(f"{mean:g}" for mean in config.channel_means)
        return (
            f"vgg16-roialign{BINS}-fc7 width={config.width:g} short_side={config.short_side} "
            f"longest_side={config.longest_side} means_bgr={means} weights_sha256={weights_digest(self.layout_state())}"
        )


def pooled_regions(feature_map: Tensor, boxes: list[Tensor] | Tensor) -> Tensor:
    """RoIAlign with the adaptive number of samples and no half-pixel shift (reference 2.2).

    ``feature_map`` (B, C, h, w), ``boxes`` in pixels of the resized images; returns (n, C * 49).
    """
    bins = roi_align(feature_map, boxes, BINS, spatial_scale=1 / STRIDE, sampling_ratio=-1, aligned=False)
    return bins.flatten(1)  # (n, C, 7, 7) -> (n, C * 49)


def resize_scale(height: int, width: int, short_side: int, longest_side: int) -> float:
    """Factor that brings the shorter side to ``short_side`` unless the longer one would pass ``longest_side``."""
    shorter, longer = min(height, width), max(height, width)
    scale = short_side / shorter
    if round(scale * longer) > longest_side:
        scale = longest_side / longer
    return scale


def resized_shape(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width after resizing, halves rounded to even as OpenCV does."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def prepare(bgr: np.ndarray | Tensor, config: VGGConfig) -> tuple[Tensor, float]:
    """Subtract the channel means, then resize bilinearly without antialiasing (reference 1.5).

    ``bgr`` (B, H, W, 3), blue, green, red, 0 to 255, uint8 or float32; returns (B, 3, h, w) float32 in channels-last
    memory, and the scale. Sample positions follow the scale and not the rounded size, which is what OpenCV does when
    it is given factors (blob.py).
    """
    bgr = torch.as_tensor(bgr)
    height, width = bgr.shape[1:3]
    means = torch.tensor(config.channel_means, dtype=torch.float32, device=bgr.device)
    images = (bgr.to(torch.float32) - means).permute(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W), channels last
    scale = resize_scale(height, width, config.short_side, config.longest_side)
    if scale != 1:
        shape = list(resized_shape(height, width, scale))
        # torch.nn.functional.interpolate takes either a size or a factor; the operator beneath takes both.
        images = torch.ops.aten.upsample_bilinear2d(images, shape, False, scale, scale)
    return images, scale


def scaled_boxes(box_xyxy: np.ndarray | Tensor, scale: float) -> Tensor:
    """Boxes in pixels of the resized image: each coordinate times the scale, with no +1 (reference 2.2)."""
    return torch.as_tensor(box_xyxy, dtype=torch.float32) * scale


def batches_of_equal_shape(shapes: Sequence[tuple[int, int]], most: int, pixels: int | None = None) -> list[np.ndarray]:
    """Indices of images in batches whose images have one shape, in a fixed order.

    ``shapes`` (height, width) for each image; a batch has at most ``most`` images and, beyond the first,
    at most ``pixels`` pixels together.
    """
    table = np.asarray(shapes, dtype=np.int64).reshape(-1, 2)
    batches = []
    for height, width in np.unique(table, axis=0):
        members = np.flatnonzero((table == (height, width)).all(axis=1))
        size = most if pixels is None else int(np.clip(pixels // (height * width), 1, most))
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits of a SHA-256 of weights and their names."""
    digest = hashlib.sha256()
    for key, weight in sorted(state.items()):
        digest.update(key.encode())
        digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()[:32]


def rename_keys(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """``state`` with the first matching prefix of each key exchanged; keys that match none are kept."""
    renamed = {}
    for key, weight in state.items():
        old = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
        renamed[prefixes.get(old, "") + key.removeprefix(old)] = weight
    return renamed


def _convolutions(width: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for entry in CHANNELS_AT_FULL_WIDTH:
        if isinstance(entry, str):
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        wider = _scaled(entry, width)
        layers += [nn.Conv2d(channels, wider, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
        channels = wider
    return nn.Sequential(*layers)


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _kaiming(layer: nn.Module) -> None:
    if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
