"""What one test row shows: its picture, its true triplet, and what two recognisers take each part for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.browsers.prediction_pair import PredictionPair, Predictions
from workbench.browsers.scene_drawing import scene_of, scene_svg
from workbench.browsers.thumbnails import Thumbnails
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES, Vocabulary

if TYPE_CHECKING:
    from workbench.regions.feature_store import FeatureStore
    from workbench.scenes.relations import RelationTables


@dataclass(frozen=True)
class PredictedSplit:
    """The split that is predicted, the classes' train counts and bands (by role, places in BANDS), and its pictures."""

    tables: "RelationTables | FeatureStore"
    vocabulary: Vocabulary
    counts: Counts
    bands: dict[str, np.ndarray]
    pictures: Thumbnails


def prediction_tile(split: PredictedSplit, pair: PredictionPair, position: int, *, compact: bool) -> dict[str, Any]:
    """The values of one tile of the grid; ``compact`` has the most probable class alone in the place of five."""
    row = int(pair.rows[position])
    return {
        "row": row,
        "scene": scene_svg(scene_of(split.tables, row), split.pictures),
        "roles": [_role(split, pair, position, role, compact) for role in ROLES],
    }


def change_word(was: bool, now: bool, moved: bool) -> str:
    """What happened to one prediction, in words."""
    if was and now:
        return "right in both"
    if was != now:
        return "fixed" if now else "broken"
    return "changed" if moved else "still wrong"


def _role(split: PredictedSplit, pair: PredictionPair, position: int, role: str, compact: bool) -> dict[str, Any]:
    true = int(pair.truth[role][position])
    moved = pair.before.predicted[role][position] != pair.after.predicted[role][position]
    return {
        "role": role,
        "name": split.vocabulary.names(role)[true],
        "train_count": int(split.counts.of_role(role)[true]),
        "change": change_word(bool(pair.was[role][position]), bool(pair.now[role][position]), bool(moved)),
        "columns": [
            (when, *_places(split, predictions, position, role, true, compact))
            for when, predictions in (("before", pair.before), ("after", pair.after))
        ],
    }


def _places(
    split: PredictedSplit, predictions: Predictions, position: int, role: str, true: int, compact: bool
) -> tuple[list[dict[str, Any]], bool]:
    """The most probable classes, and whether the true one is not among them."""
    if compact:
        ids, probabilities = (values[role][[position]] for values in (predictions.predicted, predictions.probability))
    else:
        ids, probabilities = (values[position] for values in predictions.best[role])
    names = split.vocabulary.names(role)
    places = [
        {"name": names[class_id], "probability": probability, "true": class_id == true}
        for class_id, probability in zip(ids.tolist(), probabilities.tolist(), strict=True)
        if class_id >= 0
    ]
    return places, not any(place["true"] for place in places)
