"""Tables of results: the paper's columns, honest verdicts, signs against the paper."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.studio import changes, comparison, paper_tables

BANDS = ("many", "medium", "few", "all")


def made_results(values: dict[str, float]) -> pd.DataFrame:
    rows = [
        (metric, role, band, value, 5, 0, training)
        for training, value in values.items()
        for metric in ("exact", "synset")
        for role in ("subject", "object", "subject/object", "relation", "combined")
        for band in BANDS
    ]
    return pd.DataFrame(rows, columns=["metric", "role", "band", "accuracy", "n_classes", "n_left_out", "training"])


def test_results_table_keeps_order_and_columns():
    table = comparison.results_table(made_results({"WCE": 2.0, "CE": 1.0}), "exact")
    assert table.index.tolist() == ["WCE", "CE"]
    assert table.shape == (2, 9)


@pytest.mark.parametrize(("ours", "word"), [(9.0, "raises"), (1.0, "does not raise"), (5.0, "does not raise")])
def test_verdict_says_what_happened(ours, word):
    results = made_results({"CE": 5.0, "WCE": 6.0, "CE + DiffAugment": ours})
    text = comparison.verdict(results, baseline="CE", method="CE + DiffAugment")
    assert word in text
    assert "WCE" in text
    assert ("above" in text.replace("not above", "")) == (ours > 6.0)


def test_an_empty_band_survives():
    results = made_results({"CE": 5.0, "CE + DiffAugment": 7.0})
    results.loc[results["band"] == "few", "accuracy"] = np.nan
    metrics = comparison.headline_metrics(results, baseline="CE")
    assert metrics["variants"]["CE"]["exact combined few"] is None
    assert comparison.results_table(results, "exact").shape == (2, 9)


def test_beside_the_paper_and_its_signs():
    metrics = comparison.headline_metrics(made_results({"CE": 5.0, "CE + DiffAugment": 7.0}), baseline="CE")
    signs = comparison.sign_table(comparison.beside_the_paper(metrics, paper_tables.table_1(), "synset"))
    assert signs.loc[("combined", "all"), "paper"] == pytest.approx(2.41)
    assert not signs.loc[("subject/object", "many"), "same direction"]
    assert comparison.sign_metrics(signs)["columns that change as in the paper"] == int((signs["paper"] > 0).sum())


def test_the_paper_s_combined_is_the_mean_of_its_parts():
    table = paper_tables.table_1()
    assert np.allclose((table["subject/object all"] + table["relation all"]) / 2, table["combined all"], atol=0.01)


def test_missing_row_is_named():
    with pytest.raises(WorkbenchError, match="CE \\+ DiffAugment"):
        comparison.beside_the_paper({"variants": {"CE": {}}}, paper_tables.table_1(), "exact")


def test_change_counts_cover_every_row():
    rng = np.random.default_rng(0)
    tables = []
    for _ in range(2):
        table = pd.DataFrame({"row": np.arange(50)})
        for role in ("subject", "relation", "object"):
            table[role] = np.arange(50) % 4
            table[f"{role}_predicted"] = rng.integers(0, 4, 50)
            table[f"{role}_correct"] = table[role] == table[f"{role}_predicted"]
        tables.append(table.set_index("row", drop=False))
    counts = changes.change_counts(*tables)
    assert (counts.sum(axis=1) == 50).all()
    better, worse = changes._changed(*tables)
    assert not set(better) & set(worse)
