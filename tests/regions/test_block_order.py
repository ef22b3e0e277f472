"""The block-shuffled stream of rows: exact in distribution, resumable anywhere, near-sequential to read."""

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.regions.feature_rows import BlockOrder


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
        with pytest.raises(WorkbenchError, match="weights of rows"):
            BlockOrder(0, len(weights), weights)
    with pytest.raises(WorkbenchError, match="no rows"):
        BlockOrder(0, rows=0)
