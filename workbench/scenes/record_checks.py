"""Checks of single records: images, detections and relations of the LTVRR layout."""

from collections.abc import Iterable
from typing import Any

from workbench.files import escapes_folder
from workbench.scenes.problems import FileProblems, shown

LARGEST_COORDINATE = 2**24  # beyond it float32 skips whole pixels
LARGEST_ID = 2**63 - 1
FIX_RECORD = "Correct the record, or write the file again from its source."
_FIX_CLASS = "Correct the id, or add the class to the list of names; ids are 0-based, without a background class."


def check_images(entries: Iterable[Any], file: FileProblems) -> dict[str, dict]:
    """Check the image entries of a detections file; returns the usable ones by file name."""
    by_name: dict[str, dict] = {}
    name_of_id: dict[int, str] = {}
    for place, image in enumerate(entries):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not name:
            expected = "an object with id, file_name, width, height"
            file.blocking("wrong type", f"image entry {place}", shown(image), expected, FIX_RECORD)
            continue
        record = f"image {name!r}"
        if escapes_folder(name):
            remedy = "Use names relative to the image folder."
            file.blocking("file name leaves the image folder", record, shown(name), "a name inside it", remedy)
        if name in by_name:
            remedy = "Keep one entry for each image."
            file.blocking("duplicate name", f"image entry {place}", shown(name), "a file name used once", remedy)
        if _image_numbers_fit(image, record, file):
            other = name_of_id.setdefault(image["id"], name)
            if other != name:
                found = f"id {image['id']}, which is that of {other!r}"
                file.blocking("duplicate name", record, found, "an id of its own", "Give each image its own id.")
            by_name.setdefault(name, image)
    return by_name


def check_detections(
    entries: Iterable[Any], categories: Iterable[Any], images: dict[str, dict], file: FileProblems
) -> None:
    """Check the detection boxes; they are not needed to read relations, so nothing here blocks reading."""
    image_of_id = {image["id"]: image for image in images.values()}
    classes = {entry["id"] for entry in categories if isinstance(entry, dict) and is_whole(entry.get("id"))}
    for place, entry in enumerate(entries):
        record = f"detection {place}"
        if not isinstance(entry, dict):
            file.error("wrong type", record, shown(entry), "an object", FIX_RECORD)
            continue
        class_id, image_id, bbox = entry.get("category_id"), entry.get("image_id"), entry.get("bbox")
        if not is_whole(class_id) or class_id not in classes:
            file.error("unknown class id", record, shown(class_id), "an id of categories", FIX_RECORD)
        image = image_of_id.get(image_id) if is_whole(image_id) else None
        if image is None:
            file.error("unknown image", record, shown(image_id), "an id of images", FIX_RECORD)
        if not is_box(bbox):
            file.error("wrong type", record, shown(bbox), "[x, y, width, height]", FIX_RECORD)
        elif bbox[2] <= 0 or bbox[3] <= 0:
            remedy = "Such a detection is left out, as upstream does."
            file.warning("empty box", record, shown(bbox), "positive width and height", remedy)
        elif image is not None:
            x, y, w, h = bbox
            _check_inside((x, y, x + w - 1, y + h - 1), image, record, file)


def check_relation(
    relation: Any, image: dict | None, class_counts: dict[str, int | None], record: str, file: FileProblems
) -> None:
    """Check one relation: its three class ids and its two boxes."""
    if not isinstance(relation, dict):
        file.blocking("wrong type", record, shown(relation), "an object with subject, object, predicate", FIX_RECORD)
        return
    _check_class(relation.get("predicate"), class_counts["relation"], f"{record}, predicate", file)
    for role in ("subject", "object"):
        end, where = relation.get(role), f"{record}, {role}"
        if not isinstance(end, dict):
            file.blocking("wrong type", where, shown(end), "an object with bbox and category", FIX_RECORD)
            continue
        _check_class(end.get("category"), class_counts[role], where, file)
        _check_relation_box(end.get("bbox"), image, where, file)


def is_whole(value: Any) -> bool:
    """Whether a JSON value is a whole number; true and false are none."""
    return type(value) is int


def is_box(value: Any) -> bool:
    """Whether a JSON value is a list of four numbers."""
    return isinstance(value, list) and len(value) == 4 and all(type(number) in (int, float) for number in value)


def _image_numbers_fit(image: dict, record: str, file: FileProblems) -> bool:
    fit = True
    for key, low, high in (("id", 0, LARGEST_ID), ("width", 1, LARGEST_COORDINATE), ("height", 1, LARGEST_COORDINATE)):
        value = image.get(key)
        if not is_whole(value) or not low <= value <= high:
            file.blocking("wrong type", f"{record}, {key}", shown(value), f"a whole number from {low}", FIX_RECORD)
            fit = False
    return fit


def _check_class(value: Any, classes: int | None, record: str, file: FileProblems) -> None:
    if not is_whole(value):
        file.blocking("wrong type", record, shown(value), "a class id", FIX_RECORD)
    elif value < 0 or (classes is not None and value >= classes):
        expected = "0 or more" if classes is None else f"0 to {classes - 1}"
        file.blocking("unknown class id", record, shown(value), expected, _FIX_CLASS)


def _check_relation_box(bbox: Any, image: dict | None, record: str, file: FileProblems) -> None:
    if not is_box(bbox):
        file.blocking("wrong type", record, shown(bbox), "[ymin, ymax, xmin, xmax]", FIX_RECORD)
        return
    # Written so that nan fails it too.
    if not all(abs(number) <= LARGEST_COORDINATE for number in bbox):
        expected = f"finite pixels up to {LARGEST_COORDINATE:,}"
        file.blocking("non-finite number", record, shown(bbox), expected, FIX_RECORD)
        return
    y1, y2, x1, x2 = bbox
    if x2 < x1 or y2 < y1:
        remedy = "The order is [ymin, ymax, xmin, xmax], with the smaller number first."
        file.blocking("swapped box", record, shown(bbox), "ymin <= ymax and xmin <= xmax", remedy)
        return
    if x2 == x1 or y2 == y1:
        remedy = "It is used, one pixel thin; correct it if the object is larger."
        file.warning("empty box", record, shown(bbox), "ymin < ymax and xmin < xmax", remedy)
    if image is not None:
        _check_inside((x1, y1, x2, y2), image, record, file)


def _check_inside(xyxy: tuple, image: dict, record: str, file: FileProblems) -> None:
    x1, y1, x2, y2 = xyxy
    right, bottom = image["width"] - 1, image["height"] - 1
    found, expected = f"x {x1} to {x2}, y {y1} to {y2}", f"x in 0 to {right}, y in 0 to {bottom}"
    if x1 > right or y1 > bottom or x2 < 0 or y2 < 0:
        remedy = "It shows nothing of the image: correct the box, or the image's width and height."
        file.error("box outside the image", record, found, expected, remedy)
    elif not (x1 >= 0 and y1 >= 0 and x2 <= right and y2 <= bottom):
        remedy = "It is used as annotated, as upstream does; clip it if that is not meant."
        file.warning("box partly outside the image", record, found, expected, remedy)
