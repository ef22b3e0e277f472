"""JSON files of a data set, read by msgspec: mapped from disk, the outermost object first, its members when asked for.

GQA-LT's training relations are half a gigabyte of JSON, which as Python objects would take ten times that; here one
member at a time becomes objects. What is no JSON is placed by line and column, a value of another type by its record.
"""

import json
import mmap
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

_MEGABYTE = 1 << 20
_BYTE = re.compile(r" \(byte (\d+)\)$")
_BETWEEN = b" \t\r\n,"


class BrokenJson(ValueError):
    """A file that is no JSON: ``place`` is a line and column, ``what`` the parser's words."""

    def __init__(self, place: str, what: str):
        super().__init__(f"{place}: {what}")
        self.place, self.what = place, what


class WrongType(TypeError):
    """JSON of another type: ``record`` is where (", relation 3, bbox"; empty for the whole), ``found`` what."""

    def __init__(self, error: msgspec.ValidationError):
        message, _, path = str(error).partition(" - at `")
        super().__init__(message)
        self.record, self.what = _record(path.rstrip("`")), message[0].lower() + message[1:]


class JsonFile:
    """The members of a file's outermost object, by name; each is decoded by ``decoded``.

    ``repeated`` are the names that occur twice: of two entries under one name a parser keeps the last. Raises OSError,
    BrokenJson, or WrongType where the outermost value is no object.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        with open(self.path, "rb") as file:
            # An empty file cannot be mapped.
            empty = self.path.stat().st_size == 0
            self._bytes = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.members: dict[str, msgspec.Raw] = decoded(self._bytes, dict[str, msgspec.Raw])
        self.repeated = self._repeated()

    def let_go(self) -> None:
        """Give the pages that were read back to the system, which brings them again when they are asked for."""
        if hasattr(self._bytes, "madvise"):
            self._bytes.madvise(mmap.MADV_DONTNEED)

    def _repeated(self) -> list[str]:
        """The names whose value the parser overwrote: the bytes before a member then hold more than its own name."""
        start = np.frombuffer(self._bytes, dtype=np.uint8).ctypes.data
        spans = []
        for raw in self.members.values():
            value = np.frombuffer(memoryview(raw), dtype=np.uint8)
            spans.append((value.ctypes.data - start, len(value)))
        names, end = [], self._bytes.find(b"{") + 1
        for first, length in sorted(spans):
            before = self._bytes[end:first].strip(_BETWEEN).removesuffix(b":").decode(errors="replace")
            pairs = json.loads("{" + before + ":0}", object_pairs_hook=list, strict=False)
            names += [other for other, _ in pairs[:-1]]
            end = first + length
        return names


def repeated_keys(data: bytes) -> list[str]:
    """The keys that occur twice in one object, at any depth, of bytes that are JSON."""
    repeated: list[str] = []

    def seen(pairs: list[tuple[str, Any]]) -> None:
        counts = Counter(key for key, _ in pairs)
        repeated.extend(key for key, count in counts.items() if count > 1)

    json.loads(data, object_pairs_hook=seen, strict=False)
    return list(dict.fromkeys(repeated))


def read_names(path: Path) -> Any:
    """A whole small file; raises OSError or BrokenJson."""
    return decoded(Path(path).read_bytes(), Any)


def decoded(data: Any, kind: Any) -> Any:
    """JSON bytes as ``kind``; BrokenJson, or WrongType where they say something else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise WrongType(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenJson(_place(memoryview(data), str(error)), _BYTE.sub("", str(error))) from error
    except RecursionError as error:
        raise BrokenJson("whole file", "nested too deeply") from error


def _place(data: memoryview, message: str) -> str:
    """Line and column of the byte that the parser names; the end where it names none."""
    named = _BYTE.search(message)
    left = int(named.group(1)) if named else len(data)
    line, column = 1, 1
    for start in range(0, left, _MEGABYTE):
        piece = bytes(data[start : min(start + _MEGABYTE, left)])
        line += piece.count(b"\n")
        column = len(piece) - piece.rfind(b"\n") if b"\n" in piece else column + len(piece)
    return f"line {line}, column {column}"


def _record(path: str) -> str:
    """The path in msgspec's words for people: ``$[3].subject.bbox`` is ", entry 3, subject, bbox"."""
    return "".join(
        f", entry {number}" if number else f", {name}" for number, name in re.findall(r"\[(\d+)\]|\.(\w+)", path)
    )
