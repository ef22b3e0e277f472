"""Figures of the language side: augmented triplets, similarity of classes, hardness of captions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.style import (
    BAND_COLOURS,
    DIVERGING_SCALE,
    SEQUENTIAL_SCALE,
    SOURCE_COLOURS,
    figure,
    names_axis,
    plain_text,
    plain_texts,
)
from workbench.language.triplets import AugmentedTriplets
from workbench.randomness import generator
from workbench.scenes.vocabulary import ROLES, Vocabulary


def hardness_spectrum(hardness: np.ndarray, entropy: np.ndarray, original: np.ndarray) -> go.Figure:
    """Two views of the hardness vectors (DiffAugment, section 3.4).

    ``hardness`` (N, K) rows sum to 1; ``entropy`` (N,) nats; ``original`` (N,) bool, else augmented.
    Left: the sorted entries times K, median and 5 to 95 % of the captions. Right: the entropies below ln K.
    """
    N, K = hardness.shape  # captions, centroids
    chart = make_subplots(
        1, 2, horizontal_spacing=0.12, subplot_titles=["distances to the centroids, sorted", "entropy"]
    )
    for name, rows in (("original", original), ("augmented", ~original)):
        if not rows.any():
            continue
        ordered = np.sort(hardness[rows], axis=1) * K
        low, middle, high = np.quantile(ordered, [0.05, 0.5, 0.95], axis=0)
        centre = np.arange(1, K + 1)
        colour = SOURCE_COLOURS[name]
        chart.add_scatter(x=centre, y=high, line_width=0, showlegend=False, hoverinfo="skip", row=1, col=1)
        chart.add_scatter(
            x=centre, y=low, line_width=0, fill="tonexty", fillcolor=_transparent(colour), showlegend=False,
            hoverinfo="skip", row=1, col=1,
        )  # fmt: skip
        chart.add_scatter(
            x=centre, y=middle, line_color=colour, name=f"{name} ({int(rows.sum()):,})", legendgroup=name, row=1, col=1
        )
        chart.add_histogram(
            x=np.log(K) - entropy[rows], histnorm="probability", marker_color=colour, opacity=0.6, nbinsx=50,
            legendgroup=name, showlegend=False, row=1, col=2,
        )  # fmt: skip
    chart.update_xaxes(title="centre, nearest first", row=1, col=1)
    chart.update_yaxes(title="distance / mean distance", row=1, col=1)
    chart.update_xaxes(title="ln K minus entropy, nats", row=1, col=2)
    chart.update_yaxes(title="share of captions", row=1, col=2)
    return chart.update_layout(
        title=f"Hardness of {N:,} captions against {K:,} centroids", barmode="overlay", height=440, margin_t=130,
        legend_y=1.1,
    )  # fmt: skip


def augmented_by_class(augmented: pd.DataFrame, names: tuple[str, ...], role: str, most: int = 40) -> go.Figure:
    """Augmented triplets per class of one role, by the band whose quota they fill.

    ``augmented`` has integer columns subject, relation, object and a column band.
    """
    order = augmented[role].value_counts().index[:most]
    shown = [names[c] for c in order]
    chart = figure(barmode="stack", height=420)
    for band in ("medium", "few"):
        here = augmented.loc[augmented["band"] == band, role].value_counts()
        chart.add_bar(
            x=plain_texts(shown, None), y=[int(here.get(c, 0)) for c in order], marker_color=BAND_COLOURS[band],
            name=f"{band} ({int((augmented['band'] == band).sum()):,})",
        )  # fmt: skip
    chart.update_xaxes(tickangle=-45, **names_axis(shown))
    chart.update_yaxes(title="augmented triplets")
    return chart.update_layout(title=f"Augmented triplets by {plain_text(role)} class", margin_b=130)


def similarity_matrix(values: np.ndarray, names: tuple[str, ...], classes: np.ndarray, threshold: float) -> go.Figure:
    """Similarity of the given classes; cells below the threshold are left out.

    ``values`` (C, C), NaN where nothing is known; ``classes`` the class ids to show, in order.
    """
    shown = values[np.ix_(classes, classes)].astype(float)
    shown[~(shown >= threshold)] = np.nan
    chart = _name_matrix(
        shown, [names[c] for c in classes], hovertemplate="%{y}, %{x}: %{z:.2f}<extra></extra>",
        colorscale=SEQUENTIAL_SCALE, colorbar_title="similarity",
    )  # fmt: skip
    return chart.update_layout(
        title=f"Which classes may replace each other (similarity at least {threshold})",
        margin={"t": 70, "b": 130, "l": 130},
    )


def name_similarity(vectors: np.ndarray, names: tuple[str, ...], most: int = 60) -> go.Figure:
    """Cosine similarity of class names' unit vectors (C, T), ordered so that similar names stand together."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    chosen = vectors[:most].astype(float)
    order = leaves_list(linkage(chosen, "average", metric="cosine", optimal_ordering=True)) if len(chosen) > 2 else ...
    chosen, labels = chosen[order], np.array(names[:most], dtype=object)[order]
    chart = _name_matrix(
        chosen @ chosen.T, labels.tolist(), hovertemplate="%{y}, %{x}: %{z:.2f}<extra></extra>",
        colorscale=DIVERGING_SCALE, zmid=0, colorbar_title="cosine",
    )  # fmt: skip
    return chart.update_layout(
        title=f"Text vectors of the {len(labels)} most frequent classes", margin={"t": 70, "b": 130, "l": 130}
    )


