"""Figures of fidelity: generated features beside their floor and the simple baselines."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figures import style
from workbench.figures.pages import signed
from workbench.randomness import generator

HEADLINE_METRICS = style.FIDELITY_TITLES  # columns of a report


def fidelity_bars(report: pd.DataFrame, metrics: dict[str, str]) -> go.Figure:
    """One small panel per metric, one bar per sample set; a panel without a number says so.

    ``report`` is indexed by sample set; ``metrics`` maps its columns to titles that say which way is better.
    """
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    titles = style.plain_texts(metrics.values())
    chart = style.panels(titles, columns, horizontal_spacing=0.05, vertical_spacing=0.34 / rows)
    chart.update_annotations(font_size=style.FONT_SIZE_PX)
    names = style.plain_texts(report.index, None)
    colours = [style.SOURCE_COLOURS.get(name, style.FLOOR_COLOUR) for name in report.index]
    for place, metric in enumerate(metrics):
        values = report[metric].astype(float)
        numbers = [f"{value:.3g}" for value in values]
        row, column = divmod(place, columns)
        panel = {"row": row + 1, "col": column + 1}
        chart.add_bar(x=names, y=values, text=numbers, marker_color=colours, **panel)
        if values.isna().all():
            middle = {"x": 0.5, "y": 0.5, "xref": "x domain", "yref": "y domain", "showarrow": False}
            chart.add_annotation(text="not measured:<br>too few rows", **middle, **panel)
            chart.update_yaxes(showticklabels=False, showgrid=False, zeroline=False, **panel)
    chart.update_traces(showlegend=False, **style.NUMBERS_ON_BARS)
    chart.update_xaxes(tickangle=-30, **style.names_axis(report.index))
    title = "Generated features beside their floor and two simple baselines"
    return chart.update_layout(title=title, height=110 + 300 * rows, margin={"t": 70, "b": 110})


def evaluations_bars(distances: Mapping[str, float]) -> go.Figure:
    """Frechet distance by the number of the denoiser's evaluations, the "floor" last; the title says what is left."""
    values, title = pd.Series(distances, dtype=float), "Fréchet distance by evaluations"
    colours = [*[style.SOURCE_COLOURS["generated"]] * (len(values) - 1), style.FLOOR_COLOUR]
    if len(values) > 2 and values.notna().all():
        change, left = values.iloc[-2] / values.iloc[-3] - 1, values.iloc[:-1].min() - values.iloc[-1]
        rest = f"{left:.3g} above the floor stay" if left > 0 else "no further than the floor"
        title += f": from {values.index[-3]} to {values.index[-2]} {signed(100 * change, 1)} %; {rest}"
    chart = fidelity_bars(values.to_frame("distance"), {"distance": ""}).update_layout(title=title)
    return chart.update_traces(marker_color=colours)


def norm_distribution(norms: Mapping[str, np.ndarray]) -> go.Figure:
    """Histogram of the Euclidean norms of each sample set; ``norms`` maps a name to (n,) values (norms.npz)."""
    chart = style.figure(title="Norms of real and generated union features", barmode="overlay")
    for name, values in norms.items():
        label = f"{style.plain_text(name)} ({len(values):,})"
        chart.add_histogram(x=values, name=label, marker_color=style.SOURCE_COLOURS.get(name, style.FLOOR_COLOUR))
    chart.update_traces(histnorm="probability", nbinsx=60, opacity=0.55)
    chart.update_xaxes(title="Euclidean norm of the feature")
    return chart.update_yaxes(title="share of rows")


def spread_of_dimensions(real: np.ndarray, generated: np.ndarray) -> go.Figure:
    """Mean and standard deviation of each dimension, real against generated; both (n, D)."""
    chart = style.panels(["mean", "standard deviation"])
    hover = "%{pointNumber}: real %{x:.3g}, generated %{y:.3g}<extra></extra>"
    marker = {"size": 4, "color": style.SOURCE_COLOURS["generated"], "opacity": 0.5}
    diagonal = {"mode": "lines", "line": {"color": style.GUIDE_COLOUR, "dash": "dash"}, "hoverinfo": "skip"}
    pairs = [(values.mean(axis=0), values.std(axis=0)) for values in (real, generated)]
    for column, (x, y) in enumerate(zip(*pairs, strict=True), start=1):
        ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
        chart.add_scattergl(x=x, y=y, mode="markers", marker=marker, hovertemplate=hover, row=1, col=column)
        chart.add_scatter(x=ends, y=ends, **diagonal, row=1, col=column)
    chart.update_traces(showlegend=False)
    chart.update_xaxes(title="real rows")
    chart.update_yaxes(title="generated rows")
    return chart.update_layout(title=f"{real.shape[1]:,} dimensions of the union feature", margin_t=100)


def equal_rows(n_generated: int, n_real: int, *, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As many random generated rows as real ones, at most ``most``: (rows of generated, rows of real), ascending."""
    sizes = {"generated": n_generated, "real": n_real}
    drawn = [generator(seed, "equal rows", kind).permutation(size) for kind, size in sizes.items()]
    generated, real = (np.sort(rows[: min(n_generated, n_real, most)]) for rows in drawn)
    return generated, real
