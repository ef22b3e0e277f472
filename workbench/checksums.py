"""Sizes and checksums of a result's files: kept when it is finished, compared when it is loaded or checked."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.file_errors import reading
from workbench.files import read_json, remove_temporary, sha256_of_file
from workbench.identity import sha256_of_json

# No result depends on how it is looked after.
WITHOUT_INFLUENCE = True
FILES, OWN_SUM = "files", "sha256"
# A load compares sums of files up to this size, and of no more than so many bytes; `workbench check` of all.
SMALL_BYTES, LOADED_BYTES = 8 * 2**20, 64 * 2**20


def with_sums(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """``manifest`` with size and SHA-256 of each file that a builder left in ``folder``, and a sum of itself.

    The sums of a feature store's arrays are those that its writer computed; a sparse array has None.
    """
    files: dict[str, list[Any]] = {}
    known: dict[Path, str | None] = {}
    for store in folder.glob("*/features.json"):
        facts = read_json(store)
        arrays = facts.get("arrays", {}) if isinstance(facts, dict) else {}
        known |= {store.with_name(f"{name}.npy"): array["sha256"] for name, array in arrays.items()}
    remove_temporary(folder)  # of an attempt that was killed: the builder has ended
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in ("manifest.json", "request.json"):
            files[name] = [path.stat().st_size, known[path] if path in known else sha256_of_file(path)]
    manifest = {**manifest, FILES: files}
    return manifest | {OWN_SUM: sha256_of_json(manifest)}


def changed_manifest(folder: Path, manifest: dict[str, Any]) -> str:
    """The fault of a manifest that is not the one that was written, "" where it is or has no sum."""
    rest = {key: value for key, value in manifest.items() if key != OWN_SUM}
    try:
        same = len(rest) == len(manifest) or sha256_of_json(rest) == manifest[OWN_SUM]
    except ValueError:  # NaN, which JSON has no word for
        same = False
    return "" if same else f"{folder / 'manifest.json'}: changed after it was written (SHA-256)"


def damages(folder: Path, manifest: dict[str, Any], every_byte: bool = False) -> Iterator[str]:
    """What differs from the ``manifest`` of a finished folder, a text a file; nothing where it has no sums.

    Sizes are always compared; sums of small files, or with ``every_byte`` of all. Further files are not looked at.
    """
    if changed := changed_manifest(folder, manifest):
        yield changed
        return  # what it says of the files is not to be trusted
    left = LOADED_BYTES
    for name, (size, digest) in manifest.get(FILES, {}).items():
        path = folder / name
        with reading(path, "a readable file"):
            if not path.is_file():
                yield f"{path}: the file is gone"
                continue
            now = path.stat()
            if now.st_size != size:
                yield f"{path}: {now.st_size:,} bytes instead of {size:,}"
            elif digest and (every_byte or (size <= SMALL_BYTES and size <= left)):
                left -= size
                if (sha256_of_file(path) if every_byte else _sum(path, size, now.st_mtime_ns)) != digest:
                    yield f"{path}: its bytes are not those that were written (SHA-256)"


@functools.lru_cache(maxsize=8192)
def _sum(path: Path, size: int, changed: int) -> str:
    """The sum of a file of this state; a notebook loads a stage several times."""
    return sha256_of_file(path)
