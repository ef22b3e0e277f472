import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from annotated_scenes import annotation_files
from annotated_scenes import annotations as annotations_module
from annotated_scenes.annotation_files import JsonFile, decoded
from annotated_scenes.annotations import read_annotations, splits_of
from tests.scenes.conftest import change
from tests.upstream.detection_boxes import detection_boxes
from workbench.scenes.relations import BOX_COLUMNS, union_boxes
from workbench.scenes.vocabulary import SPLITS


@pytest.mark.parametrize("split", SPLITS)
def test_upstream_triples_and_detection_boxes_in_loader_order(reference_fixtures, split):
    folder = reference_fixtures / "annotations"
    expected = json.loads((folder / "expected.json").read_text())[split]["images"]
    expected = [image for image in expected if not image["flipped"]]
    annotations = read_annotations(folder / "gvqa/seed0", split)
    detections = detection_boxes(folder / "gvqa/seed0", split)
    for column in ("file_name", "width"):
        assert annotations.images[column].tolist() == [image[column] for image in expected]
    boxes = annotations.boxes_xyxy()
    for place, image in enumerate(expected):
        found = [
            {"subject_box": boxes[row.subject_box].tolist(), "object_box": boxes[row.object_box].tolist(),
             "subject_class": row.subject, "object_class": row.object, "predicate": row.relation}
            for row in annotations.relations[annotations.relations["image"] == place].itertuples()
        ]  # fmt: skip
        assert found == image["triples"]
        here = detections[detections["image"] == place]
        assert here[BOX_COLUMNS].to_numpy().tolist() == image["detection_boxes"]
        assert here["detection_class"].tolist() == image["detection_classes"]


@pytest.mark.parametrize(("seed", "images"), [(0, 1), (1, 4), (2, 30)])
def test_tables_equal_a_plain_loop(annotation_folder, seed, images):
    folder = annotation_folder(seed, images)
    annotations = read_annotations(folder, "train")
    entries = json.loads((folder / "detections_train.json").read_text())["images"]
    by_name = json.loads((folder / "rel_annotations_train.json").read_text())
    entries = sorted((entry for entry in entries if entry["file_name"] in by_name), key=lambda entry: entry["id"])
    assert annotations.images["image_id"].tolist() == [entry["id"] for entry in entries]
    number_of_box, relations = {}, []
    for place, entry in enumerate(entries):
        for relation in by_name[entry["file_name"]]:
            row = [place]
            for role in ("subject", "object"):
                y1, y2, x1, x2 = relation[role]["bbox"]
                key = (place, x1, y1, x2, y2, relation[role]["category"])
                row.append(number_of_box.setdefault(key, len(number_of_box)))
            row += [relation["subject"]["category"], relation["predicate"], relation["object"]["category"]]
            relations.append(row)
    assert annotations.relations.to_numpy().tolist() == relations
    assert [tuple(box) for box in annotations.boxes.to_numpy().tolist()] == list(number_of_box)
    assert annotations.boxes["x1"].dtype == np.float32


def test_union_of_many_pairs():
    random = np.random.default_rng(0)
    a, b = (np.sort(random.integers(0, 50, (200, 2, 2)), axis=1).reshape(200, 4).astype(np.float32) for _ in range(2))
    union = union_boxes(a, b)
    assert union.dtype == np.float32 and (union == union_boxes(b, a)).all() and (union_boxes(union, a) == union).all()
    assert (union[:, :2] <= a[:, :2]).all() and (union[:, 2:] >= b[:, 2:]).all()


def test_image_folder_in_or_beside_the_annotations(annotation_folder, tmp_path):
    folder = annotation_folder()
    (folder.parent / "images").mkdir()
    assert read_annotations(folder, "val").image_folder == folder.parent / "images"
    (folder / "images").mkdir()
    annotations = read_annotations(folder, "val")
    assert annotations.image_path(0) == folder / "images" / annotations.images["file_name"][0]
    assert read_annotations(folder, "val", image_folder=tmp_path).image_folder == tmp_path


def test_boxes_that_reach_outside_are_kept_and_images_without_an_entry_left_out(annotation_folder):
    folder = annotation_folder()
    whole = read_annotations(folder, "train")

    def spoil(by_name):
        by_name[whole.images["file_name"][0]][0]["subject"]["bbox"] = [-3, 20.5, -7, 9999]
        return {"lost.jpg": next(iter(by_name.values())), **by_name}

    change(folder / "rel_annotations_train.json", spoil)
    with pytest.warns(UserWarning, match="1 image"):
        found = read_annotations(folder, "train")
    assert found.boxes_xyxy()[0].tolist() == [-7, -3, 9999, 20.5] and len(found.relations) == len(whole.relations)


@pytest.mark.parametrize(("images", "relations"), [(1, 1), (3, 5), (500, 7)])
def test_tables_do_not_depend_on_the_size_of_pieces(annotation_folder, monkeypatch, images, relations):
    folder = annotation_folder(3, 25)
    whole = read_annotations(folder, "train")
    monkeypatch.setattr(annotation_files, "IMAGES_PER_PIECE", images)
    monkeypatch.setattr(annotations_module, "RELATIONS_PER_BLOCK", relations)
    pieces = read_annotations(folder, "train")
    for name in ("images", "boxes", "relations"):
        pd.testing.assert_frame_equal(getattr(whole, name), getattr(pieces, name))


def test_splits_of_a_folder_without_val(annotation_folder):
    folder = annotation_folder()
    assert splits_of(folder) == SPLITS
    (folder / "detections_val.json").unlink()
    assert splits_of(folder) == ("train", "test")
    (folder / "rel_annotations_train.json").unlink()
    assert splits_of(folder) == ("test",)


def test_unicode_names_fractions_and_unlisted_images(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    images = [{"id": 90, "file_name": "größe 猫.jpg", "width": 90, "height": 80, "score": 0.5}]
    images += [{"id": 7, "file_name": "b/c[{.jpg", "width": 50, "height": 40}]
    end = {"bbox": [1.5, 20, 3, 30.25], "category": 0}
    relations = {"b/c[{.jpg": [], "lost.jpg": "no list, and never looked at"}
    relations["größe 猫.jpg"] = [{"subject": end, "object": {**end, "category": 1}, "predicate": 0, "note": None}]
    for escaped in (True, False):
        for name, value in (
            ("objects", ["Käse", "猫"]),
            ("predicates", ["auf"]),
            ("detections_train", {"images": images, "categories": [], "annotations": []}),
            ("rel_annotations_train", relations),
        ):
            (folder / f"{name}.json").write_text(json.dumps(value, ensure_ascii=escaped), encoding="utf-8")
        with pytest.warns(UserWarning, match="1 image"):
            annotations = read_annotations(folder, "train")
        assert annotations.images["file_name"].tolist() == ["b/c[{.jpg", "größe 猫.jpg"]
        assert annotations.boxes.to_numpy().tolist() == [[1, 3, 1.5, 30.25, 20, 0], [1, 3, 1.5, 30.25, 20, 1]]
        assert annotations.vocabulary.objects == ("Käse", "猫")


def test_a_large_file_is_not_held_as_objects(tmp_path):
    entry = {"bbox": list(np.arange(4) * 3.5), "category": 3}
    text = json.dumps({f"{number}.jpg": [entry] * 20 for number in range(3000)})
    (tmp_path / "large.json").write_text(text)
    members = JsonFile(tmp_path / "large.json").members
    tracemalloc.start()
    for raw in members.values():
        decoded(raw, list[dict])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(text) / 20
