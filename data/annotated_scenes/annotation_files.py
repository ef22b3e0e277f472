"""The JSON files of an annotation folder as arrays, and what makes it impossible to read them (LTVRR reference, 1).

What is wrong becomes a `Problem` that names file, record and remedy. GQA-LT's training relations are half a gigabyte of
JSON, ten times that as Python objects: the file is mapped, and its outermost members become objects one at a time.
"""

import contextlib
import json
import mmap
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd

from workbench.files import escapes_folder
from workbench.progress import track
from workbench.scenes.problems import FileProblems, Problem, shown
from workbench.scenes.relations import SHARES_TO_PIXELS, are_shares
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE, ROLES, Vocabulary, note_odd_names

LARGEST_COORDINATE = 2**24  # beyond it float32 skips whole pixels
FIX_RECORD = "Correct the record, or write the file again from its source."
IMAGES_PER_PIECE = 500  # after which what was read of the file is let go
LONG_FILE_IMAGES = 10_000
Pixels = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_COORDINATE)]
ClassId = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
ClassNames = Annotated[list[Annotated[str, msgspec.Meta(pattern=r"\S")]], msgspec.Meta(min_length=1)]
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | Annotated[str, msgspec.Meta(pattern=r"\S")]
KEYS_OF_IMAGE = (b'"id"', b'"file_name"', b'"width"', b'"height"')
KEYS_OF_RELATION = {b'"predicate"': 1, b'"subject"': 1, b'"object"': 1, b'"bbox"': 2, b'"category"': 2}
Box = tuple[float, float, float, float]
UTF8_MARK = b"\xef\xbb\xbf"  # which some editors put before the text


class Image(msgspec.Struct):
    """An image of a detections file."""

    id: Id
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


class UnusableJson(ValueError):
    """A file, or a ``record`` of it, that is "broken JSON" or of the "wrong type" (``kind``), with what was found."""

    def __init__(self, kind: str, record: str, found: str):
        super().__init__(f"{record}: {found}" if record else found)
        self.kind, self.record, self.found = kind, record, found


def plain_id(value: int | str) -> int | str:
    """An id as the number that its text says, else as it is, without blanks around."""
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isdecimal() and len(text) <= 18 else text or value


