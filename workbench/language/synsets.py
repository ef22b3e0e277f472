"""One synset for each class name: what synset-matched accuracy compares instead of names.

The upstream evaluation reads tables (LTVRR reference, 1.1 and 7.5): GQA-LT has one CSV for objects and one for
relations, VG8K-LT one JSON with nouns and verbs. Where they are missing, objects get their first noun synset in
WordNet and a relation stands for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.language.wordnet import noun_senses, open_wordnet
from workbench.scenes.vocabulary import Vocabulary

OBJECTS_TABLE = "objects_synsets.csv"
RELATIONS_TABLE = "predicates_synsets.csv"
WORDS_TABLE = "words_synsets.json"


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

    def of_role(self, role: str) -> dict[str, str]:
        """The table that serves a role: "subject", "relation" or "object"."""
        return self.relations if role == "relation" else self.objects


def read_synsets(folder: Path | None, vocabulary: Vocabulary, wordnet=None) -> SynsetTable:
    """The synset table of a data set: its own files in ``folder`` or the folder above, else built from WordNet.

    GQA-LT's pair of CSV files comes first, then VG8K-LT's JSON. WorkbenchError for a file without the expected columns
    or with two synsets for one name, and where only one of the two CSV files is there.
    """
    for place in [] if folder is None else [Path(folder), Path(folder).parent]:
        objects, relations, words = (place / name for name in (OBJECTS_TABLE, RELATIONS_TABLE, WORDS_TABLE))
        if objects.is_file() or relations.is_file():
            return SynsetTable(
                _read_csv(objects, "object_name"), _read_csv(relations, "predicate_name"), f"{objects}, {relations}"
            )
        if words.is_file():
            return _read_words(words)
    return synsets_from_wordnet(vocabulary, wordnet)


def synsets_from_wordnet(vocabulary: Vocabulary, wordnet=None) -> SynsetTable:
    """First noun synset of each object name (none where WordNet has none); each relation stands for itself."""
    reader = open_wordnet() if wordnet is None else wordnet
    found = {name: noun_senses(name, reader, max_senses=1)[1] for name in vocabulary.objects}
    objects = {name: senses[0].name() for name, senses in found.items() if senses}
    return SynsetTable(objects, {name: name for name in vocabulary.relations}, "WordNet")


def synset_ids(names: Sequence[str], table: dict[str, str], missing_never_hits: bool = False) -> np.ndarray:
    """Numbers (K,) int64 that are equal where two names share a synset.

    A name that the table lacks gets a number of its own, or -1 with ``missing_never_hits``; :func:`synset_hits`
    counts -1 as wrong.
    """
    numbers: dict[tuple[str, str], int] = {}
    ids = np.empty(len(names), dtype=np.int64)
    for place, name in enumerate(names):
        if name in table:
            ids[place] = numbers.setdefault(("synset", table[name]), len(numbers))
        else:
            ids[place] = -1 if missing_never_hits else numbers.setdefault(("name", name), len(numbers))
    return ids


def synset_hits(true: np.ndarray, predicted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the predicted class has the true class's synset; ``true``, ``predicted`` (n,) class ids."""
    return (ids[true] == ids[predicted]) & (ids[true] >= 0)


def _read_csv(path: Path, name_column: str) -> dict[str, str]:
    if not path.is_file():
        raise WorkbenchError(
            f"{path}: the file is missing, but the other synset table is there. Add it, or remove both to use WordNet."
        )
    try:
        # "none" and "null" are names, not gaps.
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, UnicodeDecodeError) as error:
        raise WorkbenchError(f"{path}: not a readable CSV file ({error}). Write it again from its source.") from error
    if not {name_column, "synset"} <= set(rows.columns):
        raise WorkbenchError(f"{path}: columns {list(rows.columns)}; expected {name_column!r} and 'synset'.")
    rows = rows[rows["synset"].str.strip() != ""]
    several = rows.groupby(name_column)["synset"].nunique()
    if len(several := several[several > 1]):
        raise WorkbenchError(f"{path}: {several.index[0]!r} has {several.iloc[0]} synsets; expected one. Keep one row.")
    return dict(zip(rows[name_column], rows["synset"], strict=True))


def _read_words(path: Path) -> SynsetTable:
    words = read_json(path)
    for key in ("nouns", "verbs"):
        if not isinstance(words, dict) or not isinstance(words.get(key), dict):
            raise WorkbenchError(f"{path}: no object {key!r}; expected 'nouns' and 'verbs', each from name to synset.")
        if wrong := [n for n, synset in words[key].items() if synset is not None and not isinstance(synset, str)]:
            raise WorkbenchError(f"{path}, {key!r}, {wrong[0]!r}: {words[key][wrong[0]]!r} where a synset belongs.")
    nouns, verbs = ({name: synset for name, synset in words[key].items() if synset} for key in ("nouns", "verbs"))
    return SynsetTable(nouns, verbs, str(path), missing_never_hits=True)
