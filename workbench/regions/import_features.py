"""Importing ready-made region features: npz rows and names in, a features folder out.

The source folder holds ``train.npz``, ``val.npz``, ``test.npz`` (see ``workbench.regions.import_rows``),
``objects.json`` and ``predicates.json``; optionally ``objects_clip_text.npy`` (C, T) and ``predicates_clip_text.npy``
(R, T; a relation without a vector is a row of NaN), and ``manifest.json`` with any of ``encoder``, ``text_encoder``
and ``support``.
"""

from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import read_json, save_array, write_json
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import MANIFEST, SUPPORTS, FeatureStore
from workbench.regions.import_rows import ROWS_PER_CHUNK, SplitRows, read_rows, tables_of_rows
from workbench.scenes.annotation_files import read_class_names
from workbench.scenes.problems import FileProblems, Problem, format_report
from workbench.scenes.vocabulary import ROLES, SPLITS, Vocabulary

SOURCE_MANIFEST = "manifest.json"
OBJECT_TEXT, RELATION_TEXT = "objects_clip_text.npy", "predicates_clip_text.npy"


def import_features(folder: Path, *, source: Path) -> dict:
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
    identity = _source_identity(source, problems)
    vocabulary = _vocabulary(source, problems)
    files = {split: FileProblems(source / f"{split}.npz", problems) for split in SPLITS}
    read = {split: read_rows(file, vocabulary, identity["support"]) for split, file in files.items()}
    rows = {split: part for split, part in read.items() if part is not None}
    text = _text_vectors(source, vocabulary, problems)
    _check_together(source, rows, problems)
    if vocabulary is None or any(problem.severity == "error" for problem in problems):
        raise WorkbenchError(f"{source}: nothing was imported.\n{format_report(problems)}")
    vocabulary.write(folder)
    for split in SPLITS:
        _write_store(folder / split, rows[split], identity["encoder"], identity["support"])
    if text:
        _write_text(folder / "text", text, identity["text_encoder"])
    return _summary(rows, vocabulary, text, identity, problems)


def _source_identity(source: Path, problems: list[Problem]) -> dict[str, str]:
    name = f"imported:{source.resolve().name}"
    identity = {"encoder": name, "text_encoder": f"{name}/text", "support": "signed"}
    path = source / SOURCE_MANIFEST
    if not path.exists():
        return identity
    file = FileProblems(path, problems)
    try:
        given = read_json(path)
    except WorkbenchError as error:
        file.blocking("broken JSON", "whole file", str(error), "JSON", "Write the file again, or remove it.")
        return identity
    given = given if isinstance(given, dict) else {"whole file": given}
    for key, value in given.items():
        if key in identity and isinstance(value, str) and value and (key != "support" or value in SUPPORTS):
            identity[key] = value
        elif key in (*identity, "whole file"):
            expected = " or ".join(SUPPORTS) if key == "support" else "text"
            file.blocking("wrong type", key, repr(value), expected, "Correct the manifest, or remove it.")
    return identity


def _vocabulary(source: Path, problems: list[Problem]) -> Vocabulary | None:
    names = read_class_names(source, problems)
    objects, relations = names["subject"], names["relation"]
    return Vocabulary(tuple(objects), tuple(relations)) if objects and relations else None


