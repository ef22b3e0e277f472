"""The Snakefile: its commands are ours, and a grid that is killed under Snakemake goes on."""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import yaml

from workbench.__main__ import build_parser, main
from workbench.errors import WorkbenchError
from workbench.runs.imports import import_with_text
from workbench.runs.profiles import profile_names, tables_section
from workbench.stages import Run, import_stage

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = ROOT / "Snakefile"
PROFILES = [name for name in profile_names(ROOT) if "\ntables:" in (ROOT / f"notebooks/params/{name}.yml").read_text()]
STAGES = "data/runs/small-tables-seed0"
# Without its lock, which a kill leaves behind.
SCHEDULE = [
    "--cores",
    "2",
    "--rerun-incomplete",
    "--nolock",
    "--config",
    "profile=small",
    "seeds=[0]",
    "rows=[lsvru_ce]",
]


def head_of_snakefile(config: dict) -> dict:
    """The names that the Snakefile's part in plain Python defines."""
    text, directive, _ = SNAKEFILE.read_text().partition("\nworkdir:")
    assert directive
    names = {"config": config}
    exec(compile(ast.parse(text), SNAKEFILE, "exec"), names)
    return names


@pytest.mark.parametrize("profile", PROFILES)
def test_every_task_has_a_manifest_where_the_runs_have_it(profile, monkeypatch):
    monkeypatch.setattr("workbench.tables.plan.TablePlan.data", lambda plan: {})  # the import may not be here
    names = head_of_snakefile({"profile": profile, "seeds": ["3", "4"]})
    assert names["seeds"] == [3, 4] and names["rows"] == []
    plan, manifest_of = names["plan"], names["manifest_of"]
    for key, task in plan.grid.tasks.items():
        folder = plan.run(3)._place(task.stage, task.variant)
        assert plan.root / manifest_of(3, key) == folder / "manifest.json"
        wildcards = SimpleNamespace(seed="3", stage=task.stage, variant=task.variant)
        assert names["task_of"](wildcards) is task and json.loads(names["settings_of"](wildcards))
    assert ("imported" in manifest_of(3, "features")) == bool(plan.settings.get("data"))


def test_the_commands_of_the_rules_are_ours():
    names = head_of_snakefile({})
    shells = re.findall(r'shell:\n((?: +".*"\n)+)', SNAKEFILE.read_text())
    assert len(shells) == len(re.findall(r"^ *rule ", SNAKEFILE.read_text(), re.MULTILINE)) == 3
    parsed = []
    for shell in shells:
        values = {"params": SimpleNamespace(seeds="0 1", only="--only lsvru_ce lsvru_wce"),
                  "wildcards": SimpleNamespace(seed=4, stage="evaluation", variant="lsvru_ce")}  # fmt: skip
        words = shlex.split(ast.literal_eval(f"({shell})").format(**names | values))
        assert words[:3] == [sys.executable, "-m", "workbench"]
        parsed.append(build_parser().parse_args(words[3:]))
    tables, stage, features = parsed
    assert tables.collect and tables.seeds == [0, 1] and tables.only == ["lsvru_ce", "lsvru_wce"]
    assert stage.task == "evaluation/lsvru_ce" and stage.seeds == [4] and not stage.collect
    assert (features.command, features.only, features.run) == ("run", ["00"], "demo")


def test_an_empty_folder_is_no_stage_yet(tmp_path):
    run = Run.open("trial", root=tmp_path)
    place, calls = run.folder / "counts" / "default", []

    def build(folder):
        calls.append(folder)

    place.mkdir(parents=True)
    with pytest.raises(WorkbenchError, match="has no counts/default"):
        run.find("counts")
    stage = run.stage("counts", build)
    assert run.find("counts") == stage and len(calls) == 1
    # Replaced and killed between the renames, then somebody makes the folder: the old result is not lost.
    place.rename(place.with_name(".default.outgoing"))
    place.mkdir()
    assert run.stage("counts", build) == stage and len(calls) == 1