def _name_matrix(values: np.ndarray, names: Sequence[str], **heatmap: object) -> go.Figure:
    """A heatmap of ``values`` (n, n) with the same names on both axes, the first in the upper left corner."""
    labels, axis = plain_texts(names, None), names_axis(names)
    chart = figure(height=200 + 13 * len(labels))
    chart.add_heatmap(z=values, x=labels, y=labels, **heatmap)
    chart.update_yaxes(autorange="reversed", **axis)
    return chart.update_xaxes(tickangle=-45, **axis)


def _transparent(colour: str, opacity: float = 0.2) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def augmented_examples(
    augmented: pd.DataFrame,
    relations: pd.DataFrame,
    vocabulary: Vocabulary,
    *,
    rows: int,
    seed: int,
) -> pd.DataFrame:
    """Random augmented triplets with the training triplet they come from and the path through WordNet."""
    chosen = np.sort(generator(seed, "augmented examples").permutation(len(augmented))[:rows])
    lines = []
    for row in augmented.iloc[chosen].itertuples():
        source = relations.iloc[row.source_row]
        lines.append({
            "because of": f"{row.because} ({row.band})",
            "in train": vocabulary.caption(*(int(source[role]) for role in ROLES)),
            "augmented": vocabulary.caption(row.subject, row.relation, row.object),
            "replaced": row.replaced,
            "similarity": round(float(row.similarity), 3),
            "path": row.path,
        })  # fmt: skip
    return pd.DataFrame(lines)


def augmentation_metrics(
    triplets: AugmentedTriplets, relation_band: np.ndarray, entropy: np.ndarray
) -> dict[str, float]:
    """Headline numbers of notebook 02 from an open triplets folder and the entropies of originals."""
    augmented, captions = triplets.augmented, triplets.captions
    original = captions["original"].to_numpy()
    metrics = {
        "original captions": int(original.sum()),
        "augmented triplets": len(augmented),
        "distinct augmented triplets": len(augmented[list(ROLES)].drop_duplicates()),
        "object names that cannot be compared": len(triplets.similarity.unknown),
        "hardness centroids": len(triplets.hardness.centroids),
        "median entropy of original captions, nats": float(np.median(entropy)),
    }
    for band in ("medium", "few"):
        metrics[f"augmented for {band}"] = int((augmented["band"] == band).sum())
        tail = set(np.flatnonzero(relation_band == band))
        reached = tail & set(augmented["relation"])
        metrics[f"{band} relations reached, share"] = len(reached) / len(tail) if tail else float("nan")
    return metrics


def some_rows(n: int, *, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of ``n`` row numbers, drawn by ``seed``, ascending."""
    return np.sort(generator(seed, "some rows").permutation(n)[:most])
