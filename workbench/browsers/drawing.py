"""Relations as drawings: the image, both boxes, their union dashed; images are cut when somebody looks at them."""

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageOps

from workbench.errors import WorkbenchError
from workbench.files import file_inside
from workbench.regions.features import FeatureStore
from workbench.regions.images import FAULTS
from workbench.scenes.relations import BOX_COLUMNS, RelationTables, union_boxes
from workbench.scenes.vocabulary import ROLES

LONGEST_SIDE_PX = 400
JPEG_QUALITY = 85
KEPT_BYTES = 64 << 20
MOST_HEIGHT_PX = 230
BLANK_NOTE = "No image files with these relations: boxes on a blank canvas."
_LETTERS = {"subject": "S", "object": "O"}


@dataclass(frozen=True)
class _Cut:
    path: Path
    # Left, top, right and bottom as shares of the image, so that a resized copy of the image serves as well.
    shares: tuple[float, float, float, float] | None


class Thumbnails:
    """JPEGs of at most 400 pixels a side from the images of one folder; the last 64 MB of them are kept.

    A page names an image by its token, so that a browser can ask only for what a page has shown. ``absent`` is the
    first image that a page named and the folder does not have.
    """

    def __init__(self, image_folder: Path | None):
        self.image_folder = None if image_folder is None else Path(image_folder)
        self.absent: str | None = None
        self._cuts: dict[str, _Cut] = {}
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def token(
        self, file_name: str, crop_xyxy: np.ndarray | None = None, size: tuple[int, int] | None = None
    ) -> str | None:
        """The name of an image, or of the part within ``crop_xyxy`` (inclusive pixels of an image of ``size``).

        None where there is no such file; WorkbenchError for a name that leads outside the folder. Nothing is read.
        """
        path = image_path(self.image_folder, file_name)
        if path is None:
            self.absent = self.absent or file_name or "an image without a name"
            return None
        shares = None
        if crop_xyxy is not None and size is not None:
            width, height = size
            x1, y1, x2, y2 = (float(value) for value in crop_xyxy)
            shares = (x1 / width, y1 / height, (x2 + 1) / width, (y2 + 1) / height)
        token = blake2b(f"{path}\0{shares}".encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()
        self._cuts[token] = _Cut(path, shares)
        return token

    def jpeg(self, token: str) -> bytes:
        """The image of a token; WorkbenchError where the token is unknown or the file cannot be decoded."""
        with self._lock:
            if token in self._kept:
                self._kept.move_to_end(token)
                return self._kept[token]
        cut = self._cuts.get(token)
        if cut is None:
            raise WorkbenchError(f"there is no image {token[:40]!r} on this page. Load the page again.")
        data = _jpeg(cut)
        with self._lock:
            self._kept[token] = data
            self._kept_bytes += len(data)
            while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped)
        return data


def image_path(image_folder: Path | None, file_name: str) -> Path | None:
    """The image's path, or None where there is none; a name that leaves the folder is refused."""
    if image_folder is None or not file_name:
        return None
    return file_inside(image_folder, file_name)


def _jpeg(cut: _Cut) -> bytes:
    try:
        with Image.open(cut.path) as file:
            if cut.shares is None:
                # JPEG decodes at a fraction of its size for a quarter of the time.
                file.draft("RGB", (LONGEST_SIDE_PX, LONGEST_SIDE_PX))
            image = ImageOps.exif_transpose(file).convert("RGB")
        if cut.shares is not None:
            image = image.crop(_pixels(cut.shares, image.size))
        image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BILINEAR)
        written = io.BytesIO()
        image.save(written, "JPEG", quality=JPEG_QUALITY)
    except FAULTS as error:
        raise WorkbenchError(f"{cut.path.name}: the image cannot be read ({error}). Replace the file.") from error
    return written.getvalue()


