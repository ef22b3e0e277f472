"""Commands for data sets and features, through the command line."""

import pytest

from tests.regions.conftest import text_vectors, write_source
from workbench.__main__ import main
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings
from workbench.stages import Run


@pytest.fixture
def source(tmp_path):
    """Eight relations a split of four object and three relation classes; text vectors of the objects alone."""
    folder, _ = write_source(tmp_path / "source", rows=8)
    text_vectors(folder)
    return folder


def test_imported_features_have_a_text_vector_for_every_class(toy_project, source, capsys):
    assert main(["features", "import", str(source), "--name", "mine"]) == 0
    run = Run.open("r", data="mine")
    text = TextEmbeddings.open(run.text)
    assert text.objects.shape == (4, 5) and text.relations.shape == (3, 5) and text.learned_relations
    assert run.features.metrics["relations"] == {"train": 8, "val": 8, "test": 8} and run.images is None
    capsys.readouterr()
    assert main(["features", "list"]) == 0 and f"mine {' ' * 19}" in capsys.readouterr().out


def test_imported_features_without_any_text_import_all_the_same(toy_project, source):
    (source / "objects_clip_text.npy").unlink()
    assert main(["features", "import", str(source), "--name", "bare"]) == 0
    assert "Put objects_clip_text.npy" in Run.open("r").imported("bare").metrics["text"]
    with pytest.raises(WorkbenchError, match="workbench features import"):
        _ = Run.open("r", data="absent").features


@pytest.mark.parametrize("damage", ["bytes", "cut", "removed"])
def test_a_damaged_file_is_named(toy_project, source, capsys, damage):
    main(["features", "import", str(source), "--name", "mine"])
    assert main(["features", "check", "mine"]) == 0
    file = toy_project / "data/imported/mine/train/union_features.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content[:-5] if damage == "cut" else content)
    if damage == "removed":
        file.unlink()
    capsys.readouterr()
    assert main(["features", "check", "mine"]) == 1
    told = capsys.readouterr().out
    assert str(file) in told and "box_features" not in told and "import or add it again" in told
    assert main(["features", "list"]) == 0 and f"mine {' ' * 19}" in capsys.readouterr().out


def test_vrd_is_added_with_its_card_and_text(toy_project, real_data, capsys):
    assert main(["data", "add", "vrd", "--root", str(real_data / "vrd")]) == 0 and "30,355" in capsys.readouterr().out
    folder = toy_project / "data" / "imported" / "vrd"
    assert {"train", "test", "text", "annotations"} <= {path.name for path in folder.iterdir()}
    assert "1,029" in (toy_project / "reports" / "data" / "vrd.html").read_text()


def test_what_is_missing_is_named_with_its_place(toy_project, tmp_path, capsys):
    assert main(["data", "add", "gqa-lt", "--root", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "rel_annotations_train.json" in told and "drive.google.com" in told
    assert not (toy_project / "data" / "imported" / "gqa-lt").exists()


def test_a_simulated_data_set_opens_like_an_added_one(toy_project):
    assert main(["data", "simulate", "--scale", "0.002", "--name", "small"]) == 0
    stage = Run.open("trial").imported("small")
    assert stage.metrics["text"]["objects"] == 1702 and (stage / "train" / "tables.json").is_file()
