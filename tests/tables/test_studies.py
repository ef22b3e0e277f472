"""The paper's tables as data, results read and refused, paired differences, claims, and the trade-off figure."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workbench.diffusion import rivals
from workbench.errors import WorkbenchError
from workbench.tables import claims, printed, reproduced, trade_off
from workbench.tables import results as table_results
from workbench.tables.intervals import paired_interval
from workbench.tables.paper import CLASSES, COLUMNS, TABLES
from workbench.tables.records import VALUE_NAMES

ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
PAPER_SYSTEMS = list(dict.fromkeys(row.system for _, row in ROWS))
BASELINES = {row.system: row.compared_with for _, row in ROWS if row.compared_with}


def made_record(seeds=(0, 1, 2), shift=None, **more) -> dict:
    """Every system of the paper's tables; ``shift`` maps a key to points added to all its numbers."""
    rng = np.random.default_rng(0)
    noise = {seed: rng.uniform(20, 40) for seed in seeds}  # shared by all systems: pairing takes it off
    record = {"profile": "toy", "seeds": list(seeds), "systems": {}}
    for key in PAPER_SYSTEMS:
        values = {
            str(seed): {
                name: noise[seed] + rng.uniform(-0.01, 0.01) + (shift or {}).get(key, 0.0)
                for name in sorted(VALUE_NAMES)
            }
            for seed in seeds
        }
        record["systems"][key] = {
            "title": key, "architecture": "RelTransformer" if key.startswith("rel") else "LSVRU", "training": "CE",
            "group": "paper", "generated": "_so" in key or "_random" in key, "baseline": BASELINES.get(key),
            "curve": None, "values": values, "failed": {},
        }  # fmt: skip
    return record | more


def made_results(**options) -> table_results.TableResults:
    return table_results.checked_results(made_record(**options), "made")


# Typed from the text a second time, apart from the tables.
@pytest.mark.parametrize(
    ("number", "system", "column", "value"),
    [
        (1, "lsvru_ce", "subject/object many", 68.24),
        (1, "lsvru_ce_vilhub_relmix_so", "relation medium", 19.20),
        (1, "reltransformer_wce", "relation all", 20.70),
        (2, "reltransformer_wce_random", "subject/object few", 22.92),
        (3, "reltransformer_ce_random_plain", "combined all", 17.35),
        (4, "reltransformer_ce_so_curriculum", "relation many", 55.38),
        (5, "lsvru_ce_random_curriculum", "combined all", 13.99),
        (5, "lsvru_ce_so_plain", "combined all", 13.62),
        (6, "lsvru_ce_so_60k", "relation all", 11.02),
    ],
)
def test_numbers_of_the_paper(number, system, column, value):
    assert TABLES[number].row(system).numbers[column] == value


def test_the_paper_s_changes_are_those_of_its_text():
    assert TABLES[1].change("lsvru_ce_vilhub_relmix_so", "lsvru_ce_vilhub_relmix", "combined all") == pytest.approx(
        1.42
    )
    assert TABLES[2].change("lsvru_ce_so", "lsvru_ce_random", "combined all") == pytest.approx(0.78)
    assert TABLES[2].change("reltransformer_wce_so", "reltransformer_wce_random", "combined all") == pytest.approx(0.2)
    assert TABLES[6].change("lsvru_ce_so_20k", "lsvru_ce", "relation all") is None
    assert [len(table.rows) for table in TABLES.values()] == [10, 4, 4, 4, 7, 4]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda item: getattr(item, "system", ""))
def test_a_row_agrees_with_itself(table, row):
    numbers = row.numbers
    assert set(numbers) <= set(table.columns) <= set(COLUMNS) and len(row.labels) == len(table.label_columns)
    assert row.compared_with is None or table.row(row.compared_with).architecture == row.architecture
    if "relation all" in numbers:  # Combined is the mean of both, "all" the mean over the bands' classes
        assert (numbers["subject/object all"] + numbers["relation all"]) / 2 == pytest.approx(
            numbers["combined all"], abs=0.006
        )
    for role in ("subject/object", "relation"):
        if f"{role} few" in numbers:
            bands = [f"{role} {band}" for band in ("many", "medium", "few")]
            mean = np.average([numbers[band] for band in bands], weights=[CLASSES[band] for band in bands])
            assert mean == pytest.approx(numbers[f"{role} all"], abs=0.012)


