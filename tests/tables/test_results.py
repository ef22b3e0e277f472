"""The paper's tables as data, results read and refused, paired differences, claims, the page, and the trade-off."""

import functools
import json
import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy

from tests.refusals import refused
from workbench.tables import page, paper
from workbench.tables import results as stored
from workbench.tables.paper import ABOVE, BELOW, CLASSES, EQUAL, TABLES
from workbench.tables.plan import of_run
from workbench.tables.results import TableResults, aim, best_without_generated, checked_results, interval, read_tables

COMPARED = {key: other for table in TABLES.values() for key, other in table.rows["compared_with"].dropna().items()}
REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "reference"


def made_record(seeds=(0, 1, 2), shift=None) -> dict:
    """Every row of the paper's tables; ``shift`` maps a key to points added to all its numbers."""
    rng = np.random.default_rng(0)
    noise = {seed: rng.uniform(20, 40) for seed in seeds}  # shared by all rows: pairing takes it off
    record = {"profile": "toy", "seeds": list(seeds), "rows": {}}
    for key in dict.fromkeys(key for table in TABLES.values() for key in table.rows.index):
        points = (shift or {}).get(key, 0.0)
        values = {
            str(seed): {name: noise[seed] + rng.uniform(-0.01, 0.01) + points for name in sorted(stored.VALUE_NAMES)}
            for seed in seeds
        }
        generated = "_so" in key or "_random" in key
        record["rows"][key] = {
            "title": key, "architecture": "RelTransformer" if key.startswith("rel") else "LSVRU", "training": "CE",
            "group": "paper", "generated": generated, "source": "diffusion" if generated else None,
            "compared_with": COMPARED.get(key), "values": values,
        }  # fmt: skip
    return record


def made_results(**options) -> TableResults:
    return checked_results(made_record(**options), "made")


def is_balanced(html: str) -> bool:
    return all(html.count(f"<{tag}") == html.count(f"</{tag}>") for tag in ("tr", "td", "span", "table", "b>"))


def test_numbers_of_the_paper():
    # Typed from the text a second time, apart from the tables.
    for number, key, column, value in (
        (1, "lsvru_ce", "subject/object many", 68.24), (1, "lsvru_ce_vilhub_relmix_so", "relation medium", 19.20),
        (1, "reltransformer_wce", "relation all", 20.70), (2, "reltransformer_wce_random", "subject/object few", 22.92),
        (3, "reltransformer_ce_random_plain", "combined all", 17.35),
        (4, "reltransformer_ce_so_curriculum", "relation many", 55.38),
        (5, "lsvru_ce_random_curriculum", "combined all", 13.99), (6, "lsvru_ce_so_60k", "relation all", 11.02),
    ):  # fmt: skip
        assert TABLES[number].rows.at[key, column] == value
    for number, later, earlier, points in (
        (1, "lsvru_ce_vilhub_relmix_so", "lsvru_ce_vilhub_relmix", 1.42),
        (2, "lsvru_ce_so", "lsvru_ce_random", 0.78),
        (2, "reltransformer_wce_so", "reltransformer_wce_random", 0.2),
    ):
        assert TABLES[number].change(later, earlier, "combined all") == pytest.approx(points)
    assert np.isnan(TABLES[6].change("lsvru_ce_so_20k", "lsvru_ce", "relation all"))
    assert [len(table.rows) for table in TABLES.values()] == [10, 4, 4, 4, 7, 4]
    assert [len(table.columns) for table in TABLES.values()] == [9, 9, 9, 9, 1, 3]


