"""Stages: built once for equal parameters and inputs, refused for others, never half there."""

import contextlib
import errno
import functools
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from workbench.errors import WorkbenchError
from workbench.folders import Replace
from workbench.locks import temporary_folder
from workbench.runs.commands import check
from workbench.stages import Run, Stage, import_stage


class Builder:
    """Writes its parameters, and counts how often it is called."""

    def __init__(self):
        self.calls, self.stop = [], False

    def __call__(self, folder, **parameters):
        self.calls.append((folder, parameters))
        if self.stop:
            raise KeyboardInterrupt
        (folder / "text.txt").write_text(json.dumps({name: str(value) for name, value in parameters.items()}))
        return {"calls": len(self.calls), "loss": float("nan"), "norms": np.array([1.0, np.inf])}


@pytest.fixture
def build():
    return Builder()


def test_a_stage_is_built_once_and_then_loaded(run, build, capsys):
    first = run.stage("counts", build, rows=3, lr=0.5)
    again = run.stage("counts", build, rows=3, lr=0.5)
    assert len(build.calls) == 1 and first == again == run.find("counts") == Stage.at(first.folder)
    assert "loaded" in capsys.readouterr().out and first.metrics == {"calls": 1, "loss": None, "norms": [1.0, None]}
    assert first.folder == run.root / "data/runs/trial/counts/default"
    assert sorted(path.name for path in first.folder.iterdir()) == ["manifest.json", "text.txt"]
    manifest = first.manifest
    assert (manifest["stage"], manifest["variant"], manifest["run"]) == ("counts", "default", "trial")
    assert manifest["parameters"] == {"rows": 3, "lr": 0.5}
    assert manifest["versions"]["python"] and manifest["seconds"] >= 0 and manifest["finished"]


@pytest.mark.parametrize(("changed", "line"), [
    ({"rows": 4, "lr": 0.5}, "rows: 3 -> 4"), ({"rows": 3}, "lr: 0.5 -> (absent)"),
    ({"rows": 3, "lr": 0.5, "seed": 1}, "seed: (absent) -> 1"), ({"rows": True, "lr": 0.5}, "rows: 3 -> True"),
])  # fmt: skip
def test_other_parameters_are_refused_with_the_difference(run, build, changed, line):
    run.stage("counts", build, rows=3, lr=0.5)
    told = refused("--replace", run.stage, "counts", build, **changed)
    assert line in told and len(build.calls) == 1


def test_an_input_counts_by_what_made_it(run, build, tmp_path):
    features = run.stage("features", build, seed=0)
    counts = run.stage("counts", build, features=features, many=[features])
    assert build.calls[-1][1] == {"features": features.folder, "many": [features.folder]}
    elsewhere = Run.open("other", root=tmp_path / "elsewhere").stage("features", build, seed=0)
    assert elsewhere.identity == features.identity
    assert run.stage("counts", build, features=elsewhere, many=[elsewhere]) == counts
    other = run.stage("features", build, variant="b", seed=1)
    with pytest.raises(WorkbenchError, match=r"features.identity: [0-9a-f]{12} -> [0-9a-f]{12}"):
        run.stage("counts", build, features=other, many=[features])
    assert counts.manifest["inputs"] == {"features/default": features.identity}


def test_a_file_counts_by_its_bytes_and_not_by_its_place(run, build, tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("same")
    two.write_text("same")
    run.stage("counts", build, vectors=one)
    run.stage("counts", build, vectors=two)
    two.write_text("else")
    refused(r"vectors.identity", run.stage, "counts", build, vectors=two)
    refused("does not exist", run.stage, "other", build, vectors=tmp_path / "absent.txt")


def test_a_dataclass_and_nested_values_are_compared_name_by_name(run, build):
    @dataclass(frozen=True)
    class Config:
        width: int = 4
        layers: tuple = (1, 2)
        kind: object = dict  # code is recorded by its name
        workers: int = field(default=1, metadata={"influence": False})

    stage = run.stage("counts", build, config=Config(), quotas={"few": np.int64(3)})
    assert stage.parameters["config"] == {"width": 4, "layers": [1, 2], "kind": "builtins:dict"}
    assert run.stage("counts", build, config=Config(workers=2), quotas={"few": 3}) == stage
    refused(r"config.width: 4 -> 5", run.stage, "counts", build, config=Config(width=5), quotas={"few": 3})
    refused(r"config.kind: a object cannot be recorded", run.stage, "others", build, config=Config(kind=object()))


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_replacing_keeps_the_old_until_the_new_is_whole(run, build, monkeypatch, how):
    old = run.stage("counts", build, rows=3)
    if how == "environment":
        monkeypatch.setenv("WORKBENCH_REPLACE", "1")

    with pytest.raises(RuntimeError), monkeypatch.context() as patch:
        patch.setattr(Builder, "__call__", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("no")))
        run.stage("counts", build, replace=how == "argument", rows=4)
    assert run.find("counts") == old
    new = run.stage("counts", build, replace=how == "argument", rows=4)
    assert new.parameters == {"rows": 4} and run.find("counts") == new
    assert not [path for path in new.folder.parent.iterdir() if path.name.endswith((".outgoing", ".partial"))]


