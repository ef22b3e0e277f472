"""Tables of results: the paper's columns, honest verdicts, changed predictions."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.figures import results, style
from workbench.recognition.losses import LOSSES

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


def test_every_loss_has_a_title_of_its_own():
    assert set(style.LOSS_TITLES) == set(LOSSES)
    rules = ("none", "clean", "upstream")
    choices = [{"vilhub_scale": scale, "relmix": rule} for scale in (0.0, 1.0) for rule in rules]
    titles = {results.training_title(loss, **choice) for loss in LOSSES for choice in choices}
    assert len(titles) == len(LOSSES) * len(choices)
    assert results.training_title("ce", vilhub_scale=9.0, relmix="clean") == "CE + VilHub + RelMix"
    assert results.training_title("mine") == "mine"


def test_validation_table_shows_what_was_chosen_and_nothing_else():
    accuracies = {f"validation_{role}": 10.0 for role in ("subject_object", "relation", "combined")}
    trained = {"best_epoch": 3, "seconds": 1.5}
    tau = {"relation": 0.25, "object": 2.0, "subject": 1.0}
    stages = {"CE": trained, "adjusted": {"tau": tau}, "tuned": trained | {"learning_rate": 1e-4, "weight_share": 0.5}}
    stages = {title: SimpleNamespace(metrics=metrics | accuracies) for title, metrics in stages.items()}
    chosen = results.validation_table(stages).filter(like="chosen")
    assert chosen.loc["CE"].tolist() == ["", "3", "", ""]
    assert chosen.loc["adjusted"].tolist() == ["", "", "", "1 0.25 2"]
    assert chosen.loc["tuned"].tolist() == ["0.0001", "3", "0.5", ""]


def test_results_table_keeps_order_and_columns():
    table = results.results_table(made_results({"WCE": 2.0, "CE": 1.0}), "exact")
    assert table.index.tolist() == ["WCE", "CE"] and table.shape == (2, 9)


@pytest.mark.parametrize(("ours", "word"), [(9.0, "raises"), (1.0, "does not raise"), (5.0, "does not raise")])
def test_verdict_says_what_happened(ours, word):
    summaries = made_results({"CE": 5.0, "WCE": 6.0, "CE + DiffAugment": ours})
    text = results.verdict(summaries, baseline="CE", method="CE + DiffAugment")
    assert word in text and "WCE" in text and ("above" in text.replace("not above", "")) == (ours > 6.0)


def test_an_empty_band_survives():
    summaries = made_results({"CE": 5.0, "CE + DiffAugment": 7.0})
    summaries.loc[summaries["band"] == "few", "accuracy"] = np.nan
    metrics = results.headline_metrics(summaries, baseline="CE", architecture="reltransformer")
    assert metrics["architecture"] == "reltransformer" and metrics["variants"]["CE"]["exact combined few"] is None
    assert results.results_table(summaries, "exact").shape == (2, 9)


def test_two_equal_tables_are_one():
    summaries = made_results({"CE": 5.0, "WCE": 6.0})
    (table,) = results.results_tables(summaries)
    assert table.columns.names[0] == "exact and synset match, %" and len(table) == 2
    summaries.loc[summaries["metric"] == "synset", "accuracy"] += 1.0
    names = [each.columns.names[0] for each in results.results_tables(summaries)]
    assert names == ["exact match, %", "synset match, %"]


def test_the_numbers_of_band_bars_lie_level():
    chart = results.band_bars(made_results({f"row {number}": 5.0 + number for number in range(6)}), "exact")
    assert {trace.orientation for trace in chart.data} == {"h"} and {trace.textangle for trace in chart.data} == {0}


def test_recognisers_are_called_as_notebook_05_calls_them(tmp_path, monkeypatch):
    loss = {"name": "ce", "vilhub_scale": 0.0, "relmix": "none"}
    source = {"recogniser": {"stage": "recogniser/ce"}}

    def stage(name, builder, config, **inputs):
        manifest = {"builder": f"workbench.recognition.some:{builder}"}
        return SimpleNamespace(folder=tmp_path / name, manifest=manifest, parameters={"config": config, **inputs})

    trained = stage("ce", "train_recogniser", {"loss": loss})
    monkeypatch.setattr(results, "Stage", SimpleNamespace(at=lambda folder: {"ce": trained}[folder.name]))
    for made, title in (
        (trained, "CE"), (stage("a", "rebalance_recogniser", {}, **source), "CE, logits adjusted after training"),
        (stage("d", "finetune_recogniser", {"real_replay": 0.0}, **source), "CE + DiffAugment"),
        (stage("r", "finetune_recogniser", {"real_replay": 0.5}, **source), "CE + DiffAugment, real replay"),
        (stage("mine", "import_recogniser", {}), "mine"),
    ):  # fmt: skip
        assert results.recogniser_title(made) == title
