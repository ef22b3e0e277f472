import json

import pytest

from workbench.errors import WorkbenchError
from workbench.scenes import problems as problems_module
from workbench.scenes.annotations import read_annotations
from workbench.scenes.check import check_annotations
from workbench.scenes.problems import FileProblems, Problem, count_problems, format_report

RELATIONS = "rel_annotations_train.json"
DETECTIONS = "detections_train.json"


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


def one_kind(folder, kind, file):
    """The problems of a kind; each names its file, and the report shows record, expectation and remedy."""
    problems = [p for p in check_annotations(folder, image_files=False) if p.kind == kind]
    assert problems and {p.file for p in problems} == {str(folder / file)}
    report = format_report(problems)
    assert all(problem.record in report and problem.remedy in report for problem in problems[:1])
    return problems


@pytest.mark.parametrize("seed", range(3))
def test_a_good_folder_has_no_problems(annotation_folder, seed):
    problems = check_annotations(annotation_folder(seed, 6), image_files=False)
    assert problems == [] and format_report(problems) == "No problems found."


# What makes reading impossible: the check names it, and the reader raises the same report.
@pytest.mark.parametrize(
    ("kind", "file", "edit"),
    [
        ("unknown class id", RELATIONS, set_end("subject", category=5)),
        ("unknown class id", RELATIONS, set_end("object", category=-1)),
        ("unknown class id", RELATIONS, set_predicate(3)),
        ("wrong type", RELATIONS, set_predicate(True)),
        ("wrong type", RELATIONS, set_predicate("on")),
        ("wrong type", RELATIONS, set_predicate(None)),
        ("wrong type", RELATIONS, set_end("subject", category=1.5)),
        ("wrong type", RELATIONS, set_end("subject", bbox=[1, 2, 3])),
        ("wrong type", RELATIONS, set_end("object", bbox=["1", 2, 3, 4])),
        ("wrong type", RELATIONS, set_end("object", bbox=None)),
        ("wrong type", RELATIONS, set_end("object", bbox=[0, True, 0, 1])),
        ("wrong type", RELATIONS, lambda value: first_relation(value).pop("subject") and None),
        ("wrong type", RELATIONS, lambda value: {**value, next(iter(value)): [5]}),
        ("wrong type", RELATIONS, lambda value: {**value, next(iter(value)): "none"}),
        ("wrong type", RELATIONS, lambda value: [value]),
        ("swapped box", RELATIONS, set_end("subject", bbox=[9, 3, 0, 5])),
        ("swapped box", RELATIONS, set_end("object", bbox=[0, 5, 9, 3])),
        ("broken JSON", RELATIONS, set_end("object", bbox=[0, float("nan"), 0, 5])),
        ("broken JSON", RELATIONS, set_end("object", bbox=[0, float("inf"), 0, 5])),
        ("non-finite number", RELATIONS, set_end("object", bbox=[0, 2**25, 0, 5])),
        ("wrong type", RELATIONS, set_end("object", bbox=[0, 10**400, 0, 5])),
        ("split without relations", RELATIONS, lambda value: {name: [] for name in value}),
        ("split without relations", RELATIONS, lambda value: {"": []}),
        ("wrong type", DETECTIONS, lambda value: value["images"]),
        ("wrong type", DETECTIONS, set_image(width=0)),
        ("wrong type", DETECTIONS, set_image(height="100")),
        ("wrong type", DETECTIONS, set_image(id=None)),
        ("wrong type", DETECTIONS, set_image(id=10**30)),
        ("wrong type", DETECTIONS, set_image(file_name=7)),
        ("duplicate name", DETECTIONS, lambda value: value["images"].append(dict(value["images"][0], id=7))),
        (
            "duplicate name",
            DETECTIONS,
            lambda value: value["images"].append(dict(value["images"][0], file_name="b.jpg")),
        ),
        ("file name leaves the image folder", DETECTIONS, set_image(file_name="../../secret.jpg")),
        ("file name leaves the image folder", DETECTIONS, set_image(file_name="/etc/passwd")),
        ("duplicate name", "objects.json", lambda value: [*value[:-1], value[0]]),
        ("wrong type", "predicates.json", lambda value: {"on": 0}),
        ("wrong type", "predicates.json", lambda value: ["on", 3]),
        ("wrong type", "predicates.json", lambda value: ["on", " "]),
        ("broken JSON", "predicates.json", lambda value: ["on", "half \ud800 of a pair"]),
    ],
)
@pytest.mark.filterwarnings("ignore:1 image")
def test_what_blocks_reading(annotation_folder, change, kind, file, edit):
    folder = annotation_folder()
    change(folder / file, edit)
    problems = one_kind(folder, kind, file)
    assert all(problem.severity == "error" and problem.blocks_reading for problem in problems)
    with pytest.raises(WorkbenchError, match=file.replace(".", r"\.")) as raised:
        read_annotations(folder, "train")
    assert file.endswith("s.json") or kind in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "severity", "file", "edit"),
    [
        ("box outside the image", "error", RELATIONS, set_end("subject", bbox=[5000, 5010, 0, 5])),
        ("box outside the image", "error", RELATIONS, set_end("subject", bbox=[0, 5, -20, -10])),
        ("box partly outside the image", "warning", RELATIONS, set_end("subject", bbox=[-1, 5, 0, 5])),
        ("empty box", "warning", RELATIONS, set_end("subject", bbox=[3, 3, 0, 5])),
        ("image not in the detections file", "error", RELATIONS, lambda v: {**v, "lost.jpg": next(iter(v.values()))}),
        ("unknown class id", "error", DETECTIONS, set_detection(category_id=99)),
        ("unknown image", "error", DETECTIONS, set_detection(image_id=99)),
        ("wrong type", "error", DETECTIONS, set_detection(bbox=[1, 2, 3])),
        ("empty box", "warning", DETECTIONS, set_detection(bbox=[1, 2, 0, 3])),
        ("box partly outside the image", "warning", DETECTIONS, set_detection(bbox=[-1, 0, 5, 3])),
        ("box outside the image", "error", DETECTIONS, set_detection(bbox=[9999, 0, 5, 3])),
        ("wrong type", "error", DETECTIONS, lambda value: value.pop("categories") and None),
    ],
)
@pytest.mark.filterwarnings("ignore:1 image")
def test_what_reading_survives(annotation_folder, change, kind, severity, file, edit):
    folder = annotation_folder()
    change(folder / file, edit)
    (problem,) = one_kind(folder, kind, file)
    assert problem.severity == severity and not problem.blocks_reading
    assert len(read_annotations(folder, "train").relations)


