"""Checking an annotation folder: every problem of every file, in one report.

What the reader refuses it notes itself (`annotation_files`); here come boxes outside their image, detections, images
in two splits, and image files.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd

from annotated_scenes.annotation_files import (
    FIX_RECORD,
    Box,
    RelationEnds,
    decoded,
    noting_unreadable,
    plain_id,
    read_images,
    read_relation_ends,
    read_vocabulary,
)
from annotated_scenes.annotations import detections_path, image_folder_of, relations_path
from workbench.files import escapes_folder, file_inside
from workbench.scenes.problems import FileProblems, Problem, shown
from workbench.scenes.relations import outside_image
from workbench.scenes.vocabulary import SPLITS

# What fits int64: beyond it numbers would be compared as floats.
Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | str


class Detection(msgspec.Struct, gc=False):
    """A detection box [x, y, width, height]."""

    image_id: Number
    category_id: Number
    bbox: Box


class Category(msgspec.Struct):
    """A class of the detections."""

    id: Number


def check_annotations(folder: Path, image_folder: Path | None = None, *, image_files: bool = True) -> list[Problem]:
    """Find all problems of an annotation folder (LTVRR layout); an empty list means that it can be used.

    Splits are checked that have at least one of their two files, and train in any case. Of a list that holds a value of
    another type the first such record is named; of millions of problems of one kind the entries are counted, not kept.
    Image files are looked for in ``image_folder``, or in ``images`` in or beside ``folder``; ``image_files=False``
    leaves them out. Nothing is raised for what the files contain.
    """
    problems: list[Problem] = []
    vocabulary = read_vocabulary(folder, problems)
    image_folder = image_folder_of(folder, image_folder)
    if image_files and not image_folder.is_dir():
        image_files, remedy = False, "Name the image folder; until then the image files are not checked."
        file = FileProblems(image_folder, problems)
        file.warning("no image folder", "whole folder", "no folder", "the image files", remedy)
    begun = [s for s in SPLITS if any(os.path.lexists(path(folder, s)) for path in (detections_path, relations_path))]
    split_of_name: dict[str, str] = {}
    for split in dict.fromkeys(("train", *begun)):
        file = FileProblems(detections_path(folder, split), problems)
        images, members = read_images(file)
        if images is not None:
            _check_detections(file, images, members)
            _check_names(file, images["file_name"], split, split_of_name, image_folder if image_files else None)
        file = FileProblems(relations_path(folder, split), problems)
        ends = read_relation_ends(file, images, vocabulary)
        if ends is not None and images is not None:
            _check_relation_boxes(ends, images, file)
    return problems


def _check_detections(file: FileProblems, images: pd.DataFrame, members: dict[str, msgspec.Raw]) -> None:
    """Check the detection boxes; they are not needed to read relations, so nothing here blocks reading."""
    lists: dict[str, list[Any]] = {}
    for key, kind in (("annotations", list[Detection]), ("categories", list[Category])):
        with noting_unreadable(file, "a list of objects, as in the layout", key, blocks=False):
            lists[key] = decoded(members.get(key, b"null"), kind)
    if len(lists) < 2 or not lists["annotations"]:
        return
    found = pd.DataFrame(map(msgspec.structs.astuple, lists["annotations"]), columns=["image", "category", "bbox"])
    for column in ("image", "category"):
        found[column] = [str(plain_id(value)) for value in found[column]]
    known = pd.Series([str(plain_id(one.id)) for one in lists["categories"]], dtype=object)
    for number in np.flatnonzero(known.duplicated()):
        again = shown(known[number])
        file.error("duplicate name", f"categories, entry {number}", again, "an id of its own", FIX_RECORD)
    for number in np.flatnonzero(~found["category"].isin(known)):
        wrong = shown(found["category"][number])
        file.error("unknown class id", f"detection {number}", wrong, "an id of categories", FIX_RECORD)
    row = pd.Index(images["image_id"].astype(str)).get_indexer(found["image"])
    for number in np.flatnonzero(row < 0):
        file.error("unknown image", f"detection {number}", shown(found["image"][number]), "an id of images", FIX_RECORD)
    bbox = np.array(found["bbox"].tolist())
    empty = (bbox[:, 2:] <= 0).any(axis=1)
    remedy = "Such a detection is left out, as upstream does."
    for number in np.flatnonzero(empty):
        wrong = shown(bbox[number].tolist())
        file.warning("empty box", f"detection {number}", wrong, "positive width and height", remedy)
    xyxy = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:] - 1], axis=1)
    usable = np.flatnonzero(~empty & (row >= 0))
    _check_inside(xyxy[usable], images, row[usable], lambda place: f"detection {usable[place]}", file)


def _check_relation_boxes(ends: RelationEnds, images: pd.DataFrame, file: FileProblems) -> None:
    size = ends.boxes[..., 2:] - ends.boxes[..., :2]
    thin = (size == 0).any(axis=2) & (size >= 0).all(axis=2)
    remedy = "It is used, one pixel thin; correct it if the object is larger."
    for row, end in np.argwhere(thin):
        file.warning("empty box", *ends.box_record(row, end), "ymin < ymax and xmin < xmax", remedy)
    row, end = np.nonzero((size >= 0).all(axis=2))
    xyxy, image = ends.boxes[row, end], ends.image[row]
    _check_inside(xyxy, images, image, lambda place: ends.box_record(row[place], end[place])[0], file)


def _check_inside(
    xyxy: np.ndarray, images: pd.DataFrame, row: np.ndarray, record: Callable[[int], str], file: FileProblems
) -> None:
    """Note the boxes (n, 4) that leave their image, which is ``row`` (n,) of ``images``."""
    sizes = images[["width", "height"]].to_numpy()[row]
    partly, wholly = outside_image(xyxy, sizes)
    for place in np.flatnonzero(partly | wholly).tolist():
        (x1, y1, x2, y2), (width, height) = xyxy[place].tolist(), sizes[place].tolist()
        found = f"x {x1:g} to {x2:g}, y {y1:g} to {y2:g}"
        expected = f"x in 0 to {width - 1}, y in 0 to {height - 1}"
        if wholly[place]:
            remedy = "It shows nothing of the image: correct the box, or the image's width and height."
            file.error("box outside the image", record(place), found, expected, remedy)
        else:
            remedy = "It is used as annotated, as upstream does; clip it if that is not meant."
            file.warning("box partly outside the image", record(place), found, expected, remedy)


def _check_names(
    file: FileProblems, names: pd.Series, split: str, split_of_name: dict[str, str], image_folder: Path | None
) -> None:
    """Note images of an earlier split, and those without a file where there is an ``image_folder``."""
    remedies = (
        "Keep an image in one split: what is trained on must not be tested on.",
        f"Put the file into {image_folder}, or take the image out of the annotations.",
    )
    for name in names:
        other = split_of_name.setdefault(name, split)
        if other != split:
            file.warning("image in two splits", f"image {name!r}", f"it in {other} too", "one split", remedies[0])
        # A name that leads outside is reported with the other problems of its entry.
        if image_folder and not escapes_folder(name) and file_inside(image_folder, name) is None:
            file.error("image file missing", f"image {name!r}", "no file", "an image file", remedies[1])
