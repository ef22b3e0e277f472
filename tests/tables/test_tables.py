"""The grid of the tables, rows of one's own, a comparison with the reference, and a grid that is killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.refusals import refused
from tests.synthetic import write_features, write_text
from workbench.recognition.accuracy import METRICS
from workbench.runs.profiles import profile_names, tables_section
from workbench.runs.tables import table_plan
from workbench.stages import import_stage
from workbench.tables.paper import SUMMARY_COLUMNS, TABLES
from workbench.tables.plan import TablePlan
from workbench.tables.results import TableResults, outside_reference, read_tables
from workbench.tables.rows import Grid, Task, all_rows

ROOT = Path(__file__).resolve().parents[2]
PROFILES = [name for name in profile_names(ROOT) if "\ntables:" in (ROOT / f"notebooks/params/{name}.yml").read_text()]
NAMES = [f"{metric} {column}" for metric in METRICS for column in SUMMARY_COLUMNS]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_row_has_its_tasks_in_an_order_that_can_be_worked_through(profile):
    grid = table_plan(profile, ROOT).grid
    done = set()
    for key in grid.needed_for(grid.rows):
        assert {other for other in grid.tasks[key].inputs.values() if other in grid.tasks} <= done, key
        done.add(key)
    assert done == set(grid.tasks)
    for row in grid.rows.values():
        assert row.compared_with is None or row.compared_with in grid.rows
        assert f"recogniser/{row.key}" in grid.tasks and f"evaluation/{row.key}" in grid.tasks
    if profile == "demo":
        assert all(set(table.rows.index) <= set(grid.rows) for table in TABLES.values())


def settings(grid: Grid, key: str) -> dict:
    task = grid.tasks[key]
    return {**task.parameters, **{f"input {name}": other for name, other in task.inputs.items()}}


def changed(grid: Grid, one: str, other: str) -> set[str]:
    left, right = settings(grid, one), settings(grid, other)
    return {name for name in {*left, *right} if left.get(name) != right.get(name)}


def test_rows_that_are_compared_differ_in_one_thing():
    section = tables_section("demo", ROOT)
    assert "reltransformer_ce" not in all_rows(section | {"architectures": ["lsvru"]}).rows
    grid = all_rows(section)
    assert changed(grid, "generated/so", "generated/random") == {"init"}
    assert changed(grid, "generated/so", "generated/so_20k") == {"share"}
    assert changed(grid, "diffusion/hardness", "diffusion/plain") == {"hardness"}
    assert changed(grid, "recogniser/lsvru_ce_so", "recogniser/lsvru_ce_random") == {"input generated"}
    ordered = {"curriculum", "input triplets"}
    assert changed(grid, "recogniser/lsvru_ce_so", "recogniser/lsvru_ce_so_curriculum") == ordered
    assert changed(grid, "recogniser/lsvru_ce", "recogniser/lsvru_wce") == {"loss"}


def test_two_tasks_of_one_name_are_refused():
    grid = Grid()
    grid.add(Task("training", "a", {}, {"epochs": 1}))
    assert grid.add(Task("training", "a", {}, {"epochs": 1})) == "recogniser/a"
    with pytest.raises(ValueError, match="recogniser/a"):
        grid.add(Task("training", "a", {}, {"epochs": 2}))


@pytest.mark.parametrize(("change", "message"), [
    ({"colour": 3}, "unknown setting 'colour'"), ({"training": {"epoch": 3}}, "unknown field 'epoch'"),
    ({"finetuning": {"learning_rates": ["1e-4"]}}, "write 1.0e-4"), ({"start": None}, "'start' is missing"),
])  # fmt: skip
def test_a_wrong_setting_is_named(change, message):
    section = tables_section("smoke", ROOT) | change
    section = {name: value for name, value in section.items() if value is not None}
    refused(message, TablePlan.of, "trial", section, ROOT)


def test_a_profile_without_tables_says_so(tmp_path):
    (tmp_path / "notebooks" / "params").mkdir(parents=True)
    (tmp_path / "notebooks" / "params" / "trial.yml").write_text("run: trial\n")
    refused("has no section 'tables:'", table_plan, "trial", tmp_path)


OWN_ROWS = """
from workbench.recognition.lsvru import LsvruHead
from workbench.tables.rows import OwnRow