def decoded(data: Any, kind: Any) -> Any:
    """JSON bytes as ``kind``; UnusableJson with line and column of what is no JSON, or the record of another type."""
    data = memoryview(data)
    data = data[len(UTF8_MARK) * (bytes(data[: len(UTF8_MARK)]) == UTF8_MARK) :]
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        # ``[3].subject.bbox`` is "entry 3, subject, bbox".
        steps = [f"entry {number}" if number else name for number, name in re.findall(r"\[(\d+)\]|\.(\w+)", path)]
        raise UnusableJson("wrong type", ", ".join(steps), message[0].lower() + message[1:]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message, _, byte = str(error).partition(" (byte ")
        before = bytes(data[: int(byte.rstrip(")")) if byte else None])  # the end where none is named
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise UnusableJson("broken JSON", f"line {line}, column {column}", message) from error
    except RecursionError as error:
        raise UnusableJson("broken JSON", "whole file", "nested too deeply") from error


class JsonFile:
    """The members of a file's outermost object, by name; each is decoded by ``decoded``.

    ``without_values`` is the object with 0 for each member: its bytes still hold the names whose value the parser
    overwrote. Raises OSError or UnusableJson.
    """

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            # An empty file cannot be mapped.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if Path(path).stat().st_size else b""
        self.members: dict[str, msgspec.Raw] = decoded(data, dict[str, msgspec.Raw])
        views = [np.frombuffer(memoryview(raw), dtype=np.uint8) for raw in self.members.values()]
        first, end, between = np.frombuffer(data, dtype=np.uint8).ctypes.data, 0, []
        for start, length in sorted((view.ctypes.data - first, len(view)) for view in views):
            between.append(data[end:start])
            end = start + length
        self.without_values = b"0".join([*between, data[end:]])
        self._data = data

    def let_go(self) -> None:
        """Give the pages that were read back to the system, which brings them again when they are asked for."""
        if hasattr(self._data, "madvise"):
            self._data.madvise(mmap.MADV_DONTNEED)


def note_repeated(text: bytes, place: str, file: FileProblems, times: dict[bytes, int] | None = None) -> None:
    """Note keys that stand twice in one object of JSON; looked at only where keys are not there so many ``times``."""
    if times and all(text.count(key) == expected for key, expected in times.items()):
        return
    remedy = "Merge the entries under one key: a reader would see only the last."

    def seen(pairs: list[tuple[str, Any]]) -> None:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                of = f" of id {number}" if isinstance(number := dict(pairs).get("id"), str) else ""
                file.blocking("duplicate name", f"{place}key {key!r}{of}", "the key twice", "each key once", remedy)

    json.loads(text, object_pairs_hook=seen, strict=False, parse_int=str)


@dataclass(frozen=True)
class RelationEnds:
    """The relations of a split in the order of its file, N of them, of images that are known.

    ``image`` (N,) int32: row of the table of images, whose names are ``file_names``; ``place`` (N,): which of its
    relations; ``triplets`` (N, 3) int32 class ids, ``boxes`` (N, 2, 4) float32 xyxy, of subject and object. ``named``:
    all images of the file.
    """

    named: list[str]
    file_names: list[str]
    image: np.ndarray
    place: np.ndarray
    triplets: np.ndarray
    boxes: np.ndarray

    def record(self, row: int | np.integer, part: str) -> str:
        """How a report names one end or the predicate of a relation."""
        return f"image {self.file_names[self.image[row]]!r}, relation {self.place[row]}, {part}"

    def box_record(self, row: int, end: int) -> tuple[str, str]:
        """How a report names an end, and its box as the file writes it: [ymin, ymax, xmin, xmax]."""
        x1, y1, x2, y2 = self.boxes[row, end].tolist()
        return self.record(row, ("subject", "object")[end]), f"[{y1:g}, {y2:g}, {x1:g}, {x2:g}]"


def read_vocabulary(folder: Path, problems: list[Problem]) -> Vocabulary:
    """The class names of a folder; without names of a kind where they are no list of names."""
    found: dict[str, list[str]] = {OBJECTS_FILE: [], RELATIONS_FILE: []}
    for file_name in found:
        file = FileProblems(Path(folder) / file_name, problems)
        with noting_unreadable(file, "a list of distinct class names"):
            written = decoded(file.path.read_bytes(), ClassNames)
            names = found[file_name] = [name.strip() for name in written]
            for place in np.flatnonzero(pd.Series(names).duplicated()):
                again = f"the name {names[place]!r} again (first at entry {names.index(names[place])})"
                remedy = "Give each class one name of its own."
                file.blocking("duplicate name", f"entry {place}", again, "distinct class names", remedy)
            note_odd_names(file, written)
    return Vocabulary(tuple(found[OBJECTS_FILE]), tuple(found[RELATIONS_FILE]))


def read_images(file: FileProblems) -> tuple[pd.DataFrame | None, dict[str, msgspec.Raw]]:
    """The images of a detections file (image_id, file_name, width, height; None if unreadable), and all its members."""
    members: dict[str, msgspec.Raw] = {}
    with noting_unreadable(file, "an object with the lists images, annotations, categories"):
        members = opened(file).members
        with noting_unreadable(file, "a list of images, each with id, file_name, width, height", "images"):
            images = decoded(members.get("images", b"null"), list[Image])
            note_repeated(bytes(members["images"]), "images, ", file, dict.fromkeys(KEYS_OF_IMAGE, len(images)))
            return _image_table(images, file), members
    return None, members


def read_relation_ends(file: FileProblems, images: pd.DataFrame | None, vocabulary: Vocabulary) -> RelationEnds | None:
    """The relations of a file, those of images that ``images`` lacks left out; None where the file cannot be read."""
    with noting_unreadable(file, "an object: image file name to list of relations"):
        ends = _ends(opened(file), images, file)
        if not len(ends.image):
            remedy = "A split needs relations of images that the detections file lists; is the right file here?"
            file.blocking("split without relations", "whole file", "no relations", "at least one", remedy)
            return None
        _check_ends(ends, vocabulary, file)
        return ends
    return None


@contextlib.contextmanager
def noting_unreadable(file: FileProblems, expected: str, record: str = "", blocks: bool = True) -> Iterator[None]:
    """Turn what stops the reading of a file, or of one ``record`` of it, into a problem."""
    note = file.blocking if blocks else file.error
    try:
        yield
    except OSError as error:
        remedy = "Put the file there, or name the right folder."
        note("missing file", "whole file", error.strerror or str(error), "a readable file", remedy)
    except UnusableJson as error:
        where = ", ".join(filter(None, (record, error.record))) or "whole file"
        broken = error.kind == "broken JSON"
        remedy = "Write the file again from its source." if broken else FIX_RECORD
        note(error.kind, where, error.found, "JSON" if broken else expected, remedy)


def opened(file: FileProblems) -> JsonFile:
    """The file, its repeated names noted; raises what `JsonFile` raises."""
    json_file = JsonFile(file.path)
    note_repeated(json_file.without_values, "", file)
    return json_file


def _image_table(entries: list[Image], file: FileProblems) -> pd.DataFrame:
    table = pd.DataFrame(map(msgspec.structs.astuple, entries), columns=["image_id", "file_name", "width", "height"])
    table["image_id"] = [plain_id(entry.id) for entry in entries]
    if named := next((name for name in table["image_id"] if isinstance(name, str)), ""):
        remedy = "They are kept in the order of their text and numbered from 0 in each split."
        file.warning("image ids of text", "images", shown(named), "whole numbers", remedy)
    table = table.astype({"image_id": str if named else np.int64, "width": np.int64, "height": np.int64})
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
    named = list(json_file.members)
    file_names = named if images is None else images["file_name"].tolist()
    row_of_name = {name: row for row, name in enumerate(file_names)}
    packed = [_packed(0, [])]
    for name in track(named, f"Reading {file.path.name}") if len(named) > LONG_FILE_IMAGES else named:
        if name not in row_of_name:
            remedy = "Add the image to the detections file; until then its relations are left out, as upstream does."
            file.error("image not in the detections file", f"image {name!r}", "no usable entry", "one entry", remedy)
            continue
        with noting_unreadable(file, "relations with predicate, subject and object", f"image {name!r}"):
            relations = decoded(json_file.members[name], list[Relation])
            times = {key: times * len(relations) for key, times in KEYS_OF_RELATION.items()}
            note_repeated(bytes(json_file.members[name]), f"image {name!r}, ", file, times)
            packed.append(_packed(row_of_name[name], relations))
        if len(packed) % IMAGES_PER_PIECE == 0:
            json_file.let_go()
    numbers, boxes = (np.concatenate(arrays) for arrays in zip(*packed, strict=True))
    return RelationEnds(named, file_names, numbers[:, 0], numbers[:, 1], numbers[:, 2:], boxes)


def _packed(image: int, relations: list[Relation]) -> tuple[np.ndarray, np.ndarray]:
    """Image, place and class ids (n, 5), and boxes (n, 2, 4), in place of the objects of an image's relations."""
    numbers = [(image, place, r.subject.category, r.predicate, r.object.category, *r.subject.bbox, *r.object.bbox)
               for place, r in enumerate(relations)]  # fmt: skip
    table = np.array(numbers, dtype=np.float64).reshape(-1, 13)
    boxes = table[:, 5:].reshape(-1, 2, 4)[..., [2, 0, 3, 1]]
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused later
        return table[:, :5].astype(np.int32), boxes.astype(np.float32)


def _check_ends(ends: RelationEnds, vocabulary: Vocabulary, file: FileProblems) -> None:
    """Note unknown class ids and boxes that cannot be used."""
    for role, ids in zip(ROLES, ends.triplets.T, strict=True):
        known = len(vocabulary.names(role))
        unknown = (ids < 0) | (ids >= (known or 2**31))
        expected = f"0 to {known - 1}" if known else "0 or more"
        remedy = "Correct the id, or add the class to the list of names; ids are 0-based, without a background class."
        part = "predicate" if role == "relation" else role
        for row in np.flatnonzero(unknown):
            file.blocking("unknown class id", ends.record(row, part), str(ids[row]), expected, remedy)
    # Written so that nan fails it too.
    large = ~(np.abs(ends.boxes) <= LARGEST_COORDINATE).all(axis=2)
    expected = f"finite pixels up to {LARGEST_COORDINATE:,}"
    for row, end in np.argwhere(large):
        file.blocking("non-finite number", *ends.box_record(row, end), expected, FIX_RECORD)
    if are_shares(ends.boxes):
        file.blocking("boxes in shares", *ends.box_record(0, 0), "pixels", SHARES_TO_PIXELS)
    swapped = (ends.boxes[..., 2:] < ends.boxes[..., :2]).any(axis=2) & ~large
    remedy = "The order is [ymin, ymax, xmin, xmax], with the smaller number first."
    for row, end in np.argwhere(swapped):
        file.blocking("swapped box", *ends.box_record(row, end), "ymin <= ymax and xmin <= xmax", remedy)
