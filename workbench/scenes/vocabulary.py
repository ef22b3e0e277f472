"""The names of the object and relation classes, and lists of triplets in these names; a class id is a position."""

import csv
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import atomic_path, read_json, write_json
from workbench.paths import list_file
from workbench.scenes.problems import FileProblems, Problem, format_report, shown

OBJECTS_FILE = "objects.json"
RELATIONS_FILE = "predicates.json"
# The parts of a triplet, in the order of a caption; columns of every table of relations.
ROLES = ("subject", "relation", "object")
Split = Literal["train", "val", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
REPLACEMENT = ("replaced", "by")  # object classes: what stood there, and what stands there now
HEADER = ",".join(ROLES)
# What toolkits write for the background, a filler or an unknown word.
NO_CLASS = re.compile(r"__.*__|<.*>|\[.*\]|background|bg|unk|pad|nan|n/?a|null|no[ _-]?relation(ship)?", re.IGNORECASE)
ODD_NAMES = BLANKS, NO_CLASS_NAME, OTHERWISE = ("blanks around a class name", "name of no class", "name read otherwise")
# What COCO-stuff and its panoptic lists put behind a word, and materials behind what is made of them.
MARKS = re.compile(r"(?<=.)(-(other|merged|stuff))+$")
MADE_OF = re.compile(r"^(ceiling|floor|wall)-(brick|concrete|marble|panel|stone|tile|wood)$")


@dataclass(frozen=True)
class Vocabulary:
    """Object and relation names in class order, 0-based, without a background class (LTVRR reference, 1.4)."""

    objects: tuple[str, ...]
    relations: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> "Vocabulary":
        """Read ``objects.json`` and ``predicates.json``; WorkbenchError where one is not a list of distinct names."""
        folder = Path(folder)
        return cls(_read_names(folder / OBJECTS_FILE), _read_names(folder / RELATIONS_FILE))

    def write(self, folder: Path) -> None:
        """Write the two lists of names into ``folder``."""
        write_json(Path(folder) / OBJECTS_FILE, list(self.objects))
        write_json(Path(folder) / RELATIONS_FILE, list(self.relations))

    @property
    def read_otherwise(self) -> dict[str, str]:
        """The names that captions and look-ups do not take as they are, see `plain_name`, with what they take."""
        plain = {name: plain_name(name) for name in (*self.objects, *self.relations)}
        return {name: said for name, said in plain.items() if "(" in name or said != name.replace("_", " ").strip()}

    @property
    def spoken(self) -> "Vocabulary":
        """Each class by its `plain_name`, for text towers."""
        return Vocabulary(tuple(map(plain_name, self.objects)), tuple(map(plain_name, self.relations)))

    def caption(self, subject: int, relation: int, object: int) -> str:
        """The caption of a triplet of class ids: "subject relation object" (DiffAugment, section 3.2)."""
        return f"{self.objects[subject]} {self.relations[relation]} {self.objects[object]}"

    def captions(self, triplets: np.ndarray) -> list[str]:
        """The caption of each of the triplets (n, 3) of class ids."""
        return [self.caption(*triplet) for triplet in triplets.tolist()]

    def names(self, role: str) -> tuple[str, ...]:
        """The class names of a role, "subject", "relation" or "object"; of all but "relation" those of objects."""
        return self.relations if role == "relation" else self.objects

    def class_id(self, role: str, value: int | str) -> int:
        """The id of a class of ``role`` given by id or by name; WorkbenchError without one, with the nearest name."""
        names = self.names(role)
        if isinstance(value, str) and value not in names:
            (near,) = difflib.get_close_matches(value, names, n=1, cutoff=0.0)
            told = f"there is no {role} class {value!r} among {len(names):,}"
            raise WorkbenchError(f"{told}. The nearest name is {near!r}.")
        number = names.index(value) if isinstance(value, str) else value
        if number not in range(len(names)):
            raise WorkbenchError(f"there is no {role} class {number!r}; expected 0 to {len(names) - 1:,}.")
        return int(number)

    def class_ids(self, triplets: Sequence[str | Sequence[str | int]]) -> pd.DataFrame:
        """Class ids of triplets: texts such as "dog riding skateboard", or (subject, relation, object) of names or ids.

        WorkbenchError for a class that is not known, with the nearest name.
        """
        parts = [self._parts(triplet) for triplet in triplets]
        rows = [[self.class_id(role, one) for role, one in zip(ROLES, part, strict=True)] for part in parts]
        return pd.DataFrame(rows, columns=list(ROLES), dtype=np.int64)

    def _parts(self, triplet: str | Sequence[str | int]) -> Sequence[str | int]:
        """Subject, relation, object; a caption is cut into the three names that are most like known ones."""
        if isinstance(triplet, list | tuple | np.ndarray) and len(triplet) == len(ROLES):
            return triplet
        words = triplet.split() if isinstance(triplet, str) else []
        if len(words) < len(ROLES):
            expected = '"subject relation object", or these three as names or ids'
            raise WorkbenchError(f"{triplet!r} is no triplet; expected {expected}.")
        cuts = [(i, j) for i in range(1, len(words) - 1) for j in range(i + 1, len(words))]
        splits = [(" ".join(words[:i]), " ".join(words[i:j]), " ".join(words[j:])) for i, j in cuts]
        return max(splits, key=lambda split: sum(map(self._likeness, split, ROLES)))

    def _likeness(self, name: str, role: str) -> float:
        near = difflib.get_close_matches(name, self.names(role), n=1)
        return difflib.SequenceMatcher(None, name, near[0]).ratio() if near else 0.0


def look(triplets: list, vocabulary: Vocabulary | None) -> None:
    """Refuse triplets in words with a name that is no class of ``vocabulary``."""
    if vocabulary:
        vocabulary.class_ids(triplets)


def plain_name(name: str) -> str:
    """A name as it is said: "mouse (computer equipment)", "door", "brick wall".

    Lists write `mouse_(computer_equipment)` (LVIS), `door-stuff`, `floor-other-merged`, `wall-brick` (COCO-stuff).
    """
    return MADE_OF.sub(r"\2 \1", MARKS.sub("", name)).replace("_", " ").strip() or name


def note_odd_names(file: FileProblems, names: Sequence[str]) -> None:
    """Warn of class names that stand for no class or are read otherwise, and of blanks around, which are taken off."""
    text = file.path.read_text(encoding="utf-8-sig")
    otherwise = Vocabulary(tuple(name.strip() for name in names), ()).read_otherwise
    for place, name in enumerate(names):
        at = text.find(json.dumps(name, ensure_ascii=False))
        record = f"entry {place}, line {text.count(chr(10), 0, max(at, 0)) + 1}"
        if name != name.strip():
            remedy = "The blanks are taken off; write the names without them."
            file.warning(BLANKS, record, shown(name), shown(name.strip()), remedy)
        if NO_CLASS.fullmatch(name.strip()):
            remedy = "It becomes a class of every mean. If it names none, take it out and lower the ids after it."
            file.warning(NO_CLASS_NAME, record, shown(name), "the name of a class", remedy)
        elif plain := otherwise.get(name.strip()):
            remedy = "Captions and look-ups in WordNet and word vectors read it so; write the name that is meant."
            file.warning(OTHERWISE, record, shown(name), f"{shown(plain)}, as it is read", remedy)


def _read_names(path: Path) -> tuple[str, ...]:
    names = read_json(path)
    distinct = {name.strip(): name for name in names if isinstance(name, str)} if isinstance(names, list) else {}
    if not distinct or len(distinct) != len(names):
        raise WorkbenchError(f"{path}: expected a JSON list of distinct class names. Write the file again.")
    return tuple(distinct)


def write_triplet_list(path: Path, triplets: np.ndarray, vocabulary: Vocabulary, replacements: Any = ()) -> None:
    """Write triplets (n, 3) of class ids as CSV of names in UTF-8, atomically, one line each in the order given.

    Below them ``replacements`` (m, 2), an object class and one in its place. WorkbenchError for an id that the
    vocabulary lacks.
    """
    tables = []
    for columns, given in ((ROLES, triplets), (REPLACEMENT, replacements)):
        ids, named = np.asarray(given, dtype=np.int64).reshape(-1, len(columns)), {}
        for column, own in zip(columns, ids.T, strict=True):
            names = np.array(vocabulary.names(column), dtype=object)
            for row in np.flatnonzero((own < 0) | (own >= len(names)))[:1]:
                what = f"{path}: triplet {row} has the {column} class {own[row]}, expected 0 to {len(names) - 1}"
                raise WorkbenchError(f"{what}. Write the list with the vocabulary of its triplets.")
            named[column] = names[own]
        if len(ids) or columns == ROLES:
            tables.append(pd.DataFrame(named))
    with atomic_path(path) as temporary:
        pd.concat(tables).to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def named_lists(root: Path, *, include: str = "", exclude: str = "") -> dict[str, Path]:
    """The lists that a notebook's parameters name, for the stage ``triplets``; an empty name gives no entry.

    A list is a name under ``data/lists`` of the project ``root`` (what the TripletBrowser saves) or the path of a CSV
    file, which starts at ``root``.
    """
    named = {"include": include, "exclude": exclude}
    for parameter, name in named.items():
        if name and not list_file(root, name).exists():
            raise WorkbenchError(f"parameter {parameter}={name!r}: {_no_list(list_file(root, name))}")
    return {parameter: list_file(root, name) for parameter, name in named.items() if name}


def _no_list(path: Path) -> str:
    have = ", ".join(sorted(found.stem for found in path.parent.glob("[!.]*.csv"))) or "none"
    remedy = f"Save one in the TripletBrowser, or give the path of a CSV file with {HEADER}."
    return f"there is no list {path}, so it cannot be read (saved lists: {have}). {remedy}"


def read_triplet_list(path: Path, vocabulary: Vocabulary | None) -> pd.DataFrame:
    """Read a list of triplets: columns subject, relation, object (int64 class ids), then any others as text.

    A list may be of replacements too: columns replaced and by (int64 object class ids). A line has a triplet or a
    replacement, and -1 in place of the other. The header names the columns in any order; empty lines are skipped.
    WorkbenchError that names the lines, the names that are not known and the nearest ones that are. Names are left as
    they are where no vocabulary is known.
    """
    (_, header), *lines = list(_lines(path)) or [(1, [])]
    header = [name.strip() for name in header]
    kinds = [columns for columns in (ROLES, REPLACEMENT) if set(columns) <= set(header)]
    if not kinds or len(set(header)) != len(header):
        what = f"{path}, line 1: the header is {','.join(header)!r}; expected {HEADER!r}, or "
        what += f"{','.join(REPLACEMENT)!r}, then other columns if any"
        raise WorkbenchError(f"{what}. Write it as the first line, with commas, and each column once.")
    problems: list[Problem] = []
    file = FileProblems(path, problems)
    remedy = 'Correct these lines or delete them; a name with a comma or a quote stands in double quotes ("").'
    for number, values in lines:
        if len(values) != len(header):
            expected = f"{len(header)} as in the header"
            file.blocking("wrong number of values", f"line {number}", f"{len(values)} values", expected, remedy)
    whole = [line for line in lines if len(line[1]) == len(header)]
    table, named = pd.DataFrame([values for _, values in whole], columns=header), {}
    for own, column in ((columns, column) for columns in kinds for column in columns):
        if vocabulary is not None:
            names = vocabulary.names(column)
            ids = pd.Index(names).get_indexer(table[column])
            empty = (table[list(own)] == "").all(axis=1) & (len(kinds) > 1)  # a line of the other kind
            for row in np.flatnonzero((ids < 0) & ~empty):
                kind, name = "a relation class" if column == "relation" else "an object class", table[column][row]
                (near,) = difflib.get_close_matches(name.strip(), names, n=1, cutoff=0.0)
                expected = f"{kind} of this data set, such as {near!r}"
                file.blocking("unknown name", f"line {whole[row][0]}", f"{column} {name!r}", expected, remedy)
            named[column] = ids
    if problems:
        raise WorkbenchError(format_report(problems))
    table = table.assign(**named)
    known = [column for columns in kinds for column in columns]
    return table[[*known, *(name for name in header if name not in known)]]


def listed(table: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """The class ids (n, columns) int64 of those lines of a list that have them: ROLES or REPLACEMENT."""
    there = set(columns) <= set(table)
    ids = table[list(columns)].to_numpy(dtype=np.int64) if there else np.empty((0, len(columns)), dtype=np.int64)
    return ids[(ids >= 0).all(axis=1)]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with the number of its last line."""
    if not path.exists():
        raise WorkbenchError(_no_list(path))
    # With or without the mark that spreadsheets put at the start.
    remedy = f"Give a CSV file in UTF-8 with the header {HEADER}."
    with reading(path, "UTF-8 text", remedy), open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            yield from ((reader.line_num, values) for values in reader if any(map(str.strip, values)))
        except csv.Error as error:
            remedy = "expected CSV with a quote inside a name written twice. Correct the line."
            raise WorkbenchError(f"{path}, line {reader.line_num}: {error}; {remedy}") from error
