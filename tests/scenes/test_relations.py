import json

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS, band_of_class, band_of_present_class, band_places, count_classes
from workbench.scenes.relations import distinct_triplets, triplet_keys
from workbench.scenes.vocabulary import Vocabulary


@pytest.mark.parametrize(("classes", "sizes"), [(1703, [86, 255, 1362]), (310, [16, 46, 248]),
                                                (5330, [267, 799, 4264])])  # fmt: skip
def test_sizes_of_the_published_bands(classes, sizes):
    band = band_of_class(np.random.default_rng(0).integers(0, 50, classes))
    assert [int((band == name).sum()) for name in BANDS] == sizes


def test_places_of_bands_are_their_positions():
    names = np.random.default_rng(0).choice([*BANDS, "", "rare"], 200)
    for kind in (str, object):
        places = band_places(names.astype(kind))
        assert places.dtype == np.int8
        assert places.tolist() == [BANDS.index(name) if name in BANDS else -1 for name in names]


@pytest.mark.parametrize("classes", [1, 2, 5, 19, 20, 21, 100])
def test_bands_follow_frequency_and_ties_follow_the_class_id(classes):
    counts = np.random.default_rng(classes).integers(0, 4, classes)
    band = band_of_class(counts)
    rank = {name: place for place, name in enumerate(BANDS)}
    order = sorted(range(classes), key=lambda k: (-counts[k], k))
    ranks = [rank[str(band[k])] for k in order]
    assert ranks == sorted(ranks) and ranks.count(rank["few"]) == int(0.80 * classes)


@pytest.mark.parametrize("seed", range(3))
def test_present_classes_are_banded_among_themselves(seed):
    random = np.random.default_rng(seed)
    counts, present = random.integers(0, 9, 60), random.random(60) < 0.6
    band = band_of_present_class(counts, present)
    assert (band[~present] == "").all() and band[present].tolist() == band_of_class(counts[present]).tolist()


def test_counts_of_ends_and_relations(reference_fixtures):
    from annotated_scenes.annotations import read_annotations

    folder = reference_fixtures / "annotations/gvqa/seed0"
    annotations = read_annotations(folder, "train")
    counts = count_classes(annotations.relations, annotations.vocabulary)
    names = annotations.vocabulary
    expected = [json.loads((folder / f"{name}_freqs.json").read_text()) for name in ("objects", "predicates")]
    assert dict(zip(names.objects, counts.objects.tolist(), strict=True)) == expected[0]
    assert dict(zip(names.relations, counts.relation.tolist(), strict=True)) == expected[1]


def test_upstream_class_lists(reference_fixtures):
    metrics = reference_fixtures / "metrics"
    data = metrics / "data/gvqa/seed0"
    detections = np.load(metrics / "detections.npz")
    expected = json.loads((metrics / "expected.json").read_text())["exact"]["classes"]
    for short, label, file in (("sbj", "sbj", "objects"), ("obj", "obj", "objects"), ("rel", "prd", "predicates")):
        names = json.loads((data / f"{file}.json").read_text())
        frequencies = json.loads((data / f"{file}_freqs.json").read_text())
        counts = np.array([frequencies.get(name, 0) for name in names])
        present = np.isin(np.arange(len(names)), detections[f"gt_{label}_labels"])
        band = band_of_present_class(counts, present)
        for name, upstream_name in (("many", "many"), ("medium", "med"), ("few", "few")):
            assert {names[k] for k in np.flatnonzero(band == name)} == set(expected[short][upstream_name])


def test_no_relations_count_as_zero_and_unknown_ids_are_refused():
    empty = pd.DataFrame({"subject": [], "relation": [], "object": []}, dtype=np.int64)
    counts = count_classes(empty, Vocabulary(("man", "hat"), ("on",)))
    assert counts.objects.tolist() == [0, 0] and counts.relation.tolist() == [0]
    with pytest.raises(WorkbenchError, match="class id 1 is unknown"):
        count_classes(pd.DataFrame({"subject": [0], "relation": [1], "object": [0]}), Vocabulary(("man",), ("on",)))


@pytest.mark.parametrize("rows", [0, 1, 60, 3000])
def test_distinct_triplets_are_those_of_numpy(rows):
    triplets = np.random.default_rng(rows).integers(0, 9, (rows, 3))
    distinct, row = distinct_triplets(*triplets.T)
    expected, place = np.unique(triplets, axis=0, return_inverse=True)
    np.testing.assert_array_equal(distinct, expected)
    np.testing.assert_array_equal(row, place.reshape(-1))


@pytest.mark.parametrize("wrong", [-1, 1 << 21])
def test_what_is_no_class_id_is_named(wrong):
    refused(f"relation class {wrong}", triplet_keys, [1, 2], [0, wrong], [3, 4])
