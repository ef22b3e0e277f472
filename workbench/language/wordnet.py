"""WordNet without a network: the nouns that come with the project, and the synsets of class names.

The package carries WordNet 3.0 nouns without glosses (``data/wordnet_nouns.tar.xz``, under ``data/LICENSE.wordnet``).
They are unpacked once into a cache folder and read by NLTK.

Synset-matched accuracy compares one synset of each class. The upstream evaluation reads it from tables (LTVRR
reference, 1.1 and 7.5): GQA-LT has one CSV for objects and one for relations, VG8K-LT one JSON with nouns and verbs.
Where they are missing, objects get their first noun synset in WordNet and a relation stands for itself.
"""

import contextlib
import csv
import functools
import lzma
import os
import re
import tarfile
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading, writing
from workbench.files import read_json, sha256_of_file
from workbench.locks import temporary_folder
from workbench.paths import HOME_VARIABLE, project_root
from workbench.scenes.annotations import SYNSET_TABLES
from workbench.scenes.vocabulary import Vocabulary, plain_name

if TYPE_CHECKING:
    from nltk.corpus.reader import WordNetCorpusReader
    from nltk.corpus.reader.wordnet import Synset

ARCHIVE = Path(__file__).parent / "data" / "wordnet_nouns.tar.xz"
OBJECTS_TABLE, RELATIONS_TABLE, WORDS_TABLE = SYNSET_TABLES


@functools.cache
def open_wordnet(folder: Path | None = None) -> "WordNetCorpusReader":
    """NLTK's WordNet reader on the shipped nouns, or on the WordNet in ``folder``, an ``nltk_data`` folder.

    The reader is shared by later calls, and by threads. WorkbenchError where NLTK cannot read what is there, or where
    the irregular plurals are missing, without which "feet" and "geese" have no sense.
    """
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class SharedReader(WordNetCorpusReader):
        """NLTK goes to a synset by seek and readline in one open file, without a lock."""

        _lock = threading.RLock()

        def synset_from_pos_and_offset(self, pos: str, offset: int) -> "Synset":
            with self._lock:
                return super().synset_from_pos_and_offset(pos, offset)

    root = unpack_nouns() if folder is None else Path(folder)
    plurals = root / "corpora" / "wordnet" / "noun.exc"
    if (plurals.parent / "data.noun").is_file() and not (plurals.is_file() and plurals.stat().st_size):
        remedy = (
            f"Delete {root}, which is unpacked again."
            if folder is None
            else ("Copy it from WordNet's folder dict/, or leave the folder out to take the project's nouns.")
        )
        raise WorkbenchError(
            f"{plurals}: missing or empty, expected the irregular plurals; without them feet, children and geese have "
            f"no sense. {remedy}"
        )
    if str(root) not in nltk.data.path:
        nltk.data.path.insert(0, str(root))  # NLTK reads corpora only below these folders
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The multilingual functions are not available")
        try:
            return SharedReader(str(root / "corpora" / "wordnet"), None)
        except (OSError, LookupError, ValueError, AssertionError) as error:
            raise WorkbenchError(
                f"{root / 'corpora' / 'wordnet'}: NLTK cannot read this WordNet ({error}). "
                "Delete the folder if it is a cache, or name another WordNet folder."
            ) from error


def noun_senses(name: str, reader: "WordNetCorpusReader", max_senses: int | None = None) -> list["Synset"]:
    """The noun synsets of a class name, most frequent sense first.

    Tried in turn: the words joined by underscores, by hyphens, and the head noun alone (the last word; before "of",
    the word there). NLTK's morphy takes plurals off each. The name is read as `plain_name` says it; what stands in
    brackets chooses the senses. No form with a noun sense, or several of which none is meant: [], never a guess.
    """
    words, _, meaning = plain_name(name).partition("(")
    for form in name_forms(words):
        if synsets := _meant(reader.synsets(form, "n"), meaning):
            # A plural may have two base forms (cookie, cooky) of the same synsets. Cut first, as plain NLTK code does.
            return list(dict.fromkeys(synsets[:max_senses]))
    return []


def _meant(synsets: list["Synset"], kind: str) -> list["Synset"]:
    """The senses that share most words with the ``kind`` in brackets, by lemmas of their own and above them."""
    if not kind or len(synsets) < 2:
        return synsets
    above = [(synset, *synset.closure(lambda s: s.hypernyms())) for synset in synsets]
    texts = [kind, *(" ".join(name for s in senses for name in s.lemma_names()) for senses in above)]
    words, *own = ({word.rstrip("s") for word in re.findall(r"[a-z]{3,}", text.lower())} for text in texts)
    # What a thing is for, or on, is not what it is.
    shared = [0 if re.match("(for|on|in|with) ", kind) else len(words & lemmas) for lemmas in own]
    return [synset for synset, count in zip(synsets, shared, strict=True) if count == max(shared) > 0]


def name_forms(name: str) -> list[str]:
    """The spellings under which WordNet may hold a class name, in the order of trust."""
    words = re.split(r"[\s_]+", name.strip().lower())
    parts = re.split(r"[\s_-]+", name.strip().lower().strip("-_"))
    head = parts[parts.index("of") - 1] if "of" in parts[1:] else parts[-1]
    forms = ["_".join(words), "_".join(parts), "-".join(parts), head]
    return [form for form in dict.fromkeys(forms) if form]


