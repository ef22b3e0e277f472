import numpy as np
import pytest
import torch

from workbench.diffusion import vector_rows
from workbench.diffusion.conditioned_network import TokenEncoder
from workbench.diffusion.vector_rows import (
    BesideRows,
    ChosenRows,
    HardnessRows,
    StackedRows,
    chosen,
    chunks,
    evenly_spaced,
    held,
    moments,
    stacked,
    tensor,
)
from workbench.language.hardness import HardnessCentroids


def drawn(rows, dimension=5, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


def lazy_and_whole(n):
    """Rows that are not held, of each kind, beside the array that they stand for."""
    first, second = drawn(n), drawn(n + 3, seed=1)
    both = np.concatenate([first, second])
    picked = np.random.default_rng(2).integers(0, len(both), 2 * n)
    model = HardnessCentroids(drawn(4, seed=3).astype(np.float64))
    yield StackedRows([first, second]), both
    yield stacked(StackedRows([first]), second.astype(np.float16)), np.concatenate([first, second.astype(np.float16)])
    yield ChosenRows(StackedRows([first, second]), picked), both[picked]
    yield HardnessRows(ChosenRows(both, picked), model), model.hardness(both[picked])
    yield stacked(HardnessRows(first, model), HardnessRows(second, model)), model.hardness(both)
    yield BesideRows([StackedRows([first]), HardnessRows(first, model)]), np.hstack([first, model.hardness(first)])


@pytest.mark.parametrize("n", [1, 6, 40])
def test_rows_are_indexed_as_an_array_is(n, monkeypatch):
    monkeypatch.setattr(vector_rows, "ROWS_PER_CHUNK", 7)
    for lazy, whole in lazy_and_whole(n):
        draw = np.random.default_rng(n)
        assert lazy.shape == whole.shape and len(lazy) == len(whole) and lazy.ndim == 2
        for rows in (
            *(0, -1, slice(None), slice(1, None, 2), np.array([], dtype=int)),
            *(
                draw.integers(-len(whole), len(whole), 9),
                draw.integers(0, len(whole), (3, 2)),
                draw.random(len(whole)) < 0.5,
            ),
        ):
            np.testing.assert_allclose(lazy[rows], whole[rows], rtol=1e-6)
            assert lazy[rows].shape == whole[rows].shape and lazy[rows].dtype == np.float32
        np.testing.assert_allclose(np.asarray(lazy), whole, rtol=1e-6)
        np.testing.assert_allclose(np.concatenate(list(chunks(lazy))), whole, rtol=1e-6)
        some = draw.integers(0, len(whole), 8)
        np.testing.assert_allclose(
            chosen(chosen(lazy, some), np.array([3, 0, 3]))[:], whole[some[[3, 0, 3]]], rtol=1e-6
        )
        np.testing.assert_allclose(tensor(lazy, some, "cpu"), whole[some], rtol=1e-6)
        assert isinstance(held(lazy), np.ndarray)
        for outside in (len(whole), -len(whole) - 1):
            with pytest.raises(IndexError):
                lazy[np.array([outside])]


def test_hardness_on_a_device_is_exact_for_captions_that_sit_on_a_centre():
    captions = drawn(300, 64)
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    model = HardnessCentroids(captions[:40].astype(np.float64))
    rows, exact = HardnessRows(captions, model), model.hardness(captions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rows.tensor(np.arange(300), "cpu")
    assert found.dtype == torch.float32
    assert (np.abs(found.numpy() - exact) / exact.std(axis=0)).max() < 1e-4
    # The last bits of a product depend on how many rows it has.
    np.testing.assert_allclose(rows.tensor(np.array([5]), "cpu")[0], found[5], atol=1e-4 * exact.std(), rtol=0)
    alone = HardnessRows(captions[:1], HardnessCentroids(captions[:1].astype(np.float64)))
    assert alone.tensor(np.array([0]), "cpu").tolist() == [[1.0]]


@pytest.mark.parametrize("n", [2, 30, 1000])
def test_moments_are_those_of_all_rows_or_of_evenly_spaced_ones(n, monkeypatch):
    monkeypatch.setattr(vector_rows, "ROWS_PER_CHUNK", 64)
    vectors = drawn(n) * 1e-4 + 8.0  # a large common part, as text vectors have
    expected = vectors.astype(np.float64)
    for rows in (vectors, StackedRows([vectors[: n // 2], vectors[n // 2 :]])):
        np.testing.assert_allclose(moments(rows), [expected.mean(axis=0), expected.std(axis=0)], rtol=1e-9)
    monkeypatch.setattr(vector_rows, "MOST_ROWS_FOR_MOMENTS", 20)
    spaced = expected[evenly_spaced(n, 20)]
    assert len(spaced) == min(n, 20)
    np.testing.assert_allclose(moments(vectors), [spaced.mean(axis=0), spaced.std(axis=0)], rtol=1e-9)
    encoder = TokenEncoder(5, 4)
    encoder.fit(StackedRows([vectors]), 0)
    np.testing.assert_allclose(encoder.scale, spaced.std(axis=0), rtol=1e-5)
