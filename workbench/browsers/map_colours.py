"""What the colours of a feature map can mean, and the groups of points that share one."""

from dataclasses import dataclass

import numpy as np

from workbench.browsers.map_points import SOURCES, MapPoints
from workbench.errors import WorkbenchError
from workbench.figures.style import (
    BAND_COLOURS,
    CLASS_COLOURS,
    OTHER_COLOUR,
    RIGHT_WRONG_COLOURS,
    SOURCE_COLOURS,
    plain_text,
)
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES

MOST_CLASSES = len(CLASS_COLOURS)
CLASSES_AT_FIRST = 5
MOST_GROUPS = MOST_CLASSES + 1

BY_SOURCE, BY_HARDNESS = "source", "hardness"
BY_BAND = {f"{role} band": role for role in ROLES}
BY_CLASS = {f"{role} class": role for role in ROLES}
BY_RIGHT = {f"{role} right or wrong": role for role in ROLES}


@dataclass(frozen=True)
class Group:
    """Points of one colour: ``points`` (n,) numbers, real ones first; ``label`` is ready for plotly, with the count.

    ``values`` (n,) float32 takes the place of the colour where that is continuous.
    """

    label: str
    points: np.ndarray
    colour: str = OTHER_COLOUR
    values: np.ndarray | None = None


def colour_choices(with_right: bool) -> list[str]:
    """All that the points can be coloured by; right or wrong where predictions can be had."""
    return [BY_SOURCE, *BY_BAND, *BY_CLASS, BY_HARDNESS, *(BY_RIGHT if with_right else ())]


def frequent_classes(points: MapPoints, role: str, most: int = CLASSES_AT_FIRST) -> tuple[int, ...]:
    """The classes of a role with the most points, the most frequent first."""
    counts = np.bincount(points.classes[role])
    order = np.argsort(-counts, kind="stable")[:most]
    return tuple(int(number) for number in order if counts[number])


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
    shown = np.zeros(len(points), dtype=bool)
    for source in sources:
        shown |= points.of_source(source)
    if colour_by == BY_HARDNESS:
        here = _drawn(points, shown)
        label = _label("entropy of the caption's hardness", here)
        return [Group(label, here, values=points.entropy[here])]
    return [
        Group(_label(name, here), here, colour)
        for name, colour, mask in _masks(points, colour_by, classes, right)
        if len(here := _drawn(points, shown & mask))
    ]


def _masks(points: MapPoints, colour_by: str, classes: tuple[int, ...], right: dict[str, np.ndarray] | None):
    if colour_by == BY_SOURCE:
        return [(source, SOURCE_COLOURS[source], points.of_source(source)) for source in SOURCES]
    if colour_by in BY_BAND:
        bands = points.bands[BY_BAND[colour_by]]
        return [(band, BAND_COLOURS[band], bands == code) for code, band in enumerate(BANDS)]
    if colour_by in BY_RIGHT:
        own = right[BY_RIGHT[colour_by]]
        return [(name, RIGHT_WRONG_COLOURS[name], own == (name == "right")) for name in ("right", "wrong")]
    if colour_by in BY_CLASS:
        ids, names = points.classes[BY_CLASS[colour_by]], points.vocabulary.names(BY_CLASS[colour_by])
        chosen = [
            (names[number], colour, ids == number) for number, colour in zip(classes, CLASS_COLOURS, strict=False)
        ]
        # The others lie beneath: they are the ground that the chosen ones are seen against.
        return [("other classes", OTHER_COLOUR, ~np.isin(ids, classes[:MOST_CLASSES])), *chosen]
    raise WorkbenchError(
        f"a map cannot be coloured by {colour_by!r}. Choose one of: {', '.join(colour_choices(True))}."
    )


def _drawn(points: MapPoints, mask: np.ndarray) -> np.ndarray:
    """The points of a mask in the order they are drawn: generated ones, fewer and larger, on top."""
    here = np.flatnonzero(mask)
    return here[np.argsort(points.generated[here], kind="stable")]


def _label(name: str, points: np.ndarray) -> str:
    return f"{plain_text(name)} ({len(points):,})"
