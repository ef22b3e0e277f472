"""The tables that a data set has of its names' synsets, and which classes one synset makes equal.

Synset-matched accuracy compares one synset of each class. The upstream evaluation reads it from tables (LTVRR
reference, 1.1 and 7.5): GQA-LT has one CSV for objects and one for relations, VG8K-LT one JSON with nouns and verbs.
Where they are missing, objects get their first noun synset in WordNet and a relation stands for itself.
"""

import csv
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import read_json
from workbench.language.wordnet import noun_senses, open_wordnet
from workbench.scenes.vocabulary import Vocabulary

SENSES_TABLE = "senses.csv"  # which senses augmentation compares
SYNSET_TABLES = ("objects_synsets.csv", "predicates_synsets.csv", "words_synsets.json")
OBJECTS_TABLE, RELATIONS_TABLE, WORDS_TABLE = SYNSET_TABLES


@dataclass(frozen=True)
class SynsetTable:
    """The synset of each object and relation name, and where the tables came from.

    ``missing_never_hits``: the VG8K rule, by which a class without a synset counts as wrong even for its own name
    (LTVRR reference, 7.5). Otherwise such a class hits by its own name alone.
    """

    objects: dict[str, str]
    relations: dict[str, str]
    source: str
    missing_never_hits: bool = False

    def gaps(self, vocabulary: Vocabulary) -> list[str]:
        """What tables of a data set's own lack of the classes, in words; nothing where they lack none."""
        then = "They always count as wrong." if self.missing_never_hits else "Each stands for itself."
        kinds = () if self.source == "WordNet" else ("objects", "relations")
        told = (gap(getattr(self, kind), getattr(vocabulary, kind), kind, self.source, then) for kind in kinds)
        return list(filter(None, told))


def read_synsets(folder: Path, vocabulary: Vocabulary) -> SynsetTable:
    """The synset table of a data set: its own files in ``folder`` or the folder above, else built from WordNet.

    GQA-LT's pair of CSV files comes first, then VG8K-LT's JSON. WorkbenchError for a file without the expected columns
    or with two synsets for one name, and where only one of the two CSV files is there.
    """
    for place in (Path(folder), Path(folder).parent):
        objects, relations, words = (place / name for name in (OBJECTS_TABLE, RELATIONS_TABLE, WORDS_TABLE))
        if os.path.lexists(objects) or os.path.lexists(relations):
            named = _one_each(objects, "object_name"), _one_each(relations, "predicate_name")
            return _known(SynsetTable(*named, f"{objects}, {relations}"), vocabulary)
        if words.is_file():
            nouns, verbs = ({name: synset for name, synset in rows if synset} for rows in read_words(words).values())
            return _known(SynsetTable(nouns, verbs, str(words), missing_never_hits=True), vocabulary)
    reader = open_wordnet()
    senses = {name: noun_senses(name, reader, max_senses=1) for name in vocabulary.objects}
    first = {name: found[0].name() for name, found in senses.items() if found}
    return SynsetTable(first, {name: name for name in vocabulary.relations}, "WordNet")


def synset_ids(vocabulary: Vocabulary, table: SynsetTable) -> dict[str, np.ndarray]:
    """Numbers of the "objects" (C,) and "relations" (R,), int64, that are equal where two names share a synset.

    A name that the table lacks gets a number of its own, or -1 with ``missing_never_hits``; :func:`synset_hits`
    counts -1 as wrong.
    """
    ids = {}
    for kind in ("objects", "relations"):
        synsets = getattr(table, kind)
        # A name that looks like a synset must not meet one.
        keys = [("synset", synsets[name]) if name in synsets else ("name", name) for name in getattr(vocabulary, kind)]
        ids[kind] = pd.factorize(pd.Series(keys, dtype=object))[0].astype(np.int64)
        if table.missing_never_hits:
            ids[kind][[key[0] == "name" for key in keys]] = -1
    return ids


def synset_hits(true: np.ndarray, predicted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the predicted class has the true class's synset; ``true``, ``predicted`` (n,) class ids."""
    return (ids[true] == ids[predicted]) & (ids[true] >= 0)


def read_rows(path: Path, *name_columns: str) -> list[tuple[str, str]]:
    """Name and synset of each line of a CSV table; the names stand in the first of ``name_columns`` that it has."""
    # "none" and "null" are names, not gaps, and pandas would fill or shift lines of another length.
    remedy = "Write it again from its source."
    with reading(path, "a CSV table", remedy), open(path, encoding="utf-8-sig", newline="") as file:
        header, *lines = ([field.strip() for field in line] for line in csv.reader(file) if line)
    name = next((column for column in name_columns if column in header), None)
    if name is None or "synset" not in header:
        raise WorkbenchError(f"{path}: columns {header}; expected {name_columns[0]!r} and 'synset'.")
    if odd := next((line for line in lines if len(line) != len(header)), None):
        what = f"{path}: the line {', '.join(odd)!r} has {len(odd)} fields, the header {len(header)}"
        raise WorkbenchError(f"{what}. Give every line as many; a name that has no synset ends with a comma.")
    return [(line[header.index(name)], line[header.index("synset")]) for line in lines]


def read_words(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Name and synset ("" where there is none) of the "nouns" and the "verbs" of VG8K-LT's table."""
    words = read_json(path)
    for key in ("nouns", "verbs"):
        if not isinstance(words, dict) or not isinstance(words.get(key), dict):
            raise WorkbenchError(f"{path}: no object {key!r}; expected 'nouns' and 'verbs', each from name to synset.")
        if wrong := [n for n, synset in words[key].items() if synset is not None and not isinstance(synset, str)]:
            raise WorkbenchError(f"{path}, {key!r}, {wrong[0]!r}: {words[key][wrong[0]]!r} where a synset belongs.")
    return {key: [(name, synset or "") for name, synset in words[key].items()] for key in ("nouns", "verbs")}


def gap(named: Collection[str], classes: Sequence[str], kind: str, source: object, then: str) -> str:
    """How many classes a table lacks, and the first of them; "" where it lacks none."""
    lacking = [repr(name) for name in classes if name not in named]
    shown = f"{', '.join(lacking[:3])}{' ...' if len(lacking) > 3 else ''}"
    return f"{source}: {len(lacking):,} of {len(classes):,} {kind} have no synset ({shown}). {then}" if lacking else ""


def require_class(named: Collection[str], classes: Sequence[str], kind: str, source: object) -> None:
    """Refuse a table that has names and none of a class: each class would stand for itself without a word."""
    if named and classes and not set(named) & set(classes):
        raise WorkbenchError(
            f"{source}: none of its {len(named)} names of {kind} is a class of this data set, whose first is "
            f"{classes[0]!r}, the table's {next(iter(named))!r}. Spell the names as the data set does, or remove "
            "the tables to use WordNet."
        )


def _one_each(path: Path, name_column: str) -> dict[str, str]:
    if not os.path.lexists(path):
        raise WorkbenchError(
            f"{path}: the file is missing, but the other synset table is there. Add it, or remove both to use WordNet."
        )
    one: dict[str, str] = {}
    for name, synset in read_rows(path, name_column):
        if synset and one.setdefault(name, synset) != synset:
            raise WorkbenchError(f"{path}: {name!r} is {one[name]} and {synset}; expected one synset. Keep one row.")
    return one


def _known(table: SynsetTable, vocabulary: Vocabulary) -> SynsetTable:
    for kind in ("objects", "relations"):
        require_class(getattr(table, kind), getattr(vocabulary, kind), kind, table.source)
    return table
