"""The published data sets: their files, sizes and where their authors have them, and what of one lies in a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from workbench.errors import WorkbenchError
from workbench.scenes.annotation_files import ClassNames, JsonFile, UnusableJson, decoded
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE

TRAIN_TRIPLETS = "rel_annotations_train.csv"
# The names for objects and relations; VG8K-LT has others than GQA-LT.
GQA_FREQUENCIES = ("objects_freqs.json", "predicates_freqs.json")
VG8K_FREQUENCIES = ("train_objects_freqs.json", "train_predicates_freqs.json")
# One vector for each class, a JSON list in the order of the names, which VRD's redistributions bring.
VRD_VECTORS = {"objects": "vrd_objects-emb-glove-300.json", "relations": "vrd_predicates-emb-glove-300.json"}
_DRIVE = "https://drive.google.com/file/d/"
_REPOSITORY = "https://github.com/Vision-CAIR/LTVRR"
_README = f"linked from the README of {_REPOSITORY}"
_GQA_PAGE = "https://cs.stanford.edu/people/dorarad/gqa/download.html"
_VG_PAGE = "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html"
_VRD_PAGE = "https://cs.stanford.edu/people/ranjaykrishna/vrd/"
_IMAGE_PARTS = ("sg_train_images", "sg_test_images")  # what tells VRD's image folder
_NOT_IN_VRD = "third parties: not in the original release"


class OptionalFiles(NamedTuple):
    """Files that serve one ``purpose``, by their paths in the annotation folder, the one above, or the root."""

    names: tuple[str, ...]
    purpose: str
    published: str


@dataclass(frozen=True)
class KnownDataSet:
    """One published data set.

    ``annotation_folders`` and ``image_folders`` are looked for below a root, in this order. ``classes`` counts object
    and relation classes, ``images`` the images of each split (None where nobody says). ``files_of_split`` are named
    with ``{}`` for the split; the last one has an entry for each image.
    """

    title: str
    annotation_folders: tuple[str, ...]
    image_folders: tuple[str, ...]
    classes: tuple[int, int]
    images: Mapping[str, int | None]
    annotations_published: str
    images_published: str
    optional: tuple[OptionalFiles, ...]
    frequency_files: tuple[str, str] = GQA_FREQUENCIES
    files_of_split: tuple[str, ...] = ("detections_{}.json", "rel_annotations_{}.json")

    def required(self) -> dict[str, int | None]:
        """The files that an annotation folder must have, each with its published number of entries where known."""
        files: dict[str, int | None] = {OBJECTS_FILE: self.classes[0], RELATIONS_FILE: self.classes[1]}
        for split, images in self.images.items():
            names = [name.format(split) for name in self.files_of_split]
            files |= dict.fromkeys(names) | {names[-1]: images}
        return files


_DETECTOR = OptionalFiles(
    ("detection_models/vg/VGG16/model_step479999.pth",),
    "region features as the published baselines have them",
    f"{_DRIVE}16JVQkkKGfiGt7AUt789pUPX3o84Cl2hL, {_README}",
)
_WORD_VECTORS = OptionalFiles(
    ("word2vec_model/GoogleNews-vectors-negative300.bin",),
    "word vectors of the recognisers' class names",
    "https://code.google.com/archive/p/word2vec/",
)
_MADE_HERE = ("the LTVRR scripts", "the annotations: what is missing is made from them")
_SYNSETS = (
    "synset-matched accuracy as upstream scores it; without it WordNet's first noun senses are taken",
    f"the annotation zip perhaps (they are in no repository), else the authors ({_REPOSITORY})",
)
KNOWN = {
    "gqa-lt": KnownDataSet(
        title="GQA-LT",
        annotation_folders=("gvqa/seed0", "seed0", "."),
        image_folders=("gvqa/images", "gvqa/images1", "images", "../images", "../images1"),
        classes=(1703, 310),
        images={"train": 72_580, "val": 2_573, "test": 7_722},
        annotations_published=f"{_DRIVE}1ypmMOq2TkZyLNVuU9agHS7_QcsfTtBmn (annotation zip), {_README}",
        images_published=f"{_GQA_PAGE} (images.zip)",
        optional=(
            OptionalFiles((TRAIN_TRIPLETS, *GQA_FREQUENCIES), *_MADE_HERE),
            OptionalFiles(("objects_synsets.csv", "predicates_synsets.csv"), *_SYNSETS),
            _DETECTOR,
            _WORD_VECTORS,
        ),
    ),
    "vg8k-lt": KnownDataSet(
        title="VG8K-LT",
        annotation_folders=("vg8k/seed3", "seed3", "."),
        image_folders=("vg8k/VG_100K", "VG_100K", "../VG_100K"),
        classes=(5330, 2000),
        images={"train": None, "val": None, "test": None},
        annotations_published=f"{_DRIVE}1S8WNnK0zt8SDAGntkCiRDfJ8rZOR3Pgx (annotation zip), {_README}",
        images_published=f"{_VG_PAGE} (both image parts, 108,249 files, in one folder VG_100K)",
        optional=(
            OptionalFiles((TRAIN_TRIPLETS, *VG8K_FREQUENCIES), *_MADE_HERE),
            OptionalFiles(("words_synsets.json",), *_SYNSETS),
            _DETECTOR,
            _WORD_VECTORS,
        ),
        frequency_files=VG8K_FREQUENCIES,
    ),
    "vrd": KnownDataSet(
        title="VRD",
        annotation_folders=(".", "vrd", "json_dataset"),
        image_folders=("images", "sg_dataset", "vrd/images", "."),
        classes=(100, 70),
        images={"train": 4_000, "test": 1_000},
        annotations_published=f"{_VRD_PAGE} (json_dataset.zip)",
        images_published=f"{_VRD_PAGE} (sg_dataset.zip: sg_train_images, sg_test_images)",
        optional=(
            OptionalFiles(
                ("train_image_metadata.json", "test_image_metadata.json"),
                "image sizes without opening the image files",
                _NOT_IN_VRD,
            ),
            OptionalFiles(
                tuple(VRD_VECTORS.values()),
                "text vectors of the class names without a text tower",
                f"{_NOT_IN_VRD}; any text encoder replaces them",
            ),
            _DETECTOR,
            _WORD_VECTORS,
        ),
        files_of_split=("annotations_{}.json",),
    ),
}


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
        if None not in (entries, published) and entries != published:
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
    places = dict.fromkeys([root] if folder is None else [folder, folder.parent, root])
    for optional in known.optional:
        for file_name in optional.names:
            found = next((place / file_name for place in places if (place / file_name).is_file()), None)
            if found:
                files[file_name] = found
            else:
                missing.append(MissingPart(file_name, "missing", False, optional.purpose, optional.published))
    return FoundDataSet(known, root, folder, images, files, missing, warnings)


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
