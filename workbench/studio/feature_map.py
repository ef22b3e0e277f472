"""Real and generated features on one map: PCA, then one joint UMAP fit."""

import warnings

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.studio.palette import BAND_COLOURS, SOURCE_COLOURS, figure

PCA_DIMENSIONS = 50


def feature_map(real: np.ndarray, generated: np.ndarray, *, seed: int, neighbours: int = 15) -> np.ndarray:
    """Coordinates of real and generated rows from one joint fit; ``transform`` is never used.

    ``real`` (N, D) and ``generated`` (M, D) float32, best with N about M; returns (N + M, 2), real rows first.
    Source: reference style, section 3 (umap-learn): only a joint fit compares the two fairly.
    """
    from sklearn.decomposition import PCA
    from umap import UMAP

    rows = np.concatenate([real, generated]).astype(np.float32)
    dimensions = min(PCA_DIMENSIONS, rows.shape[1], len(rows) - 1)
    # Fitted on real rows alone, so that odd generated rows cannot claim the axes for themselves.
    reduced = PCA(min(dimensions, len(real) - 1), random_state=seed).fit(real).transform(rows)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")
        return UMAP(
            n_neighbors=min(neighbours, len(rows) - 1), random_state=seed, n_jobs=1, init="pca", n_epochs=200
        ).fit_transform(reduced)


def map_table(coordinates: np.ndarray, real: pd.DataFrame, generated: pd.DataFrame) -> pd.DataFrame:
    """One row per point: x, y, source (real or generated), and the columns caption and band of the two tables."""
    points = pd.concat([real[["caption", "band"]], generated[["caption", "band"]]], ignore_index=True)
    points.insert(0, "x", coordinates[:, 0])
    points.insert(1, "y", coordinates[:, 1])
    points.insert(2, "source", ["real"] * len(real) + ["generated"] * len(generated))
    return points


def feature_map_figure(points: pd.DataFrame, colour_by: str = "source") -> go.Figure:
    """The map, coloured by source or by the band of the relation; ``points`` as `map_table` makes it."""
    colours = SOURCE_COLOURS if colour_by == "source" else BAND_COLOURS
    picture = figure(height=560)
    for value, colour in colours.items():
        here = points[points[colour_by] == value]
        if here.empty:
            continue
        picture.add_scattergl(
            x=here["x"], y=here["y"], mode="markers", name=f"{value} ({len(here):,})", text=here["caption"],
            marker={"size": 4, "color": colour, "opacity": 0.55}, hovertemplate="%{text}<extra>" + value + "</extra>",
        )  # fmt: skip
    picture.update_xaxes(showticklabels=False, title="", zeroline=False)
    picture.update_yaxes(showticklabels=False, title="", zeroline=False, scaleanchor="x")
    return picture.update_layout(title="Union features, one joint UMAP of real and generated rows")
