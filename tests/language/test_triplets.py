import inspect
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from tests.synthetic import cut_short
from workbench.errors import WorkbenchError
from workbench.language import triplets as stage
from workbench.language.config import AugmentationConfig
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets, write_triplets
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary, write_triplet_list

CONFIG = AugmentationConfig(medium_quota=40, few_quota=60, centroids=5, seed=7)


@pytest.fixture(scope="module")
def stored(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triplets")
    json.dumps(write_triplets(folder, **inputs, config=CONFIG))
    return read_triplets(folder)


def ids(table) -> set:
    return set(map(tuple, table[list(ROLES)].to_numpy().tolist()))


def test_captions_are_the_distinct_triplets_and_align_with_their_embeddings(inputs, stored):
    train, text = RelationTables.open(inputs["features"] / "train").relations, TextEmbeddings.open(inputs["text"])
    assert ids(stored.captions) == ids(train) | ids(stored.augmented)
    assert not stored.captions.duplicated(list(ROLES)).any()
    assert ids(stored.captions[stored.captions["original"]]) == ids(train)
    expected = text.triplets(*stored.captions[list(ROLES)].to_numpy().T)
    np.testing.assert_allclose(stored.caption_embeddings, expected, rtol=1e-6)
    assert stored.hardness.centroids.shape == (5, 6) and stored.augmented["band"].isin(["medium", "few"]).all()
    rows = stored.caption_rows(stored.augmented[list(ROLES)].to_numpy())
    captions, augmented = (table[list(ROLES)].to_numpy() for table in (stored.captions, stored.augmented))
    np.testing.assert_array_equal(captions[rows], augmented)
    assert stored.caption_rows(np.array([[11, 3, 11]])).tolist() == [-1]
    for row in stored.augmented.itertuples():
        similarity = stored.similarity.values[row.replaced_class, getattr(row, row.replaced)]
        assert row.similarity == similarity >= 2.26 and row.path.count(", ") in (1, 2)


@pytest.mark.parametrize(("change", "message"), [
    ({"centroids": 5000}, "5000 hardness centroids"), ({"threshold": 3.6}, "the threshold is 3.6"),
    ({"medium_quota": 0, "few_quota": 0}, "have a quota of 0"),
])  # fmt: skip
def test_what_cannot_be_done_is_named(inputs, tmp_path, change, message):
    with pytest.raises(WorkbenchError, match=message):
        write_triplets(tmp_path, **inputs, config=replace(CONFIG, **change))


def test_a_killed_embedding_of_captions_resumes_where_it_stopped(inputs, stored, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "ROWS_PER_PART", 20)
    embed, done = TextEmbeddings.triplets, []

    def embed_some(self, *ids, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(len(ids[0]))
        return embed(self, *ids, **options)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(TextEmbeddings, "triplets", embed_some)
        write_triplets(tmp_path / "killed", **inputs, config=CONFIG)
    refused("the file is missing", read_triplets, tmp_path / "killed")
    # Of other captions nothing is kept.
    shutil.copytree(tmp_path / "killed", tmp_path / "others")
    others = replace(CONFIG, seed=8)
    write_triplets(tmp_path / "others", **inputs, config=others)
    write_triplets(tmp_path / "anew", **inputs, config=others)
    found, expected = (read_triplets(tmp_path / name).caption_embeddings for name in ("others", "anew"))
    np.testing.assert_array_equal(found, expected)
    done.clear()
    monkeypatch.setattr(TextEmbeddings, "triplets", lambda *a, **k: done.append(len(a[1])) or embed(*a, **k))
    write_triplets(tmp_path / "killed", **inputs, config=CONFIG)
    assert sum(done) == len(stored.captions) - 2 * 20
    resumed = read_triplets(tmp_path / "killed")
    np.testing.assert_array_equal(resumed.caption_embeddings, stored.caption_embeddings)
    np.testing.assert_array_equal(resumed.hardness.centroids, stored.hardness.centroids)
    pd.testing.assert_frame_equal(resumed.augmented, stored.augmented)
    assert not list((tmp_path / "killed").glob(".caption*"))


def test_large_embeddings_are_stored_in_half_precision(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "LARGEST_FLOAT32_BYTES", 0)
    write_triplets(tmp_path, **inputs, config=CONFIG)
    half = read_triplets(tmp_path)
    assert half.caption_embeddings.dtype == np.float16 and isinstance(half.caption_embeddings, np.memmap)
    exact = TextEmbeddings.open(inputs["text"]).triplets(*half.captions[list(ROLES)].to_numpy().T)
    np.testing.assert_allclose(half.caption_embeddings, exact, atol=5e-4)
    found = half.hardness.hardness(half.caption_embeddings)
    np.testing.assert_allclose(half.hardness.hardness(exact), found, atol=1e-3)


def test_lists_say_what_alone_is_drawn_and_what_is_not(inputs, stored, tmp_path):
    chosen, path = sorted(ids(stored.augmented))[::2], tmp_path / "list.csv"
    write_triplet_list(path, chosen, Vocabulary.read(inputs["features"]))
    for name in ("include", "exclude"):
        write_triplets(tmp_path / name, **inputs, config=CONFIG, **{name: path})
        drawn = ids(read_triplets(tmp_path / name).augmented)
        assert drawn <= set(chosen) if name == "include" else drawn.isdisjoint(chosen)
    with pytest.raises(WorkbenchError, match=f"candidates exist.*include: {len(chosen)} triplets in .*list.csv"):
        write_triplets(tmp_path / "none", **inputs, config=CONFIG, include=path, exclude=path)


def test_what_is_missing_or_damaged_or_of_an_older_version_is_named(stored, tmp_path):
    refused(r"augmented.parquet.*notebook 02", read_triplets, tmp_path)
    augmented, captions = stored.augmented.drop(columns="path"), stored.captions.drop(columns="original")
    for damage, message in (
        (lambda folder: cut_short(folder / "captions.parquet"), "captions.parquet: not a readable table"),
        (lambda folder: cut_short(folder / "caption_embeddings.npy"), "embeddings.npy: not a whole array"),
        (lambda folder: cut_short(folder / "hardness.npz"), "hardness.npz: this is the beginning of a zip"),
        (lambda folder: augmented.to_parquet(folder / "augmented.parquet"), "augmented.parquet: lacks path"),
        (lambda folder: captions.to_parquet(folder / "captions.parquet"), "captions.parquet: lacks original"),
        (lambda folder: np.save(folder / "caption_embeddings.npy", np.zeros((1, 6))), "embeddings.npy: 1 rows for"),
    ):
        folder = shutil.copytree(stored.folder, tmp_path / "copy", dirs_exist_ok=True)
        damage(folder)
        refused(rf"{message}.* Run notebook 02 again\.", read_triplets, folder)


def letters_in_common(names):
    return [[len(set(a) & set(b)) / len(set(a) | set(b)) for b in names] for a in names]


@pytest.mark.parametrize("choice", ["function", "table", "import"])
def test_a_similarity_of_ones_own(inputs, tmp_path, choice, monkeypatch):
    """A function, a table and an import path that say the same draw the same triplets."""
    names = Vocabulary.read(inputs["features"]).objects
    values = np.array(letters_in_common(names))
    pairs = [(a, b, values[i, j]) for i, a in enumerate(names) for j, b in enumerate(names) if i < j]
    pd.DataFrame(pairs, columns=["first", "second", "similarity"]).to_csv(tmp_path / "pairs.csv", index=False)
    (tmp_path / "mine.py").write_text(inspect.getsource(letters_in_common))
    monkeypatch.syspath_prepend(tmp_path)
    given = {"function": letters_in_common, "table": str(tmp_path / "pairs.csv"), "import": "mine:letters_in_common"}
    config = AugmentationConfig(similarity=given[choice], threshold=0.4, medium_quota=30, few_quota=30, centroids=5)
    write_triplets(tmp_path / "triplets", **inputs, config=config)
    found = read_triplets(tmp_path / "triplets")
    for row in found.augmented.itertuples():
        assert row.similarity == values[row.replaced_class, getattr(row, row.replaced)] >= 0.4
    assert set(found.augmented["path"]) == {""} and len(found.augmented) == 60
