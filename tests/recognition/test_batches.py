"""Batches of an epoch: order by images, class-balanced draws, and the curriculum."""

import numpy as np
import pytest

from workbench.recognition.batches import BalancedBatches, RealBatches
from workbench.recognition.mixed_batches import MixedBatches
from workbench.recognition.scene_features import ImageScenes
from workbench.scenes.vocabulary import ROLES


class Rows:
    """Rows whose single feature is their number."""

    name, order, by_blocks = "made-up", "rows", False

    def __init__(self, n, classes=4, seed=0):
        import pandas as pd

        draw = np.random.default_rng(seed)
        share = (1 / np.arange(1, classes + 1)) ** 2
        self.labels = {role: draw.choice(classes, n, p=share / share.sum()) for role in ROLES}
        self.relations = pd.DataFrame({**self.labels, "image": np.sort(draw.integers(0, max(1, n // 4), n))})

    def __len__(self):
        return len(self.relations)

    def __call__(self, rows):
        return (np.asarray(rows, dtype=np.float32)[:, None],) * 3


def shown(batches, epoch):
    return np.concatenate([batch.features[0][:, 0] for batch in batches.batches(epoch)]).astype(int)


@pytest.mark.parametrize(("n", "batch_size"), [(1, 4), (37, 8), (64, 64)])
def test_with_scenes_each_row_comes_once_and_images_stay_together(n, batch_size):
    rows = Rows(n)
    batches = RealBatches(rows, batch_size, seed=3, scenes=ImageScenes(rows))
    order = shown(batches, 1)
    assert sorted(order.tolist()) == list(range(n)) and len(list(batches.batches(1))) == batches.steps_per_epoch
    images = rows.relations["image"].to_numpy()[order]
    assert (images[1:] != images[:-1]).sum() + 1 == len(np.unique(images))
    assert shown(batches, 1).tolist() == order.tolist()
    for batch in batches.batches(1):
        scenes = np.split(batch.scenes.tokens[:, 0], np.cumsum(batch.scenes.lengths)[:-1])
        for row, scene in zip(batch.features[0][:, 0], batch.scenes.of_row, strict=True):
            assert row in scenes[scene]  # each row finds itself among the tokens of its scene


@pytest.mark.parametrize("classes", [2, 5])
def test_balanced_batches_draw_every_class_of_a_role_alike(classes):
    rows = Rows(400, classes)
    seen = {role: [] for role in ROLES}
    batches = BalancedBatches(rows, 90, seed=1)
    for epoch in range(1, 9):
        for batch in batches.batches(epoch):
            assert (np.stack([batch.active[role] for role in ROLES]).sum(axis=0) == 1).all()
            for role in ROLES:
                seen[role] += batch.labels[role][batch.active[role]].tolist()
    for role in ROLES:
        share = np.bincount(seen[role], minlength=classes) / len(seen[role])
        assert np.allclose(share, 1 / classes, atol=0.05)


@pytest.mark.parametrize(("epochs", "real_share"), [(2, 0.0), (3, 0.5), (1, 0.25)])
def test_easy_rows_come_in_the_first_half_and_hard_ones_in_the_second(epochs, real_share):
    generated, real = Rows(50), Rows(30, seed=1)
    easy = np.arange(50) < 20
    batches = MixedBatches(generated, real, {role: np.ones(50, bool) for role in ROLES}, batch_size=8, seed=0,
                           real_share=real_share, easy=easy, epochs=epochs)  # fmt: skip
    plain = MixedBatches(generated, real, {role: np.ones(50, bool) for role in ROLES}, batch_size=8, seed=0,
                         real_share=real_share)  # fmt: skip
    rows = [batch.features[0][batch.generated, 0].astype(int)
            for epoch in range(1, epochs + 1) for batch in batches.batches(epoch)]  # fmt: skip
    half = sum(len(part) for part in rows) / 2
    positions = np.cumsum([0, *map(len, rows)])[:-1]
    for part, position in zip(rows, positions, strict=True):
        assert easy[part].all() if position < half - 8 else (not easy[part].any() or position < half + 8)
    # The curriculum shows as many rows as fine-tuning without one.
    assert sum(map(len, rows)) == epochs * sum(batch.generated.sum() for batch in plain.batches(1))
    # In one epoch half of the steps may not suffice for all hard rows.
    assert epochs == 1 or set(np.concatenate(rows)) == set(range(50))


def test_a_curriculum_with_nothing_to_order_is_none():
    generated, active = Rows(10), {role: np.ones(10, bool) for role in ROLES}
    options = {"batch_size": 4, "real_share": 0.0, "seed": 0, "epochs": 2}
    plain = shown(MixedBatches(generated, Rows(5), active, **options), 1)
    assert (
        shown(MixedBatches(generated, Rows(5), active, easy=np.ones(10, bool), **options), 1).tolist() == plain.tolist()
    )
