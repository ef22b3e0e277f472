"""The points of a feature map as arrays, checked against the features that they claim to show."""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures.style import plain_texts
from workbench.language.captions import captions_of
from workbench.scenes.bands import BANDS, band_places, count_classes
from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import ROLES, Vocabulary

SOURCES = ("real", "generated")
COLUMNS = ("x", "y", "source", "row", *ROLES, *(f"{role}_band" for role in ROLES), "entropy")
_REMEDY = "Open the map with the features it was made of, or make the map again."


class MapPoints:
    """N points: ``xy`` (N, 2) float32, ``generated`` (N,) bool, ``row`` (N,), ``classes`` and ``bands`` by role.

    ``bands[role]`` (N,) int8 are positions in BANDS; ``entropy`` (N,) float32, nats. ``table`` is as the stage
    ``feature_map`` wrote it. WorkbenchError where columns are missing, where a point's triplet is not that of its row
    of the store or of the generated features, or where dimension or encoder of the two, or of ``metrics``, differ.
    """

    def __init__(self, table: pd.DataFrame, store, generated, vocabulary: Vocabulary, metrics: dict[str, Any]):
        missing = [column for column in COLUMNS if column not in table]
        if missing:
            raise WorkbenchError(f"the map's points have no column {', '.join(missing)}. Make the map again.")
        self.table, self.vocabulary = table.reset_index(drop=True), vocabulary
        self.xy = np.ascontiguousarray(table[["x", "y"]].to_numpy(dtype=np.float32))
        self.generated = (table["source"] == "generated").to_numpy()
        self.row = table["row"].to_numpy()
        self.classes = {role: table[role].to_numpy() for role in ROLES}
        self.bands = {role: _band_places(table[f"{role}_band"]) for role in ROLES}
        self.entropy = table["entropy"].to_numpy(dtype=np.float32)
        _require_same_features(store, generated, metrics)
        count_classes(table, vocabulary)  # refuses classes that the vocabulary does not know
        for source, name, own in ((store, "real", ~self.generated), (generated, "generated", self.generated)):
            self._require_rows(source, name, own)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def captions(self) -> np.ndarray:
        """The caption of each point, (N,) objects; points of one triplet share one text."""
        distinct, of_point = distinct_triplets(*self.classes.values())
        return np.array(captions_of(distinct, self.vocabulary), dtype=object)[of_point]

    @cached_property
    def escaped_captions(self) -> np.ndarray:
        """The captions (N,) as plotly may show them."""
        distinct, of_point = np.unique(self.captions.astype(str), return_inverse=True)
        return np.array(plain_texts(distinct.tolist()), dtype=object)[of_point]

    def of_source(self, source: str) -> np.ndarray:
        """Which points are of a source, (N,) bool."""
        return self.generated == (source == "generated")

    def _require_rows(self, source, name: str, own: np.ndarray) -> None:
        rows = self.row[own]
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(source.relations):
            raise WorkbenchError(
                f"{source.folder}: {len(source.relations):,} {name} rows, but the map shows row {rows.max():,}. "
                f"{_REMEDY}"
            )
        for role in ROLES:
            stored = source.relations[role].to_numpy()[rows]
            wrong = np.flatnonzero(stored != self.classes[role][own])
            if len(wrong):
                raise WorkbenchError(
                    f"{source.folder}: {name} row {rows[wrong[0]]:,} has the {role} class {stored[wrong[0]]}, but the "
                    f"map shows {self.classes[role][own][wrong[0]]}. {_REMEDY}"
                )


def _band_places(bands: pd.Series) -> np.ndarray:
    places = band_places(bands.to_numpy(dtype=object))
    if (places < 0).any():
        raise WorkbenchError(
            f"the map's points, column {bands.name}: {bands[places < 0].iloc[0]!r} is not one of {', '.join(BANDS)}. "
            "Make the map again."
        )
    return places


def _require_same_features(store, generated, metrics: dict[str, Any]) -> None:
    for name in ("dimension", "encoder"):
        found = {f"{store.folder}": getattr(store, name), f"{generated.folder}": getattr(generated, name)}
        found |= {"the map": metrics[name]} if name in metrics else {}
        if len(set(found.values())) > 1:
            told = ", ".join(f"{place}: {value!r}" for place, value in found.items())
            raise WorkbenchError(f"the map and its features differ in {name} ({told}). {_REMEDY}")
