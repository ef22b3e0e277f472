"""What methods trade: the change on frequent classes against the change on rare ones, with intervals over seeds."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.style import GROUP_COLOURS, GUIDE_COLOUR, SMALL_FONT_PX, plain_text, use_workbench_style
from workbench.tables.results import TableResults

ROLES = ("combined", "relation")
_SYMBOLS = ("circle", "diamond", "square", "cross")
_HINTS = {
    (0.01, 0.99, "left", "top"): "rare up, frequent down",
    (0.99, 0.99, "right", "top"): "both up",
    (0.01, 0.01, "left", "bottom"): "both down",
    (0.99, 0.01, "right", "bottom"): "frequent up, rare down",
}


def trade_table(results: TableResults, metric: str) -> pd.DataFrame:
    """Paired changes of every row against the one that it changes, on many and on few classes, percentage points.

    Columns: title, against, architecture, group, curve (None or a name), role (combined or relation), many,
    many_half_width, few, few_half_width (95 % t-intervals over seeds, missing for one seed), pairs (seeds). Rows
    that change no other, or have no seed in common with it, are left out.
    """
    rows = []
    for row in results.rows.values():
        for role in ROLES:
            changes = _changes(results, row.key, row.compared_with, f"{metric} {role}")
            if changes is not None:
                named = {name: getattr(row, name) for name in ("title", "architecture", "group", "curve")}
                rows.append({**named, "against": results.rows[row.compared_with or ""].title, "role": role, **changes})
    columns = ["title", "against", "role", "architecture", "group", "curve", "many", "many_half_width", "few"]
    return pd.DataFrame(rows, columns=[*columns, "few_half_width", "pairs"])


def _changes(results: TableResults, later: str, earlier: str | None, name: str) -> dict[str, Any] | None:
    many, few = (results.difference(later, earlier, f"{name} {band}") for band in ("many", "few"))
    if many is None or few is None:
        return None
    return {
        "many": many["mean"], "many_half_width": many["half_width"],
        "few": few["mean"], "few_half_width": few["half_width"],
        "pairs": min(len(many["values"]), len(few["values"])),
    }  # fmt: skip


def trade_off(table: pd.DataFrame, metric: str) -> go.Figure:
    """Change on many (x) against change on few (y), a point a row with its intervals, curves joined.

    ``table`` is what `trade_table` made; colour tells the family of methods, the symbol the recogniser; the
    legend counts the rows of each.
    """
    use_workbench_style()
    titles = [f"{role.capitalize()}, points" for role in ROLES]
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.09)
    architectures = list(dict.fromkeys(table["architecture"]))
    symbols = {name: _SYMBOLS[place % len(_SYMBOLS)] for place, name in enumerate(architectures)}
    legend: set[str] = set()
    numbers = {name: table.groupby([name, "role"]).size().groupby(name).max() for name in ("group", "architecture")}
    for column, role in enumerate(ROLES, start=1):
        here = table[table["role"] == role]
        _add_curves(figure, here, column)
        for (group, architecture), points in here.groupby(["group", "architecture"], sort=False):
            trace = _points(points, group, symbols[architecture])
            trace.update(name=f"{plain_text(group)} ({numbers['group'][group]})", showlegend=group not in legend)
            figure.add_trace(trace, row=1, col=column)
            legend.add(group)
        figure.update_xaxes(range=_range(here, "many"), row=1, col=column)
        figure.update_yaxes(range=_range(here, "few"), row=1, col=column)
        _add_ground(figure, column)
    _add_symbols_to_legend(figure, symbols, numbers["architecture"])
    if table.empty:
        figure.add_annotation(text="No row stands beside its baseline yet.", x=0.5, y=0.5, xref="paper",
                               yref="paper", showarrow=False, font_size=16)  # fmt: skip
    figure.update_xaxes(title="change on many")
    figure.update_yaxes(title="change on few", row=1, col=1)
    return figure.update_layout(
        title=f"Change on few and on many against each row's baseline, {metric} match",
        height=560, margin_t=140, legend_y=1.08,
    )  # fmt: skip


def _points(points: pd.DataFrame, group: str, symbol: str) -> go.Scatter:
    hovers = [_hover(point) for point in points.itertuples()]
    bars = {"thickness": 1, "width": 3, "color": f"{GROUP_COLOURS[group]}80"}
    return go.Scatter(
        x=points["many"], y=points["few"], mode="markers", legendgroup=group,
        marker={"color": GROUP_COLOURS[group], "symbol": symbol, "size": 10, "line": {"color": "white", "width": 1}},
        error_x={**bars, "array": points["many_half_width"].fillna(0)},
        error_y={**bars, "array": points["few_half_width"].fillna(0)},
        text=hovers, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _range(points: pd.DataFrame, band: str) -> list[float]:
    """Ends of an axis that hold all bars and leave both sides of 0 room for the words of their quadrants."""
    widths = points[f"{band}_half_width"].astype(float).fillna(0)
    low, high = min([*(points[band] - widths), 0.0]), max([*(points[band] + widths), 0.0])
    room = 0.4 * max(high - low, 1.0)
    return [min(1.1 * low, -room), max(1.1 * high, room)]


def _hover(point: Any) -> str:
    seeds = "one seed, no interval" if point.pairs == 1 else f"{point.pairs} seeds"
    many, few = _formatted(point.many, point.many_half_width), _formatted(point.few, point.few_half_width)
    return f"{plain_text(point.title)}<br>against {plain_text(point.against)}<br>many {many}, few {few}<br>{seeds}"


def _formatted(change: float, half_width: float) -> str:
    return f"{change:+.2f}" + ("" if pd.isna(half_width) else f" ± {half_width:.2f}")


def _add_curves(figure: go.Figure, here: pd.DataFrame, column: int) -> None:
    """A dotted line through the rows of each named curve, in the order of the results."""
    for (curve, _), points in here.dropna(subset="curve").groupby(["curve", "architecture"], sort=False):
        colour = GROUP_COLOURS[points["group"].iloc[0]]
        figure.add_scatter(
            x=points["many"], y=points["few"], mode="lines", name=plain_text(curve), showlegend=False, hoverinfo="skip",
            line={"color": colour, "width": 1.5, "dash": "dot"}, row=1, col=column,
        )  # fmt: skip


def _add_symbols_to_legend(figure: go.Figure, symbols: dict[str, str], numbers: pd.Series) -> None:
    for architecture, symbol in symbols.items():
        marker = {"color": GUIDE_COLOUR, "symbol": symbol, "size": 10}
        name = f"{plain_text(architecture)} ({numbers[architecture]})"
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, row=1, col=1)


def _add_ground(figure: go.Figure, column: int) -> None:
    """The lines of no change, and in each corner what it means."""
    figure.add_hline(y=0, line={"color": GUIDE_COLOUR, "width": 1}, row=1, col=column)
    figure.add_vline(x=0, line={"color": GUIDE_COLOUR, "width": 1}, row=1, col=column)
    for (x, y, x_anchor, y_anchor), words in _HINTS.items():
        figure.add_annotation(
            text=words, x=x, y=y, xanchor=x_anchor, yanchor=y_anchor, xref="x domain", yref="y domain",
            showarrow=False, font={"size": SMALL_FONT_PX, "color": GUIDE_COLOUR}, row=1, col=column,
        )  # fmt: skip
