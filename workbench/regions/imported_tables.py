"""The store's tables, made from imported rows."""

import hashlib

import numpy as np
import pandas as pd

from workbench.regions.imported_rows import SplitRows
from workbench.scenes.annotations import BOX_COLUMNS
from workbench.scenes.boxes import union_boxes
from workbench.scenes.vocabulary import ROLES


def tables_of_rows(rows: SplitRows) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, np.ndarray]:
    """The images, boxes and relations tables of a split, and the first end that uses each box.

    Ends are numbered 2 * row for a subject and 2 * row + 1 for an object; without features of their own there are no
    boxes of ends but one box per relation, its union, with object_class -1, and the last array is empty.
    """
    arrays = rows.arrays
    subject, object_ = (arrays[f"{role}_box"].astype(np.float32) for role in ("subject", "object"))
    image_ids, image = np.unique(arrays["image_id"].astype(np.int64), return_inverse=True)
    corner = np.zeros((len(image_ids), 2))
    np.maximum.at(corner, image, np.maximum(subject[:, 2:], object_[:, 2:]))
    size = np.ceil(corner).astype(np.int64) + 1
    images = pd.DataFrame({"image_id": image_ids, "file_name": "", "width": size[:, 0], "height": size[:, 1]})
    relations = pd.DataFrame({"image": image, **{role: arrays[role].astype(np.int64) for role in ROLES}})
    if rows.has_entity_features:
        boxes, box, first_use = _distinct_boxes(image, subject, object_, arrays)
        own = {"subject_box": box[0::2], "object_box": box[1::2]}
    else:
        boxes = pd.DataFrame(union_boxes(subject, object_), columns=BOX_COLUMNS)
        boxes.insert(0, "image", image)
        boxes["object_class"] = -1  # a union has no class
        own = {"subject_box": np.arange(len(rows)), "object_box": np.arange(len(rows))}
        first_use = np.empty(0, dtype=np.int64)
        for role, xyxy in (("subject", subject), ("object", object_)):
            own |= {f"{role}_{name}": xyxy[:, column] for column, name in enumerate(BOX_COLUMNS)}
    order = ["image", "subject_box", "object_box", *ROLES]
    relations = relations.assign(**own)
    return images, boxes, relations[order + [name for name in relations if name not in order]], first_use


def _distinct_boxes(
    image: np.ndarray, subject: np.ndarray, object_: np.ndarray, arrays: dict[str, np.ndarray]
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Boxes once per image, coordinates, class and feature; the box of each end; the first end of each box."""
    ends = pd.DataFrame(np.stack([subject, object_], axis=1).reshape(-1, 4), columns=BOX_COLUMNS)
    ends.insert(0, "image", np.repeat(image, 2))
    ends["object_class"] = np.stack([arrays["subject"], arrays["object"]], axis=1).reshape(-1).astype(np.int64)
    digest = [_digests(arrays[key]) for key in ("subject_feature", "object_feature")]
    keyed = ends.assign(digest=np.stack(digest, axis=1).reshape(-1))
    box = keyed.groupby(list(keyed.columns), sort=False).ngroup().to_numpy()
    first_use = np.flatnonzero(~keyed.duplicated().to_numpy())
    return ends.iloc[first_use].reset_index(drop=True), box, first_use


def _digests(features: np.ndarray) -> np.ndarray:
    half = np.ascontiguousarray(features.astype(np.float16))
    return np.array([hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in half])
