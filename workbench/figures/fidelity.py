"""Figures of fidelity: generated features beside their floor and the simple baselines."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.style import (
    FLOOR_COLOUR,
    FONT_SIZE_PX,
    GUIDE_COLOUR,
    SMALL_FONT_PX,
    SOURCE_COLOURS,
    figure,
    names_axis,
    plain_text,
    plain_texts,
)
from workbench.randomness import generator

HEADLINE_METRICS = {
    "frechet_pca": "Frechet distance, PCA-256 ↓",
    "kernel_distance": "KID ↓",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "density": "density ↑",
    "coverage": "coverage ↑",
    "memorisation": "memorisation, 0.5 = fresh",
    "test_on_real": "trained on it, tested on real ↑",
}


def fidelity_bars(report: pd.DataFrame, metrics: dict[str, str]) -> go.Figure:
    """One small panel per metric, one bar per sample set.

    ``report`` is indexed by sample set; ``metrics`` maps its columns to titles that say which way is better.
    """
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    titles = plain_texts(metrics.values())
    chart = make_subplots(rows, columns, subplot_titles=titles, vertical_spacing=0.34 / rows)
    colours, names = [SOURCE_COLOURS.get(name, FLOOR_COLOUR) for name in report.index], plain_texts(report.index, None)
    for number, metric in enumerate(metrics):
        values = report[metric].astype(float)
        chart.add_bar(
            x=names, y=values, marker_color=colours, showlegend=False,
            text=[f"{value:.3g}" for value in values], textposition="outside", textfont_size=SMALL_FONT_PX,
            textangle=0, constraintext="none", cliponaxis=False,
            row=number // columns + 1, col=number % columns + 1,
        )  # fmt: skip
    chart.update_annotations(font_size=FONT_SIZE_PX)
    chart.update_xaxes(tickangle=-30, **names_axis(report.index))
    return chart.update_layout(
        title="Generated features beside their floor and two simple baselines", height=110 + 300 * rows, margin_b=110
    )


def norm_distribution(norms: dict[str, np.ndarray]) -> go.Figure:
    """Histogram of the Euclidean norms of each sample set; ``norms`` maps a name to (n,) values."""
    chart = figure(barmode="overlay")
    for name, values in norms.items():
        chart.add_histogram(
            x=values, histnorm="probability", nbinsx=60, opacity=0.55, name=f"{plain_text(name)} ({len(values):,})",
            marker_color=SOURCE_COLOURS.get(name, FLOOR_COLOUR),
        )  # fmt: skip
    chart.update_xaxes(title="Euclidean norm of the feature")
    chart.update_yaxes(title="share of rows")
    return chart.update_layout(title="Norms of real and generated union features")


def spread_of_dimensions(real: np.ndarray, generated: np.ndarray) -> go.Figure:
    """Mean and standard deviation of each dimension, real against generated; both (n, D)."""
    chart = make_subplots(1, 2, subplot_titles=["mean", "standard deviation"], horizontal_spacing=0.12)
    pairs = [(values.mean(axis=0), values.std(axis=0)) for values in (real, generated)]
    for column, (x, y) in enumerate(zip(*pairs, strict=True), start=1):
        low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
        chart.add_scattergl(
            x=x, y=y, mode="markers", marker={"size": 4, "color": SOURCE_COLOURS["generated"], "opacity": 0.5},
            showlegend=False, hovertemplate="%{pointNumber}: real %{x:.3g}, generated %{y:.3g}<extra></extra>",
            row=1, col=column,
        )  # fmt: skip
        chart.add_scatter(
            x=[low, high], y=[low, high], mode="lines", line={"color": GUIDE_COLOUR, "dash": "dash"}, showlegend=False,
            hoverinfo="skip", row=1, col=column,
        )  # fmt: skip
    chart.update_xaxes(title="real rows")
    chart.update_yaxes(title="generated rows")
    return chart.update_layout(title=f"{real.shape[1]:,} dimensions of the union feature", height=430, margin_t=100)


def equal_rows(n_generated: int, n_real: int, *, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As many random generated rows as real ones, at most ``most``: (rows of generated, rows of real), ascending."""
    count = min(n_generated, n_real, most)
    draws = (generator(seed, "equal rows", kind).permutation(n)[:count] for kind, n in
             (("generated", n_generated), ("real", n_real)))  # fmt: skip
    generated, real = (np.sort(draw) for draw in draws)
    return generated, real


def norms(path: Path) -> dict[str, np.ndarray]:
    """The norms that `fidelity_study` wrote, by sample set."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