def test_rows_of_the_paper_agree_with_themselves_and_with_each_other():
    seen = {}
    for table in TABLES.values():
        for later, earlier in table.rows["compared_with"].dropna().items():
            assert table.rows.at[later, "architecture"] == table.rows.at[earlier, "architecture"]
    for key, numbers in pd.concat(table.rows[table.columns] for table in TABLES.values()).iterrows():
        numbers = numbers.dropna()
        for column, value in numbers.items():
            assert seen.setdefault((key, column), value) == value, (key, column)
        if "relation all" in numbers:  # Combined is the mean of both, "all" the mean over the bands' classes
            mean = (numbers["subject/object all"] + numbers["relation all"]) / 2
            assert mean == pytest.approx(numbers["combined all"], abs=0.006)
        for role in ("subject/object", "relation"):
            if f"{role} few" in numbers:
                bands = [f"{role} {band}" for band in ("many", "medium", "few")]
                mean = np.average([numbers[band] for band in bands], weights=[CLASSES[band] for band in bands])
                assert mean == pytest.approx(numbers[f"{role} all"], abs=0.012)


@pytest.mark.parametrize("count", [2, 9])
def test_an_interval_is_student_s(count):

    values = np.random.default_rng(count).normal(size=count).tolist()
    found, expected = interval(values), scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["mean"] - found["low"] == pytest.approx(found["half_width"])


@pytest.mark.parametrize(("path", "value", "message"), [
    ("rows.lsvru_ce.values.0", {"exact combined all": 101}, "lsvru_ce: values.0.exact combined all"),
    ("rows.lsvru_ce.values.0", {"exact combined all": True}, "lsvru_ce.values.0.exact combined all"),
    ("rows.lsvru_ce.values.0", {"exact combined": 1.0}, "lsvru_ce: values.0.exact combined: 1.0"),
    ("rows.lsvru_ce.values.7", {"exact combined all": 1.0}, "seed '7'"), ("rows", {}, "rows is empty"),
    ("rows.lsvru_ce.validation", {"7": {"combined": 1.0}}, "seed '7'"), ("seeds", [0, 0], "seeds"),
    ("rows.lsvru_ce.source", "GAN", "rows.lsvru_ce.source: expected"), ("rows.lsvru_ce", [], "rows.lsvru_ce: expected"),
    ("rows.lsvru_ce.group", "papers", "rows.lsvru_ce: group"), ("rows.lsvru_ce.title", None, "rows.lsvru_ce.title"),
])  # fmt: skip
def test_damage_is_named_with_file_and_key(tmp_path, path, value, message):
    record, (*parents, last) = made_record(), path.split(".")
    functools.reduce(dict.__getitem__, parents, record)[last] = value
    file = tmp_path / "tables.json"
    file.write_text(json.dumps(record))
    caught = refused(None, read_tables, file)
    assert str(file) in caught and message in caught and "make tables" in caught


@pytest.mark.parametrize(("number", "metric"), list(product(TABLES, ("exact", "synset"))))
def test_our_numbers_are_means_and_paired_differences(number, metric):
    results = made_results(shift={"lsvru_ce_so": 2.0, "lsvru_ce_random": 1.0})
    table = TABLES[number]
    for (key, row), found in zip(table.rows.iterrows(), page.paper_rows(number, results, metric), strict=True):
        assert (found["key"], found["name"]) == (key, row["name"])
        for column, cell in zip(table.columns, found["cells"], strict=True):
            values = results.numbers(key, f"{metric} {column}")
            assert cell["here"]["mean"] == pytest.approx(np.mean(list(values.values())))
            assert cell["paper"] == pytest.approx(row[column], nan_ok=True)
            assert (cell["change"] is None) == pd.isna(row["compared_with"])
            if cell["change"]:
                other = results.numbers(row["compared_with"], f"{metric} {column}")
                assert cell["change"]["mean"] == pytest.approx(np.mean([values[seed] - other[seed] for seed in values]))
                assert cell["change"]["half_width"] < 0.1  # paired: the noise that seeds share is gone
    html = page.paper_table(number, results, metric)
    assert is_balanced(html) and html.count('<td class="source">here') == 2 * len(table.rows)
    other = {"exact": "synset", "synset": "exact"}[metric]
    assert html.count(f"<summary>The same by {other} match") == 1 and html.count(f"<h3>Table {number}. ") == 2


