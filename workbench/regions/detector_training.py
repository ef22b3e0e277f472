"""The detector while it is pre-trained: the encoder with batch normalisations, which are folded away afterwards."""

import itertools

import torch
from torch import Tensor, nn

from workbench.regions.encoder import BINS, STRIDE, RegionEncoder
from workbench.regions.roi_pooling import pooled_regions

# conv2_1: at full resolution the normalisations of conv1 cost as much as all others and help little.
FIRST_NORMALISED = 5


class DetectorInTraining(nn.Module):
    """A region encoder with a normalisation after nearly every layer, and a classifier on top.

    VGG-16 has no normalisation layers and learns slowly from scratch without them. A normalisation that follows a
    linear layer is itself linear at evaluation, so ``fold`` can write both into the encoder's layer: the result has
    exactly VGG-16's layers. Shares its layers with ``encoder``.
    """

    def __init__(self, encoder: RegionEncoder, classes: int, dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        for place, layer in enumerate(encoder.convs):
            layers.append(layer)
            if isinstance(layer, nn.Conv2d) and place >= FIRST_NORMALISED:
                layers.append(nn.BatchNorm2d(layer.out_channels))
        self.convs = nn.Sequential(*layers)
        self.fc6, self.fc7 = encoder.heads[0], encoder.heads[3]
        self.norm6, self.norm7 = nn.BatchNorm1d(encoder.dimension), nn.BatchNorm1d(encoder.dimension)
        self.dropout = nn.Dropout(dropout)
        self.cls_score = nn.Linear(encoder.dimension, classes + 1)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.zeros_(self.cls_score.bias)

    def forward(self, images: Tensor, boxes: list[Tensor]) -> Tensor:
        """Logits (n, classes + 1), background first; arguments as ``RegionEncoder.forward``."""
        pooled = pooled_regions(self.convs(images), boxes, BINS, 1 / STRIDE).flatten(1)  # (n, C * 49)
        hidden = self.dropout(torch.relu(self.norm6(self.fc6(pooled))))
        features = self.norm7(self.fc7(hidden))  # (n, D), signed
        return self.cls_score(torch.relu(features))

    @torch.no_grad()
    def fold(self) -> None:
        """Write the normalisations, as they act at evaluation, into the encoder's layers."""
        pairs = [(self.fc6, self.norm6), (self.fc7, self.norm7)]
        pairs += [(layer, norm) for layer, norm in itertools.pairwise(self.convs) if isinstance(norm, nn.BatchNorm2d)]
        for layer, norm in pairs:
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layer.weight.mul_(gain.view(-1, *[1] * (layer.weight.dim() - 1)))
            layer.bias.copy_((layer.bias - norm.running_mean) * gain + norm.bias)


def score_boxes(encoder: RegionEncoder, cls_score: nn.Linear, images: Tensor, boxes: list[Tensor]) -> Tensor:
    """Logits (n, classes + 1) of a folded detector."""
    return cls_score(torch.relu(encoder(images, boxes)))


def cpu_bfloat16_pays() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("amx_bf16") or abilities.get("avx512_bf16"))
