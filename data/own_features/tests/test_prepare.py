import json
import zipfile
from functools import partial

import numpy as np
import pytest

import own_features.prepare as importing
from own_features.prepare import import_features
from tests.refusals import refused
from tests.regions.conftest import text_vectors
from tests.synthetic import folder_bytes
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import FeatureStore
from workbench.scenes.relations import BOX_COLUMNS
from workbench.scenes.vocabulary import ROLES, SPLITS, Vocabulary


@pytest.mark.parametrize(("seed", "rows", "dimension"), [(0, 20, 6), (1, 1, 1), (2, 500, 16)])
@pytest.mark.parametrize("own", [False, True])
def test_rows_and_ids_round_trip(tmp_path, import_source, seed, rows, dimension, own):
    source, splits = import_source(seed, rows, dimension, own)
    summary = import_features(tmp_path / "out", source=source)
    assert summary["relations"] == dict.fromkeys(SPLITS, rows) and summary["encoder"] == f"imported:source{seed}"
    assert Vocabulary.read(tmp_path / "out") == Vocabulary.read(source)
    order = np.random.default_rng(seed).permutation(rows)
    for split, arrays in splits.items():
        store = FeatureStore(tmp_path / "out" / split)
        relations, boxes = store.relations, store.boxes[BOX_COLUMNS].to_numpy()
        assert store.entity_region == ("box" if own else "union")
        np.testing.assert_array_equal(store.union(order), arrays["feature"][order])
        for role in ROLES:
            assert relations[role].tolist() == arrays[role].tolist()
        image_ids = store.images["image_id"].to_numpy()
        assert (np.diff(image_ids) > 0).all() and image_ids[relations["image"]].tolist() == arrays["image_id"].tolist()
        for role in ("subject", "object"):
            features = arrays[f"{role}_feature" if own else "feature"]
            np.testing.assert_array_equal(getattr(store, role)(order), features[order])
            columns = [f"{role}_{corner}" for corner in BOX_COLUMNS]
            xyxy = boxes[relations[f"{role}_box"]] if own else relations[columns].to_numpy()
            assert xyxy.tolist() == arrays[f"{role}_box"].tolist()
        if not own:
            both = np.stack([arrays["subject_box"], arrays["object_box"]])
            expected = np.concatenate([both[..., :2].min(axis=0), both[..., 2:].max(axis=0)], axis=1)
            assert boxes[relations["object_box"]].tolist() == expected.tolist()
            for image, size in enumerate(store.images[["width", "height"]].to_numpy()):
                here = expected[relations["image"] == image]
                assert size.tolist() == (here[:, 2:].max(axis=0) + 1).tolist()


def test_equal_boxes_with_equal_features_are_stored_once(tmp_path, import_source):
    source, splits = import_source(0, 10, own=True)
    arrays = splits["train"]
    for name in ("box", "feature"):
        arrays[f"subject_{name}"][:] = arrays[f"subject_{name}"][0]
    arrays["subject"][:] = arrays["image_id"][:] = 1
    np.savez(source / "train.npz", **arrays)
    import_features(tmp_path / "out", source=source)
    store = FeatureStore(tmp_path / "out/train")
    assert store.relations["subject_box"].nunique() == 1 and len(store.boxes) == 11


@pytest.mark.parametrize("lacking", ["all", "one", "none"])
def test_text_vectors(tmp_path, import_source, lacking):
    source, _ = import_source()
    relations = None if lacking == "all" else np.ones((3, 5), dtype=np.float32)
    if lacking == "one":
        relations[1] = np.nan
    objects = text_vectors(source, relations)
    import_features(tmp_path / "out", source=source)
    text = tmp_path / "out/text"
    np.testing.assert_array_equal(np.load(text / "object_embeddings.npy"), objects)
    assert (text / "relation_embeddings.npy").exists() == (lacking != "all")
    expected = {"encoder": "imported:source0/text", "kind": "vectors", "learned_relations": lacking != "none"}
    assert json.loads((text / "text.json").read_text()) == expected | {"dimension": 5}


