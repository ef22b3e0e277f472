"""Files of word vectors, told by content: word2vec's binary and text forms, GloVe, fastText's text, CSV, JSON; or gzip.

Nothing here needs gensim, and nothing is unpickled. Other files are refused with the command that converts them.
"""

import gzip
import itertools
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.file_kinds import FileKind, file_kind, kind_of_start, refuse_kind
from workbench.files import distinct

CHUNK_BYTES = 1 << 22
START_BYTES = 1 << 18
SAMPLE_LINES = 100
EXPECTED = "word vectors: word2vec's binary form, lines of a word and its numbers, or JSON from name to vector"
_BOM = b"\xef\xbb\xbf"
_HEADER = re.compile(rb"\s*(\d+)[ \t]+(\d+)[ \t]*\r?\n")
_FASTTEXT = b"\xba\x16O/"
_READABLE = (FileKind.GZIP, FileKind.JSON, FileKind.TEXT, FileKind.BINARY)

Wanted = Callable[[str], bool]


class WordRow(NamedTuple):
    """A word, its float32 vector (empty where the file has another number of values), and where it stands."""

    word: str
    vector: np.ndarray
    place: str


class _Form(NamedTuple):
    """The name "binary", "text" or "JSON"; the vectors' length, and what stands between the fields of most lines."""

    name: str
    dimension: int = 0
    separator: bytes = b" "


def iterate_word_vectors(path: Path, wanted: Wanted = lambda word: True) -> Iterator[WordRow]:
    """The rows whose word is ``wanted``, in the order of the file, which is read in pieces; WorkbenchError else."""
    path, form = Path(path), look_at_word_vectors(path)
    with reading(path, EXPECTED), np.errstate(over="ignore"), _opened(path) as file:
        yield from {"JSON": _read_json, "binary": _read_binary, "text": _read_text}[form.name](file, path, wanted, form)


def look_at_word_vectors(path: Path) -> _Form:
    """The form of a file by its first bytes; WorkbenchError where it holds no word vectors, with what makes them."""
    path = Path(path)
    if not path.exists():
        raise WorkbenchError(f"{path}: there is no word vector file here. Correct the path or leave it empty.")
    with reading(path, EXPECTED):
        kind = file_kind(path)
        if kind not in _READABLE:
            raise refuse_kind(path, kind, EXPECTED, _conversion(path, kind))
        with _opened(path) as file:
            start = file.read(START_BYTES)
        if kind is FileKind.GZIP and (kind := kind_of_start(start, len(start))) not in _READABLE[1:]:
            remedy = f"Unpack it: gunzip --keep {shlex.quote(str(path))}"
            raise refuse_kind(path, kind, f"{EXPECTED}, in the gzip file", remedy)
        return _form(start, path, kind)


def look_at_end(path: Path) -> None:
    """Refuse a file that holds no word vectors, or that ends early as far as its size, its lines and its end tell."""
    form = look_at_word_vectors(path)
    if file_kind(path) is FileKind.GZIP:
        return  # whose end only reading all of it tells
    with reading(path, EXPECTED):
        if cut := _cut(path, form):
            raise WorkbenchError(f"{path}: {cut}; the file is truncated. Copy it again.")


def _cut(path: Path, form: _Form) -> str:
    size, row_bytes = path.stat().st_size, 4 * form.dimension
    with open(path, "rb") as file:
        header = _HEADER.match(file.readline().removeprefix(_BOM))
        count = int(header[1]) if header else 0
        if form.name == "binary":
            file.seek(max(0, size - row_bytes - 3))
            end = file.read()[:3]  # the blank before the last vector, behind which a line break or two may stand
            return f"too short for its {count:,} rows" * (size < count * (row_bytes + 2) or b" " not in end)
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(CHUNK_BYTES), b"")) if header else 0
        file.seek(max(0, size - START_BYTES))
        last = file.read().rsplit(b"\n", 1)[-1].strip()
    if form.name == "JSON":
        return "" if last[-1:] in (b"", b"]", b"}") else "ends within its JSON"
    if last and _numbers_at_end(last.replace(b",", b" ").split()) < form.dimension:
        return f"ends within the vector of {last.split()[0].decode(errors='replace')!r}"
    return f"ends in row {lines + bool(last):,} of {count:,}" * (lines + bool(last) < count)


