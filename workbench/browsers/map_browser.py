"""The browser of a feature map: colours, lasso, the nearest real rows of a sample, and the numbers to doubt it by."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.browsers import map_page as page
from workbench.browsers.drawing import Thumbnails
from workbench.browsers.map_figure import BY_CLASS, BY_RIGHT, Group, MapCanvas, colour_choices, groups, map_figure
from workbench.browsers.map_page import MapState, PointPage
from workbench.browsers.map_points import MapPoints, inside_lasso, lasso_corners
from workbench.browsers.panel import Page, Panel, Shown, error_html
from workbench.browsers.widgets import Paging
from workbench.errors import WorkbenchError
from workbench.progress import headless
from workbench.regions.features import FeaturesFolder, GeneratedFeatures
from workbench.scenes.vocabulary import ROLES

ABOVE, BELOW = ("controls", "numbers"), ("problem", "point", "selection")
REDRAWN = ("colour_by", "sources", "classes")


class FeatureMap(Shown):
    """Real and generated union features on one map, and everything needed to doubt it.

    ``points`` and ``map_metrics``: table and metrics of the stage ``feature_map``; ``features`` and ``generated``: what
    it was made of; ``images``: their folder, if any; ``fidelity``: the table of the stage ``fidelity``;
    ``right``: gives (N,) bool by role for the points (`map_points.right_or_wrong` with its folders filled in),
    called when somebody asks for that colour. WorkbenchError where points and features do not belong together.
    """

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
    ):
        page.require_fidelity(fidelity)
        self.points = MapPoints(points, features.train, generated, features.vocabulary, map_metrics)
        self.thumbnails, self.state = Thumbnails(images), MapState()
        self._point_page = PointPage(self.points, features.train, generated, features.counts, self.thumbnails)
        self._fidelity, self._metrics, self._ask_right = fidelity, map_metrics, right
        self._point, self._problem = self._point_page.html(None), ""
        self._canvas: MapCanvas | None = None
        self._panels: list[Panel] = []
        self.frame = page.frame("above") + page.frame("below")

    @property
    def choices(self) -> list[str]:
        """What the points can be coloured by."""
        return colour_choices(self._ask_right is not None)

    @property
    def selection(self) -> pd.DataFrame:
        """The lassoed points: the rows of the table of points, with their captions; empty without a lasso."""
        selected = self.state.selection
        return self.points.table.iloc[selected].assign(caption=self.points.captions[selected])

    def set(self, **changes: Any) -> None:
        """Change the state as a click would: colour_by, sources, opacity, classes, search, selected, page or point.

        ``classes`` are names of the role that colours; ``selected`` and ``point`` are numbers of points (rows of the
        table of points). WorkbenchError for what there is not.
        """
        self._change(changes)
        self.shown_again()

    def handle(self, event: str, value: str | None) -> None:
        """Carry out one act of the user in the panels."""
        acts: dict[str, Callable[[], dict[str, Any]]] = {
            "colour": lambda: {"colour_by": value},
            "source": lambda: {"sources": tuple({*self.state.sources} ^ {value})},
            "opacity": lambda: {"opacity": value},
            "class": lambda: {"classes": self._toggled_class(value)},
            "class-reset": lambda: {"classes": ()},
            "class-search": lambda: {"search": value or ""},
            "page": lambda: {"page": self._paging().turned(value)},
            "point": lambda: {"point": value},
            "clear": lambda: {"selected": None},
            "lasso": lambda: {"selected": self._lassoed(value)},
        }
        if event == "theme":
            if self._canvas is not None:
                self._canvas.themed("dark" if value == "dark" else "light")
            return
        if event not in acts:
            raise WorkbenchError(f"a feature map knows no event {event!r}; expected one of {', '.join(acts)}.")
        self._change(acts[event]())
        self.shown_again()

    def figure(self) -> go.Figure:
        """The map in its present state as a plain figure."""
        return map_figure(self.points, self._groups(self.state), self.state.opacity, self._title())

    def widget(self) -> Any:
        """The live map: controls and numbers, the figure, and what was clicked and lassoed."""
        import ipywidgets

        if self._canvas is None:
            self._canvas = MapCanvas(
                self.points, self._groups(self.state), self.state.opacity, self._title(),
                on_click=lambda number: self._from_figure({"point": number}),
                on_deselect=lambda: self._from_figure({"selected": None}),
            )  # fmt: skip
            self._canvas.mark(self.state.selected)
            self._panels = [Panel(_Part(self, name, regions)) for name, regions in (("above", ABOVE), ("below", BELOW))]
        return ipywidgets.VBox([self._panels[0], self._canvas.widget, self._panels[1]])

    def regions(self) -> dict[str, str]:
        """The HTML around the figure in the present state."""
        return {name: self.region(name) for name in (*ABOVE, *BELOW)}

    def region(self, name: str) -> str:
        """The HTML of one region."""
        made = {
            "controls": lambda: page.controls(self.state, self.points, self.choices),
            "numbers": lambda: page.numbers(self._fidelity, self._metrics),
            "problem": lambda: self._problem,
            "point": lambda: self._point,
            "selection": lambda: page.selection(self.state, self.points),
        }
        return made[name]()

    def shown_again(self) -> None:
        """Show a state that was changed from Python."""
        for panel in self._panels:
            panel.refresh()

    def _ipython_display_(self) -> None:
        """Live in JupyterLab; in a headless run the figure, and below it the numbers: a report keeps both outputs."""
        from IPython.display import HTML, display

        if headless():
            display(self.figure(), HTML(self.view()))
        else:
            data, metadata = self._repr_mimebundle_()
            display(data, metadata=metadata, raw=True)

    def _change(self, changes: dict[str, Any]) -> None:
        """All that can fail comes first, so that the old state stays whole."""
        state = self.state.changed(
            changes, choices=self.choices, points=len(self.points), vocabulary=self.points.vocabulary
        )
        drawn = self._groups(state) if any(name in changes for name in REDRAWN) else None
        if state.point != self.state.point:
            self._point = self._point_page.html(state.point)
        self.state, self._problem = state, ""
        if self._canvas is None:
            return
        if drawn is not None:
            self._canvas.draw(drawn, state.opacity, state.selected)
            return
        if "opacity" in changes:
            self._canvas.fade(state.opacity)
        if "selected" in changes:
            self._canvas.mark(state.selected)

    def _groups(self, state: MapState) -> list[Group]:
        right = self._right if state.colour_by in BY_RIGHT else None
        classes = page.chosen_classes(state, self.points)
        return groups(self.points, state.colour_by, state.sources, classes=classes, right=right)

    @cached_property
    def _right(self) -> dict[str, np.ndarray]:
        assert self._ask_right is not None  # else these colours are not among the choices
        return self._ask_right(self.points.table)

    def _lassoed(self, corners: str | None) -> np.ndarray:
        """Numbers of the points that are shown and lie in the lasso."""
        shown = np.concatenate([np.empty(0, dtype=np.int64), *(g.points for g in self._groups(self.state))])
        return np.sort(shown[inside_lasso(self.points.xy[shown], lasso_corners(corners))])

    def _toggled_class(self, value: str | None) -> tuple[str, ...]:
        names = self.points.vocabulary.names(BY_CLASS.get(self.state.colour_by, ROLES[0]))
        if value is None or not value.isdecimal() or int(value) >= len(names):
            raise WorkbenchError(f"there is no class {value!r}; expected a number from 0 to {len(names) - 1}.")
        shown, toggled = page.chosen_classes(self.state, self.points), int(value)
        kept = tuple(own for own in shown if own != toggled)
        return tuple(names[own] for own in (kept if toggled in shown else (*shown, toggled)))

    def _paging(self) -> Paging:
        return Paging(len(self.state.selection), page.ROWS_PER_PAGE, self.state.page)

    def _title(self) -> str:
        real, made = int((~self.points.generated).sum()), int(self.points.generated.sum())
        return f"{real:,} real rows (small dots), {made:,} generated ones (large)"

    def _from_figure(self, changes: dict[str, Any]) -> None:
        try:
            self._change(changes)
        except Exception as error:  # what a callback of the figure raises is not seen: it stands below the map
            self._problem = error_html(error)
        self.shown_again()


class _Part(Page):
    """Some of the map's regions as the page of one panel."""

    def __init__(self, browser: FeatureMap, name: str, regions: tuple[str, ...]):
        self._browser, self._regions = browser, regions
        self.frame, self.thumbnails = page.frame(name), browser.thumbnails

    def regions(self) -> dict[str, str]:
        return {name: self._browser.region(name) for name in self._regions}

    def handle(self, event: str, value: str | None) -> None:
        self._browser.handle(event, value)
