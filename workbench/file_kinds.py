"""What a file is, by its first bytes: names lie (links, caches, ``.bin`` for text, web pages saved as weights)."""

import re
import shlex
import struct
import tomllib
import zipfile
from enum import StrEnum
from pathlib import Path

from workbench.errors import WorkbenchError

FIRST_BYTES = 4096


class FileKind(StrEnum):
    """Kinds of files that people give; the value is how a message names one."""

    EMPTY = "an empty file"
    FOLDER = "a folder"
    GZIP = "a gzip file"
    BZIP2 = "a bzip2 file"
    XZ = "an xz file"
    ZSTANDARD = "a Zstandard file"
    TAR = "a tar archive"
    ZIP = "a zip archive"
    CUT_ZIP = "the beginning of a zip archive, cut short"
    NPY = "a NumPy array"
    NPZ = "a NumPy archive"
    TORCH = "a file of torch.save"
    PICKLE = "a Python pickle"
    SAFETENSORS = "a safetensors file"
    PARQUET = "a Parquet table"
    HDF5 = "an HDF5 file"
    IMAGE = "an image"
    WEB_PAGE = "a web page"
    LFS_POINTER = "a Git LFS pointer, a few lines that stand for the file"
    ANNEX_POINTER = "a git-annex pointer, a line that stands for the file"
    UTF16 = "text in UTF-16"
    JSON = "JSON"
    TEXT = "text"
    BINARY = "binary data of an unknown kind"


FILE_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_MAGIC = {bytes.fromhex(start): FileKind[name] for name, starts in FILE_TEXTS["starts"].items() for start in starts}
# What makes a usable file of one that is something else.
REMEDIES: dict[FileKind, str] = {FileKind[name]: remedy for name, remedy in FILE_TEXTS["remedies"].items()}


def file_kind(path: Path) -> FileKind:
    """The kind of an existing file or folder; OSError where it cannot be opened."""
    path = Path(path)
    if path.is_dir():
        return FileKind.FOLDER
    with open(path, "rb") as file:
        start = file.read(FIRST_BYTES)
    kind = kind_of_start(start, path.stat().st_size)
    return _kind_of_zip(path) if kind is FileKind.ZIP else kind


def kind_of_start(start: bytes, size: int) -> FileKind:
    """The kind of a file of ``size`` bytes by the first of them, FIRST_BYTES where it has so many."""
    if not start:
        return FileKind.EMPTY
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    return kind or _kind_of_plain(start[:FIRST_BYTES], size)


def _kind_of_zip(path: Path) -> FileKind:
    try:  # its directory is at the end
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return FileKind.CUT_ZIP
    if any(name.endswith("/data.pkl") for name in names):
        return FileKind.TORCH
    return FileKind.NPZ if names and all(name.endswith(".npy") for name in names) else FileKind.ZIP


def _kind_of_plain(start: bytes, size: int) -> FileKind:
    if start[0] == 0x80 and start[1:2] and 2 <= start[1] <= 5:
        return FileKind.PICKLE
    if len(start) > 8 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= size - 8:
        return FileKind.SAFETENSORS
    if start[257:262] == b"ustar":
        return FileKind.TAR
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"<(!doctype html|html|head|\?xml)", text, re.IGNORECASE):
        return FileKind.WEB_PAGE
    if b"\0" in start or not _is_text(start):
        return FileKind.BINARY
    return FileKind.JSON if text[:1] in (b"{", b"[") else FileKind.TEXT


def _is_text(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4 and len(start) == FIRST_BYTES  # a character that the piece cuts
    return True


def refuse_kind(path: Path, kind: FileKind, expected: str, remedy: str = "") -> WorkbenchError:
    """The error of a file that is something else than was ``expected``, with what makes a usable file of it."""
    remedy = remedy or REMEDIES.get(kind, f"Give the path of {expected}.").replace("FILE", shlex.quote(str(path)))
    return WorkbenchError(f"{path}: this is {kind}, expected {expected}. {remedy}")
