"""Figures of the long tail: how often each class occurs, and which triplets exist."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.style import BAND_COLOURS, SEQUENTIAL_SCALE, names_axis, plain_texts, use_workbench_style
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary


def class_table(counts: Counts, vocabulary: Vocabulary) -> pd.DataFrame:
    """One row per class with its frequency: kind, class id, name, count, rank (1 = most frequent), band."""
    parts = []
    for kind, names, numbers in (
        ("object", vocabulary.objects, counts.objects),
        ("relation", vocabulary.relations, counts.relations),
    ):
        table = pd.DataFrame({"kind": kind, "class": np.arange(len(names)), "name": names, "count": numbers})
        table["band"] = band_of_class(numbers)
        table = table.sort_values(["count", "class"], ascending=[False, True], kind="stable")
        table["rank"] = np.arange(1, len(table) + 1)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def rank_frequency(classes: pd.DataFrame) -> go.Figure:
    """Rank against frequency on logarithmic axes, coloured by band.

    ``classes`` is the table of `class_table`; classes that never occur are named in the subtitle, not drawn.
    """
    use_workbench_style()
    titles = []
    for kind in ("object", "relation"):
        here = classes[classes["kind"] == kind]
        absent = int((here["count"] == 0).sum())
        titles.append(f"{len(here):,} {kind} classes" + (f", {absent:,} never seen in train" if absent else ""))
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1)
    drawn = classes[classes["count"] > 0].groupby(["band", "kind"], observed=True).size()
    in_legend: set[str] = set()
    for column, kind in enumerate(("object", "relation"), start=1):
        for band in BANDS:
            here = classes[(classes["kind"] == kind) & (classes["band"] == band) & (classes["count"] > 0)]
            numbers = ", ".join(f"{drawn.get((band, each), 0):,} {each}" for each in ("object", "relation"))
            figure.add_scatter(
                x=here["rank"], y=here["count"], mode="markers", name=f"{band} ({numbers})",
                legendgroup=band, showlegend=len(here) > 0 and band not in in_legend, text=plain_texts(here["name"]),
                marker={"color": BAND_COLOURS[band], "size": 7},
                hovertemplate="%{text}<br>rank %{x:,}<br>%{y:,} in train<extra>" + band + "</extra>",
                row=1, col=column,
            )  # fmt: skip
            in_legend |= {band} if len(here) else set()
    figure.update_xaxes(type="log", title="rank of the class", dtick=1)
    figure.update_yaxes(type="log", title="examples in train", dtick=1)
    return figure.update_layout(title="How often each class occurs in train", height=440, margin_t=130, legend_y=1.1)


def triplet_matrix(relations: pd.DataFrame, vocabulary: Vocabulary, most: int = 40) -> go.Figure:
    """How many train relations each (subject class, relation) cell holds; empty cells are triplets to be made.

    ``relations`` has integer columns subject and relation; the ``most`` most frequent classes of each are shown.
    """
    use_workbench_style()
    subjects = relations["subject"].value_counts().index[:most].to_numpy()
    kinds = relations["relation"].value_counts().index[:most].to_numpy()
    matrix = np.zeros((len(vocabulary.objects), len(vocabulary.relations)), dtype=np.int64)
    np.add.at(matrix, (relations["subject"].to_numpy(), relations["relation"].to_numpy()), 1)
    shown = matrix[np.ix_(subjects, kinds)]
    columns, rows = [vocabulary.relations[k] for k in kinds], [vocabulary.objects[s] for s in subjects]
    with np.errstate(divide="ignore"):
        logarithm = np.where(shown > 0, np.log10(np.maximum(shown, 1)), np.nan)
    highest = max(int(np.ceil(np.nanmax(logarithm))), 1) if shown.any() else 1
    figure = go.Figure(
        go.Heatmap(
            z=logarithm, customdata=shown, colorscale=SEQUENTIAL_SCALE, zmin=0, zmax=highest, xgap=1, ygap=1,
            x=plain_texts(columns, None), y=plain_texts(rows, None),
            hovertemplate="%{y} %{x} ...: %{customdata:,}<extra></extra>",
            colorbar={"title": "relations", "tickvals": list(range(highest + 1)),
                      "ticktext": [f"{10**power:,}" for power in range(highest + 1)]},
        )
    )  # fmt: skip
    filled = float((shown > 0).mean()) if shown.size else 0.0
    figure.update_yaxes(autorange="reversed", title="subject class, by frequency", **names_axis(rows))
    figure.update_xaxes(title="relation, by frequency", tickangle=-45, **names_axis(columns))
    title = f"{filled:.0%} of the subject-relation cells have an example"
    return figure.update_layout(title=title, height=180 + 18 * len(subjects), margin={"t": 70, "b": 150, "l": 130})


def split_table(tables: Mapping[str, RelationTables], vocabulary: Vocabulary) -> pd.DataFrame:
    """One row per split: images, relations, distinct triplets, those train lacks, and classes without an example."""
    seen, rows = _triplets(tables["train"]), {}
    for split, table in tables.items():
        distinct = _triplets(table)
        rows[split] = {
            "images": len(table.images),
            "relations": len(table.relations),
            "distinct triplets": len(distinct),
            "unseen triplets": len(distinct.difference(seen)),
            "subject classes absent": len(vocabulary.objects) - table.relations["subject"].nunique(),
            "object classes absent": len(vocabulary.objects) - table.relations["object"].nunique(),
            "relation classes absent": len(vocabulary.relations) - table.relations["relation"].nunique(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _triplets(table: RelationTables) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table.relations[list(ROLES)].drop_duplicates())


def long_tail_metrics(classes: pd.DataFrame, splits: pd.DataFrame) -> dict[str, float]:
    """Headline numbers of notebook 01 from `class_table` and `split_table`."""
    metrics: dict[str, float] = {}
    for kind, here in classes.groupby("kind"):
        seen = here.loc[here["count"] > 0, "count"]
        metrics[f"{kind} classes"] = len(here)
        metrics[f"{kind} imbalance (most / fewest)"] = float(seen.max() / seen.min())
        metrics[f"{kind} examples of the rarest class"] = int(seen.min())
    for split, row in splits.iterrows():
        metrics[f"{split} relations"] = int(row["relations"])
    if "test" in splits.index:
        metrics["unseen triplets in test"] = int(splits.loc["test", "unseen triplets"])
    return metrics
