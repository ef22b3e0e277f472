import json

import numpy as np
import pytest
from PIL import Image

from annotated_scenes.annotations import read_annotations, splits_of
from annotated_scenes.check import check_annotations
from published_scenes.vrd import convert_vrd
from tests.upstream.detection_boxes import detection_boxes
from workbench.errors import WorkbenchError

RELATION = {role: {"category": 0, "bbox": [0, 1, 0, 1]} for role in ("subject", "object")} | {"predicate": 0}
NUMBERS = {"train": 12, "test": 5}


def write(path, value):
    path.write_text(json.dumps(value))


def random_relations(random):
    def end():
        (y1, x1), (y2, x2) = random.integers(0, 20, 2).tolist(), random.integers(20, 40, 2).tolist()
        return {"category": int(random.integers(4)), "bbox": [y1, y2, x1, x2]}

    ends = [end() for _ in range(4)]
    pairs = random.integers(4, size=(random.integers(5), 2)).tolist()
    return [{"subject": ends[s], "object": ends[o], "predicate": int(random.integers(3))} for s, o in pairs]


@pytest.fixture
def source(tmp_path):
    """Random files in VRD's layout; one image is a .gif in the sizes alone, one is in the sizes only."""

    def make(seed=0, sizes=True):
        random = np.random.default_rng(seed)
        folder = tmp_path / f"vrd{seed}"
        folder.mkdir()
        write(folder / "objects.json", ["man", "dog", "hat", "tree"])
        write(folder / "predicates.json", ["on", "by", "with"])
        for split, number in NUMBERS.items():
            names = [f"{split}{n}.jpg" for n in range(number)]
            write(folder / f"annotations_{split}.json", {name: random_relations(random) for name in names})
            listed = [*names[:-1], f"{split}{number - 1}.gif", f"{split}_unannotated.jpg"]
            if sizes:
                entries = {name: {"width": 50 + n, "height": 60} for n, name in enumerate(listed)}
                write(folder / f"{split}_image_metadata.json", entries)
        return folder

    return make


@pytest.mark.parametrize("seed", range(3))
def test_relations_go_over_unchanged_and_boxes_become_detections(source, tmp_path, seed):
    folder, out = source(seed), tmp_path / "out"
    convert_vrd(out, source=folder)
    assert splits_of(out) == ("train", "test")
    assert not [problem for problem in check_annotations(out, image_files=False) if problem.severity == "error"]
    for split in splits_of(out):
        given = json.loads((folder / f"annotations_{split}.json").read_text())
        assert json.loads((out / f"rel_annotations_{split}.json").read_text()) == given
        annotations = read_annotations(out, split)
        assert annotations.images["file_name"].tolist() == list(given)
        assert len(json.loads((out / f"detections_{split}.json").read_text())["images"]) == len(given) + 1
        detections = detection_boxes(out, split)
        boxes = [tuple(row) for row in annotations.boxes.to_numpy().tolist()]
        found = detections.assign(detection_class=detections["detection_class"] - 1)
        assert sorted(map(tuple, found.to_numpy().tolist())) == sorted(boxes)


@pytest.mark.parametrize(("seed", "number"), [(0, 1), (0, 4), (5, 4)])
def test_validation_images_leave_train(source, tmp_path, seed, number):
    folder = source()
    convert_vrd(tmp_path / "whole", source=folder)
    for name in ("a", "b"):
        convert_vrd(tmp_path / name, source=folder, validation_images=number, seed=seed)
    whole = read_annotations(tmp_path / "whole", "train")
    train, val = (read_annotations(tmp_path / "a", split) for split in ("train", "val"))
    assert len(val.images) == number and val.relations["image"].nunique() == number
    assert sorted([*train.images["image_id"], *val.images["image_id"]]) == whole.images["image_id"].tolist()
    assert len(train.relations) + len(val.relations) == len(whole.relations)
    for split in ("train", "val", "test"):
        name = f"rel_annotations_{split}.json"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("flat", [True, False])
