"""The points of a feature map as arrays: what is selected, what lies near, and what a recogniser makes of them."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.figures.style import plain_texts
from workbench.progress import track
from workbench.recognition.batches import RelationRows
from workbench.recognition.evaluation import ROWS_PER_BATCH, probability_batches
from workbench.recognition.recogniser import Recogniser, load_recogniser
from workbench.regions.features import Dtype, Features, FeaturesFolder, FeatureStore, GeneratedFeatures
from workbench.scenes.bands import band_places
from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import ROLES, Vocabulary

SOURCES = ("real", "generated")
COLUMNS = ("x", "y", "source", "row", *ROLES, *(f"{role}_band" for role in ROLES), "entropy")
ROWS_PER_BLOCK = 2048
CANDIDATES = 256
MOST_CORNERS = 1000
_REMEDY = "Open the map with the features it was made of, or make the map again."


class MapPoints:
    """N points: ``xy`` (N, 2) float32, ``generated`` (N,) bool, ``row`` (N,), ``classes`` and ``bands`` by role.

    ``bands[role]`` (N,) int8 are positions in BANDS; ``entropy`` (N,) float32, nats. ``table`` is as the stage
    ``feature_map`` wrote it, ``metrics`` what it returned. WorkbenchError where the points are not those of the rows of
    ``store`` and ``generated``, or where these have another dimension or encoder than the map.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        store: FeatureStore,
        generated: GeneratedFeatures,
        vocabulary: Vocabulary,
        metrics: dict[str, Any],
    ):
        missing = [column for column in COLUMNS if column not in table]
        if missing:
            raise WorkbenchError(f"the map's points have no column {', '.join(missing)}. Make the map again.")
        self.table, self.vocabulary = table.reset_index(drop=True), vocabulary
        self.xy = np.ascontiguousarray(table[["x", "y"]].to_numpy(dtype=np.float32))
        self.generated = (table["source"] == "generated").to_numpy()
        self.row = table["row"].to_numpy()
        self.classes = {role: table[role].to_numpy() for role in ROLES}
        self.bands = {role: band_places(table[f"{role}_band"].to_numpy(dtype=object)) for role in ROLES}
        self.entropy = table["entropy"].to_numpy(dtype=np.float32)
        for source, name, own in ((store, "real", ~self.generated), (generated, "generated", self.generated)):
            for fact in ("dimension", "encoder"):
                if metrics.get(fact, getattr(source, fact)) != getattr(source, fact):
                    raise WorkbenchError(
                        f"{source.folder}: the {fact} is {getattr(source, fact)!r}, the map's is {metrics[fact]!r}. "
                        f"{_REMEDY}"
                    )
            self._require_rows(source, name, np.flatnonzero(own))

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def captions(self) -> np.ndarray:
        """The caption of each point, (N,) objects; points of one triplet share one text."""
        distinct, of_point = distinct_triplets(*self.classes.values())
        return np.array(self.vocabulary.captions(distinct), dtype=object)[of_point]

    @cached_property
    def escaped_captions(self) -> np.ndarray:
        """The captions (N,) as plotly may show them."""
        distinct, of_point = np.unique(self.captions.astype(str), return_inverse=True)
        return np.array(plain_texts(distinct.tolist()), dtype=object)[of_point]

    def of_source(self, source: str) -> np.ndarray:
        """Which points are of a source, (N,) bool."""
        return self.generated == (source == "generated")

    def _require_rows(self, source: FeatureStore | GeneratedFeatures, name: str, own: np.ndarray) -> None:
        rows, known = self.row[own], len(source.relations)
        fits = (rows >= 0) & (rows < known)
        for role in ROLES:
            fits[fits] = source.relations[role].to_numpy()[rows[fits]] == self.classes[role][own[fits]]
        if not fits.all():
            wrong = own[~fits][0]
            shown = self.vocabulary.caption(*(int(self.classes[role][wrong]) for role in ROLES))
            raise WorkbenchError(
                f"{source.folder}: {known:,} {name} rows, of which row {self.row[wrong]:,} is not {shown!r} as on the "
                f"map. {_REMEDY}"
            )


