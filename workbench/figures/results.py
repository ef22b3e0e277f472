"""Recognisers side by side: results by band, change of every class, headline numbers, and the figures of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.errors import WorkbenchError
from workbench.figures import style
from workbench.figures.pages import signed
from workbench.recognition.accuracy import METRICS, named_numbers
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES
from workbench.stages import Stage

COLUMN_ROLES = ("subject/object", "relation", "combined")
COLUMNS = [(role, band) for role in COLUMN_ROLES[:2] for band in (*BANDS, "all")] + [("combined", "all")]
HEADLINE_COLUMNS = [*((role, "all") for role in COLUMN_ROLES), ("combined", "many"), ("combined", "few")]
POINTS_OF_A_TIE = 0.05
BAR_PX = 20


def training_title(loss: str, *, vilhub_scale: float = 0.0, relmix: str = "none") -> str:
    """What a training's objective is called in tables, for example "CE + VilHub + RelMix"; an own loss by its name."""
    mixed = {"none": [], "clean": ["RelMix"]}.get(relmix, [f"RelMix ({relmix})"])
    return " + ".join([style.LOSS_TITLES.get(loss, loss), *(["VilHub"] if vilhub_scale else []), *mixed])


def recogniser_title(recogniser: Stage) -> str:
    """What notebook 05 calls a recogniser, by how its stage was made; one of another kind by the stage's name."""
    kind, config = recogniser.manifest.get("builder", "").rpartition(":")[2], recogniser.parameters.get("config", {})
    if kind == "train_recogniser":
        terms = {name: config["loss"][name] for name in ("vilhub_scale", "relmix")}
        return training_title(config["loss"]["name"], **terms)
    made = {
        "rebalance_recogniser": ", logits adjusted after training",
        "finetune_recogniser": " + DiffAugment" + ", real replay" * bool(config.get("real_replay")),
    }.get(kind)
    source = recogniser.parameters.get("recogniser", {}).get("stage", "")
    if made is None or not source.startswith("recogniser/"):
        return recogniser.folder.name
    return recogniser_title(Stage.at(recogniser.folder.with_name(source.removeprefix("recogniser/")))) + made


def summaries(evaluations: Mapping[str, Stage]) -> pd.DataFrame:
    """The summaries of all evaluations in one table with the further column training."""
    tables = [pd.read_parquet(stage / "summary.parquet").assign(training=title) for title, stage in evaluations.items()]
    return pd.concat(tables, ignore_index=True)


