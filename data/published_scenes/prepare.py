"""Adding a published data set: checked, read once, and kept as tables, with what upstream's releases lack."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from annotated_scenes.annotation_files import read_vocabulary
from annotated_scenes.annotations import (
    copy_synset_tables,
    detections_path,
    read_annotations,
    relations_path,
    splits_of,
)
from annotated_scenes.check import check_annotations
from annotated_scenes.text_vectors import read_text_vectors
from published_scenes.data_card import data_card
from published_scenes.known_data_sets import KNOWN, KnownDataSet, look_for, optional_places
from published_scenes.vrd import convert_vrd
from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, sha256_of_file, write_json
from workbench.language.config import TextConfig
from workbench.language.senses import table_gaps
from workbench.language.synset_tables import SYNSET_TABLES
from workbench.language.text_embedding import embed_class_names, write_class_vectors
from workbench.scenes.bands import count_classes
from workbench.scenes.problems import FileProblems, Problem, count_problems, format_report
from workbench.scenes.relations import RelationTables, write_relation_tables
from workbench.scenes.vocabulary import OBJECTS_FILE, ODD_NAMES, RELATIONS_FILE, Vocabulary

TRAIN_TRIPLETS = "rel_annotations_train.csv"
CHECKED, CARD, SOURCE, PROBLEMS, CONVERTED = "checked.json", "card.json", "source.json", "problems.txt", "annotations"
LARGEST_SHOWN = 5


def add_data_set(
    folder: Path, *, name: str, root: Path, image_folder: Path | None = None, validation_images: int = 0, seed: int = 0
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
    found = look_for(name, root, image_folder=image_folder)
    known, unpacked = found.known, found.annotation_folder
    if not found.usable or unpacked is None:
        raise WorkbenchError(f"{found.report()}\nNothing was added.")
    annotations, converting = unpacked, list[Problem]()
    if name == "vrd":
        annotations, drawn = folder / CONVERTED, {"validation_images": validation_images, "seed": seed}
        converting = convert_vrd(annotations, source=unpacked, images=found.image_folder, **drawn)
    elif validation_images:
        raise WorkbenchError(f"{known.title} has validation images of its own; leave validation_images at 0.")
    problems = _checked(folder, annotations, found.image_folder, converting)
    vocabulary = Vocabulary.read(annotations)
    places = (unpacked, unpacked.parent, found.root)
    gaps: list[str] = []
    if tables := [place for place in places if any((place / name).is_file() for name in SYNSET_TABLES)]:
        gaps = table_gaps(tables[0], vocabulary)  # refused before anything is added, not when a recogniser is measured
    vocabulary.write(folder)
    splits = {}
    for split in splits_of(annotations):
        print(f"{known.title}, {split}", flush=True)
        if not (folder / split / "tables.json").is_file():
            write_relation_tables(folder / split, read_annotations(annotations, split, found.image_folder).tables)
        splits[split] = RelationTables.open(folder / split)
    train = splits["train"].relations
    frequencies = write_upstream_files(folder, train, vocabulary, names=known.frequency_files, given=found.files)
    copy_synset_tables(folder, places)
    card = data_card(splits, vocabulary)
    write_json(folder / CARD, card)
    source = {
        "name": name,
        "title": known.title,
        "annotations": _absolute(unpacked),
        "images": _absolute(found.image_folder),
        "text": {kind: _absolute(found.files.get(file)) for kind, file in known.class_vectors.items()},
    }
    write_json(folder / SOURCE, source)
    return {
        **source,
        "splits": card["splits"],
        "object_classes": len(vocabulary.objects),
        "relation_classes": len(vocabulary.relations),
        "problems": problems,
        "frequencies": frequencies,
        "differs_from_published": found.warnings,
        **({"table_gaps": gaps} if gaps else {}),
    }


def add_with_text(
    folder: Path,
    *,
    data_set: str,
    source: Path,
    image_folder: Path | None = None,
    validation_images: int = 0,
    clip: TextConfig | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Stage builder: add the known ``data_set`` found under ``source``, and write ``folder/text`` where it can.

    The text vectors come from the published model of ``clip`` where it is given, else from word vectors
    that the data set brings (VRD's GloVe vectors); without either there is no text folder. Returns the counts.
    """
    # Looked at first: a refusal adds nothing.
    vectors = {} if clip is not None else _given_vectors(data_set, Path(source))
    metrics = add_data_set(
        folder, name=data_set, root=source, image_folder=image_folder, validation_images=validation_images, seed=seed
    )
    vocabulary, lists = Vocabulary.read(folder), metrics["text"]
    if clip is not None:
        metrics["text"] = embed_class_names(folder / "text", vocabulary_folder=folder, config=clip)
    elif vectors:
        encoder = ", ".join(Path(path).stem for path in lists.values())
        metrics["text"] = write_class_vectors(folder / "text", vocabulary=vocabulary, encoder=encoder, **vectors)
    else:
        metrics["text"] = no_text(KNOWN[data_set])
    return metrics