def test_a_manifest_names_encoder_and_support(tmp_path, import_source):
    source, splits = import_source()
    for split, arrays in splits.items():
        np.savez(source / f"{split}.npz", **(arrays | {"feature": np.abs(arrays["feature"])}))
    (source / "manifest.json").write_text(json.dumps({"encoder": "CLIP ViT-B/32", "support": "rectified", "note": 1}))
    import_features(tmp_path / "out", source=source)
    store = FeatureStore(tmp_path / "out/train", expect_encoder="CLIP ViT-B/32")
    assert store.support == "rectified"


def put(place, value):
    def change(array):
        array = array.astype(np.float32) if isinstance(value, float) else array
        array[place] = value
        return array

    return change


BAD_ARRAYS = [
    ("relation", lambda a: None, r"missing key.*relation"),
    ("subject_feature", lambda a: a, r"missing key.*object_feature"),
    ("object", lambda a: a.astype(object), r"plain numbers.*Object arrays cannot be loaded"),
    ("feature", lambda a: a[0], r"wrong shape.*feature: found \(6,\)"),
    ("feature", lambda a: a.astype(int), r"wrong shape.*feature.*int64.*floating"),
    ("feature", lambda a: a[:0], r"feature: found \(0, 6\).*at least one row"),
    ("feature", lambda a: a[:, :5], r"dimensions differ.*found 5, expected 6"),
    ("subject", lambda a: a[:-1], r"subject: found \(19,\).*expected \(20,\)"),
    ("subject", lambda a: a * 1.0, r"subject: found.*whole numbers"),
    ("subject", put(3, 4), r"unknown class id.*subject, row 3: found 4 \(1 such rows\), expected 0 to 3"),
    ("relation", put(5, -1), r"unknown class id.*relation, row 5: found -1"),
    ("feature", put((7, 2), np.nan), r"feature out of range.*feature, row 7"),
    ("feature", put((8, 2), np.inf), r"feature out of range.*feature, row 8"),
    ("feature", put((8, 2), 70000.0), r"feature out of range.*feature, row 8"),
    ("object_box", lambda a: a[:, :3], r"object_box: found \(20, 3\)"),
    ("subject_box", put((2, 0), 999), r"swapped or non-finite box.*subject_box, row 2"),
    ("object_box", put((2, 0), np.nan), r"swapped or non-finite box.*object_box, row 2"),
    ("image_id", lambda _: np.full(20, 2**63 + 1, dtype=np.uint64), "unusable image id"),
    ("image_id", lambda _: np.full(20, 2.0**60), "unusable image id"),
    ("image_id", lambda _: np.full(20, -1), "image_id, row 0: found -1, expected whole numbers of 0"),
    ("image_id", lambda _: np.asarray([b"n1"] * 19 + [b""]), "image_id, row 19: found b'', expected digits"),
    ("image_id", lambda _: np.asarray(["../a"] * 20),
     r"image_id, row 0: found '\.\./a', expected digits, or the name of a file"),
    ("subject_box", lambda _: np.full((20, 4), 1e30), "row 0"),
    ("object_box", lambda _: np.full((20, 4), -(2**63)), r"object_box, row 0: found \[-9223372036854775808"),
    ("obj_feat", lambda feature: feature, "misspelt key.*expected 'object_feature'"),
    ("subject_features", lambda feature: feature, "misspelt key.*expected 'subject_feature'"),
]  # fmt: skip


def change_array(source, key, change):
    arrays = dict(np.load(source / "test.npz"))
    arrays[key] = change(arrays.get(key, arrays["feature"]))
    np.savez(source / "test.npz", **{name: array for name, array in arrays.items() if array is not None})


def not_an_array(source):
    with zipfile.ZipFile(source / "val.npz", "a") as archive:
        archive.writestr("subject_feature", b"text")


def with_ends(width):
    def spoil(source):
        for key in ("subject_feature", "object_feature"):
            change_array(source, key, lambda feature: feature[:, :width])

    return spoil


def file_of(name, content):
    def spoil(source):
        (source / name).write_bytes(content) if isinstance(content, bytes) else np.save(source / name, content)

    return spoil


