import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from annotated_scenes.annotations import image_folder_of, read_annotations
from published_scenes import prepare
from published_scenes.known_data_sets import KNOWN, look_for, other_kind
from published_scenes.prepare import TRAIN_TRIPLETS, add_data_set, compare_frequencies, write_upstream_files
from tests.scenes.conftest import change
from workbench.errors import WorkbenchError
from workbench.scenes.relations import TABLES, RelationTables
from workbench.scenes.vocabulary import SPLITS


@pytest.fixture
def root(annotation_folder, tmp_path):
    """A folder in which GQA-LT's annotations, in miniature, were unpacked."""

    def make(seed=0):
        place = tmp_path / f"root{seed}"
        (place / "gvqa").mkdir(parents=True)
        shutil.move(annotation_folder(seed, 6), place / "gvqa/seed0")
        return place

    return make


def problems_of(found):
    return {part.what.rsplit("/", 1)[-1]: part.state for part in found.missing if part.required}


def test_a_whole_data_set(root):
    found = look_for("gqa-lt", root())
    assert found.usable and found.annotation_folder == found.root / "gvqa/seed0" and found.image_folder is None
    assert set(found.files) >= {"objects.json", "rel_annotations_test.json"}
    # The miniature has other numbers of classes and images than the published data set.
    assert len(found.warnings) == 5 and any("5 classes" in warning and "1,703" in warning for warning in found.warnings)
    optional = {part.what for part in found.missing}
    assert {"objects_synsets.csv", "rel_annotations_train.csv"} <= optional
    assert look_for("gqa-lt", found.annotation_folder).usable and look_for("gqa-lt", found.root / "gvqa").usable


@pytest.mark.parametrize("name", KNOWN)
def test_an_empty_folder_names_each_part_and_its_place(tmp_path, name):
    found = look_for(name, tmp_path)
    report, known = found.report(), KNOWN[name]
    assert not found.usable and found.annotation_folder is None
    required = [tmp_path / known.annotation_folders[0] / file for file in known.required()]
    assert all(str(path) in report for path in required) and len(problems_of(found)) == len(required)
    assert known.annotations_published in report and known.images_published in report
    assert all(part.purpose and part.published for part in found.missing)
    with pytest.raises(WorkbenchError, match="Nothing was added"):
        add_data_set(tmp_path / "out", name=name, root=tmp_path)