def test_gaps_are_named_and_escaped():
    record = made_record()
    rows = record["rows"]
    del rows["lsvru_ce_vilhub_relmix"]
    rows["lsvru_wce_so"].update(values={}, failed={"0": "no <memory>", "1": "no <memory>"})
    rows["lsvru_ce_so"].update(values={}, stale=dict.fromkeys("012", "training.epochs 14 -> 16"))
    rows["reltransformer_wce_so"]["failed"] = {"2": "died"}
    del rows["reltransformer_wce_so"]["values"]["2"]
    results = checked_results(record, "made")
    found = {row["key"]: row for row in page.paper_rows(1, results, "exact")}
    assert found["lsvru_ce_vilhub_relmix"]["gap"] == "not run" and found["lsvru_wce_so"]["gap"] == "failed: no <memory>"
    assert found["lsvru_ce_so"]["gap"] == "made with other settings: training.epochs 14 -> 16"
    assert found["lsvru_ce_vilhub_relmix_so"]["cells"][-1]["change"] is None
    assert len(found["reltransformer_wce_so"]["cells"][-1]["change"]["values"]) == 2
    for html in (page.paper_table(1, results, "exact"), page.extended(results, "exact")):
        assert is_balanced(html) and "failed: no &lt;memory&gt;" in html and "<memory>" not in html
        assert "training.epochs 14 -&gt; 16</td>" in html and 'title="failed: died">some missing' in html
    shown, _, folded = page.paper_table(1, results, "exact").partition("<summary>1 not run</summary>")
    assert "no &lt;memory&gt;" in shown and "VilHub + RelMix<" not in shown and "VilHub + RelMix<" in folded
    comparisons = paper.comparisons_table(results, "exact").set_index(["claim", "architecture", "later", "column"])
    row = comparisons.loc[(1, "LSVRU", "CE + DiffAugment", "combined all")]
    assert row["gap"] == results.gap("lsvru_ce_so") and row["verdict"] == "made with other settings"
    assert "made with other settings" in paper.claims_table(comparisons.reset_index()).loc[1, "sentence"]


def test_one_seed_has_no_interval():
    results = made_results(seeds=(4,))
    html = page.paper_table(1, results, "exact")
    assert "one seed</span>" in html and "±" not in html
    table = paper.claims_table(paper.comparisons_table(results, "exact"))
    assert set(table["verdict"]) == {stored.ONE_SEED}
    assert table["sentence"].str.startswith("One seed, no interval").all()


@pytest.mark.parametrize(("mean", "half_width", "expected", "word"), [
    (1.0, None, ABOVE, "one seed, no interval"), (-1.0, 0.5, ABOVE, "does not hold"), (-0.4, 0.3, EQUAL, "undecided"),
    (-0.9, 0.3, EQUAL, "does not hold"), (1.0, 0.5, BELOW, "does not hold"), (1.0, 1.0, ABOVE, "undecided"),
    (0.0, 9.0, EQUAL, "undecided"), (-1.0, 0.5, BELOW, "holds"), (1.0, 0.5, ABOVE, "holds"), (0.1, 0.3, EQUAL, "holds"),
])  # fmt: skip
def test_verdicts_follow_the_interval(mean, half_width, expected, word):
    ends = {"low": None, "high": None} if half_width is None else {"low": mean - half_width, "high": mean + half_width}
    assert paper.verdict({"mean": mean, "half_width": half_width, **ends}, expected) == word


@pytest.mark.parametrize(("shift", "word"), [(1.0, "holds"), (-1.0, "does not hold")])
def test_a_claim_turns_with_the_numbers(shift, word):
    comparisons = paper.comparisons_table(made_results(shift={"lsvru_ce_so": shift}), "synset")
    assert paper.claims_table(comparisons).loc[5, "verdict"] == word
    assert len(comparisons[(comparisons["claim"] == 5)]) == 5
    metrics = paper.claim_metrics(comparisons)
    assert metrics["headline"]["claims"] == 6 and "claims that hold" in json.dumps(metrics, allow_nan=False)
    nothing = paper.claim_metrics(comparisons.assign(pairs=0, verdict=paper.UNDECIDED))
    assert nothing["headline"] == {"claims": 6, "claims decided": 0} and "verdict" not in nothing
    assert re.fullmatch(r"Of the paper's 6 claims about Combined \d hold here, \d do not, and .*", metrics["verdict"])