def test_sizes_and_places_from_the_image_files(source, tmp_path, flat):
    folder, images = source(sizes=False), tmp_path / "images"
    with pytest.raises(WorkbenchError, match=r"(?s)train_image_metadata\.json.*images"):
        convert_vrd(tmp_path / "out", source=folder)
    for split, number in NUMBERS.items():
        place = images if flat else images / f"sg_{split}_images"
        place.mkdir(parents=True, exist_ok=True)
        for n in range(number):
            suffix = "gif" if n == 2 else "jpg"
            Image.new("RGB", (70 + n, 80)).save(place / f"{split}{n}.{suffix}")
    convert_vrd(tmp_path / "out", source=folder, images=images)
    assert check_annotations(tmp_path / "out", images) == []
    test = read_annotations(tmp_path / "out", "test", images)
    assert test.images["width"].tolist() == [70, 71, 72, 73, 74]
    assert test.images["file_name"][2].endswith("test2.gif") and all(test.image_path(n).is_file() for n in range(5))


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("annotations_train.json", [], r"annotations_train\.json"),
        ("annotations_train.json", {"train0.jpg": [{"predicate": 1}]}, r"train0\.jpg"),
        ("annotations_train.json", {"train0.jpg": [RELATION], "b.jpg": [{"predicate": 1}]}, r"b\.jpg.*subject"),
        ("annotations_test.json", {"test0.jpg": [{"subject": {}, "object": {}}]}, r"test0\.jpg"),
        ("annotations_test.json", {"elsewhere.jpg": [RELATION]}, r"(?s)unknown size.*elsewhere\.jpg"),
        ("annotations_test.json", {"test0.jpg": [RELATION], "test1.jpg": [7]}, r"(?s)wrong type.*test1\.jpg"),
        ("annotations_test.json", {"test0.jpg": []}, r"(?s)annotations_test\.json.*no relations"),
        ("objects.json", ["man", "dog", "man"], r"(?s)objects\.json.*'man' again"),
        ("train_image_metadata.json", {"train0.jpg": {"width": "9", "height": 9}}, r"train0\.jpg.*size"),
        ("objects.json", {}, r"objects\.json"),
    ],
)
def test_files_that_are_not_vrd(source, tmp_path, name, value, match):
    folder = source()
    write(folder / name, value)
    with pytest.raises(WorkbenchError, match=match):
        convert_vrd(tmp_path / "out", source=folder)


@pytest.mark.parametrize("number", [-1, 5000])
def test_more_validation_images_than_there_are(source, tmp_path, number):
    with pytest.raises(WorkbenchError, match=f"{number} validation images"):
        convert_vrd(tmp_path / "out", source=source(), validation_images=number)


def test_keys_that_stand_twice_in_the_sizes_are_refused(source, tmp_path):
    folder = source()
    path = folder / "train_image_metadata.json"
    text = path.read_text()
    for spoilt in (text.replace('"train1.jpg"', '"train0.jpg"'), text.replace('"height"', '"height": 9, "height"', 1)):
        path.write_text(spoilt)
        with pytest.raises(WorkbenchError, match=r"(?s)train_image_metadata\.json.*duplicate name.*(train0|height)"):
            convert_vrd(tmp_path / "out", source=folder)
        assert not (tmp_path / "out").exists()


def test_sizes_are_those_of_upright_pictures(source, tmp_path):
    folder, exif = source(sizes=False), Image.Exif()
    exif[0x0112] = 6
    for split, number in NUMBERS.items():
        for n in range(number):
            Image.new("RGB", (120, 90)).save(folder / f"{split}{n}.jpg", exif=exif if n else Image.Exif())
    convert_vrd(tmp_path / "out", source=folder, images=folder)
    sizes = read_annotations(tmp_path / "out", "train").images[["width", "height"]].to_numpy().tolist()
    assert [120, 90] not in sizes[1:] and sizes[-1] == [90, 120]