def test_two_builders_never_share_a_result(run):
    def first(folder, rows):
        return {"who": "first"}

    def second(folder, rows):
        return {"who": "second"}

    run.stage("counts", first, rows=3)
    refused(r"builder: '.*first' -> '.*second'", run.stage, "counts", second, rows=3)
    assert run.stage("counts", second, replace=True, rows=3).metrics == {"who": "second"}


def test_a_result_of_an_older_version_is_refused_until_it_is_replaced(run, build, monkeypatch):
    stage = run.stage("counts", build, rows=3)
    manifest = json.loads((stage / "manifest.json").read_text())
    del manifest["builder"], manifest["code"]
    (stage / "manifest.json").write_text(json.dumps(manifest))
    for call in (lambda: run.stage("counts", build, rows=3), lambda: run.find("counts")):
        told = refused(r"older version of the workbench.*Build it again", call)
        assert len(told.splitlines()) == 1
    monkeypatch.setenv("WORKBENCH_REPLACE", "1")
    assert run.stage("counts", build, rows=3).metrics["calls"] == 2


def test_what_a_partial_gives_counts_and_what_watches_does_not(run, build):
    class Watch:
        WITHOUT_INFLUENCE = True

    stage = run.stage("counts", functools.partial(build, rows=3, watch=Watch()), lr=0.5)
    assert stage.parameters == {"rows": 3, "lr": 0.5} and "watch" in build.calls[0][1]
    assert run.stage("counts", functools.partial(build, lr=0.5), rows=3, watch=Watch()) == stage


def test_an_unfinished_attempt_goes_on_if_equal_and_is_removed_if_not(run):
    def build(folder, rows):
        calls = run.root / "calls"
        calls.write_text(f"{calls.read_text()}." if calls.exists() else ".")
        found = (folder / "checkpoint").exists()
        (folder / "checkpoint").write_text(str(rows))
        if len(calls.read_text()) % 2:
            raise RuntimeError("stopped")
        return {"found": found}

    for asked, found in [(3, True), (4, False)]:
        with pytest.raises(RuntimeError):
            run.stage(f"counts{asked}", build, rows=3)
        assert run.stage(f"counts{asked}", build, rows=asked).metrics == {"found": found}


def test_what_was_removed_is_built_again_and_the_rest_kept(run, capsys):
    def build(folder, rows):
        made = [name for name in ("train", "val") if not (folder / name).exists()]
        for name in made:
            (folder / name).mkdir()
        return {"made": made, "splits": ["train", "val"]}

    stage = run.stage("features", build, rows=3)
    (stage / "val").rmdir()
    assert run.stage("features", build, rows=3).metrics["made"] == ["val"]
    assert "val is gone and will be built again" in capsys.readouterr().out
    assert run.stage("features", build, rows=3).metrics["made"] == ["val"]


def test_a_kill_between_the_last_steps_loses_nothing(run, build):
    stage = run.stage("counts", build, rows=3)
    partial, outgoing = stage.folder.with_name(".default.partial"), stage.folder.with_name(".default.outgoing")
    stage.folder.rename(partial)  # manifest written, not yet renamed
    assert run.stage("counts", build, rows=3) == stage
    stage.folder.rename(outgoing)  # replaced: the old moved away, the new not yet in place
    assert run.stage("counts", build, rows=3) == stage
    assert len(build.calls) == 1 and not partial.exists() and not outgoing.exists()


def test_a_full_disk_is_told_and_the_partial_work_kept(run):
    def fill(folder, how):
        (folder / "checkpoint").write_text("kept")
        if how == "real":
            with open("/dev/full", "w") as file:
                file.write("x" * 100_000)
        if how == "system":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")

    for how in ("real", "system", "text"):
        with pytest.raises(WorkbenchError, match=r"disk is full.*kept in") as told:
            run.stage(f"counts-{how}", fill, how=how)
        assert (run.folder / f"counts-{how}" / ".default.partial" / "checkpoint").exists(), told.value


