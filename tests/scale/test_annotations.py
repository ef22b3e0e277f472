"""Simulated annotations: exact counts, determinism, and a folder that reader and check accept."""

import json

import numpy as np
import pytest

from tests.scale import SIZES, simulate_annotations
from tests.scale.classes import ClassLine, classes_of_relations
from tests.scale.frequencies import long_tailed_counts
from tests.scale.graphs import relation_graphs
from tests.scale.plan import SimulationPlan
from workbench.errors import WorkbenchError
from workbench.scenes.annotations import SPLITS, read_annotations
from workbench.scenes.bands import count_classes
from workbench.scenes.check import check_annotations
from workbench.scenes.vocabulary import Vocabulary

SIZE = SIZES["gqa-lt"]
NAMES = Vocabulary(
    tuple(f"thing {number}" for number in range(SIZE.object_classes)),
    tuple(f"relation {number}" for number in range(SIZE.relation_classes)),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "tiny"
    return folder, simulate_annotations(folder, vocabulary=NAMES, scale=0.001, seed=3)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("classes", "most", "least", "total"),
    [
        (1702, 374_282, 1, 6_800_000),
        (310, 1_692_068, 2, 3_400_000),
        (310, 1692, 2, 3400),
        (2, 5, 1, 6),
        (50, 9, 9, 450),
    ],
)
def test_counts_have_the_extremes_and_the_sum_and_descend(classes, most, least, total):
    counts = long_tailed_counts(classes, most, least, total)
    assert (counts[0], counts[-1], counts.sum(), len(counts)) == (most, least, total, classes)
    assert (np.diff(counts) <= 0).all()


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(WorkbenchError, match="cannot have 100 in all"):
        long_tailed_counts(310, 50, 2, 100)


@pytest.mark.parametrize("scale", [0.0007, 0.001, 0.01, 0.03])
@pytest.mark.parametrize("seed", [0, 1])
def test_train_has_exactly_the_counts_of_the_curve(scale, seed):
    size = SIZE.scaled(scale)
    plan = SimulationPlan(size, seed)
    train = plan.split("train")
    ends = np.concatenate([train.object_class[train.subject_box], train.object_class[train.object_box]])
    assert np.array_equal(np.bincount(ends, minlength=size.object_classes), plan.object_counts)
    assert np.array_equal(np.bincount(train.relation, minlength=size.relation_classes), plan.relation_counts)
    assert (plan.object_counts[0], plan.object_counts[-1]) == (round(scale * 374_282), 1)
    assert (plan.relation_counts[0], plan.relation_counts[-1]) == (round(scale * 1_692_068), 2)
    assert train.images == round(scale * 72_580) and len(train.relation) == round(scale * 3_400_000)


