"""The names of the object and relation classes, and lists of triplets in these names; a class id is a position."""

import csv
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.paths import lists_folder
from workbench.scenes.problems import FileProblems, Problem, format_report

OBJECTS_FILE = "objects.json"
RELATIONS_FILE = "predicates.json"
# The parts of a triplet, in the order of a caption; columns of every table of relations.
ROLES = ("subject", "relation", "object")
SPLITS = ("train", "val", "test")
HEADER = ",".join(ROLES)


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

    def caption(self, subject: int, relation: int, object: int) -> str:
        """The caption of a triplet of class ids: "subject relation object" (DiffAugment, section 3.2)."""
        return f"{self.objects[subject]} {self.relations[relation]} {self.objects[object]}"

    def captions(self, triplets: np.ndarray) -> list[str]:
        """The caption of each of the triplets (n, 3) of class ids."""
        return [self.caption(*triplet) for triplet in triplets.tolist()]

    def names(self, role: str) -> tuple[str, ...]:
        """The class names of a role: "subject", "relation" or "object"."""
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


def _read_names(path: Path) -> tuple[str, ...]:
    names = read_json(path)
    if isinstance(names, list):  # as the check says
        names = [name.strip() if isinstance(name, str) else name for name in names]
    if not isinstance(names, list) or not names or len({name for name in names if isinstance(name, str)}) != len(names):
        raise WorkbenchError(f"{path}: expected a JSON list of distinct class names. Write the file again.")
    return tuple(names)


def write_triplet_list(path: Path, triplets: np.ndarray, vocabulary: Vocabulary) -> None:
    """Write triplets (n, 3) of class ids as CSV of names in UTF-8, atomically, one line each in the order given.

    WorkbenchError for an id that the vocabulary lacks.
    """
    triplets = np.asarray(triplets, dtype=np.int64).reshape(-1, len(ROLES))
    columns = {}
    for role, ids in zip(ROLES, triplets.T, strict=True):
        names = np.array(vocabulary.names(role), dtype=object)
        for row in np.flatnonzero((ids < 0) | (ids >= len(names)))[:1]:
            raise WorkbenchError(
                f"{path}: triplet {row} has the {role} class {ids[row]}, expected 0 to {len(names) - 1}. "
                "Write the list with the vocabulary of its triplets."
            )
        columns[role] = names[ids]
    with atomic_path(path) as temporary:
        pd.DataFrame(columns).to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def named_lists(root: Path, *, include: str = "", exclude: str = "") -> dict[str, Path]:
    """The lists that a notebook's parameters name, for the stage ``triplets``; an empty name gives no entry.

    A list is a name under ``data/lists`` of the project ``root`` (what the TripletBrowser saves) or the path of a CSV
    file, which starts at ``root``.
    """
    named, folder = {}, lists_folder(root)
    for parameter, name in {"include": include, "exclude": exclude}.items():
        if not name:
            continue
        named[parameter] = root / Path(name).expanduser() if name.endswith(".csv") else folder / f"{name}.csv"
        if not named[parameter].is_file():
            have = ", ".join(sorted(found.stem for found in folder.glob("[!.]*.csv"))) or "none"
            raise WorkbenchError(
                f"parameter {parameter}={name!r}: there is no list {named[parameter]} (saved lists: {have}). "
                "Save one in the TripletBrowser, or give the path of a CSV file with subject,relation,object."
            )
    return named


def read_triplet_list(path: Path, vocabulary: Vocabulary) -> pd.DataFrame:
    """Read a list of triplets: columns subject, relation, object (int64 class ids), then any others as text.

    The header names the columns in any order; empty lines are skipped. WorkbenchError that names the lines, the names
    that are not known and the nearest ones that are.
    """
    (_, header), *lines = list(_lines(path)) or [(1, [])]
    header = [name.strip() for name in header]
    if not set(ROLES) <= set(header) or len(set(header)) != len(header):
        raise WorkbenchError(
            f"{path}, line 1: the header is {','.join(header)!r}; expected {HEADER!r}, then other columns if any. "
            "Write it as the first line, with commas, and each column once."
        )
    problems: list[Problem] = []
    file = FileProblems(path, problems)
    remedy = 'Correct these lines or delete them; a name with a comma or a quote stands in double quotes ("").'
    for number, values in lines:
        if len(values) != len(header):
            expected = f"{len(header)} as in the header"
            file.blocking("wrong number of values", f"line {number}", f"{len(values)} values", expected, remedy)
    whole = [line for line in lines if len(line[1]) == len(header)]
    table = pd.DataFrame([values for _, values in whole], columns=header)
    for role in ROLES:
        names = vocabulary.names(role)
        ids = pd.Index(names).get_indexer(table[role])
        for row in np.flatnonzero(ids < 0):
            kind, name = "a relation class" if role == "relation" else "an object class", table[role][row]
            (near,) = difflib.get_close_matches(name.strip(), names, n=1, cutoff=0.0)
            expected = f"{kind} of this data set, such as {near!r}"
            file.blocking("unknown name", f"line {whole[row][0]}", f"{role} {name!r}", expected, remedy)
        table[role] = ids
    if problems:
        raise WorkbenchError(format_report(problems))
    return table[[*ROLES, *(name for name in header if name not in ROLES)]]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with the number of its last line."""
    try:
        # With or without the mark that spreadsheets put at the start.
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for values in reader:
                if any(value.strip() for value in values):
                    yield reader.line_num, values
    except OSError as error:
        remedy = f"Give a CSV file with the header {HEADER}."
        raise WorkbenchError(f"{path}: cannot be read ({error.strerror}). {remedy}") from error
    except UnicodeDecodeError as error:
        raise WorkbenchError(f"{path}: not UTF-8 ({error}). Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        remedy = "expected CSV with a quote inside a name written twice. Correct the line."
        raise WorkbenchError(f"{path}, line {reader.line_num}: {error}; {remedy}") from error
