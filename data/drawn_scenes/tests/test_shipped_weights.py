"""The weights that come with the drawn scenes: whole, small, refused where damaged, and made again by their recipe."""

import shutil
import tomllib

import numpy as np
import pytest
import torch

from drawn_scenes import shipped_weights
from drawn_scenes.catalogue import OBJECT_NAMES
from drawn_scenes.rules import RELATION_NAMES
from drawn_scenes.shipped_weights import RECIPES, WEIGHTS, follow, look, publish, shipped, told
from tests.conftest import run
from tests.refusals import refused
from workbench.language.caption_encoder import CaptionEncoder
from workbench.paths import project_root
from workbench.regions.vgg import open_detector
from workbench.runs.profiles import make_plan
from workbench.scenes.vocabulary import Vocabulary
from workbench.stages import Stage
from workbench.training import read_log

__all__ = ["run"]
NAMES = ("detector", "tower")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Shipped weights in another place, free to be damaged."""
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(shipped_weights, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


def test_they_are_small_whole_and_packaged():
    files = {path for path in WEIGHTS.rglob("*") if path.is_file()}
    assert sum(path.stat().st_size for path in files) <= 8 * 2**20
    packaged = tomllib.loads((project_root() / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert {path for pattern in packaged["drawn_scenes"] for path in WEIGHTS.parent.glob(pattern)} >= files
    for name in NAMES:
        stage = shipped(name, Vocabulary(OBJECT_NAMES, RELATION_NAMES))
        assert {path.name for path in files if path.parent.name == name} == {*stage.manifest["files"], "manifest.json"}
        assert read_log(stage)[-1]["loss"] < 0.5 * read_log(stage)[0]["loss"]
    assert "detector weights: shipped, trained on 12,000 pictures of their own" in told(shipped("detector"))
    assert f"tower weights: shipped, trained on {RECIPES['default'].tower.crops:,} crops" in told(shipped("tower"))


def test_they_are_those_of_the_recipe_and_better_than_a_rehearsal():
    recipe = RECIPES["default"]
    detector, tower = (shipped(name) for name in NAMES)
    assert detector.parameters["config"]["epochs"] == recipe.detector.epochs
    assert tower.parameters["config"]["crops"] == recipe.tower.crops
    assert detector.parameters["drawing"]["seed"] == recipe.drawing.seed > 10_000
    for stage, number in ((detector, "val_top1_accuracy"), (tower, "object_recall_at_1")):
        assert stage.metrics[number] > stage.manifest["rehearsal"][number] + 0.1


def test_they_load_as_published_ones_do():
    network = open_detector(shipped("detector").folder)
    config = RECIPES["default"].detector
    assert (network.dimension, network.config.short_side) == (round(4096 * config.width), config.short_side)
    vectors = CaptionEncoder.load(shipped("tower").folder).embed([*OBJECT_NAMES, *RELATION_NAMES, "woman riding zebra"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors @ vectors.T - 2 * np.eye(len(vectors)) < 0.9999).all()


@pytest.mark.parametrize("name", NAMES)
def test_damaged_and_missing_ones_are_refused_with_file_and_remedy(copied, name):
    (file,) = (copied / name).glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    refused(rf"{file}: its bytes are not .*git checkout -- {file.parent}\), or give {name}: train", shipped, name)
    file.unlink()
    refused(f"{file}: the file is gone", shipped, name)
    shutil.rmtree(file.parent)
    refused(f"{file.parent}: the shipped weights are not here: install", shipped, name)
    if name == "detector":
        refused("not here", look, "shipped")
        look("train")


def test_classes_that_are_not_drawn_are_refused():
    words = r"'giraffes' \(2 such names\) is not drawn. Give {}: train, or {}"
    names = Vocabulary(("man", "giraffes", "quark"), ("on",))
    refused(words.format("detector", "the path of a detector's checkpoint"), shipped, "detector", names)
    refused(words.format("tower", r"a published CLIP \(clip.model\)"), shipped, "tower", names)


def test_what_is_published_is_known_by_its_bytes(run, tmp_path, monkeypatch):
    def trained(folder, *, config):
        (folder / "detector.safetensors").write_bytes(config["bytes"].encode())
        return {"val_top1_accuracy": 0.5}

    monkeypatch.setattr(shipped_weights, "WEIGHTS", tmp_path)
    found = []
    for number, content in enumerate(("first", "second")):
        stage = run.stage("detector", trained, str(number), config={"bytes": content})
        publish(stage, tmp_path / "detector", RECIPES["rehearsal"].drawing, {"val_top1_accuracy": 0.4})
        found.append(shipped("detector"))
        assert (found[-1] / "detector.safetensors").read_text() == content
    assert (
        told(found[0]) == "detector weights: shipped, trained on 3,000 pictures of their own; val top1 accuracy 0.500"
    )
    assert found[0].identity != found[1].identity and found[1].parameters["drawing"]["seed"] == shipped_weights.SEED


def test_a_profile_has_them_trained_here():
    (notebook,) = make_plan("demo", only=["00"], parameters={"detector": "train", "tower": "train"}).notebooks
    assert (notebook.values["detector"], notebook.values["tower"]) == ("train", "train")
    refused("tower: expected 'shipped' or 'train'", make_plan, "demo", only=["00"], parameters={"tower": "trian"})


@pytest.mark.slow
def test_the_recipe_gives_weights_of_the_same_quality(run):
    """The recipe in small, as the command rehearses it before the whole: within a point of what was measured then.

    On as many threads as then: half-trained, the tower is 4 points better on two than on one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(int(shipped("tower").manifest["threads"]))
    made = follow("rehearsal", run)
    torch.set_num_threads(threads)
    for name, number in (("detector", "val_top1_accuracy"), ("tower", "relation_recall_at_1")):
        assert isinstance(made[name], Stage)
        assert made[name].metrics[number] == pytest.approx(shipped(name).manifest["rehearsal"][number], abs=0.01)
