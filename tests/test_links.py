"""A run on the stages of another: links that give way, and a base that nothing changes."""

import json
import shutil

import pytest

from tests.refusals import refused
from workbench.folders import Replace
from workbench.runs.commands import check
from workbench.stages import INPUTS, Run


def write(folder, rows=1, **inputs):
    for split in ("train", "test"):
        (folder / split).mkdir(exist_ok=True)
        (folder / split / "rows.txt").write_text("row " * rows)
    return {"splits": ["train", "test"]}


def chain(run, rows=1, replace=False):
    """Three stages, each made from the one before; the first has ``rows``."""
    features = run.stage("features", write, rows=rows, replace=replace)
    triplets = run.stage("triplets", write, features=features)
    return features, triplets, run.stage("generated", write, triplets=triplets)


def tree(folder):
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


@pytest.fixture
def base(run, monkeypatch):
    """A finished run, which must be the same at the end."""
    monkeypatch.setenv("WORKBENCH_HOME", str(run.root))
    chain(run)
    run.save_metrics("05", {"headline": {"few": 1.0}})
    before = tree(run.folder)
    yield run
    assert tree(run.folder) == before


def opened(base, name="new", **given):
    return Run.open(name, root=base.root, base=base.name, **given)


def test_stages_of_the_base_are_linked_and_loaded(base, capsys):
    new = opened(base)
    assert "run 'new': 3 stages are those of 'trial'" in capsys.readouterr().out
    assert [stage.folder.is_symlink() for stage in chain(new)] == [True] * 3
    assert new.find("features").identity == base.find("features").identity and new.metrics() == {}
    assert "features/default: loaded, built by run 'trial'" in capsys.readouterr().out
    assert not (new.folder / "features" / "default").readlink().is_absolute()
    third = Run.open("third", root=base.root, base="new")  # a link to what it leads to, not to a link
    assert "new" not in str((third.folder / "features" / "default").readlink())
    assert check("new") == 0


@pytest.mark.parametrize("replace", [False, True, Replace.CODE])
def test_a_link_gives_way_to_what_is_asked_and_takes_along_what_was_made_from_it(base, replace, monkeypatch):
    new = opened(base)
    stage = new.stage("features", write, rows=2, replace=replace)
    assert not stage.folder.is_symlink() and (stage / "train" / "rows.txt").read_text() == "row row "
    refused("run 'new' has no generated/default", new.find, "generated")
    # Once more, as a stopped command is given again: what has other inputs is not linked.
    new = opened(base)
    assert new.find("features") == stage and new.variants("triplets") == []
    assert [made.folder.is_symlink() for made in chain(new, rows=2)] == [False] * 3
    refused("rows: 2 -> 1", new.stage, "features", write, rows=1)


def test_a_kill_while_a_link_gives_way_leaves_it_until_the_new_one_is_whole(base, capsys):
    def stop(folder, rows):
        (folder / "begun").touch()
        raise KeyboardInterrupt

    new = opened(base)
    with pytest.raises(KeyboardInterrupt):
        new.stage("features", stop, rows=2)
    assert new.find("features").identity == base.find("features").identity
    with pytest.raises(KeyboardInterrupt):
        opened(base).stage("features", stop, rows=2)
    assert "resuming" in capsys.readouterr().out
    assert chain(opened(base), rows=2)[0].manifest["run"] == "new"


def test_what_the_base_has_lost_is_made_in_the_run_itself(run, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_HOME", str(run.root))
    chain(run)
    new = opened(run)
    shutil.rmtree(run.folder / "features" / "default" / "test")
    (run.folder / "triplets" / "default" / "test" / "rows.txt").write_text("damaged")
    shutil.rmtree(run.folder / "generated")
    assert (
        check("new") == 1 and "generated/default is a link to ../../trial/generated/default" in capsys.readouterr().out
    )
    refused("generated/default is a link to .*, which is gone.*No notebook makes", new.find, "generated")
    before = tree(run.folder)
    assert [stage.folder.is_symlink() for stage in chain(new)] == [False] * 3
    assert tree(run.folder) == before and check("new") == 0


def test_data_and_images_are_those_of_the_base_and_other_ones_are_refused(base):
    (base.folder / INPUTS).write_text(json.dumps({"data": "vrd", "images": "pictures"}))
    new = opened(base)
    assert (new.data, new.image_folder) == ("vrd", "pictures") and Run.open("new", root=base.root) == new
    refused("run 'trial' works on the data 'vrd', not on 'gqa'.*without --base", opened, base, "other", data="gqa")
    for name in ("trial", "tiral"):
        refused(f"base of run 'a': unknown run '{name}'", Run.open, "a", root=base.root / "none", base=name)
    refused("base of run 'trial': unknown run 'trial'", opened, base, "trial")
    assert not (base.folder.parent / "other").exists()
    (base.folder / INPUTS).unlink()
