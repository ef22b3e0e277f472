"""A small annotated data set in the LTVRR layout, with real image files, and a source of features to import."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.scenes.vocabulary import SPLITS, Vocabulary

SHAPES = [(64, 64), (64, 80), (70, 48)]  # height, width
OBJECTS, RELATIONS = ("man", "dog", "hat", "tree"), ("on", "wearing", "near")  # of features to import


def write_small_scenes(folder: Path, images_per_split: dict[str, int], *, one_shape: bool = False, seed: int = 0):
    """Coloured squares on noise; the class is the colour, so that a few steps of training can learn it."""
    rng = np.random.default_rng(seed)
    colours = np.array([[230, 30, 30], [30, 230, 30], [40, 40, 240], [230, 230, 30], [30, 220, 220]])
    (folder / "images").mkdir(parents=True)
    Vocabulary(("cup", "dog", "car", "kite", "lamp"), ("on", "near")).write(folder)
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


def random_rows(random: np.random.Generator, rows: int, dimension: int, first_image: int, own: bool) -> dict:
    arrays = {"image_id": (first_image + random.integers(0, 5, rows)).astype(np.int32)}
    for role, names in (("subject", OBJECTS), ("relation", RELATIONS), ("object", OBJECTS)):
        arrays[role] = random.integers(0, len(names), rows).astype(np.int16)
    for role in ("subject", "object"):
        low = random.integers(0, 50, (rows, 2))
        arrays[f"{role}_box"] = np.concatenate([low, low + random.integers(0, 50, (rows, 2))], axis=1).astype(np.int16)
    for key in ("feature", *(("subject_feature", "object_feature") if own else ())):
        arrays[key] = random.standard_normal((rows, dimension)).astype(np.float16)
    return arrays


def write_source(folder: Path, seed: int = 0, rows: int = 20, dimension: int = 6, own: bool = False):
    """A random source of features to import; returns it and its arrays by split."""
    random, splits = np.random.default_rng(seed), {}
    Vocabulary(OBJECTS, RELATIONS).write(folder)
    for place, split in enumerate(SPLITS):
        splits[split] = random_rows(random, rows, dimension, 100 * place, own)
        np.savez(folder / f"{split}.npz", **splits[split])
    return folder, splits


def text_vectors(source: Path, relations=None) -> np.ndarray:
    """Put text vectors of the objects, and of the relations where they are given, into a source."""
    objects = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    np.save(source / "objects_clip_text.npy", objects)
    if relations is not None:
        np.save(source / "predicates_clip_text.npy", relations)
    return objects


@pytest.fixture
def import_source(tmp_path):
    """Make a source: ``import_source(seed, rows, dimension, own)``."""
    return lambda seed=0, *sizes, **options: write_source(tmp_path / f"source{seed}", seed, *sizes, **options)


@pytest.fixture(scope="session")
def small_scenes(tmp_path_factory) -> Path:
    """Three splits of images of three shapes."""
    return write_small_scenes(tmp_path_factory.mktemp("small") / "scenes", {"train": 23, "val": 7, "test": 5})


@pytest.fixture
def new_small_scenes(tmp_path):
    """Write a data set of one's own: ``new_small_scenes({"train": 4})``."""
    return lambda counts, **options: write_small_scenes(tmp_path / "scenes", counts, **options)
