"""Reading ahead: the right values in the right order, few windows in memory, errors handed on."""

import threading
import time

import numpy as np
import pytest

from workbench.regions.block_order import BlockOrder
from workbench.regions.window_reader import WindowReader

FEATURES = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float16)


class Reads:
    def __init__(self, values=lambda rows: FEATURES[rows]):
        self.values, self.asked, self.threads = values, [], set()

    def __call__(self, rows):
        assert (np.diff(rows) > 0).all()
        self.asked.append(rows)
        self.threads.add(threading.get_ident())
        return self.values(rows)


def order(weighted=False, rows_per_window=64):
    options = {"weights": np.arange(500.0)} if weighted else {"rows": 500}
    return BlockOrder(1, rows_per_window=rows_per_window, rows_per_block=8, **options)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [1, 7, 64, 150, 500])
def test_values_belong_to_the_rows_of_the_stream(weighted, count):
    expected = np.concatenate([order(weighted).window(number) for number in range(24)])
    with WindowReader(Reads(), order(weighted)) as reader:
        for first in range(0, 1000, count):
            rows, values = reader.rows(first, count)
            assert np.array_equal(rows, expected[first : first + count])
            assert values.dtype == np.float16 and np.array_equal(values, FEATURES[rows])


def test_tuples_and_lazy_values_come_as_they_are_read():
    class Doubled:
        def __init__(self, rows):
            self.rows = rows

        def __getitem__(self, places):
            return 2 * self.rows[places], FEATURES[self.rows[places]]

    for values, times in ((lambda rows: (rows, FEATURES[rows]), 1), (Doubled, 2)):
        with WindowReader(values, order()) as reader:
            for first in (0, 60):
                rows, (numbers, features) = reader.rows(first, 30)
                assert np.array_equal(numbers, times * rows) and np.array_equal(features, FEATURES[rows])


def test_each_window_is_read_once_one_ahead_and_in_the_background():
    reads = Reads()
    with WindowReader(reads, order()) as reader:
        for first in range(0, 3 * 64, 8):
            reader.rows(first, 8)
        deadline = time.monotonic() + 5
        while len(reads.asked) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert len(reads.asked) == 4
    assert [set(asked) for asked in reads.asked] == [set(order().window(number)) for number in range(4)]
    assert threading.get_ident() not in reads.threads


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_no_more_windows_are_held_than_said(ahead):
    held, most, lock = [0], [0], threading.Lock()

    class Held:
        def __init__(self, rows):
            self.rows = rows
            with lock:
                held[0] += 1
                most[0] = max(most[0], held[0])

        def __del__(self):
            with lock:
                held[0] -= 1

        def __getitem__(self, places):
            return self.rows[places]

    with WindowReader(Held, order(), ahead=ahead) as reader:
        for first in range(0, 1000, 50):
            reader.rows(first, 50)
    assert 1 <= most[0] <= ahead + 1 and held[0] == 0


def test_a_reader_goes_on_anywhere():
    with WindowReader(Reads(), order()) as reader:
        for first in (1700, 3, 900, 870):
            rows, values = reader.rows(first, 90)
            assert np.array_equal(values, FEATURES[rows])
            assert np.array_equal(rows[:1], order().window(first // 64)[first % 64 :][:1])


def test_an_error_is_raised_where_the_window_is_needed():
    calls = []

    def fails_once(rows):
        calls.append(len(rows))
        if len(calls) == 2:
            raise OSError("the disk is gone")
        return FEATURES[rows]

    with WindowReader(fails_once, order()) as reader:
        rows, _ = reader.rows(0, 64)
        assert len(rows) == 64
        with pytest.raises(OSError, match="the disk is gone"):
            reader.rows(64, 1)
        rows, values = reader.rows(64, 64)
        assert np.array_equal(values, FEATURES[rows])


def test_closing_waits_for_the_thread():
    before = threading.active_count()
    reader = WindowReader(lambda rows: time.sleep(0.05) or FEATURES[rows], order())
    reader.rows(0, 4)
    reader.close()
    assert threading.active_count() == before