def test_relations_join_two_boxes_of_one_picture_and_no_pair_repeats_one():
    train = SimulationPlan(SIZE.scaled(0.01), 0).split("train")
    assert (train.subject_box != train.object_box).all()
    for boxes in (train.subject_box, train.object_box):
        assert np.array_equal(train.image_of_box[boxes], train.image)
    rows = np.stack([train.subject_box, train.object_box, train.relation], axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert len(np.unique(rows[:, :2], axis=0)) < len(rows)  # but a pair may carry several
    used = np.unique(np.concatenate([train.subject_box, train.object_box]))
    assert len(used) == len(train.object_class)
    assert (np.bincount(train.image) > 100).any()


def test_relations_depend_on_the_classes_that_they_join():
    train = SimulationPlan(SIZE.scaled(0.03), 0).split("train")
    shuffled = np.random.default_rng(0).permutation(train.relation)
    triplets = train.distinct_triplets()
    independent = type(train)(**vars(train) | {"relation": shuffled}).distinct_triplets()
    assert triplets < 0.8 * independent


@pytest.mark.parametrize(("images", "relations", "boxes"), [(1, 1, 2), (7, 7, 20), (50, 900, 300), (300, 14_000, 5000)])
def test_graphs_have_the_numbers_asked_for(images, relations, boxes):
    graphs = relation_graphs(np.random.default_rng(images), images, relations, boxes)
    assert len(graphs.image) == relations and len(np.unique(graphs.image)) == images
    assert (np.diff(graphs.image) >= 0).all() and (np.diff(graphs.image_of_box) >= 0).all()
    used = np.bincount(np.concatenate([graphs.subject_box, graphs.object_box]), minlength=len(graphs.image_of_box))
    assert (used > 0).all()


def test_a_line_gives_each_class_its_number_and_neighbours_the_same_class():
    random = np.random.default_rng(0)
    counts = np.array([500, 300, 150, 40, 9, 1])
    line = ClassLine.drawn(random, counts, 20)
    order = random.permutation(1000)
    labels = classes_of_relations(line, counts, order)
    assert np.array_equal(np.bincount(labels), counts)
    assert (np.diff(labels[order]) != 0).sum() < len(line.classes)


def test_the_folder_is_read_and_found_without_errors(tiny):
    folder, summary = tiny
    assert not [problem for problem in check_annotations(folder) if problem.severity == "error"]
    for split in SPLITS:
        annotations = read_annotations(folder, split)
        assert len(annotations.relations) == summary[split]["relations"]
        assert len(annotations.images) == summary[split]["images"]
        if split == "train":
            counts = count_classes(annotations.relations, annotations.vocabulary)
            assert (counts.objects.max(), counts.objects.min()) == (374, 1)
            assert list(json.loads((folder / "objects_freqs.json").read_text()).values()) != []
            frequencies = json.loads((folder / "predicates_freqs.json").read_text())
            assert [frequencies[name] for name in NAMES.relations] == counts.relations.tolist()
            assert (np.diff(counts.relations) <= 0).all()  # the names' order is that of frequency


def test_bytes_depend_on_the_arguments_alone(tiny, tmp_path):
    folder, summary = tiny
    again = simulate_annotations(tmp_path / "again", vocabulary=NAMES, scale=0.001, seed=3)
    assert again == summary and contents(tmp_path / "again") == contents(folder)
    simulate_annotations(tmp_path / "other", vocabulary=NAMES, scale=0.001, seed=4)
    assert contents(tmp_path / "other")["rel_annotations_train.json"] != contents(folder)["rel_annotations_train.json"]


def test_a_killed_call_goes_on(tiny, tmp_path, monkeypatch):
    from tests.scale import annotations as writer

    folder, _ = tiny
    blocks = writer._blocks

    def killed(plan, split, *others):
        if split == "test":
            raise KeyboardInterrupt
        yield from blocks(plan, split, *others)

    monkeypatch.setattr(writer, "_blocks", killed)
    with pytest.raises(KeyboardInterrupt):
        simulate_annotations(tmp_path / "cut", vocabulary=NAMES, scale=0.001, seed=3)
    assert not (tmp_path / "cut" / "rel_annotations_test.json").exists()
    before = (tmp_path / "cut" / "rel_annotations_train.json").stat().st_mtime_ns
    monkeypatch.setattr(writer, "_blocks", blocks)
    simulate_annotations(tmp_path / "cut", vocabulary=NAMES, scale=0.001, seed=3)
    assert contents(tmp_path / "cut") == contents(folder)
    assert (tmp_path / "cut" / "rel_annotations_train.json").stat().st_mtime_ns == before


def test_another_simulation_or_other_files_are_not_overwritten(tiny, tmp_path):
    with pytest.raises(WorkbenchError, match="another simulation"):
        simulate_annotations(tiny[0], vocabulary=NAMES, scale=0.001, seed=4)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(WorkbenchError, match="not empty"):
        simulate_annotations(tmp_path, vocabulary=NAMES, scale=0.001)


@pytest.mark.parametrize(("arguments", "words"), [({"scale": 2}, "scale 2"), ({"like": "coco"}, "like 'coco'")])
def test_arguments_are_checked(tmp_path, arguments, words):
    with pytest.raises(WorkbenchError, match=words):
        simulate_annotations(tmp_path / "x", vocabulary=NAMES, **arguments)


def test_flaws_come_on_request(tmp_path):
    simulate_annotations(tmp_path / "flawed", vocabulary=NAMES, scale=0.001, flaws=0.1)
    problems = check_annotations(tmp_path / "flawed", image_files=False)
    kinds = {"empty box", "box partly outside the image", "box outside the image"}
    assert {problem.kind for problem in problems} == kinds
    assert not any(problem.blocks_reading for problem in problems)
