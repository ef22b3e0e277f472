import json

import numpy as np
import pytest

from workbench.diffusion.conditions import condition_table
from workbench.errors import WorkbenchError
from workbench.language import triplets as stage
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets, write_triplets
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.triplet_lists import write_triplet_list
from workbench.scenes.vocabulary import Vocabulary

ROLES = ["subject", "relation", "object"]
QUOTAS = {"medium_quota": 20, "few_quota": 30}


def test_captions_are_the_distinct_triplets_and_align_with_their_embeddings(small_features):
    stored, text = read_triplets(small_features["triplets"]), TextEmbeddings.open(small_features["text"])
    train = FeatureStore.open(small_features["features"] / "train").relations
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


def stop_after(monkeypatch, calls):
    """Have the embedding of captions break off after some parts; returns the sizes of the parts that were done."""
    done, triplets = [], TextEmbeddings.triplets

    def embed(self, *ids, **options):
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(len(ids[0]))
        return triplets(self, *ids, **options)

    monkeypatch.setattr(TextEmbeddings, "triplets", embed)
    return done


def test_a_killed_embedding_of_captions_goes_on_where_it_stopped(small_features, tmp_path, monkeypatch):
    arguments = {name: small_features[name] for name in ("features", "text")} | QUOTAS | {"n_centres": 4, "seed": 7}
    write_triplets(tmp_path / "whole", **arguments)
    whole = read_triplets(tmp_path / "whole")
    monkeypatch.setattr(stage, "ROWS_PER_PART", 20)
    for calls in (2, 1):
        with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
            stop_after(context, calls)
            write_triplets(tmp_path / "parts", **arguments)
        assert not (tmp_path / "parts" / "caption_embeddings.npy").exists()
    done = stop_after(monkeypatch, -1)
    write_triplets(tmp_path / "parts", **arguments)
    parts = read_triplets(tmp_path / "parts")
    assert sum(done) == len(parts.captions) - 3 * 20
    np.testing.assert_array_equal(parts.caption_embeddings, whole.caption_embeddings)
    np.testing.assert_array_equal(parts.hardness.centres, whole.hardness.centres)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == sorted(
        ["augmented.parquet", "caption_embeddings.npy", "captions.parquet", "hardness.npz"]
    )


def test_embeddings_of_other_captions_are_not_gone_on_with(small_features, tmp_path, monkeypatch):
    stored, text = read_triplets(small_features["triplets"]), TextEmbeddings.open(small_features["text"])
    monkeypatch.setattr(stage, "ROWS_PER_PART", 20)
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        stop_after(context, 1)
        stage.embedded_captions(tmp_path, stored.captions, text)
    others = stored.captions[::-1].reset_index(drop=True)
    expected = text.triplets(*others[ROLES].to_numpy().T)
    np.testing.assert_array_equal(stage.embedded_captions(tmp_path, others, text), expected)


def test_large_embeddings_are_stored_in_half_precision(small_features, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "LARGEST_FLOAT32_BYTES", 0)
    inputs = {name: small_features[name] for name in ("features", "text")}
    write_triplets(tmp_path, **inputs, **QUOTAS, n_centres=4, seed=7)
    half = read_triplets(tmp_path)
    assert half.caption_embeddings.dtype == np.float16 and isinstance(half.caption_embeddings, np.memmap)
    exact = TextEmbeddings.open(small_features["text"]).triplets(*half.captions[ROLES].to_numpy().T)
    np.testing.assert_allclose(half.caption_embeddings, exact, atol=5e-4)
    np.testing.assert_allclose(
        half.hardness.hardness(exact), half.hardness.hardness(half.caption_embeddings), atol=1e-3
    )


def test_lists_say_what_alone_is_drawn_and_what_is_not(small_features, tmp_path):
    vocabulary = Vocabulary.read(small_features["features"])
    inputs = {name: small_features[name] for name in ("features", "text")} | QUOTAS | {"n_centres": 4, "seed": 7}
    free = set(map(tuple, read_triplets(small_features["triplets"]).augmented[ROLES].to_numpy().tolist()))
    chosen = sorted(free)[::2]
    write_triplet_list(tmp_path / "list.csv", chosen, vocabulary)
    for name in ("include", "exclude"):
        write_triplets(tmp_path / name, **inputs, **{name: tmp_path / "list.csv"})
        drawn = set(map(tuple, read_triplets(tmp_path / name).augmented[ROLES].to_numpy().tolist()))
        assert drawn <= set(chosen) if name == "include" else drawn.isdisjoint(chosen)
    lists = {"include": tmp_path / "list.csv", "exclude": tmp_path / "list.csv"}
    with pytest.raises(WorkbenchError, match=f"candidates exist.*include: {len(chosen)} triplets in .*list.csv"):
        write_triplets(tmp_path / "none", **inputs, **lists)
