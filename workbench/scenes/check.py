"""Checking an annotation folder: every problem of every file, in one report.

The reader looks at whole arrays and only notices that something is wrong; this looks at every record and says what,
where, and how to mend it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench.files import escapes_folder, file_inside
from workbench.scenes.annotations import SPLITS, detections_path, image_folder_of, relations_path
from workbench.scenes.json_stream import BrokenJson, JsonFile, NotAnObject, in_pieces, parse_whole
from workbench.scenes.problems import FileProblems, Problem, format_report, shown
from workbench.scenes.record_checks import FIX_RECORD, check_detections, check_images, check_relation
from workbench.scenes.relation_arrays import IMAGES_PER_PIECE
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE, name_problems

__all__ = ["Problem", "check_annotations", "format_report"]

_WRITE_AGAIN = "Write the file again from its source."


def check_annotations(
    folder: Path,
    image_folder: Path | None = None,
    *,
    splits: Sequence[str] | None = None,
    image_files: bool = True,
) -> list[Problem]:
    """Find all problems of an annotation folder (LTVRR layout); an empty list means that it can be used.

    Without ``splits`` those are checked that have at least one of their two files, and train in any case. Files are
    read piece by piece; of millions of problems of one kind the entries are counted, not kept.

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
    for split in _splits_to_check(folder) if splits is None else splits:
        images = _check_detections_file(FileProblems(detections_path(folder, split), problems))
        _check_relations_file(FileProblems(relations_path(folder, split), problems), images, class_counts)
        images_of_split[split] = images or {}
    _check_splits_apart(folder, images_of_split, problems)
    if image_files:
        _check_image_files(folder, image_folder_of(folder, image_folder), images_of_split, problems)
    return problems


def _splits_to_check(folder: Path) -> list[str]:
    begun = {s for s in SPLITS if detections_path(folder, s).exists() or relations_path(folder, s).exists()}
    return [split for split in SPLITS if split in begun | {"train"}]


def _check_names(file: FileProblems) -> int | None:
    """Check a list of class names; returns how many there are, None where that cannot be known."""
    names = None
    with _noting_unreadable(file, "a list of names"):
        names, _, _ = parse_whole(file.path)
        for record, found in name_problems(names):
            kind = "duplicate name" if "again" in found else "wrong type"
            file.blocking(kind, record, found, "distinct class names", "Give each class one name of its own.")
    return len(names) if isinstance(names, list) and names else None


def _check_detections_file(file: FileProblems) -> dict[str, dict] | None:
    """Check a detections file; returns its usable images by name, None where there are none to know."""
    expected = "an object with the lists images, annotations, categories"
    coco, images = JsonFile(file.path), None
    with _noting_unreadable(file, expected, coco):
        members = dict(coco.outline())
        if not isinstance(members.get("images"), list):
            found = f"an object with {shown(list(members))}"
            file.blocking("wrong type", "whole file", found, expected, FIX_RECORD)
            return None
        images = check_images(coco.entries("images"), file)
        for key in ("annotations", "categories"):
            if not isinstance(members.get(key), list):
                file.error("wrong type", key, shown(members.get(key)), "a list", FIX_RECORD)
                return images
        check_detections(coco.entries("annotations"), coco.entries("categories"), images, file)
    return images


def _check_relations_file(
    file: FileProblems, images: dict[str, dict] | None, class_counts: dict[str, int | None]
) -> None:
    by_name, usable = JsonFile(file.path), 0
    with _noting_unreadable(file, "an object: image file name to list of relations", by_name):
        for piece in in_pieces(by_name.members(), IMAGES_PER_PIECE):
            usable += sum(_check_image(name, relations, images, class_counts, file) for name, relations in piece)
        if not usable:
            remedy = "A split needs relations of images that the detections file lists; is the right file here?"
            file.blocking("split without relations", "whole file", "no relations", "at least one", remedy)


def _check_image(
    name: str,
    relations: object,
    images: dict[str, dict] | None,
    class_counts: dict[str, int | None],
    file: FileProblems,
) -> int:
    """Check one image's relations; returns how many a reader would see."""
    record = f"image {name!r}"
    image = images.get(name) if images is not None else None
    if images is not None and image is None:
        remedy = "Add the image to the detections file; until then its relations are left out, as upstream does."
        file.error("image not in the detections file", record, "no usable entry", "one entry", remedy)
    if not isinstance(relations, list):
        file.blocking("wrong type", record, shown(relations), "a list of relations", FIX_RECORD)
        return 0
    for place, relation in enumerate(relations):
        check_relation(relation, image, class_counts, f"{record}, relation {place}", file)
    return len(relations) if images is None or image is not None else 0


@contextlib.contextmanager
def _noting_unreadable(file: FileProblems, expected: str, stream: JsonFile | None = None) -> Iterator[None]:
    """Turn what stops the reading of a file into problems; then note the keys that occur twice."""
    try:
        yield
    except OSError as error:
        remedy = "Put the file there, or name the right folder."
        file.blocking("missing file", "whole file", error.strerror or str(error), "a readable file", remedy)
    except BrokenJson as error:
        file.blocking("broken JSON", error.place, error.what, "JSON", _WRITE_AGAIN)
    except NotAnObject as error:
        file.blocking("wrong type", "whole file", shown(error.value), expected, FIX_RECORD)
    for key in stream.repeated if stream else ():
        remedy = "Merge the entries under one key: a reader would see only the last."
        file.blocking("duplicate name", f"key {key!r}", "the key twice", "each key once", remedy)


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
            # A name that leads outside is told with the other problems of its entry.
            if not escapes_folder(name) and file_inside(image_folder, name) is None:
                file.error("image file missing", f"image {name!r}", "no file", "an image file", remedy)
