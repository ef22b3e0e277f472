"""A feature map as a plotly figure, and the live canvas that changes colours without being drawn anew."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import plotly.graph_objects as go

from workbench.browsers.map_colours import MOST_GROUPS, Group
from workbench.browsers.map_points import MapPoints
from workbench.figures.style import FONT_SIZE_PX, GROUNDS, PLOTLY_CONFIG, SEQUENTIAL_SCALE, figure

HEIGHT_PX = 620
REAL_SIZE_PX, GENERATED_SIZE_PX = 3, 5
# Captions at the pointer are text for every point: beyond this many a click tells instead.
MOST_HOVER_TEXTS = 20_000
MARGIN = 0.03
HOVER_TEXT = "%{text}<extra>%{fullData.name}</extra>"
HOVER_NUMBER = "point %{customdata}<extra>%{fullData.name}</extra>"


def map_figure(points: MapPoints, groups: list[Group], opacity: float, title: str) -> go.Figure:
    """The map with one WebGL trace for each group; the axes have no unit, so they have no numbers."""
    picture = _empty(points, title)
    picture.add_traces([go.Scattergl(_trace(points, group, opacity)) for group in groups])
    return picture


class _LiveFigure(go.FigureWidget):
    """A figure widget that gives its present traces to a page that is loaded anew, where plotly's gives its first."""

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        if key is None and getattr(self, "_data_objs", None):
            # Past the notification, which would send all points a second time to the pages that have them.
            self._trait_values |= {"_widget_data": deepcopy(self._data), "_widget_layout": deepcopy(self._layout)}
        return super().get_state(key, drop_defaults)


class MapCanvas:
    """The live figure: ``widget`` holds a trace for each group that there can be, filled anew when the colours change.

    ``on_click`` gets a point's number; ``on_deselect`` is called when a double click lifts the selection. Lassos are
    drawn by panel_figure.js: plotly's own marks all points anew at every move of the mouse.
    """

    def __init__(
        self,
        points: MapPoints,
        groups: list[Group],
        opacity: float,
        title: str,
        *,
        on_click: Callable[[int], None],
        on_deselect: Callable[[], None],
    ):
        self._points, self._groups = points, groups
        self._on_click, self._on_deselect = on_click, on_deselect
        traces = [go.Scattergl(self._properties(number, opacity, None)) for number in range(MOST_GROUPS)]
        self.widget = _LiveFigure(_empty(points, title).add_traces(traces))
        # The one way to switch off the button that sends data to a server, which is on by default in a widget.
        own = {"scrollZoom": True, "modeBarButtonsToRemove": ["select2d"]}
        self.widget._config = dict(self.widget._config or {}) | PLOTLY_CONFIG | own
        for trace in self.widget.data:
            trace.on_click(self._clicked)
        self.widget.data[-1].on_deselect(lambda *_: self._on_deselect())

    def draw(self, groups: list[Group], opacity: float, selected: np.ndarray | None) -> None:
        """Show ``groups`` in one message; zoom and pan stay, ``selected`` point numbers stay marked."""
        self._groups = groups
        with self.widget.batch_update():
            for number, trace in enumerate(self.widget.data):
                for name, value in self._properties(number, opacity, selected).items():
                    trace[name] = value

    def _properties(self, number: int, opacity: float, selected: np.ndarray | None) -> dict[str, Any]:
        """All that a trace's group decides; a trace without a group is empty."""
        properties = {"mode": "markers", "visible": False, "x": [], "y": [], "text": None, "customdata": None}
        if number >= len(self._groups):
            return properties | {"selectedpoints": None}
        group = self._groups[number]
        properties |= {"visible": True, "selectedpoints": _places(group.points, selected)}
        return properties | _trace(self._points, group, opacity)

    def fade(self, opacity: float) -> None:
        """Change the opacity alone."""
        with self.widget.batch_update():
            for trace in self.widget.data[: len(self._groups)]:
                trace.marker.opacity = opacity

    def themed(self, theme: str) -> None:
        """Stand on the ground of a "light" or a "dark" page."""
        paper, ink, grid = GROUNDS[theme]
        axis = {"gridcolor": grid}
        bar = {"bgcolor": paper, "color": ink, "activecolor": ink}
        self.widget.update_layout(
            paper_bgcolor=paper, plot_bgcolor=paper, font_color=ink, xaxis=axis, yaxis=axis, modebar=bar
        )

    def mark(self, selected: np.ndarray | None) -> None:
        """Let all but the selected points fade; None marks all alike."""
        with self.widget.batch_update():
            for trace, group in zip(self.widget.data, self._groups, strict=False):
                trace.selectedpoints = _places(group.points, selected)

    def _clicked(self, _: Any, event: Any, __: Any) -> None:
        # Every trace hears of a click, only one of them with a point.
        if event.point_inds and event.trace_index < len(self._groups):
            self._on_click(int(self._groups[event.trace_index].points[event.point_inds[0]]))


def _trace(points: MapPoints, group: Group, opacity: float) -> dict[str, Any]:
    here = group.points
    few = len(points) <= MOST_HOVER_TEXTS
    properties = {
        "x": points.xy[here, 0], "y": points.xy[here, 1], "customdata": here.astype(np.int32), "mode": "markers",
        "name": group.label, "marker": _marker(points, group, opacity), "showlegend": True,
        "hovertemplate": HOVER_TEXT if few else HOVER_NUMBER,
    }  # fmt: skip
    return properties | ({"text": points.escaped_captions[here]} if few else {})


def _marker(points: MapPoints, group: Group, opacity: float) -> dict[str, Any]:
    generated = points.generated[group.points]
    marker: dict[str, Any] = {"opacity": opacity, "color": group.colour, "showscale": False, "line": {"width": 0}}
    if generated.all() or not generated.any():
        marker["size"] = GENERATED_SIZE_PX if generated.any() else REAL_SIZE_PX
    else:
        marker["size"] = np.where(generated, GENERATED_SIZE_PX, REAL_SIZE_PX).astype(np.uint8)
    if group.values is not None:
        bar = {"title": {"text": "entropy, nats", "side": "right"}, "thickness": 14}
        marker |= {"color": group.values, "colorscale": SEQUENTIAL_SCALE, "showscale": True, "colorbar": bar}
    return marker


def _places(points: np.ndarray, selected: np.ndarray | None) -> np.ndarray | None:
    """Where the selected points stand in a group; None marks nothing as left out."""
    return None if selected is None else np.flatnonzero(np.isin(points, selected))


def _empty(points: MapPoints, title: str) -> go.Figure:
    picture = figure(height=HEIGHT_PX, title=title, dragmode="lasso", hovermode="closest", uirevision="map")
    for axis, update in enumerate((picture.update_xaxes, picture.update_yaxes)):
        low, high = _range(points.xy[:, axis])
        update(showticklabels=False, title="", zeroline=False, range=[low, high])
    # One scale for both; where the window's shape does not fit, the frame shrinks and not the map inside it.
    picture.update_xaxes(constrain="domain")
    picture.update_yaxes(constrain="domain", scaleanchor="x")
    # Markers of constant size in the legend, whatever their size in the map.
    legend = {"itemsizing": "constant", "font": {"size": FONT_SIZE_PX}}
    return picture.update_layout(legend=legend, margin={"l": 20, "b": 20})


def _range(values: np.ndarray) -> tuple[float, float]:
    """Fixed from all points, so that nothing jumps when some are hidden."""
    low, high = float(values.min()), float(values.max())
    room = MARGIN * (high - low) or 1.0
    return low - room, high + room
