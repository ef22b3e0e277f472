"""The rows of features from elsewhere: the arrays of an npz file, and all that is wrong with them."""

import difflib
from collections.abc import Iterable

import numpy as np

from workbench.file_errors import CONTENT_FAULTS
from workbench.scenes.annotation_files import LARGEST_COORDINATE
from workbench.scenes.problems import FileProblems
from workbench.scenes.vocabulary import ROLES, Vocabulary

REQUIRED = ("feature", "image_id", *ROLES, "subject_box", "object_box")
ENTITY_FEATURES = ("subject_feature", "object_feature")
FLOAT16_LIMIT = float(np.finfo(np.float16).max)
EXPORT_AGAIN = "Export the file again, as plain numbers."

Rows = dict[str, np.ndarray]


def read_rows(file: FileProblems, vocabulary: Vocabulary, support: str) -> Rows:
    """The arrays of one split, none where they cannot be used; what is wrong goes to ``file``."""
    try:
        with np.load(file.path, allow_pickle=False) as archive:
            keys = [key for key in (*REQUIRED, *ENTITY_FEATURES) if key in archive.files]
            arrays = {key: np.asarray(archive[key]) for key in keys}
            note_unknown(file, archive.files, (*REQUIRED, *ENTITY_FEATURES))
    except (OSError, *CONTENT_FAULTS) as error:
        file.blocking("unreadable file", "whole file", str(error) or type(error).__name__, "an npz file", EXPORT_AGAIN)
        return {}
    expected = REQUIRED + (ENTITY_FEATURES if set(ENTITY_FEATURES) & arrays.keys() else ())
    missing = [key for key in expected if key not in arrays]
    for key in missing:
        file.blocking("missing key", key, f"only {', '.join(arrays)}", f"an array {key}", EXPORT_AGAIN)
    if "image_id" in arrays:
        arrays["image_id"] = _plain_ids(file, arrays["image_id"])
    sizes = {"4": 4}  # the union features, which come first, set the number of rows N and the dimension D
    fitting = [key for key, array in arrays.items() if _shape_fits(file, key, array, sizes)]
    for key in fitting:
        _check_values(file, key, arrays[key], vocabulary, support)
    return arrays if not missing and len(fitting) == len(arrays) else {}


def note_unknown(file: FileProblems, keys: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse keys that are nearly one that is read; say of others that they are not."""
    for key in (key for key in keys if key not in known):
        if near := difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.8):
            file.blocking("misspelt key", key, repr(key), repr(near[0]), "Rename it; as it is, it would not be read.")
        else:
            file.warning("unknown key", key, repr(key), f"one of {', '.join(known)}", "It is not read.")


def _plain_ids(file: FileProblems, ids: np.ndarray) -> np.ndarray:
    """Image ids as int64 where nothing is lost: text of digits, whole floats, unsigned numbers."""
    if ids.dtype.kind in "US":
        text = np.char.strip(ids.astype(str))
        plain = np.char.isdecimal(text) & (np.char.str_len(text) <= 18)
        expected = "digits"
        remedy = "Number these images in all splits, such as by their place in a list of file names."
    elif ids.dtype.kind in "uf":
        most = 2**63 if ids.dtype.kind == "u" else 2 ** (np.finfo(ids.dtype).nmant + 1)
        text, plain = ids, (ids >= 0) & (ids < most) & (ids == np.floor(ids))
        expected, remedy = f"whole numbers below {most}", "Number the images anew, the same in all splits, as int64."
    else:
        return ids
    if not plain.all():
        row = int(plain.argmin())
        file.blocking("unusable image id", f"image_id, row {row}", repr(ids[row].item()), expected, remedy)
        return np.zeros(ids.shape, dtype=np.int64)
    return text.astype(np.int64)


def _shape_fits(file: FileProblems, key: str, array: np.ndarray, sizes: dict[str, int]) -> bool:
    if "feature" in key:
        axes, kinds, numbers = "ND", "f", "floating"
    elif key.endswith("_box"):
        axes, kinds, numbers = "N4", "iuf", "numbers"
    else:
        axes, kinds, numbers = "N", "iu", "whole numbers"
    fits = array.ndim == len(axes) and array.size > 0
    fits = fits and all(sizes.setdefault(axis, size) == size for axis, size in zip(axes, array.shape, strict=True))
    if not fits or array.dtype.kind not in kinds:
        expected = f"{tuple(sizes.get(axis, axis) for axis in axes)} {numbers}, at least one row"
        file.blocking("wrong shape", key, f"{array.shape} {array.dtype}", expected, EXPORT_AGAIN)
        return False
    return True


def _check_values(file: FileProblems, key: str, array: np.ndarray, vocabulary: Vocabulary, support: str) -> None:
    if "feature" in key:
        low = 0.0 if support == "rectified" else -FLOAT16_LIMIT
        least, most = array.min(axis=1), array.max(axis=1)  # both are nan where a value is
        good, shown = (least >= low) & (most <= FLOAT16_LIMIT), np.stack([least, most], axis=1)
        kind, expected = "feature out of range", f"finite numbers of {low:g} to {FLOAT16_LIMIT:g}"
        remedy = "Compute these rows again, or leave them out. Negative values belong to support signed."
    elif key.endswith("_box"):
        good = (array[:, 2:] >= array[:, :2]).all(axis=1) & (np.abs(array) <= LARGEST_COORDINATE).all(axis=1)
        shown, kind, expected = array, "swapped or non-finite box", f"x1 <= x2, y1 <= y2, up to {LARGEST_COORDINATE:,}"
        remedy = "The order is x1, y1, x2, y2, inclusive pixels."
    elif key in ROLES and (classes := len(vocabulary.names(key))):
        good, shown = (array >= 0) & (array < classes), array
        kind, expected = "unknown class id", f"0 to {classes - 1}"
        remedy = "Correct the ids, or add the classes to the list of names; ids are 0-based."
    else:
        return
    if not good.all():
        row, rows = int(good.argmin()), int((~good).sum())
        found = f"{shown[row].tolist()} ({rows:,} such rows)"
        file.blocking(kind, f"{key}, row {row}", found, expected, remedy)


def check_together(files: dict[str, FileProblems], rows: dict[str, Rows]) -> None:
    """What only shows between splits: one dimension, the same keys, no shared images."""
    for place, (split, part) in enumerate(rows.items()):
        first, file = next(iter(rows)), files[split]
        if part["feature"].shape[1] != rows[first]["feature"].shape[1]:
            expected = f"{rows[first]['feature'].shape[1]} as in {first}"
            remedy = "Use one encoder for all splits."
            file.blocking("dimensions differ", "feature", str(part["feature"].shape[1]), expected, remedy)
        if part.keys() != rows[first].keys():
            remedy = "Give subject and object features in all splits or in none."
            file.blocking("keys differ", "whole file", ", ".join(part), f"those of {first}", remedy)
        for other in list(rows)[:place]:
            shared = np.intersect1d(part["image_id"], rows[other]["image_id"])
            if len(shared):
                found = f"{len(shared):,} images of {other} too, such as {shared[0]}"
                remedy = "Keep an image in one split: what is trained on must not be tested on."
                file.warning("image in two splits", "image_id", found, "images of its own", remedy)
            if np.array_equal(part["feature"], rows[other]["feature"]):
                remedy = "Export this split again: it was saved from the other one's rows."
                file.blocking("rows of another split", "feature", f"all rows of {other}", "rows of its own", remedy)
