"""A feature map as a plotly figure: what its colours can mean, and the live canvas that changes them in place."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from workbench.browsers.map_points import SOURCES, MapPoints
from workbench.errors import WorkbenchError
from workbench.figures.style import (
    BAND_COLOURS,
    CLASS_COLOURS,
    FONT_SIZE_PX,
    GROUNDS,
    OTHER_COLOUR,
    PLOTLY_CONFIG,
    RIGHT_WRONG_COLOURS,
    SEQUENTIAL_SCALE,
    SOURCE_COLOURS,
    figure,
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
HEIGHT_PX = 620
REAL_SIZE_PX, GENERATED_SIZE_PX = 3, 5
# Captions at the pointer are text for every point: beyond this many a click tells instead.
MOST_HOVER_TEXTS = 20_000
MARGIN = 0.03
HOVER_TEXT = "%{text}<extra>%{fullData.name}</extra>"
HOVER_NUMBER = "point %{customdata}<extra>%{fullData.name}</extra>"


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
    if colour_by in BY_RIGHT and right is not None:
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


def map_figure(points: MapPoints, groups: list[Group], opacity: float, title: str) -> go.Figure:
    """The map with one WebGL trace for each group; the axes have no unit, so they have no numbers."""
    chart = _empty(points, title)
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

    ``on_click`` gets a point's number; ``on_deselect`` is called when a double click lifts the selection. Lassos are
    drawn by panel_figure.js: plotly's own marks all points again at every move of the mouse.
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
    chart = figure(height=HEIGHT_PX, title=title, dragmode="lasso", hovermode="closest", uirevision="map")
    for axis, update in enumerate((chart.update_xaxes, chart.update_yaxes)):
        low, high = _range(points.xy[:, axis])
        update(showticklabels=False, title="", zeroline=False, range=[low, high])
    # One scale for both; where the window's shape does not fit, the frame shrinks and not the map inside it.
    chart.update_xaxes(constrain="domain")
    chart.update_yaxes(constrain="domain", scaleanchor="x")
    # Markers of constant size in the legend, whatever their size in the map.
    legend = {"itemsizing": "constant", "font": {"size": FONT_SIZE_PX}}
    return chart.update_layout(legend=legend, margin={"l": 20, "b": 20})


def _range(values: np.ndarray) -> tuple[float, float]:
    """Fixed from all points, so that nothing jumps when some are hidden."""
    low, high = float(values.min()), float(values.max())
    room = MARGIN * (high - low) or 1.0
    return low - room, high + room
