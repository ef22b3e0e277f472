"""The one reader of annotated pictures: the LTVRR layout (LTVRR reference, sections 1.1 to 1.4).

A folder holds ``objects.json``, ``predicates.json`` and, for each split, ``detections_<split>.json`` and
``rel_annotations_<split>.json``. Boxes are inclusive xyxy pixels, see ``workbench.scenes.boxes``.
"""

import json
import warnings
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.scenes.boxes import union_boxes, xyxy_from_detection_bbox, xyxy_from_relation_bbox
from workbench.scenes.vocabulary import ROLES, Vocabulary

SPLITS = ("train", "val", "test")
BOX_COLUMNS = ["x1", "y1", "x2", "y2"]


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
        """The file of an image index."""
        return self.image_folder / self.images["file_name"].iloc[image]

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
        images_in_file = _image_table(_read_whole(detections_path(folder, split)))
        images, ends = _relation_ends(_read_whole(relations_path(folder, split)), images_in_file)
        _require_possible(vocabulary, ends)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, OSError) as error:
        _raise_report(folder, split, error)
    boxes, relations = _tables(ends)
    return Annotations(split, vocabulary, images, boxes, relations, image_folder_of(folder, image_folder))


def detections_path(folder: Path, split: str) -> Path:
    """Where a split's images and detection boxes are."""
    return Path(folder) / f"detections_{split}.json"


def relations_path(folder: Path, split: str) -> Path:
    """Where a split's relations are."""
    return Path(folder) / f"rel_annotations_{split}.json"


def image_folder_of(folder: Path, image_folder: Path | None = None) -> Path:
    """The image folder: the one given, or ``images`` in the annotation folder, or beside it."""
    if image_folder is not None:
        return Path(image_folder)
    candidates = [Path(folder) / "images", Path(folder).parent / "images"]
    return next((candidate for candidate in candidates if candidate.is_dir()), candidates[0])


def escapes_folder(file_name: str) -> bool:
    """Whether a file name is absolute or climbs out of its folder, on any system; an empty name counts too."""
    posix, windows = PurePosixPath(file_name), PureWindowsPath(file_name)
    climbs = ".." in posix.parts or ".." in windows.parts
    return climbs or posix.is_absolute() or bool(windows.anchor) or not posix.name or "\0" in file_name


def detection_boxes(folder: Path, split: str) -> pd.DataFrame:
    """The detection boxes of a split's images, clipped and filtered as upstream does (LTVRR reference, 1.3).

    Returns image (row of ``Annotations.images``), x1, y1, x2, y2 (float32) and detection_class (1-based, by the order
    of the file's categories); boxes without area or narrower than two pixels after clipping are left out.
    """
    coco = read_json(detections_path(folder, split))
    images = _loaded_images(_image_table(coco), read_json(relations_path(folder, split)))
    found = coco["annotations"]
    category = {entry["id"]: place for place, entry in enumerate(coco["categories"], start=1)}
    table = pd.DataFrame(
        {
            "image": pd.Index(images["image_id"]).get_indexer([entry["image_id"] for entry in found]),
            "detection_class": np.array([category[entry["category_id"]] for entry in found], dtype=np.int64),
            "area": np.array([entry["area"] for entry in found], dtype=np.float64),
        }
    )
    known = (table["image"] >= 0).to_numpy()
    table = table[known]
    bbox = np.array([entry["bbox"] for entry in found], dtype=np.float64).reshape(-1, 4)[known]
    size = images[["width", "height"]].to_numpy()[table["image"]]
    xyxy = xyxy_from_detection_bbox(bbox, size[:, 0], size[:, 1])
    kept = (table["area"] > 0).to_numpy() & (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    boxes = pd.DataFrame(xyxy[kept].astype(np.float32), columns=BOX_COLUMNS)
    boxes.insert(0, "image", table["image"].to_numpy()[kept])
    boxes["detection_class"] = table["detection_class"].to_numpy()[kept]
    return boxes.sort_values("image", kind="stable", ignore_index=True)


def _read_whole(path: Path) -> Any:
    """JSON in which no key occurs twice: of two entries for one image the parser would drop the first."""

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("a key occurs twice")
        return value

    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=without_repeats)


