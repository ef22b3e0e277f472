"""Recognisers side by side: results by band, per-class change, headline numbers, the paper's row."""

from collections.abc import Mapping
from typing import Any, Protocol

import pandas as pd

from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS

LOSS_TITLES = {"ce": "CE", "wce": "WCE", "logit_adjusted": "logit adjustment"}
COLUMN_ROLES = ("subject/object", "relation", "combined")
COLUMNS = [(role, band) for role in COLUMN_ROLES[:2] for band in (*BANDS, "all")] + [("combined", "all")]
POINTS_OF_A_TIE = 0.05


class EvaluatedStage(Protocol):
    """A stage with the files of ``evaluate_recogniser``."""

    metrics: dict[str, Any]

    def __truediv__(self, name: str): ...


def summaries(evaluations: Mapping[str, EvaluatedStage]) -> pd.DataFrame:
    """The summaries of all evaluations in one table with the further column training."""
    tables = [pd.read_parquet(stage / "summary.parquet").assign(training=title) for title, stage in evaluations.items()]
    return pd.concat(tables, ignore_index=True)


def results_table(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The paper's columns, one row per training, percent; ``metric`` is exact or synset."""
    here = results[results["metric"] == metric]
    table = here.pivot_table(index="training", columns=["role", "band"], values="accuracy", sort=False, dropna=False)
    table = table.reindex(index=list(dict.fromkeys(here["training"])), columns=pd.MultiIndex.from_tuples(COLUMNS))
    classes = here.groupby(["role", "band"])["n_classes"].first()
    # Each role of the pair has its own classes; the paper prints how many a column averages over.
    table.columns = pd.MultiIndex.from_tuples(
        [(role, band, f"{int(classes.get((role, band), 0))} classes") for role, band in table.columns],
        names=[f"{metric} match, %", "band", ""],
    )
    return table


def band_rows(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows for `figures_results.band_bars`: training, role, band, accuracy."""
    here = results[(results["metric"] == metric) & results["role"].isin(COLUMN_ROLES[:2])]
    return here[["training", "role", "band", "accuracy"]]


def per_class_change(evaluations: Mapping[str, EvaluatedStage], *, before: str, after: str) -> pd.DataFrame:
    """Exact accuracy of every class present in test: role, name, band, n_train, n_test, before, after (percent)."""
    first, second = (pd.read_parquet(evaluations[title] / "per_class.parquet") for title in (before, after))
    joined = first.merge(second[["role", "class", "accuracy_exact"]], on=["role", "class"], suffixes=("", "_after"))
    joined = joined[(joined["n_test"] > 0) & (joined["n_train"] > 0)]
    joined = joined.rename(columns={"accuracy_exact": "before", "accuracy_exact_after": "after"})
    return joined[["role", "name", "band", "n_train", "n_test", "before", "after"]]


def validation_table(recognisers: Mapping[str, EvaluatedStage]) -> pd.DataFrame:
    """What was chosen on validation: learning rate, epoch, accuracy there; one row per training."""
    wanted = {
        "learning_rate": "chosen learning rate",
        "best_epoch": "chosen epoch",
        "validation_subject_object": "validation S/O, %",
        "validation_relation": "validation R, %",
        "validation_combined": "validation Combined, %",
        "seconds": "seconds",
    }
    rows = {title: {wanted[k]: stage.metrics.get(k) for k in wanted} for title, stage in recognisers.items()}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["chosen learning rate"] = table["chosen learning rate"].map(lambda rate: "" if pd.isna(rate) else f"{rate:g}")
    return table


def headline_metrics(results: pd.DataFrame, *, baseline: str) -> dict[str, Any]:
    """All numbers of all trainings, percent: headline, baseline, variants {training: {"exact combined all": ...}}."""
    variants: dict[str, dict[str, float | None]] = {}
    for row in results.itertuples():
        name = f"{row.metric} {row.role} {row.band}"
        variants.setdefault(row.training, {})[name] = None if pd.isna(row.accuracy) else float(row.accuracy)
    headline = {
        f"{training}: Combined, exact, %": numbers["exact combined all"] for training, numbers in variants.items()
    }
    return {"headline": headline, "baseline": baseline, "variants": variants}


def headline_table(results: pd.DataFrame) -> pd.DataFrame:
    """Combined, S/O and R over all classes and Combined over few and many, exact match, one row per training."""
    wanted = [(role, "all") for role in COLUMN_ROLES] + [("combined", "many"), ("combined", "few")]
    here = results[results["metric"] == "exact"]
    table = here.pivot_table(index="training", columns=["role", "band"], values="accuracy", sort=False, dropna=False)
    return table.reindex(index=list(dict.fromkeys(here["training"])), columns=pd.MultiIndex.from_tuples(wanted))


def verdict(results: pd.DataFrame, *, baseline: str, method: str) -> str:
    """Two sentences: what the method changes against its baseline, and against the best row without it."""
    table = headline_table(results)
    gain = table.loc[method] - table.loc[baseline]
    without = [title for title in table.index if "DiffAugment" not in title]
    best = table.loc[without, ("combined", "all")].idxmax()
    beyond = table.loc[method, ("combined", "all")] - table.loc[best, ("combined", "all")]
    direction = "raises" if gain["combined", "all"] > POINTS_OF_A_TIE else "does not raise"
    first = (
        f"{method} {direction} Combined against {baseline}: {gain['combined', 'all']:+.2f} points "
        f"(few {gain['combined', 'few']:+.2f}, many {gain['combined', 'many']:+.2f})."
    )
    place = "above" if beyond > POINTS_OF_A_TIE else "not above"
    return f"{first} It is {place} the best row without generated features, {best} ({beyond:+.2f} points). One seed."


def beside_the_paper(results: Mapping[str, Any], paper: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The paper's CE rows and the same rows here; ``results`` is what `headline_metrics` made, percent."""
    variants = results["variants"]
    missing = [training for _, training in paper.index if training not in variants]
    if missing:
        raise WorkbenchError(
            f"metrics of 05_finetune_and_evaluate: no row {missing[0]!r}; there are {sorted(variants)}. "
            "Run notebook 05 with losses that begin with ce."
        )
    rows = {}
    for (architecture, training), numbers in paper.iterrows():
        rows[f"{architecture}, {training}", "paper"] = numbers
        here = {column: variants[training].get(f"{metric} {column}") for column in paper.columns}
        rows[f"{architecture}, {training}", "here"] = pd.Series(here, dtype=float)
    table = pd.DataFrame(rows).T
    table.columns = pd.MultiIndex.from_tuples([tuple(column.rsplit(" ", 1)) for column in paper.columns])
    return table


def sign_table(table: pd.DataFrame) -> pd.DataFrame:
    """Change by DiffAugment for each column of `beside_the_paper`: paper, here, and whether the signs agree."""
    before, after = dict.fromkeys(title for title, _ in table.index)
    change = pd.DataFrame({
        source: table.loc[(after, source)] - table.loc[(before, source)] for source in ("paper", "here")
    })  # fmt: skip
    change["same direction"] = (change["paper"] > 0) == (change["here"] > 0)
    change.loc[change["here"].isna(), "same direction"] = False
    return change.round(2)


def sign_metrics(signs: pd.DataFrame) -> dict[str, Any]:
    """How many columns change as in the paper, and the change in Combined."""
    combined = signs.loc[("combined", "all")]
    return {
        "columns": len(signs),
        "columns that change as in the paper": int(signs["same direction"].sum()),
        "change of Combined, paper": float(combined["paper"]),
        "change of Combined, here": None if pd.isna(combined["here"]) else float(combined["here"]),
    }
