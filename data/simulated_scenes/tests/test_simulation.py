"""Simulated data sets: sizes and counts as asked for, determinism, resuming, and folders that every reader accepts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from annotated_scenes.annotations import read_annotations
from annotated_scenes.check import check_annotations
from simulated_scenes import annotations, prepare
from simulated_scenes.annotations import simulate_annotations
from simulated_scenes.plan import SIZES, long_tailed_counts, plan_split
from simulated_scenes.prepare import SimulatedFeatures, SimulationConfig, default_names, read_names, simulate
from tests.synthetic import folder_bytes
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings
from workbench.regions.features import FeaturesFolder
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import SPLITS, Vocabulary

SIZE = SIZES["gqa-lt"].scaled(0.01)
NAMES = Vocabulary(tuple(f"thing {n}" for n in range(120)), tuple(f"relation {n}" for n in range(30)))
SMALL = {"vocabulary": NAMES, "scale": 0.001, "seed": 3}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "tiny"
    return folder, simulate_annotations(folder, **SMALL)


@pytest.mark.parametrize(
    ("classes", "most", "least", "total"),
    [(1702, 66_050, 1, 1_200_000), (310, 1_692_068, 2, 3_400_000), (2, 5, 1, 6), (50, 9, 9, 450)],
)
def test_counts_have_the_extremes_and_the_sum_asked_for(classes, most, least, total):
    counts = long_tailed_counts(classes, most, least, total)
    assert (counts[0], counts[-1], counts.sum()) == (most, least, total) and (np.diff(counts) <= 0).all()
    with pytest.raises(WorkbenchError, match="Another scale"):
        long_tailed_counts(classes, most, least, classes * most + 1)


def test_a_plan_has_the_sizes_asked_for_and_joins_boxes_of_one_image():
    train, val = plan_split(SIZE, "train", 0), plan_split(SIZE, "val", 0)
    objects = long_tailed_counts(1702, *SIZE.object_extremes, len(train.object_class))
    relations = long_tailed_counts(310, *SIZE.relation_extremes, 34_000)
    assert train.images == 726 and len(train.relation) == 34_000 and len(val.relation) == round(34_000 * 26 / 726)
    assert np.array_equal(np.bincount(train.object_class, minlength=1702), objects)
    assert np.array_equal(np.bincount(train.relation, minlength=310), relations)
    assert len(train.object_class) == pytest.approx(12_000, rel=0.01)
    assert (np.bincount(train.image) > 100).any()
    for boxes in (train.subject_box, train.object_box):
        assert np.array_equal(train.image_of_box[boxes], train.image)
    pairs = np.stack([train.subject_box, train.object_box], axis=1)
    assert (pairs[:, 0] != pairs[:, 1]).all() and len(np.unique(pairs, axis=0)) == len(pairs)
    assert len(np.unique(pairs)) == len(train.object_class)
    # Relations depend on the classes that they join.
    shuffled = replace(train, relation=np.random.default_rng(0).permutation(train.relation))
    assert train.distinct_triplets() < 0.8 * shuffled.distinct_triplets()


def test_the_folder_is_read_and_found_without_errors(tiny):
    folder, summary = tiny
    assert not check_annotations(folder, image_files=False)
    for split in SPLITS:
        found = read_annotations(folder, split)
        assert (len(found.images), len(found.relations)) == (summary[split]["images"], summary[split]["relations"])


def test_bytes_depend_on_the_arguments_alone(tiny, tmp_path):
    folder, summary = tiny
    assert simulate_annotations(tmp_path / "again", **SMALL) == summary
    assert folder_bytes(tmp_path / "again") == folder_bytes(folder)
    simulate_annotations(tmp_path / "other", **SMALL | {"seed": 4})
    assert (
        folder_bytes(tmp_path / "other")["rel_annotations_train.json"]
        != folder_bytes(folder)["rel_annotations_train.json"]
    )


def test_a_killed_call_resumes(tiny, tmp_path, monkeypatch):
    write = annotations._write_split

    def killed(folder, split, *others):
        if split == "test":
            raise KeyboardInterrupt
        write(folder, split, *others)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(annotations, "_write_split", killed)
        simulate_annotations(tmp_path / "cut", **SMALL)
    before = (tmp_path / "cut" / "rel_annotations_train.json").stat().st_mtime_ns
    simulate_annotations(tmp_path / "cut", **SMALL)
    assert folder_bytes(tmp_path / "cut") == folder_bytes(tiny[0])
    assert (tmp_path / "cut" / "rel_annotations_train.json").stat().st_mtime_ns == before


def test_a_scale_above_one_is_refused(tmp_path):
    with pytest.raises(WorkbenchError, match="scale 2"):
        simulate_annotations(tmp_path, **SMALL | {"scale": 2})


@pytest.fixture
def store_rows(tiny, tmp_path):
    def make(name, **options):
        rows = prepare.simulate_features(tmp_path / name, tiny[0], 32, **options)
        store = FeaturesFolder(tmp_path / name).train
        assert rows["train"] == {"boxes": len(store.boxes), "unions": len(store)} and store.support == "signed"
        every = np.arange(len(store))
        return store.union(every), store.subject(every)

    return make


def test_rows_depend_on_seed_and_row_not_on_the_pieces_in_which_they_are_written(store_rows, monkeypatch):
    union, subject = store_rows("whole")
    assert (union < 0).any() and (union > 0).any() and not np.array_equal(union, subject)
    monkeypatch.setattr(prepare, "ROWS_PER_CHUNK", 700)
    monkeypatch.setattr(prepare, "ROWS_PER_FLUSH", 1400)
    assert np.array_equal(store_rows("pieces"), (union, subject))
    assert not np.array_equal(store_rows("other", seed=1)[0], union)
    assert not np.any(store_rows("holes", sparse=True))


def test_features_are_standardised_and_nearest_to_their_class():
    features = SimulatedFeatures(Vocabulary(tuple(map(str, range(20))), tuple("abcde")), 512, seed=2)
    random = np.random.default_rng(0)
    rows, labels, relation = np.arange(2000), random.integers(0, 20, 2000), random.integers(0, 5, 2000)
    boxes = features.boxes(rows, labels)
    assert boxes.dtype == np.float32 and abs(boxes.mean()) < 0.05 and abs(boxes.std() - 1) < 0.05
    assert len(np.unique(boxes, axis=0)) == 2000
    unions, fresh = features.unions(rows, labels, relation, labels[::-1]), features.boxes(rows + 2000, labels)
    for found, asked, truth, right in ((boxes, fresh, labels, 0.99), (unions, unions, relation, 0.9)):
        means = np.stack([found[truth == label].mean(axis=0) for label in range(truth.max() + 1)])
        assert (np.argmin(((asked[:, None] - means) ** 2).sum(axis=2), axis=1) == truth).mean() > right


def test_with_features_the_folder_is_laid_out_as_an_import(tmp_path):
    summary = simulate(tmp_path / "data", config=SimulationConfig(scale=0.002, dimension=16, seed=5))
    folder = FeaturesFolder(tmp_path / "data")
    assert (len(folder.vocabulary.objects), len(folder.vocabulary.relations)) == (1702, 310)
    for split, store in zip(SPLITS, (folder.train, folder.val, folder.test), strict=True):
        assert len(store) == summary[split]["relations"] == summary["features"][split]["unions"]
    text = TextEmbeddings.open(tmp_path / "data" / "text")
    assert text.objects.shape == (1702, 768) and text.relations.shape == (310, 768)


def test_without_features_it_has_tables_and_the_given_names(tmp_path):
    names = default_names(1702, 310)
    assert len(set(names.objects)) == 1702 and all(name.isalpha() for name in names.objects)
    (tmp_path / "names").mkdir()
    for file, listed in (("objects.txt", names.objects[::-1]), ("relations.txt", names.relations)):
        (tmp_path / "names" / file).write_text("\n".join(["<unk>", *listed]) + "\n")
    simulate(tmp_path / "data", config=SimulationConfig(scale=0.002), vocabulary=tmp_path / "names")
    train = read_annotations(tmp_path / "data" / "annotations", "train")
    assert train.vocabulary == Vocabulary(names.objects[::-1], names.relations)
    assert RelationTables.open(tmp_path / "data" / "train").relations.equals(train.relations)


def test_names_are_read_from_either_form_and_doubted(tmp_path):
    (tmp_path / "objects.txt").write_text("<unk>\nman\ndog\n")
    for relations in (None, "on\non\n"):
        if relations:
            (tmp_path / "relations.txt").write_text(relations)
        with pytest.raises(WorkbenchError, match=r"relations\.txt: expected"):
            read_names(tmp_path)
    (tmp_path / "objects.json").write_text(json.dumps(["cat", "cow"]))
    (tmp_path / "predicates.json").write_text(json.dumps(["in", "at"]))
    assert read_names(tmp_path).objects == ("cat", "cow")
