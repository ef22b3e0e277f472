"""Importing ready-made region features: npz rows and names in, a features folder out.

docs/own-features.md describes the source folder. A relation without a text vector is a row of NaN there.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd

from annotated_scenes.annotation_files import decoded, note_repeated, noting_unreadable, read_vocabulary
from annotated_scenes.text_vectors import read_text_vectors
from own_features.rows import ENTITY_FEATURES, Rows, check_together, note_unknown, read_rows
from workbench.errors import WorkbenchError
from workbench.files import save_array, write_json
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import MANIFEST, FeatureStore
from workbench.scenes.problems import FileProblems, Problem, format_report
from workbench.scenes.relations import BOX_COLUMNS, union_boxes
from workbench.scenes.vocabulary import ROLES, SPLITS, Vocabulary

TEXT_FILES = {"object": "objects_clip_text.npy", "relation": "predicates_clip_text.npy"}
ROWS_PER_CHUNK = 8192


class _Identity(msgspec.Struct):
    """``manifest.json``: what the features and the text vectors were made with."""

    encoder: str = ""
    text_encoder: str = ""
    support: Literal["signed", "rectified"] = "signed"


def import_features(folder: Path, *, source: Path) -> dict[str, Any]:
    """Write a features folder (vocabulary, a store per split, ``text/`` where there are text vectors) from ``source``.

    Store rows are the source's rows, in its order. Without subject and object features of their own the union feature
    stands in (``entity_region`` "union"), and the relations table keeps both boxes as subject_x1 ... object_y2. Image
    files are unknown: file_name is "", or the id where that is a name; width and height are the largest box corner
    plus one. Raises WorkbenchError with all problems in one report. A killed import resumes to the same bytes.
    """
    folder, source = Path(folder), Path(source)
    if not source.is_dir():
        raise WorkbenchError(f"{source}: no such folder. Give the folder that holds train.npz, val.npz and test.npz.")
    problems: list[Problem] = []
    identity = _read_identity(source, problems)
    vocabulary = read_vocabulary(source, problems)
    files = {split: FileProblems(source / f"{split}.npz", problems) for split in SPLITS}
    read = {split: read_rows(file, vocabulary, identity.support) for split, file in files.items()}
    rows = {split: part for split, part in read.items() if part}
    text = _read_text(source, vocabulary, problems)
    names = check_together(files, rows)
    report = format_report(problems)
    if any(problem.severity == "error" for problem in problems):
        raise WorkbenchError(f"{source}: nothing was imported.\n{report}")
    if problems:
        print(report, flush=True)
    vocabulary.write(folder)
    for split in SPLITS:
        _write_store(folder / split, rows[split], identity, names)
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
        "warnings": report.splitlines() if problems else [],
    }


def _read_identity(source: Path, problems: list[Problem]) -> _Identity:
    file, identity = FileProblems(source / "manifest.json", problems), _Identity()
    if os.path.lexists(file.path):
        with noting_unreadable(file, "encoder and text_encoder (text), support (signed or rectified)"):
            content = file.path.read_bytes()
            identity = decoded(content, _Identity)
            note_repeated(content, "", file)
            note_unknown(file, decoded(content, dict), _Identity.__struct_fields__)
    name = f"imported:{source.resolve().name}"
    return _Identity(identity.encoder or name, identity.text_encoder or f"{name}/text", identity.support)


def _read_text(source: Path, vocabulary: Vocabulary, problems: list[Problem]) -> Rows:
    """Checked text vectors (classes, T) float32 by role; none where there are none of objects."""
    text: Rows = {}
    arrays = sorted(path.name for path in source.glob("*.npy"))
    note_unknown(FileProblems(source, problems), arrays, tuple(TEXT_FILES.values()))
    for role, name in TEXT_FILES.items():
        file = FileProblems(source / name, problems)
        if not os.path.lexists(file.path):
            if role == "object" and os.path.lexists(source / TEXT_FILES["relation"]):
                remedy = "Add the objects' vectors; relations alone are not enough."
                file.blocking("missing file", "whole file", "no file", "a file", remedy)
            continue
        dimension = text["object"].shape[1] if "object" in text else None
        lacking: Any = {"may_lack": role == "relation", "dimension": dimension}
        if (vectors := read_text_vectors(file, vocabulary.names(role), **lacking)) is not None:
            text[role] = vectors
    return text


def _write_store(folder: Path, rows: Rows, identity: _Identity, names: np.ndarray | None) -> None:
    dimension = rows["feature"].shape[1]
    if (folder / MANIFEST).exists():
        FeatureStore(folder, expect_encoder=identity.encoder, expect_dimension=dimension)
        return
    tables, features = _tables(rows, names)
    made: Any = {"dimension": dimension, "encoder": identity.encoder, "support": identity.support}
    region = "box" if "box_features" in features else "union"
    writer = FeatureStoreWriter(folder, tables=tables, entity_region=region, **made)
    for name, values in features.items():
        for start, stop in writer.missing(name, ROWS_PER_CHUNK):
            writer.write(name, start, values[start:stop])
            writer.flush()
    writer.finish()


def _tables(rows: Rows, names: np.ndarray | None) -> tuple[dict[str, pd.DataFrame], Rows]:
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
    named = "" if names is None else names[image_ids]
    images = pd.DataFrame({"image_id": image_ids, "file_name": named, "width": width, "height": height})
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
