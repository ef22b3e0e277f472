"""How long the tail is: how often each class occurs, and which triplets exist."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figures import style
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary


def class_table(counts: Counts, vocabulary: Vocabulary) -> pd.DataFrame:
    """One row per class with its frequency: kind, class id, name, count, rank (1 = most frequent), band."""
    parts = []
    for kind in ("object", "relation"):
        names, numbers = vocabulary.names(kind), counts.of_role(kind)
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
    kinds, seen = ("object", "relation"), classes[classes["count"] > 0]
    titles = []
    for kind in kinds:
        number, drawn = ((table["kind"] == kind).sum() for table in (classes, seen))
        absent = f", {number - drawn:,} never seen in train" if drawn < number else ""
        titles.append(f"{number:,} {kind} classes{absent}")
    chart = style.panels(titles)
    for column, kind in enumerate(kinds, start=1):
        for band in BANDS:
            of_band = seen[seen["band"] == band]
            here = of_band[of_band["kind"] == kind]
            numbers = ", ".join(f"{(of_band['kind'] == each).sum():,} {each}" for each in kinds)
            chart.add_scatter(
                x=here["rank"], y=here["count"], mode="markers", name=f"{band} ({numbers})", legendgroup=band,
                text=style.plain_texts(here["name"]), marker={"color": style.BAND_COLOURS[band], "size": 7},
                hovertemplate="%{text}<br>rank %{x:,}<br>%{y:,} in train<extra>" + band + "</extra>",
                row=1, col=column,
            )  # fmt: skip
    chart.update_xaxes(type="log", title="rank of the class", dtick=1)
    chart.update_yaxes(type="log", title="examples in train", dtick=1)
    return style.with_one_legend(chart).update_layout(title="How often each class occurs in train")


def triplet_matrix(relations: pd.DataFrame, vocabulary: Vocabulary, most: int = 40) -> go.Figure:
    """How many train relations each (subject class, relation) cell holds; empty cells are triplets to be made.

    ``relations`` has integer columns subject and relation; the ``most`` most frequent classes of each are shown.
    """
    subjects, kinds = (relations[role].value_counts().index[:most] for role in ("subject", "relation"))
    shown = pd.crosstab(relations["subject"], relations["relation"]).reindex(index=subjects, columns=kinds).to_numpy()
    columns, rows = [vocabulary.relations[k] for k in kinds], [vocabulary.objects[s] for s in subjects]
    logarithm = np.log10(np.where(shown > 0, shown, np.nan))
    highest = max(int(np.ceil(np.nanmax(logarithm))), 1) if shown.any() else 1
    filled = float((shown > 0).mean()) if shown.size else 0.0
    chart = style.figure(
        title=f"{100 * filled:.0f} % of these subject-relation cells have an example", height=180 + 18 * len(subjects),
        margin={"t": 70, "b": 150, "l": 130},
    )  # fmt: skip
    chart.add_heatmap(
        z=logarithm, customdata=shown, colorscale=style.SEQUENTIAL_SCALE, zmin=0, zmax=highest, xgap=1, ygap=1,
        x=style.plain_texts(columns, None), y=style.plain_texts(rows, None),
        hovertemplate="%{y} %{x} ...: %{customdata:,}<extra></extra>",
        colorbar={"title": "relations", "tickvals": list(range(highest + 1)),
                  "ticktext": [f"{10**power:,}" for power in range(highest + 1)]},
    )  # fmt: skip
    chart.update_yaxes(autorange="reversed", title="subject class, by frequency", **style.names_axis(rows))
    return chart.update_xaxes(title="relation, by frequency", tickangle=-45, **style.names_axis(columns))


def split_table(tables: Mapping[str, RelationTables], vocabulary: Vocabulary) -> pd.DataFrame:
    """One row per split: images, relations, distinct triplets, those train lacks, and classes without an example."""
    distinct = {
        split: pd.MultiIndex.from_frame(table.relations[list(ROLES)].drop_duplicates())
        for split, table in tables.items()
    }
    rows = {}
    for split, table in tables.items():
        rows[split] = {
            "images": len(table.images), "relations": len(table.relations),
            "distinct triplets": len(distinct[split]),
            "unseen triplets": len(distinct[split].difference(distinct["train"])),
        }  # fmt: skip
        for role in ("subject", "object", "relation"):
            rows[split][f"{role} classes absent"] = len(vocabulary.names(role)) - table.relations[role].nunique()
    return pd.DataFrame.from_dict(rows, orient="index")


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
