"""Commands for data sets and feature stores, through the command line."""

import numpy as np
import pandas as pd
import pytest

from workbench.__main__ import main
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.stages import Run


def small_store(folder, detector=None, seed=0):
    """Seven relations between seven boxes in one picture, with features of four numbers."""
    boxes = pd.DataFrame(np.zeros((7, 6), dtype=np.float32), columns=["image", "x1", "y1", "x2", "y2", "object_class"])
    writer = FeatureStoreWriter(
        folder / "train",
        images=pd.DataFrame({"image_id": [1], "file_name": ["a.jpg"], "width": [9], "height": [9]}),
        boxes=boxes.astype({"image": int, "object_class": int}),
        relations=pd.DataFrame({name: np.zeros(7, dtype=int) for name in ("image", "subject", "relation", "object")})
        .assign(subject_box=np.arange(7), object_box=0),
        dimension=4,
        encoder="small",
    )  # fmt: skip
    random = np.random.default_rng(seed)
    writer.write("box_features", 0, random.standard_normal((7, 4)))
    writer.write("union_features", 0, random.standard_normal((7, 4)))
    writer.finish()


@pytest.mark.parametrize("damage", ["bytes", "cut", "removed"])
def test_a_damaged_file_is_named(toy_project, capsys, damage):
    stage = Run.open("trial").stage("features", small_store, detector="none")
    assert main(["features", "check", "trial"]) == 0
    file = stage.folder / "train" / "union_features.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    {"bytes": lambda: file.write_bytes(content), "cut": lambda: file.write_bytes(content[:-5]),
     "removed": file.unlink}[damage]()  # fmt: skip
    capsys.readouterr()
    assert main(["features", "check", "trial"]) == 1
    told = capsys.readouterr().out
    assert str(file) in told and "box_features" not in told and "Delete the folder of this split" in told


def test_vrd_is_added_with_its_card_and_text(toy_project, real_data, capsys):
    assert main(["data", "add", "vrd", "--root", str(real_data / "vrd")]) == 0
    assert "30355" in capsys.readouterr().out
    folder = toy_project / "data" / "imported" / "vrd"
    assert {"train", "test", "text", "annotations"} <= {path.name for path in folder.iterdir()}
    assert "1,029" in (toy_project / "reports" / "data" / "vrd.html").read_text()


def test_what_is_missing_is_named_with_its_place(toy_project, tmp_path, capsys):
    assert main(["data", "add", "gqa-lt", "--root", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "rel_annotations_train.json" in told and "drive.google.com" in told
    assert not (toy_project / "data" / "imported" / "gqa-lt").exists()


def test_a_simulated_data_set_opens_like_an_added_one(toy_project):
    assert main(["data", "simulate", "--scale", "0.002", "--name", "small"]) == 0
    stage = Run.open("trial").imported("small")
    assert stage.metrics["text"]["objects"] == 1702 and (stage / "train" / "tables.json").is_file()
