"""Checking an annotation folder: every problem of every file, in one report.

The reader looks at whole arrays and only notices that something is wrong; this looks at every record and says what,
where, and how to mend it.
"""

from collections import Counter
from collections.abc import Sequence
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

from workbench.scenes.annotations import (
    SPLITS,
    detections_path,
    escapes_folder,
    image_folder_of,
    relations_path,
)
from workbench.scenes.problems import FileProblems, Problem, format_report, shown
from workbench.scenes.record_checks import FIX_RECORD, check_detections, check_images, check_relation
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE, name_problems

__all__ = ["Problem", "check_annotations", "format_report"]

_WRITE_AGAIN = "Write the file again from its source."


def check_annotations(
    folder: Path,
    image_folder: Path | None = None,
    *,
    splits: Sequence[str] = SPLITS,
    image_files: bool = True,
) -> list[Problem]:
    """Find all problems of an annotation folder (LTVRR layout); an empty list means that it can be used.

    Image files are looked for in ``image_folder``, or in ``images`` in or beside ``folder``; ``image_files=False``
    leaves them out. Nothing is raised for what the files contain.
    """
    folder = Path(folder)
    problems: list[Problem] = []
    objects = _check_names(FileProblems(folder / OBJECTS_FILE, problems))
    class_counts = {
        "subject": objects,
        "relation": _check_names(FileProblems(folder / RELATIONS_FILE, problems)),
        "object": objects,
    }
    images_of_split = {}
    for split in splits:
        images = _check_detections_file(FileProblems(detections_path(folder, split), problems))
        _check_relations_file(FileProblems(relations_path(folder, split), problems), images, class_counts)
        images_of_split[split] = images or {}
    _check_splits_apart(folder, images_of_split, problems)
    if image_files:
        _check_image_files(folder, image_folder_of(folder, image_folder), images_of_split, problems)
    return problems


def _check_names(file: FileProblems) -> int | None:
    """Check a list of class names; returns how many there are, None where that cannot be known."""
    names = _read(file)
    if names is None:
        return None
    for record, found in name_problems(names):
        kind = "duplicate name" if "again" in found else "wrong type"
        file.blocking(kind, record, found, "distinct class names", "Give each class one name of its own.")
    return len(names) if isinstance(names, list) and names else None


def _check_detections_file(file: FileProblems) -> dict[str, dict] | None:
    """Check a detections file; returns its usable images by name, None where there are none to know."""
    coco = _read(file)
    if coco is None:
        return None
    if not isinstance(coco, dict) or not isinstance(coco.get("images"), list):
        expected = "an object with the lists images, annotations, categories"
        file.blocking("wrong type", "whole file", shown(coco), expected, FIX_RECORD)
        return None
    images = check_images(coco["images"], file)
    check_detections(coco, images, file)
    return images


def _check_relations_file(
    file: FileProblems, images: dict[str, dict] | None, class_counts: dict[str, int | None]
) -> None:
    by_name = _read(file)
    if by_name is None:
        return
    if not isinstance(by_name, dict):
        expected = "an object: image file name to list of relations"
        file.blocking("wrong type", "whole file", shown(by_name), expected, FIX_RECORD)
        return
    usable = 0
    for name, relations in by_name.items():
        record = f"image {name!r}"
        image = images.get(name) if images is not None else None
        if images is not None and image is None:
            remedy = "Add the image to the detections file; until then its relations are left out, as upstream does."
            file.error("image not in the detections file", record, "no usable entry", "one entry", remedy)
        if not isinstance(relations, list):
            file.blocking("wrong type", record, shown(relations), "a list of relations", FIX_RECORD)
            continue
        usable += len(relations) if images is None or image is not None else 0
        for place, relation in enumerate(relations):
            check_relation(relation, image, class_counts, f"{record}, relation {place}", file)
    if not usable:
        remedy = "A split needs relations of images that the detections file lists; is the right file in this place?"
        file.blocking("split without relations", "whole file", "no relations", "at least one", remedy)


def _read(file: FileProblems) -> Any:
    """The file's JSON, None where there is none; keys that occur twice are problems."""
    repeated: list[str] = []

    def noting_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            repeated.extend(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        return value

    try:
        value = loads(file.path.read_text(encoding="utf-8"), object_pairs_hook=noting_repeats)
    except OSError as error:
        remedy = "Put the file there, or name the right folder."
        file.blocking("missing file", "whole file", error.strerror or str(error), "a readable file", remedy)
        return None
    except JSONDecodeError as error:
        file.blocking("broken JSON", f"line {error.lineno}, column {error.colno}", error.msg, "JSON", _WRITE_AGAIN)
        return None
    except (ValueError, RecursionError) as error:
        file.blocking("broken JSON", "whole file", str(error), "JSON", _WRITE_AGAIN)
        return None
    if value is None:
        file.blocking("wrong type", "whole file", "null", "the content of the annotation layout", _WRITE_AGAIN)
    for key in repeated:
        remedy = "Merge the entries under one key: a reader would see only the last."
        file.blocking("duplicate name", f"key {key!r}", "the key twice", "each key once", remedy)
    return value


def _check_splits_apart(folder: Path, images_of_split: dict[str, dict], problems: list[Problem]) -> None:
    first_split: dict[str, str] = {}
    remedy = "Keep an image in one split: what is trained on must not be tested on."
    for split, images in images_of_split.items():
        file = FileProblems(detections_path(folder, split), problems)
        for name in images:
            other = first_split.setdefault(name, split)
            if other != split:
                file.warning("image in two splits", f"image {name!r}", f"it in {other} too", "one split", remedy)


def _check_image_files(
    folder: Path, image_folder: Path, images_of_split: dict[str, dict], problems: list[Problem]
) -> None:
    if not image_folder.is_dir():
        remedy = "Name the image folder; until then the image files are not checked."
        FileProblems(image_folder, problems).warning(
            "no image folder", "whole folder", "no folder", "the image files", remedy
        )
        return
    remedy = f"Put the file into {image_folder}, or take the image out of the annotations."
    for split, images in images_of_split.items():
        file = FileProblems(detections_path(folder, split), problems)
        for name in images:
            if not escapes_folder(name) and not (image_folder / name).is_file():
                file.error("image file missing", f"image {name!r}", "no file", "an image file", remedy)
