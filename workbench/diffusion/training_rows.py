"""Rows of a feature store as training targets: all unions, and as an option every box under each of its classes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.diffusion.conditions import ConditionTable, condition_table, entity_condition_table
from workbench.language.triplets import AugmentedTriplets

if TYPE_CHECKING:
    from workbench.language.hardness import HardnessCentroids
    from workbench.language.text_embedding import TextEmbeddings
    from workbench.regions.feature_store import FeatureStore

LARGEST_BYTES_IN_MEMORY = 1 << 30


@dataclass(frozen=True)
class RegionRows:
    """``features`` gives (n, D) for row numbers; ``condition_index`` (N,) points into ``conditions``.

    Unions come first, in the store's order; ``entity_class`` are the object classes of the boxes after them.
    """

    features: "np.ndarray | StoreFeatures"
    condition_index: np.ndarray
    conditions: ConditionTable
    entity_class: np.ndarray

    def __len__(self) -> int:
        return len(self.condition_index)


class StoreFeatures:
    """Unions of a store, then the given box rows, read from disk when asked for."""

    def __init__(self, store: "FeatureStore", box_rows: np.ndarray):
        self.store, self.box_rows = store, box_rows

    def __len__(self) -> int:
        return len(self.store) + len(self.box_rows)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._read(rows, np.float32)

    def half_precision(self, rows: np.ndarray) -> np.ndarray:
        """Features of rows in the store's own format, (n, D) float16, for holding many of them."""
        return self._read(rows, np.float16)

    def _read(self, rows: np.ndarray, dtype: type) -> np.ndarray:
        union = rows < len(self.store)
        if union.all():
            return self.store.union(rows, dtype)
        features = np.empty((len(rows), self.store.dimension), dtype=dtype)
        features[union] = self.store.union(rows[union], dtype)
        features[~union] = self.store.box(self.box_rows[rows[~union] - len(self.store)], dtype)
        return features


def region_rows(
    store: "FeatureStore",
    text: "TextEmbeddings",
    hardness_model: "HardnessCentroids | None",
    captions: AugmentedTriplets,
    *,
    entities: bool,
) -> RegionRows:
    """Targets and conditions of a store: its unions, and with ``entities`` its boxes captioned by the class name."""
    conditions, index = condition_table(text, store.relations, hardness_model, captions=captions)
    boxes = _boxes_by_class(store.relations) if entities else np.empty((0, 2), dtype=np.int64)
    if entities:
        entity_conditions, entity_index = entity_condition_table(text, boxes[:, 1], hardness_model)
        index = np.concatenate([index, len(conditions) + entity_index])
        conditions = conditions.joined(entity_conditions)
    features = StoreFeatures(store, boxes[:, 0])
    if len(features) * store.dimension * 4 <= LARGEST_BYTES_IN_MEMORY:
        features = features[np.arange(len(features))]
    return RegionRows(features, index, conditions, boxes[:, 1])


def _boxes_by_class(relations: pd.DataFrame) -> np.ndarray:
    """Distinct (box row, object class) of both ends of all relations, (n, 2) int64.

    Where the union stands in for its boxes, one row is a subject of one class and an object of another.
    """
    most = int(max(relations["subject"].max(), relations["object"].max())) + 1 if len(relations) else 1
    # One number for each pair, and sorted: numpy.unique of pairs, or by its hashes, takes many times as long.
    ends = [
        relations[f"{role}_box"].to_numpy(dtype=np.int64) * most + relations[role].to_numpy(dtype=np.int64)
        for role in ("subject", "object")
    ]
    pairs = np.sort(np.concatenate(ends))
    first = np.ones(len(pairs), dtype=bool)
    first[1:] = pairs[1:] != pairs[:-1]
    return np.stack(np.divmod(pairs[first], most), axis=1)
