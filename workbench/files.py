"""Files that are either whole or absent: atomic writes, reads that name what is wrong, names that stay in a folder."""

import contextlib
import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.file_errors import reading, writing

if TYPE_CHECKING:
    import pandas as pd

_TEMPORARY = re.compile(r"\..+\.\d+(\.\w+)?")  # as `atomic_path` calls them


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it when the block ends without an error.

    What the system refuses (a full disk, a read-only folder, a name too long) becomes a WorkbenchError that names the
    file; the old content stays.
    """
    path = Path(path)
    # The suffix stays last: numpy.save and Pillow choose or add a suffix by the name.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path, pattern: str = "**/.*", seconds: float = 0.0) -> None:
    """Remove what killed writers left below ``folder``, where it is so many ``seconds`` old."""
    for path in filter(lambda path: _TEMPORARY.fullmatch(path.name) and path.is_file(), folder.glob(pattern)):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically; NaN is refused."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False, default=plain) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is a WorkbenchError with the place of the fault."""
    with reading(path, "valid JSON"):
        return json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=distinct)


def save_array(path: Path, array: np.ndarray) -> None:
    """``numpy.save`` through a temporary name, without pickling."""
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def save_table(path: Path, table: "pd.DataFrame") -> None:
    """``DataFrame.to_parquet`` through a temporary name, without the index."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def inside(folder: Path, name: str) -> Path:
    """The path of the file ``name`` below ``folder``, which need not exist; nothing is opened.

    Characters such as ``?``, ``#`` and ``%`` stand for themselves. WorkbenchError where the name leads out of the
    folder (`escapes_folder`). A symbolic link within the folder is followed: whoever owns the folder made it, not who
    wrote the name, and Visual Genome's two folders of images are commonly merged by links.
    """
    if escapes_folder(name):
        raise WorkbenchError(f"file name {name!r} leads outside {folder}. Correct the name where it is written.")
    return Path(folder) / name


def file_inside(folder: Path, name: str) -> Path | None:
    """`inside` where there is such a file, else None; a name too long for the file system is one without a file."""
    path = inside(folder, name)
    try:
        return path if path.is_file() else None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise


def escapes_folder(name: str) -> bool:
    """Whether a file name is absolute or climbs out of its folder, on any system; an empty name counts too."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    climbs = ".." in posix.parts or ".." in windows.parts
    return climbs or posix.is_absolute() or bool(windows.anchor) or not posix.name or "\0" in name


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of ``pairs``; ValueError for a key that is there twice, of which json keeps the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return found


def plain(value: Any) -> Any:
    """What JSON has no word for: numbers and arrays of NumPy, and paths; TypeError for anything else."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
