"""The browser of a feature map: colours, lasso, the nearest real rows of a sample, and the numbers to doubt it by."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.browsers import map_points
from workbench.browsers.drawing import scene_of, scene_of_box, scene_svg
from workbench.browsers.map_figure import LOWEST_OPACITY, MapCanvas, MapState, map_figure
from workbench.browsers.panel import Browser, Paging, Panel, error_html, numbers, render
from workbench.figures.fidelity import HEADLINE_METRICS
from workbench.figures.pages import formatted
from workbench.progress import headless
from workbench.regions.features import FeaturesFolder, GeneratedFeatures
from workbench.regions.nearest import nearest_rows
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES

ROWS_PER_PAGE = 10
MOST_FOUND = 12
FIDELITY_ROWS = ("generated", "floor")
FIDELITY_METRICS = {name: title for name, title in HEADLINE_METRICS.items() if name != "test_on_real"}
_part = partial(render, "feature_map.html.j2")


class FeatureMap(Browser):
    """Real and generated union features on one map, and everything needed to doubt it.

    ``points`` and ``map_metrics``: table and metrics of the stage ``feature_map``; ``features`` and ``generated``: what
    it was made of; ``images``: their folder, if any; ``fidelity``: the table of the stage ``fidelity``; ``right``:
    gives (N,) bool by role for the points (`map_points.right_or_wrong` with what it reads filled in), called when
    somebody asks for that colour; ``init``: where sampling began, as in SamplingConfig. WorkbenchError where points and
    features do not belong together.
    """

    state: MapState
    kind = "map"

    def __init__(
        self,
        points: pd.DataFrame,
        features: FeaturesFolder,
        generated: GeneratedFeatures,
        *,
        images: Path | None = None,
        fidelity: pd.DataFrame | None = None,
        map_metrics: dict[str, Any],
        right: Callable[[pd.DataFrame], dict[str, np.ndarray]] | None = None,
        init: str = "subject-object",
    ):
        super().__init__(_part(part="frame above") + _part(part="frame below"), images)
        self.points, self.state = map_points.MapPoints(points, features, generated, map_metrics), MapState()
        self._fidelity, self._ask_right, self._init = fidelity, right, init
        self._details: dict[str, Any] | None = None
        self._problem = ""
        self._canvas: MapCanvas | None = None
        self.followers: list[Callable[[pd.DataFrame | None], None]] = []

    @property
    def choices(self) -> list[str]:
        """What the points can be coloured by."""
        return [*map_points.COLOURS, *(map_points.BY_RIGHT if self._ask_right else ())]

    @property
    def selection(self) -> pd.DataFrame:
        """The lassoed points: the rows of the table of points, with their captions; empty without a lasso."""
        selected = self.state.selection
        return self.points.table.iloc[selected].assign(caption=self.points.captions[selected])

    def shown(self) -> pd.DataFrame:
        """The lassoed points, all where there is no lasso."""
        table = self.points.table.assign(caption=self.points.captions)
        return table if self.state.selected is None else self.selection

    def figure(self) -> go.Figure:
        """The map in its present state as a plain figure."""
        return map_figure(self.points, self._groups(self.state), self.state.opacity)

    def widget(self) -> Any:
        """The live map: controls and numbers, the figure, and what was clicked and lassoed."""
        import ipywidgets

        if self._canvas is None:
            # Before the figure, whose drawing may take longer than anywidget waits for a panel: two seconds.
            parts = {"above": self.place, "below": ""}  # one of the two keeps the address
            self._panels = tuple(Panel(self, _part(part=f"frame {part}"), place) for part, place in parts.items())
            self._canvas = MapCanvas(self.points, self._groups(self.state), self.state, self._from_figure)
        return ipywidgets.VBox([self._panels[0], self._canvas.widget, self._panels[1]])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if headless():  # the figure, and below it the numbers: a report keeps both outputs
            from IPython.display import display

            display(self.figure())
        return super()._repr_mimebundle_(**options)

    def acts(self, value: str) -> Mapping[str, Callable[[], dict[str, Any] | None]]:
        """What each event changes."""
        return {
            "colour": lambda: {"colour_by": value},
            "source": lambda: {"sources": {*self.state.sources} ^ {value}},
            "opacity": lambda: {"opacity": value},
            "class": lambda: {"classes": self._toggled_classes(*numbers("class", value))},
            "class-reset": lambda: {"classes": ()},
            "class-search": lambda: {"search": value},
            "page": lambda: {"page": self._paging.turned(value)},
            "point": lambda: {"point": value},
            "clear": lambda: {"selected": None},
            "lasso": lambda: {"selected": self._lassoed(value)},
        }

    def change(self, **changes: Any) -> None:
        """Take over ``changes`` in both panels; all that can fail comes first, so that the old state stays whole."""
        state = self.state.changed(self.points, self.choices, **changes)
        drawn = None if changes.keys() <= {"search", "page", "point"} else self._groups(state)
        if state.point != self.state.point:
            self._details = None if state.point is None else self._point(state.point)
        self.state, self._problem = state, ""
        if self._canvas is not None and drawn is not None:
            self._canvas.draw(drawn, state)
        self.shown_again()
        if "selected" in changes:
            for follow in self.followers:
                follow(None if state.selected is None else self.selection)

    def _from_figure(self, **changes: Any) -> None:
        try:
            self.change(**changes)
        except Exception as error:  # what a callback of the figure raises is not seen: it stands below the map
            self._problem = error_html(error)
            self.shown_again()

    def _groups(self, state: MapState) -> list[map_points.Group]:
        right = self._right if state.colour_by in map_points.BY_RIGHT else None
        return map_points.groups(
            self.points, state.colour_by, state.sources, classes=state.told_apart(self.points), right=right
        )

    @cached_property
    def _right(self) -> dict[str, np.ndarray]:
        assert self._ask_right is not None  # else these colours are not among the choices
        return self._ask_right(self.points.table)

    def _toggled_classes(self, toggled: int) -> tuple[int, ...]:
        shown = self.state.told_apart(self.points)
        return tuple(own for own in shown if own != toggled) if toggled in shown else (*shown, toggled)

    def _lassoed(self, corners: str) -> np.ndarray:
        """Numbers of the points that are shown and lie in the lasso."""
        shown = np.concatenate([np.empty(0, dtype=np.int64), *(g.points for g in self._groups(self.state))])
        return np.sort(shown[map_points.inside_lasso(self.points.xy[shown], map_points.lasso_corners(corners))])

    @property
    def _paging(self) -> Paging:
        return Paging(len(self.state.selection), ROWS_PER_PAGE, self.state.page)

    def regions(self) -> dict[str, str]:
        """The HTML around the figure in the present state."""
        return {
            "controls": self._controls(), "numbers": self._numbers(), "problem": self._problem,
            "point": _part(part="point", details=self._details, init=self._init, note=self.thumbnails.note()),
            "selection": self._selection(),
        }  # fmt: skip

    def _controls(self) -> str:
        """Menus and chips: colour, sources, opacity, and the classes that are told apart."""
        points, state = self.points, self.state
        sources = [(own, int(points.of_source(own).sum()), own in state.sources) for own in map_points.SOURCES]
        return _part(
            part="controls", state=state, choices=[(choice, choice) for choice in self.choices], sources=sources,
            lowest=LOWEST_OPACITY, classes=None if state.role is None else self._class_choice(state.role),
        )  # fmt: skip

    def _class_choice(self, role: str) -> dict[str, Any]:
        """The classes of the role that colours: those told apart, and those that the search finds."""
        names, wanted = self.points.vocabulary.names(role), self.state.search.strip().casefold()
        counts = np.bincount(self.points.classes[role], minlength=len(names))
        chosen = self.state.told_apart(self.points)
        by_count = [own for own in np.argsort(-counts, kind="stable").tolist() if counts[own] and own not in chosen]
        found = [own for own in by_count if wanted and wanted in names[own].casefold()]
        return {
            "role": role, "searched": bool(wanted), "full": len(chosen) >= map_points.MOST_CLASSES,
            "most": map_points.MOST_CLASSES, "own": bool(self.state.classes.get(role)),
            "more": max(0, len(found) - MOST_FOUND), "chosen": [(own, names[own], counts[own]) for own in chosen],
            "found": [(own, names[own], counts[own]) for own in found[:MOST_FOUND]],
        }  # fmt: skip

    def _numbers(self) -> str:
        """How the map was made and how far it may be trusted: fidelity beside its floor, trustworthiness."""
        rows = []
        if self._fidelity is not None:
            shown = self._fidelity.loc[list(FIDELITY_ROWS), list(FIDELITY_METRICS)].astype(float)
            rows = [[name, *map(formatted, values)] for name, *values in shown.itertuples()]
        columns = ["", *FIDELITY_METRICS.values()]
        return _part(part="numbers", rows=rows, columns=columns, metrics=self.points.metrics)

    def _point(self, number: int) -> dict[str, Any]:
        """What the template shows of a point; for a generated one all real rows of the map are asked."""
        points, point = self.points, self.points.table.loc[number]
        row, counts = int(point["row"]), points.features.counts
        facts = {"caption": points.captions[number], **point, "roles": [
            (role, points.vocabulary.names(role)[point[role]], point[f"{role}_band"], counts.of_role(role)[point[role]])
            for role in ROLES
        ]}  # fmt: skip
        if point["source"] == "real":
            return facts | {"image": self._relation(row)}
        feature, made_of = points.samples.union(np.array([row]))[0], points.samples.relations.iloc[row]
        nearest = nearest_rows(points.features.train, points.row[~points.generated], feature)
        near = [self._relation(own, crop=True) | {"distance": far} for own, far in zip(*nearest, strict=True)]
        origin = None
        if {"source_row", "replaced"} <= set(made_of.index):  # the triplet was augmented from one of train
            origin = (self._caption(made_of["source_row"]), made_of["replaced"])
        return facts | {"neighbours": near, "seeds": self._seeds(made_of), "origin": origin}

    def _relation(self, row: int, crop: bool = False) -> dict[str, Any]:
        drawing = scene_svg(scene_of(self.points.features.train, row), self.thumbnails, crop=crop)
        return {"drawing": drawing, "caption": self._caption(row), "row": row}

    def _caption(self, row: int) -> str:
        return self.points.vocabulary.caption(*self.points.features.train.relations[list(ROLES)].iloc[row])

    def _seeds(self, made_of: pd.Series) -> list[tuple[str, dict[str, Any]]]:
        """The subject's and the object's box that sampling started from, where the generator names them."""
        store, seeds = self.points.features.train, []
        for role in ("subject", "object"):
            box = int(made_of.get(f"{role}_box", -1))
            if box >= 0 and store.entity_region == "union":  # unions stand in for boxes: a box row is a relation's
                seeds.append((role, self._relation(box, crop=True)))
            elif box >= 0:
                drawing = scene_svg(scene_of_box(store, box), self.thumbnails, crop=True, roles=(role,))
                caption = self.points.vocabulary.objects[int(store.boxes["object_class"].iat[box])]
                seeds.append((role, {"drawing": drawing, "caption": caption}))
        return seeds

    def _selection(self) -> str:
        """Counts and table of the lassoed points."""
        chosen, counts = self.selection, []
        for source in map_points.SOURCES:
            here = chosen[chosen["source"] == source]
            by_band = [(here[f"{role}_band"] == band).sum() for role in ROLES for band in BANDS]
            counts.append((source, [len(here), *by_band]))
        rows = self._paging.of(chosen).reset_index(names="number").to_dict("records")
        return _part(
            part="selection", made=self.state.selected is not None, paging=self._paging, roles=ROLES, bands=BANDS,
            counts=counts, rows=rows, point=self.state.point,
        )  # fmt: skip