def test_an_error_that_names_no_file_names_its_stage(run):
    def build(folder, said):
        raise WorkbenchError(said)

    for said, stage in (("row 0 is zero", "counts/default: "), ("/a.npy: not whole", "")):
        refused(rf"^{stage}{said}$", run.stage, "counts", build, said=said)


def test_what_is_missing_is_named_with_the_command_that_makes_it(run, build):
    notebooks = run.root / "notebooks"
    notebooks.mkdir()
    cells = [{"source": ["# text"]}, {"source": ["x = run.stage(\n", '    "features", build\n)']}]
    (notebooks / "00_prepare.ipynb").write_text(json.dumps({"cells": cells}))
    refused(r"00_prepare.ipynb makes it.*workbench run --run trial --only 00_prepare", run.find, "features")
    run.stage("features", build, variant="wide", rows=1)
    refused("Complete variants: wide", run.find, "features")
    assert run.variants("features") == ["wide"]
    refused("No notebook makes", run.find, "featurse")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b"])
def test_names_that_are_no_folders_are_refused(run, build, name):
    for call in (lambda: Run.open(name, root=run.root), lambda: run.stage(name, build), lambda: run.find("a", name)):
        refused("name", call)


def test_a_folder_that_is_not_ours_is_not_taken_for_a_result(run, build):
    folder = run.folder / "counts" / "default"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("somebody's")
    refused(r"without manifest.json", run.stage, "counts", build, rows=1)
    (folder / "manifest.json").write_text("{")
    refused("not valid JSON", run.find, "counts")


def test_metrics_are_found_by_notebook(run):
    run.save_metrics("02_b", {"few": np.float32("nan"), "n": np.int64(3)})
    run.save_metrics("01_a", {"x": 1.5})
    assert run.metrics() == {"01_a": {"x": 1.5}, "02_b": {"few": None, "n": 3}}
    refused("another meaning", run.stage, "metrics", Builder())


def test_imported_features_are_a_stage_of_no_run(run, build, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "rows.npz").write_bytes(b"1")
    refused("workbench features import", run.imported, "clip")
    stage = import_stage("clip", build, root=run.root, source=source)
    assert run.imported("clip") == stage and isinstance(build.calls[0][1]["source"], Path)
    (source / "rows.npz").write_bytes(b"2")
    refused("--replace", import_stage, "clip", build, root=run.root, source=source)


def test_a_run_keeps_the_data_and_images_that_it_was_opened_with(run, build):
    root = run.root
    imported = import_stage("vrd", build, root=root)
    assert not run.folder.exists()
    opened = Run.open("trial", data="vrd", images="data/raw/images", root=root)
    assert Run.open("trial", root=root) == opened and (opened.data, run.data) == ("vrd", "")
    with pytest.raises(WorkbenchError, match="data 'vrd' has no text vectors"):
        _ = opened.text
    (imported / "text").mkdir()
    assert opened.features == imported and opened.text == imported / "text"
    assert "run 'trial' in data/runs/trial, data 'vrd'" in opened.opening_line()
    assert opened.images == root / "data/raw/images" and opened.path("/elsewhere") == Path("/elsewhere")
    refused("works on the data 'vrd', not on 'gqa'", Run.open, "trial", data="gqa", root=root)
    opened = Run.open("of-imported", data="vrd", root=root)
    assert opened.images is None  # until its source says where they are
    (imported / "source.json").write_text('{"images": "/data/images"}')
    assert opened.images == Path("/data/images")
    scenes = run.stage("scenes", build)
    assert run.images == scenes / "images"


