"""The one reader of annotated images: the LTVRR layout (LTVRR reference, sections 1.1 to 1.4).

A folder holds ``objects.json``, ``predicates.json`` and, for each split, ``detections_<split>.json`` and
``rel_annotations_<split>.json``. Files are read image by image into arrays: GQA-LT's 3.4 million training relations
take well under 1 GB.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import inside
from workbench.scenes.annotation_files import read_class_names, read_images, read_relation_ends
from workbench.scenes.problems import FileProblems, Problem, format_report
from workbench.scenes.relations import BOX_COLUMNS, union_boxes
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
    """The image folder: the one given, or ``images`` in the annotation folder, or beside it."""
    if image_folder is not None:
        return Path(image_folder)
    candidates = [Path(folder) / "images", Path(folder).parent / "images"]
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

    def image_path(self, image: int) -> Path:
        """The file of an image index; WorkbenchError where its name leads out of the image folder."""
        return inside(self.image_folder, self.images["file_name"].iloc[image])

    def boxes_xyxy(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The boxes of some rows of ``boxes`` as (n, 4) float32."""
        return self.boxes[BOX_COLUMNS].to_numpy(dtype=np.float32)[rows]

    def unions_xyxy(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The union boxes of some relations as (n, 4) float32."""
        boxes = self.boxes_xyxy()
        subject, object_ = self.relations["subject_box"].to_numpy()[rows], self.relations["object_box"].to_numpy()[rows]
        return union_boxes(boxes[subject], boxes[object_])


def read_annotations(folder: Path, split: str, image_folder: Path | None = None) -> Annotations:
    """Read one split; image files are not opened.

    ``image_folder`` defaults to ``images`` in or beside ``folder``. Raises WorkbenchError with a report of all
    problems where reading is impossible (broken JSON, unknown class ids, swapped boxes, duplicate names); boxes that
    reach outside an image are kept. Images of the relations file that the detections file does not know are left
    out as upstream does, with a warning.
    """
    folder = Path(folder)
    problems: list[Problem] = []
    names = read_class_names(folder, problems)
    images, _ = read_images(FileProblems(detections_path(folder, split), problems))
    ends = read_relation_ends(FileProblems(relations_path(folder, split), problems), images, names)
    refused = [problem for problem in problems if problem.blocks_reading]
    if refused or images is None or ends is None:
        raise WorkbenchError(format_report(refused))
    listed = images["file_name"].isin(set(ends.names))
    if left_out := len(ends.names) - int(listed.sum()):
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
    arrays = {"image": image[order]} | {role: ids[order].astype(np.int64) for role, ids in ends.classes.items()}
    # Taken out one by one: both orders of all arrays need not be in memory.
    arrays |= {f"{role}_xyxy": ends.boxes.pop(role)[order] for role in ("subject", "object")}
    del ends, image, order
    boxes, relations = box_and_relation_tables(arrays)
    vocabulary = Vocabulary.read(folder)
    folder_of_images = image_folder_of(folder, image_folder)
    return Annotations(split, vocabulary, loaded.reset_index(drop=True), boxes, relations, folder_of_images)


def box_and_relation_tables(ends: dict[str, np.ndarray]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables ``boxes`` and ``relations`` of ``Annotations`` from arrays by image, then in the file's order.

    They are used up: the boxes are half of what is in memory.
    """
    image = ends["image"]
    # A box belongs to one image, so blocks of whole images can be compared apart.
    starts = np.unique(np.searchsorted(image, image[::RELATIONS_PER_BLOCK]))
    blocks, rows_of_ends, known = [], [], 0
    for start, stop in zip(starts, [*starts[1:], len(image)], strict=True):
        boxes, box = _distinct_boxes({key: values[start:stop] for key, values in ends.items()})
        blocks.append(boxes)
        rows_of_ends.append(box + known)
        known += len(boxes)
    box = np.concatenate(rows_of_ends)
    del ends["subject_xyxy"], ends["object_xyxy"], rows_of_ends
    relations = {"image": image, "subject_box": box[0::2], "object_box": box[1::2]}
    relations |= {role: ends[role] for role in ROLES}
    return pd.concat(blocks, ignore_index=True), pd.DataFrame(relations)


def _distinct_boxes(ends: dict[str, np.ndarray]) -> tuple[pd.DataFrame, np.ndarray]:
    """The boxes in order of first use, and the box of each end: subject before object, relation by relation."""
    both = pd.DataFrame(_interleaved(ends["subject_xyxy"], ends["object_xyxy"]) + np.float32(0), columns=BOX_COLUMNS)
    both.insert(0, "image", np.repeat(ends["image"], 2))
    both["object_class"] = _interleaved(ends["subject"], ends["object"])
    box = both.groupby(list(both.columns), sort=False).ngroup().to_numpy()
    return both.drop_duplicates(ignore_index=True), box


def _interleaved(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])