more = OwnRow("more centroids", like="lsvru_ce_so", changes={"triplets": {"centroids": 4}})
loss = OwnRow("own loss", like="lsvru_ce_so", changes={"training": {"loss": {"name": "own_rows_of_tests:squared"}}})
same = OwnRow("the same", like="lsvru_ce", changes={})
unlike = OwnRow("like nothing", like="lsvru_cee", changes={"training": {"epochs": 2}})
wrong = OwnRow("no such stage", like="lsvru_ce", changes={"diffusion": {}})

class Head(LsvruHead):
    pass

def head(grid):
    return OwnRow("own head", like="lsvru_ce", changes={"training": {"architecture": Head}})

def added(grid):
    return grid.rebalanced("lsvru_ce_so", "crt", "CE + DiffAugment, cRT again", "own")

def squared(classes, config):
    return lambda logits, labels: (1 - logits.softmax(1).gather(1, labels[:, None])).square().mean()
"""


@pytest.fixture
def own_rows(tmp_path, monkeypatch):
    (tmp_path / "own_rows_of_tests.py").write_text(OWN_ROWS)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_rows_of_tests"
    sys.modules.pop("own_rows_of_tests", None)


def test_own_rows_share_what_they_do_not_change(own_rows):
    names = [f"{own_rows}:{name}" for name in ("more", "loss", "head", "added")]
    plan = table_plan("smoke", ROOT, names)
    grid = plan.grid
    more, loss, head, added = (plan.own[name] for name in names)
    assert (more, loss, head, added) == ("lsvru_ce_so+more", "lsvru_ce_so+loss", "lsvru_ce+head", "lsvru_ce_so_crt")
    assert changed(grid, "triplets/default", "triplets/default+more") == {"centroids"}
    assert grid.tasks["generated/so+more"].inputs["diffusion"] == "diffusion/hardness+more"
    assert changed(grid, "recogniser/lsvru_ce_so", f"recogniser/{more}") == {"input generated"}
    assert changed(grid, "recogniser/lsvru_ce_so", f"recogniser/{loss}") == {"input recogniser", "loss"}
    assert settings(grid, f"recogniser/{head}")["architecture"] == f"{own_rows}:Head"
    row = grid.rows[loss]
    assert (row.compared_with, row.group, row.title) == ("lsvru_ce_so", "own", "LSVRU, own loss") and row.generated
    for name, message in (
        ("same", "change nothing"), ("wrong", "unknown kind of stage 'diffusion'"),
        ("unlike", "unknown row 'lsvru_cee'"), ("nothing", "cannot be imported"),
    ):  # fmt: skip
        refused(message, table_plan, "smoke", ROOT, [f"{own_rows}:{name}"])


def of_seed(results: TableResults, seed: int, points: float = 0.0) -> TableResults:
    """One seed of results, with ``points`` added."""
    rows = {}
    for key, row in results.rows.items():
        if str(seed) in row.values:
            values = {name: None if value is None else value + points for name, value in row.values[str(seed)].items()}
            rows[key] = replace(row, values={str(seed): values}, validation={}, seconds={})
    return TableResults(results.profile, (seed,), rows)


def test_a_new_seed_of_table_1_lies_within_the_reference():
    reference = read_tables(ROOT / "reports" / "reference" / "demo-table1.json")
    keys = list(TABLES[1].rows.index)
    assert outside_reference(of_seed(reference, 0), reference, keys, NAMES) == ([], len(keys) * len(NAMES))
    lines, compared = outside_reference(of_seed(reference, 0, points=4.0), reference, keys, NAMES)
    assert len(lines) == compared == len(keys) * len(NAMES) and "lsvru_ce, exact combined all: 27.39" in lines[2]


def made_up(folder: Path) -> None:
    write_features(folder, rows={"train": 300, "val": 60, "test": 80}, tail=1.2, dimension=16)
    write_text(folder / "text")


@pytest.fixture(scope="module")
def small_project(tmp_path_factory):
    """A project with made-up imported features, three rows of tables, and notebook 06."""
    root = tmp_path_factory.mktemp("tables")
    import_stage("made-up", made_up, root=root)
    (root / "notebooks" / "params").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / "06_reproduce_tables.ipynb", root / "notebooks")
    (root / "notebooks" / "own_rows_of_tests.py").write_text(OWN_ROWS)
    section = tables_section("smoke", ROOT) | {"data": "made-up", "architectures": ["lsvru"]}
    section["triplets"] = {"medium_quota": 30, "few_quota": 30, "centroids": 5, "threshold": 1.5}
    profile = {"run": "small", "notebooks": ["06_reproduce_tables"], "tables": section}
    (root / "notebooks" / "params" / "small.yml").write_text(yaml.safe_dump(profile))

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "workbench", *arguments], text=True, cwd=root,
            env=os.environ | {"WORKBENCH_HOME": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(*arguments):
        process = start(*arguments)
        output, errors = process.communicate()
        return process.returncode, output, errors

    return root, start, run


OWN = "lsvru_ce_so+loss"
ASKED = ("--profile", "small", "--seeds", "0")
BUILT = (*ASKED, "--jobs", "2", "--only", "lsvru_ce", "lsvru_ce_so", "own_rows_of_tests:loss")


def record_of(root: Path) -> dict:
    return json.loads((root / "reports/small-tables/tables.json").read_text())["rows"]


@pytest.mark.slow
def test_a_killed_grid_resumes_and_a_row_that_fails_stands_there_with_its_reason(small_project):
    root, start, run = small_project
    stages = root / "data/runs/small-tables-seed0"
    trained = stages / "recogniser/lsvru_ce/manifest.json"
    process, deadline = start("tables", *BUILT), time.monotonic() + 200
    while not trained.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    built = trained.read_text()
    status, output, errors = run("tables", *BUILT)
    assert status == 0 and trained.read_text() == built, output + errors
    record = record_of(root)
    for row in ("lsvru_ce", "lsvru_ce_so", OWN):
        assert set(record[row]["values"]) == {"0"} and 0 <= record[row]["values"]["0"]["exact combined all"] <= 100
    assert record["lsvru_wce"]["values"] == {} and record[OWN]["compared_with"] == "lsvru_ce_so"
    assert "LSVRU: own" in (root / "reports/small-tables/06_reproduce_tables.html").read_text()
    # A finished grid is loaded, and a row that is damaged fails alone.
    weights = stages / "recogniser/lsvru_ce_so/recogniser.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for row in ("lsvru_ce_so", "lsvru_ce"):
        subprocess.run(["rm", "-r", str(stages / "evaluation" / row)], check=True)
    status, output, errors = run("tables", *BUILT)
    assert status == 1 and "seed 0, evaluation/lsvru_ce_so" in errors
    record = record_of(root)
    assert "recogniser.safetensors" in record["lsvru_ce_so"]["failed"]["0"]
    assert set(record["lsvru_ce"]["values"]) == {"0"}
    assert "recogniser.safetensors" in (root / "reports/small-tables/06_reproduce_tables.html").read_text()


@pytest.mark.slow
def test_rows_of_other_settings_are_not_shown_as_todays_and_missing_ones_are_named(small_project):
    root, _, run = small_project
    path = root / "notebooks/params/small.yml"
    before = path.read_text()
    profile = yaml.safe_load(before)
    profile["tables"]["finetuning"]["epochs"] += 1
    path.write_text(yaml.safe_dump(profile))
    status, _, errors = run("tables", *ASKED, "--only", "lsvru_ce", "lsvru_ce_so", "lsvru_wce", "--collect")
    path.write_text(before)
    assert status == 1 and "epochs: 1 -> 2" in errors and "evaluation/lsvru_wce: missing" in errors
    record = record_of(root)
    assert "epochs: 1 -> 2" in record["lsvru_ce_so"]["stale"]["0"] and not record["lsvru_ce_so"]["values"]
    assert set(record["lsvru_ce"]["values"]) == {"0"}
