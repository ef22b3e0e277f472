"""Large JSON files read piece by piece: one member or one list entry in memory at a time.

GQA-LT's training relations are half a gigabyte of JSON, which as Python objects would take ten times that. The pieces
come from ijson (the yajl2 C parser). It is stricter than Python's own parser (no NaN, no whole number beyond 64 bit),
so a file that it refuses is read again with ``json.loads``, which knows line and column, where it is small enough.
"""

import gc
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from workbench.progress import track

WHOLE_UP_TO_BYTES = 1 << 28
LONG_FILE_BYTES = 1 << 26
MOST_OPEN_BRACKETS = 10_000  # the parser's memory grows with the square of the depth
_BUFFER_BYTES = 1 << 16
_MEGABYTE = 1 << 20
_JSON_SPACE = b" \t\r\n"
_LINE_ENDS_AS_SPACES = bytes.maketrans(b"\r\n", b"  ")


class BrokenJson(ValueError):
    """A file that is no JSON: ``place`` is a line and column or "whole file", ``what`` the parser's words."""

    def __init__(self, place: str, what: str):
        super().__init__(f"{place}: {what}")
        self.place, self.what = place, what


class NotAnObject(TypeError):
    """JSON whose top level is no object; ``value`` is the content, or its first bytes where the file is large."""

    def __init__(self, value: Any):
        super().__init__("the top level is no JSON object")
        self.value = value


class JsonFile:
    """A JSON file whose top level is an object.

    ``repeated`` collects the keys that occur twice in one object, in what was read so far: of two entries under one
    key a parser keeps the last. Reading raises OSError, BrokenJson or NotAnObject.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.repeated: list[str] = []
        self._whole: list[tuple[str, Any]] | None = None

    def members(self) -> Iterator[tuple[str, Any]]:
        """The top level's keys and values in the file's order; a repeated key comes each time."""
        seen: set[str] = set()
        for key, value in self._pieces("kvitems", "", self._noting_repeats()):
            if key in seen and self._whole is None:
                self.repeated.append(key)
            seen.add(key)
            yield key, value

    def outline(self) -> list[tuple[str, Any]]:
        """The top level's keys and values with every object within replaced by an empty one: cheap and complete."""
        # One dict stands for millions: what the parser puts into it is overwritten, and thrown away at the end.
        emptied: dict[str, Any] = {}
        members = list(self._pieces("kvitems", "", repeat(emptied).__next__))
        emptied.clear()
        if self._whole is None:
            self.repeated += _repeated(key for key, _ in members)
        return members

    def entries(self, key: str) -> Iterator[Any]:
        """The entries of the list under a key of the top level; nothing where there is no such list."""
        return self._pieces("items", f"{key}.item", self._noting_repeats())

    def _pieces(self, kind: str, prefix: str, map_type: Callable[[], dict]) -> Iterator[Any]:
        import ijson

        done = 0
        if self._whole is None and self._starts_like_an_object():
            with _Reading(self.path) as file:
                try:
                    for piece in getattr(ijson, kind)(file, prefix, map_type=map_type, use_float=True):
                        done += 1
                        yield piece
                    return
                except (ijson.JSONError, UnicodeDecodeError, _NestedTooDeep) as error:
                    failure = BrokenJson(file.place_of(error), _first_line(error))
            if self.path.stat().st_size > WHOLE_UP_TO_BYTES:
                raise failure
        whole = self._read_whole()
        yield from islice(whole if kind == "kvitems" else _list_under(whole, prefix), done, None)

    def _starts_like_an_object(self) -> bool:
        with open(self.path, "rb") as file:
            while start := file.read(_BUFFER_BYTES):
                if start := start.lstrip(_JSON_SPACE):
                    break
        if not start.startswith(b"{") and self.path.stat().st_size > WHOLE_UP_TO_BYTES:
            raise NotAnObject(start[:60].decode(errors="replace"))
        return start.startswith(b"{")

    def _read_whole(self) -> list[tuple[str, Any]]:
        if self._whole is None:
            value, members, self.repeated[:] = parse_whole(self.path)
            if not isinstance(value, dict):
                raise NotAnObject(value)
            self._whole = members
        return self._whole

    def _noting_repeats(self) -> type:
        repeated = self.repeated

        class Noting(dict):
            def __setitem__(self, key: str, value: Any) -> None:
                if key in self:
                    repeated.append(key)
                dict.__setitem__(self, key, value)

        return Noting


