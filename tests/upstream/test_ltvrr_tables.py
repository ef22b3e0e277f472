"""Our metrics against the numbers that upstream's own evaluation printed and computed."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from tests.upstream import ltvrr_tables as ltvrr
from workbench.language.synset_tables import read_synsets, synset_hits, synset_ids
from workbench.recognition.accuracy import accuracy_per_example, per_class_table, summary_table
from workbench.recognition.lsvru import ROLES
from workbench.recognition.upstream import SHORT, result_table, write_result_csv
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import Vocabulary

PERCENT_POINTS = 1e-9
BAND_OF = {"many": "many", "med": "medium", "few": "few", "all": "all"}
MODES = ("exact", "synset_gvqa", "synset_vg8k")


class Upstream:
    def __init__(self, folder):
        data = folder / "data" / "gvqa" / "seed0"
        self.folder, self.data = folder, data
        self.expected = json.loads((folder / "expected.json").read_text())
        self.vocabulary = Vocabulary.read(data)
        seen = [json.loads((data / f"{kind}_freqs.json").read_text()) for kind in ("objects", "predicates")]
        names = (self.vocabulary.objects, self.vocabulary.relations)
        ends, relations = (np.array([n.get(name, 0) for name in of]) for n, of in zip(seen, names, strict=True))
        self.counts = Counts(ends, relations, 0 * ends)
        csv = folder / "rel_detections_gt_boxes_prdcls.csv"
        self.truth, self.predicted, self.ranks = ltvrr.read_result_csv(csv, self.vocabulary)

    def synsets(self, mode):
        folder = self.data.parent if mode == "synset_gvqa" else self.folder / "data" / "vg8k"
        return synset_ids(self.vocabulary, read_synsets(folder, self.vocabulary))

    def hits(self, mode):
        exact = {role: self.truth[role] == self.predicted[role] for role in ROLES}
        if mode == "exact":
            return pd.DataFrame(exact)
        ids = self.synsets(mode)
        of_role = {role: ids["relations" if role == "relation" else "objects"] for role in ROLES}
        ends = {role: (self.truth[role].to_numpy(), self.predicted[role].to_numpy()) for role in ROLES}
        return pd.DataFrame({role: synset_hits(*ends[role], of_role[role]) for role in ROLES})


@pytest.fixture(scope="module")
def upstream(reference_fixtures):
    return Upstream(reference_fixtures / "metrics")


@pytest.mark.parametrize("mode", MODES)
def test_bands_of_each_role_are_upstreams(upstream, mode):
    synsets = None if mode == "exact" else upstream.synsets(mode)
    per_class = per_class_table(upstream.truth, upstream.predicted, upstream.vocabulary, upstream.counts,
                                band_rule="present classes", synsets=synsets)  # fmt: skip
    metric = "exact" if mode == "exact" else "synset"
    summary = summary_table(per_class)
    found = summary[summary["metric"] == metric].set_index(["role", "band"])["accuracy"]
    names = {"sbj": "subject", "obj": "object", "rel": "relation", "sbj_obj": "subject/object"}
    for short, role in names.items():
        for band in BAND_OF:
            expected = upstream.expected[mode][short][band]
            assert found[role, BAND_OF[band]] == pytest.approx(expected, abs=PERCENT_POINTS), (role, band)
    if mode == "exact":
        assert found["combined", "all"] == pytest.approx(upstream.expected["validation_combined"], abs=1e-9)
        for short, bands in upstream.expected[mode]["classes"].items():
            for band, classes in bands.items():
                here = per_class[(per_class["role"] == names[short]) & (per_class["band"] == BAND_OF[band])]
                assert sorted(here["name"]) == sorted(classes)


@pytest.mark.parametrize("mode", MODES)
def test_per_example_numbers_are_upstreams(upstream, mode):
    expected = upstream.expected[mode]
    found = accuracy_per_example(upstream.hits(mode))["relation"]
    assert found == pytest.approx(expected["rel"]["per_example"], abs=PERCENT_POINTS)
    exact = accuracy_per_example(upstream.hits("exact"))
    for short, role in {"sbj": "subject", "obj": "object"}.items():
        assert exact[role] == pytest.approx(expected[short]["per_example_exact"], abs=PERCENT_POINTS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("group", ltvrr.TRIPLET_GROUPS)
def test_triplet_groups_are_upstreams_with_a_stable_sort(upstream, mode, group):
    train = ltvrr.read_train_triplets(upstream.data / "rel_annotations_train.csv", upstream.vocabulary)
    found = ltvrr.triplet_group_accuracy(upstream.truth, upstream.hits(mode), train, group, upstream.vocabulary)
    expected = upstream.expected[mode]["triplet_stable_sort"][group]
    for band, value in expected.items():
        assert found[BAND_OF[band]] == pytest.approx(value, abs=PERCENT_POINTS), band
    assert found["all"] == pytest.approx(upstream.expected[mode]["triplet"][group]["all"], abs=PERCENT_POINTS)


def test_overall_numbers_and_mean_ranks_are_upstreams(upstream):
    expected = upstream.expected["get_metrics_from_csv"]
    hits, short = upstream.hits("exact"), {role: SHORT[role] for role in ROLES}
    simple, ranks = accuracy_per_example(hits), ltvrr.mean_ranks(upstream.truth, upstream.ranks)
    for role in ROLES:
        assert simple[role] == pytest.approx(expected["simple_average"][short[role]], abs=PERCENT_POINTS)
    printed = dict(re.findall(r"^(\S+ \S+) (\d+\.\d\d)$", expected["printed"], re.MULTILINE))
    by_class = ltvrr.triplet_accuracy_by_class(upstream.truth, hits)
    assert f"{simple['triplet']:.2f}" == printed["simple-average triplet"]
    for role in ROLES:
        assert f"{ranks['overall'][role]:.2f}" == printed[f"overall-mr {short[role]}"]
        assert f"{ranks['per_class'][role]:.2f}" == printed[f"per-class-mr {short[role]}"]
        assert f"{by_class[role]:.2f}" == printed[f"per-class-average triplet_{short[role]}"]


def test_word_similarities_are_upstreams(upstream):
    folder = upstream.data.parent / "similarity_matrices"
    files = {"lch": "lch", "wup": "wup", "lin": "lin_norm", "path": "path_norm", "w2v_gn": "w2v_gn_norm"}

    def matrix(name, names):
        table = pd.read_csv(folder / f"{name}.csv", index_col=0)
        return table.loc[list(names), list(names)].to_numpy()

    matrices = {f"{role} {measure}": matrix(f"obj_sim_{file}", upstream.vocabulary.objects)
                for role in ("subject", "object") for measure, file in files.items()}  # fmt: skip
    matrices["relation w2v_gn"] = matrix("prd_sim_w2v_gn_norm", upstream.vocabulary.relations)
    found = ltvrr.word_similarity(upstream.truth, upstream.predicted, matrices)
    for scope in ("overall", "per_class"):
        for key, value in upstream.expected["wordsim"][scope].items():
            short, measure = key.split("_", 1)
            role = {"sbj": "subject", "obj": "object", "rel": "relation"}[short]
            assert found[scope][f"{role} {measure}"] == pytest.approx(value, abs=PERCENT_POINTS)


@pytest.fixture(scope="module")
def detections(upstream):
    stored = np.load(upstream.folder / "detections.npz", allow_pickle=False)
    truth = {"subject": stored["gt_sbj_labels"], "relation": stored["gt_prd_labels"], "object": stored["gt_obj_labels"]}
    scores = {"subject": stored["sbj_scores_out"], "relation": stored["prd_scores"][:, 1:],
              "object": stored["obj_scores_out"]}  # fmt: skip
    names = [str(name) for name in stored["image"][stored["image_index"]]]
    boxes = {"subject": stored["gt_sbj_boxes"], "object": stored["gt_obj_boxes"]}
    given = (names, truth, scores, upstream.vocabulary, upstream.counts)
    return {"": result_table(*given), "_boxes": result_table(*given, boxes)}


@pytest.mark.parametrize("variant", ["", "_boxes"])
def test_csv_is_upstreams_byte_by_byte(upstream, detections, tmp_path, variant):
    write_result_csv(tmp_path / "ours.csv", ltvrr.with_frequency_slip(detections[variant]))
    theirs = upstream.folder / f"rel_detections_gt_boxes_prdcls{variant}.csv"
    assert (tmp_path / "ours.csv").read_bytes() == theirs.read_bytes()
