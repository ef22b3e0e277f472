import os
from pathlib import Path

import numpy as np
import pytest

from drawn_scenes.arrangement import arrange
from drawn_scenes.catalogue import _TEMPLATES, FAMILY_OF, draw_object
from drawn_scenes.long_tail import POPULARITY
from drawn_scenes.pose import FREE, Pose
from drawn_scenes.prepare import FAMILIES, OBJECT_NAMES, RELATION_NAMES, contact_sheet, relation_sheet
from drawn_scenes.rules import ALSO, ALSO_SWAPPED, LEFT, RIGHT, allowed, possible
from workbench.randomness import generator

SHARED = Path(os.environ.get("WORKBENCH_SHARED", Path(__file__).resolve().parents[4] / "shared"))
GQA = SHARED / "data" / "gqa"
STANCES = ("sit", "lie", "ride", "kick", "walk", "lean", "fly")
POSES = (FREE, *map(Pose, STANCES), Pose(head_down=True), Pose(opened=True))
TOUCHING = {"on", "sitting on", "standing on", "lying on", "riding", "wearing", "covering", "inside", "holding"}


@pytest.mark.skipif(not GQA.is_dir(), reason="GQA's names are not on this machine (set WORKBENCH_SHARED)")
def test_names_come_from_gqa():
    assert set(OBJECT_NAMES) <= set((GQA / "objects.txt").read_text().splitlines())
    assert set(RELATION_NAMES) <= set((GQA / "relations.txt").read_text().splitlines())


def test_there_are_about_100_classes_of_at_least_12_families_and_24_relations():
    assert 95 <= len(OBJECT_NAMES) == len(set(OBJECT_NAMES)) <= 112
    assert 22 <= len(RELATION_NAMES) == len(set(RELATION_NAMES)) <= 26
    assert len(FAMILIES) >= 12
    assert sorted(POPULARITY) == sorted(OBJECT_NAMES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_class_is_drawn_whole_and_never_twice_alike(family):
    for name in FAMILIES[family]:
        _look_at_class(name)


def _look_at_class(name):
    images = []
    for draw, pose in enumerate(POSES):
        rng = generator(3, "whole", name, draw)
        board = _TEMPLATES[FAMILY_OF[name]].draw(name, rng, 60.0, pose).image.getchannel(3)
        alpha = np.asarray(board)
        edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert not edge.any(), f"{name} runs over the edge of its board in {pose}"
        sprite = draw_object(name, generator(3, "whole", name, draw), 1.0, pose)
        assert min(sprite.width, sprite.height) >= 6, name
        assert (np.asarray(sprite.image.getchannel("A")) > 128).mean() > 0.12, name
        images.append(np.asarray(draw_object(name, generator(4, name, draw)).image.resize((24, 24))))
    different = [np.abs(images[0].astype(int) - image).mean() for image in images[1:]]
    assert max(different) > 3, name


@pytest.mark.parametrize("scale", [0.06, 0.2, 3.0])
def test_classes_are_drawn_at_any_scale(scale):
    for name in OBJECT_NAMES:
        sprite = draw_object(name, generator(1, name, scale), scale)
        assert max(sprite.width, sprite.height) >= 2


def test_the_same_generator_draws_the_same_sprite():
    for name in OBJECT_NAMES[::9]:
        first, second = (draw_object(name, generator(5, name)) for _ in range(2))
        assert first.image.tobytes() == second.image.tobytes()
        assert first.points == second.points


def test_a_relation_is_visible_in_the_layout():
    for relation in RELATION_NAMES:
        pairs = np.argwhere(allowed(relation))
        for draw in range(12):
            rng = generator(6, relation, draw)
            subject, object_ = (OBJECT_NAMES[i] for i in pairs[rng.integers(len(pairs))])
            group = arrange(subject, relation, object_, rng)
            roles = [item.role for item in group.placed if item.role]
            assert sorted(roles) == ["object", "subject"], (subject, relation, object_)
            boxes = {item.role: np.array(item.box) for item in group.placed if item.role}
            assert _visible(relation, boxes["subject"], boxes["object"], roles), (subject, relation, object_)


def _visible(relation, s, o, drawn_in_order):
    shared = min(s[2], o[2]) - max(s[0], o[0]), min(s[3], o[3]) - max(s[1], o[1])
    if relation == LEFT:
        return s[2] < o[0]
    if relation == RIGHT:
        return o[2] < s[0]
    if relation == "above":
        return s[3] < o[1]
    if relation == "below":
        return o[3] < s[1]
    if relation == "behind":
        return min(shared) > 0 and drawn_in_order == ["subject", "object"]
    if relation == "in front of":
        return min(shared) > 0 and drawn_in_order == ["object", "subject"]
    if relation == "hanging from":
        return s[3] <= 1
    if relation in ("pulling", "near"):
        return shared[0] < 12
    touches = relation not in TOUCHING or min(shared) > -3
    above_its_foot = relation not in TOUCHING - {"wearing", "holding"} or (s[3] < o[3] + 2 and s[1] < o[3] - 5)
    return touches and above_its_foot


def test_rules_are_selectional():
    assert possible("man", "wearing", "hat") and not possible("hat", "wearing", "man")
    assert not possible("man", "wearing", "table") and not possible("table", "riding", "horse")
    assert possible("girl", "on", "horse"), "who rides a horse is on it"
    assert not possible("horse", "on", "girl")
    for relation in RELATION_NAMES:
        assert allowed(relation).any() and not allowed(relation).diagonal().any()
    for also in (*ALSO.values(), *ALSO_SWAPPED.values()):
        assert set(also) <= set(RELATION_NAMES)


def test_the_sheets_show_everything():
    assert np.asarray(contact_sheet(1)).std() > 20
    assert np.asarray(relation_sheet(1, examples=1)).std() > 10
