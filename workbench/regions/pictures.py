"""Pictures as the detector expects them: blue-green-red, means subtracted, then resized (reference 1.5)."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.progress import track
from workbench.regions.encoder import EncoderConfig
from workbench.regions.picture_files import UnreadablePicture, read_picture

BYTES_KEPT = 1 << 30


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


def prepare(pictures: np.ndarray | Tensor, config: EncoderConfig) -> tuple[Tensor, float]:
    """Subtract the channel means, then resize bilinearly without antialiasing.

    ``pictures`` (B, H, W, 3), blue-green-red, 0 to 255, uint8 or float32; returns (B, 3, h, w) float32 in
    channels-last memory, and the scale. Sample positions follow the scale and not the rounded size, which is
    what OpenCV does when it is given factors (reference 1.5: blob.py).
    """
    pictures = torch.as_tensor(pictures)
    height, width = pictures.shape[1:3]
    means = torch.tensor(config.channel_means, dtype=torch.float32, device=pictures.device)
    images = (pictures.to(torch.float32) - means).permute(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W), channels last
    scale = resize_scale(height, width, config.short_side, config.longest_side)
    if scale != 1:
        shape = list(resized_shape(height, width, scale))
        # torch.nn.functional.interpolate takes either a size or a factor; the operator beneath takes both.
        images = torch.ops.aten.upsample_bilinear2d(images, shape, False, scale, scale)
    return images, scale


def scaled_boxes(box_xyxy: np.ndarray | Tensor, scale: float) -> Tensor:
    """Boxes in pixels of the resized picture: each coordinate times the scale, with no +1 (reference 2.2)."""
    return torch.as_tensor(box_xyxy, dtype=torch.float32) * scale


def batches_of_equal_shape(shapes: Sequence[tuple[int, int]], most: int, pixels: int | None = None) -> list[np.ndarray]:
    """Indices of pictures in batches whose pictures have one shape, in a fixed order.

    ``shapes`` (height, width) for each picture; a batch has at most ``most`` pictures and, beyond the first,
    at most ``pixels`` pixels together.
    """
    table = np.asarray(shapes, dtype=np.int64).reshape(-1, 2)
    batches = []
    for height, width in np.unique(table, axis=0):
        members = np.flatnonzero((table == (height, width)).all(axis=1))
        size = most if pixels is None else int(np.clip(pixels // (height * width), 1, most))
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches


class PictureReader:
    """Decodes pictures a little ahead of their use and keeps decoded ones while they fit in ``bytes_kept``.

    Neither the threads nor what is kept changes the result.
    """

    def __init__(self, paths: Sequence[Path], *, threads: int = 2, bytes_kept: int = BYTES_KEPT):
        self.paths = [Path(path) for path in paths]
        self._threads = threads
        self._room = bytes_kept
        self._kept: dict[int, np.ndarray] = {}

    def survey(self, description: str) -> list[tuple[int, int] | UnreadablePicture]:
        """Decode every picture once: its height and width, or why it cannot be read."""
        with ThreadPoolExecutor(self._threads) as pool:
            return [
                self._noted(index, picture)
                for index, picture in enumerate(track(pool.map(read_picture, self.paths), description, len(self.paths)))
            ]

    def batches(self, batches: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Pictures (B, H, W, 3) uint8 of each batch of indices; the pictures of a batch have one shape.

        Raises a WorkbenchError for a picture that cannot be read (any more): survey first.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            ahead = self._requested(pool, batches[0]) if len(batches) else []
            for following in [*batches[1:], ()]:
                pictures = [item.result() if isinstance(item, Future) else item for item in ahead]
                ahead = self._requested(pool, following)
                yield np.stack(pictures)

    def _requested(self, pool: ThreadPoolExecutor, indices: Sequence[int]) -> list[np.ndarray | Future]:
        return [
            self._kept[index] if index in self._kept else pool.submit(_read_or_raise, self.paths[index])
            for index in map(int, indices)
        ]

    def _noted(self, index: int, picture: np.ndarray | UnreadablePicture) -> tuple[int, int] | UnreadablePicture:
        if isinstance(picture, UnreadablePicture):
            return picture
        if picture.nbytes <= self._room:
            self._room -= picture.nbytes
            self._kept[index] = picture
        return picture.shape[:2]


def _read_or_raise(path: Path) -> np.ndarray:
    picture = read_picture(path)
    if isinstance(picture, UnreadablePicture):
        raise WorkbenchError(f"{path}: the picture cannot be read ({picture.reason}). Restore it and run again.")
    return picture
