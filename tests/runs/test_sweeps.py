"""Sweeps: values taken apart, looked at before the first run, run on a base, and compared."""

import json

import pandas as pd
import pytest

from tests.refusals import refused
from workbench.__main__ import main
from workbench.runs import sweeps
from workbench.runs.notebooks import run_profile
from workbench.runs.report_index import SWEEP_TABLE
from workbench.runs.sweeps import split_values, sweep_profile


@pytest.mark.parametrize(("text", "values"), [
    ("1.9,2.26, 1e-3", ["1.9", "2.26", "1e-3"]), ("[ce],[ce, focal]", ["[ce]", "[ce, focal]"]), ("a", ["a"]),
    ("{a: 1, b: [2]},{a: 2}", ["{a: 1, b: [2]}", "{a: 2}"]), ("'a,b',c", ["a,b", "c"]), ("", [""]),
    ("-1,010", ["-1", "010"]),
])  # fmt: skip
def test_values_are_parted_by_commas_and_those_in_brackets_kept_whole(text, values):
    assert split_values("x", text) == values


def test_what_cannot_be_swept_is_refused_before_the_first_run(toy_project, monkeypatch, capsys):
    monkeypatch.setattr(sweeps, "run_profile", lambda *a, **k: pytest.fail("a run was started"))
    for given, told in (
        ({"seed": "1"}, "no parameter has two values.*brackets"), ({"seed": "1,a"}, "seed: expected int.*'a'"),
        ({"seed": "1],[2"}, r"-p seed=1\],\[2: .*brackets"), ({"seed": "1,1"}, "two of the values are equal"),
        ({"lr": "1,2", "sead": "3"}, "unknown parameter 'sead'"),
    ):  # fmt: skip
        refused(told, sweep_profile, "toy", given)
    refused("unknown run 'none'", sweep_profile, "toy", {"seed": "1,2"}, base="none")
    assert not (toy_project / "reports").exists()


def test_runs_begin_with_the_first_notebook_that_a_value_reaches(toy_project, monkeypatch, capsys):
    asked = []

    def pretend(profile, run, parameters, only, base, **options):
        asked.append((run, only, base, parameters))
        numbers = {
            name: {f"exact combined {band}": float(len(asked)) for band in ("few", "many", "all")}
            for name in ("CE", "<b>")
        }
        folder = toy_project / "reports" / run
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps({"02": {"variants": numbers, "headline": {"rows": 3}}}))

    monkeypatch.setattr(sweeps, "run_profile", pretend)
    assert main(["sweep", "--profile", "toy", "-p", "02.flags=[1,2],[3]", "-p", "end=well"]) == 0
    both = ["01_count", "02_finish"]
    assert asked.pop(0) == ("toy-flags-1-2", both, "", {"02.flags": "[1,2]", "end": "well"})  # there is no base yet
    (toy_project / "data" / "runs" / "toy").mkdir(parents=True)
    asked.clear()
    folder = sweep_profile("toy", {"flags": "[1,2],[3]", "end": "well,ours"})
    assert [each[:3] for each in asked][::3] == [
        ("toy-flags-1-2-end-well", ["02_finish"], "toy"), ("toy-flags-3-end-ours", ["02_finish"], "toy")
    ]  # fmt: skip
    assert "4 runs on the stages of 'toy', each of 02_finish\n" in capsys.readouterr().out
    assert folder == toy_project / "reports" / "toy-flags-sweep-end-sweep"
    table = pd.read_csv(folder / SWEEP_TABLE)
    assert list(table["end"]) == ["well", "ours"] * 2 and list(table["02.variants.CE.exact combined few"]) == [
        1,
        2,
        3,
        4,
    ]
    page = (folder / "index.html").read_text()
    assert page.count('class="figure"') == 1 and "../toy-flags-3-end-well/index.html" in page
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert f'href="{folder.name}/index.html"' in (folder.parent / "index.html").read_text()


@pytest.mark.slow
def test_a_sweep_leaves_a_run_for_each_value(toy_project, capsys):
    run_profile("toy")
    folder = sweep_profile("toy", {"seed": "4,5"})
    assert list(pd.read_csv(folder / SWEEP_TABLE)["01_count.headline.rows"]) == [7, 8]
    assert (toy_project / "built.log").read_text() == "counts\n" * 2
    assert (toy_project / "data/runs/toy-seed-4/counts/default").is_symlink()