def _image_table(coco: Any) -> pd.DataFrame:
    entries = coco["images"]
    table = pd.DataFrame(
        {
            "image_id": _integers([entry["id"] for entry in entries]),
            "file_name": [entry["file_name"] for entry in entries],
            "width": _integers([entry["width"] for entry in entries]),
            "height": _integers([entry["height"] for entry in entries]),
        }
    )
    if table["image_id"].duplicated().any() or table["file_name"].duplicated().any():
        raise ValueError("an image id or a file name occurs twice")
    if (table[["width", "height"]] < 1).any(axis=None) or (table["image_id"] < 0).any():
        raise ValueError("an image without an area, or a negative id")
    if any(map(escapes_folder, table["file_name"])):
        raise ValueError("a file name leaves the image folder")
    return table


def _loaded_images(images: pd.DataFrame, by_file: dict[str, list]) -> pd.DataFrame:
    """The images of the relations file by ascending id, which is the upstream loader's order."""
    return images[images["file_name"].isin(by_file.keys())].sort_values("image_id", ignore_index=True)


def _relation_ends(by_file: dict[str, list], images: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    images = _loaded_images(images, by_file)
    left_out = len(by_file) - len(images)
    if left_out:
        warnings.warn(
            f"{left_out} image(s) of the relations file are not in the detections file and are left out; "
            "`workbench data check` names them.",
            stacklevel=3,
        )
    lists = [by_file[name] for name in images["file_name"]]
    found = [relation for relations in lists for relation in relations]
    ends: dict[str, np.ndarray] = {"relation": _integers([relation["predicate"] for relation in found])}
    ends["image"] = np.repeat(np.arange(len(lists)), [len(relations) for relations in lists])
    for role in ("subject", "object"):
        ends[role] = _integers([relation[role]["category"] for relation in found])
        ends[f"{role}_xyxy"] = xyxy_from_relation_bbox(_boxes([relation[role]["bbox"] for relation in found]))
    return images, ends


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


def _tables(ends: dict[str, np.ndarray]) -> tuple[pd.DataFrame, pd.DataFrame]:
    # One row per end, subject before object, so that boxes are numbered in order of first use.
    both = pd.DataFrame(_interleaved(ends["subject_xyxy"], ends["object_xyxy"]) + np.float32(0), columns=BOX_COLUMNS)
    both.insert(0, "image", np.repeat(ends["image"], 2))
    both["object_class"] = _interleaved(ends["subject"], ends["object"])
    box = both.groupby(list(both.columns), sort=False).ngroup().to_numpy()
    boxes = both.drop_duplicates(ignore_index=True)
    relations = pd.DataFrame(
        {
            "image": ends["image"],
            "subject_box": box[0::2],
            "object_box": box[1::2],
            "subject": ends["subject"],
            "relation": ends["relation"],
            "object": ends["object"],
        }
    )
    return boxes, relations


def _interleaved(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def _integers(values: list) -> np.ndarray:
    if not set(map(type, values)) <= {int}:
        raise TypeError("a whole number is expected")
    return np.array(values, dtype=np.int64)


def _boxes(boxes: list) -> np.ndarray:
    if not (set(map(type, boxes)) <= {list} and set(map(len, boxes)) <= {4}):
        raise TypeError("a box is a list of four numbers")
    if not set(map(type, chain.from_iterable(boxes))) <= {int, float}:
        raise TypeError("a box is made of numbers")
    return np.fromiter(chain.from_iterable(boxes), dtype=np.float64, count=4 * len(boxes)).reshape(-1, 4)


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
