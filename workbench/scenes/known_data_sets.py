"""The published data sets by name: what they consist of, how large they are, and where their authors publish them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workbench.scenes.annotations import detections_path, relations_path
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE, SPLITS
from workbench.scenes.vrd import OFFICIAL_SPLITS, annotations_path, sizes_path

LTVRR, VRD = "ltvrr", "vrd"
TRAIN_TRIPLETS = "rel_annotations_train.csv"
# The names for objects and relations; VG8K-LT has others than GQA-LT.
GQA_FREQUENCIES = ("objects_freqs.json", "predicates_freqs.json")
VG8K_FREQUENCIES = ("train_objects_freqs.json", "train_predicates_freqs.json")
_DRIVE = "https://drive.google.com/file/d/"
_REPOSITORY = "https://github.com/Vision-CAIR/LTVRR"
_README = f"linked from the README of {_REPOSITORY}"
_GQA_PAGE = "https://cs.stanford.edu/people/dorarad/gqa/download.html"
_VG_PAGE = "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html"
_VRD_PAGE = "https://cs.stanford.edu/people/ranjaykrishna/vrd/"
_WORDS = "https://code.google.com/archive/p/word2vec/"


@dataclass(frozen=True)
class OptionalFile:
    """A file that serves one ``purpose``; ``name`` is its path in the annotation folder, the one above, or the root."""

    name: str
    purpose: str
    published: str


@dataclass(frozen=True)
class KnownDataSet:
    """One published data set.

    ``annotation_folders`` and ``image_folders`` are looked for below a root, in this order. ``classes`` counts object
    and relation classes, ``images`` the images of each split (None where nobody says). ``layout`` is that of the
    annotations: the LTVRR layout, or VRD's own.
    """

    name: str
    title: str
    layout: str
    annotation_folders: tuple[str, ...]
    image_folders: tuple[str, ...]
    classes: tuple[int, int]
    images: Mapping[str, int | None]
    annotations_published: str
    images_published: str
    frequency_files: tuple[str, str] = GQA_FREQUENCIES
    optional: tuple[OptionalFile, ...] = field(default=())

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are published."""
        return tuple(self.images)

    def required_files(self, folder: Path) -> tuple[Path, ...]:
        """The files that an annotation folder must have."""
        names = folder / OBJECTS_FILE, folder / RELATIONS_FILE
        return (*names, *(path for split in self.splits for path in self.files_of_split(folder, split)))

    def files_of_split(self, folder: Path, split: str) -> tuple[Path, ...]:
        """A split's required files; the last names its images."""
        if self.layout == VRD:
            return (annotations_path(folder, split),)
        return detections_path(folder, split), relations_path(folder, split)


def _made_here(names: tuple[str, ...], purpose: str) -> tuple[OptionalFile, ...]:
    return tuple(OptionalFile(name, purpose, "the annotations: what is missing is made from them") for name in names)


_DETECTOR = OptionalFile(
    "detection_models/vg/VGG16/model_step479999.pth",
    "region features as the published baselines have them",
    f"{_DRIVE}16JVQkkKGfiGt7AUt789pUPX3o84Cl2hL, {_README}",
)
_WORD_VECTORS = OptionalFile(
    "word2vec_model/GoogleNews-vectors-negative300.bin", "word vectors of the recognisers' class names", _WORDS
)
_SYNSETS = (
    "synset-matched accuracy as upstream scores it; without it WordNet's first noun senses are taken",
    f"the annotation zip perhaps (they are in no repository), else the authors ({_README.rpartition(' ')[2]})",
)

GQA_LT = KnownDataSet(
    "gqa-lt",
    "GQA-LT",
    LTVRR,
    ("gvqa/seed0", "seed0", "."),
    ("gvqa/images", "gvqa/images1", "images", "../images", "../images1"),
    (1703, 310),
    dict(zip(SPLITS, (72_580, 2_573, 7_722), strict=True)),
    f"{_DRIVE}1ypmMOq2TkZyLNVuU9agHS7_QcsfTtBmn (annotation zip), {_README}",
    f"{_GQA_PAGE} (images.zip)",
    optional=(
        *_made_here((TRAIN_TRIPLETS, *GQA_FREQUENCIES), "the LTVRR scripts"),
        OptionalFile("objects_synsets.csv", *_SYNSETS),
        OptionalFile("predicates_synsets.csv", *_SYNSETS),
        _DETECTOR,
        _WORD_VECTORS,
    ),
)
VG8K_LT = KnownDataSet(
    "vg8k-lt",
    "VG8K-LT",
    LTVRR,
    ("vg8k/seed3", "seed3", "."),
    ("vg8k/VG_100K", "VG_100K", "../VG_100K"),
    (5330, 2000),
    dict.fromkeys(SPLITS),
    f"{_DRIVE}1S8WNnK0zt8SDAGntkCiRDfJ8rZOR3Pgx (annotation zip), {_README}",
    f"{_VG_PAGE} (both image parts, 108,249 files, in one folder VG_100K)",
    VG8K_FREQUENCIES,
    optional=(
        *_made_here((TRAIN_TRIPLETS, *VG8K_FREQUENCIES), "the LTVRR scripts"),
        OptionalFile("words_synsets.json", *_SYNSETS),
        _DETECTOR,
        _WORD_VECTORS,
    ),
)
_VRD_VECTORS = "text vectors of the class names without a text tower"
_VRD_VECTORS_FROM = "third parties: not in the original release; any text encoder replaces them"
VRD_SET = KnownDataSet(
    "vrd",
    "VRD",
    VRD,
    (".", "vrd", "json_dataset"),
    ("images", "sg_dataset", "vrd/images", "."),
    (100, 70),
    dict(zip(OFFICIAL_SPLITS, (4_000, 1_000), strict=True)),
    f"{_VRD_PAGE} (json_dataset.zip)",
    f"{_VRD_PAGE} (sg_dataset.zip: sg_train_images, sg_test_images)",
    optional=(
        *(
            OptionalFile(
                sizes_path(Path(), split).name,
                "image sizes without opening the image files",
                "third parties: not in the original release",
            )
            for split in OFFICIAL_SPLITS
        ),
        OptionalFile("vrd_objects-emb-glove-300.json", _VRD_VECTORS, _VRD_VECTORS_FROM),
        OptionalFile("vrd_predicates-emb-glove-300.json", _VRD_VECTORS, _VRD_VECTORS_FROM),
        _DETECTOR,
        _WORD_VECTORS,
    ),
)
KNOWN = {known.name: known for known in (GQA_LT, VG8K_LT, VRD_SET)}
