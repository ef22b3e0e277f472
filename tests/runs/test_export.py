"""What a run or tables measured as LaTeX that compiles, and as CSV that reads back, with names of classes."""

import re

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from tests.runs.test_run_records import NAMES
from tests.tables.test_results import made_record
from workbench.__main__ import main
from workbench.files import save_table, write_json
from workbench.recognition.accuracy import per_class_table, summary_table
from workbench.recognition.evaluation import flat_numbers, prediction_table
from workbench.runs.export import COLUMNS, export, latex
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES
from workbench.stages import Run
from workbench.tables.results import interval


def evaluated(folder, seed):
    random, sizes = np.random.default_rng(seed), {role: len(NAMES.names(role)) for role in ROLES}
    truth = {role: random.integers(size, size=60) for role, size in sizes.items()}
    table = prediction_table(np.arange(60), truth, {role: random.random((60, size)) for role, size in sizes.items()})
    guess = pd.DataFrame({role: table[f"{role}_predicted"] for role in ROLES})
    synsets = {"objects": np.arange(sizes["object"]), "relations": np.arange(sizes["relation"])}
    per_class = per_class_table(table, guess, NAMES, count_classes(pd.DataFrame(truth), NAMES), synsets=synsets)
    summary = summary_table(per_class)
    for name, content in {"per_class": per_class, "summary": summary, "predictions": table}.items():
        save_table(folder / f"{name}.parquet", content)
    return flat_numbers(summary, table)


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


@pytest.mark.parametrize("form", ["--latex", "--csv"])
def test_a_run_is_written(toy_project, form):
    for variant in ("ce", "diff_augment"):
        Run.open("r").stage("evaluation", evaluated, variant, seed=len(variant))
    assert main(["export", "r", form]) == 0
    folder = toy_project / "reports" / "r" / "export"
    if form == "--latex":
        text = (folder / "table1-synset.tex").read_text()
        assert is_strict_latex(text) and r"diff\_augment" in text and not list(folder.glob("*.csv"))
        return
    tables = {path.stem: pd.read_csv(path) for path in folder.iterdir()}
    assert tables.keys() == {"summary", "per_class", "predictions"}
    predictions = tables["predictions"]
    assert predictions.groupby("evaluation").size().to_dict() == {"ce": 60, "diff_augment": 60}
    assert set(predictions["object_predicted"]) == set(NAMES.objects) and predictions["relation_top3"].isna().all()
    assert ((predictions["subject"] == predictions["subject_predicted"]) == predictions["subject_correct"]).all()


def test_tables_are_written_and_a_run_without_results_leaves_nothing(toy_project):
    write_json(toy_project / "reports" / "toy-tables" / "tables.json", made_record())
    export("toy-tables", "latex", None)
    text = (toy_project / "reports" / "toy-tables" / "export" / "table1-exact.tex").read_text()
    assert is_strict_latex(text) and text.count(r"\pm") == 95 and "RelTransformer" in text
    refused("no evaluation/lsvru_ce", export, "toy-tables", "csv", toy_project / "out")
    refused("no evaluation/default", export, "none", "", toy_project / "out")
    assert not (toy_project / "out").exists()
