"""What a run or tables measured as LaTeX that compiles, and as CSV that reads back, with names of classes."""

import re

import numpy as np
import pandas as pd

from tests.refusals import refused
from tests.runs.test_run_records import NAMES, evaluated
from tests.tables.test_results import made_record
from workbench.__main__ import main
from workbench.files import write_json
from workbench.runs.export import COLUMNS, export, latex
from workbench.stages import Run
from workbench.tables.results import interval


def is_strict_latex(text: str) -> bool:
    """Braces and dollars in pairs, no letter that TeX takes for itself, every row as wide as the tabular."""
    body = re.sub(r"(?<!\\)%.*", "", text)
    bare = re.sub(r"\\([&%$#_{}]|[A-Za-z]+)", "", body)
    depths = np.cumsum([(letter == "{") - (letter == "}") for letter in bare])
    wide = len(re.search(r"\\begin{tabular}{(\w+)}", body)[1])
    rows = [re.split(r"(?<!\\)&", row) for row in body.split(r"\\")[:-1]]
    widths = {sum(int((re.findall(r"\\multicolumn{(\d+)}", cell) or [1])[0]) for cell in row) for row in rows}
    paired = depths.min() >= 0 and depths[-1] == 0 and bare.count("$") % 2 == 0
    return paired and not set("#_^~") & set(bare) and widths == {wide}


def test_names_are_set_letter_by_letter():
    cells = [{"here": interval([1.0, 2.0]), "change": interval([-1.0])}] * len(COLUMNS)
    made = latex("run_1", "exact", [{"group": "a_b", "name": r"50% {of} \x ^ ~ $ # &", "cells": cells, "gap": ""}])
    assert is_strict_latex(made) and r"50\% \{of\} \textbackslash{}x" in made and r"$1.5 \pm 6.4$ & $-1.0$ \\" in made
    assert not is_strict_latex(made.replace(r"\#", "#")) and not is_strict_latex(made.replace("& $1.5", "$1.5", 1))


def test_a_run_is_written(toy_project):
    for variant in ("ce", "diff_augment"):
        Run.open("r").stage("evaluation", evaluated, variant, seed=len(variant))
    folder = toy_project / "reports" / "r" / "export"
    assert main(["export", "r", "--csv"]) == 0
    assert {path.name for path in folder.iterdir()} == {"summary.csv", "per_class.csv", "predictions.csv"}
    assert main(["export", "r", "--latex"]) == 0
    text = (folder / "table1-synset.tex").read_text()
    assert is_strict_latex(text) and r"diff\_augment" in text and "intervals" not in text
    predictions = pd.read_csv(folder / "predictions.csv")
    assert predictions.groupby("evaluation").size().to_dict() == {"ce": 60, "diff_augment": 60}
    assert set(predictions["object_predicted"]) == set(NAMES.objects) and predictions["relation_top3"].isna().all()
    assert ((predictions["subject"] == predictions["subject_predicted"]) == predictions["subject_correct"]).all()


def test_tables_are_written_and_a_run_without_results_leaves_nothing(toy_project):
    write_json(toy_project / "reports" / "toy-tables" / "tables.json", made_record())
    export("toy-tables", "latex", None)
    text = (toy_project / "reports" / "toy-tables" / "export" / "table1-exact.tex").read_text()
    assert is_strict_latex(text) and text.count(r"\pm") == 95 and "intervals" in text and "RelTransformer" in text
    refused("no evaluation/lsvru_ce", export, "toy-tables", "csv", toy_project / "out")
    (toy_project / "data" / "runs" / "empty").mkdir(parents=True)
    refused("no evaluation/default", export, "empty", "", toy_project / "out")
    refused("unknown run 'emty'. Did you mean 'empty'", export, "emty", "", toy_project / "out")
    assert not (toy_project / "out").exists()