def test_broken_json_names_the_line(annotation_folder):
    folder = annotation_folder()
    text = json.dumps(json.loads((folder / RELATIONS).read_text()), indent=1)
    (folder / RELATIONS).write_text(text[: len(text) // 2])
    (problem,) = one_kind(folder, "broken JSON", RELATIONS)
    assert problem.record.startswith(f"line {text[: len(text) // 2].count(chr(10)) + 1}")
    with pytest.raises(WorkbenchError, match="broken JSON"):
        read_annotations(folder, "train")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 100_000, b"", b"null"])
def test_files_that_are_no_annotations(annotation_folder, content):
    folder = annotation_folder()
    (folder / DETECTIONS).write_bytes(content)
    assert {p.file for p in check_annotations(folder, image_files=False) if p.blocks_reading} >= {
        str(folder / DETECTIONS)
    }
    with pytest.raises(WorkbenchError, match=r"detections_train\.json"):
        read_annotations(folder, "train")


def test_an_image_named_twice_in_the_relations_file(annotation_folder):
    folder = annotation_folder()
    text = (folder / RELATIONS).read_text()
    name = next(iter(json.loads(text)))
    (folder / RELATIONS).write_text(text[:-1] + f', "{name}": []}}')
    (problem,) = one_kind(folder, "duplicate name", RELATIONS)
    assert name in problem.record
    with pytest.raises(WorkbenchError, match="duplicate name"):
        read_annotations(folder, "train")


