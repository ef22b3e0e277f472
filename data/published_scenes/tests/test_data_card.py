import json
from collections import Counter

import numpy as np
import pytest

from annotated_scenes.annotations import read_annotations
from published_scenes.data_card import data_card
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS, band_of_class
from workbench.scenes.relations import RelationTables, write_relation_tables
from workbench.scenes.vocabulary import SPLITS


def card_of(folder, splits=SPLITS):
    annotations = {split: read_annotations(folder, split) for split in splits}
    return data_card(annotations, annotations["train"].vocabulary), annotations


def plain_numbers(folder, split, known):
    """The same numbers by loops over the JSON."""
    images = {i["file_name"]: i for i in json.loads((folder / f"detections_{split}.json").read_text())["images"]}
    by_name = json.loads((folder / f"rel_annotations_{split}.json").read_text())
    numbers, seen, classes_of_pair, boxes, triplets = Counter(), set(), {}, {}, Counter()
    numbers["images"] = len(by_name)
    for name, relations in by_name.items():
        numbers["images_without_relations"] += not relations
        for limit in (30, 100):
            numbers[f"images_above_{limit}_relations"] += len(relations) > limit
        for relation in relations:
            ends = [(name, *relation[role]["bbox"], relation[role]["category"]) for role in ("subject", "object")]
            key = (*ends, relation["predicate"])
            numbers["relations"] += 1
            numbers["duplicate_relations"] += key in seen
            seen.add(key)
            classes_of_pair.setdefault(tuple(ends), set()).add(relation["predicate"])
            triplets[ends[0][-1], relation["predicate"], ends[1][-1]] += 1
            boxes |= dict.fromkeys(ends, images[name])
    numbers["pairs_with_several_relations"] = sum(len(found) > 1 for found in classes_of_pair.values())
    numbers["boxes"] = len(boxes)
    for (_, y1, y2, x1, x2, _), image in boxes.items():
        right, bottom = image["width"] - 1, image["height"] - 1
        numbers["degenerate_boxes"] += x1 == x2 or y1 == y2
        if x1 > right or y1 > bottom or x2 < 0 or y2 < 0:
            numbers["boxes_wholly_outside"] += 1
        elif x1 < 0 or y1 < 0 or x2 > right or y2 > bottom:
            numbers["boxes_partly_outside"] += 1
    known = triplets if known is None else known
    numbers["distinct_triplets"] = len(triplets)
    numbers["triplets_unseen_in_train"] = sum(triplet not in known for triplet in triplets)
    numbers["relations_with_unseen_triplet"] = sum(n for triplet, n in triplets.items() if triplet not in known)
    return numbers, triplets


def spoil(folder, seed):
    """Shift boxes beyond the image, thin some, repeat relations, and make one image long."""
    random = np.random.default_rng(seed)

    def shifted(end):
        y1, y2, x1, x2 = end["bbox"]
        move, thin = int(random.choice([-400, -20, 0, 0, 0, 30, 900])), random.random() < 0.2
        return {**end, "bbox": [y1, y1 if thin else y2, x1 + move, x2 + move]}

    for split in SPLITS:
        path = folder / f"rel_annotations_{split}.json"
        by_name = json.loads(path.read_text())
        for relations in by_name.values():
            relations[:] = [{**r, "subject": shifted(r["subject"])} for r in relations]
            again = [relations[int(random.integers(len(relations)))] for _ in range(int(random.integers(4)))]
            relations += [{**r, "predicate": int(random.integers(3))} for r in again]
        names = list(by_name)
        by_name[names[0]] *= 40
        by_name[names[1]] = []
        path.write_text(json.dumps(by_name))


@pytest.mark.parametrize(("seed", "images"), [(0, 3), (1, 8), (2, 40)])
def test_numbers_equal_plain_loops(annotation_folder, seed, images):
    folder = annotation_folder(seed, images)
    spoil(folder, seed)
    card, _ = card_of(folder)
    known = None
    for split in SPLITS:
        numbers, triplets = plain_numbers(folder, split, known)
        known = triplets if known is None else known
        assert card["splits"][split] == {key: numbers[key] for key in card["splits"][split]}
    assert card == json.loads(json.dumps(card))
    assert card["left_right"] == ["to the left of"]


def test_classes_and_bands(annotation_folder):
    card, annotations = card_of(annotation_folder(4, 20))
    train, test = (annotations[split].relations for split in ("train", "test"))
    counts = np.bincount(np.concatenate([train["subject"], train["object"]]), minlength=5)
    numbers = card["classes"]["objects"]
    assert numbers["counts_by_rank"] == sorted(counts.tolist(), reverse=True)
    assert (numbers["number"], numbers["most"], numbers["fewest"]) == (5, counts.max(), counts.min())
    assert numbers["imbalance_ratio"] == counts.max() / counts[counts > 0].min()
    assert sum(numbers["bands"].values()) == 5
    for role in ("subject", "object"):
        band = band_of_class(counts)
        lacking = [k for k in range(5) if k not in set(test[role])]
        assert card["absent"][role]["without_test_rows"] == {b: sum(band[k] == b for k in lacking) for b in BANDS}


def test_tables_on_disk_and_splits_that_are_absent(annotation_folder, tmp_path):
    folder = annotation_folder(5, 6)
    card, annotations = card_of(folder, ("train",))
    assert list(card["splits"]) == ["train"] and "without_test_rows" not in card["absent"]["subject"]
    write_relation_tables(tmp_path / "train", annotations["train"].tables)
    again = data_card({"train": RelationTables.open(tmp_path / "train")}, annotations["train"].vocabulary)
    assert again == card
    with pytest.raises(WorkbenchError, match="train"):
        data_card({}, annotations["train"].vocabulary)


def test_the_upstream_fixture(reference_fixtures):
    card, _ = card_of(reference_fixtures / "annotations/gvqa/seed0")
    assert card["splits"]["train"]["images_above_30_relations"] == 1
    assert card["splits"]["train"]["duplicate_relations"] >= 1
    assert card["splits"]["train"]["pairs_with_several_relations"] >= 1
