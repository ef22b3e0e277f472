"""Image files: decoding them, and decoding many a little ahead of their use."""

import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

BATCHES_AHEAD = 3
# Pillow's decoders raise all of these for broken files; what they have in common is that the file is at fault.
FAULTS = (
    *(OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError),
    *(KeyError, IndexError, TypeError, OverflowError, struct.error, zlib.error),
)


@dataclass(frozen=True)
class UnreadableImage:
    """An image that could not be decoded whole, or that an encoder has no use for, and why."""

    file_name: str
    reason: str


def read_image(path: Path) -> np.ndarray | UnreadableImage:
    """Decode an image to (H, W, 3) uint8, red, green, blue.

    A missing, truncated or foreign file comes back as an ``UnreadableImage``. The decoder is Pillow, turned upright by
    the EXIF note as OpenCV does; a JPEG's pixels can differ from OpenCV's by a few grey levels where the two are built
    on different JPEG libraries. Grey levels are repeated, of 16 bits the upper eight are taken, transparency is
    ignored; of a file of several images it is the first.
    """
    try:
        with Image.open(path) as file:
            return _rgb(ImageOps.exif_transpose(file))
    except FAULTS as error:
        reason = "the file is missing" if isinstance(error, FileNotFoundError) else str(error)
        return UnreadableImage(Path(path).name, reason or type(error).__name__)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image as `read_image` gives it, upright by its EXIF note, mostly from its header alone.

    Raises one of FAULTS for a file that is no image.
    """
    with Image.open(path) as file:
        if file.format in ("PNG", "TIFF"):  # its note may stand behind the pixels; Pillow turns it by itself
            file.load()
        width, height = file.size
        turned = file.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return (height, width) if turned else (width, height)


def decoded(batches: Iterable[Iterable[Path]], threads: int) -> Iterator[list[np.ndarray | UnreadableImage]]:
    """The decoded images of each batch of files, in order; ``batches`` is read a few ahead."""
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        ahead: deque[list[Future]] = deque()
        for paths in batches:
            ahead.append([pool.submit(read_image, path) for path in paths])
            if len(ahead) > BATCHES_AHEAD:
                yield [image.result() for image in ahead.popleft()]
        while ahead:
            yield [image.result() for image in ahead.popleft()]


def batches_of_equal_shape(
    shapes: np.ndarray | Sequence[tuple[int, int]], most: int, pixels: int | None = None
) -> list[np.ndarray]:
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


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        # Pillow's own conversion would clip 16 bits at 255.
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))