OBJECT_TEXT, RELATION_TEXT = "objects_clip_text.npy", "predicates_clip_text.npy"
BAD_FILES = [
    (lambda source: (source / "val.npz").unlink(), r"val\.npz.*missing file.*Put.*found no file, expected an npz file"),
    (file_of("val.npz", b""), r"val\.npz.*unreadable file"),
    (lambda s: (s / "val.npz").write_bytes((s / "val.npz").read_bytes()[:-200]), r"val\.npz.*unreadable file"),
    (not_an_array, r"subject_feature: found \(\) \|S4"),
    (with_ends(6), r"keys differ"),
    (with_ends(4), r"object_feature: found \(20, 4\)"),
    (file_of("objects.json", b'["man", "man", "hat", "tree"]'), r"duplicate name.*'man' again"),
    (lambda source: (source / "predicates.json").unlink(), r"predicates\.json.*missing file"),
    (file_of("manifest.json", b"{"), r"manifest\.json.*broken JSON"),
    (file_of("manifest.json", b"[]"), r"manifest\.json.*wrong type"),
    (file_of("manifest.json", b'{"support": "positive"}'), r"support: found invalid enum value 'positive'.*signed or"),
    (file_of("manifest.json", b'{"support": "rectified"}'), r"feature out of range"),
    (file_of(OBJECT_TEXT, b"x"), r"objects_clip_text\.npy.*unreadable file"),
    (file_of(OBJECT_TEXT, np.ones((3, 5))), r"wrong shape.*expected \(4, T\)"),
    (file_of(OBJECT_TEXT, np.full((4, 5), np.nan)), r"non-finite number.*row 0"),
    (file_of(RELATION_TEXT, np.ones((3, 5))), r"objects_clip_text\.npy.*missing file"),
    (lambda source: text_vectors(source, np.ones((3, 6))), r"wrong shape.*found \(3, 6\), expected \(3, 5\)"),
    (lambda source: text_vectors(source, np.array([[1, 1, 1, 1, np.nan]] * 3)), r"non-finite number.*row 0"),
    *((partial(change_array, key=key, change=change), rf"test\.npz.*{found}") for key, change, found in BAD_ARRAYS),
]


@pytest.mark.parametrize(("spoil", "found"), BAD_FILES)
def test_bad_files_and_arrays_are_refused_before_anything_is_written(tmp_path, import_source, spoil, found):
    source, _ = import_source()
    spoil(source)
    refused(f"(?s){found}", import_features, tmp_path / "out", source=source)
    assert not (tmp_path / "out").exists()


def test_all_problems_in_one_report(tmp_path, import_source):
    source, _ = import_source()
    for key, change in (("subject", put(3, 4)), ("feature", put((7, 2), np.nan)), ("image_id", lambda a: None)):
        change_array(source, key, change)
    (source / "val.npz").unlink()
    refused("4 errors in 2 files", import_features, tmp_path / "out", source=source)
    refused("no such folder", import_features, tmp_path / "out", source=tmp_path / "nowhere")


def test_shared_images_are_a_warning_and_unseen_relations_are_named(tmp_path, import_source):
    source, splits = import_source()
    splits["train"]["relation"][:] = 0
    splits["test"]["relation"][:] = 2
    splits["test"]["image_id"][0] = splits["train"]["image_id"][0]
    for split in ("train", "test"):
        np.savez(source / f"{split}.npz", **splits[split])
    summary = import_features(tmp_path / "out", source=source)
    assert "near" in summary["absent_from_train"]["relation"] and summary["relation_classes_in_train"] == 1
    assert "1 images of train too" in "\n".join(summary["warnings"])


@pytest.mark.parametrize("calls", [1, 4, 9])
def test_a_killed_import_resumes_to_the_same_bytes(tmp_path, import_source, monkeypatch, calls):
    source, _ = import_source(0, 20, own=True)
    text_vectors(source)
    summary = import_features(tmp_path / "whole", source=source)
    monkeypatch.setattr(importing, "ROWS_PER_CHUNK", 7)
    flush, left = FeatureStoreWriter.flush, iter(range(calls))

    def flush_or_die(writer):
        if next(left, None) is None:
            raise KeyboardInterrupt
        flush(writer)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStoreWriter, "flush", flush_or_die)
        with pytest.raises(KeyboardInterrupt):
            import_features(tmp_path / "killed", source=source)
    assert import_features(tmp_path / "killed", source=source) == summary
    assert folder_bytes(tmp_path / "killed") == folder_bytes(tmp_path / "whole")


