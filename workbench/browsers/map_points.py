"""The points of a feature map: their colours, what lies in a lasso, what is known of one, which are recognised."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.figures import style
from workbench.progress import track
from workbench.recognition.batches import RelationRows
from workbench.recognition.evaluation import ROWS_PER_BATCH, probability_batches
from workbench.recognition.recogniser import load_recogniser
from workbench.regions.features import FeaturesFolder, GeneratedFeatures
from workbench.scenes.bands import BANDS
from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import ROLES

SOURCES = ("real", "generated")
MOST_CORNERS = 1000
MOST_CLASSES = len(style.CLASS_COLOURS)
CLASSES_AT_FIRST = 5
MOST_GROUPS = MOST_CLASSES + 1

BY_SOURCE, BY_HARDNESS = "source", "hardness"
BY_BAND = {f"{role} band": role for role in ROLES}
BY_CLASS = {f"{role} class": role for role in ROLES}
BY_RIGHT = {f"{role} right or wrong": role for role in ROLES}
COLOURS = (BY_SOURCE, *BY_BAND, *BY_CLASS, BY_HARDNESS)


class MapPoints:
    """N points: ``xy`` (N, 2) float32, ``generated`` (N,) bool, ``row`` (N,), and ``classes`` (N,) by role.

    ``table`` is as the stage ``feature_map`` wrote it, ``metrics`` what it returned. WorkbenchError where the points
    are not those of the rows of ``features`` (of train) and ``samples``, or where these have another dimension or
    encoder than the map.
    """

    def __init__(
        self, table: pd.DataFrame, features: FeaturesFolder, samples: GeneratedFeatures, metrics: dict[str, Any]
    ):
        bands = dict.fromkeys([f"{role}_band" for role in ROLES], pd.CategoricalDtype(BANDS, ordered=True))
        self.table, self.features, self.samples = table.reset_index(drop=True).astype(bands), features, samples
        self.metrics, self.vocabulary = metrics, features.vocabulary
        self.xy = np.ascontiguousarray(table[["x", "y"]].to_numpy(dtype=np.float32))
        self.generated = (table["source"] == "generated").to_numpy()
        self.row = table["row"].to_numpy()
        self.classes = {role: table[role].to_numpy() for role in ROLES}
        for name in SOURCES:
            self._require_rows(name)

    def __len__(self) -> int:
        return len(self.table)

    def _require_rows(self, name: str) -> None:
        source = self.samples if name == "generated" else self.features.train
        remedy = "Open the map with the features it was made of, or make the map again."
        for fact in ("dimension", "encoder"):
            if self.metrics[fact] != getattr(source, fact):
                what = f"{source.folder}: the {fact} is {getattr(source, fact)!r}, the map's is {self.metrics[fact]!r}"
                raise WorkbenchError(f"{what}. {remedy}")
        own, known = np.flatnonzero(self.of_source(name)), len(source.relations)
        fits = self.row[own] < known
        for role in ROLES:
            fits[fits] = source.relations[role].to_numpy()[self.row[own][fits]] == self.classes[role][own[fits]]
        if not fits.all():
            wrong = own[~fits][0]
            raise WorkbenchError(
                f"{source.folder}: {known:,} {name} rows, of which row {self.row[wrong]:,} is not "
                f"{self.captions[wrong]!r} as on the map. {remedy}"
            )

    def of_source(self, source: str) -> np.ndarray:
        """Which points are of a source, (N,) bool."""
        return self.generated == (source == "generated")

    @cached_property
    def captions(self) -> np.ndarray:
        """The caption of each point, (N,) objects; points of one triplet share one text."""
        distinct, of_point = distinct_triplets(*self.classes.values())
        return np.array(self.vocabulary.captions(distinct), dtype=object)[of_point]

    @cached_property
    def escaped_captions(self) -> np.ndarray:
        """The captions (N,) as plotly may show them."""
        return np.array(style.plain_texts(self.captions), dtype=object)


def lasso_corners(text: str) -> np.ndarray:
    """The corners (n, 2) float64 of a lasso that a page sends as JSON; WorkbenchError where they are none."""
    try:
        corners = np.array(json.loads(text), dtype=np.float64)
    except (ValueError, TypeError):
        corners = np.empty(0)
    fits = corners.ndim == 2 and corners.shape[1] == 2 and 3 <= len(corners) <= MOST_CORNERS
    if not fits or not np.isfinite(corners).all():
        raise WorkbenchError(f"a lasso has 3 to {MOST_CORNERS} corners, two numbers each. Draw it again.")
    return corners


def inside_lasso(xy: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points (N, 2) lie inside a closed polygon (n, 2), (N,) bool: a ray from them leaves it oddly often.

    Where the line crosses itself, what is surrounded twice is outside.
    """
    x, y = xy.astype(np.float64).T
    inside = np.zeros(len(xy), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crossed = np.flatnonzero((y1 > y) != (y2 > y))  # none where the edge is level
        inside[crossed] ^= x[crossed] < (x2 - x1) * (y[crossed] - y1) / (y2 - y1) + x1
    return inside


@dataclass(frozen=True)
class Group:
    """Points of one colour: ``points`` (n,) numbers, real ones first; ``label`` is ready for plotly, with the count.

    ``values`` (n,) float32 takes the place of the colour where that is continuous.
    """

    label: str
    points: np.ndarray
    colour: str
    values: np.ndarray | None


def frequent_classes(points: MapPoints, role: str) -> tuple[int, ...]:
    """The classes of a role with the most points, the most frequent first."""
    counts = np.bincount(points.classes[role])
    return tuple(own for own in np.argsort(-counts, kind="stable")[:CLASSES_AT_FIRST].tolist() if counts[own])


def groups(
    points: MapPoints,
    colour_by: str,
    sources: tuple[str, ...],
    *,
    classes: tuple[int, ...] = (),
    right: dict[str, np.ndarray] | None = None,
) -> list[Group]:
    """The groups of all points of ``sources``, at most MOST_GROUPS, in the order in which they are drawn.

    ``classes`` are those told apart where a class colours, at most MOST_CLASSES; ``right`` gives (N,) bool by role.
    """
    masks: list[tuple[str, str, np.ndarray]]
    if colour_by == BY_HARDNESS:
        masks = [("entropy of the caption's hardness", style.OTHER_COLOUR, np.ones(len(points), dtype=bool))]
    elif colour_by in BY_BAND:
        bands = points.table[f"{BY_BAND[colour_by]}_band"].to_numpy()
        masks = [(band, style.BAND_COLOURS[band], bands == band) for band in BANDS]
    elif colour_by in BY_RIGHT and right is not None:
        own = right[BY_RIGHT[colour_by]]
        masks = [(name, style.RIGHT_WRONG_COLOURS[name], own == (name == "right")) for name in ("right", "wrong")]
    elif colour_by in BY_CLASS:
        ids, names = points.classes[BY_CLASS[colour_by]], points.vocabulary.names(BY_CLASS[colour_by])
        coloured = zip(classes, style.CLASS_COLOURS, strict=False)
        # The others lie beneath: they are the ground that the chosen ones are seen against.
        masks = [("other classes", style.OTHER_COLOUR, ~np.isin(ids, classes[:MOST_CLASSES]))]
        masks += [(names[number], colour, ids == number) for number, colour in coloured]
    else:
        masks = [(source, style.SOURCE_COLOURS[source], points.of_source(source)) for source in SOURCES]
    shown, made = np.logical_or.reduce([points.of_source(source) for source in sources]), []
    for name, colour, mask in masks:
        here = np.flatnonzero(shown & mask)
        # Generated points, fewer and larger, are drawn on top.
        here = here[np.argsort(points.generated[here], kind="stable")]
        if len(here):
            values = points.table["entropy"].to_numpy()[here] if colour_by == BY_HARDNESS else None
            made.append(Group(f"{style.plain_text(name)} ({len(here):,})", here, colour, values))
    return made


def right_or_wrong(
    recogniser: Path, features: FeaturesFolder, samples: GeneratedFeatures, points: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Whether the best class of each role is the label, (N,) bool by role, for the points of a feature map.

    A head that reads scenes is shown the whole image of a real row, as in training; a generated row is its own scene
    (`workbench.recognition.batches`). WorkbenchError where the recogniser was trained on other features.
    """
    loaded = load_recogniser(recogniser)
    loaded.check_fits(features.vocabulary, features.train)
    head, right = loaded.head.to(chosen_device()), {role: np.zeros(len(points), dtype=bool) for role in ROLES}
    for name, source in (("real", features.train), ("generated", samples)):
        here = np.flatnonzero(points["source"] == name)
        wanted = points["row"].to_numpy()[here]
        read, rows = np.unique(wanted), RelationRows(source, loaded.vocabulary, memory_gigabytes=0.0)
        hits = {role: np.zeros(len(source.relations), dtype=bool) for role in ROLES}
        if head.reads_scenes and "image" in source.relations:  # neighbours of an image share its scene
            images = source.relations["image"].to_numpy()
            read = np.flatnonzero(np.isin(images, images[read]))
        batches, total = probability_batches(head, rows, read), -(-len(read) // ROWS_PER_BATCH)
        for numbers, scores in track(batches, "Recognising the points", total=total):
            for role in ROLES:
                hits[role][numbers] = scores[role].argmax(axis=1) == rows.labels[role][numbers]
        for role in ROLES:
            right[role][here] = hits[role][wanted]
    return right
