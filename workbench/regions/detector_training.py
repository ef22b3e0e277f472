"""The detector while it is pre-trained: the encoder with batch normalisations, which are folded away afterwards."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.devices import network_autocast, network_precision
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
        self.dropout = dropout
        self.cls_score = nn.Linear(encoder.dimension, classes + 1)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.zeros_(self.cls_score.bias)

    def forward(self, images: Tensor, boxes: list[Tensor], keep: Tensor | None = None) -> Tensor:
        """Logits (n, classes + 1), background first; ``keep`` is a dropout mask (n, D) or None."""
        pooled = pooled_regions(self.convs(images), boxes, BINS, 1 / STRIDE).flatten(1)  # (n, C * 49)
        hidden = torch.relu(self.norm6(self.fc6(pooled)))
        hidden = hidden if keep is None else hidden * keep
        features = self.norm7(self.fc7(hidden))  # (n, D), signed
        return self.cls_score(torch.relu(features))

    def dropout_mask(self, boxes: int) -> Tensor:
        """What is kept of fc6 for each of n boxes, (n, D), scaled; drawn by the caller's thread, so that it repeats."""
        keep = torch.full((boxes, self.fc6.out_features), 1.0 - self.dropout)
        return (torch.bernoulli(keep) / (1.0 - self.dropout)).to(self.fc6.weight.device)

    @torch.no_grad()
    def fold(self) -> None:
        """Write the normalisations, as they act at evaluation, into the encoder's layers."""
        pairs = [(self.fc6, self.norm6), (self.fc7, self.norm7)]
        pairs += [(layer, norm) for layer, norm in itertools.pairwise(self.convs) if isinstance(norm, nn.BatchNorm2d)]
        for layer, norm in pairs:
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layer.weight.mul_(gain.view(-1, *[1] * (layer.weight.dim() - 1)))
            layer.bias.copy_((layer.bias - norm.running_mean) * gain + norm.bias)


def share_of_loss(
    network: DetectorInTraining, images: Tensor, boxes: list[Tensor], labels: Tensor, keep: Tensor, rows: int
) -> Tensor:
    """What these boxes add to the mean cross-entropy over a batch of ``rows`` boxes; bfloat16 where that pays."""
    with network_autocast(images.device, network_precision(images.device)):
        logits = network(images, boxes, keep)
    return functional.cross_entropy(logits.float(), labels, reduction="sum") / rows


def halves(images: Tensor, boxes: list[Tensor], labels: Tensor, keep: Tensor) -> list[tuple]:
    """The arguments of `share_of_loss` for the first and the second half of the images; one part on a GPU."""
    rows = len(labels)
    middle = 0 if images.is_cuda or len(images) < 2 else len(images) // 2
    first = sum(len(own) for own in boxes[:middle])
    if not 0 < first < rows:
        return [(images, boxes, labels, keep, rows)]
    parts = ((slice(None, middle), slice(None, first)), (slice(middle, None), slice(first, None)))
    return [(images[own], boxes[own], labels[place], keep[place], rows) for own, place in parts]


def score_boxes(encoder: RegionEncoder, cls_score: nn.Linear, images: Tensor, boxes: list[Tensor]) -> Tensor:
    """Logits (n, classes + 1) of a folded detector."""
    return cls_score(torch.relu(encoder(images, boxes)))
