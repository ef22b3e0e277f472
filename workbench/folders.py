"""A folder that is built once: begun under a partial name, resumed after a kill, renamed when whole."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json
from workbench.identity import differences, versions, without_nan
from workbench.memory import release_memory

MANIFEST, REQUEST = "manifest.json", "request.json"
REPLACE_VARIABLE = "WORKBENCH_REPLACE"
_SECONDS_BETWEEN_LOOKS = 0.2


def built_folder(
    folder: Path,
    build: Callable[[Path], dict[str, Any] | None],
    *,
    label: str,
    request: dict[str, Any],
    replace: bool = False,
) -> dict[str, Any]:
    """The manifest of ``folder``, which ``build`` fills unless it is complete for the same ``request``.

    Parameters
    ----------
    folder
        Final place. Work happens in ``.NAME.partial`` beside it, which survives a kill: ``build`` is called again
        with the same partial folder and finds its own checkpoints there, if the request is the same.
    build
        Gets the partial folder, returns metrics.
    label
        What the folder holds, for messages.
    request
        Described ``parameters`` and whatever else the manifest shall hold.
    replace
        Whether a complete folder of another request gives way, once the new one is complete.

    Raises WorkbenchError when the folder is complete for another request, or the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f".{folder.name}.lock")
    with only_one(lock, f"{label}: another process is building it", wait=True):
        if _is_empty(folder):  # schedulers make the folders of their outputs before a job begins
            folder.rmdir()
        _finish_interrupted_swap(folder)
        stored = stored_manifest(folder)
        if stored is not None:
            changed = differences(stored["parameters"], request["parameters"])
            if not changed:
                print(f"{label}: loaded, built in {stored['seconds']:.1f} s on {stored['finished'][:16]}")
                return stored
            if not (replace or os.environ.get(REPLACE_VARIABLE) == "1"):
                raise WorkbenchError(_refusal(folder, label, changed))
        partial = _begin(folder, label, request)
        manifest = _build(partial, build, label, request)
        _publish(partial, folder)
        print(f"{label}: built in {manifest['seconds']:.1f} s")
        return manifest


def stored_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete folder, None where there is none or an empty one."""
    if not folder.is_dir() or _is_empty(folder):
        return None
    if not (folder / MANIFEST).is_file():
        raise WorkbenchError(f"{folder}: a folder without {MANIFEST} is not a result of ours. Move it away.")
    return _checked(folder / MANIFEST)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def partial_folder(folder: Path) -> Path:
    """Where ``folder`` is while it is not whole."""
    return folder.with_name(f".{folder.name}.partial")


def _checked(path: Path) -> dict[str, Any]:
    manifest = read_json(path)
    lacking = {"parameters", "seconds", "finished"} - (manifest.keys() if isinstance(manifest, dict) else set())
    if lacking:
        raise WorkbenchError(f"{path}: lacks {', '.join(sorted(lacking))}. Remove the folder and build it again.")
    return manifest


def _refusal(folder: Path, label: str, changed: list[str]) -> str:
    lines = "\n".join(f"  {line}" for line in changed)
    return (
        f"{label} is complete, but for other parameters (stored -> asked):\n{lines}\n"
        f"Run with --replace to build it anew, or give another run or variant name. Stored in {folder}."
    )


def _begin(folder: Path, label: str, request: dict[str, Any]) -> Path:
    """The partial folder, with its work kept where it was begun for the same request."""
    partial = partial_folder(folder)
    begun = next((partial / name for name in (MANIFEST, REQUEST) if (partial / name).is_file()), None)
    if begun is not None:
        changed = differences(read_json(begun)["parameters"], request["parameters"])
        if not changed:
            print(f"{label}: going on where an earlier attempt stopped")
            return partial
        print(f"{label}: an unfinished attempt with other parameters is removed ({'; '.join(changed)})")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    write_json(partial / REQUEST, request)
    return partial


def _build(partial: Path, build: Callable[[Path], dict | None], label: str, request: dict[str, Any]) -> dict[str, Any]:
    if (partial / MANIFEST).is_file():  # killed between the manifest and the rename
        return _checked(partial / MANIFEST)
    print(f"{label}: building", flush=True)
    started = time.monotonic()
    try:
        metrics = build(partial)
        release_memory()
        manifest = request | {
            "metrics": without_nan(metrics or {}),
            "versions": versions(),
            "seconds": round(time.monotonic() - started, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(partial / MANIFEST, manifest)
    except Exception as error:
        if _disk_is_full(error):
            raise WorkbenchError(
                f"{label}: the disk is full. What was finished is kept in {partial}; "
                "free space and run the same command again."
            ) from error
        raise
    return manifest


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind ``error``; torch and safetensors tell it only in their text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _publish(partial: Path, folder: Path) -> None:
    (partial / REQUEST).unlink(missing_ok=True)
    if folder.exists():
        folder.rename(_outgoing(folder))
    partial.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(_outgoing(folder), ignore_errors=True)


def _finish_interrupted_swap(folder: Path) -> None:
    """Repair a kill between the two renames: the new folder is whole, so it goes to its place."""
    if _outgoing(folder).is_dir() and not folder.exists():
        complete = (partial_folder(folder) / MANIFEST).is_file()
        (partial_folder(folder) if complete else _outgoing(folder)).rename(folder)
    if _outgoing(folder).is_dir():
        shutil.rmtree(_outgoing(folder))


def _outgoing(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.outgoing")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def only_one(lock: Path, told: str, wait: bool) -> Iterator[None]:
    """Hold the lock file; another process waits, or is refused with ``told`` and the holder's process number.

    The system frees the lock of a killed process, so a lock file that lies about is harmless.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a+") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                text = f"{told} (process {file.read().strip() or '?'})"
                if not wait:
                    raise WorkbenchError(f"{text}. Wait for it, or end it first.") from None
                if not waiting:
                    print(f"{text}; waiting", flush=True)
                waiting = True
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
