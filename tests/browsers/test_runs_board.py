"""The board of runs: every run has its row, columns sort as numbers, two runs are compared class by class."""

import re

import numpy as np
import pandas as pd
import pytest

from workbench.browsers.runs_board import ROWS_A_PAGE, RunsBoard
from workbench.errors import WorkbenchError
from workbench.figures.comparison import class_changes, per_class_change
from workbench.files import write_json
from workbench.recognition.accuracy import per_class_table, summary_table
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

HOSTILE = "<script>alert(1)<script>"
NAMES = Vocabulary(("man", HOSTILE, "dog", "tree"), ("on", "<b>near"))


class Project:
    """A folder of reports and one of artefacts, filled run by run."""

    def __init__(self, root):
        self.reports, self.runs = root / "reports", root / "runs"

    def run(self, name, *, seconds=1.0, headline=None, status="done", seed=0, **parameters):
        entry = {"status": status, "seconds": seconds, "peak_memory_mb": 100, "parameters": {"seed": seed} | parameters}
        record = {
            "run": name,
            "profile": "toy",
            "status": status,
            "started": f"2026-01-01T00:00:{int(seconds or 0):02d}",
        }
        write_json(self.reports / name / "run.json", record | {"seconds": seconds, "notebooks": {"05": entry}})
        write_json(self.reports / name / "metrics.json", {"05": {"headline": headline or {}, "rows": 7, "text": "a"}})

    def evaluation(self, name, variant="ce", *, vocabulary=NAMES, seed=0, rows=60):
        random = np.random.default_rng(seed)
        sizes = {role: len(vocabulary.names(role)) for role in ROLES}
        truth, guess = (pd.DataFrame({role: random.integers(n, size=rows) for role, n in sizes.items()}) for _ in "ab")
        synsets = {"objects": np.arange(sizes["object"]), "relations": np.arange(sizes["relation"])}
        counts = count_classes(truth, vocabulary)
        per_class = per_class_table(truth, guess, vocabulary, counts, synsets=synsets)
        folder = self.runs / name / "evaluation" / variant
        folder.mkdir(parents=True)
        per_class.to_parquet(folder / "per_class.parquet")
        summary_table(per_class).to_parquet(folder / "summary.parquet")
        return per_class

    def board(self):
        return RunsBoard(self.reports, self.runs)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def shown_runs(board):
    return re.findall(r"<strong>([^<]*)</strong>", board.regions()["runs"])


def test_columns_sort_as_numbers_and_what_is_missing_comes_last(project):
    for name, value in {"a": 9.5, "b": 10, "c": None, "d": 100.0}.items():
        project.run(name, headline={} if value is None else {"R": value})
    board = project.board()
    board.handle("sort", "number: R")
    assert shown_runs(board) == ["a", "b", "d", "c"] and 'aria-sort="ascending"' in board.regions()["runs"]
    board.handle("sort", "number: R")
    assert shown_runs(board) == ["d", "b", "a", "c"] and 'aria-sort="descending"' in board.regions()["runs"]
    board.set(sort="run", descending=True)
    assert shown_runs(board) == ["d", "c", "b", "a"]


def test_columns_are_the_most_shared_numbers_and_more_can_be_added(project):
    for place in range(6):
        project.run(f"run{place}", headline={f"n{k}": place * k for k in range(place + 1)})
    board = project.board()
    titles = re.findall(r'data-value="number: ([^"]*)"', board.regions()["runs"])
    assert titles == ["n0", "n1", "n2", "n3"]
    board.handle("number", "05: rows")
    board.handle("number", "n0")
    assert re.findall(r'data-value="number: ([^"]*)"', board.regions()["runs"]) == ["n1", "n2", "n3", "05: rows"]
    assert "n0 (6 runs)" in board.regions()["bar"]


def test_runs_are_found_by_words_and_shown_in_pages(project):
    for place in range(2 * ROWS_A_PAGE + 3):
        project.run(f"run{place:02d}", seconds=float(place % 60), seed=place % 2)
    board = project.board()
    board.set(sort="run", descending=False)
    seen = shown_runs(board)
    for where in ("next", "next", "next"):
        board.handle("page", where)
        seen += [name for name in shown_runs(board) if name not in seen]
    assert seen == [f"run{place:02d}" for place in range(2 * ROWS_A_PAGE + 3)] and board.state.page == 3
    board.handle("search", "SEED=1 run0")
    assert shown_runs(board) == ["run01", "run03", "run05", "run07", "run09"] and board.state.page == 1
    board.handle("search", "nothing")
    assert "Clear the search" in board.regions()["runs"]


@pytest.mark.parametrize("text", ["{", "[]", '{"notebooks": {"05": 3}}', '{"notebooks": null}'])
def test_a_broken_record_is_a_row_that_says_so(project, text):
    project.run("whole")
    (project.reports / "broken").mkdir(parents=True)
    (project.reports / "broken" / "run.json").write_text(text)
    (project.reports / "whole" / "metrics.json").write_text("{")
    board = project.board()
    html = board.regions()["runs"]
    assert sorted(shown_runs(board)) == ["broken", "whole"]
    assert html.count("wb-problem") == 2 and "run.json" in html and "metrics.json" in html


def test_no_runs_and_runs_without_a_record(project):
    assert "workbench run" in project.board().regions()["runs"]
    project.evaluation("bare")
    board = project.board()
    assert shown_runs(board) == ["bare"] and "no record" in board.regions()["runs"]


