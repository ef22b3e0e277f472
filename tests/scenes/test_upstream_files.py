import csv
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.scenes.annotations import read_annotations
from workbench.scenes.data_sets import TRAIN_TRIPLETS, compare_frequencies, write_upstream_files
from workbench.scenes.known_data_sets import KNOWN

GQA_FREQUENCIES, VG8K_FREQUENCIES = (KNOWN[name].frequency_files for name in ("gqa-lt", "vg8k-lt"))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("names", [GQA_FREQUENCIES, VG8K_FREQUENCIES])
def test_files_equal_a_plain_count(annotation_folder, tmp_path, seed, names):
    folder, out = annotation_folder(seed, 12), tmp_path / "out"
    objects, relations = (json.loads((folder / f"{name}.json").read_text()) for name in ("objects", "predicates"))
    triplets, counts = Counter(), {"objects": Counter(), "relations": Counter()}
    for found in json.loads((folder / "rel_annotations_train.json").read_text()).values():
        for relation in found:
            subject, object_ = (objects[relation[role]["category"]] for role in ("subject", "object"))
            triplets[subject, object_, relations[relation["predicate"]]] += 1
            counts["objects"].update([subject, object_])
            counts["relations"][relations[relation["predicate"]]] += 1
    train = read_annotations(folder, "train")
    write_upstream_files(out, train.relations, train.vocabulary, names=names)
    table = pd.read_csv(out / TRAIN_TRIPLETS)
    assert list(table.columns) == ["sbj_gt", "obj_gt", "rel_gt"]
    assert Counter(table.itertuples(index=False, name=None)) == triplets
    for name, kind, classes in zip(names, counts.values(), (objects, relations), strict=True):
        assert json.loads((out / name).read_text()) == {label: kind[label] for label in classes}
    assert {path.name for path in out.iterdir()} == {TRAIN_TRIPLETS, *names}


def test_names_with_commas_and_files_that_stay(annotation_folder, tmp_path):
    folder = annotation_folder()
    names = ['a "man", old', "dog", "null", "été", "street"]
    (folder / "objects.json").write_text(json.dumps(names))
    (tmp_path / GQA_FREQUENCIES[0]).write_text("mine")
    train = read_annotations(folder, "train")
    write_upstream_files(tmp_path, train.relations, train.vocabulary, names=GQA_FREQUENCIES, keep=[GQA_FREQUENCIES[0]])
    assert (tmp_path / GQA_FREQUENCIES[0]).read_text() == "mine"
    with open(tmp_path / TRAIN_TRIPLETS, encoding="utf-8", newline="") as file:
        found = {row["sbj_gt"] for row in csv.DictReader(file)} | {None}
    assert found <= {*names, None}


def test_differences_are_counted(tmp_path):
    path = tmp_path / "objects_freqs.json"
    path.write_text(json.dumps({"a": 5, "b": 2, "c": 0, "other": 9}))
    found = compare_frequencies(path, np.array([5, 12, 3, 0]), ("a", "b", "c", "d"))
    largest = [{"name": "b", "file": 2, "ours": 12}, {"name": "c", "file": 0, "ours": 3}]
    assert found == {"classes": 4, "differ": 2, "unknown": 1, "largest": largest}
    for wrong in ("[1]", '{"a": 1.5}', '{"a": true}', "{"):
        path.write_text(wrong)
        with pytest.raises(WorkbenchError, match=r"objects_freqs\.json"):
            compare_frequencies(path, np.array([1]), ("a",))
