"""RunsBoard in JupyterLab: search, sort, pick two runs, read the selection."""

import json
import shutil

import pytest

SOURCE = """from workbench.runs.browsing import runs_board
board = runs_board()
board"""
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(open_shared_notebook, project):
    """The board of two runs, of which the second is a copy with another name, seed and headline number."""
    for place in ("data/runs", "reports"):
        shutil.copytree(project / place / "smoke", project / place / "second", dirs_exist_ok=True)
    record = project / "reports" / "second" / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"run": "second", "started": "2020-01-01T00:00:00"}))
    opened = open_shared_notebook("runs_board", SOURCE, "board.selection['run'].tolist()")
    opened.run_all()
    yield opened
    for place in ("data/runs", "reports"):
        shutil.rmtree(project / place / "second")


def names(notebook) -> list[str]:
    rows = notebook.rows(notebook.widget().locator("table.wb-runs-table"))
    return [row[1].split("\\n")[0].split(" (")[0] for row in rows]


def test_runs_are_searched_and_sorted(notebook):
    board = notebook.widget()
    board.locator("table.wb-runs-table").wait_for()
    assert names(notebook) == ["smoke", "second"]
    head = board.locator('[data-event="sort"][data-value="run"]')
    head.click()
    notebook.page.wait_for_function("document.querySelector('[aria-sort=ascending]')?.innerText.includes('run')")
    assert names(notebook) == ["second", "smoke"]
    search = board.locator('input[data-event="search"]')
    search.fill("secon")
    notebook.page.wait_for_function("document.querySelectorAll('.wb-runs-table tbody tr').length === 1")
    search.fill("nothing like this")
    board.get_by_text("No run has these words.").wait_for()
    search.fill("")
    board.locator("table.wb-runs-table tbody tr").nth(1).wait_for()


def test_two_runs_are_compared_and_are_the_selection(notebook, measured, screenshot):
    board = notebook.widget()
    board.get_by_label("compare smoke").click()
    board.get_by_text("Pick a second run").wait_for()
    second = board.get_by_label("compare second")
    done = "document.querySelectorAll('.wb [data-event=class_sort]').length > 0"
    measured("RunsBoard, click to comparison", [notebook.milliseconds(second, done)])
    assert "['smoke', 'second']" in notebook.run_cell(1)
    board.locator('[data-event="class_search"]').fill("x")
    board.locator('[data-event="class_sort"][data-value="n_train"]').click()
    notebook.page.wait_for_function("document.querySelector('[aria-sort=descending]') !== null")
    board.locator('[data-event="class_search"]').fill("")
    for theme in ("Dark", "Light"):
        notebook.theme(theme)
        notebook.assert_legible()
        screenshot(f"runs_board_{theme.lower()}", notebook.widget())
    notebook.assert_quiet()