def unpack_nouns(cache: Path | None = None, archive: Path = ARCHIVE) -> Path:
    """Unpack the shipped nouns once and return the folder that holds ``corpora/wordnet``.

    ``cache``: where to, by default ``data/cache/wordnet`` of the project or, where that cannot be written, the user's
    cache. The folder's name carries the archive's digest, and it appears in one rename, so that neither an interrupted
    unpacking nor a new archive can leave a wrong database behind.
    """
    if not archive.is_file():
        raise WorkbenchError(f"{archive}: the shipped WordNet is missing. Install the package again.")
    root = _cache_folder(cache) / f"nouns-{sha256_of_file(archive)[:12]}"
    if root.is_dir():
        return root
    with writing(root), temporary_folder(".nouns-", str(root.parent)) as temporary:
        partial = Path(temporary) / "nouns"
        _extract(archive, partial / "corpora" / "wordnet")
        try:
            partial.rename(root)
        except OSError:
            if not root.is_dir():
                raise  # otherwise another process was first, with the same content
    return root


def _extract(archive: Path, target: Path) -> None:
    target.mkdir(parents=True)
    try:
        with tarfile.open(archive, mode="r:xz") as tar:
            for member in tar:
                if content := tar.extractfile(member):
                    # By the last part of its name alone, so that no member can be written outside the folder.
                    (target / Path(member.name).name).write_bytes(content.read())
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise WorkbenchError(f"{archive}: not a whole WordNet archive ({error}). Install the package again.") from error


def _cache_folder(cache: Path | None) -> Path:
    choices = [cache] if cache else [Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workbench"]
    if not cache:
        with contextlib.suppress(WorkbenchError):  # installed without a project
            choices.insert(0, project_root() / "data" / "cache" / "wordnet")
    for folder in choices:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    tried = ", ".join(map(str, choices))
    raise WorkbenchError(f"No folder for the unpacked WordNet can be written ({tried}). Set {HOME_VARIABLE} to one.")


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


def read_synsets(folder: Path, vocabulary: Vocabulary) -> SynsetTable:
    """The synset table of a data set: its own files in ``folder`` or the folder above, else built from WordNet.

    GQA-LT's pair of CSV files comes first, then VG8K-LT's JSON. WorkbenchError for a file without the expected columns
    or with two synsets for one name, and where only one of the two CSV files is there.
    """
    for place in (Path(folder), Path(folder).parent):
        objects, relations, words = (place / name for name in (OBJECTS_TABLE, RELATIONS_TABLE, WORDS_TABLE))
        if objects.is_file() or relations.is_file():
            named = _read_csv(objects, "object_name"), _read_csv(relations, "predicate_name")
            return _known(SynsetTable(*named, f"{objects}, {relations}"), vocabulary)
        if words.is_file():
            return _known(_read_words(words), vocabulary)
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


def _read_csv(path: Path, name_column: str) -> dict[str, str]:
    if not path.is_file():
        raise WorkbenchError(
            f"{path}: the file is missing, but the other synset table is there. Add it, or remove both to use WordNet."
        )
    # "none" and "null" are names, not gaps, and pandas would fill or shift lines of another length.
    remedy = "Write it again from its source."
    with reading(path, "a CSV table", remedy), open(path, encoding="utf-8-sig", newline="") as file:
        header, *lines = ([field.strip() for field in line] for line in csv.reader(file) if line)
    if not {name_column, "synset"} <= set(header):
        raise WorkbenchError(f"{path}: columns {header}; expected {name_column!r} and 'synset'.")
    if odd := next((line for line in lines if len(line) != len(header)), None):
        raise WorkbenchError(
            f"{path}: the line {', '.join(odd)!r} has {len(odd)} fields, the header {len(header)}. Give every line as "
            "many; a name that has no synset ends with a comma."
        )
    rows = pd.DataFrame(lines, columns=header)
    rows = rows[rows["synset"] != ""]
    several = rows.groupby(name_column)["synset"].nunique()
    if len(several := several[several > 1]):
        raise WorkbenchError(f"{path}: {several.index[0]!r} has {several.iloc[0]} synsets; expected one. Keep one row.")
    return dict(zip(rows[name_column], rows["synset"], strict=True))


def _known(table: SynsetTable, vocabulary: Vocabulary) -> SynsetTable:
    """The table, refused where it has names and none of a class: each would stand for itself without a word."""
    for kind in ("objects", "relations"):
        named, classes = getattr(table, kind), getattr(vocabulary, kind)
        if named and classes and not named.keys() & set(classes):
            raise WorkbenchError(
                f"{table.source}: none of its {len(named)} names of {kind} is a class of this data set, whose first is "
                f"{classes[0]!r}, the table's {next(iter(named))!r}. Spell the names as the data set does, or remove "
                "the tables to use WordNet."
            )
    return table


def _read_words(path: Path) -> SynsetTable:
    words = read_json(path)
    for key in ("nouns", "verbs"):
        if not isinstance(words, dict) or not isinstance(words.get(key), dict):
            raise WorkbenchError(f"{path}: no object {key!r}; expected 'nouns' and 'verbs', each from name to synset.")
        if wrong := [n for n, synset in words[key].items() if synset is not None and not isinstance(synset, str)]:
            raise WorkbenchError(f"{path}, {key!r}, {wrong[0]!r}: {words[key][wrong[0]]!r} where a synset belongs.")
    nouns, verbs = ({name: synset for name, synset in words[key].items() if synset} for key in ("nouns", "verbs"))
    return SynsetTable(nouns, verbs, str(path), missing_never_hits=True)
