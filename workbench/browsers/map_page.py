"""What is shown of a feature map, and the HTML around it: controls, the numbers that qualify it, what was clicked."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.drawing import Scene, Thumbnails, blank_note, scene_of, scene_of_boxes, scene_svg
from workbench.browsers.map_figure import BY_CLASS, BY_SOURCE, MOST_CLASSES, frequent_classes
from workbench.browsers.map_points import SOURCES, MapPoints, nearest_real_rows
from workbench.browsers.widgets import Paging, class_id, render, require_fields, require_one_of
from workbench.errors import WorkbenchError
from workbench.figures.fidelity import HEADLINE_METRICS
from workbench.figures.pages import formatted
from workbench.regions.features import FeatureStore, GeneratedFeatures
from workbench.scenes.bands import BANDS, Counts
from workbench.scenes.vocabulary import ROLES, Vocabulary

TEMPLATE = "feature_map.html.j2"
LOWEST_OPACITY = 0.05
ROWS_PER_PAGE = 10
MOST_FOUND = 12
FIDELITY_ROWS = ("generated", "floor")
FIDELITY_METRICS = {name: title for name, title in HEADLINE_METRICS.items() if name != "test_on_real"}


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

    @property
    def selection(self) -> np.ndarray:
        """The numbers of the selected points, none without a lasso."""
        return np.empty(0, dtype=np.int64) if self.selected is None else self.selected

    def changed(
        self, changes: dict[str, Any], *, choices: list[str], points: int, vocabulary: Vocabulary
    ) -> "MapState":
        """The state after ``changes``; WorkbenchError for names and values that there are not.

        ``choices`` for colours, ``points`` in all. ``classes`` are names, of the role whose classes colour the map.
        """
        require_fields("the FeatureMap", changes, MapState)
        changes = dict(changes)
        colour_by = changes.get("colour_by", self.colour_by)
        require_one_of("colour", colour_by, choices)
        if "sources" in changes:
            changes["sources"] = _sources(changes["sources"])
        if "opacity" in changes:
            changes["opacity"] = _opacity(changes["opacity"])
        if "classes" in changes:
            changes["classes"] = self.classes | _classes(changes["classes"], colour_by, vocabulary)
        if changes.get("selected") is not None:
            changes["selected"] = _numbers(changes["selected"], points)
        if changes.get("point") is not None:
            changes["point"] = int(_numbers([changes["point"]], points)[0])
        if "selected" in changes:
            changes.setdefault("page", 1)
        if colour_by != self.colour_by:
            changes.setdefault("search", "")
        return replace(self, **changes)


def _sources(wanted: Any) -> tuple[str, ...]:
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    if set(wanted) - set(SOURCES) or not wanted:
        raise WorkbenchError(f"sources {wanted!r}: expected one or both of {', '.join(SOURCES)}.")
    return tuple(source for source in SOURCES if source in wanted)


def _opacity(wanted: Any) -> float:
    try:
        opacity = float(wanted)
    except (TypeError, ValueError):
        opacity = math.nan
    if not LOWEST_OPACITY <= opacity <= 1:
        raise WorkbenchError(f"opacity {wanted!r}: expected a number from {LOWEST_OPACITY} to 1.")
    return opacity


def _classes(wanted: Any, colour_by: str, vocabulary: Vocabulary) -> dict[str, tuple[int, ...]]:
    if colour_by not in BY_CLASS:
        raise WorkbenchError(f"the map is coloured by {colour_by}; choose one of {', '.join(BY_CLASS)} for classes.")
    names = (wanted,) if isinstance(wanted, str) else tuple(dict.fromkeys(wanted))
    if len(names) > MOST_CLASSES:
        raise WorkbenchError(f"{len(names)} classes cannot be told apart by colour; choose at most {MOST_CLASSES}.")
    role = BY_CLASS[colour_by]
    return {role: tuple(class_id(vocabulary, role, name) for name in names)}


def _numbers(wanted: Any, points: int) -> np.ndarray:
    """Distinct numbers of points, ascending."""
    try:
        numbers = np.unique([int(number) for number in wanted]).astype(np.int64)
    except (TypeError, ValueError) as error:
        raise WorkbenchError(f"points are numbers, rows of the table of points ({error}).") from error
    if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < points:
        raise WorkbenchError(f"there is no point {numbers[-1]:,} on the map; expected 0 to {points - 1:,}.")
    return numbers


def frame(part: str) -> str:
    """The places of the regions above ("above") and below ("below") the figure."""
    return render(TEMPLATE, part=f"frame {part}")


def controls(state: MapState, points: MapPoints, choices: list[str]) -> str:
    """Menus and chips: colour, sources, opacity, and the classes that are told apart."""
    sources = [(source, int(points.of_source(source).sum()), source in state.sources) for source in SOURCES]
    return render(
        TEMPLATE, part="controls", state=state, choices=[(choice, choice) for choice in choices], sources=sources,
        lowest=LOWEST_OPACITY, classes=_class_choice(state, points),
    )  # fmt: skip


def chosen_classes(state: MapState, points: MapPoints) -> tuple[int, ...]:
    """The classes that are told apart: those that were chosen, else the most frequent; none without class colours."""
    role = BY_CLASS.get(state.colour_by)
    return () if role is None else state.classes.get(role) or frequent_classes(points, role)


def _class_choice(state: MapState, points: MapPoints) -> dict[str, Any] | None:
    role = BY_CLASS.get(state.colour_by)
    if role is None:
        return None
    names = points.vocabulary.names(role)
    counts = np.bincount(points.classes[role], minlength=len(names)).tolist()
    chosen, wanted = chosen_classes(state, points), state.search.strip().casefold()
    by_count = sorted(range(len(names)), key=lambda own: -counts[own])
    found = [own for own in by_count if counts[own] and own not in chosen and wanted in names[own].casefold()]
    found = found if wanted else []
    return {
        "role": role, "searched": bool(wanted), "full": len(chosen) >= MOST_CLASSES, "most": MOST_CLASSES,
        "own": bool(state.classes.get(role)),
        "chosen": [(own, names[own], counts[own]) for own in chosen],
        "found": [(own, names[own], counts[own]) for own in found[:MOST_FOUND]],
        "more": max(0, len(found) - MOST_FOUND),
    }  # fmt: skip


def numbers(fidelity: pd.DataFrame | None, metrics: dict[str, Any]) -> str:
    """How the map was made and how far it may be trusted: fidelity beside its floor, trustworthiness."""
    rows = None
    if fidelity is not None:
        values = fidelity.loc[list(FIDELITY_ROWS), list(FIDELITY_METRICS)].astype(float)
        rows = [
            [name, *(formatted(None if math.isnan(value) else value) for value in row)]
            for name, row in zip(FIDELITY_ROWS, values.to_numpy().tolist(), strict=True)
        ]
    return render(TEMPLATE, part="numbers", rows=rows, columns=["", *FIDELITY_METRICS.values()], metrics=metrics)


def require_fidelity(fidelity: pd.DataFrame | None) -> None:
    """WorkbenchError unless the table has the rows and the columns that are shown."""
    if fidelity is None:
        return
    missing = [name for name in FIDELITY_ROWS if name not in fidelity.index]
    missing += [name for name in FIDELITY_METRICS if name not in fidelity.columns]
    if missing:
        raise WorkbenchError(
            f"the fidelity table has no {', '.join(missing)}. Give fidelity.parquet of the stage fidelity."
        )


def selection(state: MapState, points: MapPoints) -> str:
    """Counts and table of the lassoed points."""
    selected = state.selection
    paging = Paging(len(selected), ROWS_PER_PAGE, state.page)
    counts = []
    for source in SOURCES:
        here = selected[points.of_source(source)[selected]]
        by_band = [np.bincount(points.bands[role][here], minlength=len(BANDS)) for role in ROLES]
        counts.append((source, [len(here), *np.concatenate(by_band).tolist()]))
    rows = [
        {
            "number": number, "source": SOURCES[int(points.generated[number])], "row": int(points.row[number]),
            "caption": points.captions[number], "bands": [BANDS[points.bands[role][number]] for role in ROLES],
            "entropy": f"{points.entropy[number]:.4f}",
        }
        for number in map(int, paging.of(selected))
    ]  # fmt: skip
    return render(
        TEMPLATE, part="selection", made=state.selected is not None, paging=paging.values(), roles=ROLES, bands=BANDS,
        counts=counts, rows=rows, point=state.point,
    )  # fmt: skip


@dataclass(frozen=True)
class PointPage:
    """What there is to know of one point: its triplet, its images, the real rows nearest to it."""

    points: MapPoints
    store: FeatureStore
    generated: GeneratedFeatures
    counts: Counts
    thumbnails: Thumbnails

    def html(self, number: int | None) -> str:
        """The details of a point by its number; those of a generated one ask all real rows of the map."""
        details = None if number is None else self._details(number)
        return render(TEMPLATE, part="point", details=details, note=blank_note(self.thumbnails))

    def _details(self, number: int) -> dict[str, Any]:
        points, row, made = self.points, int(self.points.row[number]), bool(self.points.generated[number])
        classes = {role: int(points.classes[role][number]) for role in ROLES}
        facts: dict[str, Any] = {
            "source": SOURCES[made],
            "image": None if made else self._relation(row),
            "row": row,
            "caption": points.captions[number],
            "entropy": float(points.entropy[number]),
            "roles": [
                (role, points.vocabulary.names(role)[own], BANDS[points.bands[role][number]],
                 int(self.counts.of_role(role)[own]))
                for role, own in classes.items()
            ],
        }  # fmt: skip
        if not made:
            return facts
        real = points.row[~points.generated]
        rows, distances = nearest_real_rows(self.store, real, self.generated.union(np.array([row]))[0])
        near = [
            self._relation(int(own), crop=True) | {"distance": float(distance)}
            for own, distance in zip(rows, distances, strict=True)
        ]
        made_of = self.generated.relations.iloc[row]
        origin = None
        if {"source_row", "replaced"} <= set(made_of.index):  # the triplet was augmented from one of train
            origin = (self._caption(int(made_of["source_row"])), str(made_of["replaced"]))
        return facts | {"neighbours": near, "seeds": self._seeds(made_of), "origin": origin}

    def _relation(self, row: int, crop: bool = False) -> dict[str, Any]:
        drawing = scene_svg(scene_of(self.store, row), self.thumbnails, crop=crop)
        return {"drawing": drawing, "caption": self._caption(row), "row": row}

    def _caption(self, row: int) -> str:
        relations = self.store.relations
        return self.points.vocabulary.caption(*(int(relations[role].iat[row]) for role in ROLES))

    def _seeds(self, made_of: pd.Series) -> list[tuple[str, dict[str, Any]]]:
        """The subject's and the object's box that sampling started from, where the generator names them."""
        if not {"subject_box", "object_box"} <= set(made_of.index):
            return []
        boxes = {role: int(made_of[f"{role}_box"]) for role in ("subject", "object")}
        if self.store.entity_region == "union":  # unions stand in for boxes, and a box row is a row of relations
            return [(role, self._relation(row, crop=True)) for role, row in boxes.items()]
        scenes = scene_of_boxes(self.store, *boxes.values())
        return [(role, self._box(role, box, scene)) for (role, box), scene in zip(boxes.items(), scenes, strict=True)]

    def _box(self, role: str, box: int, scene: Scene) -> dict[str, Any]:
        name = self.points.vocabulary.objects[int(self.store.boxes["object_class"].iat[box])]
        drawing = scene_svg(scene, self.thumbnails, crop=True, roles=(role,))
        return {"drawing": drawing, "caption": name, "row": box}
