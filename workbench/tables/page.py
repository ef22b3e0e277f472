"""What notebook 06 shows: tables, aims and claims as HTML, the paper above ours, and what methods trade as a figure."""

import math
from collections.abc import Callable
from itertools import cycle, groupby, product
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.figures import style
from workbench.figures.pages import rendered, signed
from workbench.scenes.bands import BANDS
from workbench.tables.paper import CLASSES, FAILS, TABLES, claims_table
from workbench.tables.results import COMBINED, MeasuredRow, TableResults, aim, best_without_generated

EXTENDED_COLUMNS = tuple(
    f"{role} {band}" for role in ("combined", "subject/object", "relation") for band in (*BANDS, "all")
)
TRADE_ROLES = ("combined", "relation")
_SYMBOLS = ("circle", "diamond", "square", "cross")
_HINTS = {
    (0.01, 0.99, "left", "top"): "rare up, frequent down", (0.99, 0.99, "right", "top"): "both up",
    (0.01, 0.01, "left", "bottom"): "both down", (0.99, 0.01, "right", "bottom"): "frequent up, rare down",
}  # fmt: skip


def legend() -> str:
    """How a table is read."""
    return _rendered("legend")


def paper_table(number: int, results: TableResults, metric: str) -> str:
    """Table ``number`` with our results below the paper's numbers, in both metrics."""
    return _in_both_metrics("paper", metric, lambda each: {
        "heading": f"Table {number}. {TABLES[number].title}", "columns": TABLES[number].columns,
        "groups": _grouped(paper_rows(number, results, each)),
    })  # fmt: skip


def extended(results: TableResults, metric: str) -> str:
    """All rows by architecture and family of methods, in both metrics."""
    return _in_both_metrics("extended", metric, lambda each: {
        "columns": EXTENDED_COLUMNS, "groups": _grouped(extended_rows(results, each))
    })  # fmt: skip


def aims(results: TableResults, metric: str) -> str:
    """Whether the aim is reached, in both metrics."""
    return _in_both_metrics("aims", metric, lambda each: {"records": aim(results, each)})


def claims(comparisons: pd.DataFrame) -> str:
    """Each claim with its verdict and its comparisons, which `paper.comparisons_table` made."""
    by_claim = {number: here.to_dict("records") for number, here in comparisons.groupby("claim")}
    return _rendered("claims", claims=claims_table(comparisons).to_dict("index"), comparisons=by_claim, against=FAILS)


def paper_rows(number: int, results: TableResults, metric: str) -> list[dict[str, Any]]:
    """Table ``number``, a record for each printed row: group (the recogniser), name, key, gap, missing and cells.

    A cell has paper and paper_change (against the row compared with), nan where the paper prints no such number, and
    here and change (`interval` over seeds, percent and percentage points), None where there is none.
    """
    table, records = TABLES[number], []
    for row in table.rows.reset_index().to_dict("records"):
        key, against = row["key"], None if pd.isna(row["compared_with"]) else row["compared_with"]
        cells = [
            {
                "paper": row[column],
                "paper_change": table.change(key, against, column) if against else math.nan,
                "here": results.level(key, f"{metric} {column}"),
                "change": results.difference(key, against, f"{metric} {column}"),
            }
            for column in table.columns
        ]
        gaps = {"gap": results.gap(key), "missing": results.missing(key)}
        records.append({"group": row["architecture"], "name": row["name"], "key": key, "cells": cells} | gaps)
    return records


