"""Predictions that DiffAugment changed, for the better and for the worse (the paper's Figure 2)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.randomness import generator
from workbench.regions.bank import FeatureBank
from workbench.scenes.vocabulary import ROLES, Vocabulary
from workbench.studio.examples import relation_tile
from workbench.studio.pictures import Tile, prediction_line, text_line


def read_predictions(evaluation: Any) -> pd.DataFrame:
    """The predictions of an evaluation stage, by row of the test bank."""
    return pd.read_parquet(Path(evaluation) / "predictions.parquet").set_index("row", drop=False)


def change_counts(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Test rows by role that were mended, broken, or changed from one wrong class to another."""
    rows = {}
    for role in ROLES:
        was, now = before[f"{role}_correct"], after[f"{role}_correct"]
        moved = before[f"{role}_predicted"] != after[f"{role}_predicted"]
        rows[role] = {
            "mended": int((~was & now).sum()),
            "broken": int((was & ~now).sum()),
            "wrong to wrong": int((moved & ~was & ~now).sum()),
            "unchanged": int((~moved).sum()),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def change_tiles(
    test: FeatureBank,
    vocabulary: Vocabulary,
    before: pd.DataFrame,
    after: pd.DataFrame,
    image_folder: Path | None,
    *,
    most: int,
    seed: int,
) -> list[Tile]:
    """Random test rows, half mended and half broken in at least one role, with both predictions of all roles."""
    mended, broken = _changed(before, after)
    half = most // 2
    draw = generator(seed, "changed predictions")
    chosen = [*draw.permutation(mended)[: most - half], *draw.permutation(broken)[:half]]
    return [_tile(test, vocabulary, before.loc[row], after.loc[row], image_folder) for row in chosen]


def _changed(before: pd.DataFrame, after: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    was = before[[f"{role}_correct" for role in ROLES]].to_numpy(dtype=bool)
    now = after.loc[before.index, [f"{role}_correct" for role in ROLES]].to_numpy(dtype=bool)
    better, worse = (~was & now).any(axis=1), (was & ~now).any(axis=1)
    rows = before.index.to_numpy()
    return rows[better & ~worse], rows[worse & ~better]


def _tile(
    test: FeatureBank, vocabulary: Vocabulary, before: pd.Series, after: pd.Series, image_folder: Path | None
) -> Tile:
    lines = [f"<b>{text_line(vocabulary.caption(*(int(before[role]) for role in ROLES)))}</b>"]
    for role in ROLES:
        names = vocabulary.names(role)
        truth, was, now = (names[int(value)] for value in
                           (before[role], before[f"{role}_predicted"], after[f"{role}_predicted"]))  # fmt: skip
        lines.append(prediction_line(role, truth, was, now))
    return relation_tile(test, int(before["row"]), image_folder, tuple(lines))
