import numpy as np
import pytest

from workbench.randomness import generator
from workbench.scenes.drawn import FAMILIES, OBJECT_NAMES, RELATION_NAMES, contact_sheet
from workbench.scenes.drawn.arrangement import arrange
from workbench.scenes.drawn.catalogue import _TEMPLATES, FAMILY_OF, draw_object
from workbench.scenes.drawn.contact_sheet import relation_sheet
from workbench.scenes.drawn.long_tail import POPULARITY
from workbench.scenes.drawn.pose import FREE, Pose
from workbench.scenes.drawn.rules import ALSO, ALSO_SWAPPED, LEFT, RIGHT, allowed, possible

STANCES = ("sit", "lie", "ride", "kick", "walk", "lean", "fly")
POSES = (FREE, *map(Pose, STANCES), Pose(head_down=True), Pose(opened=True))
TOUCHING = {"on", "sitting on", "standing on", "lying on", "riding", "wearing", "covering", "inside", "holding"}


def test_names_come_from_gqa(real_data):
    assert set(OBJECT_NAMES) <= set((real_data / "gqa/objects.txt").read_text().splitlines())
    assert set(RELATION_NAMES) <= set((real_data / "gqa/relations.txt").read_text().splitlines())


def test_there_are_about_100_classes_of_at_least_12_families_and_24_relations():
    assert 95 <= len(OBJECT_NAMES) == len(set(OBJECT_NAMES)) <= 112
    assert 22 <= len(RELATION_NAMES) == len(set(RELATION_NAMES)) <= 26
    assert len(FAMILIES) >= 12
    assert sorted(POPULARITY) == sorted(OBJECT_NAMES)


@pytest.mark.parametrize("name", OBJECT_NAMES)
def test_a_class_is_drawn_whole_and_never_twice_alike(name):
    images = []
    for draw, pose in enumerate(POSES):
        rng = generator(3, "whole", name, draw)
        board = _TEMPLATES[FAMILY_OF[name]].draw(name, rng, 60.0, pose).image.getchannel("A")
        alpha = np.asarray(board)
        edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert not edge.any(), f"{name} runs over the edge of its board in {pose}"
        sprite = draw_object(name, generator(3, "whole", name, draw), 1.0, pose)
        assert min(sprite.width, sprite.height) >= 6
        assert (np.asarray(sprite.image.getchannel("A")) > 128).mean() > 0.12
        images.append(np.asarray(draw_object(name, generator(4, name, draw)).image.resize((24, 24))))
    different = [np.abs(images[0].astype(int) - image).mean() for image in images[1:]]
    assert max(different) > 3


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


@pytest.mark.parametrize("relation", RELATION_NAMES)
def test_a_relation_is_visible_in_the_layout(relation):
    pairs = np.argwhere(allowed(relation))
    for draw in range(12):
        rng = generator(6, relation, draw)
        subject, object_ = (OBJECT_NAMES[i] for i in pairs[rng.integers(len(pairs))])
        group = arrange(subject, relation, object_, rng)
        roles = [item.role for item in group.placed if item.role]
        assert sorted(roles) == ["object", "subject"]
        boxes = {item.role: np.array(item.box) for item in group.placed if item.role}
        _look(relation, boxes["subject"], boxes["object"], roles)


def _look(relation, s, o, drawn_in_order):
    shared = min(s[2], o[2]) - max(s[0], o[0]), min(s[3], o[3]) - max(s[1], o[1])
    if relation in (LEFT, RIGHT):
        assert (s[2] < o[0]) if relation == LEFT else (o[2] < s[0])
    elif relation in ("above", "below"):
        assert (s[3] < o[1]) if relation == "above" else (o[3] < s[1])
    elif relation in ("behind", "in front of"):
        assert min(shared) > 0
        assert drawn_in_order == (["subject", "object"] if relation == "behind" else ["object", "subject"])
    elif relation == "hanging from":
        assert s[3] <= 1
    elif relation in (
        "on",
        "sitting on",
        "standing on",
        "lying on",
        "riding",
        "wearing",
        "covering",
        "inside",
        "holding",
    ):
        assert min(shared) > -3
    elif relation in ("pulling", "near"):
        assert shared[0] < 12
    if relation in TOUCHING - {"wearing", "holding"}:
        assert s[3] < o[3] + 2 and s[1] < o[3] - 5


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
