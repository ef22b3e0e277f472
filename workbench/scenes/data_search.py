"""Looking for a published data set in a folder: what is there, what is missing, and where to get it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.scenes.annotation_files import ClassNames, JsonFile, UnusableJson, decoded
from workbench.scenes.known_data_sets import KNOWN, KnownDataSet
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE

_IMAGE_PARTS = ("sg_train_images", "sg_test_images")


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
    """What of a data set lies below ``root``: its folders (None where not found), files, gaps and oddities."""

    known: KnownDataSet
    root: Path
    annotation_folder: Path | None
    image_folder: Path | None
    present: tuple[Path, ...]
    missing: tuple[MissingPart, ...]
    warnings: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether all that is required is there."""
        return not any(part.required for part in self.missing)

    def file(self, name: str) -> Path | None:
        """A present file by its name."""
        return next((path for path in self.present if path.name == Path(name).name), None)

    def report(self) -> str:
        """All of it as text for people."""
        lines = [f"{self.known.title} in {self.root}"]
        lines.append(f"  annotations: {self.annotation_folder or 'none'}")
        lines.append(f"  images: {self.image_folder or 'none'}")
        for required, heading in ((True, "needed"), (False, "optional")):
            parts = [part for part in self.missing if part.required == required]
            if parts:
                lines.append(f"  not there, {heading}:")
            for (state, purpose, published), alike in groupby(parts, lambda p: (p.state, p.purpose, p.published)):
                lines += [f"    {part.what}: {state}" for part in alike]
                lines.append(f"      for {purpose}; from {published}")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def look_for(name: str, root: Path, *, image_folder: Path | None = None, read_files: bool = True) -> FoundDataSet:
    """Look for the data set ``name`` below ``root``, and say what is missing.

    With ``read_files`` all annotation files are read through, which finds files that were cut short and other numbers
    of classes or images than the published ones; otherwise only missing and empty files are found. Raises
    WorkbenchError for an unknown name or a root that is no folder.
    """
    if name not in KNOWN:
        raise WorkbenchError(f"{name!r} is no known data set; expected one of {', '.join(KNOWN)}.")
    known, root = KNOWN[name], Path(root)
    if not root.is_dir():
        raise WorkbenchError(f"{root}: no such folder. Give the folder into which {known.title} was unpacked.")
    folder = _annotation_folder(known, root)
    required = known.required_files(folder or root / known.annotation_folders[0])
    states = {path: _state(path, read_files) for path in required}
    present = [path for path, (state, _) in states.items() if not state]
    missing = [
        MissingPart(str(path), state, True, "annotations", known.annotations_published)
        for path, (state, _) in states.items()
        if state
    ]
    warnings = list(_unpublished_numbers(known, {path: entries for path, (_, entries) in states.items()}))
    if missing:
        warnings += [f"{archive} is there; is it unpacked in full?" for archive in _archives(known, root)]
    images = _image_folder(known, root) if image_folder is None else Path(image_folder)
    if images is None or not images.is_dir():
        looked = f"{' or '.join(known.image_folders)} in {root}" if images is None else str(images)
        purpose = "region features, and images in the notebooks"
        missing.append(MissingPart(looked, "no image folder", False, purpose, known.images_published))
        images = None
    places = dict.fromkeys([root] if folder is None else [folder, folder.parent, root])
    for part in known.optional:
        found = next((place / part.name for place in places if (place / part.name).is_file()), None)
        if found:
            present.append(found)
        else:
            missing.append(MissingPart(part.name, "missing", False, part.purpose, part.published))
    return FoundDataSet(known, root, folder, images, tuple(present), tuple(missing), tuple(warnings))


def _annotation_folder(known: KnownDataSet, root: Path) -> Path | None:
    """The candidate that has most of the required files; the first of several."""
    candidates = [root / place for place in known.annotation_folders]
    # Names of classes alone may lie anywhere; a folder of annotations has something of a split.
    begun = [c for c in candidates if any(f.exists() for s in known.splits for f in known.files_of_split(c, s))]
    return max(begun, key=lambda c: sum(f.exists() for f in known.required_files(c)), default=None)


def _image_folder(known: KnownDataSet, root: Path) -> Path | None:
    for folder in (root / place for place in known.image_folders):
        if folder.is_dir() and (folder != root or any((folder / part).is_dir() for part in _IMAGE_PARTS)):
            return folder
    return None


def _unpublished_numbers(known: KnownDataSet, entries: dict[Path, int | None]) -> Iterator[str]:
    """Numbers of classes and images that are not the published ones."""
    published: dict[str, int | None] = {OBJECTS_FILE: known.classes[0], RELATIONS_FILE: known.classes[1]}
    published |= {known.files_of_split(Path(), split)[-1].name: known.images[split] for split in known.splits}
    for path, number in entries.items():
        expected = published.get(path.name)
        if number is not None and expected is not None and number != expected:
            what = "classes" if path.name in (OBJECTS_FILE, RELATIONS_FILE) else "images"
            yield f"{path}: {number:,} {what}, the published data set has {expected:,}"


def _state(path: Path, read_files: bool) -> tuple[str, int | None]:
    """What keeps a file from being used, "" where nothing does; and its number of entries where it was read."""
    if not path.is_file():
        return "missing", None
    if not path.stat().st_size:
        return "empty (zero bytes)", None
    if not read_files:
        return "", None
    try:
        if path.name in (OBJECTS_FILE, RELATIONS_FILE):
            return "", len(decoded(path.read_bytes(), ClassNames))
        return "", len(JsonFile(path).members)
    except UnusableJson as error:
        broken = error.kind == "broken JSON"
        return f"{'broken JSON, perhaps cut short' if broken else 'not the expected content'} ({error})", None


def _archives(known: KnownDataSet, root: Path) -> list[Path]:
    folders = {root, *((root / place).parent for place in known.annotation_folders if place != ".")}
    return sorted(path for folder in folders if folder.is_dir() for path in folder.glob("*.zip"))