def _text_vectors(source: Path, vocabulary: Vocabulary | None, problems: list[Problem]) -> dict[str, np.ndarray] | None:
    """Checked text vectors: "objects" (C, T) and perhaps "relations" (R, T) float32; None where there are none."""
    text = {}
    for role, name in (("object", OBJECT_TEXT), ("relation", RELATION_TEXT)):
        file = FileProblems(source / name, problems)
        if not file.path.exists():
            continue
        try:
            vectors = np.load(file.path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            file.blocking("unreadable file", "whole file", str(error), "an npy array of numbers", "Export it again.")
            continue
        if _text_fits(file, vectors, len(vocabulary.names(role)) if vocabulary else None, role == "relation"):
            text[f"{role}s"] = vectors.astype(np.float32)
    if "relations" in text and "objects" in text and text["relations"].shape[1] != text["objects"].shape[1]:
        found, expected = str(text["relations"].shape[1]), f"{text['objects'].shape[1]} as in {OBJECT_TEXT}"
        FileProblems(source / RELATION_TEXT, problems).blocking(
            "dimensions differ", "whole file", found, expected, "Embed both lists of names with one encoder."
        )
    if "relations" in text and not (source / OBJECT_TEXT).exists():
        remedy = "Add the objects' vectors; relations alone are not enough."
        FileProblems(source / OBJECT_TEXT, problems).blocking("missing file", "whole file", "no file", "a file", remedy)
    return text if "objects" in text else None


def _text_fits(file: FileProblems, vectors: np.ndarray, classes: int | None, rows_may_lack: bool) -> bool:
    remedy = "Give one row for each name, in the order of the names."
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size or len(vectors) != (classes or len(vectors)):
        expected = f"({classes if classes else 'names'}, T) floating"
        file.blocking("wrong shape", "whole file", f"{vectors.shape} {vectors.dtype}", expected, remedy)
        return False
    bad = ~np.isfinite(vectors.astype(np.float32)).all(axis=1)
    if rows_may_lack:
        bad &= ~np.isnan(vectors).all(axis=1)
    if bad.any():
        remedy = "Embed this name again" + ("; a row of NaN marks a name without a vector." if rows_may_lack else ".")
        file.blocking("non-finite number", f"row {np.flatnonzero(bad)[0]}", "nan or inf", "finite numbers", remedy)
        return False
    return True


def _check_together(source: Path, rows: dict[str, SplitRows], problems: list[Problem]) -> None:
    """What only shows between splits: one dimension, the same keys, no shared images."""
    if not rows:
        return
    first, reference = next(iter(rows.items()))
    for part in rows.values():
        file = FileProblems(part.path, problems)
        if part.dimension != reference.dimension:
            expected, remedy = f"{reference.dimension} as in {first}", "Use one encoder for all splits."
            file.blocking("dimensions differ", "feature", str(part.dimension), expected, remedy)
        if part.has_entity_features != reference.has_entity_features:
            remedy = "Give subject and object features in all splits or in none."
            file.blocking("keys differ", "entity features", "not as in the first split", f"as in {first}", remedy)
    splits = list(rows)
    for place, split in enumerate(splits):
        for other in splits[:place]:
            shared = np.intersect1d(rows[split].arrays["image_id"], rows[other].arrays["image_id"])
            if len(shared):
                found = f"{len(shared):,} images of {other} too, such as {shared[0]}"
                remedy = "Keep an image in one split: what is trained on must not be tested on."
                file = FileProblems(source / f"{split}.npz", problems)
                file.warning("image in two splits", "image_id", found, "images of its own", remedy)


def _write_store(folder: Path, rows: SplitRows, encoder: str, support: str) -> None:
    if (folder / MANIFEST).exists():
        FeatureStore.open(folder, expect_encoder=encoder, expect_dimension=rows.dimension)
        return
    images, boxes, relations, first_use = tables_of_rows(rows)
    writer = FeatureStoreWriter(
        folder,
        images=images,
        boxes=boxes,
        relations=relations,
        dimension=rows.dimension,
        encoder=encoder,
        support=support,
        entity_region="box" if rows.has_entity_features else "union",
    )
    for start in range(writer.leading("union_features"), len(rows), ROWS_PER_CHUNK):
        writer.write("union_features", start, rows.arrays["feature"][start : start + ROWS_PER_CHUNK])
        writer.flush()
    if rows.has_entity_features:
        ends = np.stack([rows.arrays["subject_feature"], rows.arrays["object_feature"]], axis=1)  # (N, 2, D)
        ends = ends.reshape(-1, rows.dimension)
        for start in range(writer.leading("box_features"), len(boxes), ROWS_PER_CHUNK):
            writer.write("box_features", start, ends[first_use[start : start + ROWS_PER_CHUNK]])
            writer.flush()
    writer.finish()


def _write_text(folder: Path, text: dict[str, np.ndarray], encoder: str) -> None:
    """A text folder of class vectors; relations without a vector are left for the language room to learn."""
    save_array(folder / "object_embeddings.npy", text["objects"])
    lacking = True
    if "relations" in text:
        save_array(folder / "relation_embeddings.npy", text["relations"])
        lacking = bool(np.isnan(text["relations"]).any())
    dimension = text["objects"].shape[1]
    manifest = {"encoder": encoder, "kind": "vectors", "learned_relations": lacking, "dimension": dimension}
    write_json(folder / "text.json", manifest)


def _summary(
    rows: dict[str, SplitRows],
    vocabulary: Vocabulary,
    text: dict[str, np.ndarray] | None,
    identity: dict[str, str],
    problems: list[Problem],
) -> dict[str, Any]:
    absent = {}
    for role in ROLES:
        in_train = np.unique(rows["train"].arrays[role])
        elsewhere = np.unique(np.concatenate([rows[split].arrays[role] for split in SPLITS[1:]]))
        absent[role] = [vocabulary.names(role)[k] for k in np.setdiff1d(elsewhere, in_train)]
    return {
        "encoder": identity["encoder"],
        "support": identity["support"],
        "dimension": rows["train"].dimension,
        "entity_region": "box" if rows["train"].has_entity_features else "union",
        "splits": list(rows),
        "relations": {split: len(part) for split, part in rows.items()},
        "images": {split: len(np.unique(part.arrays["image_id"])) for split, part in rows.items()},
        "relation_classes_in_train": len(np.unique(rows["train"].arrays["relation"])),
        "absent_from_train": absent,
        "text_dimension": text["objects"].shape[1] if text else None,
        "relations_with_text": text is not None and "relations" in text,
        "warnings": format_report(problems).splitlines() if problems else [],
    }
