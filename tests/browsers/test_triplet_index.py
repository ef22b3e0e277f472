import json

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from tests.synthetic import long_tailed, write_features
from workbench.browsers.triplet_index import SORTS, TripletIndex, class_bars, folded, write_triplet_index
from workbench.browsers.triplet_search import nearest_triplets
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS, band_of_class, count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

from .conftest import VOCABULARY

ROLE_LIST = list(ROLES)


@pytest.mark.parametrize(("rows", "seed"), [(1, 0), (40, 1), (900, 2)])
def test_rows_of_each_triplet_are_those_of_the_table(tmp_path, rows, seed):
    features = write_features(tmp_path / "f", VOCABULARY, {"train": rows}, seed=seed, dimension=1)
    told = write_triplet_index(tmp_path / "index", features=features.folder)
    relations = features.train.relations
    json.dumps(told)
    index = TripletIndex.open(tmp_path / "index")
    expected = relations.groupby(ROLE_LIST).groups
    assert [tuple(row) for row in index.triplets(np.arange(len(index))).tolist()] == sorted(expected)
    for place, triplet in enumerate(sorted(expected)):
        np.testing.assert_array_equal(index.examples[place], expected[triplet])
        assert index["count"][place] == len(expected[triplet]) and not len(index.augmented[place])
    assert told["triplets"] == len(index) and told["relations"] == len(index.examples) == rows
    assert np.isnan(index["similarity"]).all() and np.isnan(index["hardness"]).all() and not len(index.augmented)
    counts = features.counts
    for role in ROLES:
        bands = np.array(BANDS)[index[f"{role}_band"]]
        np.testing.assert_array_equal(bands, band_of_class(counts.of_role(role))[index[role]])
        np.testing.assert_array_equal(getattr(index.counts, role), getattr(counts, role))


def test_augmented_rows_similarity_and_hardness_are_those_of_the_stage_triplets(browsed):
    index, augmented = TripletIndex.open(browsed / "index"), pd.read_parquet(browsed / "triplets" / "augmented.parquet")
    captions = pd.read_parquet(browsed / "triplets" / "captions.parquet")
    embeddings = np.load(browsed / "triplets" / "caption_embeddings.npy").astype(np.float64)
    with np.load(browsed / "triplets" / "hardness.npz") as arrays:
        distances = np.linalg.norm(embeddings[:, None] - arrays["centroids"], axis=2)
    shares = distances / distances.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(index["hardness"], -(shares * np.log(shares)).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(index.triplets(np.arange(len(index))), captions[ROLE_LIST].to_numpy())
    np.testing.assert_array_equal(index["count"] > 0, captions["original"])
    groups = augmented.groupby(ROLE_LIST)
    for place, triplet in enumerate(map(tuple, index.triplets(np.arange(len(index))).tolist())):
        rows = groups.groups.get(triplet, [])
        np.testing.assert_array_equal(index.augmented[place], rows)
        np.testing.assert_equal(index["similarity"][place], augmented["similarity"][rows].max())  # NaN of none
    assert index["augmented"].sum() == len(index.augmented) == len(augmented)


def test_places_orders_and_captions(browsed):
    index = TripletIndex.open(browsed / "index")
    triplets = index.triplets(np.arange(len(index)))
    captions = index.vocabulary.captions(triplets)
    assert index.caption(3) == captions[3]
    texts = [folded(caption) for caption in captions]
    assert [texts[place] for place in index.order("name")] == sorted(texts)
    for sort in SORTS:
        assert sorted(index.order(sort)) == list(range(len(index)))
    for sort, sign in (("frequency", -1), ("rarity", 1)):
        expected = np.lexsort((np.arange(len(index)), sign * index["count"]))
        np.testing.assert_array_equal(index.order(sort), expected)
    for sort, column, sign in (("hardness", "hardness", -1), ("ease", "hardness", 1), ("similarity", "similarity", -1)):
        known = sign * index[column][index.order(sort)]
        count = np.isfinite(known).sum()
        assert (np.diff(known[:count]) >= 0).all() and np.isnan(known[count:]).all()
    np.testing.assert_array_equal(index.order("random"), TripletIndex.open(browsed / "index").order("random"))


def test_other_features_and_damaged_files_are_named(browsed, tmp_path):
    other = write_features(tmp_path / "f", VOCABULARY, {"train": 30}, seed=9, dimension=1).folder
    with pytest.raises(WorkbenchError, match=r"captions\.parquet: expected the"):
        write_triplet_index(tmp_path / "a", features=other, triplets=browsed / "triplets")
    write_triplet_index(tmp_path / "b", features=other)
    refused(r"triplets\.parquet: the file is missing", TripletIndex.open, tmp_path)
    for name in ("rows.npz", "triplets.parquet"):
        whole = (tmp_path / "b" / name).read_bytes()
        (tmp_path / "b" / name).write_bytes(whole[: len(whole) // 2])
        refused("Delete the folder", TripletIndex.open, tmp_path / "b")
        (tmp_path / "b" / name).write_bytes(whole)


def test_nearest_triplets_share_two_classes_and_are_ranked(browsed):
    index = TripletIndex.open(browsed / "index")
    embeddings = np.load(browsed / "triplets" / "caption_embeddings.npy", mmap_mode="r").astype(np.float16)
    unit = embeddings.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    triplets = index.triplets(np.arange(len(index)))
    for place in range(0, len(index), 7):
        fits = ((triplets == triplets[place]).sum(axis=1) == 2) & (index["count"] > 0)
        for vectors, score in ((None, index["count"]), (embeddings, unit @ unit[place])):
            found = nearest_triplets(index, place, vectors, most=6)
            np.testing.assert_allclose(score[found.index], np.sort(score[fits])[::-1][:6], atol=1e-9)
            assert fits[found.index].all() and found[ROLE_LIST].to_numpy().tolist() == triplets[found.index].tolist()
            assert found["count"].tolist() == index["count"][found.index].tolist()
            assert found["similarity"].isna().all() == (vectors is None or not len(found))
    refused("caption embeddings", nearest_triplets, index, 0, embeddings[:-1])


@pytest.mark.parametrize(("objects", "most"), [(1, 40), (12, 40), (40, 40), (41, 40), (300, 4), (1703, 40), (1703, 17)])
def test_bars_cover_all_ranks_once_and_stay_in_a_band(objects, most):
    vocabulary = Vocabulary(tuple(map(str, range(objects))), tuple(map(str, range(max(2, objects // 5)))))
    relations = long_tailed(5000, vocabulary, seed=objects)
    counts = count_classes(relations, vocabulary)
    for role in ROLES:
        bars, occurrences = class_bars(counts, role, most), counts.of_role(role)
        order = [number for classes in bars["classes"] for number in classes]
        assert sorted(order) == list(range(len(occurrences))) and (np.diff(occurrences[order]) <= 0).all()
        assert len(bars) <= most
        widths = bars["last_rank"] - bars["first_rank"] + 1
        assert widths.tolist() == bars["classes"].map(len).tolist() and bars["last_rank"].iloc[-1] == len(occurrences)
        assert (bars["first_rank"].iloc[1:].to_numpy() == bars["last_rank"].iloc[:-1] + 1).all()
        if len(occurrences) <= most:
            assert (widths == 1).all()
        elif most == 40:
            assert len(bars) > 30
        band = band_of_class(occurrences)
        for bar in bars.itertuples():
            here = occurrences[list(bar.classes)]
            assert set(band[list(bar.classes)]) == {bar.band}
            assert (here.max(), here.min()) == (bar.most_count, bar.fewest_count)