def test_visual_genome_rows(tmp_path, real_data):
    source = real_data / "vg-clip"
    summary = import_features(tmp_path, source=source)
    assert summary["relations"]["train"] == 17_627 and summary["relation_classes_in_train"] == 35
    assert len(summary["absent_from_train"]["relation"]) == 6 and summary["warnings"] == []
    assert (summary["dimension"], summary["text_dimension"], summary["entity_region"]) == (512, 512, "union")
    for split in SPLITS:
        store, arrays = FeatureStore(tmp_path / split), np.load(source / f"{split}.npz")
        rows = np.arange(0, len(store), 7)
        np.testing.assert_array_equal(store.union(rows), arrays["feature"][rows])
        assert store.relations["relation"].tolist() == arrays["relation"].tolist()
    assert np.load(tmp_path / "text/object_embeddings.npy").shape == (150, 512)


def test_ids_of_digits_and_a_split_saved_twice(tmp_path, import_source):
    source, splits = import_source()
    np.savez(source / "train.npz", **splits["train"] | {"image_id": splits["train"]["image_id"].astype(str)})
    import_features(tmp_path / "out", source=source)
    assert FeatureStore(tmp_path / "out/train").images["image_id"].tolist() == sorted(set(splits["train"]["image_id"]))
    copied = {key: array[::-1] for key, array in splits["train"].items()}
    np.savez(source / "val.npz", **copied | {"feature": copied["feature"].astype(np.float32)})
    (source / "manifest.json").write_text('{"suport": "signed", "encoder": "a", "encoder": "b"}')
    np.save(source / "object_clip_text.npy", np.ones((4, 5)))
    misspelt = r"duplicate name.*'encoder'.*misspelt key.*'suport'.*expected 'objects_clip_text\.npy'"
    refused(rf"(?s){misspelt}.*all rows in train", import_features, tmp_path / "other", source=source)


def test_names_of_images_are_kept_and_some_rows_of_another_split_are_said(tmp_path, import_source):
    source, splits = import_source()
    named = {split: [f"n{number}" for number in part["image_id"]] for split, part in splits.items()}
    splits["val"]["feature"][[4, 7]] = splits["train"]["feature"][9]
    for split, part in splits.items():
        np.savez(source / f"{split}.npz", **part | {"image_id": named[split]})
    said = "\n".join(import_features(tmp_path / "out", source=source)["warnings"])
    assert "feature, row 4: found row 9 of train (2 such rows of 20)" in said and said.count("image ids of text") == 3
    stores = {split: FeatureStore(tmp_path / "out" / split) for split in SPLITS}
    for split, store in stores.items():
        assert store.images["file_name"][store.relations["image"]].tolist() == named[split]
    assert len({number for store in stores.values() for number in store.images["image_id"]}) == 15


def test_what_float16_loses_shares_for_pixels_and_links_that_lead_nowhere(tmp_path, import_source):
    source, splits = import_source(rows=6)
    arrays = splits["train"]
    for key, value, said in (
        ("feature", arrays["feature"].astype(np.float64) * 1e-9, "feature out of range.*at least 6.1"),
        ("subject_box", arrays["subject_box"] / 1000, "boxes in shares.*Multiply x"),
    ):
        np.savez(source / "train.npz", **arrays | {key: value})
        refused(f"(?s){said}", import_features, tmp_path / "out", source=source)
    np.savez(source / "train.npz", **arrays | {"feature": arrays["feature"] * np.arange(6, dtype=np.float16)[:, None]})
    assert "1 rows of zeros" in str(import_features(tmp_path / "zeros", source=source)["warnings"])
    (source / "objects_clip_text.npy").symlink_to("gone")
    refused("objects_clip_text", import_features, tmp_path / "out", source=source)
    assert not (tmp_path / "out").exists()
