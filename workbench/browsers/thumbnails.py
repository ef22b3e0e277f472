"""Thumbnails: small pictures that are cut from the picture files only when somebody looks at them."""

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from PIL import Image, ImageOps

from workbench.errors import WorkbenchError
from workbench.files import file_inside
from workbench.regions.picture_files import FAULTS

LONGEST_SIDE_PX = 400
JPEG_QUALITY = 85
KEPT_BYTES = 64 << 20


@dataclass(frozen=True)
class _Cut:
    path: Path
    # Left, top, right and bottom as shares of the picture, so that a resized copy of the picture serves as well.
    shares: tuple[float, float, float, float] | None


class Thumbnails:
    """JPEGs of at most 400 pixels a side from the pictures of one folder; the last 64 MB of them are kept.

    A page names a picture by its token, so that a browser can ask only for what a page has shown. ``absent`` is the
    first picture that a page named and the folder does not have.
    """

    def __init__(self, image_folder: Path | None):
        self.image_folder = None if image_folder is None else Path(image_folder)
        self.absent: str | None = None
        self._cuts: dict[str, _Cut] = {}
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def token(self, file_name: str, crop_xyxy=None, size: tuple[int, int] | None = None) -> str | None:
        """The name of a picture, or of the part within ``crop_xyxy`` (inclusive pixels of an image of ``size``).

        None where there is no such file; WorkbenchError for a name that leads outside the folder. Nothing is read.
        """
        path = picture_path(self.image_folder, file_name)
        if path is None:
            self.absent = self.absent or file_name or "a picture without a name"
            return None
        shares = None
        if crop_xyxy is not None:
            width, height = size
            x1, y1, x2, y2 = (float(value) for value in crop_xyxy)
            shares = (x1 / width, y1 / height, (x2 + 1) / width, (y2 + 1) / height)
        token = blake2b(f"{path}\0{shares}".encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()
        self._cuts[token] = _Cut(path, shares)
        return token

    def jpeg(self, token: str) -> bytes:
        """The picture of a token; WorkbenchError where the token is unknown or the file cannot be decoded."""
        with self._lock:
            if token in self._kept:
                self._kept.move_to_end(token)
                return self._kept[token]
        cut = self._cuts.get(token)
        if cut is None:
            raise WorkbenchError(f"there is no picture {token[:40]!r} on this page. Load the page again.")
        data = _jpeg(cut)
        with self._lock:
            self._kept[token] = data
            self._kept_bytes += len(data)
            while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped)
        return data


def picture_path(image_folder: Path | None, file_name: str) -> Path | None:
    """The picture's path, or None where there is none; a name that leaves the folder is refused."""
    if image_folder is None or not file_name:
        return None
    return file_inside(image_folder, file_name)


def _jpeg(cut: _Cut) -> bytes:
    try:
        with Image.open(cut.path) as file:
            if cut.shares is None:
                # JPEG decodes at a fraction of its size for a quarter of the time.
                file.draft("RGB", (LONGEST_SIDE_PX, LONGEST_SIDE_PX))
            picture = ImageOps.exif_transpose(file).convert("RGB")
        if cut.shares is not None:
            picture = picture.crop(_pixels(cut.shares, picture.size))
        picture.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BILINEAR)
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=JPEG_QUALITY)
    except FAULTS as error:
        raise WorkbenchError(f"{cut.path.name}: the picture cannot be read ({error}). Replace the file.") from error
    return written.getvalue()


def _pixels(shares: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture of ``size`` (width, height), at least one pixel and inside it."""
    (left, top, right, bottom), (width, height) = shares, size
    x1, y1 = (min(max(int(share * side), 0), side - 1) for share, side in ((left, width), (top, height)))
    x2, y2 = (min(round(share * side), side) for share, side in ((right, width), (bottom, height)))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)
