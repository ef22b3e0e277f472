"""VGG-16 to conv5_3, RoIAlign 7x7, fc6 and fc7, as in LSVRU's Fast R-CNN: its images, its layers, its checkpoints.

Checkpoints come as LTVRR's pickled tensors and as our own safetensors, under the same names.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workbench.checkpoints import read_foreign, save_tensors, weight_faults
from workbench.errors import WorkbenchError
from workbench.escaping import escaped
from workbench.ranges import Count, Factor, Ranged

DIMENSION_AT_FULL_WIDTH = 4096
STRIDE = 16
BINS = 7
CHANNEL_MEANS_BGR = (102.9801, 115.9465, 122.7717)
FORMAT = "workbench region detector 2"
# LTVRR's key names of the two parts of the encoder, and of what a detector has beyond it: its proposals and its own
# outputs (reference 2.8).
PREFIXES = ("Conv_Body.convs.", "Box_Head.heads.")
IGNORED = ("RPN.", "Box_Outs.")
WIDTH_KEY = "Box_Head.heads.3.bias"
REMEDY = "Pre-train a detector again, or give an LTVRR checkpoint (.pth)."


@dataclass(frozen=True)
class VGGConfig(Ranged):
    """What a region encoder needs besides its weights.

    ``width`` scales all channels and the feature dimension; ``short_side`` and ``longest_side`` (pixels)
    and ``channel_means`` (blue, green, red, 0 to 255) say how images are prepared.
    """

    width: Factor = 1.0
    short_side: Count = 800
    longest_side: Count = 1333
    channel_means: tuple[float, float, float] = CHANNEL_MEANS_BGR

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "channel_means", tuple(float(mean) for mean in self.channel_means))
        if self.short_side > self.longest_side or len(self.channel_means) != 3:
            raise WorkbenchError(f"{self}: expected short_side <= longest_side, and means of blue, green and red.")

    @property
    def dimension(self) -> int:
        """Length of a region feature: 4096 at width 1."""
        return round(DIMENSION_AT_FULL_WIDTH * self.width)

    def resizing(self, height: int, width: int) -> tuple[float, tuple[int, int]]:
        """The scale of an image and its (height, width) then, halves rounded to even as OpenCV does.

        The shorter side becomes ``short_side`` unless the longer one would pass ``longest_side``.
        """
        scale = self.short_side / min(height, width)
        if round(scale * max(height, width)) > self.longest_side:
            scale = self.longest_side / max(height, width)
        return scale, (max(1, round(height * scale)), max(1, round(width * scale)))


class VGGNetwork(nn.Module):
    """Features of boxes in images, taken before fc7's ReLU, so they are signed.

    At ``width`` 1 the layers are those of ``torchvision.models.vgg16`` without its last max-pool and without
    its classification layer. Reference 2.1-2.3 (LTVRR: VGG16.py, NO_FC7_RELU).
    """

    def __init__(self, width: float = 1.0, **preparation: Any):
        from torchvision.models.vgg import cfgs, make_layers

        super().__init__()
        self.config = VGGConfig(width=width, **preparation)
        self.dimension = self.config.dimension
        channels = [entry if isinstance(entry, str) else max(1, round(entry * width)) for entry in cfgs["D"]]
        self.convs = make_layers(channels)[:-1]
        self.heads = nn.Sequential(
            nn.Linear(int(channels[-2]) * BINS * BINS, self.dimension),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(self.dimension, self.dimension),
        )
        for layer in (*self.convs, *self.heads):
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, boxes: list[Tensor] | Tensor) -> Tensor:
        """Features of ``boxes``, one matmul over all boxes of the batch.

        ``images`` (B, 3, H, W) float, prepared by ``prepare``; ``boxes`` either B tensors (n_i, 4)
        x1, y1, x2, y2 or one (n, 5) with the image's number first, in pixels of the resized image.
        Returns (n, D), in the order of the boxes.
        """
        return self.heads(pooled_regions(self.convs(images), boxes))

    def layout_state(self) -> dict[str, Tensor]:
        """The weights under the key names of LTVRR's detector (reference 2.8), in the order of ``state_dict``."""
        parts = zip(PREFIXES, (self.convs, self.heads), strict=True)
        return {prefix + key: weight for prefix, part in parts for key, weight in part.state_dict().items()}

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
    from torchvision.ops import roi_align

    bins = roi_align(feature_map, boxes, BINS, spatial_scale=1 / STRIDE, sampling_ratio=-1, aligned=False)
    return bins.flatten(1)  # (n, C, 7, 7) -> (n, C * 49)


