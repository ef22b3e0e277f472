import numpy as np
import pytest

from tests.refusals import refused
from workbench.language import hardness
from workbench.language.hardness import fit_hardness


def embeddings(rows, dimension=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("rows", "centroids"), [(1, 1), (5, 5), (200, 12), (5000, 30)])
def test_hardness_is_the_normalised_distance_to_every_centre(rows, centroids):
    captions = embeddings(rows)
    model = fit_hardness(captions, centroids, seed=3)
    found = model.hardness(captions)
    distance = np.linalg.norm(captions[:, None, :].astype(np.float64) - model.centroids[None], axis=2)
    assert found.shape == (rows, centroids)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)
    if centroids > 1:
        np.testing.assert_allclose(found, distance / distance.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-7)
        entropy = -(found.astype(float) * np.log(np.maximum(found, 1e-30))).sum(axis=1)
        np.testing.assert_allclose(model.entropy(captions), entropy, rtol=1e-5)
        assert (model.entropy(captions) <= np.log(centroids) + 1e-12).all()


def test_repeats_weigh_nothing():
    captions = embeddings(40)
    repeated = np.concatenate([captions, np.repeat(captions[:1], 100, axis=0)])
    np.testing.assert_allclose(fit_hardness(captions, 1, 0).centroids[0], captions.mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(fit_hardness(repeated, 5, 0).centroids, fit_hardness(captions, 5, 0).centroids)
    refused(r"41 hardness centroids .* 40 distinct captions.*between 1 and 40", fit_hardness, repeated, 41, seed=0)


def test_mini_batches_give_centroids_about_as_good(monkeypatch):
    captions = embeddings(3000, 8)
    exact = fit_hardness(captions, 20, seed=1)
    monkeypatch.setattr(hardness, "EXACT_DISTANCES", 0)
    quick = fit_hardness(captions, 20, seed=1)

    def inertia(model):
        return (np.linalg.norm(captions[:, None] - model.centroids[None], axis=2).min(axis=1) ** 2).sum()

    assert inertia(quick) < 1.1 * inertia(exact)


@pytest.mark.parametrize("rows", [60, 900])
def test_rows_of_a_stored_array_are_fitted_as_an_array_of_their_own(tmp_path, monkeypatch, rows):
    captions = embeddings(rows).astype(np.float16)
    captions[rows // 2 :] = captions[: rows - rows // 2]  # every caption twice
    np.save(tmp_path / "captions.npy", captions)
    stored = np.load(tmp_path / "captions.npy", mmap_mode="r")
    wanted = np.flatnonzero(np.random.default_rng(rows).random(rows) < 0.7)
    for exact in (hardness.EXACT_DISTANCES, 0):
        monkeypatch.setattr(hardness, "EXACT_DISTANCES", exact)
        expected = fit_hardness(captions[wanted].astype(np.float32), 6, 0).centroids
        found = fit_hardness(stored, 6, 0, rows=wanted).centroids
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float64
    once = np.unique(captions[wanted], axis=0, return_index=True)[1]
    single, mean = fit_hardness(captions, 1, 0, rows=wanted), captions[wanted][once].astype(float).mean(axis=0)
    np.testing.assert_allclose(single.centroids[0], mean, atol=2e-2)


@pytest.mark.parametrize(("rows", "dimension"), [(1, 1), (50, 3), (5000, 16)])
def test_distinct_rows_are_told_apart_exactly(rows, dimension):
    vectors = np.random.default_rng(rows).integers(-1, 2, (rows, dimension)).astype(np.float32) * -1.0  # has -0.0
    first = hardness._distinct_rows(vectors, np.arange(rows))
    assert len(first) == len(np.unique(vectors, axis=0)) and (np.diff(first) > 0).all()
    np.testing.assert_array_equal(np.unique(vectors[first], axis=0), np.unique(vectors, axis=0))


def test_chunks_do_not_matter_and_bad_input_is_named(monkeypatch):
    captions = embeddings(100)
    model = fit_hardness(captions, 9, seed=0)
    whole = model.hardness(captions), model.entropy(captions)
    monkeypatch.setattr(hardness, "ROWS_PER_CHUNK", 7)
    np.testing.assert_allclose(model.hardness(captions), whole[0], rtol=1e-6)
    np.testing.assert_allclose(model.entropy(captions), whole[1], rtol=1e-12)
    refused("are of 16 numbers", model.hardness, embeddings(3, 8))
    captions[11, 3] = np.nan
    refused("Row 11", fit_hardness, captions, 4, seed=0)
