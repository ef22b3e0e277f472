"""The one reader of annotated pictures: the LTVRR layout (LTVRR reference, sections 1.1 to 1.4).

A folder holds ``objects.json``, ``predicates.json`` and, for each split, ``detections_<split>.json`` and
``rel_annotations_<split>.json``. Boxes are inclusive xyxy pixels, see ``workbench.scenes.boxes``. Files are read
piece by piece into arrays: GQA-LT's 3.4 million training relations take well under 2 GB.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import escapes_folder, inside
from workbench.scenes.boxes import BOX_COLUMNS, union_boxes, xyxy_from_detection_bbox
from workbench.scenes.json_stream import JsonFile, in_pieces
from workbench.scenes.relation_arrays import (
    box_and_relation_tables,
    box_rows,
    loaded_images,
    relation_ends,
    require_distinct_keys,
    whole_numbers,
)
from workbench.scenes.vocabulary import ROLES, Vocabulary

SPLITS = ("train", "val", "test")
DETECTIONS_PER_PIECE = 20_000
_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, OSError)


@dataclass(frozen=True)
class Annotations:
    """One split of a data set as three tables.

    ``images``: image_id (int64), file_name, width, height; the row number is the image index (ascending image id,
    only images named in the relations file). ``boxes``: image, x1, y1, x2, y2 (float32, unclipped), object_class;
    distinct, in order of first use. ``relations``: image, subject_box, object_box (rows of ``boxes``), subject,
    relation, object (class ids); images in order, then annotation order.
    """

    split: str
    vocabulary: Vocabulary
    images: pd.DataFrame
    boxes: pd.DataFrame
    relations: pd.DataFrame
    image_folder: Path

    def image_path(self, image: int) -> Path:
        """The file of an image index; WorkbenchError where its name leads out of the image folder."""
        return inside(self.image_folder, self.images["file_name"].iloc[image])

    def boxes_xyxy(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The boxes of some rows of ``boxes`` as (n, 4) float32."""
        return self.boxes[BOX_COLUMNS].to_numpy(dtype=np.float32)[rows]

    def unions_xyxy(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The union boxes of some relations as (n, 4) float32."""
        boxes = self.boxes_xyxy()
        subject, object_ = self.relations["subject_box"].to_numpy()[rows], self.relations["object_box"].to_numpy()[rows]
        return union_boxes(boxes[subject], boxes[object_])


def read_annotations(folder: Path, split: str, image_folder: Path | None = None) -> Annotations:
    """Read one split; image files are not opened.

    ``image_folder`` defaults to ``images`` in or beside ``folder``. Raises WorkbenchError with a report of all
    problems where reading is impossible (broken JSON, unknown class ids, swapped boxes, duplicate names); boxes that
    reach outside an image are kept. Images of the relations file that the detections file does not know are left
    out as upstream does, with a warning.
    """
    folder = Path(folder)
    try:
        vocabulary = Vocabulary.read(folder)
        images_in_file = _image_table(JsonFile(detections_path(folder, split)))
        images, ends = relation_ends(JsonFile(relations_path(folder, split)), images_in_file)
        _require_possible(vocabulary, ends)
    except _UNREADABLE as error:
        _raise_report(folder, split, error)
    boxes, relations = box_and_relation_tables(ends)
    return Annotations(split, vocabulary, images, boxes, relations, image_folder_of(folder, image_folder))


def detections_path(folder: Path, split: str) -> Path:
    """Where a split's images and detection boxes are."""
    return Path(folder) / f"detections_{split}.json"


def relations_path(folder: Path, split: str) -> Path:
    """Where a split's relations are."""
    return Path(folder) / f"rel_annotations_{split}.json"


def splits_of(folder: Path) -> tuple[str, ...]:
    """The splits whose two files are there, in the order of SPLITS; VRD, for one, has no val."""
    return tuple(s for s in SPLITS if detections_path(folder, s).is_file() and relations_path(folder, s).is_file())


def image_folder_of(folder: Path, image_folder: Path | None = None) -> Path:
    """The image folder: the one given, or ``images`` in the annotation folder, or beside it."""
    if image_folder is not None:
        return Path(image_folder)
    candidates = [Path(folder) / "images", Path(folder).parent / "images"]
    return next((candidate for candidate in candidates if candidate.is_dir()), candidates[0])


def detection_boxes(folder: Path, split: str) -> pd.DataFrame:
    """The detection boxes of a split's images, clipped and filtered as upstream does (LTVRR reference, 1.3).

    Returns image (row of ``Annotations.images``), x1, y1, x2, y2 (float32) and detection_class (1-based, by the order
    of the file's categories); boxes without area or narrower than two pixels after clipping are left out.
    """
    coco = JsonFile(detections_path(folder, split))
    try:
        names = [name for name, _ in JsonFile(relations_path(folder, split)).outline()]
        images = loaded_images(_image_table(coco), names)
        category = {entry["id"]: place for place, entry in enumerate(coco.entries("categories"), start=1)}
        rows = pd.Index(images["image_id"])
        pieces = [
            _detection_piece(piece, rows, category)
            for piece in in_pieces(coco.entries("annotations"), DETECTIONS_PER_PIECE)
        ]
    except _UNREADABLE as error:
        _raise_report(folder, split, error)
    table = pd.concat([_detection_piece([], rows, category), *pieces], ignore_index=True)
    bbox = table[["x", "y", "w", "h"]].to_numpy()
    size = images[["width", "height"]].to_numpy()[table["image"]]
    xyxy = xyxy_from_detection_bbox(bbox, size[:, 0], size[:, 1])
    kept = (table["area"] > 0).to_numpy() & (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    boxes = pd.DataFrame(xyxy[kept].astype(np.float32), columns=BOX_COLUMNS)
    boxes.insert(0, "image", table["image"].to_numpy()[kept])
    boxes["detection_class"] = table["detection_class"].to_numpy()[kept]
    return boxes.sort_values("image", kind="stable", ignore_index=True)


def _detection_piece(entries: list[dict], rows: pd.Index, category: dict[int, int]) -> pd.DataFrame:
    table = pd.DataFrame(box_rows([entry["bbox"] for entry in entries]), columns=["x", "y", "w", "h"])
    table.insert(0, "image", rows.get_indexer(whole_numbers([entry["image_id"] for entry in entries])))
    table["detection_class"] = np.array([category[entry["category_id"]] for entry in entries], dtype=np.int64)
    table["area"] = np.array([entry["area"] for entry in entries], dtype=np.float64)
    return table[table["image"] >= 0]


def _image_table(coco: JsonFile) -> pd.DataFrame:
    if not isinstance(dict(coco.outline())["images"], list):
        raise TypeError("images is no list")
    entries = list(coco.entries("images"))
    require_distinct_keys(coco)
    table = pd.DataFrame(
        {
            "image_id": whole_numbers([entry["id"] for entry in entries]),
            "file_name": [entry["file_name"] for entry in entries],
            "width": whole_numbers([entry["width"] for entry in entries]),
            "height": whole_numbers([entry["height"] for entry in entries]),
        }
    )
    if table["image_id"].duplicated().any() or table["file_name"].duplicated().any():
        raise ValueError("an image id or a file name occurs twice")
    if (table[["width", "height"]] < 1).any(axis=None) or (table["image_id"] < 0).any():
        raise ValueError("an image without an area, or a negative id")
    if any(map(escapes_folder, table["file_name"])):
        raise ValueError("a file name leaves the image folder")
    return table


def _require_possible(vocabulary: Vocabulary, ends: dict[str, np.ndarray]) -> None:
    if not len(ends["relation"]):
        raise ValueError("no relations")
    for role in ROLES:
        if ends[role].min() < 0 or ends[role].max() >= len(vocabulary.names(role)):
            raise ValueError("an unknown class id")
    for role in ("subject", "object"):
        xyxy = ends[f"{role}_xyxy"]
        if not np.isfinite(xyxy).all() or (xyxy[:, 2:] < xyxy[:, :2]).any():
            raise ValueError("a swapped or non-finite box")


def _raise_report(folder: Path, split: str, error: Exception) -> None:
    from workbench.scenes.check import check_annotations, format_report

    found = check_annotations(folder, splits=(split,), image_files=False)
    problems = [problem for problem in found if problem.blocks_reading]
    if problems:
        raise WorkbenchError(format_report(problems)) from error
    if isinstance(error, WorkbenchError):
        raise error
    raise WorkbenchError(
        f"{relations_path(folder, split)}: not in the annotation layout ({error}). Run `workbench data check {folder}`."
    ) from error
