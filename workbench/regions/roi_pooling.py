"""RoIAlign as two small matrix products: the numbers of torchvision's operator, several times faster on a CPU."""

import torch
from torch import Tensor
from torchvision.ops import roi_align


def pooled_regions(feature_map: Tensor, boxes: list[Tensor], bins: int, spatial_scale: float) -> Tensor:
    """Average of each of ``bins`` x ``bins`` cells of each box (reference 2.2).

    ``feature_map`` (B, C, h, w); ``boxes`` B tensors (n_i, 4) xyxy in pixels of the picture, which
    ``spatial_scale`` brings to the map. Returns (n, C, bins, bins), equal to ``torchvision.ops.roi_align`` with
    ``sampling_ratio=-1, aligned=False``. On a GPU it is that operator.
    """
    if feature_map.device.type != "cpu":
        return roi_align(feature_map, boxes, bins, spatial_scale, sampling_ratio=-1, aligned=False)
    xyxy = torch.cat(list(boxes)) * spatial_scale  # (n, 4), map units
    height, width = feature_map.shape[2:]
    # A cell's value is a mean over a grid of bilinear samples, so its weights are an outer product of rows and columns.
    columns = _sample_weights(xyxy[:, 0], xyxy[:, 2], bins, width).to(feature_map.dtype)  # (n, bins, w)
    rows = _sample_weights(xyxy[:, 1], xyxy[:, 3], bins, height).to(feature_map.dtype)  # (n, bins, h)
    counts = [len(own) for own in boxes]
    pooled = [_weighted(*own) for own in zip(feature_map, rows.split(counts), columns.split(counts), strict=True)]
    return torch.cat(pooled).permute(0, 3, 1, 2)  # (n, bins, bins, C) -> (n, C, bins, bins)


def _weighted(feature_map: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    channels, height, width = feature_map.shape
    count, bins = rows.shape[:2]
    by_row = feature_map.permute(1, 2, 0).reshape(height, width * channels)
    strips = rows.reshape(count * bins, height) @ by_row  # (n * bins, w * C)
    return columns.unsqueeze(1) @ strips.view(count, bins, width, channels)  # (n, bins, bins, C)


def _sample_weights(low: Tensor, high: Tensor, bins: int, size: int) -> Tensor:
    """Weight (n, bins, size) of each map position in each bin, along one axis.

    ``low`` and ``high`` (n,) in map units. A box is at least one position long; a bin has ceil(length / bins)
    equally spaced samples; a sample beyond the map by more than one position counts as zero, a nearer one is moved
    to the border.
    """
    length = (high - low).clamp(min=1.0)
    samples = torch.ceil(length / bins)  # (n,)
    most = int(samples.max()) if len(samples) else 0
    number = torch.arange(most, dtype=low.dtype)
    offset = (number + 0.5) / samples[:, None]  # (n, most), in bins
    bin_start = torch.arange(bins, dtype=low.dtype)
    place = low[:, None, None] + (bin_start[:, None] + offset[:, None, :]) * (length / bins)[:, None, None]
    counts = (number < samples[:, None])[:, None, :] & (place >= -1) & (place <= size)
    place = place.clamp(0, size - 1)  # (n, bins, most)
    positions = torch.arange(size, dtype=low.dtype)
    near = (1 - (place[..., None] - positions).abs()).clamp(min=0)  # (n, bins, most, size)
    return (near * counts[..., None]).sum(dim=2) / samples[:, None, None]
