"""A feature map as a plotly figure: what is chosen, and the live canvas that changes in place."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.browsers.map_points import (
    BY_CLASS,
    BY_SOURCE,
    MOST_CLASSES,
    MOST_GROUPS,
    SOURCES,
    Group,
    MapPoints,
    frequent_classes,
)
from workbench.browsers.panel import in_order, places, require_changes
from workbench.errors import WorkbenchError
from workbench.figures.style import FONT_SIZE_PX, PLOTLY_CONFIG, SEQUENTIAL_SCALE, figure

LOWEST_OPACITY = 0.05
HEIGHT_PX = 620
REAL_SIZE_PX, GENERATED_SIZE_PX = 3, 5
# Captions at the pointer are text for every point: beyond this many a click tells instead.
MOST_HOVER_TEXTS = 20_000
MARGIN = 0.03


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

    @property
    def role(self) -> str | None:
        """The role whose classes colour the points, if any."""
        return BY_CLASS.get(self.colour_by)

    def told_apart(self, points: MapPoints) -> tuple[int, ...]:
        """The classes that have a colour: those chosen, else the most frequent; none without class colours."""
        return () if self.role is None else self.classes.get(self.role) or frequent_classes(points, self.role)

    def changed(self, points: MapPoints, choices: list[str], /, **changes: Any) -> "MapState":
        """The state after ``changes``; WorkbenchError for names and values that there are not.

        ``choices`` for colours. ``classes`` are names, or ids, of the role whose classes colour the map.
        """
        require_changes("FeatureMap", MapState, changes, colour_by=choices)
        if "sources" in changes:
            changes["sources"] = in_order("sources", changes["sources"], SOURCES)
            if not changes["sources"]:
                raise WorkbenchError(f"no sources would be shown; expected one or both of {', '.join(SOURCES)}.")
        if "opacity" in changes:
            opacity = pd.to_numeric(changes["opacity"], errors="coerce")
            if not LOWEST_OPACITY <= opacity <= 1:
                raise WorkbenchError(f"opacity {changes['opacity']!r}: expected a number from {LOWEST_OPACITY} to 1.")
            changes["opacity"] = float(opacity)
        if changes.get("selected") is not None:
            changes["selected"] = np.unique(places("point", changes["selected"], len(points)))
        if changes.get("point") is not None:
            changes["point"] = int(places("point", [changes["point"]], len(points))[0])
        if "selected" in changes:
            changes.setdefault("page", 1)
        if changes.get("colour_by", self.colour_by) != self.colour_by:
            changes.setdefault("search", "")
        wanted = changes.pop("classes", None)
        if isinstance(wanted, dict):  # of all roles, as the state has them
            kept = {role: tuple(points.vocabulary.class_id(role, own) for own in ids) for role, ids in wanted.items()}
            return replace(self, **changes, classes=kept)
        new = replace(self, **changes)
        if wanted is None:
            return new
        if new.role is None:
            raise WorkbenchError(f"the map is coloured by {new.colour_by}; choose one of {', '.join(BY_CLASS)} first.")
        given = [wanted] if isinstance(wanted, str) else wanted
        classes = tuple(dict.fromkeys(points.vocabulary.class_id(new.role, own) for own in given))
        if len(classes) > MOST_CLASSES:
            raise WorkbenchError(f"{len(classes)} classes cannot be told apart; choose at most {MOST_CLASSES}.")
        return replace(new, classes=self.classes | {new.role: classes})


def map_figure(points: MapPoints, groups: list[Group], opacity: float) -> go.Figure:
    """The map with one WebGL trace for each group; the axes have no unit, so they have no numbers."""
    chart = _empty(points)
    chart.add_traces([go.Scattergl(_trace(points, group, opacity)) for group in groups])
    return chart


class _LiveFigure(go.FigureWidget):
    """A figure widget that gives its present traces to a page that is loaded again, where plotly's gives its first."""

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        if key is None and getattr(self, "_data_objs", None):
            # Past the notification, which would send all points a second time to the pages that have them.
            self._trait_values |= {"_widget_data": deepcopy(self._data), "_widget_layout": deepcopy(self._layout)}
        return super().get_state(key, drop_defaults)