def test_keys_that_occur_twice_within_a_relation(annotation_folder):
    folder = annotation_folder()
    text = (folder / RELATIONS).read_text().replace('"predicate"', '"predicate": 0, "predicate"', 1)
    (folder / RELATIONS).write_text(text)
    (problem,) = one_kind(folder, "duplicate name", RELATIONS)
    assert "predicate" in problem.record and problem.blocks_reading
    with pytest.raises(WorkbenchError, match="duplicate name"):
        read_annotations(folder, "train")


def test_missing_files_and_folders(annotation_folder, tmp_path):
    folder = annotation_folder()
    (folder / "detections_val.json").unlink()
    one_kind(folder, "missing file", "detections_val.json")
    with pytest.raises(WorkbenchError, match="missing file"):
        read_annotations(folder, "val")
    kinds = [problem.kind for problem in check_annotations(tmp_path / "nowhere", image_files=False)]
    assert kinds == ["missing file"] * 4  # the names, and train: no other split is begun


def test_only_splits_that_are_begun_are_checked(annotation_folder):
    folder = annotation_folder()
    for kind in ("detections", "rel_annotations"):
        (folder / f"{kind}_val.json").unlink()
    assert check_annotations(folder, image_files=False) == []
    for kind in ("detections", "rel_annotations"):
        (folder / f"{kind}_train.json").unlink()
    problems = check_annotations(folder, image_files=False)
    assert [problem.kind for problem in problems] == ["missing file"] * 2
    assert all("train" in problem.file and problem.blocks_reading for problem in problems)


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
    folder = annotation_folder()
    assert [p.kind for p in check_annotations(folder)] == ["no image folder"]
    image_files = tmp_path / "image_files"
    image_files.mkdir()
    names = []
    for split in ("train", "val", "test"):
        names += [
            entry["file_name"] for entry in json.loads((folder / f"detections_{split}.json").read_text())["images"]
        ]
    for name in names[1:]:
        (image_files / name).touch()
    (problem,) = check_annotations(folder, image_files)
    assert problem.kind == "image file missing" and names[0] in problem.record and str(image_files) in problem.remedy


def test_an_image_in_two_splits_is_a_warning(annotation_folder):
    folder = annotation_folder()
    for kind in ("detections", "rel_annotations"):
        (folder / f"{kind}_test.json").write_bytes((folder / f"{kind}_train.json").read_bytes())
    problems = one_kind(folder, "image in two splits", "detections_test.json")
    assert {problem.severity for problem in problems} == {"warning"} and len(problems) == 6


def test_all_problems_of_all_files_in_one_short_report(annotation_folder, change):
    folder = annotation_folder(0, 40)

    def spoil(by_name):
        for relations in by_name.values():
            for relation in relations:
                relation["predicate"] = 77

    for split in ("train", "val"):
        change(folder / f"rel_annotations_{split}.json", spoil)
    change(folder / "objects.json", lambda names: [*names, names[0]])
    problems = check_annotations(folder, image_files=False)
    rows = sum(
        len(v)
        for s in ("train", "val")
        for v in json.loads((folder / f"rel_annotations_{s}.json").read_text()).values()
    )
    assert len(problems) == rows + 1
    report = format_report(problems, lines_per_kind=3)
    assert report.startswith(f"{rows + 1} errors in 3 files.")
    assert report.count("found 77") == 6 and report.count("more") == 2 and len(report.splitlines()) < 30


def test_the_upstream_fixture_has_only_warnings(reference_fixtures):
    problems = check_annotations(reference_fixtures / "annotations/gvqa/seed0")
    kinds = {problem.kind for problem in problems}
    assert {p.severity for p in problems} == {"warning"}
    assert kinds == {"box partly outside the image", "empty box", "no image folder"}
