"""What a step shows: every row once an epoch, images together, balanced draws, generated rows with their share of real.
And scene tokens: which rows share an image, and what a generated relation is shown.

Features are row numbers here, so that a batch tells which rows it holds; from disk they come in windows of few rows.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.recognition.batches import BoxImageScenes, ImageScenes, OwnScenes, RealBatches, RelationRows, scenes_of
from workbench.recognition.config import FineTuningConfig
from workbench.recognition.finetuning import MixedBatches
from workbench.recognition.lsvru import MOST_TOKENS
from workbench.recognition.rebalancing import BalancedBatches
from workbench.regions.feature_rows import FeatureRows
from workbench.scenes.vocabulary import ROLES, Vocabulary

NAMES = Vocabulary(tuple("abcdefg"), tuple("abcdefg"))


class Numbered:
    """Features (n, 1) of relations that are their numbers; of generated ones with a minus."""

    folder, dimension, entity_region = "made-up", 1, "box"

    def __init__(self, rows, classes=4, seed=0, sign=1):
        draw = np.random.default_rng(seed)
        share = (1 / np.arange(1, classes + 1)) ** 2
        labels = {role: draw.choice(classes, rows, p=share / share.sum()) for role in ROLES}
        self.relations = pd.DataFrame({**labels, "image": np.sort(draw.integers(0, max(1, rows // 4), rows))})
        self.sign = sign

    def __len__(self):
        return len(self.relations)

    def subject(self, rows, dtype=np.float32):
        return (self.sign * (np.asarray(rows)[:, None] + 1)).astype(dtype)

    union = object = subject


def numbered(rows, window=None, **options):
    """Rows in memory, or read in windows of ``window`` rows."""
    features = Numbered(rows, **options)
    found = RelationRows(features, NAMES)
    if window is not None:
        sizes = {"memory_gigabytes": 0.0, "bytes_per_window": 6 * window}
        found.features = FeatureRows.of_relations(features, "made-up", **sizes)
        assert found.features.by_blocks
    return found


def tuning(batch_size, real_replay=0.0, epochs=2):
    return FineTuningConfig(batch_size=batch_size, real_replay=real_replay, epochs=epochs)


def shown(batches, steps):
    parts = [batches(step).features[1][:, 0] for step in steps]
    batches.close()
    return np.concatenate(parts).astype(int)


def by_scene(scenes):
    assert scenes.lengths.sum() == len(scenes.tokens)
    return [part.astype(int).tolist() for part in np.split(scenes.tokens, np.cumsum(scenes.lengths)[:-1])]


def assert_rows_lie_in_their_scenes(batch):
    scenes = [[token[0] for token in scene] for scene in by_scene(batch.scenes)]
    assert all(row in scenes[scene] for row, scene in zip(batch.features[0][:, 0], batch.scenes.of_row, strict=True))


@pytest.mark.parametrize("window", [None, 70])
@pytest.mark.parametrize("batch_size", [7, 64, 1000])
def test_an_epoch_shows_every_row_once(window, batch_size):
    batches = RealBatches(numbered(300, window), batch_size, seed=3)
    steps = range(2 * batches.steps_per_epoch)
    found = shown(batches, steps)
    assert sorted(found[:300]) == sorted(found[300:600]) == list(range(1, 301))
    assert found[:300].tolist() != found[300:600].tolist()
    again = RealBatches(numbered(300, window), batch_size, seed=3)
    assert shown(again, steps[1:]).tolist() == found[batch_size if batch_size < 300 else 300 :].tolist()


@pytest.mark.parametrize("window", [None, 70])
@pytest.mark.parametrize("batch_size", [8, 64, 400])
def test_with_scenes_each_row_comes_once_and_images_stay_together(window, batch_size):
    rows = numbered(300, window)
    batches = RealBatches(rows, batch_size, seed=3, scenes=ImageScenes(rows))
    order = []
    for step in range(batches.steps_per_epoch):
        batch = batches(step)
        assert_rows_lie_in_their_scenes(batch)
        order += (batch.features[0][:, 0].astype(int) - 1).tolist()
    batches.close()
    images = rows.relations["image"].to_numpy()[order]
    assert sorted(order) == list(range(300)) and (images[1:] != images[:-1]).sum() + 1 == len(np.unique(images))


@pytest.mark.parametrize("parts", [2, 3])
def test_shares_of_a_step_make_its_batch(parts):
    real, made = numbered(90), numbered(50, sign=-1)
    active = {role: np.arange(50) % 3 == number for number, role in enumerate(ROLES)}
    for batches in (RealBatches(real, 31, 0), BalancedBatches(real, 30, 0, ImageScenes(real)),
                    MixedBatches(made, real, active, tuning(20, 0.4))):  # fmt: skip
        whole, shares = batches(4), [batches(4, part, parts) for part in range(parts)]
        joined = np.concatenate([share.features[2][:, 0] for share in shares])
        assert sorted(joined) == sorted(whole.features[2][:, 0])
        for role in ROLES:
            assert sum(len(share.labels[role]) for share in shares) == len(whole.labels[role])
            assert sum(share.active[role].sum() for share in shares) == whole.active[role].sum()
        batches.close()


@pytest.mark.parametrize("classes", [2, 5])
def test_balanced_batches_draw_every_class_of_a_role_alike(classes):
    rows = numbered(400, classes=classes)
    seen = {role: [] for role in ROLES}
    batches = BalancedBatches(rows, 90, seed=1)
    for step in range(8 * batches.steps_per_epoch):
        batch = batches(step)
        assert (np.stack([batch.active[role] for role in ROLES]).sum(axis=0) == 1).all()
        for role in ROLES:
            seen[role] += batch.labels[role][batch.active[role]].tolist()
    for role in ROLES:
        share = np.bincount(seen[role], minlength=classes) / len(seen[role])
        assert np.allclose(share, 1 / classes, atol=0.05)


@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(("generated", "real"), [(23, 50), (40, 29), (48, 48)])
def test_an_epoch_shows_every_generated_row_once_and_the_share_of_real_rows(window, share, generated, real):
    made, stored = numbered(generated, window, sign=-1), numbered(real, window, seed=1)
    active = {role: np.zeros(generated, dtype=bool) for role in ROLES}
    batches = MixedBatches(made, stored, active, tuning(8, share),
                           scenes=(OwnScenes(made), ImageScenes(stored)))  # fmt: skip
    found = [batches(step) for step in range(batches.steps_per_epoch)]
    batches.close()
    for batch in found:
        numbers = batch.features[1][:, 0].astype(int)
        is_real = numbers > 0
        assert is_real.mean() == share and np.array_equal(batch.generated, ~is_real)
        assert all(np.array_equal(batch.active[role], is_real) for role in ROLES)
        assert (batch.scenes.lengths[batch.scenes.of_row[~is_real]] == 1).all()
        assert_rows_lie_in_their_scenes(batch)
        for role in ROLES:
            for rows, here in ((made, ~is_real), (stored, is_real)):
                assert np.array_equal(batch.labels[role][here], rows.labels[role][np.abs(numbers[here]) - 1])
    numbers = np.concatenate([batch.features[1][:, 0] for batch in found]).astype(int)
    once = numbers[numbers > 0][:real] if share == 1 else -numbers[numbers < 0][:generated]
    assert sorted(once) == list(range(1, len(once) + 1)) and len(once) == (real if share == 1 else generated)


def test_few_generated_rows_make_a_small_batch_with_the_same_share():
    active = {role: np.ones(5, dtype=bool) for role in ROLES}
    batches = MixedBatches(numbered(5, sign=-1), numbered(50), active, tuning(64, 0.5))
    assert batches.steps_per_epoch == 1 and sorted(batches(3).features[0][:5, 0]) == [-5, -4, -3, -2, -1]
    assert batches(3).generated.tolist() == [True] * 5 + [False] * 5


@pytest.mark.parametrize(("epochs", "real_share"), [(2, 0.0), (3, 0.5), (1, 0.25)])
def test_easy_rows_come_in_the_first_half_and_hard_ones_in_the_second(epochs, real_share):
    made, easy = numbered(50, sign=-1), np.arange(50) < 20
    active = {role: np.ones(50, bool) for role in ROLES}
    batches = MixedBatches(made, numbered(30), active, tuning(8, real_share, epochs), easy)
    steps = epochs * batches.steps_per_epoch
    shown_rows = [-batches(step).features[0][batches(step).generated, 0].astype(int) - 1 for step in range(steps)]
    for step, rows in enumerate(shown_rows):
        assert easy[rows].all() if step < steps / 2 else not easy[rows].any()
    # In one epoch half of the steps may not suffice for all hard rows.
    assert epochs == 1 or set(np.concatenate(shown_rows)) == set(range(50))


def test_a_curriculum_with_nothing_to_order_is_none():
    active = {role: np.ones(10, bool) for role in ROLES}
    plain = MixedBatches(numbered(10), numbered(5), active, tuning(4))
    all_easy = MixedBatches(numbered(10), numbered(5), active, tuning(4), np.ones(10, bool))
    assert shown(plain, range(4)).tolist() == shown(all_easy, range(4)).tolist()


class Table:
    """Rows whose features are their own number, so that a token tells where it comes from."""

    name = "made-up"

    def __init__(self, relations):
        self.relations = pd.DataFrame(relations)

    def features(self, rows):
        values = np.asarray(rows, dtype=np.float32)[:, None] + 1
        return values, values + 1000, values + 2000


@pytest.mark.parametrize("images", [[3, 3, 7, 3, 5], [0], [4] * 130, np.random.default_rng(0).integers(0, 9, 200)])
def test_a_scene_holds_the_first_hundred_relations_of_its_image_in_the_order_of_the_table(images):
    images, scenes = np.array(images), ImageScenes(Table({"image": images}))
    rows = np.random.default_rng(1).permutation(len(images))[: max(1, len(images) // 2)]
    found = scenes(rows)
    assert len(found.lengths) == len(np.unique(images[rows]))
    for row, scene in zip(rows, found.of_row, strict=True):
        expected = np.flatnonzero(images == images[row])[:MOST_TOKENS]
        assert [token[0] - 1 for token in by_scene(found)[scene]] == expected.tolist()
    assert sorted(scenes.rows_needed(rows)) == sorted(found.tokens[:, 0].astype(int) - 1)
    assert [len(part) for part in scenes(rows[:0])] == [0, 0, 0]


def test_tokens_are_the_three_features_scene_by_scene():
    found = ImageScenes(Table({"image": [0, 1, 1]}))(np.array([2, 0]))
    assert found.of_row.tolist() == [1, 0]
    assert by_scene(found) == [[[1, 1001, 2001]], [[2, 1002, 2002], [3, 1003, 2003]]]


def test_rows_without_images_are_scenes_of_their_own():
    table = Table({"subject": [4, 5, 6]})
    reader, other = (SimpleNamespace(reads_scenes=reads) for reads in (True, False))
    kinds = [type(scenes_of(*given)) for given in ((reader, table), (reader, Table({"image": [0]})), (other, table))]
    assert kinds == [OwnScenes, ImageScenes, type(None)]
    found = OwnScenes(table)(np.array([2, 0]))
    assert by_scene(found) == [[[3, 1003, 2003]], [[1, 1001, 2001]]] and found.of_row.tolist() == [0, 1]


def test_a_generated_relation_joins_the_image_of_its_kept_entity():
    real = Table({"image": [4, 4, 9]})
    generated = Table({"replaced": ["subject", "object", "subject"], "subject_box": [0, 1, 2], "object_box": [3, 4, 5]})
    image_of_box = np.array([4, 9, 4, 4, 9, 77])  # boxes kept: 3 (image 4), 1 (image 9), 5 (an image without relations)
    found = BoxImageScenes(generated, real, image_of_box)(np.array([0, 1, 2]))
    first = [[token[0] for token in scene] for scene in by_scene(found)]
    assert first == [[1, 1, 2], [2, 3], [3]] and found.of_row.tolist() == [0, 1, 2]
    assert [len(part) for part in BoxImageScenes(generated, real, image_of_box)(np.array([], int))] == [0, 0, 0]


def test_a_generated_relation_and_its_scene_are_a_hundred_tokens_at_most():
    draw = np.random.default_rng(0)
    real = Table({"image": np.sort(draw.choice([0, 0, 0, 0, 3, 5, 8], 400))})
    boxes = draw.integers(0, 50, (30, 2))
    generated = Table({"replaced": ["subject"] * 30, "subject_box": boxes[:, 0], "object_box": boxes[:, 1]})
    image_of_box = draw.integers(0, 10, 50)
    rows = draw.permutation(30)[:20]
    images = real.relations["image"].to_numpy()
    for row, scene in zip(rows, by_scene(BoxImageScenes(generated, real, image_of_box)(rows)), strict=True):
        there = np.flatnonzero(images == image_of_box[boxes[row, 1]])[: MOST_TOKENS - 1]
        assert [token[0] for token in scene] == [row + 1, *(there + 1)]


def test_generated_rows_without_the_columns_of_their_boxes_are_refused():
    with pytest.raises(WorkbenchError, match="made-up: no column object_box, replaced, subject_box"):
        BoxImageScenes(Table({"subject": [0]}), Table({"image": [0]}), np.array([0]))
