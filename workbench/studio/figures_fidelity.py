"""Figures of fidelity: generated features beside their floor and the simple baselines."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.studio.palette import SOURCE_COLOURS, figure, use_workbench_style

FLOOR_COLOUR = "#0072B2"


def fidelity_bars(report: pd.DataFrame, metrics: dict[str, str]) -> go.Figure:
    """One small panel per metric, one bar per sample set.

    ``report`` is indexed by sample set; ``metrics`` maps its columns to titles that say which way is better.
    """
    use_workbench_style()
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    picture = make_subplots(rows, columns, subplot_titles=list(metrics.values()), vertical_spacing=0.28 / rows)
    colours = [SOURCE_COLOURS.get(name, FLOOR_COLOUR) for name in report.index]
    for number, metric in enumerate(metrics):
        values = report[metric].astype(float)
        picture.add_bar(
            x=list(report.index), y=values, marker_color=colours, showlegend=False,
            text=[f"{value:.3g}" for value in values], textposition="auto",
            row=number // columns + 1, col=number % columns + 1,
        )  # fmt: skip
    picture.update_annotations(font_size=13)
    picture.update_xaxes(tickangle=-30, tickfont_size=12)
    return picture.update_layout(
        title="Generated features beside their floor and two simple baselines", height=110 + 300 * rows, margin_b=110
    )


def norm_distribution(norms: dict[str, np.ndarray]) -> go.Figure:
    """Histogram of the Euclidean norms of each sample set; ``norms`` maps a name to (n,) values."""
    picture = figure(barmode="overlay")
    for name, values in norms.items():
        picture.add_histogram(
            x=values, histnorm="probability", nbinsx=60, opacity=0.55, name=f"{name} ({len(values):,})",
            marker_color=SOURCE_COLOURS.get(name, FLOOR_COLOUR),
        )  # fmt: skip
    picture.update_xaxes(title="Euclidean norm of the feature")
    picture.update_yaxes(title="share of rows")
    return picture.update_layout(title="Norms of real and generated union features")
