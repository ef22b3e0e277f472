"""Class vectors from word vectors (`recognition.word_files`) or from text embeddings.

Source: reference `ltvrr.md` section 1.6.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings
from workbench.recognition.word_files import WordRow, iterate_word_vectors, look_at_end
from workbench.scenes.vocabulary import Vocabulary

BACKGROUND_WORD = "unknown"
SHOWN = 20

WordMode = Literal["clean", "upstream"]
Spelled = dict[str, list[str]]


class ClassVectors(NamedTuple):
    """Word matrices of the head: objects (C, W), relations (R + 1, W) with row 0 the background; float32."""

    objects: np.ndarray
    relations: np.ndarray


def look(path: Path, vocabulary: Vocabulary | None, config: Any) -> None:
    """Refuse a file that ends early, lacks words of ``vocabulary`` or holds no word vectors; reads the file once."""
    look_at_end(path)
    if vocabulary is not None:
        spelled_class_vectors(path, vocabulary, config.word_mode)


def spelled_class_vectors(
    path: Path, vocabulary: Vocabulary, mode: WordMode = "clean"
) -> tuple[ClassVectors, dict[str, str]]:
    """Class vectors from a word vector file: mean over words of the L2-normalised vector of each word.

    Also which entries each class name took that is not spelled so in the file, "t-shirt": "t_shirt". ``mode`` "clean"
    takes names in lower case and tries in turn: the whole name as written, with "_", with "-" between its words; each
    word as written, then with "_", "-" or nothing between its parts, then these in another case, then its parts alone;
    at last the whole name joined; `wall-brick` and the like as `plain_name` says them. "upstream" emulates its
    lower-casing, in which the last case variant in the file wins (a head trained by upstream needs that). Raises
    WorkbenchError that names missing words, or words without direction.
    """
    path, relations = Path(path), (BACKGROUND_WORD, *vocabulary.relations)
    names = dict.fromkeys((*vocabulary.objects, *relations))
    spelled: Spelled = {name: (name if mode == "upstream" else name.lower()).split(" ") for name in names}
    words = {word for keys in spelled.values() for word in keys}
    if mode == "upstream":
        rows = _upstream_lookup(path, words)
    else:
        said = {name: name.lower() for name in names}  # of "mouse (computer equipment)" the mouse
        said |= {name: plain.partition(" (")[0].lower() for name, plain in vocabulary.read_otherwise.items()}
        exact, other_case = _clean_lookup(path, said.values())
        spelled, rows = {name: _spelling(said[name], exact, other_case) for name in names}, other_case | exact
    missing = sorted({key for keys in spelled.values() for key in keys if key not in rows})
    if missing:
        raise WorkbenchError(
            f"{path}: no vector for {len(missing)} of {len(words)} words: {', '.join(missing[:SHOWN])}"
            f"{' ...' if len(missing) > SHOWN else ''}. Use a file that has them, or leave the word vector file out "
            "to take the text tower's vectors."
        )
    taken = {name: [_unit(path, rows[key], name) for key in keys] for name, keys in spelled.items()}
    lengths = {len(vector): name for name, vectors in taken.items() for vector in vectors}
    if len(lengths) > 1:
        raise WorkbenchError(f"{path}: vectors of {sorted(lengths)} numbers, such as of {', '.join(lengths.values())}.")
    vectors = (
        np.stack([np.stack(taken[name]).mean(axis=0) for name in part]) for part in (vocabulary.objects, relations)
    )
    entries = {name: " ".join(rows[key].word for key in keys) for name, keys in spelled.items()}
    other = {name: words for name, words in entries.items() if words not in (name, name.lower())}
    return ClassVectors(*vectors), other


def text_word_vectors(text: TextEmbeddings) -> ClassVectors:
    """Class vectors from text embeddings: the tower's L2-normalised vectors of the class names.

    There is no text for "no relation", so the background is the mean vector of the relations.
    """
    for kind, rows in (("objects", np.asarray(text.objects)), ("relations", np.asarray(text.relations))):
        if not (usable := _has_direction(rows)).all():
            raise WorkbenchError(
                f"{text.folder}: the text vector of row {usable.argmin()} of the {kind} is zero or not finite, so it "
                "has no direction. Write the text folder again from vectors of every name."
            )
    objects, relations = _unit_rows(np.asarray(text.objects)), _unit_rows(np.asarray(text.relations))
    background = relations.mean(axis=0, keepdims=True)
    return ClassVectors(objects, np.concatenate([background, relations]).astype(np.float32))


def _clean_lookup(path: Path, names: Iterable[str]) -> tuple[dict[str, WordRow], dict[str, WordRow]]:
    """The first row of every spelling that ``names`` may take, and of the words' other cases by their lower case."""
    wholes = {key for name in names for key in _wholes(name.lower())}
    words = {key for name in names for word in name.lower().split() for key in (*_spellings(word), *_parts(word))}
    exact: dict[str, WordRow] = {}
    other_case: dict[str, WordRow] = {}
    for row in iterate_word_vectors(path, lambda key: key in wholes or key in words or key.lower() in words):
        if row.word in wholes or row.word in words:
            exact.setdefault(row.word, row)
        else:
            # GoogleNews has "of" or "to" only in upper case; the first (most frequent) variant stands in.
            other_case.setdefault(row.word.lower(), row)
    return exact, other_case


