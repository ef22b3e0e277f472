"""What the system and the libraries raise on reading or writing a file, as errors that name the file and a remedy."""

import contextlib
import csv
import errno
import lzma
import os
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError  # which NumPy and torch raise; nothing here unpickles

from safetensors import SafetensorError

from workbench.errors import WorkbenchError
from workbench.escaping import escaped_lines
from workbench.file_kinds import FILE_TEXTS, REMEDIES, FileKind, file_kind, refuse_kind

# What NumPy, pandas, pyarrow, json, torch, safetensors, zipfile and gzip raise for content that they cannot use.
CONTENT_FAULTS = (
    ValueError, LookupError, TypeError, AttributeError, EOFError, ArithmeticError, RuntimeError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tarfile.TarError, csv.Error,
    UnpicklingError, SafetensorError,
    SyntaxError, tokenize.TokenError,  # of NumPy, for headers that are no header
)  # fmt: skip
LONGEST_REASON, REMEDY = 200, "Write the file again from its source."
_SYSTEM_FAULTS: dict[int, str] = {getattr(errno, name): text for name, text in FILE_TEXTS["system"].items()}
_DENIED = (errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def reading(path: Path, expected: str, remedy: str = "") -> Iterator[None]:
    """Within the block what reading ``path`` raises becomes a WorkbenchError.

    Its text says what the file is where that is plain (a web page, a pointer, a folder), else that it is missing or not
    what was ``expected``, why, and the ``remedy``.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except (OSError, *CONTENT_FAULTS) as error:
        if isinstance(error, FileNotFoundError):  # of pandas without its number
            missing = f"the file is missing. {remedy}" if remedy else _SYSTEM_FAULTS[errno.ENOENT]
            raise WorkbenchError(f"{_name(error, path)}: {missing}") from error
        if isinstance(error, OSError) and error.errno is not None:  # else a library's word about the content
            raise system_error(error, path, "read") from error
        raise _unusable(path, expected, remedy, error) from error


@contextlib.contextmanager
def writing(what: object, where: str = "") -> Iterator[None]:
    """Within the block what writing ``what`` raises becomes a WorkbenchError; ``where`` says where finished work is."""
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:
        if _disk_is_full(error):
            text = f"the disk is full. What was finished is kept{where}; free space and run the same command again."
            raise WorkbenchError(f"{what}: {text}") from error
        if not isinstance(error, OSError) or error.errno is None:
            raise
        raise system_error(error, what, "written") from error


def system_error(error: OSError, what: object, done: str = "read") -> WorkbenchError:
    """The error of an operating system's refusal; it names the file of the refusal, or ``what`` where that is none."""
    name = _name(error, what)
    known = _SYSTEM_FAULTS.get(error.errno or 0)
    if error.errno in _DENIED:
        place = _closed(Path(str(name)))
        immutable = f", or unlock it: chattr -i {place}" if error.errno == errno.EPERM else ""
        known = f"this may not be {done} by you. Change the owner or permissions: chmod u+rwX {place}{immutable}"
    other = f"the system says: {error.strerror or error}. Once that is mended, run the same command again."
    return WorkbenchError(f"{name}: {known or other}")


def _closed(path: Path) -> Path:
    """What of ``path`` or the folders above it exists and is closed to this user; ``path`` where nothing is."""
    for place in (path, *path.parents):
        if os.access(place, os.F_OK):
            wanted = os.R_OK | os.W_OK | (os.X_OK if place.is_dir() else 0)
            if not os.access(place, wanted):
                return place
    return path


def _name(error: OSError, what: object) -> object:
    return error.filename if isinstance(error.filename, str | Path) else what


def _unusable(path: Path, expected: str, remedy: str, error: BaseException) -> WorkbenchError:
    kind = file_kind(path) if Path(path).exists() else None
    if kind in REMEDIES:
        return refuse_kind(path, kind, expected, remedy if kind is FileKind.CUT_ZIP else "")
    return WorkbenchError(f"{path}: not {expected} ({_reason(error)}). {remedy or REMEDY}")


def _reason(error: BaseException) -> str:
    """The first line of what a library says; of torch the cause, never its advice to load what may run code."""
    lines = escaped_lines(str(error)).strip().splitlines() or [type(error).__name__]
    cause = next((line.strip() for line in lines if "WeightsUnpickler error" in line), lines[0])
    cause = cause.split(" Please use ")[0]
    return "pickled objects" if "weights_only" in cause else cause[:LONGEST_REASON]


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind ``error``; torch and safetensors tell it only in their text."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
