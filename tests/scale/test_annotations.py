"""Simulated annotations: sizes and counts as asked for, determinism, and a folder that reader and check accept."""

from dataclasses import replace

import numpy as np
import pytest

from tests.scale import annotations
from tests.scale.annotations import simulate_annotations
from tests.scale.plan import SIZES, long_tailed_counts, plan_split
from workbench.errors import WorkbenchError
from workbench.scenes.annotations import read_annotations
from workbench.scenes.check import check_annotations
from workbench.scenes.vocabulary import SPLITS, Vocabulary

SIZE = SIZES["gqa-lt"].scaled(0.01)
NAMES = Vocabulary(tuple(f"thing {n}" for n in range(120)), tuple(f"relation {n}" for n in range(30)))
SMALL = {"vocabulary": NAMES, "scale": 0.001, "seed": 3}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "tiny"
    return folder, simulate_annotations(folder, **SMALL)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("classes", "most", "least", "total"),
    [(1702, 66_050, 1, 1_200_000), (310, 1_692_068, 2, 3_400_000), (2, 5, 1, 6), (50, 9, 9, 450)],
)
def test_counts_have_the_extremes_and_the_sum_asked_for(classes, most, least, total):
    counts = long_tailed_counts(classes, most, least, total)
    assert (counts[0], counts[-1], counts.sum()) == (most, least, total) and (np.diff(counts) <= 0).all()
    with pytest.raises(WorkbenchError, match="Another scale"):
        long_tailed_counts(classes, most, least, classes * most + 1)


def test_a_plan_has_the_sizes_asked_for():
    train, val = plan_split(SIZE, "train", 0), plan_split(SIZE, "val", 0)
    objects, relations = SIZE.counts(len(train.object_class))
    assert train.images == 726 and len(train.relation) == 34_000 and len(val.relation) == round(34_000 * 26 / 726)
    assert np.array_equal(np.bincount(train.object_class, minlength=1702), objects)
    assert np.array_equal(np.bincount(train.relation, minlength=310), relations)
    assert len(train.object_class) == pytest.approx(12_000, rel=0.01)
    assert (np.bincount(train.image) > 100).any()


def test_relations_join_two_boxes_of_one_image_and_use_all():
    train = plan_split(SIZE, "train", 0)
    assert (train.subject_box != train.object_box).all()
    for boxes in (train.subject_box, train.object_box):
        assert np.array_equal(train.image_of_box[boxes], train.image)
    pairs = np.stack([train.subject_box, train.object_box], axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert len(np.unique(pairs)) == len(train.object_class)


def test_relations_depend_on_the_classes_that_they_join():
    train = plan_split(SIZE, "train", 0)
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
    assert contents(tmp_path / "again") == contents(folder)
    simulate_annotations(tmp_path / "other", **SMALL | {"seed": 4})
    assert contents(tmp_path / "other")["rel_annotations_train.json"] != contents(folder)["rel_annotations_train.json"]


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
    assert contents(tmp_path / "cut") == contents(tiny[0])
    assert (tmp_path / "cut" / "rel_annotations_train.json").stat().st_mtime_ns == before


def test_another_simulation_or_other_files_are_not_overwritten(tiny, tmp_path):
    with pytest.raises(WorkbenchError, match="another simulation"):
        simulate_annotations(tiny[0], **SMALL | {"seed": 4})
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(WorkbenchError, match="not empty"):
        simulate_annotations(tmp_path, **SMALL)


@pytest.mark.parametrize(("wrong", "words"), [({"scale": 2}, "scale 2"), ({"like": "coco"}, "like 'coco'")])
def test_arguments_are_checked(tmp_path, wrong, words):
    with pytest.raises(WorkbenchError, match=words):
        simulate_annotations(tmp_path / "x", **SMALL | wrong)


def test_flaws_come_on_request(tmp_path):
    simulate_annotations(tmp_path / "flawed", **SMALL, flaws=0.1)
    problems = check_annotations(tmp_path / "flawed", image_files=False)
    kinds = {"empty box", "box partly outside the image", "box outside the image"}
    assert {problem.kind for problem in problems} == kinds
    assert not any(problem.blocks_reading for problem in problems)