def extended_rows(results: TableResults, metric: str) -> list[dict[str, Any]]:
    """Every row, by recogniser and family of methods: means in percent and two paired changes in Combined.

    Keys: group, title (without the recogniser's name), key, seeds, gap, missing, numbers (of `EXTENDED_COLUMNS`, None
    where there is none), changes: the other row's title (or why there is none) and the `interval` (or None)
    against the row compared with, and against the best row without generated features.
    """
    architectures, groups = results.architectures, list(style.GROUP_COLOURS)
    best = {architecture: best_without_generated(results, architecture) for architecture in architectures}

    def changed(row: MeasuredRow, other: str | None, instead: str) -> tuple[str, dict[str, Any] | None]:
        if other is None or other == row.key:
            return "" if other else instead, None
        title = results.rows[other].title if other in results.rows else other
        return title, results.difference(row.key, other, f"{metric} {COMBINED}")

    def record(row: MeasuredRow) -> dict[str, Any]:
        levels = [results.level(row.key, f"{metric} {column}") for column in EXTENDED_COLUMNS]
        return {
            "group": f"{row.architecture}: {row.group}", "title": row.short_title,
            "key": row.key, "seeds": len(row.values), "gap": results.gap(row.key), "missing": results.missing(row.key),
            "numbers": [level and level["mean"] for level in levels],
            "changes": [changed(row, row.compared_with, ""), changed(row, *best[row.architecture])],
        }  # fmt: skip

    rows = sorted(
        results.rows.values(), key=lambda row: (architectures.index(row.architecture), groups.index(row.group))
    )
    return [record(row) for row in rows]


def _grouped(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(group, list(here)) for group, here in groupby(rows, lambda row: row["group"])]


def spans(columns: tuple[str, ...]) -> list[tuple[str, int]]:
    """Heads over the bands of each role, with the number of columns below."""
    return [(role.title(), len(list(here))) for role, here in groupby(columns, lambda column: column.split()[0])]


def _in_both_metrics(part: str, metric: str, values_of: Callable[[str], dict[str, Any]]) -> str:
    """A part for ``metric`` (exact or synset), and for the other metric below it, folded; once where both are equal."""
    other = "exact" if metric == "synset" else "synset"
    shown, folded = (_rendered(part, **values_of(each)) for each in (metric, other))
    if shown == folded:
        return f'{shown}<p class="quiet"><small style="font-size:12px">By {other} match it is the same.</small></p>'
    return f"{shown}<details><summary>The same by {other} match</summary>{folded}</details>"


def _rendered(part: str, **values: Any) -> str:
    helpers = {"spans": spans, "classes": CLASSES, "isna": pd.isna}
    # Never above a width that is nan.
    helpers["excludes_zero"] = lambda mean, half_width: half_width is not None and abs(mean) > half_width
    return rendered(Path(__file__).with_name("tables.html.j2"), part=part, **helpers, **values)


def trade_table(results: TableResults, metric: str) -> pd.DataFrame:
    """Paired changes of every row against the one that it changes, on many and on few classes, percentage points.

    Columns: title, against, architecture, group, curve (None or a name), role (combined or relation), many,
    many_half_width, few, few_half_width (95 % t-intervals over seeds, missing for one seed), pairs (seeds). Rows
    that change no other, or have no seed in common with it, are left out.
    """
    rows = []
    for row, role in product(results.rows.values(), TRADE_ROLES):
        names = {band: f"{metric} {role} {band}" for band in ("many", "few")}
        changes = {band: results.difference(row.key, row.compared_with, name) for band, name in names.items()}
        found = {band: change for band, change in changes.items() if change}
        if row.compared_with and len(found) == len(names):
            record = {name: getattr(row, name) for name in ("title", "architecture", "group", "curve")}
            record |= {"role": role, "against": results.rows[row.compared_with].title}
            record |= {band: change["mean"] for band, change in found.items()}
            record |= {f"{band}_half_width": change["half_width"] for band, change in found.items()}
            rows.append(record | {"pairs": min(len(change["values"]) for change in found.values())})
    return pd.DataFrame(rows)


