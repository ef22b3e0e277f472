import json
import shutil

import numpy as np
import pandas as pd
import pytest

from workbench.diffusion import rivals
from workbench.diffusion.conditions import condition_table
from workbench.diffusion.rivals import RIVALS, UnionRows, generate_rival
from workbench.diffusion.sampling import chosen_triplets
from workbench.diffusion.seeds import ClassMean, SubjectObjectSeed, fit_seed_map, relation_rows, subject_object_seed
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets
from workbench.regions.feature_rows import FeatureRows
from workbench.regions.feature_store import FeatureStore
from workbench.regions.generated_features import GeneratedFeatures

FILES = ("union_features.npy", "generated.parquet", "generated.json")


@pytest.fixture(scope="module", params=["box", "union"])
def inputs(request, small_features, union_features):
    """Folders of a small data set with boxes, and of one with union features alone."""
    return {"box": small_features, "union": union_features}[request.param]


def generate(inputs, folder, rival, **options):
    return generate_rival(
        folder, features=inputs["features"], triplets=inputs["triplets"], rival=rival, **({"seed": 3} | options)
    )


def train_store(inputs):
    return FeatureStore.open(inputs["features"] / "train")


def unions(folder):
    return np.load(folder / "union_features.npy", allow_pickle=False).astype(np.float32)


@pytest.mark.parametrize("samples", [0, 30, 150])
@pytest.mark.parametrize("rival", RIVALS)
def test_the_table_is_the_samplers_and_recognisers_read_the_folder(inputs, tmp_path, rival, samples):
    metrics = generate(inputs, tmp_path, rival, samples=samples)
    store, table = train_store(inputs), pd.read_parquet(tmp_path / "generated.parquet")
    expected = chosen_triplets(read_triplets(inputs["triplets"]).augmented, samples, 3)
    conditions, index = condition_table(TextEmbeddings.open(inputs["text"]), expected)
    boxes = subject_object_seed(store, expected, 3)
    expected = expected.assign(subject_box=boxes.subject_box, object_box=boxes.object_box, condition=index)
    pd.testing.assert_frame_equal(table, expected)
    assert json.loads(json.dumps(metrics)) == metrics and metrics["samples"] == len(table) == (samples or 100)
    assert metrics["distinct_triplets"] == len(conditions) and sum(metrics["bands"].values()) == len(table)
    rows, generated = np.array([5, 0, 29]), GeneratedFeatures.open(tmp_path, store)
    reader = FeatureRows.of_relations(GeneratedFeatures.open(tmp_path, store), rival)
    np.testing.assert_array_equal(reader(rows)[1], generated.union(rows))
    assert np.isfinite(reader(np.arange(len(table)))[1]).all()


@pytest.mark.parametrize("rival", RIVALS)
def test_same_seed_same_bytes_whatever_the_parts(small_features, tmp_path, monkeypatch, rival):
    generate(small_features, tmp_path / "first", rival)
    generate(small_features, tmp_path / "again", rival)
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    monkeypatch.setattr(rivals, "ROWS_PER_PART", 7)
    generate(small_features, tmp_path / "parts", rival)
    np.testing.assert_allclose(unions(tmp_path / "parts"), unions(tmp_path / "first"), rtol=2e-3, atol=1e-3)
    generate(small_features, tmp_path / "other", rival, seed=4)
    assert not np.allclose(unions(tmp_path / "other"), unions(tmp_path / "first"))


