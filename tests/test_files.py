"""Names of files stay in their folder, for every reader of pictures."""

import contextlib
import json
import shutil

import pytest
from PIL import Image

from annotated_scenes.annotations import read_annotations
from annotated_scenes.check import check_annotations
from published_scenes.vrd import convert_vrd
from tests.refusals import refused
from workbench.__main__ import main
from workbench.errors import WorkbenchError
from workbench.files import escapes_folder, file_inside, inside, read_json

LEAVING = ("../../etc/passwd", "/etc/passwd", "C:\\x", "..\\x", "a/../../b", "a\0b", "", ".", "..", "\\\\host\\x")
STAYING = ("a?b.jpg", "a#b.jpg", "%2e%2e", "%2e%2e%2fb.jpg", "-rf.jpg", "part/ a .jpg", "<x>.jpg", "..a", "~", "$HOME")


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures with links to what lies inside it, outside it, and to themselves."""
    folder = tmp_path / "images"
    (folder / "part").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    for path in (tmp_path / "beside" / "secret.jpg", folder / "part" / "own.jpg"):
        Image.new("RGB", (8, 6)).save(path)
    (folder / "linked.jpg").symlink_to(tmp_path / "beside" / "secret.jpg")
    (folder / "linked").symlink_to(tmp_path / "beside")
    (folder / "own.jpg").symlink_to("part/own.jpg")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    return folder


def write_annotations(folder, name):
    folder.mkdir()
    end = {"bbox": [0, 3, 0, 3], "category": 0}
    image = {"id": 1, "file_name": name, "width": 8, "height": 6}
    files = {
        "objects": ["cat"], "predicates": ["on"],
        "detections_train": {"images": [image], "annotations": [], "categories": []},
        "rel_annotations_train": {name: [{"subject": end, "predicate": 0, "object": end}]},
    }  # fmt: skip
    for file, value in files.items():
        (folder / f"{file}.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize("name", LEAVING)
def test_a_name_that_leads_out_is_refused_and_named(pictures, name):
    assert escapes_folder(name)
    caught = refused("leads outside", file_inside, pictures, name)
    assert repr(name) in caught


@pytest.mark.parametrize("name", STAYING)
def test_odd_characters_stand_for_themselves(pictures, name):
    assert not escapes_folder(name) and file_inside(pictures, name) is None
    (pictures / name).write_bytes(b"x")
    assert file_inside(pictures, name) == inside(pictures, name) == pictures / name
    assert (pictures / name).resolve().is_relative_to(pictures)


def test_links_of_the_folders_owner_are_followed(pictures, tmp_path):
    (tmp_path / "other").symlink_to(pictures)
    for folder in (pictures, tmp_path / "other"):
        for name in ("own.jpg", "linked.jpg", "linked/secret.jpg"):
            assert file_inside(folder, name) == folder / name
        for name in ("circle.jpg", "linked/absent.jpg", "x" * 300):
            assert file_inside(folder, name) is None


@pytest.mark.parametrize("name", LEAVING)
def test_annotations_with_such_a_name_are_not_read(tmp_path, name):
    folder = write_annotations(tmp_path / "annotations", name)
    refused("image", read_annotations, folder, "train")
    assert any(problem.blocks_reading for problem in check_annotations(folder))


def test_a_name_too_long_for_a_file_is_a_missing_file(pictures, tmp_path):
    (problem,) = check_annotations(write_annotations(tmp_path / "annotations", "x" * 300), pictures)
    assert problem.kind == "image file missing"


@pytest.mark.parametrize("name", ["own.jpg", "../beside/secret.jpg"])
def test_sizes_of_vrd_are_read_within_the_folder(pictures, tmp_path, name):
    source = write_annotations(tmp_path / "vrd", name)
    for split in ("train", "test"):
        shutil.copy(source / "rel_annotations_train.json", source / f"annotations_{split}.json")
    refused = pytest.raises(WorkbenchError, match=r"(?s)unknown size.*secret\.jpg")
    with contextlib.nullcontext() if name == "own.jpg" else refused:
        convert_vrd(tmp_path / "converted", source=source, images=pictures)


def test_names_in_files_give_the_terminal_no_commands(pictures, tmp_path, capsys):
    commands = "\x1b[2J\x1b]0;owned\x07\u202e\r\u2028\n"
    folder = write_annotations(tmp_path / "annotations", f"{commands}.jpg")
    (folder / "objects.json").write_text(json.dumps([commands, f"{commands}!", commands]))
    assert main(["data", "check", str(folder), "--images", str(pictures)]) == 1
    (folder / "objects.json").write_text(json.dumps([commands, commands]))
    caught = refused(None, read_annotations, folder, "train")
    out, _ = capsys.readouterr()
    assert "duplicate name" in out and "\\x1b[2J" in out
    for told in (out, caught):
        assert not set(told) & set("\x1b\x07\u202e\r\u2028")


@pytest.mark.parametrize(("place", "told"), [("nowhere", "the file is missing"),
                                             ("file", "a part of this path is a file and no folder")])  # fmt: skip
def test_a_json_file_that_is_missing_is_named_with_what_to_do(tmp_path, place, told):
    (tmp_path / "file").touch()
    refused(rf"names\.json: {told}\. Correct the path", read_json, tmp_path / place / "names.json")
