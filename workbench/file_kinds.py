"""What a file is, by its first bytes: names lie (links, caches, ``.bin`` for text, web pages saved as weights)."""

import re
import shlex
import struct
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


_MAGIC = {
    b"\x1f\x8b": FileKind.GZIP,
    b"BZh": FileKind.BZIP2,
    b"\xfd7zXZ\0": FileKind.XZ,
    b"\x28\xb5\x2f\xfd": FileKind.ZSTANDARD,
    b"PK\x03\x04": FileKind.ZIP,
    b"PK\x05\x06": FileKind.ZIP,  # without members
    b"\x93NUMPY": FileKind.NPY,
    # The pickled magic number that torch.save began with before it wrote zip archives.
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": FileKind.TORCH,
    b"PAR1": FileKind.PARQUET,
    b"\x89HDF\r\n\x1a\n": FileKind.HDF5,
    b"\x89PNG": FileKind.IMAGE,
    b"\xff\xd8\xff": FileKind.IMAGE,
    b"version https://git-lfs": FileKind.LFS_POINTER,
    b"/annex/objects/": FileKind.ANNEX_POINTER,
    b"\xff\xfe": FileKind.UTF16,
    b"\xfe\xff": FileKind.UTF16,
}

# What makes a usable file of one that is something else.
REMEDIES = {
    FileKind.EMPTY: "Copy or download it again.",
    FileKind.FOLDER: "Give the path of the file in it.",
    FileKind.CUT_ZIP: "Copy or download it again.",
    FileKind.GZIP: "Unpack it: gunzip --keep FILE",
    FileKind.BZIP2: "Unpack it: bunzip2 --keep FILE",
    FileKind.XZ: "Unpack it: unxz --keep FILE",
    FileKind.ZSTANDARD: "Unpack it: unzstd FILE",
    FileKind.TAR: "Unpack it, and give the file in it: tar -xf FILE",
    FileKind.ZIP: "Unpack it, and give the file in it: python -m zipfile -e FILE .",
    FileKind.WEB_PAGE: "A download was answered with a page, perhaps one that asks for a confirmation or a login. Open "
    "the address in a browser, and save the file itself.",
    FileKind.LFS_POINTER: "Fetch the file where it was cloned: git lfs pull",
    FileKind.ANNEX_POINTER: "Fetch the file where it was cloned: git annex get FILE",
    FileKind.UTF16: "Write it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8",
}


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
