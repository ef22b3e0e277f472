import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.files import sha256_of_file
from workbench.regions import feature_shards
from workbench.regions.feature_shards import FeatureShards, damaged


def written(folder: Path, seed: int, lengths: list[int], dimension: int):
    """Random shards and what they hold together."""
    random = np.random.default_rng(seed)
    entries, parts = [], []
    for number, length in enumerate(lengths):
        part = random.standard_normal((length, dimension)).astype(np.float16)
        path = folder / f"features-{number:05d}.npy"
        np.save(path, part)
        entries.append({"file": path.name, "rows": length, "sha256": sha256_of_file(path)})
        parts.append(part)
    return entries, np.concatenate([np.empty((0, dimension), np.float16), *parts])


CASES = [(0, [5], 3), (1, [4, 0, 9, 1], 1), (2, [100, 1, 64, 3000], 17), (3, [], 5), (4, [0, 0, 2], 4096)]


@pytest.mark.parametrize(("seed", "lengths", "dimension"), CASES)
@pytest.mark.parametrize("position", ["given", "moved"])
def test_any_rows_in_any_order(tmp_path, monkeypatch, seed, lengths, dimension, position):
    if position == "moved":  # as on systems without preadv
        monkeypatch.delattr(os, "preadv", raising=False)
    entries, whole = written(tmp_path, seed, lengths, dimension)
    shards, random = FeatureShards(tmp_path, entries, dimension), np.random.default_rng(seed)
    assert len(shards) == len(whole)
    for rows in (np.arange(len(whole)), np.arange(len(whole))[::-1], np.empty(0, int), []):
        np.testing.assert_array_equal(shards.read(rows), whole[np.asarray(rows, dtype=int)])
    for count in (1, 7, 200):
        rows = random.integers(0, len(whole), count) if len(whole) else np.empty(0, int)
        found = shards.read(rows)
        np.testing.assert_array_equal(found, whole[rows])
        assert found.dtype == np.float32 and found.flags.writeable
        half = shards.read(rows.reshape(1, -1), np.float16)
        assert half.dtype == np.float16 and np.array_equal(half[0], whole[rows])
    np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in shards.chunks()] or [whole]), whole)
    for row in range(0, len(whole), 13):
        path, within = shards.path_of(row), row - sum(lengths[: int(shards.path_of(row).stem[-5:])])
        np.testing.assert_array_equal(np.load(path)[within], whole[row])
    for row in (-1, len(whole)):
        with pytest.raises(IndexError):
            shards.read([row])


def test_threads_read_at_once_with_few_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_shards, "MOST_OPEN_FILES", 2)
    entries, whole = written(tmp_path, 0, [20] * 30, 8)
    shards = FeatureShards(tmp_path, entries, 8)
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir())) if opened.exists() else None

    def some(seed):
        rows = np.random.default_rng(seed).integers(0, 600, 400)
        return np.array_equal(shards.read(rows), whole[rows])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(some, range(60)))
    if before is not None:
        assert len(list(opened.iterdir())) <= before + 2


def test_another_process_can_be_given_the_shards(tmp_path):
    entries, whole = written(tmp_path, 0, [3, 4], 5)
    shards = FeatureShards(tmp_path, entries, 5)
    shards.read([1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(shards)).read(np.arange(7)), whole)


def test_damage_of_each_kind_is_found_and_named(tmp_path):
    entries, _ = written(tmp_path, 0, [50] * 6, 8)
    assert FeatureShards(tmp_path, entries, 8).verify() == []
    paths = [tmp_path / entry["file"] for entry in entries]
    content = bytearray(paths[1].read_bytes())
    content[-3] ^= 1
    paths[1].write_bytes(content)
    shards = FeatureShards(tmp_path, entries, 8)  # sizes and headers are right
    assert shards.verify() == [paths[1].name]
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    paths[3].unlink()
    np.save(paths[4], np.zeros((50, 8), np.float32))
    paths[5].write_bytes(b"")
    assert damaged(tmp_path, entries, 8) == [path.name for path in paths[1:]]
    assert damaged(tmp_path, [entries[0] | {"sha256": None}], 8) == []
    for path, words in zip(paths[2:], ["cut short", "missing", "float32", "not a readable array"], strict=True):
        with pytest.raises(WorkbenchError, match=rf"{path.name}.*{words}.*--remake"):
            FeatureShards(tmp_path, [entries[int(path.stem[-1])]], 8)


def test_a_file_that_shrinks_or_vanishes_in_use_is_named(tmp_path):
    entries, _ = written(tmp_path, 0, [9, 9], 8)
    shards = FeatureShards(tmp_path, entries, 8)
    with open(tmp_path / entries[0]["file"], "r+b") as file:
        file.truncate(200)
    (tmp_path / entries[1]["file"]).unlink()
    for row, words in (
        (8, "features-00000.npy: the file was cut short"),
        (9, "features-00001.npy: the file is missing"),
    ):
        with pytest.raises(WorkbenchError, match=words):
            shards.read([row])


READ_ALL = """
import resource, sys
from pathlib import Path
import numpy as np
from workbench.regions.feature_shards import FeatureShards
entries = [{"file": f"features-{n:05d}.npy", "rows": 4096, "sha256": None} for n in range(24)]
shards = FeatureShards(Path(sys.argv[1]), entries, 1024)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
shards.read(np.arange(4096))
before = peak()
for start in range(0, len(shards), 4096):
    shards.read(np.arange(start, start + 4096))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is counted in other units")
def test_memory_stays_flat_however_much_is_read(tmp_path):
    for number in range(24):  # 192 MB
        np.save(tmp_path / f"features-{number:05d}.npy", np.zeros((4096, 1024), np.float16))
    told = subprocess.run([sys.executable, "-c", READ_ALL, tmp_path], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 40 * 1024  # KB