def _pixels(shares: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of an image of ``size`` (width, height), at least one pixel and inside it."""
    (left, top, right, bottom), (width, height) = shares, size
    x1, y1 = (min(max(int(share * side), 0), side - 1) for share, side in ((left, width), (top, height)))
    x2, y2 = (min(round(share * side), side) for share, side in ((right, width), (bottom, height)))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


@dataclass(frozen=True)
class Scene:
    """One relation's image and boxes: ``width`` and ``height`` in pixels, boxes (4,) inclusive xyxy pixels."""

    file_name: str
    width: int
    height: int
    subject_xyxy: np.ndarray
    object_xyxy: np.ndarray

    @property
    def union_xyxy(self) -> np.ndarray:
        """The smallest box around both."""
        return union_boxes(self.subject_xyxy[None], self.object_xyxy[None])[0]


def scene_of(tables: RelationTables | FeatureStore, row: int) -> Scene:
    """The scene of one row of the relations table."""
    relation = tables.relations.iloc[int(row)]
    return _scene(tables, relation["image"], *(_box_of(tables, relation, role) for role in ("subject", "object")))


def scene_of_boxes(tables: RelationTables | FeatureStore, subject_box: int, object_box: int) -> tuple[Scene, Scene]:
    """Two rows of the box table as two scenes, each with its one box standing for both, perhaps in two images."""

    def alone(row: int) -> Scene:
        xyxy = _corners(tables, row)
        return _scene(tables, tables.boxes["image"].iat[int(row)], xyxy, xyxy)

    return alone(subject_box), alone(object_box)


def scene_svg(scene: Scene, thumbnails: Thumbnails, *, crop: bool = False, roles: Sequence[str] = ROLES) -> Markup:
    """The drawing of a scene with the boxes of ``roles`` (relation: the union); the image itself comes later.

    ``crop`` shows the union region alone. Without an image file the boxes stand on a grey canvas.
    """
    union = scene.union_xyxy
    # A box may reach outside its image, and is then drawn there.
    left, top, right, bottom = (float(value) for value in union) if crop else (0, 0, scene.width - 1, scene.height - 1)
    width, height = max(right - left + 1, 1.0), max(bottom - top + 1, 1.0)
    token = thumbnails.token(scene.file_name, union if crop else None, (scene.width, scene.height))
    place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    ground = f'<rect {place} class="wb-canvas"/>'
    if token is not None:
        ground += (
            f'<image {_cut_place(scene, union) if crop else place} preserveAspectRatio="none" data-image="{token}"/>'
        )
    boxes = {"relation": union, "subject": scene.subject_xyxy, "object": scene.object_xyxy}
    shown = [role for role in boxes if role in roles]
    drawn = "".join(_box(boxes[role], role) for role in shown)
    letters = "".join(_letter(boxes[role], role, (left, top, width, height)) for role in shown)
    # The frame has the drawing's shape, so that shares of it are shares of the drawing.
    frame = f"width:min(100%,{MOST_HEIGHT_PX * width / height:.0f}px);aspect-ratio:{width:.1f}/{height:.1f}"
    view = f"{left:.1f} {top:.1f} {width:.1f} {height:.1f}"
    svg = f'<svg viewBox="{view}" preserveAspectRatio="none" role="img">{ground}{drawn}</svg>'
    return Markup(f'<div class="wb-scene" style="{frame}">{svg}{letters}</div>')


def blank_note(thumbnails: Thumbnails) -> str:
    """What a page says once, after it has drawn its scenes, where there are no images; empty where all are there."""
    if thumbnails.image_folder is None:
        return BLANK_NOTE
    if thumbnails.absent is None:
        return ""
    return (
        f"{thumbnails.image_folder} lacks {thumbnails.absent}, and perhaps others: boxes on a blank canvas for these."
    )


def _box_of(tables: RelationTables | FeatureStore, relation, role: str) -> np.ndarray:
    own = [f"{role}_{corner}" for corner in BOX_COLUMNS]
    if set(own) <= set(tables.relations.columns):  # imported features keep both boxes in the relations table
        return relation[own].to_numpy(dtype=np.float32)
    return _corners(tables, relation[f"{role}_box"])


def _corners(tables: RelationTables | FeatureStore, box: int) -> np.ndarray:
    return tables.boxes[BOX_COLUMNS].iloc[int(box)].to_numpy(dtype=np.float32)


def _scene(tables: RelationTables | FeatureStore, image: int, subject: np.ndarray, object: np.ndarray) -> Scene:
    row = tables.images.iloc[int(image)]
    return Scene(str(row["file_name"]), int(row["width"]), int(row["height"]), subject, object)


def _cut_place(scene: Scene, union: np.ndarray) -> str:
    """Where the cut lies: what of the union is inside the image."""
    x1, y1 = (max(float(value), 0.0) for value in union[:2])
    x2, y2 = (min(float(value) + 1, side) for value, side in zip(union[2:], (scene.width, scene.height), strict=True))
    return f'x="{x1:.1f}" y="{y1:.1f}" width="{max(x2 - x1, 1):.1f}" height="{max(y2 - y1, 1):.1f}"'


def _box(box_xyxy: np.ndarray, role: str) -> str:
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    # Inclusive corners: a box from 3 to 5 is three pixels wide.
    place = f'x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1 + 1:.1f}" height="{y2 - y1 + 1:.1f}"'
    # The pale line behind keeps the coloured one visible on every image.
    return f'<rect {place} class="wb-halo"/><rect {place} class="wb-box wb-{role}"/>'


def _letter(box_xyxy: np.ndarray, role: str, view: tuple[float, float, float, float]) -> str:
    """S or O in the box's corner, so that the roles differ by more than their colours; of one size in every drawing."""
    if role not in _LETTERS:
        return ""
    left, top, width, height = view
    x, y = (100 * max(float(corner) - edge, 0.0) / side
            for corner, edge, side in ((box_xyxy[0], left, width), (box_xyxy[1], top, height)))  # fmt: skip
    place = f"left:{min(x, 95):.1f}%;top:{min(y, 95):.1f}%"
    return f'<span class="wb-letter wb-{role}" style="{place}">{_LETTERS[role]}</span>'