def results_table(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The paper's columns, one row per training, percent; ``metric`` is exact or synset."""
    table = _accuracies(results, metric, COLUMNS)
    classes = results[results["metric"] == metric].groupby(["role", "band"])["n_classes"].first()
    # Each role of the pair has its own classes; the paper prints how many a column averages over.
    table.columns = pd.MultiIndex.from_tuples(
        [(role, band, f"{int(classes.get((role, band), 0))} classes") for role, band in table.columns],
        names=[f"{metric} match, %", "band", ""],
    )
    return table


def results_tables(results: pd.DataFrame) -> list[pd.DataFrame]:
    """`results_table` in both metrics, two digits; a single one where they agree everywhere."""
    tables = {metric: results_table(results, metric).round(2) for metric in METRICS if metric in set(results["metric"])}
    first, *others = tables.values()
    if others and all(np.array_equal(first, other, equal_nan=True) for other in others):
        first.columns = first.columns.set_names(f"{' and '.join(tables)} match, %", level=0)
        return [first]
    return [first, *others]


def headline_table(results: pd.DataFrame) -> pd.DataFrame:
    """Combined, S/O and R over all classes and Combined over few and many, exact match, one row per training."""
    return _accuracies(results, "exact", HEADLINE_COLUMNS)


def _accuracies(results: pd.DataFrame, metric: str, columns: list[tuple[str, str]]) -> pd.DataFrame:
    here = results[results["metric"] == metric]
    table = here.pivot_table(index="training", columns=["role", "band"], values="accuracy", sort=False, dropna=False)
    return table.reindex(index=here["training"].unique(), columns=pd.MultiIndex.from_tuples(columns))


def class_changes(before: pd.DataFrame, after: pd.DataFrame, metric: str = "exact") -> pd.DataFrame:
    """Accuracy of every class in two per-class tables (`per_class_table`), joined by role and name, percent.

    Columns: role, name, band, n_train, n_test (of ``before``, or of ``after`` where only that has the class), before,
    after, difference, only_in ("before" or "after" where the other vocabulary lacks the class, else ""). A class with
    test rows in neither table is left out; of one that has none in one of them, that accuracy is nan. WorkbenchError
    where a table lacks the metric.
    """
    accuracy, facts = f"accuracy_{metric}", ["band", "n_train", "n_test"]
    for table, place in ((before, "before"), (after, "after")):
        if accuracy not in table:
            raise WorkbenchError(
                f"the per-class table {place} has no column {accuracy}. Choose another metric, or evaluate again."
            )
    columns = ["role", "name", "class", *facts, accuracy]
    joined = before[columns].merge(
        after[columns], on=["role", "name"], how="outer", suffixes=("", "_after"), indicator="only_in"
    )
    joined = joined[(joined["n_test"] > 0) | (joined["n_test_after"] > 0)]
    for name in facts:
        joined[name] = joined[name].fillna(joined[f"{name}_after"])
    joined = joined.assign(place=joined["role"].map(ROLES.index)).sort_values(["place", "class", "class_after"])
    joined = joined.rename(columns={accuracy: "before", f"{accuracy}_after": "after"})
    joined = joined.astype({"n_train": "int64", "n_test": "int64", "only_in": "str"})
    joined["difference"] = joined["after"] - joined["before"]
    joined["only_in"] = joined["only_in"].map({"left_only": "before", "right_only": "after", "both": ""})
    return joined[["role", "name", *facts, "before", "after", "difference", "only_in"]].reset_index(drop=True)


def per_class_change(evaluations: Mapping[str, Stage], *, before: str, after: str) -> pd.DataFrame:
    """Exact accuracy of every class present in test: role, name, band, n_train, n_test, before, after (percent)."""
    first, second = (pd.read_parquet(evaluations[title] / "per_class.parquet") for title in (before, after))
    changes = class_changes(first, second)
    known = changes[(changes["only_in"] == "") & (changes["n_test"] > 0) & (changes["n_train"] > 0)]
    return known[["role", "name", "band", "n_train", "n_test", "before", "after"]]


def validation_table(recognisers: Mapping[str, Stage]) -> pd.DataFrame:
    """What was chosen on validation and the accuracy there, one row per training; what one does not choose is ""."""
    table = pd.DataFrame({title: pd.Series(stage.metrics) for title, stage in recognisers.items()}).T
    table = table.reindex(columns=list(style.VALIDATION_TITLES)).rename(columns=style.VALIDATION_TITLES)
    chosen = [name for name in table if name.startswith("chosen")]
    table[chosen] = table[chosen].map(_choice)
    return table.astype({name: float for name in table if name not in chosen})


def _choice(value: Any) -> str:
    """A number, or one for each role, as text."""
    if isinstance(value, Mapping):
        return " ".join(f"{value[role]:g}" for role in ROLES)
    return "" if pd.isna(value) else f"{value:g}"


def headline_metrics(results: pd.DataFrame, *, baseline: str, architecture: str = "lsvru") -> dict[str, Any]:
    """All numbers of all trainings, percent: headline, baseline, variants {training: {"exact combined all": ...}}.

    ``architecture`` is that of all trainings; notebook 06 needs it to tell which of the paper's systems they are.
    """
    variants = {str(name): named_numbers(here) for name, here in results.groupby("training", sort=False)}
    headline = {
        f"{training}: Combined, exact, %": numbers["exact combined all"] for training, numbers in variants.items()
    }
    return {"headline": headline, "architecture": architecture, "baseline": baseline, "variants": variants}


def verdict(results: pd.DataFrame, *, baseline: str, method: str) -> str:
    """Two sentences: what the method changes against its baseline, and against the best row without it."""
    table = headline_table(results)
    combined = table["combined", "all"]
    gain = table.loc[method] - table.loc[baseline]
    best = combined[[title for title in table.index if "DiffAugment" not in title]].idxmax()
    beyond = combined[method] - combined[best]
    direction = "raises" if gain["combined", "all"] > POINTS_OF_A_TIE else "does not raise"
    first = (
        f"{method} {direction} Combined, the mean of per-class accuracy of S/O and relation, against {baseline}: "
        f"{signed(gain['combined', 'all'])} points (few {signed(gain['combined', 'few'])}, many "
        f"{signed(gain['combined', 'many'])})."
    )
    place = f"{'above' if beyond > POINTS_OF_A_TIE else 'not above'} the best row on test without generated features"
    return f"{first} It is {place}, {best} ({signed(beyond)} points). One seed."


def per_class_figure(change: pd.DataFrame) -> go.Figure:
    """Accuracy after minus before for every class, sorted by train frequency.

    ``change`` has columns role, name, band, n_train, n_test, before, after (percent); one panel per role.
    """
    roles = [role for role in ("subject", "object", "relation") if role in set(change["role"])]
    chart = style.panels(roles, columns=1, vertical_spacing=0.12)
    numbers = change["band"].value_counts()
    for row, role in enumerate(roles, start=1):
        here = change[change["role"] == role].sort_values(["n_train", "name"], ascending=[False, True])
        here = here.assign(position=range(1, len(here) + 1), name=style.plain_texts(here["name"]))
        for band in BANDS:
            part = here[here["band"] == band]
            chart.add_bar(
                x=part["position"], y=part["after"] - part["before"], marker_color=style.BAND_COLOURS[band],
                name=f"{band} ({numbers.get(band, 0):,})", legendgroup=band, row=row, col=1,
                customdata=part[["name", "n_train", "n_test", "before", "after"]].to_numpy(),
                hovertemplate="%{customdata[0]}: %{customdata[3]:.1f} to %{customdata[4]:.1f} %"
                "<br>%{customdata[1]:,} in train, %{customdata[2]:,} in test<extra></extra>",
            )  # fmt: skip
    chart.update_yaxes(title="points")
    chart.update_xaxes(title="classes present in test, most frequent in train first", row=len(roles), col=1)
    return style.with_one_legend(chart).update_layout(
        title="Change of per-class accuracy by DiffAugment, percentage points", height=130 + 240 * len(roles),
        bargap=0.1, legend_y=1 + 24 / (240 * len(roles)),
    )  # fmt: skip


def band_bars(results: pd.DataFrame, metric: str) -> go.Figure:
    """Average per-class accuracy by band, percent, one colour per training; ``results`` is what `summaries` made."""
    chart = style.panels(COLUMN_ROLES[:2], shared_yaxes=True, horizontal_spacing=0.05)
    results = results[(results["metric"] == metric) & results["role"].isin(COLUMN_ROLES[:2])]
    trainings, bands = results["training"].unique(), [*BANDS, "all"]
    for number, training in enumerate(trainings):
        colour = style.SERIES_COLOURS[number % len(style.SERIES_COLOURS)]
        for column, role in enumerate(COLUMN_ROLES[:2], start=1):
            here = results[(results["training"] == training) & (results["role"] == role)]
            accuracy = here.set_index("band")["accuracy"].reindex(bands)
            chart.add_bar(
                x=accuracy, y=bands, orientation="h", text=[f"{value:.1f}" for value in accuracy],
                marker_color=colour, name=style.plain_text(training), legendgroup=training, row=1, col=column,
            )  # fmt: skip
    chart.update_traces(**style.NUMBERS_ON_BARS)
    chart.update_yaxes(autorange="reversed")  # the first band, and the first training of each, on top
    # Room for the number of the longest bar.
    chart.update_xaxes(title="average per-class accuracy, %", range=[0, 1.12 * max(1.0, results["accuracy"].max())])
    height = 220 + len(bands) * (BAR_PX * len(trainings) + BAR_PX)
    chart.update_layout(
        title="Accuracy by band on test", barmode="group", height=height, legend_y=1 + 30 / (height - 190)
    )
    return style.with_one_legend(chart)
