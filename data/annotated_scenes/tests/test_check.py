import json
import re

import pytest

from annotated_scenes.annotations import read_annotations
from annotated_scenes.check import check_annotations
from tests.refusals import refused
from tests.scenes.conftest import change
from workbench.scenes import problems as problems_module
from workbench.scenes.problems import FileProblems, Problem, count_problems, format_report
from workbench.scenes.vocabulary import Vocabulary

RELATIONS = "rel_annotations_train.json"
DETECTIONS = "detections_train.json"
OUTSIDE, LOST, EMPTY = "box outside the image", "image not in the detections file", "split without relations"
LEAVING, PARTLY = "file name leaves the image folder", "box partly outside the image"


def first_relation(value):
    return next(iter(value.values()))[0]


def set_end(role, **fields):
    def edit(value):
        first_relation(value)[role] = {**first_relation(value)[role], **fields}

    return edit


def set_predicate(predicate):
    return lambda value: first_relation(value).update(predicate=predicate)


def set_image(**fields):
    return lambda value: value["images"][0].update(fields)


def set_detection(**fields):
    return lambda value: value["annotations"][0].update(fields)


def add_image(**fields):
    return lambda value: value["images"].append(value["images"][0] | fields)


def one_kind(folder, kind, file):
    """The problems of a kind; each names its file, and the report shows record, expectation and remedy."""
    problems = [p for p in check_annotations(folder, image_files=False) if p.kind == kind]
    assert problems and {p.file for p in problems} == {str(folder / file)}
    report = format_report(problems)
    assert problems[0].record in report and problems[0].remedy in report
    return problems


@pytest.mark.parametrize("seed", range(3))
def test_a_good_folder_has_no_problems(annotation_folder, seed):
    problems = check_annotations(annotation_folder(seed, 6), image_files=False)
    assert problems == [] and format_report(problems) == "No problems found."


