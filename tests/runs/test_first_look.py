"""Files that a run needs last are looked at first: the refusal names notebook and parameter, and nothing is written."""

import pytest

from tests.refusals import refused
from workbench.errors import WorkbenchError
from workbench.language.similarity import PAIR_COLUMNS
from workbench.paths import reports_folder, runs_folder
from workbench.runs.first_look import look_at_plan
from workbench.runs.notebooks import run_profile
from workbench.runs.profiles import make_plan
from workbench.scenes.vocabulary import Vocabulary

PLACES = {
    "recogniser.word_vectors": r"05_finetune_and_evaluate: recogniser\.word_vectors: .*expected word vectors",
    "clip.checkpoint": r"00_prepare_features: clip\.checkpoint: .*this is a web page",
    "detector_checkpoint": r"00_prepare_features: detector_checkpoint: .*this is a web page",
    "image_folder": r"00_prepare_features: image_folder: .*expected a folder",
}


@pytest.mark.parametrize("parameter", PLACES)
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_file_that_is_something_else_is_refused_before_anything_is_written(tmp_path, parameter, dry_run):
    page = tmp_path / "weights"
    page.write_text("<!DOCTYPE html><html><body>Virus scan warning</body></html>\n")
    given = {parameter: str(page)} | ({"clip.model": "ViT-L-14"} if "clip" in parameter else {})
    refused(PLACES[parameter], run_profile, "smoke", run="first-look", parameters=given, dry_run=dry_run)
    assert not (reports_folder() / "first-look").exists() and not (runs_folder() / "first-look").exists()


def test_words_and_class_pairs_are_sought_where_the_names_are_known(tmp_path):
    scenes = tmp_path / "scenes"
    Vocabulary(("dog", "cat"), ("on",)).write(scenes)
    vectors, pairs = tmp_path / "vectors.txt", tmp_path / "pairs.csv"
    vectors.write_text("".join(f"{word} 1.0 2.0 0.5\n" for word in ("dog", "on", "unknown")))
    pairs.write_text(f"{','.join(PAIR_COLUMNS)}\ndog,cow,1.0\n")
    given = {"annotations_folder": str(scenes)}
    for field, path, message in (
        ("recogniser.word_vectors", vectors, r"recogniser\.word_vectors: .*no vector for 1 of 4 words: cat"),
        ("augmentation.similarity", pairs, r"augmentation\.similarity: .*'cow' is not an object class"),
    ):
        with pytest.raises(WorkbenchError, match=message):
            look_at_plan(make_plan("smoke", parameters={**given, field: str(path)}))
    with open(vectors, "a") as file:
        file.write("cat 1.0 0.0 0.5\n")
    look_at_plan(make_plan("smoke", parameters={**given, "recogniser.word_vectors": str(vectors)}))


def test_a_plan_says_what_is_not_here_yet(tmp_path, capsys):
    look_at_plan(make_plan("smoke", parameters={"recogniser.word_vectors": str(tmp_path / "no.bin")}), None, True)
    assert f"not here yet, 05_finetune_and_evaluate: recogniser.word_vectors: {tmp_path}" in capsys.readouterr().err
    with pytest.raises(WorkbenchError, match=f"word_vectors: {tmp_path}/no.bin"):
        look_at_plan(make_plan("smoke", parameters={"recogniser.word_vectors": str(tmp_path / "no.bin")}))
