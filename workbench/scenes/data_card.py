"""A data set in numbers: what to know before its results are believed. All of it is counted, nothing is judged."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.scenes.annotations import Annotations
from workbench.scenes.bands import BANDS, band_of_class, count_classes
from workbench.scenes.relations import BOX_COLUMNS, RelationTables, triplet_keys
from workbench.scenes.vocabulary import ROLES, SPLITS, Vocabulary

# Above 30 upstream jitters no boxes (LTVRR reference, 2.6); the scene encoder sees the first 100 (section 4).
MANY_RELATIONS = (30, 100)
Split = Annotations | RelationTables


def data_card(annotations_by_split: Mapping[str, Split], vocabulary: Vocabulary) -> dict[str, Any]:
    """The numbers of a data set as JSON values.

    "splits": for each split what :func:`_split_numbers` counts. "classes": for "objects" and "relations" their number,
    the most and fewest train examples, their ratio over the classes that occur, the classes of each band, and the
    counts by falling frequency. "absent": for each role the classes without a train row, and those without a test row
    by band (bands over all classes by train frequency). "left_right": relation names that a mirrored image turns
    false (LTVRR reference, 8, no. 1).
    """
    splits = {split: annotations_by_split[split] for split in SPLITS if split in annotations_by_split}
    if "train" not in splits:
        raise WorkbenchError("A data card compares with train, which is missing. Read the split train too.")
    triplets = {split: _distinct_triplets(annotations) for split, annotations in splits.items()}
    return {
        "splits": {
            split: _split_numbers(annotations) | _triplet_numbers(triplets[split], triplets["train"])
            for split, annotations in splits.items()
        },
        "classes": _classes(splits["train"], vocabulary),
        "absent": _absent(splits, vocabulary),
        "left_right": [name for name in vocabulary.relations if re.search(r"\b(left|right)\b", name.lower())],
    }


def _split_numbers(annotations: Split) -> dict[str, int]:
    """Counts of images, relations and boxes.

    A degenerate box is one pixel wide or high (x2 <= x1 or y2 <= y1). A duplicate is a relation whose image, boxes and
    three classes occurred before. A pair is two boxes in their order.
    """
    images, boxes, relations = annotations.images, annotations.boxes, annotations.relations
    per_image = np.bincount(relations["image"].to_numpy(), minlength=len(images))
    several, duplicates = _repeated_pairs(relations["subject_box"], relations["object_box"], relations["relation"])
    numbers = {
        "images": len(images),
        "images_without_relations": int((per_image == 0).sum()),
        "relations": len(relations),
        "duplicate_relations": duplicates,
        "pairs_with_several_relations": several,
    }
    numbers |= {f"images_above_{limit}_relations": int((per_image > limit).sum()) for limit in MANY_RELATIONS}
    x1, y1, x2, y2 = boxes[BOX_COLUMNS].to_numpy().T
    width, height = images[["width", "height"]].to_numpy()[boxes["image"].to_numpy()].T
    wholly = (x1 > width - 1) | (y1 > height - 1) | (x2 < 0) | (y2 < 0)
    within = (x1 >= 0) & (y1 >= 0) & (x2 <= width - 1) & (y2 <= height - 1)
    return numbers | {
        "boxes": len(boxes),
        "degenerate_boxes": int(((x2 <= x1) | (y2 <= y1)).sum()),
        "boxes_partly_outside": int((~within & ~wholly).sum()),
        "boxes_wholly_outside": int(wholly.sum()),
    }


def _repeated_pairs(subject_box: Any, object_box: Any, relation: Any) -> tuple[int, int]:
    """How many pairs have more than one relation class, and how many relations are repeats of an earlier one."""
    subject_box, object_box, relation = (
        np.asarray(column, dtype=np.int64) for column in (subject_box, object_box, relation)
    )
    order = np.lexsort((relation, object_box, subject_box))
    subject_box, object_box, relation = subject_box[order], object_box[order], relation[order]
    new_pair = np.ones(len(order), dtype=bool)
    new_pair[1:] = (subject_box[1:] != subject_box[:-1]) | (object_box[1:] != object_box[:-1])
    new_relation = new_pair.copy()
    new_relation[1:] |= relation[1:] != relation[:-1]
    classes_of_pair = np.bincount(np.cumsum(new_pair)[new_relation] - 1)
    return int((classes_of_pair > 1).sum()), int((~new_relation).sum())


def _distinct_triplets(annotations: Split) -> tuple[np.ndarray, np.ndarray]:
    """The keys of the distinct triplets of classes, ascending, and their rows: two (n,) int64."""
    return np.unique(triplet_keys(*(annotations.relations[role] for role in ROLES)), return_counts=True)


def _triplet_numbers(here: tuple[np.ndarray, np.ndarray], train: tuple[np.ndarray, np.ndarray]) -> dict[str, int]:
    (triplets, rows), (known, _) = here, train
    unseen = ~np.isin(triplets, known, assume_unique=True)
    return {
        "distinct_triplets": len(triplets),
        "triplets_unseen_in_train": int(unseen.sum()),
        "relations_with_unseen_triplet": int(rows[unseen].sum()),
    }


def _classes(train: Split, vocabulary: Vocabulary) -> dict[str, Any]:
    counts = count_classes(train.relations, vocabulary)
    numbers = {}
    for kind in ("objects", "relations"):
        of_class = getattr(counts, kind)
        present, band = of_class[of_class > 0], band_of_class(of_class)
        numbers[kind] = {
            "number": len(of_class),
            "most": int(of_class.max()),
            "fewest": int(of_class.min()),
            "imbalance_ratio": float(present.max() / present.min()) if len(present) else None,
            "bands": {name: int((band == name).sum()) for name in BANDS},
            "counts_by_rank": np.sort(of_class)[::-1].tolist(),
        }
    return numbers


def _absent(splits: Mapping[str, Split], vocabulary: Vocabulary) -> dict[str, Any]:
    counts = count_classes(splits["train"].relations, vocabulary)
    absent: dict[str, Any] = {}
    for role in ROLES:
        names, band = vocabulary.names(role), band_of_class(counts.of_role(role))
        absent[role] = {"without_train_rows": _names_of(names, _without_rows(splits["train"], role, len(names)))}
        if "test" in splits:
            without = _without_rows(splits["test"], role, len(names))
            absent[role]["without_test_rows"] = {name: int((without & (band == name)).sum()) for name in BANDS}
    return absent


def _without_rows(split: Split, role: str, classes: int) -> np.ndarray:
    return np.bincount(split.relations[role].to_numpy(), minlength=classes) == 0


def _names_of(names: tuple[str, ...], chosen: np.ndarray) -> list[str]:
    return [names[k] for k in np.flatnonzero(chosen)]
