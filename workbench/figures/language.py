"""Figures of the language side: augmented triplets, similarity of classes, hardness of captions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figures import style
from workbench.language.triplets import AugmentedTriplets
from workbench.randomness import generator
from workbench.scenes.vocabulary import ROLES, Vocabulary


def hardness_spectrum(hardness: np.ndarray, entropy: np.ndarray, original: np.ndarray) -> go.Figure:
    """Two views of the hardness vectors (DiffAugment, section 3.4).

    ``hardness`` (N, K) rows sum to 1; ``entropy`` (N,) nats; ``original`` (N,) bool, else augmented.
    Left: the sorted entries times K, median and 5 to 95 % of the captions. Right: the entropies below ln K.
    """
    N, K = hardness.shape  # captions, centroids
    chart = style.panels(["distances to the centroids, sorted", "entropy"])
    left, right = {"row": 1, "col": 1}, {"row": 1, "col": 2}
    for name, rows in (("original", original), ("augmented", ~original)):
        if not rows.any():
            continue
        low, middle, high = np.quantile(np.sort(hardness[rows], axis=1) * K, [0.05, 0.5, 0.95], axis=0)
        colour, centre = style.SOURCE_COLOURS[name], np.arange(1, K + 1)
        label = {"name": f"{name} ({rows.sum():,})", "legendgroup": name}
        edge = {"line_width": 0, "showlegend": False, "hoverinfo": "skip", "legendgroup": name}
        chart.add_scatter(x=centre, y=high, **edge, **left)
        chart.add_scatter(x=centre, y=low, fill="tonexty", fillcolor=f"{colour}33", **edge, **left)
        chart.add_scatter(x=centre, y=middle, line_color=colour, **label, **left)
        chart.add_histogram(
            x=np.log(K) - entropy[rows], histnorm="probability", marker_color=colour, opacity=0.6, nbinsx=50,
            showlegend=False, **label, **right,
        )  # fmt: skip
    chart.update_xaxes(title="centre, nearest first", **left)
    chart.update_yaxes(title="distance / mean distance", **left)
    chart.update_xaxes(title="ln K minus entropy, nats", **right)
    chart.update_yaxes(title="share of captions", **right)
    return chart.update_layout(title=f"Hardness of {N:,} captions against {K:,} centroids", barmode="overlay")


def augmented_by_class(augmented: pd.DataFrame, names: tuple[str, ...], role: str, most: int = 40) -> go.Figure:
    """Augmented triplets per class of one role, by the band whose quota they fill.

    ``augmented`` has integer columns subject, relation, object and a column band.
    """
    order = augmented[role].value_counts().index[:most]
    shown = [names[c] for c in order]
    known = augmented[role].nunique()
    title = (
        f"Augmented triplets by {style.plain_text(role)} class{f', the {most} of {known} with most' * (known > most)}"
    )
    chart = style.figure(title=title, barmode="stack", margin_b=130)
    for band in ("medium", "few"):
        here = augmented.loc[augmented["band"] == band, role]
        counts = here.value_counts().reindex(order, fill_value=0).tolist()
        label = f"{band} ({len(here):,})"
        chart.add_bar(x=style.plain_texts(shown, None), y=counts, marker_color=style.BAND_COLOURS[band], name=label)
    chart.update_xaxes(tickangle=-45, **style.names_axis(shown))
    return chart.update_yaxes(title="augmented triplets")


def similarity_matrix(values: np.ndarray, names: tuple[str, ...], classes: np.ndarray, threshold: float) -> go.Figure:
    """Similarity of the given classes; cells below the threshold are left out.

    ``values`` (C, C), NaN where nothing is known; ``classes`` the class ids to show, in order.
    """
    shown = values[np.ix_(classes, classes)].astype(float)
    shown[~(shown >= threshold)] = np.nan
    title = f"Which classes may replace each other (similarity at least {threshold})"
    return _name_matrix(
        title, shown, [names[c] for c in classes], colorscale=style.SEQUENTIAL_SCALE, colorbar_title="similarity"
    )


def name_similarity(vectors: np.ndarray, names: tuple[str, ...], most: int = 60) -> go.Figure:
    """Cosine similarity of class names' unit vectors (C, T), ordered so that similar names stand together."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    chosen = vectors[:most].astype(float)
    order = leaves_list(linkage(chosen, "average", metric="cosine", optimal_ordering=True)) if len(chosen) > 2 else ...
    chosen, labels = chosen[order], np.array(names[:most], dtype=object)[order].tolist()
    title = f"Text vectors of the {len(labels)} most frequent classes"
    return _name_matrix(
        title, chosen @ chosen.T, labels, colorscale=style.DIVERGING_SCALE, zmid=0, colorbar_title="cosine"
    )


