"""A small annotated data set in the LTVRR layout, with real image files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHAPES = [(64, 64), (64, 80), (70, 48)]  # height, width


def write_small_scenes(folder: Path, images_per_split: dict[str, int], *, one_shape: bool = False, seed: int = 0):
    """Coloured squares on noise; the class is the colour, so that a few steps of training can learn it."""
    rng = np.random.default_rng(seed)
    colours = np.array([[230, 30, 30], [30, 230, 30], [40, 40, 240], [230, 230, 30], [30, 220, 220]])
    (folder / "images").mkdir(parents=True)
    (folder / "objects.json").write_text(json.dumps(["cup", "dog", "car", "kite", "lamp"]))
    (folder / "predicates.json").write_text(json.dumps(["on", "near"]))
    for place, (split, count) in enumerate(images_per_split.items()):
        images, by_file = [], {}
        for number in range(count):
            height, width = SHAPES[0 if one_shape else number % len(SHAPES)]
            pixels, ends = rng.integers(90, 150, (height, width, 3)), []
            for category in rng.choice(5, size=3, p=[0.4, 0.3, 0.2, 0.05, 0.05]).tolist():
                x, y = (int(rng.integers(0, side - 24)) for side in (width, height))
                pixels[y : y + 22, x : x + 22] = colours[category] + rng.integers(-20, 20, 3)
                ends.append({"bbox": [y, y + 21, x, x + 21], "category": category})
            name = f"{split}_{number:03d}.jpg"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / name, quality=95)
            images.append({"id": 1000 * place + number, "file_name": name, "width": width, "height": height})
            by_file[name] = [
                {"subject": ends[first], "object": ends[second], "predicate": int(rng.integers(2))}
                for first, second in ((0, 1), (1, 2), (0, 1))
            ]
        coco = {"images": images, "annotations": [], "categories": []}
        (folder / f"detections_{split}.json").write_text(json.dumps(coco))
        (folder / f"rel_annotations_{split}.json").write_text(json.dumps(by_file))
    return folder


@pytest.fixture(scope="session")
def small_scenes(tmp_path_factory) -> Path:
    """Three splits of images of three shapes."""
    return write_small_scenes(tmp_path_factory.mktemp("small") / "scenes", {"train": 23, "val": 7, "test": 5})


@pytest.fixture
def new_small_scenes(tmp_path):
    """Write a data set of one's own: ``new_small_scenes({"train": 4})``."""
    return lambda counts, **options: write_small_scenes(tmp_path / "scenes", counts, **options)