def test_a_claim_with_gaps_is_not_decided_by_what_is_left():
    record = made_record(shift={key: 1.0 for key in COMPARED})
    del record["rows"]["lsvru_wce"]
    comparisons = paper.comparisons_table(checked_results(record, "made"), "exact")
    table = paper.claims_table(comparisons)
    assert table.loc[1, "verdict"] == "undecided" and "1 not run" in table.loc[1, "sentence"]
    html = page.claims(comparisons)
    assert is_balanced(html) and html.count("<tr") == 1 + len(TABLES) + len(comparisons) + 2
    left = (comparisons["gap"] == "not run").sum()  # folded away, below two rows of heads
    assert html.partition(f"<summary>{left} not run<")[2].count("<tr") == 2 + left


def test_a_band_without_class_is_not_a_missing_seed():
    record = made_record()
    for key in ("lsvru_ce", "lsvru_ce_so"):
        for values in record["rows"][key]["values"].values():
            values["exact relation many"] = None
    record["rows"]["reltransformer_ce"]["values"] = {"0": record["rows"]["reltransformer_ce"]["values"]["0"]}
    del record["rows"]["reltransformer_ce_so"]["values"]["0"]
    comparisons = paper.comparisons_table(checked_results(record, "made"), "exact")
    first = comparisons[comparisons["claim"] == 1]
    at = {(row.architecture, row.later, row.column): row for row in first.itertuples()}
    many = at["LSVRU", "CE + DiffAugment", "relation many"]
    assert (many.gap, many.verdict) == ("no class in this band", paper.NO_CLASS)
    assert at["LSVRU", "CE + DiffAugment", "combined all"].gap == ""
    assert at["RelTransformer", "CE + DiffAugment", "combined all"].gap == "no seed has both"
    sentence = paper.claims_table(comparisons).loc[1, "sentence"]
    assert "1 no seed has both" in sentence and "not run" not in sentence
    assert "no class in this band" in page.claims(comparisons)


def validated(record, numbers) -> TableResults:
    """Results with Combined on validation for every seed that has values; ``numbers`` by key, 1 for the others."""
    for key, row in record["rows"].items():
        row["validation"] = {seed: {"combined": numbers.get(key, 1.0), "loss": 120.5} for seed in row["values"]}
    return checked_results(record, "made")


def test_the_best_without_generated_shares_the_recogniser_and_has_all_seeds():
    shift = {"lsvru_wce": 3.0, "lsvru_ce_so": 9.0, "reltransformer_ce": 9.0, "lsvru_ce": 5.0}
    record = made_record(shift=shift)
    record["rows"]["lsvru_wce"]["title"] = "LSVRU, WCE"
    del record["rows"]["lsvru_ce"]["values"]["1"]  # fewer seeds than the others
    results = validated(record, shift)
    assert best_without_generated(results, "LSVRU") == ("lsvru_wce", "WCE")
    found = {row["key"]: row for row in page.extended_rows(results, "exact")}
    title, change = found["lsvru_ce_so"]["changes"][1]
    assert title == "LSVRU, WCE" and change["mean"] == pytest.approx(6.0, abs=0.1)
    assert found["lsvru_wce"]["changes"][1] == ("", None) and len(found) == len(results.rows)
    html = page.extended(results, "exact")
    assert html.count('scope="row"') == 2 * len(found) and is_balanced(html)
    assert ">LSVRU: paper<" in html and ">WCE<" in html and ">LSVRU, WCE" not in html


