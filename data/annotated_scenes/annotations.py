"""The one reader of annotated images: the LTVRR layout (docs/formats.md; LTVRR reference, sections 1.1 to 1.4).

Files are read image by image into arrays: GQA-LT's 3.4 million training relations take well under 1 GB.
"""

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from annotated_scenes.annotation_files import read_images, read_relation_ends, read_vocabulary
from workbench.errors import WorkbenchError
from workbench.files import atomic_path, inside
from workbench.language.synset_tables import SENSES_TABLE, SYNSET_TABLES
from workbench.scenes.problems import FileProblems, Problem, format_report
from workbench.scenes.relations import BOX_COLUMNS, TABLES, union_boxes
from workbench.scenes.vocabulary import ROLES, SPLITS, Vocabulary

RELATIONS_PER_BLOCK = 200_000  # rows of one table while boxes are compared


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
    """The image folder: the one given, or ``images`` or ``VG_100K`` in the annotation folder, or beside it."""
    if image_folder is not None:
        return Path(image_folder)
    candidates = [place / name for name in ("images", "VG_100K") for place in (Path(folder), Path(folder).parent)]
    return next((candidate for candidate in candidates if candidate.is_dir()), candidates[0])


@dataclass(frozen=True)
class Annotations:
    """One split of a data set as three tables.

    ``images``: image_id (int64), file_name, width, height; the row number is the image index (ascending image id,
    only images named in the relations file). ``boxes``: image, x1, y1, x2, y2 (float32, unclipped), object_class;
    distinct, in order of first use. ``relations``: image, subject_box, object_box (rows of ``boxes``), subject,
    relation, object (class ids); images in order, then annotation order.
    """

    split: str
    vocabulary: Vocabulary
    images: pd.DataFrame
    boxes: pd.DataFrame
    relations: pd.DataFrame
    image_folder: Path

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The three tables by name."""
        return {name: getattr(self, name) for name in TABLES}

    def image_path(self, image: int) -> Path:
        """The file of an image index; WorkbenchError where its name leads out of the image folder."""
        return inside(self.image_folder, self._file_names[image])

    @cached_property
    def _file_names(self) -> list[str]:
        return self.images["file_name"].tolist()

    def boxes_xyxy(self) -> np.ndarray:
        """The boxes as (n, 4) float32."""
        return self.boxes[BOX_COLUMNS].to_numpy(dtype=np.float32)

    def unions_xyxy(self) -> np.ndarray:
        """The union boxes of the relations as (n, 4) float32."""
        ends = self.boxes_xyxy()[self.relations[["subject_box", "object_box"]].to_numpy()]
        return union_boxes(ends[:, 0], ends[:, 1])


def read_annotations(folder: Path, split: str, image_folder: Path | None = None) -> Annotations:
    """Read one split; image files are not opened.

    ``image_folder`` defaults to ``images`` in or beside ``folder``. Raises WorkbenchError with a report of all
    problems where reading is impossible (broken JSON, unknown class ids, swapped boxes, duplicate names); boxes that
    reach outside an image are kept. Images of the relations file that the detections file does not know are left
    out as upstream does, with a warning.
    """
    problems: list[Problem] = []
    vocabulary = read_vocabulary(folder, problems)
    images, _ = read_images(FileProblems(detections_path(folder, split), problems))
    ends = read_relation_ends(FileProblems(relations_path(folder, split), problems), images, vocabulary)
    refused = [problem for problem in problems if problem.blocks_reading]
    if refused or images is None or ends is None:
        raise WorkbenchError(format_report(refused))
    listed = images["file_name"].isin(set(ends.named))
    if left_out := len(ends.named) - int(listed.sum()):
        warnings.warn(
            f"{left_out} image(s) of the relations file are not in the detections file and are left out; "
            "`workbench data check` names them.",
            stacklevel=2,
        )
    # Images by ascending id, which is the upstream loader's order; only those that the relations file names.
    loaded = images[listed].sort_values("image_id")
    place = np.full(len(images), -1)
    place[loaded.index] = np.arange(len(loaded))
    image = place[ends.image]
    order = np.argsort(image, kind="stable")
    ordered = image[order], ends.triplets[order], ends.boxes[order]
    del ends, image, order  # a third of what is in memory
    boxes, relations = _tables(*ordered)
    images = loaded.reset_index(drop=True)
    if images["image_id"].dtype.kind != "i":  # names, which are kept by their order
        images["image_id"] = np.arange(len(images))
    return Annotations(split, vocabulary, images, boxes, relations, image_folder_of(folder, image_folder))


def _tables(image: np.ndarray, triplets: np.ndarray, ends_xyxy: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables ``boxes`` and ``relations``: image (N,), triplets (N, 3), boxes (N, 2, 4) by image, in file order."""
    # A box belongs to one image, so blocks of whole images can be compared apart, in less memory.
    starts = np.unique(np.searchsorted(image, image[::RELATIONS_PER_BLOCK]))
    blocks, box_of_end, known = [], [], 0
    for block in map(slice, starts, [*starts[1:], len(image)]):
        # The ends in the order of their first use: subject before object, relation by relation; -0 is 0.
        ends = pd.DataFrame(ends_xyxy[block].reshape(-1, 4) + np.float32(0), columns=BOX_COLUMNS)
        ends.insert(0, "image", np.repeat(image[block], 2))
        ends["object_class"] = triplets[block, ::2].reshape(-1).astype(np.int64)
        box_of_end.append(ends.groupby(list(ends.columns), sort=False).ngroup().to_numpy() + known)
        blocks.append(ends.drop_duplicates(ignore_index=True))
        known += len(blocks[-1])
    subject_box, object_box = np.concatenate(box_of_end).reshape(-1, 2).T
    relations = {"image": image, "subject_box": subject_box, "object_box": object_box}
    relations |= dict(zip(ROLES, triplets.T.astype(np.int64), strict=True))
    return pd.concat(blocks, ignore_index=True), pd.DataFrame(relations)


def copy_synset_tables(folder: Path, places: Sequence[Path]) -> None:
    """Copy each synset table (LTVRR reference, 1.1) from the first of ``places`` that has it, unless it is there."""
    for name in (*SYNSET_TABLES, SENSES_TABLE):
        source = next((Path(place) / name for place in places if os.path.lexists(Path(place) / name)), None)
        if source is not None and not (Path(folder) / name).is_file():
            with atomic_path(Path(folder) / name) as temporary:
                shutil.copyfile(source, temporary)
