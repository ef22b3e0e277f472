"""From the relations file of a split to arrays and tables, some hundred images at a time (LTVRR reference, 1.2).

As Python objects GQA-LT's 3.4 million training relations would take several GB; as arrays they take some 0.2 GB.
"""

import warnings
from collections.abc import Iterable
from itertools import chain

import numpy as np
import pandas as pd

from workbench.scenes.boxes import BOX_COLUMNS, xyxy_from_relation_bbox
from workbench.scenes.json_stream import JsonFile, in_pieces
from workbench.scenes.vocabulary import ROLES

# What is in memory as Python objects at a time, and as rows of one table while boxes are compared.
IMAGES_PER_PIECE, RELATIONS_PER_BLOCK = 500, 200_000


def relation_ends(file: JsonFile, images: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The images of a relations file, and what its relations say, in the order of the images, then of the file.

    ``images`` are those of the detections file; those named here are returned in ``loaded_images``' order. The arrays
    of N relations: image (row of the returned images), subject, relation, object (class ids), all (N,) int64, and
    subject_xyxy, object_xyxy (N, 4) float32. Class ids and boxes may still be impossible. Images that ``images``
    lacks are left out with a warning. Raises ValueError, TypeError or LookupError for what is no relations file.
    """
    row_of_name = dict(zip(images["file_name"], range(len(images)), strict=True))
    names, left_out, pieces = [], 0, []
    for piece in in_pieces(file.members(), IMAGES_PER_PIECE):
        known = [(row_of_name[name], relations) for name, relations in piece if name in row_of_name]
        left_out += len(piece) - len(known)
        names += [name for name, _ in piece]
        pieces.append(_piece_of_ends(known))
    require_distinct_keys(file)
    if left_out:
        warnings.warn(
            f"{left_out} image(s) of the relations file are not in the detections file and are left out; "
            "`workbench data check` names them.",
            stacklevel=3,
        )
    if not pieces:
        raise ValueError("no relations")
    loaded = loaded_images(images, names)
    place = np.full(len(images), -1)
    place[[row_of_name[name] for name in loaded["file_name"]]] = np.arange(len(loaded))
    ends = {key: np.concatenate([piece.pop(key) for piece in pieces]) for key in list(pieces[0])}
    ends["image"] = place[ends["image"]]
    order = np.argsort(ends["image"], kind="stable")
    return loaded, {key: values[order] for key, values in ends.items()}


def _piece_of_ends(known: list[tuple[int, list]]) -> dict[str, np.ndarray]:
    if not all(isinstance(relations, list) for _, relations in known):
        raise TypeError("an image has a list of relations")
    found = [relation for _, relations in known for relation in relations]
    ends = {"relation": whole_numbers([relation["predicate"] for relation in found])}
    rows, times = np.array([(row, len(relations)) for row, relations in known], dtype=np.int64).reshape(-1, 2).T
    ends["image"] = np.repeat(rows, times)
    for role in ("subject", "object"):
        ends[role] = whole_numbers([relation[role]["category"] for relation in found])
        ends[f"{role}_xyxy"] = xyxy_from_relation_bbox(box_rows([relation[role]["bbox"] for relation in found]))
    return ends


def loaded_images(images: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The images of the relations file by ascending id, which is the upstream loader's order."""
    return images[images["file_name"].isin(set(names))].sort_values("image_id", ignore_index=True)


def require_distinct_keys(file: JsonFile) -> None:
    """Raise ValueError where a key occurred twice in what was read: of two entries a parser keeps the last."""
    if file.repeated:
        raise ValueError("a key occurs twice")


def box_and_relation_tables(ends: dict[str, np.ndarray]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables ``boxes`` and ``relations`` of ``Annotations`` from the arrays of :func:`relation_ends`."""
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


def whole_numbers(values: list) -> np.ndarray:
    """JSON values as (n,) int64; TypeError for anything but whole numbers, true and false included."""
    if not set(map(type, values)) <= {int}:
        raise TypeError("a whole number is expected")
    return np.array(values, dtype=np.int64)


def box_rows(boxes: list) -> np.ndarray:
    """JSON values as (n, 4) float64; TypeError for anything but lists of four numbers."""
    if not (set(map(type, boxes)) <= {list} and set(map(len, boxes)) <= {4}):
        raise TypeError("a box is a list of four numbers")
    if not set(map(type, chain.from_iterable(boxes))) <= {int, float}:
        raise TypeError("a box is made of numbers")
    return np.fromiter(chain.from_iterable(boxes), dtype=np.float64, count=4 * len(boxes)).reshape(-1, 4)
