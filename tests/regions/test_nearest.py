"""The nearest rows through the 8 bits are those of reading every row, on any kind of features."""

import numpy as np
import pytest

from tests.refusals import refused
from tests.synthetic import long_tailed, split_writer, write_features
from workbench.regions import nearest
from workbench.regions.features import FeaturesFolder
from workbench.regions.nearest import NearestRows, nearest_rows, write_nearest

KINDS = {
    "spread": lambda draw, shape: draw.standard_normal(shape),
    "far from zero": lambda draw, shape: 60 + 0.5 * draw.standard_normal(shape),
    "rectified, one dimension large": lambda draw, shape: (
        np.maximum(draw.standard_normal(shape), 0) * np.where(np.arange(shape[1]) == 0, 90, 1)
    ),
    "copies": lambda draw, shape: draw.standard_normal((7, shape[1]))[draw.integers(0, 7, shape[0])],
    "all alike": lambda draw, shape: np.zeros(shape),
}


def made(folder, features, **columns):
    """A NearestRows of the features (N, D) of a train split."""
    relations = long_tailed(len(features)).assign(**columns)
    writer = split_writer(folder / "train", relations, entity_region="union", dimension=features.shape[1])
    writer.write("union_features", 0, features)
    writer.finish()
    metrics = write_nearest(folder / "nearest", features=folder)
    assert (metrics["rows"], metrics["dimension"]) == features.shape
    return NearestRows(FeaturesFolder(folder).train, folder / "nearest")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "dimension"), [(1, 3), (40, 7), (5000, 64)])
def test_what_is_found_is_what_reading_every_row_finds(tmp_path, monkeypatch, kind, rows, dimension):
    monkeypatch.setattr(nearest, "ROWS_READ_FIRST", 16)
    monkeypatch.setattr(nearest, "CODES_PER_BLOCK", 64_000)
    draw = np.random.default_rng(rows)
    found = made(tmp_path, KINDS[kind](draw, (rows, dimension)).astype(np.float32))
    asked = found.store.union(draw.integers(0, rows, 6))
    asked[3:] += draw.standard_normal((3, dimension)).astype(np.float32) * [[0.01], [1], [50]]
    for feature, (own_rows, distances) in zip(asked, found.find(asked), strict=True):
        expected, expected_distances = nearest_rows(found.store, np.arange(rows), feature)
        assert own_rows.tolist() == expected.tolist()
        assert distances.tolist() == expected_distances.tolist()


def test_an_image_with_most_of_the_rows_does_not_hide_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(nearest, "ROWS_READ_FIRST", 4)
    features = np.random.default_rng(0).standard_normal((600, 8)).astype(np.float32)
    features[:500] /= 100
    found = made(tmp_path, features, image=np.maximum(np.arange(600) - 499, 0))
    ((rows, distances),) = found.find(np.zeros((1, 8), dtype=np.float32), 4)
    expected, _ = nearest_rows(found.store, np.arange(600), np.zeros(8), 4)
    assert rows.tolist() == expected.tolist() and (np.diff(distances) >= 0).all()


def test_few_rows_of_many_are_read(tmp_path, monkeypatch):
    read = []
    found = made(tmp_path, np.random.default_rng(0).standard_normal((5000, 64)).astype(np.float32))
    asked = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    real = nearest.nearest_rows
    monkeypatch.setattr(
        nearest, "nearest_rows", lambda store, rows, *rest: read.append(len(rows)) or real(store, rows, *rest)
    )
    found.find(asked)
    assert read[0] == nearest.ROWS_READ_FIRST and 5 <= read[1] < 100


def test_the_stage_of_other_rows_or_damaged_is_refused(tmp_path):
    found = made(tmp_path, np.ones((9, 3), dtype=np.float32))
    other = write_features(tmp_path / "other").train
    refused(r"nearest: of \(9, 3\) features", NearestRows, other, tmp_path / "nearest")
    (tmp_path / "nearest" / nearest.ROUNDING).write_bytes(b"PK")
    refused(r"rounding\.npz: not whole arrays.*made again", NearestRows, found.store, tmp_path / "nearest")