def _given_vectors(data_set: str, root: Path) -> dict[str, Any]:
    """The vectors of the data set's own lists, by kind; none where a list is missing. WorkbenchError with a report."""
    places, files = optional_places(KNOWN[data_set], root), KNOWN[data_set].class_vectors
    found = {kind: [place / name for place in places if os.path.lexists(place / name)] for kind, name in files.items()}
    if not found or not all(found.values()) or not places[0].is_dir():
        return {}
    problems: list[Problem] = []
    vocabulary = read_vocabulary(places[0], problems)
    read: dict[str, Any] = {}
    for kind, (path, *_) in found.items():
        dimension = read["objects"].shape[1] if read.get("objects") is not None else None
        file = FileProblems(path, problems)
        read[kind] = read_text_vectors(file, getattr(vocabulary, kind), dimension=dimension)
    if any(problem.blocks_reading for problem in problems):
        raise WorkbenchError(f"{root}: nothing was added.\n{format_report(problems)}")
    if problems:
        print(format_report(problems))
    return read


def no_text(known: KnownDataSet) -> str:
    """What to add where a data set has no text vectors, which the notebooks from 02 on need."""
    lists = " and ".join(known.class_vectors.values())
    either = f", or put {lists} (JSON, a vector each class) beside the annotations" if lists else ""
    return f"none: notebooks 02 to 06 need them. Give --clip-checkpoint FILE{either}, and add it again with --replace."


def _checked(folder: Path, annotations: Path, image_folder: Path | None, converting: list[Problem]) -> dict[str, Any]:
    """Check the annotations once: what was found in a check of the same bytes is taken from its record."""
    files = [annotations / OBJECTS_FILE, annotations / RELATIONS_FILE]
    files += [
        path(annotations, split) for split in splits_of(annotations) for path in (detections_path, relations_path)
    ]
    record = {path.name: sha256_of_file(path) for path in files} | {"images": _absolute(image_folder)}
    if (folder / CHECKED).is_file():
        stored = read_json(folder / CHECKED)
        if stored["files"] == record:
            return stored["problems"]
        raise WorkbenchError(f"{folder}: holds tables of other annotations. Delete the folder, or give another name.")
    problems = converting + check_annotations(annotations, image_folder, image_files=image_folder is not None)
    if annotations.parent == folder:  # converted: the names were looked at in their source
        problems = [one for one in problems if one.kind not in ODD_NAMES or Path(one.file).parent != annotations]
    report = format_report(problems)
    if any(problem.blocks_reading for problem in problems):
        raise WorkbenchError(f"{annotations}: nothing was added.\n{report}")
    if odd := [problem for problem in problems if problem.kind in ODD_NAMES]:
        print(format_report(odd))
    with atomic_path(folder / PROBLEMS) as temporary:
        # Files of our own are named as they will be found once the folder has its final name.
        temporary.write_text(report.replace(f"{folder}{os.sep}", "") + "\n", encoding="utf-8")
    kinds: Counter[str] = Counter()
    for problem in problems:
        kinds[f"{Path(problem.file).name}: {problem.kind}"] += problem.times
    summary = {
        "errors": count_problems(problems, "error"),
        "warnings": count_problems(problems, "warning"),
        "kinds": dict(kinds),
    }
    write_json(folder / CHECKED, {"files": record, "problems": summary})
    return summary


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


# How the frequency files of a release were counted (per box, per relation end, with duplicates) is not known, and
# rel_annotations_train.csv is missing from the released zips (LTVRR reference, 1.1 and 12).
def write_upstream_files(
    folder: Path, relations: pd.DataFrame, vocabulary: Vocabulary, *, names: tuple[str, str], given: Mapping[str, Path]
) -> dict[str, Any]:
    """Write the train ``relations`` as CSV and the two class frequency files, but for those that are ``given``.

    The CSV has the columns sbj_gt, obj_gt, rel_gt and holds class *names*, as the upstream evaluation looks them up by
    the names in a result table (7.1, 7.6). ``names`` are the frequency files of objects and relations, each an object
    from name to count; an object counts once for each relation it ends. Returns how given frequencies differ.
    """
    if TRAIN_TRIPLETS not in given:
        roles = {"sbj_gt": "subject", "obj_gt": "object", "rel_gt": "relation"}
        labels = {role: np.array(vocabulary.names(role), dtype=object) for role in roles.values()}
        table = pd.DataFrame({column: labels[role][relations[role].to_numpy()] for column, role in roles.items()})
        with atomic_path(Path(folder) / TRAIN_TRIPLETS) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
    counts, differences = count_classes(relations, vocabulary), {}
    for name, role in zip(names, ("object", "relation"), strict=True):
        of_class = dict(zip(vocabulary.names(role), counts.of_role(role).tolist(), strict=True))
        if name in given:
            differences[name] = compare_frequencies(given[name], of_class)
        else:
            write_json(Path(folder) / name, of_class)
    return differences


def compare_frequencies(path: Path, ours: dict[str, int]) -> dict[str, Any]:
    """How a frequency file that came with a data set differs from our counts of the classes, by name.

    Returns the number of ``classes``, how many ``differ`` (a name that the file lacks counts as 0 there), the number of
    ``unknown`` names in it, and the ``largest`` differences as {"name", "file", "ours"}. A difference is no error: the
    release's counting rule is not known. WorkbenchError where the file is no object of whole numbers.
    """
    given = read_json(path)
    if not isinstance(given, dict) or not all(type(count) is int for count in given.values()):
        raise WorkbenchError(f"{path}: not class frequencies. Expected an object from class name to a whole number.")
    differ = sorted((n for n in ours if ours[n] != given.get(n, 0)), key=lambda n: -abs(ours[n] - given.get(n, 0)))
    return {
        "classes": len(ours),
        "differ": len(differ),
        "unknown": len(given.keys() - ours.keys()),
        "largest": [{"name": n, "file": given.get(n, 0), "ours": ours[n]} for n in differ[:LARGEST_SHOWN]],
    }
