"""How long the tail is: how often each class occurs, which triplets exist, and the page of a data card."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.escaping import escaped
from workbench.figures.pages import formatted, own_style, rendered, write_page_text
from workbench.figures.style import BAND_COLOURS, SEQUENTIAL_SCALE, names_axis, plain_texts
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.problems import Problem, format_report
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, SPLITS, Vocabulary


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


_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _MARGIN = 720, 300, 60, 40, 16
_ROWS = {
    "images": "images",
    "images_without_relations": "images without relations",
    "images_above_30_relations": "images with more than 30 relations (upstream jitters no boxes there)",
    "images_above_100_relations": "images with more than 100 relations (RelTransformer sees the first 100)",
    "relations": "relations",
    "duplicate_relations": "relations that repeat another one",
    "pairs_with_several_relations": "pairs of boxes with several relation classes (upstream learns the first)",
    "distinct_triplets": "distinct triplets",
    "triplets_unseen_in_train": "distinct triplets that train lacks",
    "relations_with_unseen_triplet": "relations with such a triplet",
    "boxes": "boxes",
    "degenerate_boxes": "boxes one pixel wide or high",
    "boxes_partly_outside": "boxes partly outside their image",
    "boxes_wholly_outside": "boxes wholly outside their image",
}


def write_data_card(
    path: Path, title: str, card: Mapping[str, Any], problems: Sequence[Problem] | str | None = None
) -> Path:
    """Write the page of a data card (``workbench.scenes.data_card``); returns its path.

    ``problems`` are those of the check, or its report as text. All text of the data is escaped; the page follows the
    reader's light or dark theme.
    """
    report = problems if isinstance(problems, str) else format_report(problems) if problems else ""
    page = rendered(
        Path(__file__).parent / "data_card.html.j2",
        title=title,
        style=own_style(),
        facts=_facts(card),
        tables=[_splits_table(card), _classes_table(card), *_absent_tables(card)],
        charts=[_chart(kind, card["classes"][kind]) for kind in ("objects", "relations")],
        problems=report,
    )
    write_page_text(Path(path), page)
    return Path(path)


def _facts(card: Mapping[str, Any]) -> list[str]:
    classes = card["classes"]
    facts = [f"{formatted(classes['objects']['number'])} object classes"]
    facts.append(f"{formatted(classes['relations']['number'])} relation classes")
    return [
        *facts,
        *(f"{formatted(numbers['relations'])} {split} relations" for split, numbers in _splits(card).items()),
    ]


def _splits(card: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The numbers by split in the usual order, which a JSON file with sorted keys has lost."""
    return {split: card["splits"][split] for split in SPLITS if split in card["splits"]}


def _splits_table(card: Mapping[str, Any]) -> dict[str, Any]:
    splits = _splits(card)
    rows = [[text, *(numbers.get(key) for numbers in splits.values())] for key, text in _ROWS.items()]
    note = ""
    if card["left_right"]:
        names = ", ".join(map(escaped, card["left_right"]))
        note = f"A mirrored image turns these relations false: {names}. Training must not flip it unchanged."
    return {"title": "Splits", "note": note, "columns": ["", *splits], "rows": rows}


def _classes_table(card: Mapping[str, Any]) -> dict[str, Any]:
    columns = ["classes", "number", "most train rows", "fewest", "most : fewest that occur", *BANDS]
    rows = []
    for kind in ("objects", "relations"):
        numbers = card["classes"][kind]
        told_numbers = [numbers[key] for key in ("number", "most", "fewest", "imbalance_ratio")]
        rows.append([kind, *told_numbers, *(numbers["bands"][band] for band in BANDS)])
    note = "Bands by train frequency over all classes: the rarest 80 % are few, the most frequent 5 % many."
    return {"title": "Classes", "note": note, "columns": columns, "rows": rows}


def _absent_tables(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for role in ROLES:
        absent = card["absent"][role]
        in_test = absent.get("without_test_rows", {})
        rows.append([role, len(absent["without_train_rows"]), *(in_test.get(band) for band in BANDS)])
    columns = ["role", "without a train row", *(f"{band}, without a test row" for band in BANDS)]
    note = "Per-class accuracy is a mean over the classes that test has; the others are in no result."
    return [{"title": "Absent classes", "note": note, "columns": columns, "rows": rows}]


def _chart(kind: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Rank against frequency, both logarithmic, a curve for each band; classes without a train row have no point."""
    counts = [count for count in numbers["counts_by_rank"] if count > 0]
    ranks, most = max(2, len(counts)), max(2, counts[0] if counts else 2)

    def x(rank: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _MARGIN) * math.log(rank) / math.log(ranks), 1)

    def y(count: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _MARGIN) * math.log(count) / math.log(most), 1)

    curves, first = [], 0
    for band in BANDS:
        stop = first + numbers["bands"][band]
        # One point further joins a curve to the next band's.
        points = [(x(rank + 1), y(counts[rank])) for rank in range(first, min(stop + 1, len(counts)))]
        curves.append({"colour": BAND_COLOURS[band], "points": " ".join(f"{a},{b}" for a, b in points)})
        first = stop
    lines = [{"x1": _LEFT, "x2": _WIDTH - _MARGIN, "y1": y(tick), "y2": y(tick)} for tick in _decades(most)]
    labels = [{"x": _LEFT - 6, "y": y(tick) + 4, "anchor": "end", "text": formatted(tick)} for tick in _decades(most)]
    below = _HEIGHT - _BOTTOM
    lines += [{"x1": x(tick), "x2": x(tick), "y1": below, "y2": below + 5} for tick in _decades(ranks)]
    labels += [{"x": x(tick), "y": below + 20, "anchor": "middle", "text": formatted(tick)} for tick in _decades(ranks)]
    title = f"Train rows of {kind} by rank"
    size = {"width": _WIDTH, "height": _HEIGHT}
    return {"title": title, "lines": lines, "labels": labels, "curves": curves, "legend": BAND_COLOURS} | size


def _decades(most: int) -> list[int]:
    return [10**power for power in range(int(math.log10(most)) + 1)]
