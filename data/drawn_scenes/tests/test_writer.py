import csv
import errno
import json
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from annotated_scenes.annotations import read_annotations
from annotated_scenes.check import check_annotations
from drawn_scenes import writer
from drawn_scenes.prepare import FAMILIES, DrawnScenesConfig, draw_free_crops, draw_scenes
from drawn_scenes.processes import mapped
from workbench.errors import WorkbenchError

SMOKE = DrawnScenesConfig(train_images=60, val_images=20, test_images=30, seed=4)
TINY = DrawnScenesConfig(train_images=5, val_images=2, test_images=3, seed=9)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return folder, draw_scenes(folder, config=SMOKE, workers=1)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _read(path: Path):
    return json.loads(path.read_text())


def test_layout_and_boxes(smoke):
    folder, summary = smoke
    objects, relations = _read(folder / "objects.json"), _read(folder / "predicates.json")
    images = set()
    for split, count in (("train", 60), ("val", 20), ("test", 30)):
        detections = _read(folder / f"detections_{split}.json")
        annotations = _read(folder / f"rel_annotations_{split}.json")
        names = {image["file_name"]: image["id"] for image in detections["images"]}
        assert len(names) == len(annotations) == count == summary["images"][split]
        assert not images & set(names.values())
        images |= set(names.values())
        found = {(box["image_id"], *box["bbox"], box["category_id"] - 1) for box in detections["annotations"]}
        for file_name, rows in annotations.items():
            assert Image.open(folder / "images" / file_name).size == (160, 160)
            assert rows
            for row in rows:
                assert 0 <= row["predicate"] < len(relations)
                for end in (row["subject"], row["object"]):
                    y1, y2, x1, x2 = end["bbox"]
                    assert 0 <= x1 < x2 < 160 and 0 <= y1 < y2 < 160
                    assert (names[file_name], x1, y1, x2 - x1 + 1, y2 - y1 + 1, end["category"]) in found
        assert sum(map(len, annotations.values())) == summary["relations"][split]
    assert [category["name"] for category in detections["categories"]] == objects
    assert {path.name for path in (folder / "images").iterdir()} >= {"train_00000.jpg", "test_00029.jpg"}
    assert not list((folder / "images").glob(".*")), "the records of a finished run are gone"


def test_frequencies_and_order_of_names(smoke):
    folder, _ = smoke
    objects, relations = _read(folder / "objects.json"), _read(folder / "predicates.json")
    with open(folder / "rel_annotations_train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    annotated = [
        (objects[row["subject"]["category"]], objects[row["object"]["category"]], relations[row["predicate"]])
        for file_name in sorted(_read(folder / "rel_annotations_train.json"))
        for row in _read(folder / "rel_annotations_train.json")[file_name]
    ]
    assert [(row["sbj_gt"], row["obj_gt"], row["rel_gt"]) for row in rows] == annotated
    ends = Counter(name for row in annotated for name in row[:2])
    assert _read(folder / "objects_freqs.json") == dict(ends)
    assert _read(folder / "predicates_freqs.json") == dict(Counter(row[2] for row in annotated))
    for names, counts in ((objects, ends), (relations, Counter(row[2] for row in annotated))):
        assert [counts[name] for name in names] == sorted(counts.values(), reverse=True)
    assert relations[:2] in (["to the left of", "to the right of"], ["to the right of", "to the left of"])


def test_the_annotation_reader_and_the_check_accept_it(smoke):
    folder, summary = smoke
    assert not check_annotations(folder, folder / "images")
    for split in ("train", "val", "test"):
        read = read_annotations(folder, split)
        assert len(read.relations) == summary["relations"][split]
        assert len(read.images) == summary["images"][split]


def test_left_and_right_hold_between_the_boxes(smoke):
    folder, _ = smoke
    relations = _read(folder / "predicates.json")
    clear = []
    for rows in _read(folder / "rel_annotations_train.json").values():
        for row in rows:
            if relations[row["predicate"]] in ("to the left of", "to the right of"):
                (_, _, a1, a2), (_, _, b1, b2) = row["subject"]["bbox"], row["object"]["bbox"]
                sign = 1 if relations[row["predicate"]] == "to the right of" else -1
                clear.append(sign * ((a1 + a2) - (b1 + b2)) / 2)
    assert np.min(clear) > 0 and np.median(clear) > 25


