"""Examples to look at and the small tables around them: splits, and tiles for each band."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.randomness import generator
from workbench.regions.bank import FeatureBank
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.vocabulary import Vocabulary
from workbench.studio.pictures import Tile, picture_path, text_line

TRIPLET = ["subject", "relation", "object"]


def split_table(banks: Mapping[str, FeatureBank], vocabulary: Vocabulary) -> pd.DataFrame:
    """One row per split: images, relations, distinct triplets, those train lacks, and classes without an example."""
    seen = set(map(tuple, banks["train"].relations[TRIPLET].drop_duplicates().to_numpy()))
    rows = {}
    for split, bank in banks.items():
        distinct = set(map(tuple, bank.relations[TRIPLET].drop_duplicates().to_numpy()))
        rows[split] = {
            "images": len(bank.images),
            "relations": len(bank.relations),
            "distinct triplets": len(distinct),
            "unseen triplets": len(distinct - seen),
            "subject classes absent": len(vocabulary.objects) - bank.relations["subject"].nunique(),
            "object classes absent": len(vocabulary.objects) - bank.relations["object"].nunique(),
            "relation classes absent": len(vocabulary.relations) - bank.relations["relation"].nunique(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def long_tail_metrics(classes: pd.DataFrame, splits: pd.DataFrame) -> dict[str, float]:
    """Headline numbers of notebook 01 from `figures_long_tail.class_table` and `split_table`."""
    metrics: dict[str, float] = {}
    for kind, here in classes.groupby("kind"):
        seen = here.loc[here["count"] > 0, "count"]
        metrics[f"{kind} classes"] = len(here)
        metrics[f"{kind} imbalance (most / fewest)"] = float(seen.max() / seen.min())
        metrics[f"{kind} examples of the rarest class"] = int(seen.min())
    for split, row in splits.iterrows():
        metrics[f"{split} relations"] = int(row["relations"])
    if "test" in splits.index:
        metrics["unseen triplets in test"] = int(splits.loc["test", "unseen triplets"])
    return metrics


def band_tiles(
    bank: FeatureBank, vocabulary: Vocabulary, counts: Counts, image_folder: Path | None, *, per_band: int, seed: int
) -> list[Tile]:
    """Random train relations whose relation class lies in each band, with the counts of their classes."""
    band = band_of_class(counts.relations)[bank.relations["relation"].to_numpy()]
    chosen = []
    for name in BANDS:
        rows = np.flatnonzero(band == name)
        draw = generator(seed, "band tiles", name)
        chosen += [(name, row) for row in draw.permutation(rows)[:per_band]]
    return [_band_tile(bank, vocabulary, counts, image_folder, name, row) for name, row in chosen]


def relation_tile(bank: FeatureBank, row: int, image_folder: Path | None, lines: tuple[str, ...]) -> Tile:
    """The picture of one relation row of a bank with its three boxes; ``lines`` are escaped HTML."""
    relation = bank.relations.iloc[row]
    image = bank.images.iloc[int(relation["image"])]
    corners = bank.boxes[["x1", "y1", "x2", "y2"]]
    return Tile(
        picture=picture_path(image_folder, image["file_name"]),
        width=int(image["width"]),
        height=int(image["height"]),
        subject_xyxy=_xyxy(bank, corners, relation, "subject"),
        object_xyxy=_xyxy(bank, corners, relation, "object"),
        lines=lines,
    )


def _xyxy(bank: FeatureBank, corners: pd.DataFrame, relation: pd.Series, role: str) -> np.ndarray:
    own = [f"{role}_{corner}" for corner in corners.columns]
    if set(own) <= set(bank.relations.columns):  # imported features keep both boxes in the relations table
        return relation[own].to_numpy(dtype=np.float32)
    return corners.iloc[int(relation[f"{role}_box"])].to_numpy(dtype=np.float32)


def _band_tile(
    bank: FeatureBank, vocabulary: Vocabulary, counts: Counts, image_folder: Path | None, band: str, row: int
) -> Tile:
    subject, relation, obj = (int(bank.relations.iloc[row][role]) for role in TRIPLET)
    in_train = f"{counts.objects[subject]:,} / {counts.relations[relation]:,} / {counts.objects[obj]:,} in train"
    lines = (f"<b>{band}</b>", text_line(vocabulary.caption(subject, relation, obj)), in_train)
    return relation_tile(bank, row, image_folder, lines)
