"""The rows of features from elsewhere: the arrays of an npz file, and all that is wrong with them."""

import difflib
from collections.abc import Iterable

import numpy as np

from annotated_scenes.annotation_files import LARGEST_COORDINATE
from workbench.file_errors import CONTENT_FAULTS
from workbench.files import escapes_folder
from workbench.scenes.problems import FileProblems
from workbench.scenes.relations import SHARES_TO_PIXELS, are_shares, in_sorted
from workbench.scenes.vocabulary import ROLES, Vocabulary

REQUIRED = ("feature", "image_id", *ROLES, "subject_box", "object_box")
ENTITY_FEATURES = ("subject_feature", "object_feature")
FLOAT16_LIMIT, FLOAT16_LEAST = float(np.finfo(np.float16).max), float(np.finfo(np.float16).tiny)
EXPORT_AGAIN = "Export the file again, as plain numbers."

Rows = dict[str, np.ndarray]


def read_rows(file: FileProblems, vocabulary: Vocabulary, support: str) -> Rows:
    """The arrays of one split, none where they cannot be used; what is wrong goes to ``file``.

    ``image_id`` is int64, or text where images have names.
    """
    if not file.path.exists():
        found = "a link to what is not here" if file.path.is_symlink() else "no file"
        file.blocking("missing file", "whole file", found, "an npz file", "Put the split's rows there.")
        return {}
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
        ids = _plain_ids(file, arrays.pop("image_id"))
        arrays |= {} if ids is None else {"image_id": ids}
        missing += ["image_id"] if ids is None else []
    sizes = {"4": 4}  # the union features, which come first, set the number of rows N and the dimension D
    fitting = [key for key, array in arrays.items() if _shape_fits(file, key, array, sizes)]
    for key in fitting:
        _check_values(file, key, arrays[key], vocabulary, support)
    return arrays if not missing and len(fitting) == len(arrays) else {}


def note_unknown(file: FileProblems, keys: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse keys that are nearly one that is read; say of others that they are not."""
    for key in (key for key in keys if key not in known):
        cutoff = 0.65 if "feat" in key.lower() else 0.8  # obj_feat
        if near := difflib.get_close_matches(key.lower(), known, n=1, cutoff=cutoff):
            remedy = "Rename it, or take it out; as it is, it would not be read."
            file.blocking("misspelt key", key, repr(key), repr(near[0]), remedy)
        else:
            file.warning("unknown key", key, repr(key), f"one of {', '.join(known)}", "It is not read.")


def _plain_ids(file: FileProblems, ids: np.ndarray) -> np.ndarray | None:
    """Image ids as int64 where all are numbers and nothing is lost, as text where they are names; None if refused."""
    expected, remedy = "digits, or the name of a file", "Number the images anew, the same in all splits, as int64."
    if ids.dtype.kind in "US":
        plain = np.char.strip(ids if ids.dtype.kind == "U" else np.char.decode(ids, "utf-8", "backslashreplace"))
        names, place = np.unique(plain, return_inverse=True)
        if all(name.isdecimal() and len(name) <= 18 for name in names):
            return plain.astype(np.int64)
        good = np.array([not escapes_folder(name) for name in names])[place].reshape(ids.shape)
    elif ids.dtype.kind in "iuf":
        most = 2 ** (np.finfo(ids.dtype).nmant + 1) if ids.dtype.kind == "f" else 2**63
        with np.errstate(invalid="ignore"):
            good = (ids >= 0) & (ids < most) & (ids % 1 == 0)
            plain = ids.astype(np.int64)
        expected = f"whole numbers of 0 to {most - 1}"
    else:
        return ids
    if not good.all():
        row = int(good.argmin())
        file.blocking("unusable image id", f"image_id, row {row}", repr(ids.flat[row].item()), expected, remedy)
        return None
    if plain.dtype.kind == "U":
        kept = "They are kept as the names of the images, numbered in their order over all splits."
        file.warning("image ids of text", "image_id, row 0", repr(str(ids.flat[0])), "whole numbers", kept)
    return plain


def _shape_fits(file: FileProblems, key: str, array: np.ndarray, sizes: dict[str, int]) -> bool:
    if "feature" in key:
        axes, kinds, numbers = "ND", "f", "floating"
    elif key.endswith("_box"):
        axes, kinds, numbers = "N4", "iuf", "numbers"
    else:
        axes, kinds, numbers = "N", "iuU" if key == "image_id" else "iu", "whole numbers"
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
        zero, peak = (least == 0) & (most == 0), np.maximum(-least, most)
        good &= zero | (peak >= FLOAT16_LEAST)
        kind = "feature out of range"
        expected = f"finite numbers of {low:g} to {FLOAT16_LIMIT:g}, the largest of a row at least {FLOAT16_LEAST:g}"
        remedy = "Compute these rows again, leave them out, or scale all features. Negative ones have support signed."
        if zero.any() or (len(array) > 1 and (shown == shown[0]).all() and (array == array[0]).all()):
            found = f"{int(zero.sum()):,} rows of zeros" if zero.any() else f"{len(array):,} equal rows"
            file.warning("feature of nothing", key, found, "rows that differ", "Leave out rows without a feature.")
    elif key.endswith("_box"):
        near = (array >= -LARGEST_COORDINATE) & (array <= LARGEST_COORDINATE)
        good = (array[:, 2:] >= array[:, :2]).all(axis=1) & near.all(axis=1)
        shown, kind, expected = array, "swapped or non-finite box", f"x1 <= x2, y1 <= y2, up to {LARGEST_COORDINATE:,}"
        remedy = "The order is x1, y1, x2, y2, inclusive pixels."
        if are_shares(array):
            file.blocking("boxes in shares", key, f"{array[0].tolist()}", "pixels", SHARES_TO_PIXELS)
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


def check_together(files: dict[str, FileProblems], rows: dict[str, Rows]) -> np.ndarray | None:
    """What only shows between splits: one dimension, the same keys, no shared images or rows.

    Where images have names they are returned, and ``image_id`` becomes the place among them.
    """
    digests = {split: _row_digests(part["feature"]) for split, part in rows.items()}
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
            equal = in_sorted(digests[split], np.sort(digests[other]))
            if equal.all():
                remedy = "Export this split again: it was saved from the other one's rows."
                file.blocking("rows of another split", "feature", f"all rows in {other}", "rows of its own", remedy)
            elif equal.any():
                row = equal.argmax()
                twin = (digests[other] == digests[split][row]).argmax()
                found = f"row {twin} of {other} ({equal.sum():,} such rows of {len(equal):,})"
                remedy = "Take them out of one split: what is trained on must not be tested on."
                file.warning("rows of another split", f"feature, row {row}", found, "rows of its own", remedy)
    ids = [part["image_id"] for part in rows.values()]
    if all(some.dtype.kind != "U" for some in ids):
        return None
    names, number = np.unique(np.concatenate([some.astype(str) for some in ids]), return_inverse=True)
    for part in rows.values():
        part["image_id"], number = np.split(number, [len(part["image_id"])])
    return names


def _row_digests(features: np.ndarray) -> np.ndarray:
    """A number (N,) int64 for each row as it is kept, in float16: equal rows have equal ones."""
    with np.errstate(over="ignore"):  # such features are refused
        digests = (hash(row.astype(np.float16, copy=False).tobytes()) for row in features)
        return np.fromiter(digests, np.int64, len(features))
