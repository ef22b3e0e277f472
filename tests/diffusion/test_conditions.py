import numpy as np
import pandas as pd
import pytest
import torch

from tests.diffusion.cases import COLUMNS, condition_tokens, network, text, unit
from tests.refusals import refused
from workbench.diffusion.conditions import ABSENT, box_conditions, triplet_conditions
from workbench.language.hardness import HardnessCentroids
from workbench.language.triplets import AugmentedTriplets

TEXT = text()


def random_triplets(n):
    return pd.DataFrame(np.random.default_rng(0).integers(0, (5, 4, 5), (n, 3)), columns=COLUMNS)


@pytest.mark.parametrize("n", [1, 50, 400])
def test_each_row_finds_its_own_triplet_and_caption(n):
    triplets = random_triplets(n)
    tokens, index = triplet_conditions(TEXT, triplets)
    np.testing.assert_array_equal(tokens.classes[index], triplets.to_numpy())
    np.testing.assert_allclose(tokens.embeddings(tokens.caption[index]), TEXT.triplets(*triplets.to_numpy().T))
    assert len(tokens) == len(triplets.drop_duplicates()) and not tokens.region.any()


def test_a_box_is_captioned_by_its_class_name_alone():
    boxes, index = box_conditions(TEXT, np.array([3, 1, 3]))
    assert index.tolist() == [1, 0, 1] and boxes.region.tolist() == [1, 1] and (boxes.classes == ABSENT).all()
    unions, _ = triplet_conditions(TEXT, random_triplets(20))
    joined = unions.joined(boxes)
    for part, first in ((unions, 0), (boxes, len(unions))):
        rows = first + np.arange(len(part))
        np.testing.assert_array_equal(joined.classes[rows], part.classes)
        np.testing.assert_array_equal(joined.embeddings(joined.caption[rows]), part.embeddings(part.caption))
    np.testing.assert_array_equal(joined.embeddings(joined.caption[[len(unions)]])[0], TEXT.objects[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_stored_captions_are_read_and_not_embedded_again(tmp_path, dtype):
    triplets = random_triplets(150).drop_duplicates()
    stored = triplets.iloc[:60].sample(frac=1.0, random_state=0).reset_index(drop=True)
    np.save(tmp_path / "captions.npy", TEXT.triplets(*stored.to_numpy().T).astype(dtype))
    known = AugmentedTriplets(None, stored, np.load(tmp_path / "captions.npy", mmap_mode="r"), None)
    tokens, index = triplet_conditions(TEXT, triplets, known)
    assert len(tokens.captions[1]) == len(triplets) - 60 and isinstance(tokens.captions[0], np.memmap)
    expected = TEXT.triplets(*triplets.to_numpy().T)
    np.testing.assert_allclose(tokens.embeddings(tokens.caption[index]), expected, rtol=2e-3, atol=2e-3)


def test_a_class_without_text_is_refused():
    for role in COLUMNS:
        refused(f"{role} class 9 is outside 0", triplet_conditions, TEXT, random_triplets(5).assign(**{role: 9}))


def test_a_batch_names_everything_once_and_drops_what_is_asked():
    tokens = condition_tokens(8, boxes=2)
    rows = np.random.default_rng(1).integers(0, 8, 60)
    dropped = np.random.default_rng(2).random((60, 5)) < 0.3
    batch = tokens.batch(rows, dropped)
    named = [*batch.classes, batch.captions, batch.captions]
    expected = [*tokens.classes[rows].T, *[tokens.embeddings(tokens.caption)[rows]] * 2]
    for slot in range(5):
        place = batch.place[:, slot].numpy()
        lost = dropped[:, slot] | (slot < 3) & (tokens.region[rows] == 1)
        np.testing.assert_array_equal(place < 0, lost)
        np.testing.assert_array_equal(named[slot][place[~lost]], expected[slot][~lost])
        assert len(named[slot]) % 64 == 0 and len(np.unique(named[slot], axis=0)) > len(named[slot]) - 64
    both = batch.and_nothing()
    assert len(both) == 120 and (both.place[60:] == ABSENT).all() and (both.region[60:] == batch.region).all()


def test_the_networks_hardness_is_that_of_the_hardness_model():
    captions = unit(np.random.default_rng(0), 300, 64)
    centroids = captions[:40].astype(np.float64)  # the hard case: captions that sit on a centroid
    made, exact = network(dimension=64, centroids=40), HardnessCentroids(centroids).hardness(captions)
    made.centroids.copy_(torch.from_numpy(centroids))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made.hardness(torch.from_numpy(captions))
    assert found.dtype == torch.float32 and (np.abs(found.numpy() - exact) / exact.std(axis=0)).max() < 1e-4
    # The last bits of a product depend on how many rows it has.
    alone = made.hardness(torch.from_numpy(captions[5:6]))[0]
    np.testing.assert_allclose(alone, found[5], rtol=0, atol=1e-4 * exact.std(axis=0).min())
    single = network(dimension=64, centroids=1)
    single.centroids.copy_(torch.from_numpy(centroids[:1]))
    assert single.hardness(torch.from_numpy(captions[:1])).tolist() == [[1.0]]


@pytest.mark.parametrize("layout", ["tokens", "pooled"])
def test_token_statistics_centre_text_as_a_whole_and_hardness_per_dimension(layout):
    tokens, made = condition_tokens(50), network(layout=layout)
    captions = torch.from_numpy(tokens.embeddings(tokens.caption))
    made.fit_tokens(tokens.batch(np.arange(50)))
    text, hardness = made.encoders[-2 if layout == "tokens" else 0], made.encoders[-1]
    assert len(text.scale[:6].unique()) == 1
    torch.testing.assert_close(text.centre[:6], captions.mean(0))
    standardised = (made.hardness(captions) - hardness.centre[-3:]) / hardness.scale[-3:]
    torch.testing.assert_close(standardised.std(0, correction=0), torch.ones(3), rtol=1e-3, atol=1e-3)