def test_a_system_has_the_same_numbers_in_every_table():
    seen = {}
    for _, row in ROWS:
        for column, value in row.numbers.items():
            assert seen.setdefault((row.system, column), value) == value, (row.system, column)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_a_paired_interval_is_student_s_over_shared_seeds(count):
    rng = np.random.default_rng(count)
    later, earlier = (dict(enumerate(rng.normal(size=count))) for _ in range(2))
    found = paired_interval(later | {99: 5.0}, earlier | {100: 5.0})
    expected = stats.ttest_rel(list(later.values()), list(earlier.values())).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert paired_interval({0: 1.0}, {1: 1.0}) is None


def damaged(record, path, value):
    *parents, last = path
    for name in parents:
        record = record[name]
    if value is None:
        del record[last]
    else:
        record[last] = value


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("profile",), None, "'profile' is missing"),
        (("seeds",), [0, 0], "seeds"),
        (("systems",), {}, "systems is empty"),
        (("systems", "lsvru_ce"), [], "systems.lsvru_ce: expected an object"),
        (("systems", "lsvru_ce", "title"), 3, "systems.lsvru_ce.title"),
        (("systems", "lsvru_ce", "group"), "papers", "systems.lsvru_ce.group"),
        (("systems", "lsvru_ce", "generated"), "no", "systems.lsvru_ce.generated"),
        (("systems", "lsvru_ce", "values", "7"), {"exact combined all": 1.0}, "seed '7'"),
        (("systems", "lsvru_ce", "values", "0"), {"exact combined": 1.0}, "unknown value 'exact combined'"),
        (("systems", "lsvru_ce", "values", "0"), {"exact combined all": 101}, "lsvru_ce.values.0.exact combined all"),
        (("systems", "lsvru_ce", "values", "0"), {"exact combined all": True}, "expected percent"),
        (("systems", "lsvru_ce", "failed"), {"0": 1}, "systems.lsvru_ce.failed.0"),
        (("systems", "lsvru_ce", "stale"), {"0": 1}, "systems.lsvru_ce.stale.0"),
        (("systems", "lsvru_ce", "source"), "GAN", "systems.lsvru_ce.source: 'GAN'"),
        (("systems", "lsvru_ce", "validation"), [], "systems.lsvru_ce.validation"),
        (("systems", "lsvru_ce", "validation"), {"7": {"combined": 1.0}}, "seed '7'"),
        (("systems", "lsvru_ce", "validation"), {"0": {"loss": 1.0}}, "validation.0: 'combined' is missing"),
        (("systems", "lsvru_ce", "validation"), {"0": {"combined": 101.0}}, "validation.0.combined"),
        (("systems", "lsvru_ce", "validation"), {"0": {"combined": 1.0, "loss": "x"}}, "validation.0.loss"),
    ],
)
def test_damage_is_named_with_file_and_key(tmp_path, path, value, told):
    record = made_record()
    damaged(record, path, value)
    file = tmp_path / "tables.json"
    file.write_text(json.dumps(record))
    with pytest.raises(WorkbenchError) as caught:
        table_results.read_tables(file)
    assert str(file) in str(caught.value) and told in str(caught.value)


def test_gaps_are_told_and_escaped():
    record = made_record()
    del record["systems"]["lsvru_ce_vilhub_relmix"]
    record["systems"]["lsvru_wce_so"].update(values={}, failed={"0": "no <memory>", "1": "no <memory>"})
    record["systems"]["reltransformer_wce_so"]["failed"] = {"2": "died"}
    del record["systems"]["reltransformer_wce_so"]["values"]["2"]
    results = table_results.checked_results(record, "made")
    rows = reproduced.reproduced_table(1, results, "exact").set_index(["system", "column"])
    assert rows.loc[("lsvru_ce_vilhub_relmix", "combined all"), "gap"] == "not run"
    assert rows.loc[("lsvru_wce_so", "combined all"), "gap"] == "failed: no <memory>"
    assert pd.isna(rows.loc[("lsvru_ce_vilhub_relmix_so", "combined all"), "difference"])
    assert rows.loc[("reltransformer_wce_so", "combined all"), "pairs"] == 2
    page = printed.table_html(1, rows.reset_index())
    assert "not run" in page and "failed: no &lt;memory&gt;" in page and "<memory>" not in page


