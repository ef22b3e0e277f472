"""PredictionBrowser in JupyterLab: filters and their counts, a confusion's cell, keys, the selection."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.scenes.vocabulary import ROLES

from .pages import GRID_IMAGES

TITLES = ("ce", "ce_adjusted", "diffaugment")
SOURCE = """from pathlib import Path
from types import SimpleNamespace
from workbench.runs.browsing import prediction_browser
from workbench.stages import Run
folders = {{title: SimpleNamespace(folder=Path("{folder}", title)) for title in {titles}}}
browser = prediction_browser(Run.open("smoke"), evaluations=folders, before="ce", after="diffaugment")
browser"""
pytestmark = pytest.mark.browser


def write_predictions(evaluation: Path, folder: Path, titles: tuple[str, ...]) -> None:
    """Predictions of the rows of ``evaluation``: of every third row each of ``titles`` gets another part right.

    What a tiny training predicts depends on the machine; of these rows some are fixed, some broken, some neither.
    """
    table = pd.read_parquet(evaluation / "predictions.parquet")
    for place, title in enumerate(titles):
        for role in ROLES:
            true, wrong = table[role].to_numpy(), (table[role].to_numpy() + 1) % (table[role].max() + 1)
            right = table["row"].to_numpy() % 3 == place
            table[f"{role}_top1"], table[f"{role}_top2"] = np.where(right, (true, wrong), (wrong, true))
        (folder / title).mkdir(parents=True)
        table.to_parquet(folder / title / "predictions.parquet", index=False)


@pytest.fixture(scope="module")
def opened(open_shared_notebook, project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    evaluation = next((project / "data" / "runs" / "smoke" / "evaluation").glob("[!.]*/predictions.parquet")).parent
    write_predictions(evaluation, folder, TITLES)
    source = SOURCE.format(folder=folder, titles=TITLES)
    notebook = open_shared_notebook("prediction_browser", source, "len(browser.selection), browser.state.cell")
    notebook.run_all()
    return notebook


@pytest.fixture
def notebook(opened):
    browser = opened.widget()
    browser.locator('[data-region="confusion"] table').wait_for()
    yield opened
    if browser.locator('[data-event="clear"]').count():
        browser.locator('[data-event="clear"]').click()
        browser.locator('[data-event="clear"]').wait_for(state="detached")


@pytest.fixture
def browser(notebook):
    return notebook.widget()


def matching_rows(browser) -> int:
    told = browser.locator('[data-region="grid"] .wb-pager span').first.inner_text()
    return int(re.search(r"of ([\d,]+) test rows", told)[1].replace(",", ""))


def chip_count(chip) -> int:
    return int(re.sub(r"\D", "", chip.locator(".wb-count").inner_text()))


def test_a_chip_leaves_as_many_rows_as_it_says(notebook, browser):
    everything = matching_rows(browser)
    chip = browser.locator('[data-event="what"][data-value="fixed"]')
    told = chip_count(chip)
    chip.click()
    browser.locator('[data-event="what"][data-value="fixed"][aria-pressed="true"]').wait_for()
    assert matching_rows(browser) == told < everything
    assert (
        browser.locator("strong.wb-prediction-fixed").count()
        >= browser.locator(".wb-prediction-tiles > .wb-tile").count()
    )
    browser.locator('[data-event="band"]:enabled').first.click()
    browser.locator('[data-event="band"][aria-pressed="true"]').wait_for()
    assert matching_rows(browser) == chip_count(browser.locator('[data-event="band"][aria-pressed="true"]')) <= told


def test_a_cell_of_the_confusions_shows_its_rows_and_the_next_cell_reads_them(notebook, browser):
    cell = browser.locator('[data-event="cell"]').first
    value = cell.get_attribute("data-value")
    cell.click()
    browser.locator('[data-event="cell"][aria-pressed="true"]').wait_for()
    assert browser.locator(f'[data-event="cell"][data-value="{value}"]').get_attribute("aria-pressed") == "true"
    assert f"({matching_rows(browser)}, ({value.replace(',', ', ')}))" in notebook.run_cell(1)


def test_keys_page_and_images_come(notebook, browser, measured):
    browser.locator('[data-event="role"]').first.focus()
    notebook.page.keyboard.press("ArrowRight")
    browser.get_by_text("page 2 of").wait_for()
    notebook.page.keyboard.press("Home")
    browser.get_by_text("page 1 of").wait_for()
    numbers = []
    for page in range(2, 10):
        turned = f"document.querySelector('.wb [data-region=grid] .wb-pager').innerText.includes('page {page} of')"
        button = browser.locator('[data-region="grid"] .wb-pager [data-value="next"]')
        numbers.append(notebook.milliseconds(button, f"{turned} && {GRID_IMAGES}"))
    assert browser.locator('[data-region="grid"] image').count() > 0
    measured("PredictionBrowser, click to a page of images", numbers)


def test_it_is_legible_in_both_themes(notebook, browser, screenshot):
    browser.locator('[data-region="confusion"] [data-event="true_class"]').first.click()
    browser.get_by_text("Who takes the").wait_for()
    for theme in ("Dark", "Light"):
        notebook.theme(theme)
        notebook.page.wait_for_function(GRID_IMAGES)
        notebook.assert_legible()
        screenshot(f"prediction_browser_{theme.lower()}", browser)
    notebook.assert_quiet()