def prepare(bgr: np.ndarray | Tensor, config: VGGConfig) -> tuple[Tensor, float]:
    """Subtract the channel means, then resize bilinearly without antialiasing (reference 1.5).

    ``bgr`` (B, H, W, 3), blue, green, red, 0 to 255, uint8 or float32; returns (B, 3, h, w) float32 in channels-last
    memory, and the scale. Sample positions follow the scale and not the rounded size, which is what OpenCV does when
    it is given factors (blob.py).
    """
    bgr = torch.as_tensor(bgr)
    means = torch.tensor(config.channel_means, dtype=torch.float32, device=bgr.device)
    images = (bgr.to(torch.float32) - means).permute(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W), channels last
    scale, shape = config.resizing(*bgr.shape[1:3])
    if scale != 1:
        # torch.nn.functional.interpolate takes either a size or a factor; the operator beneath takes both.
        images = torch.ops.aten.upsample_bilinear2d(images, list(shape), False, scale, scale)
    return images, scale


def scaled_boxes(box_xyxy: np.ndarray | Tensor, scale: float) -> Tensor:
    """Boxes in pixels of the resized image: each coordinate times the scale, with no +1 (reference 2.2)."""
    return torch.as_tensor(box_xyxy, dtype=torch.float32) * scale


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits of a SHA-256 of weights and their names."""
    digest = hashlib.sha256()
    for key, weight in sorted(state.items()):
        digest.update(key.encode())
        digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()[:32]


def save_detector(path: Path, network: VGGNetwork, extra: Mapping[str, Tensor] | None = None, **details: Any) -> None:
    """Write ``network`` as safetensors under LTVRR's key names, atomically.

    ``extra`` holds further tensors, for example ``Box_Outs.cls_score.weight``; ``details`` are JSON values for the
    metadata, among them ``classes``, the pre-training class names.
    """
    facts = details | {"format": FORMAT, "config": asdict(network.config)}
    save_tensors(path, network.layout_state() | dict(extra or {}), facts)


def open_detector(path: Path, **preparation: Any) -> VGGNetwork:
    """A network in evaluation mode with all its weights from a checkpoint; anything short of all is refused.

    ``path`` is a file of our own, a folder that holds ``detector.safetensors``, or the weights of an LTVRR detector
    (reference 2.8), alone or as its training wrote them. The width comes from the file, and so does the preparation of
    images where the file knows it; ``preparation`` (short_side, longest_side, channel_means) replaces it. A
    WorkbenchError lists all keys that are missing, extra or misshapen.
    """
    path = Path(path)
    path = path / "detector.safetensors" if (path / "detector.safetensors").is_file() else path
    read = read_foreign(path)
    state, facts = read.tensors, read.facts
    if facts is not None:
        if facts.get("format") != FORMAT:
            raise WorkbenchError(f"{path}: its format is {facts.get('format')!r}, expected {FORMAT!r}. {REMEDY}")
        config = facts["config"]
    else:
        if state.get(WIDTH_KEY, torch.empty(())).ndim != 1:
            names = ", ".join(sorted({escaped(name.split(".")[0], 40) for name in state})[:5])
            raise WorkbenchError(
                f"{path}: has no {WIDTH_KEY!r}, only {names}, so it is no VGG-16 detector in the LTVRR layout. {REMEDY}"
            )
        config = {"width": len(state[WIDTH_KEY]) / DIMENSION_AT_FULL_WIDTH}
    with torch.device("meta"):  # random weights would take memory and time, and somebody else's random numbers
        network = VGGNetwork(**(config | preparation))
    given = {key: weight for key, weight in state.items() if not key.startswith(IGNORED)}
    expected = network.layout_state()
    if faults := weight_faults(expected, given):
        listed = "\n  ".join(faults)
        raise WorkbenchError(
            f"{path}: the checkpoint does not cover the region encoder, so some weights would stay random:\n  {listed}"
            "\nUse a VGG-16 Fast R-CNN detector of the encoder's width, or open it with the width of the file."
        )
    loading = {ours: given[key].to(torch.float32) for ours, key in zip(network.state_dict(), expected, strict=True)}
    network.load_state_dict(loading, assign=True)
    return network.eval()
