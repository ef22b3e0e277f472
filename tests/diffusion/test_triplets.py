import json

import numpy as np
import pytest

from workbench.diffusion.conditions import condition_table, read_triplets
from workbench.diffusion.triplets import write_triplets
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings
from workbench.regions.bank import FeatureBank

ROLES = ["subject", "relation", "object"]
QUOTAS = {"medium_quota": 20, "few_quota": 30}


def test_captions_are_the_distinct_triplets_and_align_with_their_embeddings(small_features):
    stored, text = read_triplets(small_features["triplets"]), TextEmbeddings.open(small_features["text"])
    train = FeatureBank.open(small_features["features"] / "train").relations
    triplets = {tuple(row) for table in (train, stored.augmented) for row in table[ROLES].to_numpy().tolist()}
    assert {tuple(row) for row in stored.captions[ROLES].to_numpy().tolist()} == triplets
    assert not stored.captions.duplicated(ROLES).any()
    original = stored.captions.loc[stored.captions["original"], ROLES]
    assert set(map(tuple, original.to_numpy().tolist())) == set(map(tuple, train[ROLES].to_numpy().tolist()))
    expected = text.triplets(*stored.captions[ROLES].to_numpy().T)
    np.testing.assert_allclose(stored.caption_embeddings, expected, rtol=1e-6)
    assert stored.hardness.centres.shape == (5, 6) and stored.augmented["band"].isin(["medium", "few"]).all()
    table, index = condition_table(text, stored.augmented, stored.hardness, captions=stored)
    np.testing.assert_allclose(table.hardness[index].sum(1), 1.0, rtol=1e-5)


def test_the_same_seed_writes_the_same_rows(small_features, tmp_path):
    inputs = {name: small_features[name] for name in ("features", "text")}
    metrics = [write_triplets(tmp_path / str(i), **inputs, **QUOTAS, n_centres=4, seed=7) for i in range(2)]
    json.dumps(metrics)
    first, second = (read_triplets(tmp_path / str(i)) for i in range(2))
    assert metrics[0] == metrics[1] and first.augmented.equals(second.augmented)
    np.testing.assert_array_equal(first.hardness.centres, second.hardness.centres)


def test_more_centres_than_captions_and_an_empty_augmentation_are_named(small_features, tmp_path):
    inputs = {name: small_features[name] for name in ("features", "text")}
    with pytest.raises(WorkbenchError, match="5000 hardness centres"):
        write_triplets(tmp_path / "a", **inputs, **QUOTAS, n_centres=5000)
    with pytest.raises(WorkbenchError):
        write_triplets(tmp_path / "b", **inputs, **QUOTAS, n_centres=4, threshold=9.0)