@pytest.mark.parametrize(("number", "metric"), list(product(TABLES, ("exact", "synset"))))
def test_our_numbers_are_means_and_paired_differences(number, metric):
    results = made_results(shift={"lsvru_ce_so": 2.0, "lsvru_ce_random": 1.0})
    rows = reproduced.reproduced_table(number, results, metric)
    assert len(rows) == len(TABLES[number].rows) * len(TABLES[number].columns)
    for cell in rows.itertuples():
        values = results.systems[cell.system].numbers(f"{metric} {cell.column}")
        assert cell.here == pytest.approx(np.mean(list(values.values())))
        if isinstance(cell.compared_with, str):
            other = results.systems[cell.compared_with].numbers(f"{metric} {cell.column}")
            assert cell.difference == pytest.approx(np.mean([values[seed] - other[seed] for seed in values]))
            assert cell.half_width < 0.1  # paired: the noise that seeds share is gone
    page = printed.table_html(number, rows)
    assert page.count("<tr") == page.count("</tr>") and page.count("<td") == page.count("</td>")


def test_one_seed_has_no_interval():
    results = made_results(seeds=(4,))
    rows = reproduced.reproduced_table(1, results, "exact")
    assert rows["half_width"].isna().all() and "one seed" in printed.table_html(1, rows)
    table = claims.claims_table(claims.comparisons_table(results, "exact"))
    assert set(table["verdict"]) == {claims.ONE_SEED}
    assert table["sentence"].str.startswith("One seed, no interval").all()


@pytest.mark.parametrize(
    ("mean", "half_width", "expected", "word"),
    [
        (1.0, 0.5, claims.ABOVE, "holds"),
        (-1.0, 0.5, claims.ABOVE, "does not hold"),
        (1.0, 1.0, claims.ABOVE, "undecided"),
        (-1.0, 0.5, claims.BELOW, "holds"),
        (1.0, 0.5, claims.BELOW, "does not hold"),
        (0.1, 0.3, claims.EQUAL, "holds"),
        (-0.4, 0.3, claims.EQUAL, "undecided"),
        (-0.9, 0.3, claims.EQUAL, "does not hold"),
        (0.0, 9.0, claims.EQUAL, "undecided"),
        (1.0, None, claims.ABOVE, "one seed, no interval"),
    ],
)
def test_verdicts_follow_the_interval(mean, half_width, expected, word):
    ends = {"low": None, "high": None} if half_width is None else {"low": mean - half_width, "high": mean + half_width}
    assert claims.verdict({"mean": mean, "half_width": half_width, **ends}, expected) == word


@pytest.mark.parametrize(("shift", "said"), [(1.0, "holds"), (-1.0, "does not hold")])
def test_a_claim_turns_with_the_numbers(shift, said):
    comparisons = claims.comparisons_table(made_results(shift={"lsvru_ce_so": shift}), "synset")
    table = claims.claims_table(comparisons)
    assert table.loc[5, "verdict"] == said
    assert len(comparisons[(comparisons["claim"] == 5)]) == 5
    assert claims.claim_metrics(comparisons)["headline"]["claims"] == 6
    assert "claims that hold" in json.dumps(claims.claim_metrics(comparisons), allow_nan=False)


def test_a_claim_with_gaps_is_not_decided_by_what_is_left():
    record = made_record(shift={key: 1.0 for key in BASELINES})
    del record["systems"]["lsvru_wce"]
    comparisons = claims.comparisons_table(table_results.checked_results(record, "made"), "exact")
    table = claims.claims_table(comparisons)
    assert table.loc[1, "verdict"] == "undecided" and "1 not run" in table.loc[1, "sentence"]
    page = printed.claims_html(table, comparisons)
    assert page.count("<tr") == 1 + len(claims.CLAIMS) + len(comparisons)


def validated(record, numbers):
    """The record with Combined on validation for every seed that has values; ``numbers`` by key, 1 for the others."""
    for key, system in record["systems"].items():
        system["validation"] = {seed: {"combined": numbers.get(key, 1.0), "loss": 120.5} for seed in system["values"]}
    return record


def test_the_best_rival_generates_nothing_and_shares_the_recogniser():
    record = made_record(shift={"lsvru_wce": 3.0, "lsvru_ce_so": 9.0, "reltransformer_ce": 9.0, "lsvru_ce": 5.0})
    del record["systems"]["lsvru_ce"]["values"]["1"]  # fewer seeds than its rivals
    on_validation = {"lsvru_wce": 3.0, "lsvru_ce_so": 9.0, "reltransformer_ce": 9.0, "lsvru_ce": 5.0}
    results = table_results.checked_results(validated(record, on_validation), "made")
    assert reproduced.best_without_generated(results, "LSVRU") == "lsvru_wce"
    table = reproduced.extended_table(results, "exact").set_index("key")
    assert table.loc["lsvru_ce_so", "best_difference"] == pytest.approx(6.0, abs=0.1)
    assert table.loc["lsvru_wce", "best"] == "" and len(table) == len(PAPER_SYSTEMS)
    assert printed.extended_html(table.reset_index()).count('scope="row"') == len(table)


