"""Made-up data of any size for tests: features around one centre per class, text vectors and generated rows.

All splits of a folder share their classes' centres, so that what is learned from train holds in test.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.files import save_array
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import FeaturesFolder, FeatureStore, finish_generated
from workbench.scenes.vocabulary import ROLES, Vocabulary

OBJECTS = ("cup", "mug", "plate", "bowl", "dog", "cat", "horse", "car", "truck", "bus", "apple", "orange")
RELATIONS = ("on", "near", "under", "holding")
VOCABULARY = Vocabulary(OBJECTS, RELATIONS)
ROWS = {"train": 300, "val": 40, "test": 40}


def numbered_names(objects: int, relations: int) -> Vocabulary:
    """So many classes, called "object 0", "relation 0" and so on."""
    return Vocabulary(tuple(f"object {k}" for k in range(objects)), tuple(f"relation {k}" for k in range(relations)))


def long_tailed(rows: int, vocabulary: Vocabulary = VOCABULARY, *, seed: int = 0, tail: float = 1.0) -> pd.DataFrame:
    """Triplets (subject, relation, object) whose classes occur in proportion to rank ** -tail; 0 is uniform."""
    draw = np.random.default_rng(seed)
    shares = {role: np.arange(1, len(vocabulary.names(role)) + 1) ** -float(tail) for role in ROLES}
    return pd.DataFrame({role: draw.choice(len(share), rows, p=share / share.sum()) for role, share in shares.items()})


def split_writer(
    folder: Path, relations: pd.DataFrame, *, entity_region: str = "box", seed: int = 0, **options
) -> FeatureStoreWriter:
    """A writer of the store of a table of triplets: three relations an image, two boxes of its own for each.

    ``options`` are the writer's. Columns image, subject_box and object_box are kept where the table has them. Images
    are 60 x 50 pixels, named "0.jpg" and so on, boxes 20 x 20.
    """
    draw, number = np.random.default_rng(seed), np.arange(len(relations))
    own = (2 * number, 2 * number + 1) if entity_region == "box" else (number, number)
    table = pd.DataFrame({"image": number // 3, "subject_box": own[0], "object_box": own[1]})
    table = table.assign(**relations)
    ends = table[["subject_box", "object_box"]].to_numpy()
    boxes = pd.DataFrame(0, np.arange(ends.max(initial=-1) + 1), ["image", "x1", "y1", "x2", "y2", "object_class"])
    corners = draw.integers(0, 30, (len(boxes), 2))
    boxes[["x1", "y1", "x2", "y2"]] = np.concatenate([corners, corners + 20], axis=1).astype(np.float32)
    for role in ("object", "subject"):
        boxes.loc[table[f"{role}_box"], "image"] = table["image"].to_numpy()
        boxes.loc[table[f"{role}_box"], "object_class"] = table[role].to_numpy()
    images = pd.DataFrame({"image_id": np.arange(table["image"].max() + 1)})
    images = images.assign(file_name=images["image_id"].astype(str) + ".jpg", width=60, height=50)
    options = dict[str, Any](dimension=8, encoder="made-up") | options
    tables = {"images": images, "boxes": boxes, "relations": table}
    return FeatureStoreWriter(folder, tables=tables, entity_region=entity_region, **options)


def write_split(folder: Path, relations: pd.DataFrame, *, noise: float = 0.5, seed: int = 0, **options) -> FeatureStore:
    """The store of a table of triplets, see `split_writer`, with features around the classes' centres."""
    writer, draw = split_writer(folder, relations, seed=seed, **options), np.random.default_rng([seed, 1])
    for name, (_, dimension) in writer.arrays.items():
        if name == "box_features":
            features = centres("object", dimension)[writer.tables["boxes"]["object_class"]]
            features = features + noise * draw.standard_normal(features.shape)
        else:
            features = unions(relations, dimension, noise, draw)
        writer.write(name, 0, np.maximum(features, 0) if options.get("support") == "rectified" else features)
    writer.finish()
    return FeatureStore(folder)


def write_features(
    folder: Path,
    vocabulary: Vocabulary = VOCABULARY,
    rows: Mapping[str, int] | None = None,
    *,
    tail: float | Mapping[str, float] = 1.0,
    seed: int = 0,
    **options,
) -> FeaturesFolder:
    """A features folder: the vocabulary and a store of so many ``rows`` a split; ``options`` are `write_split`'s."""
    vocabulary.write(folder)
    for place, (split, count) in enumerate((rows or ROWS).items()):
        of_split = tail[split] if isinstance(tail, Mapping) else tail
        table = long_tailed(count, vocabulary, seed=seed + place, tail=of_split)
        write_split(folder / split, table, seed=seed + place, **options)
    return FeaturesFolder(folder)


def write_text(folder: Path, vocabulary: Vocabulary = VOCABULARY, dimension: int = 6, seed: int = 5) -> Path:
    """A text folder with a random vector for each class."""
    from workbench.language.text_embedding import write_class_vectors

    draw = np.random.default_rng(seed)
    sizes = {kind: (len(getattr(vocabulary, kind)), dimension) for kind in ("objects", "relations")}
    vectors: dict[str, Any] = {kind: draw.standard_normal(size) for kind, size in sizes.items()}
    write_class_vectors(folder, vocabulary=vocabulary, encoder="made-up text", **vectors)
    return folder


def write_generated(folder: Path, store: FeatureStore, table: pd.DataFrame, *, seed: int = 0) -> Path:
    """Generated union features of a table of triplets, with boxes of the store drawn where it names none."""
    draw = np.random.default_rng(seed)
    boxes = {f"{role}_box": draw.integers(0, len(store.boxes), len(table)) for role in ("subject", "object")}
    folder.mkdir(parents=True, exist_ok=True)
    save_array(folder / "union_features.npy", unions(table, store.dimension, 0.5, draw).astype(np.float16))
    finish_generated(folder, pd.DataFrame(boxes).assign(**table.reset_index(drop=True)), store, "seed")
    return folder


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its name there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def cut_short(path: Path, share: float = 0.5) -> None:
    """Leave a file's beginning alone."""
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def centres(role: str, dimension: int) -> np.ndarray:
    """The centre of each class, (100, D): those of a relation, or those that subjects and objects share."""
    return np.random.default_rng([dimension, role == "relation"]).standard_normal((100, dimension)) * 1.5


def unions(table: pd.DataFrame, dimension: int, noise: float, draw: np.random.Generator) -> np.ndarray:
    """Union features (n, D) of triplets: the relation's centre, half of each end's, and noise."""
    ends = centres("object", dimension)[table["subject"]] + centres("object", dimension)[table["object"]]
    return centres("relation", dimension)[table["relation"]] + ends / 2 + noise * draw.standard_normal(ends.shape)