def trade_off(table: pd.DataFrame, metric: str) -> go.Figure:
    """Change on many (x) against change on few (y), a point a row with its intervals, curves joined.

    ``table`` is what `trade_table` made; colour tells the family of methods, the symbol the recogniser; the
    legend counts the rows of each.
    """
    title = f"Change on few and on many against each row's baseline, {metric} match"
    if table.empty:
        text = "No row stands beside its baseline yet."
        return style.figure(title=title, height=560).add_annotation(text=text, x=0.5, y=0.5, showarrow=False)
    chart = style.panels([f"{role.capitalize()}, points" for role in TRADE_ROLES])
    symbols = dict(zip(table["architecture"].unique(), cycle(_SYMBOLS)))
    numbers = {name: table.groupby([name, "role"]).size().groupby(name).max() for name in ("group", "architecture")}
    for column, role in enumerate(TRADE_ROLES, start=1):
        here = table[table["role"] == role]
        for (curve, _), points in here.dropna(subset="curve").groupby(["curve", "architecture"], sort=False):
            line = {"color": style.GROUP_COLOURS[points["group"].iloc[0]], "width": 1.5, "dash": "dot"}
            chart.add_scatter(
                x=points["many"], y=points["few"], mode="lines", name=style.plain_text(curve), line=line,
                hoverinfo="skip", showlegend=False, row=1, col=column,
            )  # fmt: skip
        for (group, architecture), points in here.groupby(["group", "architecture"], sort=False):
            name = f"{style.plain_text(group)} ({numbers['group'][group]})"
            chart.add_trace(_points(points, style.GROUP_COLOURS[group], symbols[architecture], name), row=1, col=column)
        _add_ground(chart, here, column)
    for architecture, symbol in symbols.items():
        name = f"{style.plain_text(architecture)} ({numbers['architecture'][architecture]})"
        marker = {"color": style.GUIDE_COLOUR, "symbol": symbol, "size": 10}
        chart.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, row=1, col=1)
    chart.update_yaxes(title="change on few", row=1, col=1)
    return style.with_one_legend(chart).update_layout(title=title, height=560, margin_t=140, legend_y=1.08)


def _points(points: pd.DataFrame, colour: str, symbol: str, name: str) -> go.Scatter:
    bars = {"thickness": 1, "width": 3, "color": f"{colour}80"}
    hovers = [
        f"{style.plain_text(row.title)}<br>against {style.plain_text(row.against)}<br>"
        f"many {_formatted(row.many, row.many_half_width)}, few {_formatted(row.few, row.few_half_width)}<br>"
        + ("one seed, no interval" if row.pairs == 1 else f"{row.pairs} seeds")
        for row in points.itertuples()
    ]
    return go.Scatter(
        x=points["many"], y=points["few"], mode="markers", name=name, legendgroup=name,
        marker={"color": colour, "symbol": symbol, "size": 10, "line": {"color": "white", "width": 1}},
        error_x={**bars, "array": points["many_half_width"].fillna(0)},
        error_y={**bars, "array": points["few_half_width"].fillna(0)},
        text=hovers, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _formatted(change: float, half_width: float) -> str:
    return signed(change) + ("" if pd.isna(half_width) else f" ± {half_width:.2f}")


def _add_ground(chart: go.Figure, points: pd.DataFrame, column: int) -> None:
    """Axes that hold all bars, the lines of no change, and in each corner what it means."""
    place = {"row": 1, "col": column}
    chart.update_xaxes(title="change on many", range=_range(points, "many"), **place)
    chart.update_yaxes(range=_range(points, "few"), **place)
    chart.add_hline(y=0, line={"color": style.GUIDE_COLOUR, "width": 1}, **place)
    chart.add_vline(x=0, line={"color": style.GUIDE_COLOUR, "width": 1}, **place)
    for (x, y, x_anchor, y_anchor), words in _HINTS.items():
        chart.add_annotation(
            text=words, x=x, y=y, xanchor=x_anchor, yanchor=y_anchor, xref="x domain", yref="y domain",
            showarrow=False, font={"size": style.SMALL_FONT_PX, "color": style.GUIDE_COLOUR}, **place,
        )  # fmt: skip


def _range(points: pd.DataFrame, band: str) -> list[float]:
    """Ends of an axis that leave both sides of 0 room for the words of their quadrants."""
    widths = points[f"{band}_half_width"].astype(float).fillna(0)
    low, high = min([*(points[band] - widths), 0.0]), max([*(points[band] + widths), 0.0])
    room = 0.4 * max(high - low, 1.0)
    return [min(1.1 * low, -room), max(1.1 * high, room)]
