import shutil

import numpy as np
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.regions import image_shard, split_extraction
from workbench.regions.detector_checkpoint import save_detector
from workbench.regions.encoder import RegionEncoder
from workbench.regions.extraction import extract_features
from workbench.regions.feature_store import FeatureStore, FeatureStoreWriter
from workbench.regions.feature_store_repair import damaged_shards, remake_shards

CUT = {"batch_images": 2, "images_per_shard": 5}


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_scenes):
    """Features of pictures of which two are unreadable, and what they were made from."""
    root = tmp_path_factory.mktemp("repair")
    torch.manual_seed(0)
    save_detector(root / "detector.safetensors", RegionEncoder(1 / 64, short_side=64))
    shutil.copytree(small_scenes, root / "scenes")
    content = (root / "scenes/images/train_006.jpg").read_bytes()
    (root / "scenes/images/train_006.jpg").write_bytes(content[: len(content) // 2])
    (root / "scenes/images/train_008.jpg").unlink()
    inputs = {"scenes": root / "scenes", "detector": root / "detector.safetensors"}
    extract_features(root / "features", **inputs, **CUT)
    return root / "features", inputs


def folder_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 64
    path.write_bytes(content)


def test_whole_features_have_no_damage(made):
    assert damaged_shards(made[0]) == {"train": [], "val": [], "test": []}
    assert remake_shards(made[0], damaged_shards(made[0]), **made[1]) == {}


@pytest.mark.parametrize(
    "spoiled",
    [
        {"train/box_features-00001.npy": flip_a_bit},
        {"train/union_features-00001.npy": lambda path: path.unlink(), "val/box_features-00000.npy": flip_a_bit},
        {
            "train/union_features-00004.npy": lambda path: path.write_bytes(path.read_bytes()[:100]),
            "train/box_features-00004.npy": lambda path: path.write_bytes(b""),
            "train/box_features-00002.npy": flip_a_bit,
        },
    ],
)
def test_damaged_files_are_made_again_to_the_same_bytes(tmp_path, made, monkeypatch, spoiled):
    whole, inputs = made
    shutil.copytree(whole, folder := tmp_path / "features")
    for name, spoil in spoiled.items():
        spoil(folder / name)
    damaged = damaged_shards(folder)
    assert {f"{split}/{name}" for split, names in damaged.items() for name in names} == set(spoiled)
    untouched = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy") if path.name not in str(damaged)}
    compute, calls = split_extraction.region_features, []
    monkeypatch.setattr(split_extraction, "region_features", lambda *i: calls.append(len(i[1])) or compute(*i))
    differing = remake_shards(folder, damaged, **inputs, **CUT, workers=0)
    assert differing == {split: [] for split, names in damaged.items() if names}
    assert folder_bytes(folder) == folder_bytes(whole)
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    shards = {name.split("_")[0].split("/")[0] + name[-9:] for name in spoiled}
    assert sum(calls) <= 5 * len(shards)  # pictures of these shards alone


def test_a_killed_repair_continues(tmp_path, made, monkeypatch):
    whole, inputs = made
    shutil.copytree(whole, folder := tmp_path / "features")
    flip_a_bit(folder / "train/box_features-00002.npy")
    flip_a_bit(folder / "train/union_features-00003.npy")
    monkeypatch.setattr(image_shard, "SECONDS_BETWEEN_MARKS", 0)
    compute, calls = split_extraction.region_features, []

    class Killed(BaseException):
        pass

    def until_killed(*given):
        calls.append(1)
        if len(calls) in (2, 5):
            raise Killed
        return compute(*given)

    monkeypatch.setattr(split_extraction, "region_features", until_killed)
    for _ in range(2):
        with pytest.raises(Killed):
            remake_shards(folder, damaged_shards(folder), **inputs)
        with pytest.raises(WorkbenchError, match=r"missing.*--remake"):
            FeatureStore.open(folder / "train")
    remake_shards(folder, damaged_shards(folder), **inputs)
    assert folder_bytes(folder) == folder_bytes(whole)


def test_a_restored_picture_stays_left_out_and_a_lost_one_is_named(tmp_path, made, small_scenes):
    whole, inputs = made
    shutil.copytree(whole, folder := tmp_path / "features")
    shutil.copytree(inputs["scenes"], scenes := tmp_path / "scenes")
    for name in ("train_006.jpg", "train_008.jpg"):
        shutil.copy(small_scenes / "images" / name, scenes / "images" / name)
    flip_a_bit(folder / "train/union_features-00001.npy")
    remake_shards(folder, damaged_shards(folder), **inputs | {"scenes": scenes})
    assert folder_bytes(folder) == folder_bytes(whole)
    flip_a_bit(folder / "train/union_features-00001.npy")
    (scenes / "images/train_007.jpg").unlink()
    with pytest.raises(WorkbenchError, match=r"train_007\.jpg: the picture cannot be read any more.*missing"):
        remake_shards(folder, damaged_shards(folder), **inputs | {"scenes": scenes})


def test_other_inputs_are_refused_before_anything_is_removed(tmp_path, made, new_small_scenes):
    whole, inputs = made
    shutil.copytree(whole, folder := tmp_path / "features")
    flip_a_bit(folder / "train/union_features-00001.npy")
    before = folder_bytes(folder)
    torch.manual_seed(1)
    save_detector(tmp_path / "other.safetensors", RegionEncoder(1 / 64, short_side=64))
    others = {
        "encoder": {"detector": tmp_path / "other.safetensors"},
        "other annotations": {"scenes": new_small_scenes({"train": 23}, seed=1)},
    }
    for words, change in others.items():
        with pytest.raises(WorkbenchError, match=words):
            remake_shards(folder, damaged_shards(folder), **inputs | change)
    assert folder_bytes(folder) == before


def test_features_from_elsewhere_are_imported_again(tmp_path, made):
    store = FeatureStore.open(made[0] / "val")
    tables = {name: getattr(store, name) for name in ("images", "boxes", "relations")}
    writer = FeatureStoreWriter(tmp_path / "train", **tables, dimension=64, encoder="imported:x", entity_region="union")
    writer.write_unions(0, store.union(np.arange(len(store))))
    writer.finish()
    flip_a_bit(tmp_path / "train/union_features-00000.npy")
    assert FeatureStore.open(tmp_path / "train").verify() == ["union_features-00000.npy"]
    with pytest.raises(WorkbenchError, match="workbench features import"):
        remake_shards(tmp_path, damaged_shards(tmp_path), **made[1])
    with pytest.raises(WorkbenchError, match="no finished features"):
        damaged_shards(tmp_path / "nowhere")
