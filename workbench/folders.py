"""A folder that is built once: begun under a partial name, resumed after a kill, renamed when whole."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json
from workbench.fingerprint import changed_code
from workbench.identity import differences, versions, without_nan
from workbench.memory import release_memory

MANIFEST, REQUEST = "manifest.json", "request.json"
REPLACE_VARIABLE = "WORKBENCH_REPLACE"
_SECONDS_BETWEEN_LOOKS = 0.2
_MODULES_SHOWN = 3


class Replace(StrEnum):
    """When a complete result gives way to a new one, which is in its place once it is whole."""

    NEVER = ""
    CODE = "strict"  # its code, or that of its inputs, has changed
    CHANGED = "1"  # its parameters, its code or its inputs have changed
    ALWAYS = "always"

    @classmethod
    def asked(cls, replace: "bool | Replace") -> "Replace":
        """What a call asks for, or else the environment of the process (``workbench run --replace``, ``--strict``)."""
        if isinstance(replace, bool):
            return cls.ALWAYS if replace else cls(os.environ.get(REPLACE_VARIABLE, ""))
        return replace


def built_folder(
    folder: Path,
    build: Callable[[Path], dict[str, Any] | None],
    *,
    label: str,
    request: dict[str, Any],
    replace: Replace = Replace.NEVER,
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
        ``builder``, ``code`` (digests by name), described ``parameters``, and whatever else the manifest shall hold.
    replace
        When a complete folder of another request gives way, once the new one is complete.

    Raises WorkbenchError when the folder is complete for other parameters or by another builder, or the disk is full.
    Where one of the ``splits`` that its metrics name was removed, ``build`` is called again for what is missing. Where
    the code alone has changed the stored result is shown, with a line that says so.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f".{folder.name}.lock")
    with only_one(lock, f"{label}: another process is building it", wait=True):
        if _is_empty(folder):  # schedulers make the folders of their outputs before a job begins
            folder.rmdir()
        _finish_interrupted_swap(folder)
        if replace not in (Replace.ALWAYS, Replace.CHANGED) or _is_current(folder):
            stored = stored_manifest(folder)
            if stored is not None and _is_kept(stored, request, folder, label, replace):
                return stored
        partial = _begin(folder, label, request, replace)
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


def _is_current(folder: Path) -> bool:
    """Whether a folder may be compared; what an older version made may only be replaced."""
    return not (folder / MANIFEST).is_file() or "code" in read_json(folder / MANIFEST)


def _checked(path: Path) -> dict[str, Any]:
    manifest = read_json(path)
    keys = manifest.keys() if isinstance(manifest, dict) else set()
    if lacking := {"parameters", "seconds", "finished"} - keys:
        raise WorkbenchError(f"{path}: lacks {', '.join(sorted(lacking))}. Remove the folder and build it again.")
    if not {"builder", "code"} <= keys:
        raise WorkbenchError(
            f"{path.parent}: an older version of the workbench made this result. Build it again: with --replace, or "
            "under another run name."
        )
    return manifest


def _is_kept(stored: dict[str, Any], request: dict[str, Any], folder: Path, label: str, replace: Replace) -> bool:
    """Whether the stored result is the answer; says that it is loaded, and what code has changed since."""
    changed, code = _changes(stored, request)
    if replace is Replace.ALWAYS or (replace is Replace.CHANGED and (changed or code)):
        return False
    by_code = all(name == "builder" or name.endswith(".identity") for name in changed)
    if replace is Replace.CODE and by_code and (changed or code):
        print(f"{label}: building again, its code has changed ({_shortened(code) or '; '.join(changed)})")
        return False
    if changed:
        lines = "\n".join(f"  {name}: {change}" for name, change in changed.items())
        raise WorkbenchError(
            f"{label} is complete, but for other parameters (stored -> asked):\n{lines}\n"
            f"Run with --replace{' or --strict' if by_code else ''} to build it again, or give another run or variant "
            f"name. Stored in {folder}."
        )
    missing = [split for split in (stored.get("metrics") or {}).get("splits", ()) if not (folder / split).exists()]
    if missing:
        print(f"{label}: {', '.join(missing)} is gone and will be built again")
        _reopen(folder, {name: stored[name] for name in request if name in stored})
        return False
    print(f"{label}: loaded, built in {stored['seconds']:.1f} s on {stored['finished'][:16]}")
    if code:
        commit = (stored.get("versions") or {}).get("commit")
        print(
            f"! {label}: the code has changed since{f' commit {commit[:12]}' if commit else ''} made this result: "
            f"{_shortened(code)}. Build it again with replace=True, or workbench run --replace or --strict."
        )
    return True


def _changes(stored: dict[str, Any], request: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """What differs: the builder and parameters, by name, and the code, one text a module."""
    before, after = ({"builder": r["builder"], **r["parameters"]} for r in (stored, request))
    return differences(before, after), changed_code(stored["code"], request["code"])


def _shortened(code: list[str]) -> str:
    more = f"; and {len(code) - _MODULES_SHOWN} more" if len(code) > _MODULES_SHOWN else ""
    return "; ".join(code[:_MODULES_SHOWN]) + more


def _reopen(folder: Path, request: dict[str, Any]) -> None:
    """Make a complete folder an unfinished one, which its builder resumes."""
    partial = partial_folder(folder)
    shutil.rmtree(partial, ignore_errors=True)
    write_json(folder / REQUEST, request)
    folder.rename(partial)
    (partial / MANIFEST).unlink()


def _begin(folder: Path, label: str, request: dict[str, Any], replace: Replace) -> Path:
    """The partial folder, with its work kept where it was begun for the same request.

    Begun by other code, it may be neither resumed nor thrown away: WorkbenchError unless ``replace`` decides.
    """
    partial = partial_folder(folder)
    begun = next((partial / name for name in (MANIFEST, REQUEST) if (partial / name).is_file()), None)
    before = read_json(begun) if begun is not None else {}
    if "code" in before:
        changed, code = _changes(before, request)
        if not changed and not code:
            print(f"{label}: resuming where an earlier attempt stopped")
            return partial
        if not changed and replace is Replace.NEVER:
            raise WorkbenchError(
                f"{label}: an unfinished attempt was made by other code ({_shortened(code)}). Undo the change to "
                f"resume it, or run with --replace or --strict to begin again. It is kept in {partial}."
            )
        why = [f"{name}: {change}" for name, change in changed.items()] or code
        print(f"{label}: an unfinished attempt with other parameters or code is removed ({'; '.join(why)})")
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
def only_one(lock: Path, text: str, wait: bool) -> Iterator[None]:
    """Hold the lock file; another process waits, or is refused with ``text`` and the holder's process number.

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
                refusal = f"{text} (process {file.read().strip() or '?'})"
                if not wait:
                    raise WorkbenchError(f"{refusal}. Wait for it, or end it first.") from None
                if not waiting:
                    print(f"{refusal}; waiting", flush=True)
                waiting = True
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
