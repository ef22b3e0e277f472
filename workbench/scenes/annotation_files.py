"""The two JSON files of a split as arrays, and what makes it impossible to read them (LTVRR reference, 1.1 to 1.4).

The reader and the check both start here: what is wrong becomes a `Problem` that names file, record and remedy.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import pandas as pd

from workbench.files import escapes_folder
from workbench.progress import track
from workbench.scenes.json_files import BrokenJson, JsonFile, WrongType, decoded, read_names, repeated_keys
from workbench.scenes.problems import FileProblems, Problem, shown
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE, ROLES, name_problems

LARGEST_COORDINATE = 2**24  # beyond it float32 skips whole pixels
FIX_RECORD = "Correct the record, or write the file again from its source."
IMAGES_PER_PIECE = 500  # what is in memory as Python objects at a time
LONG_FILE_IMAGES = 10_000
Pixels = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_COORDINATE)]
ClassId = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
Box = tuple[float, float, float, float]


class Image(msgspec.Struct):
    """An image of a detections file."""

    id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    file_name: Annotated[str, msgspec.Meta(min_length=1)]
    width: Pixels
    height: Pixels


class End(msgspec.Struct, gc=False):
    """The subject or the object of a relation; ``bbox`` is [ymin, ymax, xmin, xmax]."""

    bbox: Box
    category: ClassId


class Relation(msgspec.Struct, gc=False):
    """A relation of a relations file."""

    subject: End
    object: End
    predicate: ClassId


@dataclass(frozen=True)
class RelationEnds:
    """The relations of a split in the order of its file, N of them, of images that are known.

    ``image`` (N,): row of the table of images; ``place`` (N,): which of its relations; subject, relation and object
    (N,) int32 are class ids, ``boxes`` two (N, 4) float32 xyxy, of subject and object. ``names``: all images of the
    file.
    """

    names: list[str]
    image: np.ndarray
    place: np.ndarray
    classes: dict[str, np.ndarray]
    boxes: dict[str, np.ndarray]

    def record(self, row: int | np.integer, role: str, images: pd.DataFrame | None) -> str:
        """How a report names one end or the predicate of a relation."""
        name = self.names[self.image[row]] if images is None else images["file_name"].iloc[self.image[row]]
        part = "predicate" if role == "relation" else role
        return f"image {name!r}, relation {self.place[row]}, {part}"


def read_class_names(folder: Path, problems: list[Problem]) -> dict[str, list[str] | None]:
    """The class names of each role; None where they are no list of names."""
    found = {}
    for file_name in (OBJECTS_FILE, RELATIONS_FILE):
        file, names = FileProblems(Path(folder) / file_name, problems), None
        with noting_unreadable(file, "a list of names"):
            names = read_names(file.path)
            for record, what in name_problems(names):
                kind = "duplicate name" if "again" in what else "wrong type"
                file.blocking(kind, record, what, "distinct class names", "Give each class one name of its own.")
        found[file_name] = names if isinstance(names, list) and names else None
    return {role: found[RELATIONS_FILE if role == "relation" else OBJECTS_FILE] for role in ROLES}


def read_images(file: FileProblems) -> tuple[pd.DataFrame | None, dict[str, msgspec.Raw]]:
    """The images of a detections file and its other members, not decoded.

    Images have image_id, file_name, width and height; None where they cannot be read.
    """
    members: dict[str, msgspec.Raw] = {}
    with noting_unreadable(file, "an object with the lists images, annotations, categories"):
        members = opened(file).members
        if "images" not in members:
            found = f"an object with {shown(list(members))}"
            file.blocking("wrong type", "whole file", found, "the lists images, annotations, categories", FIX_RECORD)
            return None, members
        with noting_unreadable(file, "a list of images, each with id, file_name, width, height", "images"):
            return _image_table(decoded(members["images"], list[Image]), file), members
    return None, members


def read_relation_ends(
    file: FileProblems, images: pd.DataFrame | None, names: dict[str, list[str] | None]
) -> RelationEnds | None:
    """The relations of a file, those of images that ``images`` lacks left out; None where the file cannot be read."""
    with noting_unreadable(file, "an object: image file name to list of relations"):
        ends = _ends(opened(file), images, file)
        if not len(ends.image):
            remedy = "A split needs relations of images that the detections file lists; is the right file here?"
            file.blocking("split without relations", "whole file", "no relations", "at least one", remedy)
            return None
        _check_ends(ends, images, names, file)
        return ends
    return None


def opened(file: FileProblems) -> JsonFile:
    """The file's outermost object; names that occur twice are noted."""
    json_file = JsonFile(file.path)
    for name in json_file.repeated:
        _note_repeated(f"key {name!r}", file)
    return json_file


def _note_repeated(record: str, file: FileProblems) -> None:
    remedy = "Merge the entries under one key: a reader would see only the last."
    file.blocking("duplicate name", record, "the key twice", "each key once", remedy)


@contextlib.contextmanager
def noting_unreadable(file: FileProblems, expected: str, record: str = "", blocks: bool = True) -> Iterator[None]:
    """Turn what stops the reading of a file, or of one ``record`` of it, into a problem."""
    note = file.blocking if blocks else file.error
    try:
        yield
    except OSError as error:
        remedy = "Put the file there, or name the right folder."
        note("missing file", "whole file", error.strerror or str(error), "a readable file", remedy)
    except BrokenJson as error:
        place = f"{record}, {error.place}" if record else error.place
        note("broken JSON", place, error.what, "JSON", "Write the file again from its source.")
    except WrongType as error:
        where = f"{record}{error.record}" if record else error.record.removeprefix(", ") or "whole file"
        note("wrong type", where, error.what, expected, FIX_RECORD)


