"""Stages that a run has from another one: links of their folders, which give way and are never written through."""

import contextlib
import os
from pathlib import Path

from workbench.files import read_json
from workbench.folders import MANIFEST

# No result depends on the code that keeps results.
WITHOUT_INFLUENCE = True


def link_stages(folder: Path, base: Path) -> int:
    """Link the complete stages of the run in ``base`` that the run in ``folder`` lacks; returns how many links it has.

    A stage whose inputs the run has made otherwise is left out.
    """
    for target in sorted(manifest.parent for manifest in base.glob(f"[!.]*/[!.]*/{MANIFEST}")):
        place = folder / target.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # its own, or linked before
            place.symlink_to(os.path.relpath(target.resolve(), place.parent.resolve()), target_is_directory=True)
    drop_stale_links(folder)
    return len(_links(folder))


def drop_stale_links(folder: Path) -> None:
    """Remove the links of the run in ``folder`` that were made from other stages than those that it has now."""
    links, dropped = _links(folder), set[str]()
    inputs = {label: read_json(link / MANIFEST).get("inputs", {}) for label, link in links.items()}

    def is_other(label: str, identity: str) -> bool:
        manifest = folder / label / MANIFEST
        return label in dropped or (manifest.is_file() and read_json(manifest).get("identity") != identity)

    while stale := {label for label in links if any(is_other(*given) for given in inputs[label].items())}:
        for label in stale:
            links.pop(label).unlink(missing_ok=True)
        dropped |= stale


def lost_link(folder: Path) -> str:
    """What is wrong with a link that leads nowhere, as a further sentence; empty for all else."""
    if not folder.is_symlink() or folder.exists():
        return ""
    return f" {folder} is a link to {folder.readlink()}, which is gone."


def _links(folder: Path) -> dict[str, Path]:
    found = (manifest.parent for manifest in folder.glob(f"[!.]*/[!.]*/{MANIFEST}"))
    return {f"{path.parent.name}/{path.name}": path for path in found if path.is_symlink()}
