"""Adding a published data set: checked, read once, and kept as tables, with what upstream's releases lack."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, sha256_of_file, write_json
from workbench.scenes.annotations import (
    Annotations,
    copy_synset_tables,
    detections_path,
    image_folder_of,
    read_annotations,
    relations_path,
    splits_of,
)
from workbench.scenes.bands import count_classes
from workbench.scenes.check import check_annotations
from workbench.scenes.data_card import data_card
from workbench.scenes.data_search import FoundDataSet, MissingPart, look_for
from workbench.scenes.known_data_sets import GQA_FREQUENCIES, KNOWN, TRAIN_TRIPLETS, VRD, KnownDataSet
from workbench.scenes.problems import Problem, count_problems, format_report
from workbench.scenes.relations import RelationTables, write_relation_tables
from workbench.scenes.vocabulary import OBJECTS_FILE, RELATIONS_FILE, Vocabulary
from workbench.scenes.vrd import convert_vrd

__all__ = ["KNOWN", "FoundDataSet", "KnownDataSet", "MissingPart", "add_data_set", "look_for"]

_ROWS_PER_PIECE = 100_000
_SHOWN = 5
CHECKED, CARD, SOURCE, PROBLEMS, CONVERTED = "checked.json", "card.json", "source.json", "problems.txt", "annotations"
# One vector for each class, a JSON list in the order of the names, which VRD's redistributions bring.
VRD_VECTORS = {"objects": "vrd_objects-emb-glove-300.json", "relations": "vrd_predicates-emb-glove-300.json"}


def add_data_set(
    folder: Path,
    *,
    name: str,
    root: Path,
    image_folder: Path | None = None,
    validation_images: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Add the known data set ``name``, unpacked below ``root``, to ``folder``; returns its numbers.

    Written are the class names, ``<split>/`` tables, the upstream files and synset tables (copied byte for byte), the
    full report of the check (``problems.txt``), ``card.json``, ``source.json`` (places of annotations, images and
    class vectors) and, for VRD, the converted ``annotations/``. ``validation_images`` are drawn from VRD's train by
    ``seed``. Errors that make reading impossible, or files that are missing, are refused with the whole report; other
    errors and warnings are counted: real data have boxes outside their image, and upstream uses them. After a kill
    the finished splits are kept, unless the annotations changed, which is refused.
    """
    folder = Path(folder)
    found = look_for(name, root, image_folder=image_folder, read_files=False)
    unpacked = found.annotation_folder
    if not found.usable or unpacked is None:
        raise WorkbenchError(f"{found.report()}\nNothing was added.")
    annotations = unpacked
    if found.known.layout == VRD:
        annotations, drawn = folder / CONVERTED, {"validation_images": validation_images, "seed": seed}
        convert_vrd(annotations, source=unpacked, images=found.image_folder, **drawn)
    elif validation_images:
        raise WorkbenchError(f"{found.known.title} has validation images of its own; leave validation_images at 0.")
    problems = _checked(folder, annotations, found.image_folder)
    vocabulary = Vocabulary.read(annotations)
    vocabulary.write(folder)
    splits = {}
    for split in splits_of(annotations):
        print(f"{found.known.title}, {split}", flush=True)
        splits[split] = _split(folder / split, annotations, split, vocabulary, found.image_folder)
    frequencies = _upstream_files(folder, splits["train"], found)
    copy_synset_tables(folder, (unpacked, unpacked.parent, found.root))
    card = data_card(splits, vocabulary)
    write_json(folder / CARD, card)
    source = {
        "name": name,
        "title": found.known.title,
        "annotations": _absolute(unpacked),
        "images": _absolute(found.image_folder),
        "text": {kind: _absolute(found.file(name)) for kind, name in VRD_VECTORS.items()},
    }
    write_json(folder / SOURCE, source)
    return {
        **source,
        "splits": card["splits"],
        "object_classes": len(vocabulary.objects),
        "relation_classes": len(vocabulary.relations),
        "problems": problems,
        "frequencies": frequencies,
        "differs_from_published": _differences(found.known, vocabulary, splits, validation_images),
    }


def _checked(folder: Path, annotations: Path, image_folder: Path | None) -> dict[str, Any]:
    """Check the annotations once: what was found in a check of the same bytes is taken from its record."""
    splits = splits_of(annotations)
    files = [annotations / OBJECTS_FILE, annotations / RELATIONS_FILE]
    files += [path(annotations, split) for split in splits for path in (detections_path, relations_path)]
    record = {path.name: sha256_of_file(path) for path in files} | {"images": _absolute(image_folder)}
    if (folder / CHECKED).is_file():
        stored = read_json(folder / CHECKED)
        if stored["files"] == record:
            return stored["problems"]
        raise WorkbenchError(f"{folder}: holds tables of other annotations. Delete the folder, or give another name.")
    problems = check_annotations(annotations, image_folder, splits=splits, image_files=image_folder is not None)
    if any(problem.blocks_reading for problem in problems):
        raise WorkbenchError(f"{annotations}: nothing was added.\n{format_report(problems)}")
    with atomic_path(folder / PROBLEMS) as temporary:
        # Files of our own are named as they will be found once the folder has its final name.
        report = format_report(problems).replace(f"{folder}{os.sep}", "")
        temporary.write_text(report + "\n", encoding="utf-8")
    summary = _summary(problems)
    write_json(folder / CHECKED, {"files": record, "problems": summary})
    return summary


