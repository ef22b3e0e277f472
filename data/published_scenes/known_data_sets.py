"""The published data sets (``known_data_sets.toml``), and what of one lies in a folder."""

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import msgspec

from annotated_scenes.annotation_files import ClassNames, JsonFile, UnusableJson, decoded
from workbench.errors import WorkbenchError
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE

_IMAGE_PARTS = ("sg_train_images", "sg_test_images")  # what tells VRD's image folder


@dataclass(frozen=True)
class OptionalFiles:
    """Files that serve one ``purpose``, by their paths in the annotation folder, the one above, or the root."""

    names: tuple[str, ...]
    purpose: str
    published: str


@dataclass(frozen=True)
class KnownDataSet:
    """One published data set.

    ``annotation_folders`` and ``image_folders`` are looked for below a root, in this order. ``classes`` counts object
    and relation classes, ``images`` the images of each split (0 where nobody says). ``files_of_split`` are named with
    ``{}`` for the split; the last one has an entry for each image. ``frequency_files`` and ``class_vectors`` are those
    of objects and relations.
    """

    title: str
    annotation_folders: tuple[str, ...]
    image_folders: tuple[str, ...]
    classes: tuple[int, int]
    images: dict[str, int]
    files_of_split: tuple[str, ...]
    frequency_files: tuple[str, str]
    annotations_published: str
    images_published: str
    optional: tuple[OptionalFiles, ...]
    class_vectors: dict[str, str] = field(default_factory=dict)

    def required(self) -> dict[str, int]:
        """The files that an annotation folder must have, each with its published number of entries, 0 if unknown."""
        files = {OBJECTS_FILE: self.classes[0], RELATIONS_FILE: self.classes[1]}
        for split, images in self.images.items():
            names = [name.format(split) for name in self.files_of_split]
            files |= dict.fromkeys(names, 0) | {names[-1]: images}
        return files


KNOWN = msgspec.toml.decode(Path(__file__).with_suffix(".toml").read_bytes(), type=dict[str, KnownDataSet])


@dataclass(frozen=True)
class MissingPart:
    """A file or folder that is not usable: ``state`` says how, ``purpose`` what for, ``published`` where it is."""

    what: str
    state: str
    required: bool
    purpose: str
    published: str


@dataclass(frozen=True)
class FoundDataSet:
    """What of a data set lies below ``root``: its folders (None where not found), files by name, gaps and oddities."""

    known: KnownDataSet
    root: Path
    annotation_folder: Path | None
    image_folder: Path | None
    files: dict[str, Path]
    missing: list[MissingPart]
    warnings: list[str]

    @property
    def usable(self) -> bool:
        """Whether all that is required is there."""
        return not any(part.required for part in self.missing)

    def report(self) -> str:
        """All of it as text for people."""
        lines = [f"{self.known.title} in {self.root}"]
        lines.append(f"  annotations: {self.annotation_folder or 'none'}")
        lines.append(f"  images: {self.image_folder or 'none'}")
        for required, heading in ((True, "needed"), (False, "optional")):
            parts = [part for part in self.missing if part.required == required]
            lines += [f"  not there, {heading}:"] if parts else []
            for (state, purpose, published), alike in groupby(parts, lambda p: (p.state, p.purpose, p.published)):
                lines += [f"    {part.what}: {state}" for part in alike]
                lines.append(f"      for {purpose}; from {published}")
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])


