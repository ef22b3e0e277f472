"""The rows of ready-made features: one npz file a split, one row a relation; their checks and their tables.

Keys: ``feature`` (N, D) of the union box; ``image_id``, ``subject``, ``relation``, ``object`` (N,) whole numbers, class
ids 0-based; ``subject_box``, ``object_box`` (N, 4) inclusive xyxy; optionally ``subject_feature`` and
``object_feature`` (N, D). Features may be stored as any floating type and are kept as float16.
"""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.scenes.problems import FileProblems
from workbench.scenes.relations import BOX_COLUMNS, union_boxes
from workbench.scenes.vocabulary import ROLES, Vocabulary

REQUIRED = ("feature", "image_id", *ROLES, "subject_box", "object_box")
ENTITY_FEATURES = ("subject_feature", "object_feature")
FLOAT16_LIMIT = float(np.finfo(np.float16).max)
ROWS_PER_CHUNK = 8192
_EXPORT_AGAIN = "Export the file again."


@dataclass(frozen=True)
class SplitRows:
    """The checked arrays of one split; ``subject_feature`` and ``object_feature`` are there together or not at all."""

    path: Path
    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["feature"])

    @property
    def dimension(self) -> int:
        """D of the union features."""
        return self.arrays["feature"].shape[1]

    @property
    def has_entity_features(self) -> bool:
        """Whether subject and object bring features of their own."""
        return ENTITY_FEATURES[0] in self.arrays


def read_rows(file: FileProblems, vocabulary: Vocabulary | None, support: str) -> SplitRows | None:
    """Read one split; what is wrong goes to ``file``, and None is returned where there is nothing to use."""
    arrays = _load(file)
    if arrays is None:
        return None
    missing = [key for key in REQUIRED if key not in arrays]
    for key in missing:
        file.blocking("missing key", key, f"only {', '.join(sorted(arrays))}", f"an array {key}", _EXPORT_AGAIN)
    if sum(key in arrays for key in ENTITY_FEATURES) == 1:
        file.blocking("missing key", "entity features", "one of them", " and ".join(ENTITY_FEATURES), _EXPORT_AGAIN)
    # The union features set the number of rows and D; without them each array is checked on its own.
    feature_shape = arrays["feature"].shape if "feature" in arrays and arrays["feature"].ndim == 2 else None
    fitting = {key for key, array in arrays.items() if _shape_fits(file, key, array, feature_shape)}
    if feature_shape and not feature_shape[0]:
        file.blocking("no rows", "feature", "0 rows", "at least one", "Export a split that has relations.")
    for key in sorted(fitting):
        if key in ROLES:
            _check_ids(file, key, arrays[key], len(vocabulary.names(key)) if vocabulary else None)
        elif key.endswith("_box"):
            _check_boxes(file, key, arrays[key])
        elif "feature" in key:
            _check_features(file, key, arrays[key], support)
    return SplitRows(file.path, arrays) if not missing and fitting == set(arrays) else None


def _load(file: FileProblems) -> dict[str, np.ndarray] | None:
    if not file.path.is_file():
        remedy = "Give a folder with train.npz, val.npz and test.npz."
        file.blocking("missing file", "whole file", "no file", "an npz file", remedy)
        return None
    arrays: dict[str, np.ndarray] = {}
    refused = False
    try:
        with np.load(file.path, allow_pickle=False) as archive:
            for key in archive.files:
                if key in REQUIRED + ENTITY_FEATURES:
                    array = _member(file, archive, key)
                    refused = refused or array is None
                    arrays[key] = np.empty(0) if array is None else array
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        file.blocking("unreadable file", "whole file", str(error) or type(error).__name__, "an npz file", _EXPORT_AGAIN)
        return None
    return None if refused else arrays


def _member(file: FileProblems, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray | None:
    try:
        array = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        remedy = "Store plain numbers: pickled objects can run code and are refused."
        file.blocking("pickled objects", key, "an object array", "an array of numbers", remedy)
        return None
    if not isinstance(array, np.ndarray):
        file.blocking("wrong type", key, "no array", "an array of numbers", _EXPORT_AGAIN)
        return None
    return array


def _shape_fits(file: FileProblems, key: str, array: np.ndarray, feature_shape: tuple[int, int] | None) -> bool:
    expected: tuple[int | str, ...]
    rows, dimension = feature_shape or ("N", "D")
    if "feature" in key:
        expected, kinds = (rows, dimension), "f"
    elif key.endswith("_box"):
        expected, kinds = (rows, 4), "iuf"
    else:
        expected, kinds = (rows,), "iu"
    fits = array.dtype.kind in kinds and array.ndim == len(expected) and 0 not in array.shape[1:]
    fits = fits and all(
        isinstance(size, str) or size == found for size, found in zip(expected, array.shape, strict=True)
    )
    if not fits:
        numbers = {"f": "floating", "iuf": "numbers", "iu": "whole numbers"}[kinds]
        shape = f"({', '.join(map(str, expected))}{',' if len(expected) == 1 else ''})"
        file.blocking("wrong shape", key, f"{array.shape} {array.dtype}", f"{shape} {numbers}", _EXPORT_AGAIN)
    return fits


def _check_ids(file: FileProblems, role: str, ids: np.ndarray, classes: int | None) -> None:
    if classes is None:
        return
    wrong = np.flatnonzero((ids < 0) | (ids >= classes))
    if len(wrong):
        record, found = f"{role}, row {wrong[0]}", f"{ids[wrong[0]]} ({len(wrong):,} such rows)"
        remedy = "Correct the ids, or add the classes to the list of names; ids are 0-based."
        file.blocking("unknown class id", record, found, f"0 to {classes - 1}", remedy)


def _check_boxes(file: FileProblems, key: str, boxes: np.ndarray) -> None:
    # nan fails both comparisons
    good = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1) & np.isfinite(boxes).all(axis=1)
    wrong = np.flatnonzero(~good)
    if len(wrong):
        found = f"{boxes[wrong[0]].tolist()} ({len(wrong):,} such rows)"
        remedy = "The order is x1, y1, x2, y2, inclusive pixels."
        file.blocking("swapped or non-finite box", f"{key}, row {wrong[0]}", found, "x1 <= x2 and y1 <= y2", remedy)


def _check_features(file: FileProblems, key: str, features: np.ndarray, support: str) -> None:
    limits = (0.0 if support == "rectified" else -FLOAT16_LIMIT, FLOAT16_LIMIT)
    wrong = []
    for start in range(0, len(features), ROWS_PER_CHUNK):
        chunk = features[start : start + ROWS_PER_CHUNK]
        # Written so that nan fails it too.
        wrong += (start + np.flatnonzero(~((chunk >= limits[0]) & (chunk <= limits[1])).all(axis=1))).tolist()
    if wrong:
        found = f"a value that is not ({len(wrong):,} such rows)"
        expected = f"finite numbers of {limits[0]:g} to {limits[1]:g}"
        remedy = "Compute these rows again, or leave them out. Negative values belong to support signed."
        file.blocking("feature out of range", f"{key}, row {wrong[0]}", found, expected, remedy)


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