@pytest.mark.parametrize("best", ["lsvru_ce", "lsvru_wce", "lsvru_ce_vilhub_relmix"])
def test_validation_chooses_the_best_rival_and_test_does_not(best):
    record = made_record(shift={"lsvru_wce": 3.0, "lsvru_ce": 3.5})
    results = table_results.checked_results(validated(record, {best: 30.0}), "made")
    assert reproduced.best_without_generated(results, "LSVRU") == best
    # A number of a seed that was not tested counts for nothing.
    record["systems"]["lsvru_wce"]["values"].pop("2")
    record["systems"]["lsvru_wce"]["validation"] = {"2": {"combined": 99.0}}
    results = table_results.checked_results(record, "made")
    assert reproduced.best_without_generated(results, "LSVRU") != "lsvru_wce"


def test_without_validation_numbers_the_best_rival_is_not_known():
    results = made_results(shift={"lsvru_wce": 3.0})
    assert reproduced.best_without_generated(results, "LSVRU") is None
    table = reproduced.extended_table(results, "exact")
    assert set(table["best"]) == {reproduced.NOT_VALIDATED} and table["best_difference"].isna().all()
    assert printed.extended_html(table).count(">not known<") == len(table)
    assert set(reproduced.aim(results, "exact")["verdict"]) == {"not known"}


@pytest.mark.parametrize("architecture", ["LSVRU", "lsvru"])
def test_group_rows_and_titles_tell_the_architecture_once(architecture):
    record = made_record()
    for key, system in record["systems"].items():
        if key.startswith("lsvru"):
            system.update(architecture=architecture, title=f"LSVRU, {key.removeprefix('lsvru_').upper()}")
    results = table_results.checked_results(record, "made")
    page = printed.extended_html(reproduced.extended_table(results, "exact"))
    assert ">LSVRU: paper<" in page and ">CE<" in page and "lsvru:" not in page and ">LSVRU, " not in page
    assert set(trade_off.trade_table(results, "exact")["architecture"]) == {"LSVRU", "RelTransformer"}


def test_a_band_without_class_is_not_a_missing_seed():
    record = made_record()
    for key in ("lsvru_ce", "lsvru_ce_so"):
        for values in record["systems"][key]["values"].values():
            values["exact relation many"] = None
    record["systems"]["reltransformer_ce"]["values"] = {"0": record["systems"]["reltransformer_ce"]["values"]["0"]}
    del record["systems"]["reltransformer_ce_so"]["values"]["0"]
    comparisons = claims.comparisons_table(table_results.checked_results(record, "made"), "exact")
    first = comparisons[comparisons["claim"] == 1]
    at = {(row.architecture, row.later, row.column): row for row in first.itertuples()}
    many = at["LSVRU", "CE + DiffAugment", "relation many"]
    assert (many.gap, many.verdict) == ("no class in this band", claims.NO_CLASS)
    assert at["LSVRU", "CE + DiffAugment", "combined all"].gap == ""
    assert at["RelTransformer", "CE + DiffAugment", "combined all"].gap == "no seed has both"
    table = claims.claims_table(comparisons)
    assert "1 no seed has both" in table.loc[1, "sentence"] and "not run" not in table.loc[1, "sentence"]
    assert "no class in this band" in printed.claims_html(table, comparisons)


STALE = "made with other settings: training.epochs 14 -> 16"


