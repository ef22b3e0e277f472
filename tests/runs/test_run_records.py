"""All runs as one table, whatever can be read of them, and two runs compared class by class."""

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from workbench.figures.results import class_changes, per_class_change
from workbench.files import save_table, write_json
from workbench.recognition.accuracy import per_class_table, summary_table
from workbench.recognition.evaluation import flat_numbers, prediction_table
from workbench.runs.run_records import compare_runs, runs_table
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

NAMES = Vocabulary(("man", "<script>", "dog", "tree"), ("on", "<b>near"))


def write_run(root, name, *, seconds=1.0, headline=None, status="done", seed=0):
    entry = {"status": status, "seconds": seconds, "peak_memory_mb": 100, "parameters": {"seed": seed}}
    facts = {"run": name, "profile": "toy", "status": status, "started": f"2026-01-01T00:00:{int(seconds):02d}"}
    write_json(root / "reports" / name / "run.json", facts | {"seconds": seconds, "notebooks": {"05": entry}})
    write_json(root / "reports" / name / "metrics.json", {"05": {"headline": headline or {}, "rows": 7}})


def evaluated(folder, seed=0, vocabulary=NAMES, rows=60):
    """What a stage ``evaluation`` leaves, of random probabilities."""
    random, sizes = np.random.default_rng(seed), {role: len(vocabulary.names(role)) for role in ROLES}
    truth = pd.DataFrame({role: random.integers(size, size=rows) for role, size in sizes.items()})
    scores = {role: random.random((rows, size)) for role, size in sizes.items()}
    table = prediction_table(np.arange(rows), {role: truth[role].to_numpy() for role in ROLES}, scores)
    guess = pd.DataFrame({role: table[f"{role}_predicted"] for role in ROLES})
    synsets = {"objects": np.arange(sizes["object"]), "relations": np.arange(sizes["relation"])}
    per_class = per_class_table(truth, guess, vocabulary, count_classes(truth, vocabulary), synsets=synsets)
    for name, content in {"per_class": per_class, "summary": summary_table(per_class), "predictions": table}.items():
        save_table(folder / f"{name}.parquet", content)
    return flat_numbers(summary_table(per_class), table)


def write_evaluation(root, name, variant="ce", **options) -> pd.DataFrame:
    folder = root / "data" / "runs" / name / "evaluation" / variant
    evaluated(folder, **options)
    return pd.read_parquet(folder / "per_class.parquet")


def test_runs_stand_by_age_with_their_headline_numbers(toy_project):
    assert runs_table(toy_project).empty
    for place, name in enumerate("ab"):
        write_run(toy_project, name, seconds=place + 1.0, headline={"R": 9.5 * place}, seed=place)
    write_json(toy_project / "data" / "runs" / "b" / "metrics" / "06.json", {"headline": {"S": 5}})  # while it runs
    write_evaluation(toy_project, "bare")
    table = runs_table(toy_project)
    assert list(table.index) == ["b", "a", "bare"] and table.loc["bare", "state"] == "no record"
    assert table["R"].tolist()[:2] == [9.5, 0.0] and table.loc["b", "S"] == 5 and np.isnan(table.loc["a", "S"])
    assert table["seed"].tolist() == ["1", "0", ""] and table["notebooks done"].tolist()[0] == "1 of 1"


def test_runs_show_baseline_best_row_and_diffaugment(toy_project):
    write_run(toy_project, "a", headline={"CE: Combined": 20.0, "other": 3})
    values = {"CE": 20.0, "CE + DiffAugment": 21.0, "best": 29.0, "empty": None}
    variants = {title: {"exact combined all": value} for title, value in values.items()}
    write_json(toy_project / "data/runs/a/metrics/05.json", {"baseline": "CE", "variants": variants})
    write_json(toy_project / "data/runs/a/metrics/06.json", {"baseline": ["CE"], "variants": variants})
    row = runs_table(toy_project).loc["a"]
    assert [row["baseline"], row["best row"], row["DiffAugment"]] == ["CE", "best", "CE + DiffAugment"]
    assert [row["baseline, %"], row["best row, %"], row["DiffAugment, %"]] == [20.0, 29.0, 21.0] and row["other"] == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"notebooks": {"05": 3}}', '{"notebooks": null}'])
def test_a_broken_record_is_a_row_that_says_so(toy_project, text):
    write_run(toy_project, "whole")
    (toy_project / "reports" / "broken").mkdir(parents=True)
    (toy_project / "reports" / "broken" / "run.json").write_text(text)
    (toy_project / "reports" / "whole" / "metrics.json").write_text("{")
    table = runs_table(toy_project)
    assert table.loc["broken", "state"] == "broken" and "run.json" in table.loc["broken", "problem"]
    assert "metrics.json" in table.loc["whole", "problem"]


@pytest.mark.parametrize("metric", ["exact", "synset"])
def test_the_comparison_is_the_join_of_both_tables(toy_project, metric):
    tables = [write_evaluation(toy_project, name, seed=place, rows=40) for place, name in enumerate("ab")]
    table = compare_runs("a", "b", metric=metric, root=toy_project)
    before, after = (one.set_index(["role", "name"]) for one in tables)
    for row in table.itertuples():
        np.testing.assert_equal(row.before, before.loc[(row.role, row.name), f"accuracy_{metric}"])
        np.testing.assert_equal(row.after, after.loc[(row.role, row.name), f"accuracy_{metric}"])
    assert len(table) == int(((before["n_test"] > 0) | (after["n_test"] > 0)).sum())
    known = table["difference"].dropna()
    assert known.is_monotonic_increasing and table["difference"].isna()[len(known) :].all()


def test_other_vocabularies_are_compared_by_name(toy_project):
    write_evaluation(toy_project, "a")
    write_evaluation(toy_project, "b", vocabulary=Vocabulary(("dog", "man", "cat"), ("on",)), seed=1)
    table = compare_runs("a", "b", root=toy_project)
    only = {side: set(table["name"][table["only_in"] == side]) for side in ("before", "after", "")}
    assert only == {"before": {"<script>", "tree", "<b>near"}, "after": {"cat"}, "": {"man", "dog", "on"}}


def test_what_cannot_be_compared_is_refused_with_what_there_is(toy_project):
    write_evaluation(toy_project, "a", "ce")
    write_evaluation(toy_project, "b", "wce")
    refused(r"a: ce; b: wce.*workbench run", compare_runs, "a", "b", root=toy_project)
    refused("unknown run 'no'", compare_runs, "a", "no", root=toy_project)
    write_evaluation(toy_project, "b", "ce")
    (toy_project / "data" / "runs" / "b" / "evaluation" / "ce" / "per_class.parquet").write_text("x")
    refused(r"per_class\.parquet.*workbench run", compare_runs, "a", "b", root=toy_project)


def test_changes_of_two_variants_agree_with_the_figure(toy_project):
    tables = {name: write_evaluation(toy_project, "a", name, seed=place) for place, name in enumerate(("ce", "wce"))}
    folder = toy_project / "data" / "runs" / "a" / "evaluation"
    change = per_class_change({name: folder / name for name in tables}, before="ce", after="wce")
    whole = class_changes(*tables.values())
    pd.testing.assert_frame_equal(change, whole[(whole["n_train"] > 0) & (whole["n_test"] > 0)][change.columns])