# What makes reading impossible: the check names it, and the reader raises the same report.
@pytest.mark.parametrize(("kind", "file", "edit"), [
    ("unknown class id", RELATIONS, set_end("subject", category=5)),
    ("unknown class id", RELATIONS, set_end("object", category=-1)), ("unknown class id", RELATIONS, set_predicate(3)),
    *(("wrong type", RELATIONS, set_predicate(wrong)) for wrong in (True, "on", None)),
    ("wrong type", RELATIONS, set_end("subject", category=1.5)),
    *(
        ("wrong type", RELATIONS, set_end("object", bbox=wrong))
        for wrong in ([1, 2, 3], ["1", 2, 3, 4], None, [0, True, 0, 1], [0, 10**400, 0, 5])
    ),
    ("wrong type", RELATIONS, lambda value: first_relation(value).pop("subject") and None),
    ("wrong type", RELATIONS, lambda value: {**value, next(iter(value)): [5]}),
    ("wrong type", RELATIONS, lambda value: {**value, next(iter(value)): "none"}),
    ("wrong type", RELATIONS, lambda value: [value]), ("swapped box", RELATIONS, set_end("subject", bbox=[9, 3, 0, 5])),
    ("swapped box", RELATIONS, set_end("object", bbox=[0, 5, 9, 3])),
    ("broken JSON", RELATIONS, set_end("object", bbox=[0, float("nan"), 0, 5])),
    ("broken JSON", RELATIONS, set_end("object", bbox=[0, float("inf"), 0, 5])),
    ("non-finite number", RELATIONS, set_end("object", bbox=[0, 2**25, 0, 5])),
    (EMPTY, RELATIONS, lambda value: {name: [] for name in value}), (EMPTY, RELATIONS, lambda value: {"": []}),
    ("wrong type", DETECTIONS, lambda value: value["images"]),
    ("wrong type", DETECTIONS, lambda value: {"annotations": []}),
    *(
        ("wrong type", DETECTIONS, set_image(**wrong))
        for wrong in ({"width": 0}, {"height": "100"}, *({"id": n} for n in (None, 10**30, 2.0, " ")), {"file_name": 7})
    ),
    ("duplicate name", DETECTIONS, add_image(id=7)), ("duplicate name", DETECTIONS, add_image(file_name="b.jpg")),
    (LEAVING, DETECTIONS, set_image(file_name="../../secret.jpg")),
    (LEAVING, DETECTIONS, set_image(file_name="/etc/passwd")),
    ("duplicate name", "objects.json", lambda value: [*value[:-1], value[0]]),
    *(("wrong type", "predicates.json", lambda _, wrong=wrong: wrong) for wrong in ({"on": 0}, ["on", 3], ["on", " "])),
    ("broken JSON", "predicates.json", lambda value: ["on", "half \ud800 of a pair"]),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:1 image")
def test_what_blocks_reading(annotation_folder, kind, file, edit):
    folder = annotation_folder()
    change(folder / file, edit)
    problems = one_kind(folder, kind, file)
    assert all(problem.severity == "error" and problem.blocks_reading for problem in problems)
    raised = refused(file.replace(".", r"\."), read_annotations, folder, "train")
    assert file.endswith("s.json") or kind in raised


@pytest.mark.parametrize(("kind", "severity", "file", "edit"), [
    (OUTSIDE, "error", RELATIONS, set_end("subject", bbox=[5000, 5010, 0, 5])),
    (OUTSIDE, "error", RELATIONS, set_end("subject", bbox=[0, 5, -20, -10])),
    (PARTLY, "warning", RELATIONS, set_end("subject", bbox=[-1, 5, 0, 5])),
    ("empty box", "warning", RELATIONS, set_end("subject", bbox=[3, 3, 0, 5])),
    (LOST, "error", RELATIONS, lambda value: {**value, "lost.jpg": next(iter(value.values()))}),
    ("unknown class id", "error", DETECTIONS, set_detection(category_id=99)),
    ("duplicate name", "error", DETECTIONS, lambda value: value["categories"].append(value["categories"][0])),
    ("unknown image", "error", DETECTIONS, set_detection(image_id=99)),
    ("wrong type", "error", DETECTIONS, set_detection(bbox=[1, 2, 3])),
    ("empty box", "warning", DETECTIONS, set_detection(bbox=[1, 2, 0, 3])),
    (PARTLY, "warning", DETECTIONS, set_detection(bbox=[-1, 0, 5, 3])),
    (OUTSIDE, "error", DETECTIONS, set_detection(bbox=[9999, 0, 5, 3])),
    ("wrong type", "error", DETECTIONS, lambda value: value.pop("categories") and None),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:1 image")
def test_what_reading_survives(annotation_folder, kind, severity, file, edit):
    folder = annotation_folder()
    change(folder / file, edit)
    (problem,) = one_kind(folder, kind, file)
    assert problem.severity == severity and not problem.blocks_reading
    assert len(read_annotations(folder, "train").relations)


@pytest.mark.parametrize(("file", "spoil", "kind", "record"), [
    (RELATIONS, lambda text: json.dumps(json.loads(text), indent=1)[: len(text) // 2], "broken JSON", "line "),
    (RELATIONS, lambda text: f'{text[:-1]}, "{next(iter(json.loads(text)))}": []}}', "duplicate name", ".jpg"),
    (RELATIONS, lambda text: text.replace('"pred', '"predicate": 0, "pred', 1), "duplicate name", "pred"),
    (DETECTIONS, lambda text: f'{{"images": [{{"id": 1}}],\n{text[1:]}', "duplicate name", "key 'images'"),
    (DETECTIONS, lambda text: text.replace('"width"', '"width": 9, "width"', 1), "duplicate name",
     "images, key 'width' of id "),
    (DETECTIONS, lambda text: f"\n\n{text} x", "broken JSON", "line "),
    (DETECTIONS, lambda text: '{"images": [1, ' + "[" * 100_000, "broken JSON", "whole file"),
    (DETECTIONS, lambda text: "\udcff\udcfe\0", "broken JSON", "line 1"),
    (DETECTIONS, lambda text: "[" * 100_000, "wrong type", "whole file"),
    (DETECTIONS, lambda text: "", "broken JSON", "line 1"),
    (DETECTIONS, lambda text: "null", "wrong type", "whole file"),
])  # fmt: skip
def test_files_that_are_spoiled_as_text(annotation_folder, file, spoil, kind, record):
    folder = annotation_folder()
    text = spoil((folder / file).read_text())
    (folder / file).write_bytes(text.encode(errors="surrogateescape"))
    (problem,) = one_kind(folder, kind, file)
    assert record in problem.record and problem.blocks_reading
    assert record != "line " or problem.record.startswith(f"line {text.count(chr(10)) + 1}")
    refused(f"(?s){file}.*{kind}", read_annotations, folder, "train")


def test_missing_files_and_splits_that_are_begun(annotation_folder, tmp_path):
    folder = annotation_folder()
    (folder / "detections_val.json").unlink()
    one_kind(folder, "missing file", "detections_val.json")
    refused("missing file", read_annotations, folder, "val")
    (folder / "rel_annotations_val.json").unlink()
    assert check_annotations(folder, image_files=False) == []
    for file in (RELATIONS, DETECTIONS):
        (folder / file).unlink()
    problems = check_annotations(folder, image_files=False)
    assert [problem.kind for problem in problems] == ["missing file"] * 2
    assert all("train" in problem.file and problem.blocks_reading for problem in problems)
    kinds = [problem.kind for problem in check_annotations(tmp_path / "nowhere", image_files=False)]
    assert kinds == ["missing file"] * 4  # the names, and train: no other split is begun


def test_millions_of_alike_problems_are_counted_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(problems_module, "SEPARATE_PER_KIND", 7)
    problems: list[Problem] = []
    file = FileProblems(tmp_path / "a.json", problems)
    for record in range(25):
        file.warning("odd", f"record {record}", "1", "2", "Mend it.")
        if record % 5 == 0:
            file.error("wrong", f"record {record}", "1", "2", "Mend it.")
    assert len(problems) == 7 + 1 + 5
    assert count_problems(problems, "warning") == 25 and count_problems(problems, "error") == 5
    report = format_report(problems)
    assert report.startswith("5 errors, 25 warnings in 1 file.") and "odd (25)" in report
    assert "... and 18 more" in format_report(problems, lines_per_kind=7)
    assert "... and 24 more" in format_report(problems, lines_per_kind=1)


def test_image_files(annotation_folder, tmp_path):
    folder, image_files = annotation_folder(), tmp_path / "image_files"
    assert [p.kind for p in check_annotations(folder)] == ["no image folder"]
    image_files.mkdir()
    files = [folder / f"detections_{split}.json" for split in ("train", "val", "test")]
    entries = [entry for file in files for entry in json.loads(file.read_text())["images"]]
    for entry in entries[1:]:
        (image_files / entry["file_name"]).touch()
    (problem,) = check_annotations(folder, image_files)
    assert problem.kind == "image file missing" and entries[0]["file_name"] in problem.record
    assert str(image_files) in problem.remedy


def test_an_image_in_two_splits_is_a_warning(annotation_folder):
    folder = annotation_folder()
    for kind in ("detections", "rel_annotations"):
        (folder / f"{kind}_test.json").write_bytes((folder / f"{kind}_train.json").read_bytes())
    problems = one_kind(folder, "image in two splits", "detections_test.json")
    assert {problem.severity for problem in problems} == {"warning"} and len(problems) == 6


def test_all_problems_of_all_files_in_one_short_report(annotation_folder):
    folder = annotation_folder(0, 40)
    rows = sum(len(read_annotations(folder, split).relations) for split in ("train", "val"))
    for split in ("train", "val"):
        path = folder / f"rel_annotations_{split}.json"
        path.write_text(re.sub(r'"predicate": \d', '"predicate": 77', path.read_text()))
    change(folder / "objects.json", lambda names: [*names, names[0]])
    problems = check_annotations(folder, image_files=False)
    assert len(problems) == rows + 1
    report = format_report(problems, lines_per_kind=3)
    assert report.startswith(f"{rows + 1} errors in 3 files.")
    assert report.count("found 77") == 6 and report.count("more") == 2 and len(report.splitlines()) < 30


def test_the_upstream_fixture_has_only_warnings(reference_fixtures):
    problems = check_annotations(reference_fixtures / "annotations/gvqa/seed0")
    assert {p.severity for p in problems} == {"warning"}
    assert {p.kind for p in problems} == {PARTLY, "empty box", "no image folder"}


def test_names_of_no_class_and_blanks_around_names_are_said(annotation_folder):
    folder = annotation_folder()
    objects = folder / "objects.json"
    _, second, *rest = json.loads(objects.read_text())
    objects.write_text(json.dumps(["__background__", f"{second} ", *rest], indent=1))
    found = {problem.kind: problem.record for problem in check_annotations(folder, image_files=False)}
    assert found["blanks around a class name"] == "entry 1, line 3" and found["name of no class"] == "entry 0, line 2"
    assert Vocabulary.read(folder).objects[1] == second


def test_names_that_are_read_otherwise_are_said(annotation_folder):
    folder = annotation_folder()
    names = ["mouse_(computer_equipment)", "wall-brick", "floor-other-merged", "alarm_clock"]
    change(folder / "objects.json", lambda objects: names + objects[len(names) :])
    problems = check_annotations(folder, image_files=False)
    assert {problem.kind for problem in problems} == {"name read otherwise"}
    said = ["mouse (computer equipment)", "brick wall", "floor", "alarm clock"]
    assert [problem.expected for problem in problems] == [f"{name!r}, as it is read" for name in said[:3]]
    spoken = Vocabulary.read(folder).spoken
    assert list(spoken.objects[:4]) == said and spoken.caption(0, 0, 1).startswith("mouse (computer equipment) ")


@pytest.mark.parametrize("written", [lambda n: f"{n:05}", lambda n: f" n{n}", lambda n: f"n{n}" if n % 2 else n])
def test_ids_of_text_are_numbers_or_names_in_their_order(annotation_folder, written):
    folder = annotation_folder()
    before = read_annotations(folder, "train")

    def edit(value):
        for entry in value["images"]:
            entry["id"] = written(entry["id"])
        for entry in value["annotations"]:
            entry |= {"image_id": written(entry["image_id"]), "category_id": str(entry["category_id"])}
        value["categories"] = [kind | {"id": f" {kind['id']}"} for kind in value["categories"]]

    change(folder / DETECTIONS, edit)
    (folder / DETECTIONS).write_bytes(b"\xef\xbb\xbf" + (folder / DETECTIONS).read_bytes())  # as some editors do
    digits, after = written(1) == "00001", read_annotations(folder, "train")
    problems = check_annotations(folder, image_files=False)
    assert [problem.kind for problem in problems] == ([] if digits else ["image ids of text"])
    ids = before.images["image_id"].tolist()
    assert after.images["image_id"].tolist() == (ids if digits else list(range(len(ids))))
    of_name = dict(zip(before.images["file_name"], ids, strict=True))
    order = after.images["file_name"].map(of_name).tolist()
    assert order == (ids if digits else sorted(ids, key=lambda n: str(written(n)).strip()))
    assert len(after.relations) == len(before.relations) and len(after.boxes) == len(before.boxes)