def _image_table(entries: list[Image], file: FileProblems) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "image_id": np.array([image.id for image in entries], dtype=np.int64),
            "file_name": [image.file_name for image in entries],
            "width": np.array([image.width for image in entries], dtype=np.int64),
            "height": np.array([image.height for image in entries], dtype=np.int64),
        }
    )
    for column, expected in (("image_id", "an id of its own"), ("file_name", "a file name used once")):
        for row in np.flatnonzero(table[column].duplicated()):
            found = shown(table[column].iloc[row])
            remedy = "Keep one entry for each image, with its own id and file name."
            file.blocking("duplicate name", f"image entry {row}", found, expected, remedy)
    for name in filter(escapes_folder, table["file_name"]):
        remedy = "Use names relative to the image folder."
        file.blocking("file name leaves the image folder", f"image {name!r}", shown(name), "a name inside it", remedy)
    return table.drop_duplicates("file_name").drop_duplicates("image_id", ignore_index=True)


def _ends(json_file: JsonFile, images: pd.DataFrame | None, file: FileProblems) -> RelationEnds:
    names = list(json_file.members)
    row_of_name = {name: row for row, name in enumerate(names if images is None else images["file_name"])}
    pieces, image, place = [_Piece()], [], []
    for name in track(names, f"Reading {file.path.name}") if len(names) > LONG_FILE_IMAGES else names:
        row = row_of_name.get(name)
        if row is None:
            remedy = "Add the image to the detections file; until then its relations are left out, as upstream does."
            file.error("image not in the detections file", f"image {name!r}", "no usable entry", "one entry", remedy)
            continue
        with noting_unreadable(file, "relations with predicate, subject and object", f"image {name!r}"):
            found = decoded(json_file.members[name], list[Relation])
            _check_keys(memoryview(json_file.members[name]), f"image {name!r}", len(found), file)
            image.append(np.full(len(found), row, dtype=np.int32))
            place.append(np.arange(len(found), dtype=np.int32))
            pieces[-1].add(found)
            if pieces[-1].images == IMAGES_PER_PIECE:
                pieces[-1].pack()
                pieces.append(_Piece())
                json_file.let_go()
    pieces[-1].pack()
    joined = {key: np.concatenate([piece.arrays.pop(key) for piece in pieces]) for key in list(pieces[-1].arrays)}
    empty = np.empty(0, dtype=np.int32)
    return RelationEnds(
        names,
        np.concatenate([empty, *image]),
        np.concatenate([empty, *place]),
        {role: joined[role] for role in ROLES},
        {role: joined[f"{role} box"] for role in ("subject", "object")},
    )


def _check_keys(raw: memoryview, record: str, relations: int, file: FileProblems) -> None:
    """Note keys that occur twice in a record. They are counted first, since only few files need a slow look."""
    text = bytes(raw)
    wanted = {"predicate": 1, "subject": 1, "object": 1, "bbox": 2, "category": 2}
    if all(text.count(f'"{key}"'.encode()) == times * relations for key, times in wanted.items()):
        return
    for key in repeated_keys(text):
        _note_repeated(f"{record}, key {key!r}", file)


class _Piece:
    """The relations of some images, as objects until they are packed into arrays."""

    def __init__(self) -> None:
        self.images = 0
        self.relations: list[Relation] = []
        self.arrays: dict[str, np.ndarray] = {}

    def add(self, relations: list[Relation]) -> None:
        """The relations of one more image."""
        self.images += 1
        self.relations += relations

    def pack(self) -> None:
        """Arrays in place of objects."""
        found, self.relations = self.relations, []
        self.arrays["relation"] = np.array([relation.predicate for relation in found], dtype=np.int32)
        for role in ("subject", "object"):
            ends = [getattr(relation, role) for relation in found]
            self.arrays[role] = np.array([end.category for end in ends], dtype=np.int32)
            boxes = np.array([end.bbox for end in ends], dtype=np.float64).reshape(-1, 4)
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused later
                self.arrays[f"{role} box"] = boxes[:, [2, 0, 3, 1]].astype(np.float32)


def _check_ends(
    ends: RelationEnds, images: pd.DataFrame | None, names: dict[str, list[str] | None], file: FileProblems
) -> None:
    """Note unknown class ids and boxes that cannot be used."""
    for role, ids in ends.classes.items():
        known = names[role]
        unknown = (ids < 0) | (ids >= (2**31 if known is None else len(known)))
        expected = "0 or more" if known is None else f"0 to {len(known) - 1}"
        remedy = "Correct the id, or add the class to the list of names; ids are 0-based, without a background class."
        for row in np.flatnonzero(unknown):
            file.blocking("unknown class id", ends.record(row, role, images), str(ids[row]), expected, remedy)
    for role, boxes in ends.boxes.items():
        # Written so that nan fails it too.
        large = ~(np.abs(boxes) <= LARGEST_COORDINATE).all(axis=1)
        for row in np.flatnonzero(large):
            expected = f"finite pixels up to {LARGEST_COORDINATE:,}"
            file.blocking(
                "non-finite number", ends.record(row, role, images), bbox_text(boxes[row]), expected, FIX_RECORD
            )
        for row in np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1) & ~large):
            remedy = "The order is [ymin, ymax, xmin, xmax], with the smaller number first."
            expected = "ymin <= ymax and xmin <= xmax"
            file.blocking("swapped box", ends.record(row, role, images), bbox_text(boxes[row]), expected, remedy)


def bbox_text(xyxy: np.ndarray) -> str:
    """A box as the relations file writes it: [ymin, ymax, xmin, xmax]."""
    x1, y1, x2, y2 = xyxy.tolist()
    return f"[{y1:g}, {y2:g}, {x1:g}, {x2:g}]"
