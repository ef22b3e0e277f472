"""Features that exceed memory: epochs read in blocks, a window of steps ahead, with the values that are stored."""

import numpy as np
import pandas as pd
import pytest

from workbench.processes import Processes
from workbench.recognition import stored_features
from workbench.recognition.batches import BalancedBatches, RealBatches
from workbench.recognition.mixed_batches import MixedBatches
from workbench.recognition.scene_features import ImageScenes, OwnScenes
from workbench.recognition.stored_features import FeatureRows
from workbench.regions.feature_store import FeatureStore
from workbench.regions.feature_store_writer import FeatureStoreWriter
from workbench.regions.generated_features import GeneratedFeatures
from workbench.scenes.relations import rows_by_class
from workbench.scenes.vocabulary import ROLES

N, BOXES, DIMENSION = 3000, 700, 6


@pytest.fixture(scope="module", params=["box", "union"])
def store(request, tmp_path_factory):
    """Relations in the order of their images, each of which has boxes of its own that they share."""
    draw = np.random.default_rng(0)
    image = np.sort(draw.integers(0, 100, N))
    box_image = np.repeat(np.arange(100), BOXES // 100)
    ends = {f"{role}_box": 7 * image + draw.integers(0, 7, N) for role in ("subject", "object")}
    ends = ends if request.param == "box" else dict.fromkeys(ends, np.arange(N))
    labels = {"subject": draw.integers(0, 7, N), "relation": draw.integers(0, 4, N), "object": draw.integers(0, 7, N)}
    boxes = pd.DataFrame({"image": box_image, **dict.fromkeys(("x1", "y1", "x2", "y2"), np.float32(0)),
                          "object_class": 0})  # fmt: skip
    boxes = boxes if request.param == "box" else boxes.iloc[np.arange(N) % BOXES].reset_index(drop=True)
    names = pd.DataFrame({"image_id": range(100), "file_name": "none.jpg", "width": 1, "height": 1})
    folder = tmp_path_factory.mktemp("store") / "train"
    writer = FeatureStoreWriter(
        folder, images=names, boxes=boxes, relations=pd.DataFrame({"image": image, **ends, **labels}),
        dimension=DIMENSION, encoder="made-up", entity_region=request.param,
    )  # fmt: skip
    if request.param == "box":
        writer.write_boxes(0, draw.standard_normal((BOXES, DIMENSION)))
    writer.write_unions(0, draw.standard_normal((N, DIMENSION)))
    writer.finish()
    return FeatureStore.open(folder)


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of 400 rows with three regions."""
    monkeypatch.setattr(stored_features, "BYTES_PER_WINDOW", 400 * 3 * DIMENSION * 2)


def disk_and_memory(store):
    disk, memory = (FeatureRows(store, "train", gigabytes) for gigabytes in (0.0, 1.0))
    assert disk.by_blocks and not memory.by_blocks and disk.order != memory.order
    return disk, memory


def rows_of(batches, features):
    """Which rows each batch shows, told by their unions; all else must be theirs."""
    unions = features(np.arange(N))[1]
    known = {union.tobytes(): row for row, union in enumerate(unions)}
    found = []
    for batch in batches:
        rows = np.array([known[union.tobytes()] for union in batch.features[1]], dtype=int)
        for ours, stored in zip(batch.features, features(rows), strict=True):
            assert ours.dtype == np.float16 and np.array_equal(ours, stored)
        found.append(rows)
    return found


@pytest.mark.parametrize("batch_size", [1000, 64, 7])
def test_an_epoch_by_blocks_shows_every_row_once(store, small_windows, batch_size):
    disk, memory = disk_and_memory(store)
    source = RealBatches(disk, batch_size, seed=1)
    rows = rows_of(source.batches(1), memory)
    assert sorted(np.concatenate(rows).tolist()) == list(range(N)) and len(rows) == source.steps_per_epoch
    for batch, numbers in zip(source.batches(1), rows, strict=True):
        assert all(np.array_equal(batch.labels[role], disk.labels[role][numbers]) for role in ROLES)
    assert not np.array_equal(rows[0], rows_of(source.batches(2), memory)[0])


def test_a_window_is_read_in_blocks_and_each_box_once(store, small_windows, monkeypatch):
    disk, _ = disk_and_memory(store)
    read = {"union": [], "box": []}
    for region, asked in read.items():
        honest = getattr(FeatureStore, region)

        def watched(self, rows, dtype=np.float32, honest=honest, asked=asked):
            asked.append(np.asarray(rows))
            return honest(self, rows, dtype)

        monkeypatch.setattr(FeatureStore, region, watched)
    list(RealBatches(disk, 50, seed=1).batches(1))
    assert sum(map(len, read["union"])) == N
    for rows in read["union"]:
        assert (np.diff(rows) > 0).all() and len(np.unique(rows // 256)) <= len(rows) // 256 + 3
    for boxes in read["box"]:
        assert (np.diff(boxes) > 0).all()
    assert store.entity_region == "union" or sum(map(len, read["box"])) < N / 2


@pytest.mark.parametrize("first", [1, 13, 46])
def test_an_epoch_goes_on_at_any_step(store, small_windows, first):
    disk, memory = disk_and_memory(store)
    scenes = ImageScenes(disk)
    for source in (RealBatches(disk, 64, 1), RealBatches(disk, 64, 1, scenes), BalancedBatches(disk, 192, 1)):
        whole = rows_of(source.batches(3), memory)
        later = rows_of(source.batches(3, first), memory)
        assert len(whole) == first + len(later)
        assert all(np.array_equal(ours, other) for ours, other in zip(whole[first:], later, strict=True))


def test_images_stay_together_and_their_scenes_are_those_in_memory(store, small_windows):
    disk, memory = disk_and_memory(store)
    scenes, source = ImageScenes(memory), RealBatches(disk, 64, 2, ImageScenes(disk))
    shown = []
    for batch, rows in zip(source.batches(1), rows_of(source.batches(1), memory), strict=True):
        for ours, stored in zip(batch.scenes, scenes(rows), strict=True):
            assert np.array_equal(ours, stored)
        shown.append(rows)
    images = store.relations["image"].to_numpy()[np.concatenate(shown)]
    assert (np.diff(images) != 0).sum() + 1 == len(np.unique(images))
    assert sorted(np.concatenate(shown).tolist()) == list(range(N))


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("scenes", [False, True])
def test_parts_of_several_processes_make_the_batch_of_one(store, small_windows, count, scenes):
    disk, memory = disk_and_memory(store)
    for features in (disk, memory):
        source = RealBatches(features, 299, 4, ImageScenes(features) if scenes else None)
        parts = [list(source.batches(1, 8, Processes(rank, count))) for rank in range(count)]
        for step, batch in enumerate(source.batches(1, 8)):
            own = [part[step] for part in parts]
            for region in range(3):
                joined = np.concatenate([part.features[region] for part in own])
                assert np.array_equal(joined, batch.features[region])
            for part in own:
                assert all(np.array_equal(part.labels[role], batch.labels[role]) for role in ROLES)
                assert not scenes or len(part.scenes.of_row) == len(part.features[0])


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_mixed_batches_are_the_same_from_disk_and_in_parts(store, small_windows, share):
    """Generated rows are a store's too here, so that they exceed memory as well."""
    disk, memory = disk_and_memory(store)
    active = {role: np.arange(N) % 3 == number for number, role in enumerate(ROLES)}
    options = {"batch_size": 50, "real_share": share, "seed": 3}
    source = MixedBatches(disk, disk, active, scenes=(OwnScenes(disk), ImageScenes(disk)), **options)
    whole, parts = list(source.batches(2)), [list(source.batches(2, 0, Processes(rank, 2))) for rank in (0, 1)]
    rows = rows_of(whole, memory)
    once = [numbers[batch.generated == (share < 1)] for numbers, batch in zip(rows, whole, strict=True)]
    assert sorted(np.concatenate(once).tolist()) == list(range(N))
    for batch, numbers, own in zip(whole, rows, zip(*parts, strict=True), strict=True):
        for region in range(3):
            assert np.array_equal(np.concatenate([part.features[region] for part in own]), batch.features[region])
        assert sum(len(part.scenes.of_row) for part in own) == len(numbers)
        for role in ROLES:
            assert np.array_equal(batch.labels[role], memory.labels[role][numbers])
            assert np.array_equal(batch.active[role], active[role][numbers] | ~batch.generated)
        own_scenes = batch.scenes.lengths[batch.scenes.of_row[batch.generated]]
        assert (own_scenes == 1).all()
    assert np.array_equal(rows_of(source.batches(2, 20), memory)[0], rows[20])


def test_generated_rows_are_read_a_window_at_a_time(small_data, monkeypatch):
    train = FeatureStore.open(small_data.features / "train")
    monkeypatch.setattr(stored_features, "BYTES_PER_WINDOW", 30 * 3 * train.dimension * 2)
    for entities in ("stored", "union"):
        rows = GeneratedFeatures.open(small_data.generated, train, entities)
        disk, memory = (FeatureRows(rows, "made", gigabytes) for gigabytes in (0.0, 1.0))
        chosen = np.array([3, 4, 70, 199])
        window, order = disk.window(chosen), np.array([199, 3, 70, 70])
        assert disk.by_blocks
        for ours, stored in zip(window(order), memory(order), strict=True):
            assert np.array_equal(ours, stored)


def test_few_rows_keep_their_order_whatever_the_memory(store):
    disk, memory = (FeatureRows(store, "train", gigabytes) for gigabytes in (0.0, 1.0))
    assert not disk.by_blocks
    for ours, other in zip(RealBatches(disk, 64, 0).batches(1), RealBatches(memory, 64, 0).batches(1), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours.features, other.features, strict=True))


@pytest.mark.parametrize("n", [0, 1, 300])
def test_rows_by_class(n):
    classes = np.random.default_rng(n).integers(3, 12, n)
    found = rows_by_class(classes)
    assert list(found) == sorted(set(classes.tolist()))
    assert all(rows.tolist() == np.flatnonzero(classes == number).tolist() for number, rows in found.items())
