"""Picture files: their pixels in blue, green, red, and their shape by the header alone."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ORIENTATION = 0x0112
ON_THEIR_SIDE = (5, 6, 7, 8)
# Pillow's decoders raise all of these for broken files; what they have in common is that the file is at fault.
FAULTS = (
    *(OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError),
    *(KeyError, IndexError, TypeError, OverflowError, struct.error, zlib.error),
)


@dataclass(frozen=True)
class UnreadablePicture:
    """A picture that could not be decoded whole, and why."""

    file_name: str
    reason: str


def read_picture(path: Path) -> np.ndarray | UnreadablePicture:
    """Decode a picture to (H, W, 3) uint8, channels blue, green, red.

    A missing, truncated or foreign file comes back as an ``UnreadablePicture``. The decoder is Pillow, turned
    upright by the EXIF note as OpenCV does; a JPEG's pixels can differ from OpenCV's by a few grey levels where
    the two are built on different JPEG libraries. Grey levels are repeated, of 16 bits the upper eight are taken,
    transparency is ignored; of a file of several pictures it is the first.
    """
    try:
        with Image.open(path) as file:
            rgb = _rgb(ImageOps.exif_transpose(file))
    except FAULTS as error:
        return _unreadable(path, error)
    return np.ascontiguousarray(rgb[:, :, ::-1])


def picture_shape(path: Path) -> tuple[int, int] | UnreadablePicture:
    """Height and width of a picture, upright by the EXIF note, without decoding its pixels.

    A picture that is damaged beyond its header is not found out; one whose EXIF note stands behind its pixels
    (PNG allows it) has the shape before it is turned.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            # Asked for its EXIF note, a PNG file without one in front decodes itself in search of one. Pillow gives
            # the size of a TIFF file, whose note is no part of ``info``, as it is after turning.
            on_its_side = "exif" in file.info and file.getexif().get(ORIENTATION) in ON_THEIR_SIDE
    except FAULTS as error:
        return _unreadable(path, error)
    return (width, height) if on_its_side else (height, width)


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):
        # Pillow's own conversion would clip 16 bits at 255.
        grey = np.clip(np.asarray(picture).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(picture.convert("RGB"))


def _unreadable(path: Path, error: Exception) -> UnreadablePicture:
    reason = "the file is missing" if isinstance(error, FileNotFoundError) else str(error)
    return UnreadablePicture(Path(path).name, reason or type(error).__name__)