def _name_matrix(title: str, values: np.ndarray, names: Sequence[str], **heatmap: object) -> go.Figure:
    """A heatmap of ``values`` (n, n) with the same names on both axes, the first in the upper left corner."""
    labels, axis = style.plain_texts(names, None), style.names_axis(names)
    chart = style.figure(title=title, height=200 + 13 * len(labels), margin={"t": 70, "b": 130, "l": 130})
    chart.add_heatmap(z=values, x=labels, y=labels, hovertemplate="%{y}, %{x}: %{z:.2f}<extra></extra>", **heatmap)
    chart.update_yaxes(autorange="reversed", **axis)
    return chart.update_xaxes(tickangle=-45, **axis)


def augmented_examples(
    augmented: pd.DataFrame, relations: pd.DataFrame, vocabulary: Vocabulary, *, rows: int, seed: int
) -> pd.DataFrame:
    """Random augmented triplets with the training triplet they come from and the path through WordNet."""
    chosen = augmented.iloc[some_rows(len(augmented), most=rows, seed=seed)]
    sources = relations.iloc[chosen["source_row"]]
    table = {
        "because of": [f"{because} ({band})" for because, band in zip(chosen["because"], chosen["band"], strict=True)],
        "in train": vocabulary.captions(sources[list(ROLES)].to_numpy()),
        "augmented": vocabulary.captions(chosen[list(ROLES)].to_numpy()),
        "replaced": chosen["replaced"].to_numpy(),
        "similarity": chosen["similarity"].to_numpy(float).round(3), "path": chosen["path"].to_numpy(),
    }  # fmt: skip
    return pd.DataFrame(table)


def senses_taken(senses: pd.DataFrame, *, names: int, seed: int) -> pd.DataFrame:
    """What chose the WordNet senses of how many classes, each with some ``names`` and their senses.

    ``senses``: name, synset ("" where there is none) and chosen_by, as the stage ``triplets`` leaves them.
    """
    meant = senses.groupby(["chosen_by", "name"], sort=False)["synset"].agg(" or ".join).reset_index()
    rows = []
    for chosen_by, here in meant.groupby("chosen_by", sort=False):
        shown = here.iloc[some_rows(len(here), most=names, seed=seed)]
        examples = [f"{row.name}: {row.synset}" if row.synset else row.name for row in shown.itertuples(index=False)]
        rows.append({"chosen by": chosen_by, "classes": len(here), "for example": ", ".join(examples)})
    return pd.DataFrame(rows, columns=["chosen by", "classes", "for example"])


def augmentation_metrics(
    triplets: AugmentedTriplets, relation_band: np.ndarray, entropy: np.ndarray
) -> dict[str, float]:
    """Headline numbers of notebook 02 from an open triplets folder and the entropies of originals."""
    augmented, captions = triplets.augmented, triplets.captions
    original = captions["original"].to_numpy()
    metrics = {
        "original captions": int(original.sum()), "augmented triplets": len(augmented),
        "distinct augmented triplets": len(augmented[list(ROLES)].drop_duplicates()),
        "object names that cannot be compared": len(triplets.similarity.unknown),
        "hardness centroids": len(triplets.hardness.centroids),
        "median entropy of original captions, nats": float(np.median(entropy)),
    }  # fmt: skip
    for band in ("medium", "few"):
        metrics[f"augmented for {band}"] = int((augmented["band"] == band).sum())
        tail = set(np.flatnonzero(relation_band == band))
        reached = tail & set(augmented["relation"])
        metrics[f"{band} relations reached, share"] = len(reached) / len(tail) if tail else float("nan")
    return metrics


def some_rows(n: int, *, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of ``n`` row numbers, drawn by ``seed``, ascending."""
    return np.sort(generator(seed, "some rows").permutation(n)[:most])