def _wholes(name: str) -> list[str]:
    """A name of several words as one key, the joined form last."""
    words = name.split()
    return [by.join(words) for by in (" ", "_", "-", "")] if len(words) > 1 else []


def _parts(word: str) -> list[str]:
    return [part for part in word.replace("_", "-").split("-") if part]


def _spellings(word: str) -> list[str]:
    parts = _parts(word)
    return list(dict.fromkeys([word, *(by.join(parts) for by in ("_", "-", " ", "") if len(parts) > 1)]))


def _spelling(name: str, exact: dict[str, WordRow], other_case: dict[str, WordRow]) -> list[str]:
    """The keys of a name in lower case; a word that has none stands for itself."""
    wholes = _wholes(name)
    if whole := [key for key in wholes[:-1] if key in exact]:
        return whole[:1]
    keys: list[str] = []
    for word in name.split():
        known = [key for rows in (exact, other_case) for key in _spellings(word) if key in rows]
        parts = [part for part in _parts(word) if part in exact or part in other_case]
        keys += known[:1] or (parts if parts == _parts(word) else [word])
    whole_is_left = wholes and wholes[-1] in exact and not all(key in exact or key in other_case for key in keys)
    return wholes[-1:] if whole_is_left else keys


def _upstream_lookup(path: Path, words: set[str]) -> dict[str, WordRow]:
    """Upstream's two passes over an insertion-ordered dictionary (reference section 1.6), kept to ``words``.

    Pass one re-inserts every key under its lower case, overwriting; pass two adds every key with "_" as "-".
    The order of a dictionary is that of first insertion, so pass two meets the original keys first.
    """
    spellings = {word.replace("_", "-") for word in words}
    rows = iterate_word_vectors(path, lambda key: key.lower().replace("_", "-") in spellings)
    originals = {row.word: row for row in rows}
    table = dict(originals)
    for key in originals:
        table[key.lower()] = table[key]
    for key in list(table):
        table[key.replace("_", "-")] = table[key]
    return {word: table[word] for word in words if word in table}


def _unit(path: Path, row: WordRow, name: str) -> np.ndarray:
    if not _has_direction(row.vector[None]).all():
        what = "is zero or not finite, so it has no direction" if len(row.vector) else "has another length"
        told = f"{path}, {row.place}: the vector of {row.word!r}, which the class {name!r} takes, {what}"
        raise WorkbenchError(f"{told}. Mend it there, or give another file.")
    return _unit_rows(row.vector[None])[0]


def _has_direction(rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(rows.astype(np.float32), axis=1)
    return np.isfinite(norms) & (norms > 0)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True)).astype(np.float32)
