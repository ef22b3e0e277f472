"""Importing ready-made region features: npz rows and names in, a features folder out.

docs/own-features.md describes the source folder. A relation without a text vector is a row of NaN there.
"""

import difflib
import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import save_array, write_json
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import MANIFEST, FeatureStore
from workbench.scenes.annotation_files import LARGEST_COORDINATE, decoded, noting_unreadable, read_vocabulary
from workbench.scenes.class_vectors import read_class_vectors
from workbench.scenes.problems import FileProblems, Problem, format_report
from workbench.scenes.relations import BOX_COLUMNS, union_boxes
from workbench.scenes.vocabulary import ROLES, SPLITS, Vocabulary

TEXT_FILES = {"object": "objects_clip_text.npy", "relation": "predicates_clip_text.npy"}
REQUIRED = ("feature", "image_id", *ROLES, "subject_box", "object_box")
ENTITY_FEATURES = ("subject_feature", "object_feature")
FAULTS = (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error)
FLOAT16_LIMIT = float(np.finfo(np.float16).max)
ROWS_PER_CHUNK = 8192
EXPORT_AGAIN = "Export the file again, as plain numbers."

Rows = dict[str, np.ndarray]


class _Identity(msgspec.Struct):
    """``manifest.json``: what the features and the text vectors were made with."""

    encoder: str = ""
    text_encoder: str = ""
    support: Literal["signed", "rectified"] = "signed"


def import_features(folder: Path, *, source: Path) -> dict[str, Any]:
    """Write a features folder (vocabulary, a store per split, ``text/`` where there are text vectors) from ``source``.

    Store rows are the source's rows, in its order. Without subject and object features of their own the union feature
    stands in (``entity_region`` "union"), and the relations table keeps both boxes as subject_x1 ... object_y2. Image
    files are unknown: file_name is "", width and height are the largest box corner plus one. Raises WorkbenchError
    with all problems in one report. A killed import resumes to the same bytes.
    """
    folder, source = Path(folder), Path(source)
    if not source.is_dir():
        raise WorkbenchError(f"{source}: no such folder. Give the folder that holds train.npz, val.npz and test.npz.")
    problems: list[Problem] = []
    identity = _read_identity(source, problems)
    vocabulary = read_vocabulary(source, problems)
    files = {split: FileProblems(source / f"{split}.npz", problems) for split in SPLITS}
    read = {split: _read_rows(file, vocabulary, identity.support) for split, file in files.items()}
    rows = {split: part for split, part in read.items() if part}
    text = _read_text(source, vocabulary, problems)
    _check_together(files, rows)
    if any(problem.severity == "error" for problem in problems):
        raise WorkbenchError(f"{source}: nothing was imported.\n{format_report(problems)}")
    vocabulary.write(folder)
    for split in SPLITS:
        _write_store(folder / split, rows[split], identity)
    if text:
        for role, vectors in text.items():
            save_array(folder / "text" / f"{role}_embeddings.npy", vectors)
        # Relations without a vector are left for the language room to learn.
        learned = "relation" not in text or bool(np.isnan(text["relation"]).any())
        manifest = {"encoder": identity.text_encoder, "kind": "vectors", "learned_relations": learned}
        write_json(folder / "text" / "text.json", manifest | {"dimension": text["object"].shape[1]})
    train = rows["train"]
    absent = {}
    for role in ROLES:
        elsewhere = np.concatenate([rows[split][role] for split in SPLITS[1:]])
        absent[role] = [vocabulary.names(role)[k] for k in np.setdiff1d(elsewhere, train[role])]
    return {
        "encoder": identity.encoder,
        "support": identity.support,
        "dimension": train["feature"].shape[1],
        "entity_region": "box" if ENTITY_FEATURES[0] in train else "union",
        "relations": {split: len(part["feature"]) for split, part in rows.items()},
        "images": {split: len(np.unique(part["image_id"])) for split, part in rows.items()},
        "relation_classes_in_train": len(np.unique(train["relation"])),
        "absent_from_train": absent,
        "text_dimension": text["object"].shape[1] if text else None,
        "warnings": format_report(problems).splitlines() if problems else [],
    }


def _read_identity(source: Path, problems: list[Problem]) -> _Identity:
    file, identity = FileProblems(source / "manifest.json", problems), _Identity()
    if file.path.exists():
        with noting_unreadable(file, "encoder and text_encoder (text), support (signed or rectified)"):
            identity = decoded(file.path.read_bytes(), _Identity)
            _note_unknown(
                file, [key for key in decoded(file.path.read_bytes(), dict)], ("encoder", "text_encoder", "support")
            )
    name = f"imported:{source.resolve().name}"
    return _Identity(identity.encoder or name, identity.text_encoder or f"{name}/text", identity.support)


