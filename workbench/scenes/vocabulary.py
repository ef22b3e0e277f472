"""The names of the object and relation classes; a class id is a position in these lists."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.escaping import is_unicode
from workbench.files import read_json, write_json

OBJECTS_FILE = "objects.json"
RELATIONS_FILE = "predicates.json"
# The parts of a triplet, in the order of a caption; columns of every table of relations.
ROLES = ("subject", "relation", "object")


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


def name_problems(names: object) -> list[tuple[str, str]]:
    """What is wrong with a list of class names, as (record, found); empty where nothing is."""
    if not isinstance(names, list) or not names:
        return [("whole file", "not a list of names" if not isinstance(names, list) else "an empty list")]
    problems: list[tuple[str, str]] = []
    first_place: dict[str, int] = {}
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            problems.append((f"entry {place}", f"{name!r} where a name belongs"))
        elif not is_unicode(name):
            problems.append((f"entry {place}", f"{name!r}, which holds half of a surrogate pair"))
        elif name in first_place:
            problems.append((f"entry {place}", f"the name {name!r} again (first at entry {first_place[name]})"))
        else:
            first_place[name] = place
    return problems


def _read_names(path: Path) -> tuple[str, ...]:
    names = read_json(path)
    problems = name_problems(names)
    if problems:
        found = "; ".join(f"{record}: {text}" for record, text in problems[:10])
        more = f" (and {len(problems) - 10} more)" if len(problems) > 10 else ""
        raise WorkbenchError(
            f"{path}: {found}{more}. Expected a JSON list of distinct class names; give each class one name of its own."
        )
    return tuple(names)