def test_a_half_unpacked_archive(root):
    place = root()
    folder = place / "gvqa/seed0"
    text = (folder / "rel_annotations_train.json").read_text()
    (folder / "rel_annotations_train.json").write_text(text[: len(text) // 2])
    (folder / "detections_val.json").write_text("")
    (folder / "rel_annotations_test.json").unlink()
    (folder / "predicates.json").write_text("7")
    (place / "gvqa/gvqa.zip").touch()
    found = look_for("gqa-lt", place)
    states = problems_of(found)
    assert set(states) == {
        *("rel_annotations_train.json", "detections_val.json", "rel_annotations_test.json", "predicates.json")
    }
    assert "cut short" in states["rel_annotations_train.json"] and "line 1" in states["rel_annotations_train.json"]
    assert "zero bytes" in states["detections_val.json"] and states["rel_annotations_test.json"] == "missing"
    assert "gvqa.zip" in found.report()


def test_image_folders(root, tmp_path):
    place = root()
    for name in ("images1", "images"):
        (place / "gvqa" / name).mkdir()
        assert look_for("gqa-lt", place).image_folder == place / "gvqa" / name
        assert look_for("gqa-lt", place / "gvqa/seed0").image_folder.resolve() == place / "gvqa" / name
    assert look_for("gqa-lt", place, image_folder=tmp_path).image_folder == tmp_path
    assert look_for("gqa-lt", place, image_folder=tmp_path / "none").image_folder is None
    assert look_for("vrd", tmp_path).image_folder is None
    (tmp_path / "sg_test_images").mkdir()
    assert look_for("vrd", tmp_path).image_folder == tmp_path


def test_unknown_names_and_folders(tmp_path):
    with pytest.raises(WorkbenchError, match="gqa-lt, vg8k-lt, vrd"):
        look_for("gqa", tmp_path)
    with pytest.raises(WorkbenchError, match="no such folder"):
        look_for("vrd", tmp_path / "none")


@pytest.mark.parametrize("seed", range(2))
def test_what_is_added(root, tmp_path, seed):
    place, out = root(seed), tmp_path / "out"
    (place / "gvqa/objects_synsets.csv").write_bytes(b"object_name,synset\r\nman,man.n.01\r\n")
    (place / "gvqa/predicates_synsets.csv").write_bytes(b"predicate_name,synset\r\non,on.r.01\r\n")
    (place / "gvqa/seed0/objects_freqs.json").write_text('{"man": 100000}')
    found = add_data_set(out, name="gqa-lt", root=place)
    for split in SPLITS:
        tables, expected = RelationTables.open(out / split), read_annotations(place / "gvqa/seed0", split)
        for name in TABLES:
            pd.testing.assert_frame_equal(getattr(tables, name), getattr(expected, name))
    assert (out / "objects_synsets.csv").read_bytes() == (place / "gvqa/objects_synsets.csv").read_bytes()
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        *("objects.json", "predicates.json", "card.json", "source.json", "checked.json", "problems.txt"),
        *("rel_annotations_train.csv", "predicates_freqs.json", "objects_synsets.csv", "predicates_synsets.csv"),
    }
    assert found["splits"] == json.loads((out / "card.json").read_text())["splits"]
    assert found["frequencies"]["objects_freqs.json"]["largest"][0]["file"] == 100000
    assert found["problems"] == {"errors": 0, "warnings": 0, "kinds": {}} and found["images"] is None
    assert json.loads((out / "source.json").read_text())["annotations"] == str(place / "gvqa/seed0")
    assert any("6 images, the published data set has 72,580" in text for text in found["differs_from_published"])
    assert json.loads(json.dumps(found)) == found
    assert "predicates_synsets.csv: 4 of 5 objects have no synset (" in found["table_gaps"][0]


def test_a_killed_addition_resumes(root, tmp_path, monkeypatch, capsys):
    place, finished = root(), 1
    add_data_set(tmp_path / "whole", name="gqa-lt", root=place)
    read, calls = prepare.read_annotations, []

    def killed(folder, split, image_folder):
        calls.append(split)
        if len(calls) > finished:
            raise KeyboardInterrupt
        return read(folder, split, image_folder)

    monkeypatch.setattr(prepare, "read_annotations", killed)
    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt):
        add_data_set(tmp_path / "out", name="gqa-lt", root=place)
    assert capsys.readouterr().out.splitlines()[-1] == f"GQA-LT, {SPLITS[finished]}"
    calls.clear()
    monkeypatch.setattr(prepare, "read_annotations", lambda *given: calls.append(given[1]) or read(*given))
    monkeypatch.setattr(prepare, "check_annotations", None)  # the check had passed
    add_data_set(tmp_path / "out", name="gqa-lt", root=place)
    assert calls == list(SPLITS[finished:])
    for path in (tmp_path / "whole").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes(), path


def test_changed_annotations_and_needless_validation_images_are_refused(root, tmp_path):
    place, out = root(), tmp_path / "out"
    with pytest.raises(WorkbenchError, match="validation_images"):
        add_data_set(out, name="gqa-lt", root=place, validation_images=3)
    add_data_set(out, name="gqa-lt", root=place)
    change(place / "gvqa/seed0/rel_annotations_val.json", lambda by_name: {k: v[:1] for k, v in by_name.items()})
    with pytest.raises(WorkbenchError, match="other annotations"):
        add_data_set(out, name="gqa-lt", root=place)


def test_only_what_makes_reading_impossible_is_refused(root, tmp_path):
    place, out = root(), tmp_path / "out"
    path = place / "gvqa/seed0/rel_annotations_test.json"

    def set_subject(**fields):
        return lambda by_name: next(iter(by_name.values()))[0]["subject"].update(fields)

    change(path, set_subject(bbox=[5000, 5010, 0, 5]))
    found = add_data_set(tmp_path / "outside", name="gqa-lt", root=place)
    assert found["problems"]["errors"] >= 1 and found["splits"]["test"]["boxes_wholly_outside"] >= 1
    assert "box outside the image" in (tmp_path / "outside/problems.txt").read_text()
    change(path, set_subject(category=99))
    with pytest.raises(WorkbenchError, match=r"(?s)nothing was added.*unknown class id.*found 99"):
        add_data_set(out, name="gqa-lt", root=place)
    assert not (out / "train").exists()