def _read_rows(file: FileProblems, vocabulary: Vocabulary, support: str) -> Rows:
    """The arrays of one split, none where they cannot be used; what is wrong goes to ``file``."""
    try:
        with np.load(file.path, allow_pickle=False) as archive:
            keys = [key for key in (*REQUIRED, *ENTITY_FEATURES) if key in archive.files]
            arrays = {key: np.asarray(archive[key]) for key in keys}
            _note_unknown(file, archive.files, (*REQUIRED, *ENTITY_FEATURES))
    except FAULTS as error:
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


def _note_unknown(file: FileProblems, keys: list[str], known: tuple[str, ...]) -> None:
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
        expected, remedy = (
            "digits",
            "Number these images in all splits, such as by their place in a list of file names.",
        )
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


def _check_together(files: dict[str, FileProblems], rows: dict[str, Rows]) -> None:
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


def _read_text(source: Path, vocabulary: Vocabulary, problems: list[Problem]) -> Rows:
    """Checked text vectors (classes, T) float32 by role; none where there are none of objects."""
    text: Rows = {}
    for role, name in TEXT_FILES.items():
        file = FileProblems(source / name, problems)
        if not file.path.exists():
            if role == "object" and (source / TEXT_FILES["relation"]).exists():
                remedy = "Add the objects' vectors; relations alone are not enough."
                file.blocking("missing file", "whole file", "no file", "a file", remedy)
            continue
        dimension = text["object"].shape[1] if "object" in text else None
        lacking: Any = {"may_lack": role == "relation", "dimension": dimension}
        if (vectors := read_class_vectors(file, vocabulary.names(role), **lacking)) is not None:
            text[role] = vectors
    return text


def _write_store(folder: Path, rows: Rows, identity: _Identity) -> None:
    dimension = rows["feature"].shape[1]
    if (folder / MANIFEST).exists():
        FeatureStore(folder, expect_encoder=identity.encoder, expect_dimension=dimension)
        return
    tables, features = _tables(rows)
    writer = FeatureStoreWriter(
        folder,
        tables=tables,
        dimension=dimension,
        encoder=identity.encoder,
        support=identity.support,
        entity_region="box" if "box_features" in features else "union",
    )
    for name, values in features.items():
        for start, stop in writer.missing(name, ROWS_PER_CHUNK):
            writer.write(name, start, values[start:stop])
            writer.flush()
    writer.finish()


def _tables(rows: Rows) -> tuple[dict[str, pd.DataFrame], Rows]:
    """The images, boxes and relations of a split, and the features of relations and of boxes.

    A box stands there once for each image, coordinates, class and feature. Without features of their own there are no
    boxes of ends but one box per relation, its union, with object_class -1, and no features of boxes.
    """
    subject, object_ = (rows[f"{role}_box"].astype(np.float32) for role in ("subject", "object"))
    unions = union_boxes(subject, object_)
    image_ids, image = np.unique(rows["image_id"].astype(np.int64), return_inverse=True)
    corner = np.zeros((len(image_ids), 2))
    np.maximum.at(corner, image, unions[:, 2:])
    width, height = np.ceil(corner).astype(np.int64).T + 1
    images = pd.DataFrame({"image_id": image_ids, "file_name": "", "width": width, "height": height})
    roles = {role: rows[role].astype(np.int64) for role in ROLES}
    features, corners = {"union_features": rows["feature"]}, {}
    if ENTITY_FEATURES[0] in rows:
        boxes = pd.DataFrame(_ends(rows, "_box").astype(np.float32), columns=BOX_COLUMNS)
        boxes.insert(0, "image", np.repeat(image, 2))
        boxes["object_class"] = _ends(rows, "").astype(np.int64)
        halves = _ends(rows, "_feature").astype(np.float16)
        boxes["digest"] = [hashlib.blake2b(half.tobytes(), digest_size=16).digest() for half in halves]
        box_of_end = boxes.groupby(list(boxes.columns), sort=False).ngroup().to_numpy()
        boxes = boxes.drop_duplicates().drop(columns="digest")
        features["box_features"] = halves[boxes.index]
        ends = {"subject_box": box_of_end[0::2], "object_box": box_of_end[1::2]}
    else:
        boxes = pd.DataFrame(unions, columns=BOX_COLUMNS)
        boxes.insert(0, "image", image)
        boxes["object_class"] = -1  # a union has no class
        ends = dict.fromkeys(("subject_box", "object_box"), np.arange(len(image)))
        both = {"subject": subject, "object": object_}.items()
        corners = {f"{role}_{name}": xyxy[:, k] for role, xyxy in both for k, name in enumerate(BOX_COLUMNS)}
    relations = pd.DataFrame({"image": image, **ends, **roles, **corners})
    return {"images": images, "boxes": boxes.reset_index(drop=True), "relations": relations}, features


def _ends(rows: Rows, what: str) -> np.ndarray:
    """The boxes (2N, 4), features (2N, D) or classes (2N, 1) of all ends, subject before object."""
    return np.stack([rows[f"subject{what}"], rows[f"object{what}"]], axis=1).reshape(2 * len(rows["feature"]), -1)
