"""Random annotation folders in the LTVRR layout, small enough to check by hand-written loops."""

import json
from pathlib import Path

import numpy as np
import pytest

from workbench.scenes.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("man", "dog", "hat", "tree", "street"), ("on", "to the left of", "wearing"))
OBJECTS, RELATIONS = VOCABULARY.objects, VOCABULARY.relations


def write(path: Path, value) -> None:
    path.write_text(json.dumps(value))


def random_split(random: np.random.Generator, images: int, first_id: int) -> tuple[dict, dict]:
    """A detections file and a relations file; ids are shuffled, one image has no relations entry."""
    ids = [int(i) for i in first_id + random.permutation(images + 1)]
    sizes = {i: (int(random.integers(50, 300)), int(random.integers(50, 300))) for i in ids}
    coco = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": sizes[i][0], "height": sizes[i][1]} for i in ids],
        "annotations": [],
        "categories": [{"id": 3 * k + 1, "name": name} for k, name in enumerate(OBJECTS)],
    }
    by_name = {}
    for i in ids[:-1]:
        width, height = sizes[i]
        boxes = []
        for _ in range(int(random.integers(1, 6))):
            y1, x1 = int(random.integers(0, height - 2)), int(random.integers(0, width - 2))
            y2, x2 = int(random.integers(y1 + 1, height)), int(random.integers(x1 + 1, width))
            boxes.append({"bbox": [y1, y2, x1, x2], "category": int(random.integers(len(OBJECTS)))})
            box = {"bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1], "area": (x2 - x1 + 1) * (y2 - y1 + 1), "iscrowd": 0}
            coco["annotations"].append({"image_id": i, "category_id": 3 * boxes[-1]["category"] + 1, **box})
        ends = random.integers(len(boxes), size=(random.integers(1, 8), 2)).tolist()
        by_name[f"{i}.jpg"] = [
            {"subject": boxes[subject], "object": boxes[object_], "predicate": int(random.integers(len(RELATIONS)))}
            for subject, object_ in ends
        ]
    return coco, by_name


def write_annotations(folder: Path, seed: int = 0, images: int = 5) -> Path:
    """A folder of three random splits."""
    random = np.random.default_rng(seed)
    VOCABULARY.write(folder)
    for place, split in enumerate(("train", "val", "test")):
        coco, by_name = random_split(random, images, 1000 * (place + 1))
        write(folder / f"detections_{split}.json", coco)
        write(folder / f"rel_annotations_{split}.json", by_name)
    return folder


@pytest.fixture
def annotation_folder(tmp_path):
    """Make such a folder: ``annotation_folder(seed, images)``."""
    return lambda seed=0, images=5: write_annotations(tmp_path / f"annotations{seed}", seed, images)


def change(path: Path, function) -> None:
    """Change one JSON file in place."""
    value = json.loads(path.read_text())
    write(path, function(value) or value)
