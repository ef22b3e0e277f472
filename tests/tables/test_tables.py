"""The grid of the tables: its shape, the queue that works through it, and what a failing row does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workbench.errors import WorkbenchError
from workbench.runs.profiles import profile_names, tables_section
from workbench.runs.tables import table_plan
from workbench.tables.grid import Grid, Task
from workbench.tables.paper import TABLES
from workbench.tables.rows import paper_grid

ROOT = Path(__file__).resolve().parents[2]
PROFILES = [name for name in profile_names(ROOT) if "\ntables:" in (ROOT / f"notebooks/params/{name}.yml").read_text()]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_row_has_its_tasks_in_an_order_that_can_be_worked_through(profile):
    grid = table_plan(profile, ROOT).grid
    done = set()
    for key in grid.needed_for(list(grid.rows)):
        assert {other for other in grid.tasks[key].inputs.values() if other in grid.tasks} <= done, key
        done.add(key)
    assert done == set(grid.tasks)
    for row in grid.rows.values():
        assert row.compared_with is None or row.compared_with in grid.rows
        assert f"recogniser/{row.key}" in grid.tasks and f"evaluation/{row.key}" in grid.tasks


def test_the_drawn_scenes_fill_every_row_of_the_paper():
    rows = table_plan("demo", ROOT).grid.rows
    wanted = {row.key for table in TABLES.values() for row in table.rows}
    assert wanted <= set(rows)


def test_rows_that_are_compared_differ_in_one_thing():
    tasks = table_plan("demo", ROOT).grid.tasks

    def settings(key):
        return {**tasks[key].parameters, **{f"input {k}": v for k, v in tasks[key].inputs.items()}}

    def changed(one, other):
        left, right = settings(one), settings(other)
        return {name for name in {*left, *right} if left.get(name) != right.get(name)}

    assert changed("generated/so", "generated/random") == {"init"}
    assert changed("generated/so", "generated/so_20k") == {"share"}
    assert changed("diffusion/hardness", "diffusion/plain") == {"hardness"}
    assert changed("recogniser/lsvru_ce_so", "recogniser/lsvru_ce_random") == {"input generated"}
    assert changed("recogniser/lsvru_ce_so", "recogniser/lsvru_ce_so_curriculum") == {"curriculum", "input triplets"}
    assert changed("recogniser/lsvru_ce", "recogniser/lsvru_wce") == {"loss"}


def test_two_tasks_of_one_name_are_refused():
    grid = Grid()
    grid.add(Task("training", "a", {}, {"epochs": 1}))
    assert grid.add(Task("training", "a", {}, {"epochs": 1})) == "recogniser/a"
    with pytest.raises(ValueError, match="recogniser/a"):
        grid.add(Task("training", "a", {}, {"epochs": 2}))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"colour": 3}, "unknown setting 'colour'"), ({"training": {"epoch": 3}}, "unknown field 'epoch'"),
     ({"training": {"training": {"learning_rate": "1e-4"}}}, r"write 1\.0e-4"),
     ({"start": None}, "'start' is missing")],
)  # fmt: skip
def test_a_wrong_setting_is_named(tmp_path, change, message):
    folder = tmp_path / "notebooks" / "params"
    folder.mkdir(parents=True)
    section = tables_section("smoke", ROOT) | change
    section = {name: value for name, value in section.items() if value is not None}
    (folder / "trial.yml").write_text(yaml.safe_dump({"tables": section}))
    with pytest.raises(WorkbenchError, match=message):
        table_plan("trial", tmp_path)


def test_a_profile_without_tables_says_so(tmp_path):
    (tmp_path / "notebooks" / "params").mkdir(parents=True)
    (tmp_path / "notebooks" / "params" / "trial.yml").write_text("run: trial\n")
    with pytest.raises(WorkbenchError, match="has no section 'tables:'"):
        table_plan("trial", tmp_path)


@pytest.fixture(scope="module")
def small_project(tmp_path_factory):
    """A project with made-up imported features, three rows of tables, and notebook 06."""
    import nbformat
    import numpy as np

    root = tmp_path_factory.mktemp("tables")
    source, draw = root / "source", np.random.default_rng(0)
    source.mkdir()
    objects = ["dog", "cat", "cup", "car", "bed", "hat", "wolf", "horse", "mug", "truck"]
    (source / "objects.json").write_text(json.dumps(objects))
    (source / "predicates.json").write_text(json.dumps(["on", "under", "near"]))
    np.save(source / "objects_clip_text.npy", draw.standard_normal((10, 8)).astype(np.float16))
    for split, rows in (("train", 300), ("val", 60), ("test", 80)):
        share = (1 / np.arange(1, 11)) ** 1.2
        classes = {role: draw.choice(10, rows, p=share / share.sum()) for role in ("subject", "object")}
        boxes = np.tile(np.array([[0, 0, 5, 5]], dtype=np.float32), (rows, 1))
        np.savez(source / f"{split}.npz", feature=draw.standard_normal((rows, 16)).astype(np.float16),
                 image_id=np.arange(rows) // 3 + {"train": 0, "val": 1000, "test": 2000}[split], **classes,
                 relation=draw.integers(0, 3, rows), subject_box=boxes, object_box=boxes)  # fmt: skip
    (root / "notebooks" / "params").mkdir(parents=True)
    notebook = ROOT / "notebooks" / "06_reproduce_tables.ipynb"
    nbformat.write(nbformat.read(notebook, 4), root / "notebooks" / notebook.name)
    section = tables_section("smoke", ROOT) | {"data": "made-up", "architectures": ["lsvru"]}
    section["triplets"] = {"medium_quota": 30, "few_quota": 30, "centroids": 5, "threshold": 1.5}
    profile = {"run": "small", "notebooks": ["06_reproduce_tables"], "tables": section}
    (root / "notebooks" / "params" / "small.yml").write_text(yaml.safe_dump(profile))
    environment = os.environ | {"WORKBENCH_HOME": str(root)}

    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "workbench", *arguments], env=environment, text=True,
                              capture_output=True, cwd=root)  # fmt: skip

    done = run("features", "import", str(source), "--name", "made-up")
    assert done.returncode == 0, done.stderr
    return root, run


ROWS = ["lsvru_ce", "lsvru_ce_so", "lsvru_ce_logit_adjustment"]


def test_rows_are_filled_kept_after_a_kill_and_gaps_have_reasons(small_project):
    root, run = small_project
    done = run("tables", "--profile", "small", "--seeds", "0", "1", "--jobs", "2", "--only", *ROWS)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((root / "reports/small-tables/tables.json").read_text())
    for row in ROWS:
        assert set(record["rows"][row]["values"]) == {"0", "1"}
        assert 0 <= record["rows"][row]["values"]["0"]["exact combined all"] <= 100
    assert record["rows"]["lsvru_wce"]["values"] == {} and (root / "reports/small-tables/index.html").is_file()
    # A finished grid is loaded, and a row that is damaged fails alone, with its reason and a status.
    stages = root / "data/runs/small-tables-seed1"
    weights = stages / "recogniser/lsvru_ce_so/recogniser.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for row in ROWS[1:]:
        subprocess.run(["rm", "-r", str(stages / "evaluation" / row)], check=True)
    done = run("tables", "--profile", "small", "--seeds", "0", "1", "--jobs", "2", "--only", *ROWS)
    assert done.returncode == 1 and "lsvru_ce_so" in done.stderr
    record = json.loads((root / "reports/small-tables/tables.json").read_text())["rows"]
    assert "recogniser.safetensors" in record["lsvru_ce_so"]["failed"]["1"]
    assert set(record["lsvru_ce_logit_adjustment"]["values"]) == {"0", "1"}
    page = (root / "reports/small-tables/06_reproduce_tables.html").read_text()
    assert "recogniser.safetensors" in page


def test_rows_of_other_settings_are_not_shown_as_todays(small_project):
    root, run = small_project
    path = root / "notebooks/params/small.yml"
    before = path.read_text()
    profile = yaml.safe_load(before)
    profile["tables"]["finetuning"]["epochs"] += 1
    path.write_text(yaml.safe_dump(profile))
    done = run("tables", "--profile", "small", "--seeds", "0", "--only", *ROWS, "--collect")
    path.write_text(before)
    assert done.returncode == 1 and "epochs: 1 -> 2" in done.stderr
    record = json.loads((root / "reports/small-tables/tables.json").read_text())["rows"]
    assert "epochs: 1 -> 2" in record["lsvru_ce_so"]["stale"]["0"] and not record["lsvru_ce_so"]["values"]
    assert set(record["lsvru_ce"]["values"]) == {"0"}


def test_rows_of_unknown_names_are_refused(small_project):
    _, run = small_project
    done = run("tables", "--profile", "small", "--only", "lsvru_cee")
    assert done.returncode == 2 and "unknown row 'lsvru_cee'" in done.stderr


def test_grids_without_an_architecture_lack_its_rows():
    section = tables_section("smoke", ROOT) | {"architectures": ["lsvru"]}
    assert not any(key.startswith("reltransformer") for key in paper_grid(section).tasks)