def look_for(name: str, root: Path, *, image_folder: Path | None = None) -> FoundDataSet:
    """Look for the data set ``name`` below ``root``, and say what is missing.

    All annotation files are read through, which finds files that were cut short and other numbers of classes or images
    than the published ones. WorkbenchError for an unknown name or a root that is no folder.
    """
    if name not in KNOWN:
        raise WorkbenchError(f"{name!r} is no known data set; expected one of {', '.join(KNOWN)}.")
    known, root = KNOWN[name], Path(root)
    if not root.is_dir():
        raise WorkbenchError(f"{root}: no such folder. Give the folder into which {known.title} was unpacked.")
    files: dict[str, Path] = {}
    missing: list[MissingPart] = []
    warnings: list[str] = []
    folder = _annotation_folder(known, root)
    for file_name, published in known.required().items():
        path = (folder or root / known.annotation_folders[0]) / file_name
        state, entries = _state(path)
        if state:
            missing.append(MissingPart(str(path), state, True, "annotations", known.annotations_published))
        else:
            files[file_name] = path
        if entries and published and entries != published:
            what = "classes" if file_name in (OBJECTS_FILE, RELATIONS_FILE) else "images"
            warnings.append(f"{path}: {entries:,} {what}, the published data set has {published:,}")
    if missing:
        folders = {root, *((root / place).parent for place in known.annotation_folders if place != ".")}
        archives = sorted(path for place in folders if place.is_dir() for path in place.glob("*.zip"))
        warnings += [f"{archive} is there; is it unpacked in full?" for archive in archives]
    images = _image_folder(known, root) if image_folder is None else Path(image_folder)
    if images is None or not images.is_dir():
        looked = f"{' or '.join(known.image_folders)} in {root}" if images is None else str(images)
        purpose = "region features, and images in the notebooks"
        missing.append(MissingPart(looked, "no image folder", False, purpose, known.images_published))
        images = None
    places = optional_places(known, root)
    for optional in known.optional:
        for file_name in optional.names:
            found = next((place / file_name for place in places if (place / file_name).is_file()), None)
            if found:
                files[file_name] = found
            else:
                missing.append(MissingPart(file_name, "missing", False, optional.purpose, optional.published))
    return FoundDataSet(known, root, folder, images, files, missing, warnings)


def other_kind(folder: Path) -> str:
    """What lies in a folder that has no annotations in the layout, with the command for it; empty where nothing known.

    Looked for are the original release of VRD, features, and annotations up to three folders below.
    """
    if (folder / "annotations_train.json").is_file():
        return f"{folder} is the original release of VRD. Bring it in with: workbench data add vrd --root {folder}"
    if (folder / "train.npz").is_file():
        return f"{folder} holds features. Bring them in with: workbench features import {folder} --name NAME"
    below = (path for depth in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(f"{depth}/rel_annotations_*.json")))
    for found in below:
        return f"The annotations are in {found.parent}. Check them with: workbench data check {found.parent}"
    return ""


def optional_places(known: KnownDataSet, root: Path) -> list[Path]:
    """Where optional files are looked for: the annotation folder, which is first, the one above, and the root."""
    folder = _annotation_folder(known, root)
    return list(dict.fromkeys([root] if folder is None else [folder, folder.parent, root]))


def _annotation_folder(known: KnownDataSet, root: Path) -> Path | None:
    """The candidate that has most of the required files; the first of several."""
    there = {
        place: [name for name in known.required() if (root / place / name).exists()]
        for place in known.annotation_folders
    }
    # Names of classes alone may lie anywhere; a folder of annotations has something of a split.
    begun = [place for place, names in there.items() if set(names) - {OBJECTS_FILE, RELATIONS_FILE}]
    return root / max(begun, key=lambda place: len(there[place])) if begun else None


def _image_folder(known: KnownDataSet, root: Path) -> Path | None:
    for folder in (root / place for place in known.image_folders):
        if folder.is_dir() and (folder != root or any((folder / part).is_dir() for part in _IMAGE_PARTS)):
            return folder
    return None


def _state(path: Path) -> tuple[str, int | None]:
    """What keeps a file from being used, "" where nothing does; and its number of entries."""
    if not path.is_file():
        return "missing", None
    if not path.stat().st_size:
        return "empty (zero bytes)", None
    try:
        names = path.name in (OBJECTS_FILE, RELATIONS_FILE)
        return "", len(decoded(path.read_bytes(), ClassNames) if names else JsonFile(path).members)
    except UnusableJson as error:
        broken = error.kind == "broken JSON"
        return f"{'broken JSON, perhaps cut short' if broken else 'not the expected content'} ({error})", None
