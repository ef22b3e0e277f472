"""Class vectors from word vectors (word2vec, GloVe or JSON) or from text embeddings.

Source: reference `ltvrr.md` section 1.6. Nothing here needs gensim, and nothing is unpickled.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.language.text_embedding import TextEmbeddings
from workbench.scenes.vocabulary import Vocabulary

BACKGROUND_WORD = "unknown"
CHUNK_BYTES = 1 << 22

WordMode = Literal["clean", "upstream"]
Wanted = Callable[[str], bool]


class ClassVectors(NamedTuple):
    """Word matrices of the head: objects (C, W), relations (R + 1, W) with row 0 the background; float32."""

    objects: np.ndarray
    relations: np.ndarray


def read_class_vectors(path: Path, vocabulary: Vocabulary, mode: WordMode = "clean") -> ClassVectors:
    """Class vectors from a word vector file: mean over words of the L2-normalised vector of each word.

    ``path``: word2vec ``.bin``, ``.json`` (name -> vector), otherwise GloVe text. ``mode`` "clean" takes the
    word as it is written in lower case; "upstream" emulates its lower-casing, in which the last case variant
    in the file wins (a head trained by upstream needs that). Raises WorkbenchError that names missing words.
    """
    relations = (BACKGROUND_WORD, *vocabulary.relations)
    names = (*vocabulary.objects, *relations)
    words = {word for name in names for word in _words(name, mode)}
    vectors = _vectors_of_words(Path(path), words, mode)
    missing = sorted(words - set(vectors))
    if missing:
        raise WorkbenchError(
            f"{path}: no vector for {len(missing)} of {len(words)} words: {', '.join(missing[:20])}"
            f"{' ...' if len(missing) > 20 else ''}. Use a file that has them, or leave the word vector file out "
            "to take the text tower's vectors."
        )
    return ClassVectors(_mean_vectors(vocabulary.objects, vectors, mode), _mean_vectors(relations, vectors, mode))


def text_word_vectors(text: TextEmbeddings) -> ClassVectors:
    """Class vectors from text embeddings: the tower's L2-normalised vectors of the class names.

    There is no text for "no relation", so the background is the mean vector of the relations.
    """
    objects, relations = _unit_rows(np.asarray(text.objects)), _unit_rows(np.asarray(text.relations))
    background = relations.mean(axis=0, keepdims=True)
    return ClassVectors(objects, np.concatenate([background, relations]).astype(np.float32))


def iterate_word_vectors(path: Path, wanted: Wanted = lambda word: True) -> Iterator[tuple[str, np.ndarray]]:
    """Words that are ``wanted`` and their float32 vectors, in the order of the file, which is read in pieces."""
    path = Path(path)
    if not path.is_file():
        raise WorkbenchError(f"{path}: there is no word vector file here. Correct the path or leave it empty.")
    read = {".bin": _read_word2vec, ".json": _read_json}.get(path.suffix, _read_glove)
    yield from read(path, wanted)


def _vectors_of_words(path: Path, words: set[str], mode: str) -> dict[str, np.ndarray]:
    if mode == "upstream":
        return _upstream_lookup(path, words)
    exact: dict[str, np.ndarray] = {}
    other_case: dict[str, np.ndarray] = {}
    for word, vector in iterate_word_vectors(path, lambda word: word in words or word.lower() in words):
        if word in words:
            exact.setdefault(word, vector)
        else:
            # GoogleNews has "of" or "to" only in upper case; the first (most frequent) variant stands in.
            other_case.setdefault(word.lower(), vector)
    return other_case | exact


def _upstream_lookup(path: Path, words: set[str]) -> dict[str, np.ndarray]:
    """Upstream's two passes over an insertion-ordered dictionary (reference section 1.6), kept to ``words``.

    Pass one re-inserts every key under its lower case, overwriting; pass two adds every key with "_" as "-".
    The order of a dictionary is that of first insertion, so pass two meets the original keys first.
    """
    spellings = {word.replace("_", "-") for word in words}
    originals = dict(iterate_word_vectors(path, lambda key: key.lower().replace("_", "-") in spellings))
    table = dict(originals)
    for key in originals:
        table[key.lower()] = table[key]
    for key in list(table):
        table[key.replace("_", "-")] = table[key]
    return {word: table[word] for word in words if word in table}


def _read_word2vec(path: Path, wanted: Wanted) -> Iterator[tuple[str, np.ndarray]]:
    """word2vec binary: a header "count dimension", then per row the word, a blank and float32 little-endian."""
    with open(path, "rb") as file:
        header = file.readline(100).split()
        if len(header) != 2 or not all(part.isdigit() for part in header):
            raise WorkbenchError(f"{path}: not a word2vec binary file; the first line must hold count and dimension.")
        count, dimension = int(header[0]), int(header[1])
        buffer, start, row_bytes = b"", 0, 4 * dimension
        for row in range(count):
            while (blank := buffer.find(b" ", start)) < 0 or len(buffer) < blank + 1 + row_bytes:
                chunk = file.read(CHUNK_BYTES)
                if not chunk:
                    raise WorkbenchError(f"{path}: ends in row {row:,} of {count:,}; the file is truncated.")
                buffer, start = buffer[start:] + chunk, 0
            # Some writers end a row with a line break, so a word may begin with one.
            word = buffer[start:blank].lstrip(b"\n").decode("utf-8", errors="replace")
            start = blank + 1 + row_bytes
            if wanted(word):
                yield word, np.frombuffer(buffer, "<f4", dimension, blank + 1).astype(np.float32)  # frees the buffer


def _read_glove(path: Path, wanted: Wanted) -> Iterator[tuple[str, np.ndarray]]:
    """Text: a line per word, its vector last; words may hold blanks or line separators of Unicode."""
    dimension = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            blanks = line.rstrip().count(b" ")
            if number == 1 and blanks == 1:
                continue  # the header of word2vec's text form
            dimension = dimension or blanks
            if blanks < dimension:
                raise WorkbenchError(f"{path}, line {number}: expected a word and {dimension} numbers.")
            # A few words hold blanks, so the vector is counted from the end.
            word = line[: line.find(b" ")] if blanks == dimension else line.rstrip().rsplit(b" ", dimension)[0]
            name = word.decode("utf-8", errors="replace")
            if not wanted(name):
                continue
            try:
                vector = np.array(line[len(word) :].split(), dtype=np.float32)
            except ValueError as error:
                raise WorkbenchError(f"{path}, line {number}: expected a word and {dimension} numbers.") from error
            yield name, vector


def _read_json(path: Path, wanted: Wanted) -> Iterator[tuple[str, np.ndarray]]:
    table = read_json(path)
    if not isinstance(table, dict):
        raise WorkbenchError(f"{path}: expected a JSON object name -> vector, found a {type(table).__name__}.")
    dimensions = {np.shape(vector) for vector in table.values()}
    if len(dimensions) > 1:
        raise WorkbenchError(f"{path}: vectors of different lengths: {sorted(dimensions)[:5]}.")
    yield from ((name, np.asarray(vector, dtype=np.float32)) for name, vector in table.items() if wanted(name))


def _words(name: str, mode: str) -> list[str]:
    return (name if mode == "upstream" else name.lower()).split(" ")


def _mean_vectors(names: Iterable[str], vectors: dict[str, np.ndarray], mode: str) -> np.ndarray:
    """Mean of the normalised word vectors of each name, not normalised again; (len(names), W) float32."""
    return np.stack([_unit_rows(np.stack([vectors[w] for w in _words(name, mode)])).mean(axis=0) for name in names])


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True)
    usable = np.isfinite(norms) & (norms > 0)
    if not usable.all():
        raise WorkbenchError(f"class vectors: row {usable.argmin()} is zero or not finite, so it has no direction.")
    return (rows / norms).astype(np.float32)
