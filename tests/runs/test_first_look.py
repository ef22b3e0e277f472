"""Files that a run needs last are looked at first: the refusal names notebook and parameter, and nothing is written."""

import re

import numpy as np
import pytest

from tests.refusals import refused
from workbench.errors import WorkbenchError
from workbench.language.similarity import PAIR_COLUMNS
from workbench.language.text_embedding import write_class_vectors
from workbench.paths import reports_folder, runs_folder
from workbench.runs.first_look import look_at_named, look_at_plan
from workbench.runs.notebooks import planned, run_profile
from workbench.runs.profiles import make_plan
from workbench.scenes.vocabulary import Vocabulary
from workbench.stages import Run, import_stage

PLACES = {
    "recogniser.word_vectors": r"05_finetune_and_evaluate: recogniser\.word_vectors: .*expected word vectors",
    "clip.checkpoint": r"00_prepare_features: clip\.checkpoint: .*this is a web page",
    "detector": r"00_prepare_features: detector: .*this is a web page",
    "image_folder": r"00_prepare_features: image_folder: .*expected a folder",
    "annotations_folder": r"00_prepare_features: annotations_folder: .*objects\.json",
    "data": r"01_explore_long_tail: data: import name",
    "exclude": r"02_build_augmented_triplets: exclude: .*page\.csv, line 1: the header is",
    "augmentation.similarity": r"02_build_augmented_triplets: augmentation\.similarity: .*this is a web page",
    "tables": r"06_reproduce_tables: tables: .*page\.csv",
}
VALUES = {
    "clip.model": ("ViT-L-14", r"00_prepare_features: clip\.checkpoint: .*not here.*hf download"),
    "extraction.device": ("nonsense", r"00_prepare_features: extraction\.device: .*auto, cpu"),
    "extraction.encoder": ([], r"extraction.*encoder is \[\]; expected vgg16"),
    "extraction.splits": (["tset"], r"extraction.*splits\[0\]: expected 'train'"),
    "recogniser.sizes": ({"hidden": -1}, "sizes: hidden is -1"),
    "augmentation.threshold": (-5.0, "threshold.*is -5.0; expected a finite number of at least 0"),
    "losses": ([], r"losses.* is \[\]; give at least one loss"),
    "metric": ("both", "metric.*expected 'exact' or 'synset'"),
    "matrix_classes": (0, "matrix_classes.* is 0; expected a whole number of at least 1"),
}


@pytest.mark.parametrize("parameter", PLACES)
@pytest.mark.parametrize("start", [planned, run_profile])
def test_a_file_that_is_something_else_is_refused_before_anything_is_written(tmp_path, parameter, start):
    page = tmp_path / "page.csv"
    page.write_text("<!DOCTYPE html><html><body>Virus scan warning</body></html>\n")
    given = {parameter: str(page)} | ({"clip.model": "ViT-L-14"} if "clip" in parameter else {})
    refused(PLACES[parameter], start, "smoke", run="first-look", parameters=given)
    assert not (reports_folder() / "first-look").exists() and not (runs_folder() / "first-look").exists()


@pytest.mark.parametrize("parameter", VALUES)
@pytest.mark.parametrize("may_be_absent", [True, False])
def test_a_value_that_a_stage_would_refuse_is_refused_at_once(parameter, may_be_absent, capsys):
    value, message = VALUES[parameter]
    try:
        look_at_plan(make_plan("smoke", parameters={parameter: value}), may_be_absent=may_be_absent)
        told = capsys.readouterr().err
    except WorkbenchError as error:
        told = str(error)
    assert re.search(message, told) and ("not here yet" in told) == (may_be_absent and parameter == "clip.model")


def test_imported_data_their_text_and_synsets_are_looked_at(tmp_path, capsys):
    run = Run("trial", tmp_path, data="mine")
    refused(r"run 'trial': data: .*no features are imported", look_at_named, [], run)
    look_at_named([], run, may_be_absent=True)
    assert "not here yet, run 'trial': data" in capsys.readouterr().err
    names = Vocabulary(("dog", "cat"), ("on",))
    stage = import_stage("mine", lambda folder: names.write(folder), root=tmp_path)
    refused(r"run 'trial': text: data 'mine' has no text vectors", look_at_named, [], run)
    look_at_named([], run, reads_text=False)
    vectors = {"objects": np.ones((2, 4)), "relations": np.ones((1, 4))}
    write_class_vectors(stage / "text", vocabulary=names, **vectors, encoder="given")
    look_at_named([], run)
    (stage / "words_synsets.json").write_text("[]")
    refused(r"run 'trial': synsets: .*words_synsets\.json: no object 'nouns'", look_at_named, [], run)
    (stage / "objects.json").write_text("[]")
    refused(r"run 'trial': data: .*objects\.json: ", look_at_named, [], run)


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
        ("typed", ["cat on cow"], "03_train_diffusion: typed: there is no object class 'cow'.* nearest"),
    ):
        with pytest.raises(WorkbenchError, match=message):
            look_at_plan(make_plan("smoke", parameters={**given, field: path if isinstance(path, list) else str(path)}))
    with open(vectors, "a") as file:
        file.write("cat 1.0 0.0 0.5\n")
    look_at_plan(make_plan("smoke", parameters={**given, "recogniser.word_vectors": str(vectors)}))


def test_a_plan_says_what_is_not_here_yet(tmp_path, capsys):
    look_at_plan(make_plan("smoke", parameters={"recogniser.word_vectors": str(tmp_path / "no.bin")}), None, True)
    assert f"not here yet, 05_finetune_and_evaluate: recogniser.word_vectors: {tmp_path}" in capsys.readouterr().err
    with pytest.raises(WorkbenchError, match=f"word_vectors: {tmp_path}/no.bin"):
        look_at_plan(make_plan("smoke", parameters={"recogniser.word_vectors": str(tmp_path / "no.bin")}))
