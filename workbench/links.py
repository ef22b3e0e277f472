"""Stages that a run has from another one: links of their folders, which give way and are never written through."""

import contextlib
import os
from pathlib import Path

from workbench.files import read_json
from workbench.folders import MANIFEST

WITHOUT_INFLUENCE = True  # on any result: how results are kept


def link_stages(folder: Path, base: Path) -> int:
    """Link the complete stages of the run in ``base`` that the run in ``folder`` lacks; returns how many links it has.

    A stage whose inputs the run has made otherwise is left out.
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