def test_a_file_that_is_not_what_was_written_is_refused_and_made_again(run, build, capsys, monkeypatch):
    stage, other = run.stage("counts", build, rows=3), run.stage("counts", build, variant="other", rows=4)
    made = stage / "manifest.json"
    for change, told in (
        (lambda: (stage / "text.txt").unlink(), "gone"),
        (lambda: (stage / "text.txt").write_bytes((other / "text.txt").read_bytes()), "SHA-256"),
        (lambda: (stage / "text.txt").write_text("longer than before, by a good deal"), "bytes instead"),
        (lambda: made.write_text(made.read_text().replace('"calls": ', '"calls": 9')), "SHA"),
        (lambda: made.write_text(json.dumps(json.loads(made.read_text()) | {"parameters": float("nan")})), "SHA"),
    ):
        run.stage("counts", build, replace=True, rows=3)
        change()
        for load in (lambda: run.stage("counts", build, rows=3), lambda: run.find("counts"), lambda: Stage.at(stage)):
            refused(f"{told}.*Remove {stage.folder}", load)
    monkeypatch.setenv("WORKBENCH_REPLACE", "1")
    assert run.stage("counts", build, rows=3) == run.find("counts") and "building again" in capsys.readouterr().out
    old = json.loads((stage / "manifest.json").read_text())
    del old["files"], old["sha256"]
    (stage / "manifest.json").write_text(json.dumps(old))
    (stage / "text.txt").write_text("cannot be known")
    assert run.stage("counts", build, rows=3).manifest == old


def test_the_number_of_threads_is_part_of_the_identity_and_said(run, build, capsys, monkeypatch):
    def threads(count):
        monkeypatch.setattr("torch.get_num_threads", lambda: count)

    threads(1)
    first = run.stage("counts", build, rows=3)
    threads(2)
    assert run.stage("counts", build, rows=3) == first
    assert "made with 1 CPU threads, this process has 2" in capsys.readouterr().out
    assert run.stage("counts", build, variant="two", rows=3).identity != first.identity
    identities = []
    for variant, counts in (("mixed", (1, 2)), ("same", (2, 2))):
        for count, stop in zip(counts, (True, False), strict=True):
            threads(count)
            build.stop = stop
            with pytest.raises(KeyboardInterrupt) if stop else contextlib.nullcontext():
                identities.append(run.stage("counts", build, variant=variant, rows=3).identity)
    assert "begun with 1 CPU threads, goes on with 2" in capsys.readouterr().out
    assert run.find("counts", "mixed").manifest["threads"] == "1, then 2"
    assert identities[1] == run.find("counts", "two").identity != identities[0]
    assert run.stage("counts", build, replace=Replace.STALE, rows=3) == first  # as the browsers' indexes are asked for
    monkeypatch.setenv("WORKBENCH_REPLACE", "1")
    assert run.stage("counts", build, rows=3).identity == identities[1]
    assert run.stage("counts", build, replace=Replace.STALE, rows=4).parameters["rows"] == 4
    monkeypatch.delenv("WORKBENCH_REPLACE")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "H100")
    assert run.stage("counts", build, variant="gpu", rows=3).identity not in {first.identity, *identities}
    run.stage("counts", build, variant="mixed", rows=3)
    assert "with 1, then 2 CPU threads, this process has H100 and 2; made here its last" in capsys.readouterr().out


def test_what_killed_processes_leave_behind_is_removed(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("wb-browse-left", "wb-begun"):  # the second killed before it could lock
        (tmp_path / name).mkdir()
    (tmp_path / "wb-browse-left" / ".held").touch()
    with temporary_folder() as held:
        for folder in (*tmp_path.glob("wb-*"), Path(held)):
            os.utime(folder, (0, 0))
        with temporary_folder() as other:
            assert sorted(map(str, tmp_path.glob("wb-*"))) == sorted([held, other])
    stage = run.stage("counts", lambda folder: (folder / ".a.4711.npy").touch())
    assert [path.name for path in stage.folder.iterdir()] == ["manifest.json"]


def test_check_names_what_differs_and_what_makes_it_again(run, build, capsys, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(run.root))
    stage = run.stage("counts", build, rows=3)
    large = run.stage("large", lambda folder: (folder / "zeros").write_bytes(bytes(9 * 2**20)) and {})
    assert check("trial") == 0 and "counts/default: 1 file is as it was written" in capsys.readouterr().out
    (large / "zeros").write_bytes(bytes(9 * 2**20 - 1) + b"1")
    assert run.find("large").manifest == large.manifest  # too large to be read at every load
    assert check("trial") == 1
    told = capsys.readouterr().out
    assert f"{large / 'zeros'}: its bytes are not" in told and f"Remove {large.folder}, then" in told
    shutil.rmtree(large.folder)
    manifest = {key: value for key, value in stage.manifest.items() if key not in ("files", "sha256")}
    (stage / "manifest.json").write_text(json.dumps(manifest))
    assert check("trial") == 0 and "before checksums were kept" in capsys.readouterr().out
    refused(r"no run and no imported data.*trial", check, "another")