def test_vrd_with_the_published_numbers(real_data, tmp_path):
    found = add_data_set(tmp_path, name="vrd", root=real_data / "vrd")
    assert found["differs_from_published"] == [] and list(found["splits"]) == ["train", "test"]
    assert (
        found["splits"]["train"]["relations"] == 30355 and found["splits"]["test"]["triplets_unseen_in_train"] == 1029
    )
    # Two train boxes lie outside their image altogether, so "any error" would refuse this very data set.
    assert found["splits"]["train"]["boxes_wholly_outside"] == 2 and found["problems"]["errors"] == 4
    assert len(json.loads(Path(found["text"]["objects"]).read_text())) == found["object_classes"] == 100
    assert look_for("vrd", real_data / "vrd").warnings == []
    # The 4,000 and 1,000 include images that nobody annotated a relation in.
    for split, without in (("train", 220), ("test", 45)):
        images, relations = (
            json.loads((tmp_path / f"annotations/{kind}_{split}.json").read_text())
            for kind in ("detections", "rel_annotations")
        )
        assert len(images["images"]) - sum(map(bool, relations.values())) == without


@pytest.mark.parametrize("data_set", ["gqa-lt", "vg8k-lt"])
def test_upstream_files_hold_names_and_plain_counts(annotation_folder, tmp_path, data_set):
    folder, out, files = annotation_folder(images=12), tmp_path / "out", KNOWN[data_set].frequency_files
    objects = ['a "man", old', "dog", "null", "été", "street"]
    (folder / "objects.json").write_text(json.dumps(objects))
    train = read_annotations(folder, "train")
    write_upstream_files(out, train.relations, train.vocabulary, names=files, given={})
    assert {path.name for path in out.iterdir()} == {TRAIN_TRIPLETS, *files}
    subject, object_ = ([objects[k] for k in train.relations[role]] for role in ("subject", "object"))
    relation = [train.vocabulary.relations[k] for k in train.relations["relation"]]
    with open(out / TRAIN_TRIPLETS, encoding="utf-8", newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    assert rows == [("sbj_gt", "obj_gt", "rel_gt"), *zip(subject, object_, relation, strict=True)]
    for name, ends, names in zip(
        files, (subject + object_, relation), (objects, train.vocabulary.relations), strict=True
    ):
        assert json.loads((out / name).read_text()) == {label: ends.count(label) for label in names}
    given = {files[0]: out / files[0]}
    found = write_upstream_files(tmp_path / "rest", train.relations, train.vocabulary, names=files, given=given)
    assert found[files[0]]["differ"] == 0 and not (tmp_path / "rest" / files[0]).exists()


def test_differences_are_counted(tmp_path):
    path = tmp_path / "objects_freqs.json"
    path.write_text(json.dumps({"a": 5, "b": 2, "c": 0, "other": 9}))
    found = compare_frequencies(path, {"a": 5, "b": 12, "c": 3, "d": 0})
    largest = [{"name": "b", "file": 2, "ours": 12}, {"name": "c", "file": 0, "ours": 3}]
    assert found == {"classes": 4, "differ": 2, "unknown": 1, "largest": largest}
    for wrong in ("[1]", '{"a": 1.5}', '{"a": true}', "{"):
        path.write_text(wrong)
        with pytest.raises(WorkbenchError, match=r"objects_freqs\.json"):
            compare_frequencies(path, {"a": 1})


@pytest.mark.parametrize("place", ["data/vg/seed3", "data/vg", "data/vg8k/seed3"])
def test_ltvrrs_folders_are_found_from_its_root_downwards(annotation_folder, tmp_path, place):
    shutil.copytree(annotation_folder(), tmp_path / "ltvrr" / place)
    images = tmp_path / "ltvrr" / "/".join(place.split("/")[:2]) / "VG_100K"
    images.mkdir()
    assert str(tmp_path / "ltvrr" / place) in other_kind(tmp_path / "ltvrr")
    for root in (tmp_path / "ltvrr" / place, *(tmp_path / "ltvrr" / place).parents):
        found = look_for("vg8k-lt", root)
        assert found.usable and found.annotation_folder == tmp_path / "ltvrr" / place
        assert found.image_folder is not None and found.image_folder.resolve() == images
        if root == tmp_path / "ltvrr":
            break
    assert image_folder_of(tmp_path / "ltvrr" / place) == images


def test_a_synset_table_of_other_names_is_refused_before_anything_is_added(root, tmp_path):
    place = root()
    names = json.loads((place / "gvqa/seed0/objects.json").read_text())
    for table, column in (("objects_synsets.csv", "object_name"), ("predicates_synsets.csv", "predicate_name")):
        lines = [f"{name.upper()},{name}.n.01" for name in names]
        (place / "gvqa" / table).write_text("\n".join([f"{column},synset", *lines]))
    with pytest.raises(WorkbenchError, match=r"none of its .* names of objects is a class"):
        add_data_set(tmp_path / "out", name="gqa-lt", root=place)
    assert not list((tmp_path / "out").glob("*/relations.parquet"))
