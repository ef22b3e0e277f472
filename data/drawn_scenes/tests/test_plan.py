from collections import Counter

import numpy as np
import pytest

from drawn_scenes.free_crops import balanced_pairs
from drawn_scenes.long_tail import chosen_classes, evaluation_targets, training_targets, zipf_counts
from drawn_scenes.plan import MOST_GROUPS, plan_images
from drawn_scenes.rules import LEFT, RELATION_NAMES, RIGHT, possible


@pytest.fixture(scope="module")
def full():
    """The plans of the data set at its usual size, as triplets per image."""
    targets = {
        "train": (training_targets(3000), 3000),
        "val": (evaluation_targets("val", 400, 5), 400),
        "test": (evaluation_targets("test", 1300, 20), 1300),
    }
    return {split: plan_images(target, images, 0, split) for split, (target, images) in targets.items()}


def _triplets(plans):
    return [triplet for plan in plans for triplet in plan.triplets()]


def _ends(triplets):
    return Counter(name for s, _, o in triplets for name in (s, o))


def test_training_is_as_long_tailed_as_asked_for(full):
    triplets = _triplets(full["train"])
    assert len(full["train"]) == 3000
    assert 12_000 <= len(triplets) <= 20_000
    objects, relations = _ends(triplets), Counter(r for _, r, _ in triplets)
    assert set(objects) == set(chosen_classes(0)) and set(relations) == set(RELATION_NAMES)
    assert max(objects.values()) >= 500 * min(objects.values())
    assert max(relations.values()) >= 1000 * min(relations.values())
    assert min(objects.values()) <= 2 and min(relations.values()) <= 2
    assert relations[LEFT] == relations[RIGHT] > 0.25 * len(triplets)


def test_training_counts_are_straight_in_a_log_log_plot(full):
    counts = np.array(sorted(_ends(_triplets(full["train"])).values(), reverse=True), dtype=float)
    ranks = np.arange(1, len(counts) + 1) + 12.0
    assert np.corrcoef(np.log(ranks), np.log(counts))[0, 1] < -0.985


def test_test_split_has_20_examples_of_every_class_in_each_role(full):
    for split, least in (("test", 20), ("val", 5)):
        triplets = _triplets(full[split])
        for role, names in enumerate((chosen_classes(0), RELATION_NAMES, chosen_classes(0))):
            counts = Counter(triplet[role] for triplet in triplets)
            assert min(counts[name] for name in names) >= least
        ends = _ends(triplets)
        assert max(ends.values()) < 0.06 * sum(ends.values()), "the head swamps the split"


def test_test_split_has_triplets_that_training_lacks_and_some_that_it_has(full):
    train, test = set(_triplets(full["train"])), set(_triplets(full["test"]))
    assert len(test - train) > 500 and len(test & train) > 100


def test_every_triplet_is_possible_and_pairs_may_hold_two_relations(full):
    twice = 0
    for plans in full.values():
        for plan in plans:
            assert 1 <= len(plan.groups) <= MOST_GROUPS + 2
            assert plan.relations()
            for subject, relation, object_ in set(plan.triplets()):
                assert possible(subject, relation, object_), (subject, relation, object_)
            ends = Counter(frozenset(row[::2]) for row in plan.relations())
            twice += sum(group.relation != "" and bool(group.also) for group in plan.groups)
            assert len(plan.relations()) == len(set(plan.relations())) and max(ends.values()) <= 4
    assert twice > 100


@pytest.mark.parametrize(("images", "classes"), [(40, 0), (60, 0), (60, 30), (200, 50)])
def test_small_settings_relax_and_stay_long_tailed(images, classes):
    train = _triplets(plan_images(training_targets(images, classes), images, 1, "train"))
    objects, relations = _ends(train), Counter(r for _, r, _ in train)
    assert set(objects) == set(chosen_classes(classes))
    assert max(objects.values()) >= 10 * min(objects.values())
    assert relations.most_common(2)[0][0] in (LEFT, RIGHT)
    test = plan_images(evaluation_targets("test", images, 20, classes), images, 1, "test")
    assert len(test) == images and all(plan.relations() for plan in test)


def test_plans_depend_on_the_seed_alone():
    plans = [_triplets(plan_images(training_targets(40), 40, seed, "train")) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize(("ranks", "total", "smallest"), [(108, 32_000, 2), (23, 6000, 2), (30, 640, 1), (10, 3, 1)])
def test_zipf_counts(ranks, total, smallest):
    counts = zipf_counts(ranks, total, smallest, 5.0)
    assert (np.diff(counts) <= 0).all() and counts[-1] == smallest
    assert abs(counts.sum() - max(total, ranks * smallest)) <= max(ranks, 0.02 * total)


def test_free_pairs_use_all_classes_and_relations_equally():
    pairs = balanced_pairs(2500, 3)
    relations, objects = Counter(r for _, r, _ in pairs), _ends(pairs)
    assert len(relations) == len(RELATION_NAMES) and max(relations.values()) - min(relations.values()) <= 1
    assert set(objects) == set(chosen_classes(0)) and max(objects.values()) < 1.5 * min(objects.values())
    assert all(possible(*pair) for pair in pairs)