def _form(start: bytes, path: Path, kind: FileKind) -> _Form:
    header = _HEADER.match(start)
    lines = start.removeprefix(_BOM)[header.end() if header else 0 :].split(b"\n")[:SAMPLE_LINES]
    if len(start) == START_BYTES and len(lines) < SAMPLE_LINES:
        lines = lines[:-1]  # the piece cuts it
    blanks, commas = ([_numbers_at_end(line.split(by)) for line in lines if line.strip()] for by in (None, b","))
    counted = commas if sum(commas) > sum(blanks) else blanks
    dimension = int(header[2]) if header else Counter(filter(None, counted)).most_common(1)[0][0] if any(counted) else 0
    if dimension and (dimension in counted or (header and kind is FileKind.TEXT)):
        separators = (b",",) if counted is commas else (b"\t", b" ")
        return _Form("text", dimension, max(separators, key=lambda by: sum(x.count(by) == dimension for x in lines)))
    if header and dimension and kind is FileKind.BINARY:
        return _Form("binary", dimension)
    if kind is FileKind.JSON:
        return _Form("JSON")
    if start.startswith(_FASTTEXT):
        raise WorkbenchError(
            f"{path}: this is a fastText model, expected {EXPECTED}. Give the text form that is published beside it "
            "(.vec.gz), or write one, for a file with a word in each line: fasttext print-word-vectors "
            f"{shlex.quote(str(path))} < words.txt > vectors.txt"
        )
    raise refuse_kind(path, kind, EXPECTED, "Give the path of such a file.")


def _numbers_at_end(fields: list[bytes]) -> int:
    """How many of the last fields are numbers; the first is the word."""

    def number(field: bytes) -> bool:
        try:
            return float(field) is not None
        except ValueError:
            return False

    return sum(1 for _ in itertools.takewhile(number, reversed(fields[1:])))


def _conversion(path: Path, kind: FileKind) -> str:
    """What makes a readable file of an archive of arrays, or of another program's objects; empty where others say."""
    name, command = str(path), ""
    if kind is FileKind.NPZ:
        with np.load(path, allow_pickle=False) as arrays:
            names = {array.ndim: key for key, array in arrays.items()}
        pairs = f"zip(f[{names[1]!r}], f[{names[2]!r}])" if names.keys() == {1, 2} else "f.items()"
        command = f"import numpy as np; f = np.load({name!r}); [print(w, *v) for w, v in {pairs}]"
    elif kind is FileKind.TORCH:
        load = f"import torch; f = torch.load({name!r}, map_location='cpu', weights_only=True)"
        pairs = "(zip(f[0], f[2]) if isinstance(f, (list, tuple)) else f.items())"
        command = f"{load}; [print(w, *v.tolist()) for w, v in {pairs}]"
    elif kind in (FileKind.PICKLE, FileKind.NPY):
        return "Write it as text where it was made; with gensim: vectors.save_word2vec_format('vectors.txt')"
    if not command:
        return ""
    code = shlex.quote(command) if set(command) & set('"$`\\!') else f'"{command}"'
    return f"Convert it: python -c {code} > {shlex.quote(path.stem + '.vectors.txt')}"


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if file_kind(path) is FileKind.GZIP else open(path, "rb")  # type: ignore[return-value]


