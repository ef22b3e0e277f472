"""What is shown of a feature map, and which changes of it make sense."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from workbench.browsers.choices import require_fields
from workbench.browsers.map_colours import BY_CLASS, BY_SOURCE, MOST_CLASSES
from workbench.browsers.map_points import SOURCES
from workbench.errors import WorkbenchError
from workbench.scenes.vocabulary import Vocabulary

LOWEST_OPACITY = 0.05


@dataclass(frozen=True, eq=False)
class MapState:
    """The state of a `FeatureMap`.

    ``colour_by`` is one of the map's choices; ``sources`` are shown; ``opacity`` of all dots; ``classes`` are the ids
    that are told apart, by role, none meaning the most frequent; ``search`` finds more of them; ``selected`` are point
    numbers (k,) in the lasso, None without one; ``page`` of their table, from 1; ``point`` is the one that was clicked.
    """

    colour_by: str = BY_SOURCE
    sources: tuple[str, ...] = SOURCES
    opacity: float = 0.6
    classes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    search: str = ""
    selected: np.ndarray | None = None
    page: int = 1
    point: int | None = None

    def changed(
        self, changes: dict[str, Any], *, choices: list[str], points: int, vocabulary: Vocabulary
    ) -> "MapState":
        """The state after ``changes``; WorkbenchError for names and values that there are not.

        ``choices`` for colours, ``points`` in all. ``classes`` are names, of the role whose classes colour the map.
        """
        require_fields("the FeatureMap", changes, MapState)
        changes = dict(changes)
        colour_by = changes.get("colour_by", self.colour_by)
        if colour_by not in choices:
            raise WorkbenchError(
                f"a map cannot be coloured by {colour_by!r} here. Choose one of: {', '.join(choices)}."
            )
        if "sources" in changes:
            changes["sources"] = _sources(changes["sources"])
        if "opacity" in changes:
            changes["opacity"] = _opacity(changes["opacity"])
        if "classes" in changes:
            changes["classes"] = self.classes | _classes(changes["classes"], colour_by, vocabulary)
        if changes.get("selected") is not None:
            changes["selected"] = _points(changes["selected"], points)
        if changes.get("point") is not None:
            changes["point"] = _point(changes["point"], points)
        if "selected" in changes:
            changes.setdefault("page", 1)
        if colour_by != self.colour_by:
            changes.setdefault("search", "")
        return replace(self, **changes)


def _sources(wanted: Any) -> tuple[str, ...]:
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    unknown = set(wanted) - set(SOURCES)
    if unknown or not wanted:
        raise WorkbenchError(f"sources {wanted!r}: expected one or both of {', '.join(SOURCES)}.")
    return tuple(source for source in SOURCES if source in wanted)


def _opacity(wanted: Any) -> float:
    try:
        opacity = float(wanted)
    except (TypeError, ValueError):
        opacity = float("nan")
    if not LOWEST_OPACITY <= opacity <= 1:
        raise WorkbenchError(f"opacity {wanted!r}: expected a number from {LOWEST_OPACITY} to 1.")
    return opacity


def _classes(wanted: Any, colour_by: str, vocabulary: Vocabulary) -> dict[str, tuple[int, ...]]:
    if colour_by not in BY_CLASS:
        raise WorkbenchError(f"the map is coloured by {colour_by}; choose one of {', '.join(BY_CLASS)} for classes.")
    role = BY_CLASS[colour_by]
    wanted, names = (wanted,) if isinstance(wanted, str) else tuple(dict.fromkeys(wanted)), vocabulary.names(role)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise WorkbenchError(f"there is no {role} class {unknown[0]!r}. Look for its name with search.")
    if len(wanted) > MOST_CLASSES:
        raise WorkbenchError(f"{len(wanted)} classes cannot be told apart by colour; choose at most {MOST_CLASSES}.")
    return {role: tuple(names.index(name) for name in wanted)}


def _points(wanted: Any, points: int) -> np.ndarray:
    numbers = np.unique(np.asarray(wanted))
    if not len(numbers):
        return numbers.astype(np.int64)
    if numbers.dtype.kind not in "iu":
        raise WorkbenchError(f"selected points are numbers, not {numbers[0]!r}. Give rows of the table of points.")
    _point(numbers[0], points)
    _point(numbers[-1], points)
    return numbers.astype(np.int64)


def _point(wanted: Any, points: int) -> int:
    try:
        number = int(wanted)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < points:
        raise WorkbenchError(f"there is no point {wanted!r} on the map; expected 0 to {points - 1:,}.")
    return number
