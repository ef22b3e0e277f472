"""How fast a feature store that does not fit memory is read in shuffled batches, beside the disk's own rate."""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from reports.benchmarks.running import timed
from tests.synthetic import long_tailed, split_writer
from workbench.errors import WorkbenchError
from workbench.paths import project_root
from workbench.randomness import generator
from workbench.regions.feature_rows import FeatureRows, StepFeatures
from workbench.regions.features import FeatureStore

_GIGABYTES = 3.0
_DIMENSION = 4096
_BYTES_PER_ROW = 2 * _DIMENSION
_ROWS_PER_BATCH = 1024
_ROWS_PER_CHUNK = 2048
_MOST_SECONDS_AT_RANDOM = 15.0
_BYTES_PER_READ = 8 << 20


def benchmark_feature_store(gigabytes: float = _GIGABYTES) -> dict[str, Any]:
    """One epoch of block-shuffled batches, fully random rows, and plain reads of the same files, all past the cache.

    The store lies in a temporary folder beside ``data/``. Needs an operating system that drops files from its page
    cache on request; WorkbenchError where it cannot.
    """
    root = project_root()
    if not hasattr(os, "posix_fadvise"):
        raise WorkbenchError("this operating system offers no posix_fadvise, so files cannot be read past its cache.")
    with tempfile.TemporaryDirectory(dir=root, prefix=".feature_store-") as folder:
        store = _written(Path(folder), int(gigabytes * 1e9 / _BYTES_PER_ROW))
        sequential = _rows_per_second(store, _sequential)
        random_order = _rows_per_second(store, _at_random)
        shuffled = _rows_per_second(store, _block_shuffled)
    return {
        "store_gigabytes": len(store) * _BYTES_PER_ROW / 1e9,
        "rows_per_second": shuffled, "gigabytes_per_second": shuffled * _BYTES_PER_ROW / 1e9,
        "sequential_gigabytes_per_second": sequential * _BYTES_PER_ROW / 1e9, "random_rows_per_second": random_order,
        "ratio_to_random": shuffled / random_order, "ratio": shuffled / sequential,
    }  # fmt: skip


def _written(folder: Path, rows: int) -> FeatureStore:
    options = {"dimension": _DIMENSION, "entity_region": "union", "encoder": "benchmark"}
    writer = split_writer(folder / "store", long_tailed(rows), **options)
    values = generator(0, "store reading").standard_normal((_ROWS_PER_CHUNK, _DIMENSION)).astype(np.float16)
    for start in range(0, rows, _ROWS_PER_CHUNK):
        piece = values[: rows - start]
        # Tells each row from all others, so that what is read can be checked.
        piece[:, 0], piece[:, 1] = start // _ROWS_PER_CHUNK, np.arange(len(piece))
        writer.write("union_features", start, piece)
    writer.finish()
    return FeatureStore(folder / "store")


def _rows_per_second(store: FeatureStore, read: Callable) -> float:
    """Rows a second, the files dropped from the system's cache first."""
    with open(store.folder / "union_features.npy", "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    seconds, rows = timed(lambda: sum(read(store)))
    return rows / seconds


def _sequential(store: FeatureStore):
    buffer = bytearray(_BYTES_PER_READ)
    with open(store.folder / "union_features.npy", "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield count / _BYTES_PER_ROW


def _at_random(store: FeatureStore):
    draw, started = generator(0, "random rows"), time.perf_counter()
    for rows in np.array_split(draw.permutation(len(store)), max(1, len(store) // _ROWS_PER_BATCH)):
        _check(store.union(rows, np.float16), rows)
        yield len(rows)
        if time.perf_counter() - started > _MOST_SECONDS_AT_RANDOM:
            return


def _block_shuffled(store: FeatureStore):
    features = FeatureRows.of_relations(store, "benchmark", memory_gigabytes=0.0)
    order = features.order(0, _ROWS_PER_BATCH, purpose="benchmark")
    with closing(StepFeatures(features, order.rows_of_step, _ROWS_PER_BATCH)) as steps:
        for step in range(len(store) // _ROWS_PER_BATCH):
            rows = order.rows_of_step(step)
            _check(steps.at(step)(rows)[0], rows)
            yield len(rows)


def _check(values: np.ndarray, rows: np.ndarray) -> None:
    if not np.array_equal(values[:, 0].astype(np.int64) * _ROWS_PER_CHUNK + values[:, 1].astype(np.int64), rows):
        raise WorkbenchError("the store gave other rows than were asked for; do not trust this benchmark.")