@pytest.mark.slow
def test_same_bytes_whatever_the_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "IMAGES_WORTH_A_POOL", 1)
    monkeypatch.setattr(writer, "IMAGES_PER_CHUNK", 4)
    for workers in (1, 2):
        draw_scenes(tmp_path / str(workers), config=TINY, workers=workers)
    assert _bytes(tmp_path / "1") == _bytes(tmp_path / "2")
    draw_scenes(tmp_path / "other", config=replace(TINY, seed=10), workers=1)
    assert _bytes(tmp_path / "1") != _bytes(tmp_path / "other")


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "IMAGES_PER_CHUNK", 2)
    draw_scenes(tmp_path / "alone", config=TINY, workers=1)
    drawn, draw = [], writer.draw_image

    def killed_at_the_sixth(*arguments):
        drawn.append(1)
        if len(drawn) == 6:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(writer, "draw_image", killed_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        draw_scenes(tmp_path / "killed", config=TINY, workers=1)
    assert not (tmp_path / "killed" / "rel_annotations_train.json").exists()
    torn = tmp_path / "killed" / "images" / "train_00000.jpg"
    torn.write_bytes(torn.read_bytes()[:100])
    (tmp_path / "killed" / "images" / ".train_00003.999.jpg").write_bytes(b"left behind by the kill")
    draw_scenes(tmp_path / "killed", config=TINY, workers=1)
    assert len(drawn) < 6 + 10, "chunks that were whole are kept"
    assert _bytes(tmp_path / "alone") == _bytes(tmp_path / "killed")


def test_other_settings_do_not_reuse_images(tmp_path, monkeypatch):
    draw_scenes(tmp_path / "fresh", config=replace(TINY, seed=11), workers=1)
    monkeypatch.setattr(writer.shutil, "rmtree", lambda *_, **__: None)
    draw_scenes(tmp_path / "used", config=TINY, workers=1)
    monkeypatch.undo()
    draw_scenes(tmp_path / "used", config=replace(TINY, seed=11), workers=1)
    assert _bytes(tmp_path / "fresh") == _bytes(tmp_path / "used")


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WorkbenchError, match=r"train_00000\.jpg: the disk is full.*run the same command again"):
        draw_scenes(tmp_path, config=TINY, workers=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"train_images": 0}, "train_images is 0"), ({"size": 20}, "size is 20"), ({"classes": 3}, "classes is 3")],
)
def test_bad_arguments(wrong, message):
    with pytest.raises(WorkbenchError, match=message):
        replace(TINY, **wrong)


def test_free_crops_of_a_class_that_cannot_be_drawn_are_refused():
    with pytest.raises(WorkbenchError, match="'quark'"):
        draw_free_crops(3, 0, object_names=("dog", "quark"))


def test_free_crops_do_not_depend_on_how_many_are_drawn_at_once():
    images, triplets = draw_free_crops(6, 2, crop_size=32, singles=2, workers=1)
    assert images.shape == (18, 32, 32, 3) and images.dtype == np.uint8
    assert triplets.shape == (18, 3) and triplets.dtype == np.int64
    again, _ = draw_free_crops(6, 2, crop_size=32, singles=2, workers=1)
    np.testing.assert_array_equal(images, again)
    alone = (triplets[:, 1:] == -1).all(axis=1)
    assert alone.reshape(-1, 3).tolist() == [[False, True, True]] * 6
    assert images.std(axis=(1, 2, 3)).min() > 4


DISTINCT = ("cup", "mug", "donut", "apple", "dog", "cat", "duck", "car", "truck", "chair", "man", "woman", "house")


@pytest.mark.slow
@pytest.mark.parametrize(("names", "limit"), [(DISTINCT, 0.8), (FAMILIES["four-legged animals"], 0.65)])
def test_a_linear_classifier_on_pixels_does_not_solve_it(names, limit):
    """Ridge regression to one-hot labels, 16 x 16 pixels, about 45 training crops of each class."""
    images, triplets = draw_free_crops(
        400, 8, crop_size=16, singles=2, workers=1, object_names=names, relation_names=("behind", "in front of", "near")
    )
    alone = triplets[:, 1] == -1
    pixels, classes = images[alone].reshape(alone.sum(), -1) / 255.0, triplets[alone, 0]
    cut = len(pixels) * 3 // 4
    pixels = pixels - pixels[:cut].mean(axis=0)
    kernel = pixels @ pixels[:cut].T
    accuracy = []
    for ridge in (3, 30, 300):
        weights = np.linalg.solve(kernel[:cut] + ridge * np.eye(cut), np.eye(len(names))[classes[:cut]])
        accuracy.append(np.mean((kernel[cut:] @ weights).argmax(axis=1) == classes[cut:]))
    assert max(accuracy) < limit, accuracy


def _dies(chunk):
    os._exit(1)


@pytest.mark.slow
def test_a_dead_process_is_an_error_with_a_remedy():
    with pytest.raises(WorkbenchError, match="run again, perhaps with workers=1"):
        list(mapped(_dies, [1, 2], 2, pool=True))


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them():
    program = "import time\nfrom drawn_scenes.processes import mapped\nlist(mapped(time.sleep, [60] * 4, 2, pool=True))"
    parent = psutil.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while len(workers := [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())]) < 2:
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.1)
    time.sleep(1)  # until both have begun
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(workers, timeout=20)[1] == []