def lasso_corners(text: str | None) -> np.ndarray:
    """The corners (n, 2) float64 of a lasso that a page sends as JSON; WorkbenchError where they are none."""
    try:
        corners = np.array(json.loads(text or ""), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise WorkbenchError(f"the lasso cannot be read ({error}). Draw it again.") from error
    if corners.ndim != 2 or corners.shape[1] != 2 or not 3 <= len(corners) <= MOST_CORNERS:
        raise WorkbenchError(f"a lasso of shape {corners.shape} cannot be used; expected 3 to {MOST_CORNERS} corners.")
    if not np.isfinite(corners).all():
        raise WorkbenchError("a corner of the lasso is not a number. Draw it again.")
    return corners


def inside_lasso(xy: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points (N, 2) lie inside a closed polygon (n, 2), (N,) bool: a ray from them leaves it oddly often.

    Where the line crosses itself, what is surrounded twice is outside.
    """
    low, high = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero(((xy >= low) & (xy <= high)).all(axis=1))
    x, y = xy[near].astype(np.float64).T
    odd = np.zeros(len(near), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crossed = (y1 > y) != (y2 > y)
        odd[crossed] ^= x[crossed] < (x2 - x1) * (y[crossed] - y1) / (y2 - y1) + x1
    inside = np.zeros(len(xy), dtype=bool)
    inside[near[odd]] = True
    return inside


def nearest_real_rows(
    store: FeatureStore, rows: np.ndarray, feature: np.ndarray, count: int = 5, *, block: int = ROWS_PER_BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the store's ``rows`` (n,) nearest to ``feature`` (D,), each of another image, and their distances.

    A map of two dimensions may mislead: distances are Euclidean in the full feature space. At most ``count``, fewer
    where there are fewer images. Features are read ``block`` rows at a time; products choose the candidates, whose
    distances are then taken from differences in float64, since those of a copy are all rounding otherwise.
    """
    query = feature.astype(np.float32)
    scores = np.empty(len(rows), dtype=np.float32)  # squared distances up to a constant: |x|^2 - 2 x.q
    for start in range(0, len(rows), block):
        values = store.union(rows[start : start + block])
        scores[start : start + block] = np.einsum("nd,nd->n", values, values) - 2 * (values @ query)
    images = store.relations["image"].to_numpy()[rows]
    distinct = min(count, len(np.unique(images)))
    wanted = min(CANDIDATES, len(scores))
    while len(np.unique(images[near := np.argpartition(scores, wanted - 1)[:wanted]])) < distinct:
        wanted = min(2 * wanted, len(scores))
    exact = np.linalg.norm(store.union(rows[near]).astype(np.float64) - feature, axis=1)  # (wanted,)
    order = np.lexsort((near, exact))
    _, first = np.unique(images[near][order], return_index=True)
    best = order[np.sort(first)][:distinct]
    return rows[near[best]], exact[best]


def right_or_wrong(recogniser: Path, features: Path, generated: Path, points: pd.DataFrame) -> dict[str, np.ndarray]:
    """Whether the best class of each role is the label, (N,) bool by role, for the points of a feature map.

    A head that reads scenes is shown the whole image of a real row, as in training; a generated row is its own scene
    (`workbench.recognition.batches`). WorkbenchError where the recogniser was trained on other features.
    """
    opened = FeaturesFolder(features)
    store, vocabulary = opened.train, opened.vocabulary
    loaded = load_recogniser(recogniser)
    loaded.check_fits(vocabulary, store)
    own = (points["source"] == "generated").to_numpy()
    right = {role: np.zeros(len(points), dtype=bool) for role in ROLES}
    for source, here in ((store, ~own), (GeneratedFeatures.open(generated, store), own)):
        if here.any():
            for role, hits in _hits(loaded, source, points.loc[here, "row"].to_numpy()).items():
                right[role][here] = hits
    return right


def _hits(loaded: Recogniser, source: FeatureStore | GeneratedFeatures, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Hits (n,) bool by role of rows (n,) of one source."""
    read = np.unique(rows)
    if loaded.head.reads_scenes and "image" in source.relations:
        images = source.relations["image"].to_numpy()
        read = np.flatnonzero(np.isin(images, images[read]))
    chosen = RelationRows(_ChosenRows(source, read), loaded.vocabulary, memory_gigabytes=0.0)
    hits = {role: np.zeros(len(read), dtype=bool) for role in ROLES}
    batches = probability_batches(loaded.head.to(chosen_device()), chosen)
    for numbers, scores in track(batches, "Recognising the points", total=-(-len(read) // ROWS_PER_BATCH)):
        for role in ROLES:
            hits[role][numbers] = scores[role].argmax(axis=1) == chosen.labels[role][numbers]
    place = np.searchsorted(read, rows)
    return {role: found[place] for role, found in hits.items()}


class _ChosenRows(Features):
    """Some rows of a store or of generated features, as features of their own."""

    def __init__(self, source: Features, rows: np.ndarray):
        self._source, self._rows = source, rows
        self.relations = source.relations.iloc[rows].reset_index(drop=True)
        self.folder, self.dimension, self.entity_region = source.folder, source.dimension, source.entity_region

    def union(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        return self._source.union(self._rows[rows], dtype)

    def end(self, role: str, rows: np.ndarray, dtype: Dtype) -> np.ndarray:
        return self._source.end(role, self._rows[rows], dtype)