def test_stale_seeds_are_gaps_with_their_reason():
    record = made_record()
    record["systems"]["lsvru_ce_so"].update(values={}, stale={seed: STALE for seed in "012"})
    record["systems"]["lsvru_wce"]["stale"] = {"1": STALE}
    with pytest.raises(WorkbenchError, match=r"lsvru_wce.stale: seeds \[1\] have values"):
        table_results.checked_results(record, "made")
    del record["systems"]["lsvru_wce"]["values"]["1"]
    record["systems"]["lsvru_wce"]["failed"] = {"2": "died"}
    results = table_results.checked_results(record, "made")
    assert results.gap("lsvru_ce_so") == STALE and results.gap("lsvru_wce") == ""
    assert results.missing("lsvru_wce") == f"failed: died; {STALE}"
    rows = reproduced.reproduced_table(1, results, "exact")
    page = printed.table_html(1, rows)
    assert "training.epochs 14 -&gt; 16</td>" in page and "some missing" in page
    extended = printed.extended_html(reproduced.extended_table(results, "exact"))
    assert "training.epochs 14 -&gt; 16</td>" in extended and "some missing" in extended
    comparisons = claims.comparisons_table(results, "exact").set_index(["claim", "architecture", "later", "column"])
    row = comparisons.loc[(1, "LSVRU", "CE + DiffAugment", "combined all")]
    assert row["gap"] == STALE and row["verdict"] == "made with other settings"
    assert "made with other settings" in claims.claims_table(comparisons.reset_index()).loc[1, "sentence"]


def made_aim(combined, many, seeds=(0, 1, 2), **more) -> pd.DataFrame:
    """The aim where the combined system is above WCE, the best on validation, by ``combined`` and ``many`` by seed."""
    record = made_record(seeds=seeds, shift={"lsvru_ce": 5.0})
    rival = record["systems"]["lsvru_wce"]
    for key, bonus in (("lsvru_wce_so_mixed", 0.0), ("lsvru_wce_triple_mean_mixed", 9.0), ("lsvru_wce_so_other", -1.0)):
        values = {
            str(seed): rival["values"][str(seed)]
            | {
                "exact combined all": rival["values"][str(seed)]["exact combined all"] + combined[place] + bonus,
                "exact combined many": rival["values"][str(seed)]["exact combined many"] + many[place] + bonus,
            }
            for place, seed in enumerate(seeds)
        }
        record["systems"][key] = rival | {"title": f"LSVRU, {key}", "group": "combined", "generated": True,
                                          "baseline": "lsvru_wce", "values": values}  # fmt: skip
    for key, entry in more.items():
        record["systems"][key] = record["systems"][key] | entry
    numbers = {"lsvru_wce": 20.0, "lsvru_wce_so_mixed": 21.0, "lsvru_wce_triple_mean_mixed": 90.0}
    return reproduced.aim(table_results.checked_results(validated(record, numbers), "made"), "exact")


@pytest.mark.parametrize(
    ("combined", "many", "verdict"),
    [
        ((1.0, 1.1, 0.9), (-2.9, -3.0, -2.8), "reached"),
        ((1.0, 1.1, 0.9), (-3.1, -3.3, -2.9), "not reached"),
        ((-1.0, -1.1, -0.9), (0.0, 0.0, 0.0), "not reached"),
        ((1.0, -1.1, 0.9), (0.0, 0.0, 0.0), "undecided"),
        ((1.0, -1.1, 0.9), (-9.0, 0.0, -1.0), "not reached"),
    ],
)
def test_the_aim_follows_the_interval_and_the_price(combined, many, verdict):
    table = made_aim(combined, many).set_index("architecture")
    row = table.loc["LSVRU"]
    expected = stats.ttest_1samp(combined, 0).confidence_interval(0.95)
    assert (row["without"], row["with"], row["verdict"]) == ("lsvru_wce", "LSVRU, lsvru_wce_so_mixed", verdict)
    assert row["difference"] == pytest.approx(np.mean(combined)) and row["many_difference"] == pytest.approx(
        np.mean(many)
    )
    assert row["half_width"] == pytest.approx((expected.high - expected.low) / 2) and row["pairs"] == 3
    assert tuple(table.loc["RelTransformer", ["with", "verdict"]]) == ("not run", "not known")
    page = printed.aim_html(table.reset_index())
    assert f"<b>{verdict}</b>" in page and ">lsvru_wce_so_mixed<" in page and page.count("<tr") == 4


def test_the_aim_of_one_seed_has_no_verdict():
    assert made_aim([1.0], [0.0], seeds=(4,)).loc[0, "verdict"] == claims.ONE_SEED


def test_a_record_s_source_goes_before_its_key():
    named = {"lsvru_wce_so_mixed": {"source": "rival"}, "lsvru_wce_triple_mean_mixed": {"source": "diffusion"}}
    assert made_aim((1.0, 1.1, 0.9), (0.0, 0.0, 0.0), **named).loc[0, "with"] == "LSVRU, lsvru_wce_triple_mean_mixed"
    results = table_results.checked_results(made_record(), "made")
    assert {system.source for system in results.systems.values() if system.generated} == {"diffusion"}
    assert {system.source for system in results.systems.values() if not system.generated} == {None}
    assert table_results.RIVALS == rivals.RIVALS


