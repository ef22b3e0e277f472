"""The block-shuffled stream of rows (exact in distribution, resumable anywhere, near-sequential to read); features by
row, the same in memory and in blocks read ahead, each box once, few windows in memory."""

import threading
import time
import weakref
from contextlib import closing

import numpy as np
import pytest

from tests.refusals import refused
from tests.synthetic import long_tailed, write_split
from workbench.errors import WorkbenchError
from workbench.regions.feature_rows import BlockOrder, FeatureRows, HeldRows, StepFeatures
from workbench.regions.features import FeatureStore

N, DIMENSION = 3000, 6
WINDOW = 400  # rows of three regions


def stream(order, draws):
    windows = -(-draws // order.rows_per_window)
    return np.concatenate([order.window(number) for number in range(windows)])[:draws]


@pytest.mark.parametrize(("rows", "rows_per_window"), [(1, 1), (1, 64), (7, 1), (64, 64), (1000, 64), (5003, 700)])
def test_without_weights_every_row_comes_once_an_epoch(rows, rows_per_window):
    order = BlockOrder(3, rows=rows, rows_per_window=rows_per_window, rows_per_block=16)
    found = stream(order, 3 * rows).reshape(3, rows)
    assert found.dtype == np.int64 and (np.sort(found, axis=1) == np.arange(rows)).all()
    assert rows < 20 or not np.array_equal(found[0], found[1])


@pytest.mark.parametrize("rows", [40, 3000])
def test_rows_are_drawn_in_proportion_to_their_weights(rows):
    weights = np.random.default_rng(rows).exponential(size=rows) ** 2
    weights[::5] = 0
    weights[-1] = 0
    epochs = 60
    order = BlockOrder(0, rows, weights, rows_per_window=512, rows_per_block=32)
    times = np.bincount(stream(order, epochs * rows), minlength=rows)
    expected = epochs * rows * weights / weights.sum()
    assert not times[weights == 0].any()
    drawn = expected > 0
    # The sum of squares of independent draws: chi-squared with as many degrees of freedom.
    statistic = ((times - expected)[drawn] ** 2 / expected[drawn]).sum()
    degrees = drawn.sum() - 1
    assert abs(statistic - degrees) < 6 * np.sqrt(2 * degrees)


def test_draws_of_one_row_are_strewn_over_the_epoch():
    weights = np.ones(20_000)
    weights[[3, 11_111]] = 2000.0
    order = BlockOrder(1, 20_000, weights, rows_per_window=1000)
    for row in (3, 11_111):
        per_window = np.array([(order.window(number) == row).sum() for number in range(20)])
        assert 60 < per_window.mean() < 110 and per_window.max() < 2 * per_window.mean()


@pytest.mark.parametrize("weighted", [False, True])
def test_any_window_can_be_asked_for_first(weighted):
    options = {"rows": 3000, "weights": np.random.default_rng(0).random(3000) if weighted else None}
    orders = [BlockOrder(5, rows_per_window=256, **options) for _ in range(3)]
    ascending = [orders[0].window(number) for number in range(40)]
    for number in (39, 0, 12, 11, 25):  # 11 holds the end of the first epoch
        assert np.array_equal(orders[1].window(number), ascending[number])
    assert np.array_equal(orders[2].window(25), ascending[25])
    other_seed, other_purpose = BlockOrder(6, rows_per_window=256, **options), BlockOrder(5, purpose="b", **options)
    assert not np.array_equal(other_seed.window(0), ascending[0])
    assert not np.array_equal(other_purpose.window(0)[:256], ascending[0])


@pytest.mark.parametrize("weighted", [False, True])
def test_windows_are_read_in_whole_blocks_and_used_in_random_order(weighted):
    rows, window, block = 100_000, 8192, 256
    weights = np.ones(rows) if weighted else None
    order = BlockOrder(2, rows, weights, rows_per_window=window, rows_per_block=block)
    for number in (0, 5):
        used = order.window(number)
        distinct = np.unique(used)
        blocks = np.unique(distinct // block)
        assert len(blocks) <= window / block + 2
        assert not weighted or len(distinct) > 0.5 * len(used)
        # Blocks from all over the features ...
        assert blocks.min() < rows / block / 4 and blocks.max() > rows / block * 3 / 4
        # ... whose rows come evenly in all parts of the window.
        for part in np.split(used, 8):
            assert len(np.unique(part // block)) > 0.95 * len(blocks)
        assert (np.abs(np.diff(used)) < block).mean() < 3 * block / window


def test_what_cannot_be_drawn_is_refused():
    for weights in (np.zeros(3), np.array([1.0, -1]), np.array([np.nan, 1])):
        refused("weights of rows", BlockOrder, 0, len(weights), weights)
    refused("no rows", BlockOrder, 0, rows=0)


def write_store(folder, entity_region="box", encoder="made-up"):
    """Relations in the order of their images, each of which has boxes of its own that they share."""
    draw, image = np.random.default_rng(0), np.arange(N) // 30
    table = long_tailed(N).assign(image=image)
    if entity_region == "box":
        table = table.assign(**{f"{role}_box": 7 * image + draw.integers(0, 7, N) for role in ("subject", "object")})
    return write_split(folder, table, dimension=DIMENSION, entity_region=entity_region, encoder=encoder)


@pytest.fixture(scope="module", params=["box", "union"])
def store(request, tmp_path_factory):
    return write_store(tmp_path_factory.mktemp(request.param), request.param)


def rows_of(store, gigabytes):
    window = WINDOW * 2 * DIMENSION * (3 if store.entity_region == "box" else 1)
    return FeatureRows.of_relations(store, "train", memory_gigabytes=gigabytes, bytes_per_window=window)


@pytest.mark.parametrize("batch_size", [1000, 64, 7])
def test_steps_read_ahead_give_what_the_store_holds(store, batch_size):
    disk, memory = rows_of(store, 0.0), rows_of(store, 1.0)
    assert disk.by_blocks and not memory.by_blocks and len(disk) == N
    order = disk.order(1, batch_size, purpose="test")
    seen = []
    with closing(StepFeatures(disk, order.rows_of_step, batch_size)) as steps:
        for step in [*range(N // batch_size + 3), 2, 1]:
            rows = order.rows_of_step(step)
            expected = [getattr(store, region)(rows, np.float16) for region in ("subject", "union", "object")]
            for ours, held, stored in zip(steps.at(step)(rows), memory(rows), expected, strict=True):
                assert ours.dtype == held.dtype == np.float16
                assert np.array_equal(ours, held) and np.array_equal(ours, stored)
            subject, union, _ = memory(rows)
            assert (subject is union) == (store.entity_region == "union")
            seen.append(rows)
    assert sorted(np.concatenate(seen)[:N].tolist()) == list(range(N))
    assert not np.array_equal(seen[0], memory.order(1, batch_size, purpose="test").rows_of_step(0))


def test_unions_and_boxes_are_one_list_of_rows(tmp_path):
    store, boxes = write_store(tmp_path), np.array([3, 3, 690, 0])
    rows = np.array([N + 2, 5, N, N + 1, 5, N - 1])
    expected = np.concatenate([store.union(np.arange(N)), store.box(boxes)])[rows]
    for gigabytes in (0.0, 1.0):
        (found,) = FeatureRows.of_unions_and_boxes(store, boxes, memory_gigabytes=gigabytes)(rows)
        assert np.array_equal(found, expected)


def test_a_window_is_read_in_blocks_and_each_box_once(store, monkeypatch):
    read = {"union": [], "box": []}
    for region, asked in read.items():
        honest = getattr(FeatureStore, region)

        def watched(self, rows, dtype=np.float32, honest=honest, asked=asked):
            asked.append(np.asarray(rows))
            return honest(self, rows, dtype)

        monkeypatch.setattr(FeatureStore, region, watched)
    disk = rows_of(store, 0.0)
    order = disk.order(1, 50, purpose="test")
    with closing(StepFeatures(disk, order.rows_of_step, 50)) as steps:
        for step in range(N // 50):
            steps.at(step)(order.rows_of_step(step))
    assert N <= sum(map(len, read["union"])) <= N + 600  # the last window whole, and one that was read ahead
    for rows in read["union"]:
        assert (np.diff(rows) > 0).all() and len(np.unique(rows // 256)) <= len(rows) // 256 + 3
    for boxes in read["box"]:
        assert (np.diff(boxes) > 0).all()
    assert store.entity_region == "union" or sum(map(len, read["box"])) < N / 2


def test_windows_are_read_one_ahead_in_the_background_and_two_at_most_are_held():
    values = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float16)
    asked, threads, windows, alive = [], set(), [], []

    def hold(rows):
        asked.append(rows)
        threads.add(threading.get_ident())
        alive.append(sum(window() is not None for window in windows))
        window = HeldRows(rows, (values[rows], None))
        windows.append(weakref.ref(window))
        return window

    features = FeatureRows(500, hold, bytes_per_row=6, memory_gigabytes=0, bytes_per_window=6 * 64)
    order = features.order(0, 8, purpose="test")
    with closing(StepFeatures(features, order.rows_of_step, 8)) as steps:
        for step in range(40):
            steps.at(step)
            if step in (0, 8):
                deadline = time.monotonic() + 5
                while len(asked) < step // 8 + 2 and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert len(asked) == step // 8 + 2  # the window at hand and the next one
    assert len(asked) <= 6 and threads.isdisjoint({threading.get_ident()})
    assert max(alive) <= 1  # beside the one that is being read


def test_an_error_of_the_reader_is_raised_where_its_rows_are_needed():
    def hold(rows):
        if rows.max() >= 64:
            raise WorkbenchError("the disk is gone")
        return HeldRows(rows, (np.zeros((len(rows), 1), np.float16), None))

    features = FeatureRows(500, hold, bytes_per_row=2, memory_gigabytes=0, bytes_per_window=2 * 64)
    with closing(StepFeatures(features, lambda step: np.arange(8 * step, 8 * step + 8), 8)) as steps:
        for step in range(8):
            steps.at(step)
        for _ in range(2):
            refused("the disk is gone", steps.at, 8)


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_in_memory_is_shuffled_as_a_whole(tmp_path, weighted):
    features, weights = FeatureRows.of_relations(write_store(tmp_path), "train"), np.arange(N) if weighted else None
    order, again = (features.order(0, 100, weights, purpose="test") for _ in range(2))
    first = order.rows_of_step(0)
    assert len(first) == 100 and len(np.unique(first // 256)) >= 10  # of 12 blocks
    assert np.array_equal(order.rows_of_step(7), again.rows_of_step(7))


def test_rows_that_are_not_finite_are_named(tmp_path, monkeypatch):
    store = write_store(tmp_path)
    honest = store.union
    monkeypatch.setattr(store, "union", lambda rows, dtype: np.where(rows[:, None] == 251, np.nan, honest(rows, dtype)))
    refused("train, row 251: the union feature", FeatureRows.of_relations, store, "train")
