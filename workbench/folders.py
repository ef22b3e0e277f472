"""A folder that is built once: begun under a partial name, resumed after a kill, renamed when whole; and its links."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from workbench.checksums import changed_manifest, damages, with_sums
from workbench.errors import Damaged, WorkbenchError
from workbench.file_errors import writing
from workbench.files import read_json, write_json
from workbench.fingerprint import changed_code
from workbench.identity import differences, sha256_of_json, versions, without_nan
from workbench.loaded_code import check_loaded
from workbench.locks import only_one
from workbench.memory import release_memory

MANIFEST, REQUEST = "manifest.json", "request.json"
REPLACE_VARIABLE = "WORKBENCH_REPLACE"
_KEYS = {"builder", "code", "parameters", "identity", "seconds", "finished"}
_MODULES_SHOWN = 3


class Replace(StrEnum):
    """When a complete result gives way to a new one, which is in its place once it is whole."""

    NEVER = ""
    CODE = "strict"  # its code, or that of its inputs, has changed
    STALE = "stale"  # its parameters, its code or its inputs have changed
    CHANGED = "1"  # the same, or GPU or CPU threads
    ALWAYS = "always"

    @classmethod
    def asked(cls, replace: "bool | Replace") -> "Replace":
        """What a call asks for, or else the environment of the process (``workbench run --replace``, ``--strict``)."""
        if isinstance(replace, bool):
            return cls.ALWAYS if replace else cls(os.environ.get(REPLACE_VARIABLE, ""))
        return replace


@dataclass(frozen=True)
class BuiltFolder:
    """A folder that holds what ``request`` asks for, or will.

    Work happens in ``.NAME.partial`` beside ``folder``, which survives a kill: the builder is called again with the
    same partial folder and finds its own checkpoints there, if the request is the same. ``label`` says in messages what
    the folder holds; ``request`` is ``builder``, ``code`` (digests by name), described ``parameters``, and whatever
    else the manifest shall hold; ``replace`` says when a complete folder of another request gives way.
    """

    folder: Path
    label: str
    request: dict[str, Any]
    replace: Replace = Replace.NEVER

    def manifest(self, build: Callable[[Path], dict[str, Any] | None]) -> dict[str, Any]:
        """The folder's manifest; ``build`` fills it, and returns metrics, unless it is complete for the request.

        Where one of the ``splits`` that the metrics name was removed, ``build`` is called again for what is missing.
        Where the code alone has changed the stored result is shown, with a line that says so. WorkbenchError when the
        folder is complete for other parameters or by another builder, or the disk is full.
        """
        lock = self.folder.with_name(f".{self.folder.name}.lock")
        with writing(self.folder), only_one(lock, f"{self.label}: another process is building it", wait=True):
            with contextlib.suppress(OSError):  # schedulers make empty folders for outputs before a job begins
                self.folder.rmdir()
            if self.folder.is_symlink() and not self.folder.exists():
                self.folder.unlink()  # what it led to is gone
            self._finish_interrupted_swap()
            stored = stored_manifest(self.folder, refuse_older=self.replace in (Replace.NEVER, Replace.CODE))
            if stored is not None and self._is_answer(stored):
                return stored
            check_loaded(self.request["code"])
            self._begin()
            manifest = self._build(build)
            self._publish()
            print(f"{self.label}: built in {manifest['seconds']:.1f} s")
            return manifest

    partial = property(lambda self: partial_folder(self.folder))

    @property
    def _outgoing(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}.outgoing")

    def _is_answer(self, stored: dict[str, Any]) -> bool:
        """Whether the stored result is what is asked for; says that it is loaded, and what code has changed since."""
        if self.replace is Replace.ALWAYS:
            return False
        if changed_manifest(self.folder, stored):
            return self._is_whole(stored)
        changed, code = _changes(stored, self.request)
        threads, now = stored.get("threads"), self.request.get("threads")
        other_threads = threads not in (None, now)
        replaces = {Replace.STALE: changed or code, Replace.CHANGED: changed or code or other_threads}
        if replaces.get(self.replace):
            return False
        by_code = all(name == "builder" or name.endswith(".identity") for name in changed)
        if self.replace is Replace.CODE and by_code and (changed or code):
            print(f"{self.label}: building again, its code has changed ({_shortened(code) or '; '.join(changed)})")
            return False
        if changed:
            lines = "\n".join(f"  {name}: {change}" for name, change in changed.items())
            raise WorkbenchError(
                f"{self.label} is complete, but for other parameters (stored -> asked):\n{lines}\n"
                f"Build it again with replace=True or --replace{' or --strict' if by_code else ''}, or give another "
                f"run or variant name. Stored in {self.folder}."
            )
        splits = (stored.get("metrics") or {}).get("splits", ())
        if missing := [split for split in splits if not (self.folder / split).exists()]:
            print(f"{self.label}: {', '.join(missing)} is gone and will be built again")
            if self.folder.is_symlink():
                return False
            shutil.rmtree(self.partial, ignore_errors=True)
            self.folder.rename(self.partial)
            (self.partial / MANIFEST).rename(self.partial / REQUEST)
            return False
        if not self._is_whole(stored):
            return False
        whose = f" by run {stored.get('run')!r}" if self.folder.is_symlink() else ""
        print(f"{self.label}: loaded, built{whose} in {stored['seconds']:.1f} s on {stored['finished'][:16]}")
        if other_threads:
            print(
                f"! {self.label}: made with {threads} CPU threads, this process has {now}; made here its last digits "
                "would differ (of samples all, where one is a GPU), and what was trained with them. "
                "OMP_NUM_THREADS and CUDA_VISIBLE_DEVICES set it, --replace makes it again."
            )
        if code:
            commit = (stored.get("versions") or {}).get("commit")
            print(
                f"! {self.label}: the code has changed since {f'commit {commit[:12]}' if commit else 'it'} made this "
                f"result: {_shortened(code)}. Build it again with replace=True, or workbench run --replace or --strict."
            )
        return True

    def _is_whole(self, stored: dict[str, Any]) -> bool:
        """Whether the stored result is what was written; WorkbenchError where it is not and may not give way."""
        if self.replace not in (Replace.STALE, Replace.CHANGED):
            check_files(self.folder, stored, "run the same command again, or run it with --replace.")
        elif damaged := next(damages(self.folder, stored), None):
            print(f"{self.label}: building again, {damaged}")
            return False
        return True

    def _begin(self) -> None:
        """Make the partial folder, or keep it with its work where it was begun for the same request.

        Begun by other code, it may be neither resumed nor thrown away: WorkbenchError unless ``replace`` decides.
        """
        begun = next((path for name in (MANIFEST, REQUEST) if (path := self.partial / name).is_file()), None)
        before = read_json(begun) if begun is not None else {}
        if "code" in before:
            changed, code = _changes(before, self.request)
            if not changed and not code:
                print(f"{self.label}: resuming where an earlier attempt stopped")
                self._add_threads(before.get("threads"))
                return
            if not changed and self.replace is Replace.NEVER:
                raise WorkbenchError(
                    f"{self.label}: an unfinished attempt was made by other code ({_shortened(code)}). Undo the change "
                    f"to resume it, or begin again with replace=True, --replace or --strict. It is in {self.partial}."
                )
            why = [f"{name}: {change}" for name, change in changed.items()] or code
            print(f"{self.label}: an unfinished attempt with other parameters or code is removed ({'; '.join(why)})")
        if self.partial.exists():
            shutil.rmtree(self.partial)
        self.partial.mkdir(parents=True)
        write_json(self.partial / REQUEST, self.request)

    def _add_threads(self, before: str | None) -> None:
        """Where an attempt goes on with another number of CPU threads, record both, also in the identity."""
        now = self.request.get("threads")
        if before is not None and before != now:
            if now is not None and before.split(", then ")[-1] != now:
                print(f"! {self.label}: begun with {before} CPU threads, goes on with {now}")
                before = f"{before}, then {now}"
            self.request.update(threads=before, identity=sha256_of_json([self.request["identity"], before]))
        write_json(self.partial / REQUEST, self.request)

    def _build(self, build: Callable[[Path], dict[str, Any] | None]) -> dict[str, Any]:
        if (self.partial / MANIFEST).is_file():  # killed between the manifest and the rename
            return read_json(self.partial / MANIFEST)
        print(f"{self.label}: building", flush=True)
        started = time.monotonic()
        with writing(self.label, f" in {self.partial}"):
            try:
                metrics = build(self.partial)
            except WorkbenchError as error:
                if os.sep not in str(error):  # no file is named
                    error.args = (f"{self.label}: {error}",)
                if [path.name for path in self.partial.iterdir()] == [REQUEST]:  # refused before any work
                    shutil.rmtree(self.partial)
                raise
            release_memory()
            manifest = self.request | {
                "metrics": without_nan(metrics or {}),
                "versions": versions(),
                "seconds": round(time.monotonic() - started, 3),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            manifest = with_sums(self.partial, manifest)
            write_json(self.partial / MANIFEST, manifest)
        return manifest

    def _publish(self) -> None:
        (self.partial / REQUEST).unlink(missing_ok=True)
        if self.folder.is_symlink():
            self.folder.unlink()  # what it leads to is another run's
        elif self.folder.exists():
            self.folder.rename(self._outgoing)
        self.partial.rename(self.folder)
        descriptor = os.open(self.folder.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        shutil.rmtree(self._outgoing, ignore_errors=True)

    def _finish_interrupted_swap(self) -> None:
        """Repair a kill between the two renames: the new folder is whole, so it goes to its place."""
        if self._outgoing.is_dir() and not self.folder.exists():
            complete = (self.partial / MANIFEST).is_file()
            (self.partial if complete else self._outgoing).rename(self.folder)
        if self._outgoing.is_dir():
            shutil.rmtree(self._outgoing)


def partial_folder(folder: Path) -> Path:
    """Where ``folder`` is while it is not whole."""
    return folder.with_name(f".{folder.name}.partial")


def stored_manifest(folder: Path, refuse_older: bool = True) -> dict[str, Any] | None:
    """The manifest of a complete folder, None where there is none, an empty one, or an older version's result.

    WorkbenchError for a folder that is no result and, where ``refuse_older``, for that of an older version.
    """
    if not any(folder.glob("*")):
        return None
    if not (folder / MANIFEST).is_file():
        raise WorkbenchError(f"{folder}: a folder without {MANIFEST} is not a result of ours. Move it away.")
    manifest = read_json(folder / MANIFEST)
    if isinstance(manifest, dict) and manifest.keys() >= _KEYS:
        return manifest
    if not refuse_older:
        return None
    what = f"{folder}: an older version of the workbench made this result"
    raise WorkbenchError(f"{what}. Build it again: with --replace, or under another run name.")


def link_stages(folder: Path, base: Path) -> int:
    """Link the complete stages of the run in ``base`` that the run in ``folder`` lacks; returns how many links it has.

    Links give way and are never written through. A stage whose inputs the run has made otherwise is left out.
    """
    for manifest in base.glob(f"[!.]*/[!.]*/{MANIFEST}"):
        place = folder / manifest.parent.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # its own, or linked before
            place.symlink_to(os.path.relpath(manifest.parent.resolve(), place.parent.resolve()))
    return drop_stale_links(folder)


def drop_stale_links(folder: Path) -> int:
    """Remove the links of a run that were made from other stages than those that it has now; how many are left."""
    places = {str(path.parent.relative_to(folder)): path for path in folder.glob(f"[!.]*/[!.]*/{MANIFEST}")}
    links = {label for label, path in places.items() if path.parent.is_symlink()}
    found = {label: read_json(path) for label, path in places.items()} if links else {}

    def is_stale(label: str) -> bool:
        inputs = found[label].get("inputs", {}).items()
        return any(other in found and found[other].get("identity") != identity for other, identity in inputs)

    while stale := set(filter(is_stale, links)):
        for label in stale:
            (folder / label).unlink(missing_ok=True)
            found[label] = {}
        links -= stale
    return len(links)


def check_files(folder: Path, manifest: dict[str, Any], remedy: str) -> None:
    """WorkbenchError where a file of a finished folder is not what its manifest says; ``remedy`` follows "Remove"."""
    if damaged := next(damages(folder, manifest), None):
        raise Damaged(f"{damaged}. Remove {folder} and {remedy}")


def _changes(stored: dict[str, Any], request: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """What differs: the builder and parameters, by name, and the code, one text a module."""
    before, after = ({"builder": r["builder"], **r["parameters"]} for r in (stored, request))
    return differences(before, after), changed_code(stored["code"], request["code"])


def _shortened(code: list[str]) -> str:
    more = f"; and {len(code) - _MODULES_SHOWN} more" if len(code) > _MODULES_SHOWN else ""
    return "; ".join(code[:_MODULES_SHOWN]) + more
