"""A data set in numbers: what to know before its results are believed. All of it is counted, nothing is judged."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from annotated_scenes.annotations import Annotations
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS, Counts, band_of_class, count_classes
from workbench.scenes.relations import BOX_COLUMNS, RelationTables, outside_image, triplet_keys
from workbench.scenes.vocabulary import ROLES, SPLITS, Vocabulary

# Above 30 upstream jitters no boxes (LTVRR reference, 2.6); the scene encoder sees the first 100 (section 4).
MANY_RELATIONS = (30, 100)
Split = Annotations | RelationTables


def data_card(annotations_by_split: Mapping[str, Split], vocabulary: Vocabulary) -> dict[str, Any]:
    """The numbers of a data set as JSON values.

    "splits": for each split what `_split_numbers` counts. "classes": for "objects" and "relations" their number,
    the most and fewest train examples, their ratio over the classes that occur, the classes of each band, and the
    counts by falling frequency. "absent": for each role the classes without a train row, and those without a test row
    by band (bands over all classes by train frequency). "left_right": relation names that a mirrored image turns
    false (LTVRR reference, 8, no. 1).
    """
    splits = {split: annotations_by_split[split] for split in SPLITS if split in annotations_by_split}
    if "train" not in splits:
        raise WorkbenchError("A data card compares with train, which is missing. Read the split train too.")
    counts = count_classes(splits["train"].relations, vocabulary)
    return {
        "splits": {
            name: _split_numbers(split) | _triplet_numbers(split, splits["train"]) for name, split in splits.items()
        },
        "classes": {f"{kind}s": _class_numbers(counts.of_role(kind)) for kind in ("object", "relation")},
        "absent": {role: _absent(role, splits, vocabulary, counts) for role in ROLES},
        "left_right": [name for name in vocabulary.relations if re.search(r"\b(left|right)\b", name.lower())],
    }


def _split_numbers(split: Split) -> dict[str, int]:
    """Counts of images, relations and boxes.

    A degenerate box is one pixel wide or high (x2 <= x1 or y2 <= y1). A duplicate is a relation whose image, boxes and
    three classes occurred before. A pair is two boxes in their order.
    """
    per_image = np.bincount(split.relations["image"].to_numpy(), minlength=len(split.images))
    distinct = split.relations[["subject_box", "object_box", "relation"]].drop_duplicates()
    numbers = {
        "images": len(split.images),
        "images_without_relations": int((per_image == 0).sum()),
        "relations": len(split.relations),
        "duplicate_relations": len(split.relations) - len(distinct),
        "pairs_with_several_relations": int((distinct.groupby(["subject_box", "object_box"]).size() > 1).sum()),
    }
    numbers |= {f"images_above_{limit}_relations": int((per_image > limit).sum()) for limit in MANY_RELATIONS}
    boxes = split.boxes[BOX_COLUMNS].to_numpy()
    partly, wholly = outside_image(boxes, split.images[["width", "height"]].to_numpy()[split.boxes["image"].to_numpy()])
    return numbers | {
        "boxes": len(split.boxes),
        "degenerate_boxes": int((boxes[:, 2:] <= boxes[:, :2]).any(axis=1).sum()),
        "boxes_partly_outside": int(partly.sum()),
        "boxes_wholly_outside": int(wholly.sum()),
    }


def _triplet_numbers(split: Split, train: Split) -> dict[str, int]:
    here, known = (triplet_keys(*(some.relations[role] for role in ROLES)) for some in (split, train))
    triplets, rows = np.unique(here, return_counts=True)
    unseen = ~np.isin(triplets, known)
    return {
        "distinct_triplets": len(triplets),
        "triplets_unseen_in_train": int(unseen.sum()),
        "relations_with_unseen_triplet": int(rows[unseen].sum()),
    }


def _class_numbers(of_class: np.ndarray) -> dict[str, Any]:
    present, band = of_class[of_class > 0], band_of_class(of_class)
    return {
        "number": len(of_class),
        "most": int(of_class.max()),
        "fewest": int(of_class.min()),
        "imbalance_ratio": float(present.max() / present.min()) if len(present) else None,
        "bands": {name: int((band == name).sum()) for name in BANDS},
        "counts_by_rank": np.sort(of_class)[::-1].tolist(),
    }


def _absent(role: str, splits: Mapping[str, Split], vocabulary: Vocabulary, counts: Counts) -> dict[str, Any]:
    names = vocabulary.names(role)
    without = {
        split: np.bincount(found.relations[role].to_numpy(), minlength=len(names)) == 0
        for split, found in splits.items()
    }
    absent: dict[str, Any] = {"without_train_rows": [names[k] for k in np.flatnonzero(without["train"])]}
    if "test" in splits:
        band = band_of_class(counts.of_role(role))
        absent["without_test_rows"] = {name: int((without["test"] & (band == name)).sum()) for name in BANDS}
    return absent
