"""Relations as drawings: the image, both boxes, their union dashed; images are cut when somebody looks at them."""

import html
import io
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image, ImageOps

from workbench.errors import WorkbenchError
from workbench.figures.pages import rendered
from workbench.files import file_inside
from workbench.regions.features import FeatureStore
from workbench.regions.images import FAULTS
from workbench.scenes.relations import BOX_COLUMNS, RelationTables, union_boxes
from workbench.scenes.vocabulary import ROLES

LONGEST_SIDE_PX = 400
JPEG_QUALITY = 85
MOST_KEPT = 1500  # images of some 40 kB
MOST_HEIGHT_PX = 230
# Left, top, right and bottom as shares of an image, so that a resized copy of it serves as well.
Shares = tuple[float, float, float, float]


class Thumbnails:
    """JPEGs of at most 400 pixels a side from the images of one folder; those looked at last are kept.

    A page names an image by its token, so that a browser can ask only for what a page has shown. ``absent`` is the
    first image that a page named and the folder does not have.
    """

    def __init__(self, image_folder: Path | None):
        self.image_folder = None if image_folder is None else Path(image_folder)
        self.absent: str | None = None
        self._cuts: dict[str, tuple[Path, Shares | None]] = {}
        self._read = lru_cache(maxsize=MOST_KEPT)(_jpeg)

    def token(
        self, file_name: str, crop_xyxy: np.ndarray | None = None, size: tuple[int, int] | None = None
    ) -> str | None:
        """The name of an image, or of the part within ``crop_xyxy`` (inclusive pixels of an image of ``size``).

        None where there is no such file; WorkbenchError for a name that leads outside the folder. Nothing is read.
        """
        path = file_inside(self.image_folder, file_name) if self.image_folder and file_name else None
        if path is None:
            self.absent = self.absent or file_name or "an image without a name"
            return None
        shares = None
        if crop_xyxy is not None and size is not None:
            width, height = size
            x1, y1, x2, y2 = (float(value) for value in crop_xyxy)
            shares = (x1 / width, y1 / height, (x2 + 1) / width, (y2 + 1) / height)
        token = blake2b(f"{path}\0{shares}".encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()
        self._cuts[token] = (path, shares)
        return token

    def jpeg(self, token: str) -> bytes:
        """The image of a token; WorkbenchError where the token is unknown or the file cannot be decoded."""
        if token not in self._cuts:
            raise WorkbenchError(f"there is no image {token[:40]!r} on this page. Load the page again.")
        return self._read(*self._cuts[token])

    def note(self) -> str:
        """What a page says once, after it has drawn its scenes, where there are no images; empty where all are."""
        if self.image_folder is None:
            return "No image files with these relations: boxes on a blank canvas."
        if self.absent is None:
            return ""
        return f"{self.image_folder} lacks {self.absent}, and perhaps others: boxes on a blank canvas for these."


def sheet_html(body: str, thumbnails: Thumbnails) -> str:
    """HTML in the browsers' style, with the images that its tokens name; those that cannot be read are named below."""
    problems: dict[str, None] = {}

    def embedded(found: re.Match) -> str:
        try:
            return f'href="data:image/jpeg;base64,{b64encode(thumbnails.jpeg(found[1])).decode()}"'
        except WorkbenchError as error:
            problems[str(error)] = None
            return 'data-failed="true"'

    body = re.sub(r'data-image="([0-9a-f]+)"', embedded, body.replace(' tabindex="0" role="button"', ""))
    notes = "".join(f'<p class="wb-problem">{html.escape(problem)}</p>' for problem in problems)
    style = Path(__file__).with_name("browsers.css").read_text(encoding="utf-8")
    return f'<style>{style}</style><div class="wb wb-static">{body}{notes}</div>'


def _jpeg(path: Path, shares: Shares | None) -> bytes:
    try:
        with Image.open(path) as file:
            if shares is None:
                # JPEG decodes at a fraction of its size for a quarter of the time.
                file.draft("RGB", (LONGEST_SIDE_PX, LONGEST_SIDE_PX))
            image = ImageOps.exif_transpose(file).convert("RGB")
        if shares is not None:
            # At least one pixel, and inside the image.
            width, height = image.size
            x1, y1 = (min(max(int(share * side), 0), side - 1) for share, side in zip(shares, image.size, strict=False))
            x2, y2 = min(round(shares[2] * width), width), min(round(shares[3] * height), height)
            image = image.crop((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))
        image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BILINEAR)
        written = io.BytesIO()
        image.save(written, "JPEG", quality=JPEG_QUALITY)
    except FAULTS as error:
        raise WorkbenchError(f"{path.name}: the image cannot be read ({error}). Replace the file.") from error
    return written.getvalue()


@dataclass(frozen=True)
class Scene:
    """One relation's image and boxes: ``width`` and ``height`` in pixels, boxes (4,) inclusive xyxy pixels."""

    file_name: str
    width: int
    height: int
    subject_xyxy: np.ndarray
    object_xyxy: np.ndarray


def scene_of(tables: RelationTables | FeatureStore, row: int) -> Scene:
    """The scene of one row of the relations table."""
    relation, boxes = tables.relations.iloc[int(row)], []
    for role in ("subject", "object"):
        own = [f"{role}_{corner}" for corner in BOX_COLUMNS]
        # Imported features keep both boxes in the relations table.
        inside = own[0] in relation
        boxes.append(relation[own] if inside else tables.boxes[BOX_COLUMNS].iloc[int(relation[f"{role}_box"])])
    return _scene(tables, relation["image"], *boxes)


def scene_of_box(tables: RelationTables | FeatureStore, row: int) -> Scene:
    """A row of the box table as a scene: the one box stands for both."""
    box = tables.boxes.iloc[int(row)]
    return _scene(tables, box["image"], *2 * [box[BOX_COLUMNS]])


def _scene(tables: RelationTables | FeatureStore, image: int, *boxes: pd.Series) -> Scene:
    row, ends = tables.images.iloc[int(image)], (box.to_numpy(dtype=np.float32) for box in boxes)
    return Scene(str(row["file_name"]), int(row["width"]), int(row["height"]), *ends)


def scene_svg(scene: Scene, thumbnails: Thumbnails, *, crop: bool = False, roles: Sequence[str] = ROLES) -> Markup:
    """The drawing of a scene with the boxes of ``roles`` (relation: the union); the image itself comes later.

    ``crop`` shows the union region alone. Without an image file the boxes stand on a grey canvas.
    """
    union = union_boxes(scene.subject_xyxy[None], scene.object_xyxy[None])[0]
    whole = np.array([0, 0, scene.width - 1, scene.height - 1])
    token = thumbnails.token(scene.file_name, union if crop else None, (scene.width, scene.height))
    # A box may reach outside its image, and is then drawn there; of the image there is what lies inside.
    cut = [*np.maximum(union[:2], 0), *np.minimum(union[2:], whole[2:])] if crop else whole
    canvas = [float(corner) for corner in (union if crop else whole)]
    boxes = (("relation", union), ("subject", scene.subject_xyxy), ("object", scene.object_xyxy))
    drawing = rendered(
        Path(__file__).with_name("scene.html.j2"), canvas=canvas, cut=[float(corner) for corner in cut], token=token,
        width=max(canvas[2] - canvas[0] + 1, 1.0), height=max(canvas[3] - canvas[1] + 1, 1.0),
        most_height=MOST_HEIGHT_PX, boxes=[(role, box.tolist()) for role, box in boxes if role in roles],
    )  # fmt: skip
    return Markup(drawing)