@pytest.mark.parametrize("best", ["lsvru_ce", "lsvru_wce", "lsvru_ce_vilhub_relmix"])
def test_validation_chooses_the_best_and_test_does_not(best):
    record = made_record(shift={"lsvru_wce": 3.0, "lsvru_ce": 3.5})
    assert best_without_generated(validated(record, {best: 30.0}), "LSVRU")[0] == best
    # A number of a seed that was not tested counts for nothing.
    record["rows"]["lsvru_wce"]["values"].pop("2")
    record["rows"]["lsvru_wce"]["validation"] = {"2": {"combined": 99.0}}
    assert best_without_generated(checked_results(record, "made"), "LSVRU")[0] != "lsvru_wce"


def test_without_validation_numbers_the_best_is_not_known():
    results = made_results(shift={"lsvru_wce": 3.0})
    assert best_without_generated(results, "LSVRU") == (None, stored.NOT_VALIDATED)
    assert {row["changes"][1] for row in page.extended_rows(results, "exact")} == {(stored.NOT_VALIDATED, None)}
    html = page.extended(results, "exact")
    assert html.count(">not known<") == 2 * len(results.rows) and "measured on validation, which alone chooses" in html
    assert {record["verdict"] for record in aim(results, "exact")} == {"not known"}


def made_aim(combined, many, seeds=(0, 1, 2), **more) -> TableResults:
    """Results where the combined row is above WCE, the best on validation, by ``combined`` and ``many`` by seed."""
    record = made_record(seeds=seeds, shift={"lsvru_ce": 5.0})
    best = record["rows"]["lsvru_wce"]
    for key, bonus in (("lsvru_wce_so_mixed", 0.0), ("lsvru_wce_triple_mean_mixed", 9.0), ("lsvru_wce_so_other", -1.0)):
        values = {
            seed: numbers
            | {"exact combined all": numbers["exact combined all"] + combined[place] + bonus,
               "exact combined many": numbers["exact combined many"] + many[place] + bonus}
            for place, (seed, numbers) in enumerate(best["values"].items())
        }  # fmt: skip
        record["rows"][key] = best | {
            "title": f"LSVRU, {key}", "group": "combined", "generated": True, "compared_with": "lsvru_wce",
            "source": "baseline" if "mean" in key else "diffusion", "values": values,
        }  # fmt: skip
    for key, entry in more.items():
        record["rows"][key] = record["rows"][key] | entry
    numbers = {"lsvru_wce": 20.0, "lsvru_wce_so_mixed": 21.0, "lsvru_wce_triple_mean_mixed": 90.0}
    return validated(record, numbers)


@pytest.mark.parametrize(("combined", "many", "verdict"), [
    ((1.0, 1.1, 0.9), (-2.9, -3.0, -2.8), "reached"), ((1.0, 1.1, 0.9), (-3.1, -3.3, -2.9), "not reached"),
    ((-1.0, -1.1, -0.9), (0.0, 0.0, 0.0), "not reached"), ((1.0, -1.1, 0.9), (0.0, 0.0, 0.0), "undecided"),
    ((1.0, -1.1, 0.9), (-9.0, 0.0, -1.0), "not reached"),
])  # fmt: skip
def test_the_aim_follows_the_interval_and_the_price(combined, many, verdict):

    results = made_aim(combined, many)
    lsvru, other = aim(results, "exact")
    expected = scipy.stats.ttest_1samp(combined, 0).confidence_interval(0.95)
    assert (lsvru["without"], lsvru["with"], lsvru["verdict"]) == ("lsvru_wce", "lsvru_wce_so_mixed", verdict)
    assert lsvru["combined"]["mean"] == pytest.approx(np.mean(combined))
    assert lsvru["many"]["mean"] == pytest.approx(np.mean(many)) and len(lsvru["combined"]["values"]) == 3
    assert lsvru["combined"]["half_width"] == pytest.approx((expected.high - expected.low) / 2)
    assert (other["with"], other["verdict"]) == ("not run", "not known")
    html = page.aims(results, "exact")
    assert f"<b>{verdict}</b>" in html and ">lsvru_wce_so_mixed<" in html and html.count("<tr") == 8


