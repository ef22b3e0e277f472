"""Where the files of a data set in the LTVRR layout are (LTVRR reference, sections 1.1 to 1.4).

A folder holds ``objects.json``, ``predicates.json`` and, for each split, ``detections_<split>.json`` and
``rel_annotations_<split>.json``.
"""

from pathlib import Path

SPLITS = ("train", "val", "test")


def detections_path(folder: Path, split: str) -> Path:
    """Where a split's images and detection boxes are."""
    return Path(folder) / f"detections_{split}.json"


def relations_path(folder: Path, split: str) -> Path:
    """Where a split's relations are."""
    return Path(folder) / f"rel_annotations_{split}.json"


def splits_of(folder: Path) -> tuple[str, ...]:
    """The splits whose two files are there, in the order of SPLITS; VRD, for one, has no val."""
    return tuple(s for s in SPLITS if detections_path(folder, s).is_file() and relations_path(folder, s).is_file())


def image_folder_of(folder: Path, image_folder: Path | None = None) -> Path:
    """The image folder: the one given, or ``images`` in the annotation folder, or beside it."""
    if image_folder is not None:
        return Path(image_folder)
    candidates = [Path(folder) / "images", Path(folder).parent / "images"]
    return next((candidate for candidate in candidates if candidate.is_dir()), candidates[0])