def _summary(problems: list[Problem]) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    for problem in problems:
        kinds[f"{Path(problem.file).name}: {problem.kind}"] += problem.times
    numbers = {f"{severity}s": count_problems(problems, severity) for severity in ("error", "warning")}
    return numbers | {"kinds": dict(kinds)}


def _split(
    place: Path, annotations: Path, split: str, vocabulary: Vocabulary, image_folder: Path | None
) -> Annotations:
    if (place / "tables.json").is_file():
        tables = RelationTables.open(place)
        folder_of_images = image_folder_of(annotations, image_folder)
        return Annotations(split, vocabulary, tables.images, tables.boxes, tables.relations, folder_of_images)
    found = read_annotations(annotations, split, image_folder)
    write_relation_tables(place, found)
    return found


def _upstream_files(folder: Path, train: Annotations, found: FoundDataSet) -> dict[str, Any]:
    """Make the upstream files that the source lacks; returns how those that it has differ from our counts."""
    names = found.known.frequency_files
    there = [name for name in (TRAIN_TRIPLETS, *names) if found.file(name) is not None]
    done = [name for name in (TRAIN_TRIPLETS, *names) if (folder / name).is_file()]
    write_upstream_files(folder, train, names=names, keep=there + done)
    counts = count_classes(train.relations, train.vocabulary)
    of_kind = ((counts.objects, train.vocabulary.objects), (counts.relations, train.vocabulary.relations))
    return {
        name: compare_frequencies(path, *kind)
        for name, kind in zip(names, of_kind, strict=True)
        if (path := found.file(name)) is not None
    }


def _differences(
    known: KnownDataSet, vocabulary: Vocabulary, splits: dict[str, Annotations], validation_images: int
) -> list[str]:
    """Class and image counts that are not the published ones, as text."""
    counted = [("object classes", len(vocabulary.objects), known.classes[0])]
    counted.append(("relation classes", len(vocabulary.relations), known.classes[1]))
    for split, published in known.images.items():
        if published is not None:
            drawn = validation_images if split == "train" else 0
            counted.append((f"images in {split}", len(splits[split].images), published - drawn))
    return [f"{what}: {here:,}, published {there:,}" for what, here, there in counted if here != there]


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


# How the frequency files of a release were counted (per box, per relation end, with duplicates) is not known, and
# rel_annotations_train.csv is missing from the released zips (LTVRR reference, 1.1 and 12).
def write_upstream_files(
    folder: Path, annotations: Annotations, *, names: tuple[str, str] = GQA_FREQUENCIES, keep: Sequence[str] = ()
) -> dict[str, Any]:
    """Write the train relations as CSV and the two class frequency files; returns the rows and the file names.

    ``annotations`` are those of train (or tables and a ``vocabulary``). The CSV has the columns sbj_gt, obj_gt, rel_gt
    and holds class *names*, as the upstream evaluation looks them up by the names in a result table (7.1, 7.6).
    ``names`` are the frequency files of objects and relations, each an object from name to count; an object counts
    once for each relation it ends. Files named in ``keep`` are left as they are.
    """
    folder, vocabulary, relations = Path(folder), annotations.vocabulary, annotations.relations
    written = [name for name in (TRAIN_TRIPLETS, *names) if name not in keep]
    if TRAIN_TRIPLETS in written:
        _write_triplets(folder / TRAIN_TRIPLETS, relations, vocabulary)
    counts = count_classes(relations, vocabulary)
    for name, of_class, classes in zip(
        names, (counts.objects, counts.relations), (vocabulary.objects, vocabulary.relations), strict=True
    ):
        if name in written:
            write_json(folder / name, dict(zip(classes, of_class.tolist(), strict=True)))
    return {"rows": len(relations), "written": written}


def compare_frequencies(path: Path, counts: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """How a frequency file that came with a data set differs from our ``counts`` (K,) of the classes ``names``.

    Returns the number of ``classes``, how many ``differ``, the number ``absent`` from the file (they count as 0 there)
    and of ``unknown`` names in it, and the ``largest`` differences as {"name", "file", "ours"}. A difference is no
    error: the release's counting rule is not known. WorkbenchError where the file is no object of whole numbers.
    """
    given = read_json(path)
    if not isinstance(given, dict) or not all(type(count) is int for count in given.values()):
        raise WorkbenchError(f"{path}: not class frequencies. Expected an object from class name to a whole number.")
    ours = np.asarray(counts, dtype=np.int64)
    theirs = np.array([given.get(name, 0) for name in names], dtype=np.int64)
    apart = np.abs(ours - theirs)
    order = np.argsort(-apart, kind="stable")[:_SHOWN]
    largest = [{"name": names[k], "file": int(theirs[k]), "ours": int(ours[k])} for k in order if apart[k]]
    return {
        "classes": len(names),
        "differ": int((apart > 0).sum()),
        "absent": sum(name not in given for name in names),
        "unknown": len(set(given) - set(names)),
        "largest": largest,
    }


def _write_triplets(path: Path, relations: Any, vocabulary: Vocabulary) -> None:
    columns = [
        np.array(vocabulary.names(role), dtype=object)[relations[role].to_numpy()]
        for role in ("subject", "object", "relation")
    ]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sbj_gt", "obj_gt", "rel_gt"))
        for start in range(0, len(relations), _ROWS_PER_PIECE):
            writer.writerows(zip(*(column[start : start + _ROWS_PER_PIECE] for column in columns), strict=True))
