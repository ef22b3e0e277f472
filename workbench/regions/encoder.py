"""The region encoder: VGG-16 to conv5_3, RoIAlign 7x7, fc6 and fc7, as in LSVRU's Fast R-CNN."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from workbench.errors import WorkbenchError

# The channels of VGG-16's thirteen 3x3 convolutions; "pool" halves the map. The last pool is left out.
CHANNELS_AT_FULL_WIDTH = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)
DIMENSION_AT_FULL_WIDTH = 4096
STRIDE = 16
BINS = 7
CHANNEL_MEANS_BGR = (102.9801, 115.9465, 122.7717)

# Our module names, and those of the other two layouts in which these weights are handed around.
LTVRR_PREFIXES = {"convs.": "Conv_Body.convs.", "heads.": "Box_Head.heads."}
TORCHVISION_PREFIXES = {"convs.": "features.", "heads.": "classifier."}


@dataclass(frozen=True)
class EncoderConfig:
    """What a region encoder needs besides its weights.

    ``width`` scales all channels and the feature dimension; ``short_side`` and ``longest_side`` (pixels)
    and ``channel_means`` (blue, green, red, 0 to 255) say how pictures are prepared.
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
        """The fields as plain JSON values; ``EncoderConfig(**value)`` takes them back."""
        return asdict(self)


class RegionEncoder(nn.Module):
    """Features of boxes in pictures, taken before fc7's ReLU, so they are signed.

    At ``width`` 1 the layers are those of ``torchvision.models.vgg16`` without its last max-pool and without
    its classification layer. Reference 2.1-2.3 (LTVRR: VGG16.py, NO_FC7_RELU).
    """

    def __init__(self, width: float = 1.0, **preparation):
        super().__init__()
        self.config = EncoderConfig(width=width, **preparation)
        self.convs = _convolutions(width)
        channels = self.convs[-2].out_channels
        dimension = self.config.dimension
        self.heads = nn.Sequential(
            nn.Linear(channels * BINS * BINS, dimension),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(dimension, dimension),
        )
        self.apply(_kaiming)

    @classmethod
    def from_config(cls, config: EncoderConfig) -> "RegionEncoder":
        """An encoder with random weights for ``config``."""
        return cls(**config.as_dict())

    @property
    def dimension(self) -> int:
        """Length of a region feature."""
        return self.config.dimension

    def forward(self, images: Tensor, boxes: list[Tensor] | Tensor) -> Tensor:
        """Features of ``boxes``, one matmul over all boxes of the batch.

        ``images`` (B, 3, H, W) float, prepared by ``pictures.prepare``; ``boxes`` either B tensors (n_i, 4)
        x1, y1, x2, y2 or one (n, 5) with the picture's number first, in pixels of the resized picture.
        Returns (n, D), in the order of the boxes.
        """
        return self.heads(self.pooled(self.convs(images), boxes))

    def pooled(self, feature_map: Tensor, boxes: list[Tensor] | Tensor) -> Tensor:
        """RoIAlign with the adaptive number of samples and no half-pixel shift (reference 2.2).

        ``feature_map`` (B, C, h, w); returns (n, C * 49).
        """
        bins = roi_align(feature_map, boxes, BINS, spatial_scale=1 / STRIDE, sampling_ratio=-1, aligned=False)
        return bins.flatten(1)  # (n, C, 7, 7) -> (n, C * 49)

    def layout_state(self) -> dict[str, Tensor]:
        """The weights under the key names of LTVRR's detector (reference 2.8)."""
        return rename_keys(self.state_dict(), LTVRR_PREFIXES)

    @property
    def identity(self) -> str:
        """Architecture, preparation of pictures, and a hash of the weights, in one line.

        Two stores whose encoders have equal identities hold comparable features.
        """
        digest = hashlib.sha256()
        for key, weight in sorted(self.layout_state().items()):
            digest.update(key.encode())
            digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy())
        config = self.config
        means = ",".join(f"{mean:g}" for mean in config.channel_means)
        return (
            f"vgg16-roialign{BINS}-fc7 width={config.width:g} short_side={config.short_side} "
            f"longest_side={config.longest_side} means_bgr={means} weights_sha256={digest.hexdigest()[:32]}"
        )


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
        if entry == "pool":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        wider = max(1, round(entry * width))
        layers += [nn.Conv2d(channels, wider, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
        channels = wider
    return nn.Sequential(*layers)


def _kaiming(layer: nn.Module) -> None:
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