def test_a_third_run_replaces_the_older(project):
    for name in "abc":
        project.run(name, headline={"R": 1.0, HOSTILE: 2})
    board = project.board()
    for name in "abc":
        board.handle("pick", name)
    assert list(board.selection["run"]) == ["b", "c"] and list(board.selection["R"]) == [1.0, 1.0]
    board.handle("swap", None)
    assert list(board.selection["run"]) == ["c", "b"]
    board.handle("pick", "c")
    assert list(board.selection["run"]) == ["b"] and "second run" in board.regions()["pair"]
    assert board.comparison.empty


def test_parameters_and_numbers_side_by_side(project):
    project.run("a", headline={"R": 1.5}, epochs=3, width=8, losses=["ce"])
    project.run("b", headline={"R": 1.25, "S": 2}, epochs=4, width=8, losses=["ce"])
    board = project.board()
    board.set(picked=["a", "b"])
    pair = board.regions()["pair"]
    assert "<td>epochs</td><td>3</td><td>4</td>" in pair and "3 are equal" in pair and "<td>width</td>" not in pair
    assert "−0.25" in pair and "No per-class results in a and b" in pair and "--only 05" in pair


@pytest.mark.parametrize("seed", range(3))
def test_the_comparison_is_the_join_of_both_tables(project, seed):
    random = np.random.default_rng(seed)
    tables = {}
    for place, name in enumerate("ab"):
        project.run(name)
        tables[name] = project.evaluation(name, seed=2 * seed + place, rows=int(random.integers(5, 60)))
    board = project.board()
    board.set(picked=["a", "b"], class_sort="difference", class_descending=False)
    table = board.comparison
    before, after = (tables[name].set_index(["role", "name"]) for name in "ab")
    for row in table.itertuples():
        np.testing.assert_equal(row.before, before.loc[(row.role, row.name), "accuracy_exact"])
        np.testing.assert_equal(row.after, after.loc[(row.role, row.name), "accuracy_exact"])
    tested = (before["n_test"] > 0) | (after["n_test"] > 0)
    assert len(table) == int(tested.sum())
    known = table["difference"].dropna()
    assert known.is_monotonic_increasing and table["difference"].isna()[len(known) :].all()
    board.set(role="relation", metric="synset")
    assert set(board.comparison["role"]) == {"relation"}


def test_other_vocabularies_are_compared_by_name_and_told(project):
    project.run("a")
    project.run("b")
    project.evaluation("a", vocabulary=NAMES)
    project.evaluation("b", vocabulary=Vocabulary(("dog", "man", "cat"), ("on",)), seed=1)
    board = project.board()
    board.set(picked=["a", "b"])
    table, html = board.comparison, board.regions()["classes"]
    only = {side: set(table["name"][table["only_in"] == side]) for side in ("before", "after", "")}
    assert only == {"before": {HOSTILE, "tree", "<b>near"}, "after": {"cat"}, "": {"man", "dog", "on"}}
    assert "vocabularies differ" in html and "only in b ce" in html


def test_names_are_data(project):
    project.run(HOSTILE, headline={HOSTILE: HOSTILE}, status=HOSTILE, word=HOSTILE)
    project.run("b")
    for name in (HOSTILE, "b"):
        project.evaluation(name)
    board = project.board()
    board.set(picked=[HOSTILE, "b"], search="script")
    for html in [*board.regions().values(), board.view()]:
        assert "<script" not in html and "<b>near" not in html
    assert "&lt;script&gt;" in board.regions()["classes"]


def test_looking_again_shows_what_a_run_has_done_by_now(project):
    project.run("a", status="running")
    board = project.board()
    board.set(picked=["a"])
    write_json(project.runs / "a" / "metrics" / "05.json", {"headline": {"R": 5}})
    project.run("new")
    assert shown_runs(board) == ["a"]
    board.handle("look", None)
    assert sorted(shown_runs(board)) == ["a", "new"] and list(board.selection["R"]) == [5]


@pytest.mark.parametrize(
    "changes",
    [{"colour": 1}, {"sort": "x"}, {"picked": ["x"]}, {"picked": ["a", "a"]}, {"metric": "x"}, {"page": 0},
     {"numbers": ["x"]}, {"before_variant": "../../x"}, {"role": "x"}, {"class_sort": "x"}],
)  # fmt: skip
def test_what_there_is_not_cannot_be_set(project, changes):
    project.run("a")
    board = project.board()
    before = board.state
    with pytest.raises(WorkbenchError):
        board.set(**changes)
    assert board.state == before
    with pytest.raises(WorkbenchError):
        board.handle("shell", "ls")


def test_a_broken_evaluation_is_an_error_with_a_remedy(project):
    for name in "ab":
        project.run(name)
        project.evaluation(name)
    (project.runs / "b" / "evaluation" / "ce" / "summary.parquet").write_text("x")
    board = project.board()
    board.set(picked=["a", "b"])
    with pytest.raises(WorkbenchError, match=r"summary\.parquet.*workbench run"):
        board.regions()


def test_the_twin_shows_the_same_without_controls_that_act(project):
    for name in "ab":
        project.run(name)
        project.evaluation(name)
    board = project.board()
    board.set(picked=["a", "b"])
    view = board.view()
    assert "Accuracy of each class" in view and "aria-sort" in view and 'role="button"' not in view


def test_changes_of_two_variants_agree_with_the_figure(project):
    tables = {name: project.evaluation("a", name, seed=place) for place, name in enumerate(("ce", "wce"))}
    change = per_class_change(
        {name: project.runs / "a" / "evaluation" / name for name in tables}, before="ce", after="wce"
    )
    whole = class_changes(*tables.values())
    kept = whole[(whole["n_train"] > 0) & (whole["n_test"] > 0)]
    pd.testing.assert_frame_equal(change, kept[change.columns])