@pytest.fixture
def small_project(tmp_path, monkeypatch):
    """A project with made-up imported features, one architecture, and notebook 06."""
    source, draw = tmp_path / "source", np.random.default_rng(0)
    source.mkdir()
    (source / "objects.json").write_text(json.dumps(["dog", "cat", "cup", "car", "bed"]))
    (source / "predicates.json").write_text(json.dumps(["on", "under"]))
    np.save(source / "objects_clip_text.npy", draw.standard_normal((5, 8)).astype(np.float16))
    for number, (split, rows) in enumerate({"train": 120, "val": 40, "test": 40}.items()):
        classes = {"subject": draw.integers(0, 5, rows), "object": draw.integers(0, 5, rows)}
        boxes = np.tile(np.array([[0, 0, 5, 5]], dtype=np.float32), (rows, 1))
        np.savez(source / f"{split}.npz", feature=draw.standard_normal((rows, 16)).astype(np.float16), **classes,
                 image_id=np.arange(rows) + 1000 * number, relation=draw.integers(0, 2, rows), subject_box=boxes,
                 object_box=boxes)  # fmt: skip
    root = tmp_path / "project"
    (root / "notebooks" / "params").mkdir(parents=True)
    notebook = ROOT / "notebooks" / "06_reproduce_tables.ipynb"
    nbformat.write(nbformat.read(notebook, 4), root / "notebooks" / notebook.name)
    section = tables_section("smoke", ROOT) | {"data": "made-up", "architectures": ["lsvru"]}
    profile = {"run": "small", "notebooks": ["06_reproduce_tables"], "tables": section}
    (root / "notebooks" / "params" / "small.yml").write_text(yaml.safe_dump(profile))
    monkeypatch.setenv("WORKBENCH_HOME", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKBENCH_REPLACE", raising=False)
    import_stage("made-up", import_with_text, root=root, source=source)
    return root


def test_collecting_names_every_missing_row_and_builds_nothing(small_project, monkeypatch, capsys):
    pages, rows = [], ["lsvru_ce", "lsvru_wce"]
    monkeypatch.setattr("workbench.tables.making.run_profile", lambda *_, run, **__: pages.append(run))
    monkeypatch.setattr("workbench.tables.making.renew_report", lambda *_, **__: None)
    assert main(["tables", "--profile", "small", "--seeds", "0", "1", "--only", *rows, "--collect"]) == 1
    told = capsys.readouterr().err
    for seed in (0, 1):
        for row in rows:
            assert f"seed {seed}, evaluation/{row}: missing" in told
    assert told.count("missing") == 4 and pages == ["small-tables"] and not (small_project / STAGES).exists()
    assert json.loads((small_project / "reports/small-tables/tables.json").read_text())["seeds"] == [0, 1]


@pytest.fixture
def snakemake(small_project):
    """Starts Snakemake on the small project."""
    pytest.importorskip("snakemake", reason="snakemake is not installed: pip install --editable '.[cluster]'")

    def start(*arguments):
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), *arguments, *SCHEDULE]
        return subprocess.Popen(command, cwd=small_project, text=True, start_new_session=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip

    return start


def test_a_killed_grid_goes_on_and_other_parameters_are_refused(small_project, snakemake):
    trained = small_project / STAGES / "recogniser/lsvru_ce/manifest.json"
    killed = snakemake()
    deadline = time.monotonic() + 300
    while not trained.exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    built = trained.read_text()
    again = snakemake()
    told = again.communicate()[0]
    assert again.returncode == 0, told
    assert trained.read_text() == built and "recogniser/lsvru_ce: building" not in told
    record = json.loads((small_project / "reports/small-tables/tables.json").read_text())["systems"]
    assert set(record["lsvru_ce"]["values"]) == {"0"} and record["lsvru_wce"]["values"] == {}
    path = small_project / "notebooks/params/small.yml"
    profile = yaml.safe_load(path.read_text())
    profile["tables"]["training"]["hidden"] += 1
    path.write_text(yaml.safe_dump(profile))
    refused = snakemake()
    told = refused.communicate()[0]
    assert refused.returncode == 1 and "hidden: 32 -> 33" in told
    assert trained.read_text() == built