@pytest.mark.parametrize("rival", ["class_gaussian", "smote"])
def test_a_killed_run_goes_on_with_the_parts_that_are_missing(small_features, tmp_path, monkeypatch, rival):
    monkeypatch.setattr(rivals, "ROWS_PER_PART", 16)
    generate(small_features, tmp_path / "alone", rival)
    honest, calls = rivals.PartialFeatures.write, []

    def killed(self, rows, features):
        calls.append(int(rows[0]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        honest(self, rows, features)

    monkeypatch.setattr(rivals.PartialFeatures, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        generate(small_features, tmp_path / "killed", rival)
    generate(small_features, tmp_path / "killed", rival)
    assert calls == [0, 16, 32, 32, 48, 64, 80, 96]
    for name in FILES:
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    with pytest.raises(WorkbenchError, match="another chosen"):
        generate(small_features, tmp_path / "killed", "pair_mean")


@pytest.mark.parametrize("seed_map", ["none", "affine"])
def test_the_means_are_means_of_rows_that_show_the_classes(inputs, tmp_path, seed_map):
    for rival in ("pair_mean", "triple_mean"):
        generate(inputs, tmp_path / rival, rival, seed_map=seed_map)
    store, table = train_store(inputs), pd.read_parquet(tmp_path / "pair_mean" / "generated.parquet")
    boxes = SubjectObjectSeed(table["subject_box"].to_numpy(), table["object_box"].to_numpy())
    pair = boxes.means(store)
    pair = fit_seed_map(store, 3)(pair) if seed_map == "affine" else pair
    np.testing.assert_allclose(unions(tmp_path / "pair_mean"), pair, rtol=1e-3, atol=1e-3)
    shown = relation_rows(store, table, 3)
    assert (store.relations["relation"].to_numpy()[shown] == table["relation"]).all()
    assert len(np.unique(shown)) > 20
    triple = (2 * pair + store.union(shown)) / 3
    np.testing.assert_allclose(unions(tmp_path / "triple_mean"), triple, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(ClassMean(store, boxes)(np.array([4, 1])), boxes.means(store)[[4, 1]])


def test_copies_without_noise_and_interpolated_rows_come_from_the_store(inputs, tmp_path):
    store = train_store(inputs)
    real = store.union(np.arange(len(store)))
    generate(inputs, tmp_path / "copy", "copy_noise", noise=0.0)
    assert (unions(tmp_path / "copy")[:, None] == real).all(axis=2).any(axis=1).all()
    generate(inputs, tmp_path / "smote", "smote", neighbours=1)
    made = unions(tmp_path / "smote")
    assert (made >= real.min(axis=0)).all() and (made <= real.max(axis=0)).all()


def test_the_store_is_read_by_rows(small_features):
    store = train_store(small_features)
    matrix, rows = UnionRows(store), np.array([7, 2, 7])
    assert matrix.shape == (len(matrix), store.dimension) == (300, 8)
    np.testing.assert_array_equal(matrix[rows], store.union(rows))


@pytest.mark.parametrize("rival", RIVALS)
def test_rectified_features_are_cut_at_zero(small_features, tmp_path, rival):
    inputs = small_features | {"features": tmp_path / "features"}
    shutil.copytree(small_features["features"], inputs["features"])
    manifest = inputs["features"] / "train" / "features.json"
    manifest.write_text(manifest.read_text().replace('"signed"', '"rectified"'))
    generate(small_features, tmp_path / "signed", rival)
    generate(inputs, tmp_path / "rectified", rival)
    assert (unions(tmp_path / "signed") < 0).any()
    np.testing.assert_array_equal(unions(tmp_path / "rectified"), np.maximum(unions(tmp_path / "signed"), 0))


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"rival": "diffusion"}, "rival 'diffusion' is not known"),
        ({"seed_map": "linear"}, "seed_map"),
        ({"noise": -1.0}, "noise is -1"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"prior_rows": float("nan")}, "prior_rows is nan"),
        ({"samples": -1}, "notebook 02"),
    ],
)
def test_bad_settings_are_named(small_features, tmp_path, option, named):
    with pytest.raises(WorkbenchError, match=named):
        generate(small_features, tmp_path / "out", **({"rival": "smote"} | option))


@pytest.mark.parametrize(
    ("role", "named"), [("object", "object class 99, the object"), ("relation", "relation class 99")]
)
def test_a_class_that_training_never_shows_is_named(small_features, tmp_path, role, named):
    inputs = small_features | {"triplets": tmp_path / "triplets"}
    with pytest.raises(WorkbenchError, match="notebook 02"):
        generate(inputs, tmp_path / "none", "smote")
    shutil.copytree(small_features["triplets"], inputs["triplets"])
    path = inputs["triplets"] / "augmented.parquet"
    augmented = pd.read_parquet(path)
    augmented[:0].to_parquet(path)
    with pytest.raises(WorkbenchError, match="augmented triplets"):
        generate(inputs, tmp_path / "empty", "smote")
    augmented.assign(**{role: 99}).to_parquet(path)
    with pytest.raises(WorkbenchError, match=named):
        generate(inputs, tmp_path / "unknown", "triple_mean")
