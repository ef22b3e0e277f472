"""A small annotated data set in the LTVRR layout, with real image files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHAPES = [(64, 64), (64, 80), (70, 48)]  # height, width


def write_names(folder: Path, objects: list[str], relations: list[str]) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "objects.json").write_text(json.dumps(objects))
    (folder / "predicates.json").write_text(json.dumps(relations))


def write_split(folder: Path, split: str, first_id: int, images: dict[str, tuple]) -> None:
    """By file name: pixels, boxes (class, x1, y1, x2, y2), and relations (place of a box, class, place of a box)."""
    coco = {"images": [], "annotations": [], "categories": []}
    by_file = {}
    for image_id, (name, (pixels, boxes, relations)) in enumerate(images.items(), start=first_id):
        options = {"quality": 95} if name.endswith(".jpg") else {}
        Image.fromarray(pixels).save(folder / "images" / name, **options)
        height, width = pixels.shape[:2]
        coco["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        ends = [{"bbox": [y1, y2, x1, x2], "category": category} for category, x1, y1, x2, y2 in boxes]
        by_file[name] = [{"subject": ends[s], "object": ends[o], "predicate": r} for s, r, o in relations]
    (folder / f"detections_{split}.json").write_text(json.dumps(coco))
    (folder / f"rel_annotations_{split}.json").write_text(json.dumps(by_file))


def write_small_scenes(folder: Path, images_per_split: dict[str, int], *, one_shape: bool = False, seed: int = 0):
    """Coloured squares on noise; the class is the colour, so that a few steps of training can learn it."""
    rng = np.random.default_rng(seed)
    colours = np.array([[230, 30, 30], [30, 230, 30], [40, 40, 240], [230, 230, 30], [30, 220, 220]])
    write_names(folder, ["cup", "dog", "car", "kite", "lamp"], ["on", "near"])
    for place, (split, count) in enumerate(images_per_split.items()):
        images = {}
        for number in range(count):
            height, width = SHAPES[0 if one_shape else number % len(SHAPES)]
            pixels, boxes = rng.integers(90, 150, (height, width, 3)), []
            for category in rng.choice(5, size=3, p=[0.4, 0.3, 0.2, 0.05, 0.05]).tolist():
                x, y = (int(rng.integers(0, side - 24)) for side in (width, height))
                pixels[y : y + 22, x : x + 22] = colours[category] + rng.integers(-20, 20, 3)
                boxes.append((category, x, y, x + 21, y + 21))
            relations = [(s, int(rng.integers(2)), o) for s, o in ((0, 1), (1, 2), (0, 1))]
            images[f"{split}_{number:03d}.jpg"] = pixels.clip(0, 255).astype(np.uint8), boxes, relations
        write_split(folder, split, 1000 * place, images)
    return folder


@pytest.fixture(scope="session")
def small_scenes(tmp_path_factory) -> Path:
    """Three splits of images of three shapes."""
    return write_small_scenes(tmp_path_factory.mktemp("small") / "scenes", {"train": 23, "val": 7, "test": 5})


@pytest.fixture
def new_small_scenes(tmp_path):
    """Write a data set of one's own: ``new_small_scenes({"train": 4})``."""
    return lambda counts, **options: write_small_scenes(tmp_path / "scenes", counts, **options)