class MapCanvas:
    """The live figure: ``widget`` holds a trace for each group that there can be, filled again when the colours change.

    ``change`` gets the ``point`` that was clicked, and ``selected=None`` when a double click lifts the selection.
    Lassos are drawn by panel_figure.js: plotly's own marks all points again at every move of the mouse.
    """

    def __init__(self, points: MapPoints, groups: list[Group], state: MapState, change: Callable[..., None]):
        self._points, self._groups, self._change = points, groups, change
        # Without their properties plotly.js would refuse them.
        traces = [go.Scattergl(properties) for properties in self._properties(state)]
        self.widget = _LiveFigure(_empty(points).add_traces(traces))
        # The one way to switch off the button that sends data to a server, which is on by default in a widget.
        own = {"scrollZoom": True, "modeBarButtonsToRemove": ["select2d"]}
        self.widget._config = dict(self.widget._config or {}) | PLOTLY_CONFIG | own
        for trace in self.widget.data:
            trace.on_click(self._clicked)
        self.widget.data[-1].on_deselect(lambda *_: change(selected=None))

    def draw(self, groups: list[Group], state: MapState) -> None:
        """Show ``groups``, what differs in one message; zoom and pan stay, all but the selected points fade."""
        self._groups = groups
        with self.widget.batch_update():
            for trace, properties in zip(self.widget.data, self._properties(state), strict=True):
                for name, value in properties.items():
                    trace[name] = value

    def _properties(self, state: MapState) -> list[dict[str, Any]]:
        """All that the groups decide of each trace; those without a group are empty."""
        empty: dict[str, Any] = dict.fromkeys(("text", "customdata", "selectedpoints"))
        empty |= {"mode": "markers", "visible": False, "x": [], "y": []}
        made = [empty] * MOST_GROUPS
        for number, group in enumerate(self._groups):
            marked = None if state.selected is None else np.flatnonzero(np.isin(group.points, state.selected))
            drawn = _trace(self._points, group, state.opacity)
            made[number] = empty | drawn | {"visible": True, "selectedpoints": marked}
        return made

    def _clicked(self, _: Any, event: Any, __: Any) -> None:
        # Every trace hears of a click, only one of them with a point.
        if event.point_inds and event.trace_index < len(self._groups):
            self._change(point=int(self._groups[event.trace_index].points[event.point_inds[0]]))


def _trace(points: MapPoints, group: Group, opacity: float) -> dict[str, Any]:
    here, generated = group.points, points.generated[group.points]
    marker: dict[str, Any] = {"opacity": opacity, "color": group.colour, "showscale": False, "line": {"width": 0}}
    marker["size"] = np.where(generated, GENERATED_SIZE_PX, REAL_SIZE_PX).astype(np.uint8)
    if generated.all() or not generated.any():
        marker["size"] = int(marker["size"][0])
    if group.values is not None:
        bar = {"title": {"text": "entropy, nats", "side": "right"}, "thickness": 14}
        marker |= {"color": group.values, "colorscale": SEQUENTIAL_SCALE, "showscale": True, "colorbar": bar}
    few = len(points) <= MOST_HOVER_TEXTS
    return {
        "x": points.xy[here, 0], "y": points.xy[here, 1], "customdata": here.astype(np.int32), "mode": "markers",
        "name": group.label, "marker": marker, "showlegend": True,
        "hovertemplate": f"{'%{text}' if few else 'point %{customdata}'}<extra>%{{fullData.name}}</extra>",
        **({"text": points.escaped_captions[here]} if few else {}),
    }  # fmt: skip


def _empty(points: MapPoints) -> go.Figure:
    real, made = (int(points.of_source(source).sum()) for source in SOURCES)
    title = f"{real:,} real rows (small dots), {made:,} generated ones (large)"
    chart = figure(height=HEIGHT_PX, title=title, dragmode="lasso", hovermode="closest", uirevision="map")
    # Fixed from all points, so that nothing jumps when some are hidden.
    low, high = points.xy.min(axis=0), points.xy.max(axis=0)
    room = MARGIN * (high - low) + (high == low)
    across, along = np.stack([low - room, high + room], axis=1).tolist()
    # One scale for both; where the window's shape does not fit, the frame shrinks and not the map inside it.
    axis = {"showticklabels": False, "title": "", "zeroline": False, "constrain": "domain"}
    chart.update_xaxes(axis, range=across).update_yaxes(axis, range=along, scaleanchor="x")
    # Markers of constant size in the legend, whatever their size in the map.
    legend = {"itemsizing": "constant", "font": {"size": FONT_SIZE_PX}}
    return chart.update_layout(legend=legend, margin={"l": 20, "b": 20})
