"""Files that the LTVRR scripts read beside the annotations, made from the annotations where a release lacks them.

``rel_annotations_train.csv`` is missing from the released zips; how the frequency files of a release were counted
(per box, per relation end, with duplicates) is not known (LTVRR reference, 1.1 and 12).
"""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.scenes.annotations import Annotations
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import Vocabulary

TRAIN_TRIPLETS = "rel_annotations_train.csv"
# The names for objects and relations; VG8K-LT has others than GQA-LT.
GQA_FREQUENCIES = ("objects_freqs.json", "predicates_freqs.json")
VG8K_FREQUENCIES = ("train_objects_freqs.json", "train_predicates_freqs.json")
SYNSET_TABLES = ("objects_synsets.csv", "predicates_synsets.csv", "words_synsets.json")
_ROWS_PER_PIECE = 100_000
_SHOWN = 5


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


def copy_synset_tables(folder: Path, places: Sequence[Path]) -> None:
    """Copy each synset table (LTVRR reference, 1.1) from the first of ``places`` that has it, unless it is there."""
    for name in SYNSET_TABLES:
        source = next((Path(place) / name for place in places if (Path(place) / name).is_file()), None)
        if source is not None and not (Path(folder) / name).is_file():
            with atomic_path(Path(folder) / name) as temporary:
                shutil.copyfile(source, temporary)


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