def test_an_aim_without_a_verdict_says_why():
    assert aim(made_aim([1.0], [0.0], seeds=(4,)), "exact")[0]["verdict"] == stored.ONE_SEED
    failed = {"values": {}, "failed": {"0": "no memory"}}
    rows = dict.fromkeys(("lsvru_wce_so_mixed", "lsvru_wce_so_other"), failed)
    found = aim(made_aim((1.0, 1.1, 0.9), (0.0,) * 3, **rows), "exact")[0]
    assert (found["with"], found["verdict"], found["combined"]) == ("failed: no memory", "not known", None)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_trade_off_draws_every_compared_row(seeds):
    record = made_record(seeds=seeds)
    for key in ("lsvru_ce_so_60k", "lsvru_ce_so"):
        record["rows"][key]["curve"] = "samples"
    table = page.trade_table(checked_results(record, "made"), "exact")
    figure = page.trade_off(table, "exact")
    drawn = [trace for trace in figure.data if trace.mode == "markers" and trace.x[0] is not None]
    assert sum(len(trace.x) for trace in drawn) == len(table) == 2 * len(COMPARED)
    assert [len(trace.x) for trace in figure.data if trace.mode == "lines"] == [2, 2]
    record["rows"] = {"lsvru_ce": record["rows"]["lsvru_ce"]}
    alone = page.trade_table(checked_results(record, "made"), "exact")
    assert alone.empty and "No row" in str(page.trade_off(alone, "exact").layout.annotations)


@pytest.mark.parametrize(("init", "baseline", "hardness", "curriculum", "keys"), [
    ("subject-object", "CE", True, "none", ["ce", "ce_so"]), ("random", "CE", False, "none", ["ce", "ce_random_plain"]),
    ("subject-object", "CE", False, "easy_then_hard", ["ce", "ce_so_plain_curriculum"]),
    ("random", "CE + VilHub + RelMix", True, "none", ["ce_vilhub_relmix", "ce_vilhub_relmix_random"]),
])  # fmt: skip
@pytest.mark.parametrize(("architecture", "title"), [("reltransformer", "RelTransformer"), ("mine:Head", "mine:Head")])
def test_a_run_s_own_results_take_the_paper_s_keys(architecture, title, init, baseline, hardness, curriculum, keys):
    titles = (baseline, f"{baseline} + DiffAugment", f"{baseline} + DiffAugment, real replay", "logit-adjusted loss")
    variants = {name: {"exact combined all": 10.0 + place} for place, name in enumerate(titles)}
    metrics = {"baseline": baseline, "architecture": architecture, "variants": variants}
    config = {"init": init, "hardness": hardness, "curriculum": curriculum}

    def run_of(metrics):
        return SimpleNamespace(metrics=lambda: metrics, find=lambda *_: SimpleNamespace(parameters={"config": config}))

    results = of_run(run_of({"05_finetune_and_evaluate": metrics}), 7)
    before, after = list(results.rows)[:2]
    assert [before, after] == [f"{architecture}_{key}" for key in keys]
    assert results.difference(after, before, "exact combined all")["values"] == [1.0] and results.seeds == (7,)
    assert [row.generated for row in results.rows.values()] == [False, True, True, False]
    assert results.architectures == [title] and results.gap("lsvru_ce_60k") == "not run"
    for damaged in ({}, {"05_finetune_and_evaluate": metrics | {"baseline": "none"}}):
        refused("no variant", of_run, run_of(damaged), 0)


def test_the_stored_reference_is_read():
    for name, seeds in (("demo-tables", 3), ("demo-table1", 5), ("vg-clip-tables", 2)):
        results = read_tables(REFERENCE / f"{name}.json")
        assert len(results.seeds) == seeds and pd.notna(results.level("lsvru_ce", "exact combined all")["mean"])
