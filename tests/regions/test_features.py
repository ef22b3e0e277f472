"""Reading features: a store's rows against its arrays, generated rows, the folder of both, and damage that is named."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from tests.synthetic import ROWS, cut_short, long_tailed, write_features, write_generated, write_split
from workbench.errors import WorkbenchError
from workbench.files import save_array
from workbench.regions.features import FeaturesFolder, FeatureStore, GeneratedFeatures, finish_generated

BOXES, UNIONS = "box_features.npy", "union_features.npy"


@pytest.mark.parametrize(("relations", "dimension"), [(14, 6), (1, 1), (700, 33)])
@pytest.mark.parametrize("entity_region", ["box", "union"])
def test_rows_come_back_in_any_order(tmp_path, relations, dimension, entity_region):
    table = long_tailed(relations)
    store = write_split(tmp_path, table, dimension=dimension, entity_region=entity_region, support="rectified")
    assert (len(store), store.dimension, store.encoder, store.support) == (relations, dimension, "made-up", "rectified")
    unions = np.load(tmp_path / UNIONS)
    boxes = np.load(tmp_path / BOXES) if entity_region == "box" else unions
    rows = np.random.default_rng(relations).integers(0, relations, 50)
    np.testing.assert_array_equal(store.union(rows), unions[rows])
    np.testing.assert_array_equal(store.subject(rows), boxes[store.relations["subject_box"].to_numpy()[rows]])
    np.testing.assert_array_equal(store.object(rows), boxes[store.relations["object_box"].to_numpy()[rows]])
    np.testing.assert_array_equal(store.box(rows), boxes[rows])
    assert store.union(rows).dtype == np.float32 and store.union(rows, np.float16).dtype == np.float16
    pd.testing.assert_frame_equal(store.relations[["subject", "relation", "object"]], table)
    assert (tmp_path / BOXES).exists() == (entity_region == "box")
    for row in (-1, relations):
        with pytest.raises(IndexError):
            store.union([row])


def test_threads_read_at_once_and_a_file_that_is_cut_then_is_named(tmp_path):
    store, random = write_split(tmp_path, long_tailed(500)), np.random.default_rng(0)
    unions, asked = np.load(tmp_path / UNIONS), [random.integers(0, 500, 200) for _ in range(100)]
    with ThreadPoolExecutor(4) as pool:
        for rows, found in zip(asked, pool.map(store.union, asked), strict=True):
            np.testing.assert_array_equal(found, unions[rows])
    truncate(UNIONS)(tmp_path)
    refused(r"union_features\.npy: the file was cut short while it was in use", store.union, [499])


def truncate(name, keep=0.5):
    return lambda folder: cut_short(folder / name, keep)


def replace_array(name, change):
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def replace_table(name, change):
    return lambda folder: change(pd.read_parquet(folder / name)).to_parquet(folder / name)


@pytest.mark.parametrize(("spoil", "found"), [
    (lambda folder: (folder / "features.json").unlink(), "unfinished"), (truncate(UNIONS), "not a whole array"),
    (lambda folder: (folder / "features.json").write_text("{"), "not valid JSON"),
    (lambda folder: (folder / "features.json").write_text("[]"), "not a manifest"),
    (lambda folder: (folder / BOXES).unlink(), r"box_features\.npy: the file is missing"),
    (lambda folder: (folder / "relations.parquet").unlink(), r"relations\.parquet: the file is missing"),
    (truncate(UNIONS, 0), "an empty file, expected a whole array"), (truncate("boxes.parquet"), "not a readable table"),
    (replace_array(UNIONS, lambda a: a[:-1]), r"float16 \(13, 8\), expected"),
    (replace_array(UNIONS, lambda a: a.astype(np.float32)), "float32 .*, expected float16"),
    (replace_table("relations.parquet", lambda t: t[:-1]), "13 rows, but the manifest says 14"),
    (replace_table("relations.parquet", lambda t: t.drop(columns="subject_box")), "subject_box"),
    (replace_table("boxes.parquet", lambda t: t.assign(x2=np.nan)), "row 0 is a box without finite corners"),
    (replace_table("relations.parquet", lambda t: t.assign(object_box=99)), "row 0 points to boxes row 99"),
])  # fmt: skip
def test_a_store_that_does_not_fit_is_refused(tmp_path, spoil, found):
    write_split(tmp_path, long_tailed(14))
    spoil(tmp_path)
    raised = refused(found, FeatureStore, tmp_path)
    assert str(tmp_path) in raised


def test_a_folder_opens_each_split_once_and_none_of_another_encoder(tmp_path):
    folder = write_features(tmp_path, rows={"train": 30})
    write_split(tmp_path / "val", long_tailed(10), encoder="another")
    write_split(tmp_path / "test", long_tailed(10), dimension=9)
    assert folder.train is folder.split("train") and folder.counts.relation.sum() == 30
    with pytest.raises(WorkbenchError, match="val: the features' encoder is 'another', expected 'made-up'"):
        _ = folder.val
    with pytest.raises(WorkbenchError, match="test: the features' dimension is 9, expected 8"):
        _ = folder.test
    with pytest.raises(WorkbenchError, match="train: holds no features"):
        _ = FeaturesFolder(tmp_path / "nowhere").train


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("real")).train


@pytest.mark.parametrize("own", [False, True])
def test_generated_rows_are_read_by_number(tmp_path, store, own):
    write_generated(tmp_path, store, long_tailed(10))
    table = pd.read_parquet(tmp_path / "generated.parquet")
    for role in ("subject", "object") if own else ():
        save_array(tmp_path / f"{role}_features.npy", np.full((10, 8), len(role), np.float16))
    finish_generated(tmp_path, table, store, "generated" if own else "seed")
    generated, rows = GeneratedFeatures(tmp_path, store), np.random.default_rng(2).integers(0, 10, 7)
    assert (len(generated), generated.dimension, generated.entity_region) == (10, 8, "box")
    np.testing.assert_array_equal(generated.union(rows), np.load(tmp_path / UNIONS)[rows])
    for role in ("subject", "object"):
        expected = np.full((7, 8), len(role)) if own else store.box(table[f"{role}_box"].to_numpy()[rows])
        np.testing.assert_array_equal(getattr(generated, role)(rows), expected)


@pytest.mark.parametrize(("name", "changes"), [
    ("dimension", {"dimension": 6}), ("encoder", {"encoder": "clip"}), ("support", {"support": "rectified"}),
    ("entity_region", {"entity_region": "union"}), ("boxes", {}),
])  # fmt: skip
def test_generated_rows_of_another_store_are_refused(tmp_path, store, name, changes):
    write_generated(tmp_path / "generated", store, long_tailed(10))
    rows = ROWS["train"] - (name == "boxes")
    other = write_features(tmp_path / "other", rows={"train": rows}, **changes).train
    refused(f"with {name} ", GeneratedFeatures, tmp_path / "generated", other)


@pytest.mark.parametrize(("spoil", "found"), [
    (lambda folder: (folder / "generated.json").unlink(), "no finished generated features"),
    (truncate(UNIONS, 0.9), r"union_features.npy: not a whole array"),
    (replace_array(UNIONS, lambda a: a[:-1]), "expected float16"),
    (truncate("generated.parquet"), "not a readable table"),
])  # fmt: skip
def test_damaged_generated_rows_are_named(tmp_path, store, spoil, found):
    write_generated(tmp_path, store, long_tailed(10))
    spoil(tmp_path)
    refused(found, GeneratedFeatures, tmp_path, store)