def test_the_aim_tells_why_a_side_is_missing():
    failed = {"values": {}, "failed": {"0": "no memory"}}
    table = made_aim((1.0, 1.1, 0.9), (0.0, 0.0, 0.0), lsvru_wce_so_mixed=failed, lsvru_wce_so_other=failed)
    assert tuple(table.loc[0, ["with", "verdict", "pairs"]]) == ("failed: no memory", "not known", 0)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_trade_off_draws_every_compared_system(seeds):
    record = made_record(seeds=seeds)
    for key in ("lsvru_ce_so_60k", "lsvru_ce_so"):
        record["systems"][key]["curve"] = "samples"
    table = trade_off.trade_table(table_results.checked_results(record, "made"), "exact")
    figure = trade_off.trade_off(table, "exact")
    drawn = [trace for trace in figure.data if trace.mode == "markers" and trace.x[0] is not None]
    assert sum(len(trace.x) for trace in drawn) == len(table) == 2 * len(BASELINES)
    curves = [trace for trace in figure.data if trace.mode == "lines"]
    assert [len(trace.x) for trace in curves] == [2, 2]


def test_the_trade_off_of_nothing_says_so():
    record = made_record()
    record["systems"] = {"lsvru_ce": record["systems"]["lsvru_ce"]}
    table = trade_off.trade_table(table_results.checked_results(record, "made"), "exact")
    assert table.empty and "No system" in str(trade_off.trade_off(table, "exact").layout.annotations)


@pytest.mark.parametrize(
    ("start", "hardness", "key"),
    [
        ("subject-object", True, "lsvru_ce_so"),
        ("random", True, "lsvru_ce_random"),
        ("random", False, "lsvru_ce_random_plain"),
    ],
)
def test_a_run_s_own_results_take_the_paper_s_keys(start, hardness, key):
    titles = ("CE", "WCE", "CE + DiffAugment", "CE + DiffAugment, real replay", "logit adjustment")
    variants = {title: {"exact combined all": 10.0 + place} for place, title in enumerate(titles)}
    results = table_results.of_run({"baseline": "CE", "variants": variants}, start, 7, hardness=hardness)
    assert list(results.systems) == ["lsvru_ce", "lsvru_wce", key, f"{key}_real_replay", "lsvru_logit_adjusted"]
    assert results.difference(key, "lsvru_ce", "exact combined all")["values"] == [2.0]
    assert results.systems[key].generated and not results.systems["lsvru_wce"].generated
    assert results.gap("reltransformer_ce") == "not run" and results.seeds == (7,)
    with pytest.raises(WorkbenchError, match="'variants' is missing"):
        table_results.of_run({"baseline": "CE"}, start, 0)


@pytest.mark.parametrize(
    ("baseline", "options", "keys"),
    [
        ("CE", {"curriculum": True}, ["ce", "ce_so_curriculum"]),
        ("CE", {"hardness": False, "curriculum": True}, ["ce", "ce_so_plain_curriculum"]),
        ("CE + VilHub + RelMix", {}, ["ce_vilhub_relmix", "ce_vilhub_relmix_so"]),
        ("WCE", {}, ["wce", "wce_so"]),
    ],
)
@pytest.mark.parametrize(("architecture", "title"), [("lsvru", "LSVRU"), ("reltransformer", "RelTransformer")])
def test_a_run_s_architecture_and_options_are_in_its_keys(architecture, title, baseline, options, keys):
    variants = {name: {"exact combined all": 10.0} for name in (baseline, f"{baseline} + DiffAugment")}
    metrics = {"baseline": baseline, "architecture": architecture, "variants": variants}
    results = table_results.of_run(metrics, "subject-object", 0, **options)
    assert list(results.systems) == [f"{architecture}_{key}" for key in keys]
    assert {system.architecture for system in results.systems.values()} == {title}
    with pytest.raises(WorkbenchError, match="architecture 'resnet'"):
        table_results.of_run(metrics | {"architecture": "resnet"}, "random", 0)


@pytest.mark.parametrize("metric", ["exact", "synset"])
def test_the_page_shows_both_metrics(metric):
    told = printed.in_both_metrics("<p>{}</p>".format, metric)
    assert (
        told.startswith(f"<p>{metric}</p><details>") and told.count("<p>exact</p>") == told.count("<p>synset</p>") == 1
    )