def parse_whole(path: Path) -> tuple[Any, list[tuple[str, Any]], list[str]]:
    """A file's JSON by Python's own parser, its outermost members, and the keys that occur twice in one object.

    Raises OSError or BrokenJson. Repeated keys are among the members each time.
    """
    members: list[tuple[str, Any]] = []
    repeated: list[str] = []

    def noting_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal members
        value, members = dict(pairs), pairs  # the outermost object is the last to end
        if len(value) != len(pairs):
            repeated.extend(_repeated(key for key, _ in pairs))
        return value

    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=noting_repeats)
    except json.JSONDecodeError as error:
        raise BrokenJson(f"line {error.lineno}, column {error.colno}", error.msg) from error
    except (ValueError, RecursionError) as error:
        raise BrokenJson("whole file", str(error)) from error
    return value, members, repeated


def in_pieces(entries: Iterator[Any], size: int) -> Iterator[list]:
    """Lists of at most ``size`` entries, read without the search for cycles, which parsed JSON never has."""
    while piece := _next_piece(entries, size):
        yield piece


def _next_piece(entries: Iterator[Any], size: int) -> list:
    collecting = gc.isenabled()
    gc.disable()
    try:
        return list(islice(entries, size))
    finally:
        if collecting:
            gc.enable()


class _NestedTooDeep(Exception):
    pass


class _Reading:
    """A file as the parser reads it: shows how far it has come, and stops at a depth that no annotation has."""

    def __init__(self, path: Path):
        self._path, self._before, self._buffer, self._open_brackets = path, 0, b"", 0

    def __enter__(self) -> "_Reading":
        size = self._path.stat().st_size
        self._file = open(self._path, "rb")
        steps = repeat(None, size // _MEGABYTE)
        long = size >= LONG_FILE_BYTES
        self._steps = iter(track(steps, f"Reading {self._path.name}, MB", size // _MEGABYTE) if long else steps)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if hasattr(self._steps, "close"):
            self._steps.close()

    def read(self, size: int) -> bytes:
        self._before += len(self._buffer)
        self._buffer = buffer = self._file.read(size)
        if (self._before + len(buffer)) // _MEGABYTE > self._before // _MEGABYTE:
            next(self._steps, None)
        self._open_brackets += buffer.count(b"[") + buffer.count(b"{") - buffer.count(b"]") - buffer.count(b"}")
        if self._open_brackets > MOST_OPEN_BRACKETS:
            raise _NestedTooDeep("nested too deeply")
        return buffer

    def place_of(self, error: Exception) -> str:
        """Line and column where the parser stopped, found again by the text that it quotes."""
        context, into = _quoted(error)
        start = self._buffer.translate(_LINE_ENDS_AS_SPACES).find(context) if context else -1
        left = self._before + (len(self._buffer) if start < 0 else start + into)
        line, column = 1, 1
        with open(self._path, "rb") as file:
            while left and (piece := file.read(min(left, _MEGABYTE))):
                line += piece.count(b"\n")
                column = len(piece) - piece.rfind(b"\n") if b"\n" in piece else column + len(piece)
                left -= len(piece)
        return f"line {line}, column {column}"


def _quoted(error: Exception) -> tuple[bytes, int]:
    """The bytes around the fault in yajl's message, where it has any, and the fault's place among them."""
    text = error.args[0] if error.args else b""
    lines = (text if isinstance(text, bytes) else str(text).encode()).split(b"\n")
    if len(lines) < 3 or not lines[1].strip():
        return b"", 0
    indent = len(lines[1]) - len(lines[1].lstrip())
    return lines[1].strip(), lines[2].find(b"^") - indent


def _first_line(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return text.partition("\n")[0]


def _repeated(keys: Iterable[str]) -> list[str]:
    return [key for key, times in Counter(keys).items() if times > 1]


def _list_under(members: list[tuple[str, Any]], prefix: str) -> Iterator[Any]:
    for key, value in members:
        if f"{key}.item" == prefix and isinstance(value, list):
            yield from value