def _read_binary(file: IO[bytes], path: Path, wanted: Wanted, form: _Form) -> Iterator[WordRow]:
    """word2vec binary: a header "count dimension", then per row the word, a blank and float32 little-endian."""
    count, dimension = (int(part) for part in file.readline().split())
    buffer, start, row_bytes = b"", 0, 4 * dimension
    for row in range(1, count + 1):
        while (blank := buffer.find(b" ", start)) < 0 or len(buffer) < blank + 1 + row_bytes:
            chunk = file.read(CHUNK_BYTES)
            if not chunk:
                what = f"{path}: ends in row {row - 1:,} of {count:,}"
                raise WorkbenchError(f"{what}; the file is truncated. Copy it again.")
            buffer, start = buffer[start:] + chunk, 0
        # Some writers end a row with a line break, so a word may begin with one.
        word = buffer[start:blank].lstrip(b"\n").decode("utf-8", errors="replace")
        start = blank + 1 + row_bytes
        if wanted(word):  # a copy, which frees the buffer
            yield WordRow(word, np.frombuffer(buffer, "<f4", dimension, blank + 1).astype(np.float32), f"row {row:,}")


def _read_text(file: IO[bytes], path: Path, wanted: Wanted, form: _Form) -> Iterator[WordRow]:
    """A line per word, its vector last; words may hold blanks or line separators of Unicode."""
    separator, dimension = form.separator, form.dimension
    for number, whole in enumerate(file, start=1):
        line = whole.rstrip()
        if number == 1:
            line = line.removeprefix(_BOM)
            if _HEADER.match(line + b"\n"):
                continue
        if line.count(separator) == dimension:
            word, _, values = line.partition(separator)
            fields = values.split(separator) if separator == b"," else values.split()
        else:  # a few words hold blanks, so the vector is counted from the end
            fields = line.rsplit(b"," if separator == b"," else None, dimension)
            word = fields.pop(0) if len(fields) > dimension else b""
            first = (fields[:1] or [b""])[0] if not word else word.split()[0]
            if not word or _numbers_at_end(word.split()) == len(word.split()) - 1 > 0:
                # Shorter than the others, or longer: told by the word where a class needs it.
                name = first.decode("utf-8", errors="replace").strip('"')
                if wanted(name):
                    found = _numbers_at_end(line.replace(b",", b" ").split())
                    place = f"line {number:,} ({found} numbers, expected {dimension})"
                    yield WordRow(name, np.empty(0, np.float32), place)
        name = word.decode("utf-8", errors="replace")
        if separator == b",":
            name = name.strip('"')
        if not name or not wanted(name):
            continue
        try:
            if b"_" in b"".join(fields):  # which Python reads in numbers
                raise ValueError("an underscore")
            yield WordRow(name, np.array(fields, dtype=np.float32), f"line {number:,}")
        except ValueError as error:
            raise WorkbenchError(
                f"{path}, line {number:,}, {name!r}: expected a word and {dimension} numbers. Mend the line."
            ) from error


def _read_json(file: IO[bytes], path: Path, wanted: Wanted, form: _Form) -> Iterator[WordRow]:
    table = json.loads(file.read().decode("utf-8-sig"), object_pairs_hook=distinct)
    entries: Iterable[Any] = table.items() if isinstance(table, dict) else table
    pairs = (isinstance(x, list) and len(x) == 2 and isinstance(x[0], str) for x in table)
    if isinstance(table, list) and not all(pairs):
        raise WorkbenchError(f"{path}: expected a JSON object from name to vector, or a list of such pairs.")
    lengths = Counter(len(vector) if isinstance(vector, list) else 0 for _, vector in entries)
    dimension = lengths.most_common(1)[0][0] if lengths else 0
    for name, values in entries:
        if wanted(name):
            found = sum(type(value) is not bool for value in values) if isinstance(values, list) else 0
            vector, place = np.empty(0, np.float32), f"the entry of {name!r} ({found} numbers, expected {dimension})"
            if found == dimension == len(values):
                vector, place = np.asarray(values, dtype=np.float32), f"the entry of {name!r}"
            yield WordRow(name, vector, place)
