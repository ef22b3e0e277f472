"""TripletBrowser and PredictionBrowser in JupyterLab: search and filters, keys, images, the selection, legibility."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.scenes.vocabulary import ROLES

from .pages import GRID_IMAGES

BROWSERS = ("triplets", "predictions")
TITLES = ("ce", "ce_adjusted", "diffaugment")
PREDICTIONS = """from pathlib import Path
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
def opened(open_browser, open_shared_notebook, project, tmp_path_factory):
    """A function from the name of a browser to its notebook, opened once; its next cell has an expression."""
    notebooks = {}

    def open_one(name: str):
        if name == "triplets" and name not in notebooks:
            notebooks[name] = open_browser("triplet_browser", "browser.selection")
        elif name not in notebooks:
            folder = tmp_path_factory.mktemp("predictions")
            stage = project / "data" / "runs" / "smoke" / "evaluation"
            write_predictions(next(stage.glob("[!.]*/predictions.parquet")).parent, folder, TITLES)
            source = PREDICTIONS.format(folder=folder, titles=TITLES)
            notebooks[name] = open_shared_notebook(name, source, "len(browser.selection), browser.state.cell")
            notebooks[name].run_all()
        return notebooks[name]

    return open_one


@pytest.fixture
def notebook(request, opened):
    """The notebook of the browser that a test is about, without filters or ticks afterwards."""
    notebook = opened(request.param)
    browser = notebook.widget()
    browser.locator('[data-region="grid"] .wb-tile').first.wait_for()
    yield notebook
    for event in ("reset", "untick", "clear"):
        button = browser.locator(f'[data-event="{event}"]:enabled')
        if button.count():
            button.click()
            button.wait_for(state="detached")


@pytest.fixture
def browser(notebook):
    return notebook.widget()


def about(*names: str):
    return pytest.mark.parametrize("notebook", names, indirect=True)


def number_of(text: str) -> int:
    return int(re.sub(r"\D", "", text))


def matches(browser) -> int:
    """How many triplets, or test rows, match."""
    return number_of(browser.locator(".wb-pager span").first.inner_text().split(" of ")[1])


def captions(browser) -> list[str]:
    return browser.locator(".wb-tile :is(.wb-triplet-caption, .wb-prediction-caption)").all_inner_texts()


@about(*BROWSERS)
def test_every_page_has_its_own_images(request, notebook, browser, measured):
    first, numbers, images = captions(browser), [], []
    for page in range(2, 10):
        turned = f"document.querySelector('.wb .wb-pager').innerText.includes('page {page} of')"
        button = browser.locator('.wb-pager [data-value="next"]').first
        numbers.append(notebook.milliseconds(button, f"{turned} && {GRID_IMAGES}"))
        images.append(browser.locator('[data-region="grid"] image').count())
    assert min(images) > 0 and captions(browser) != first
    measured(f"{request.node.callspec.params['notebook']}, click to a page of images", numbers)


@about(*BROWSERS)
def test_they_are_legible_in_both_themes(request, notebook, browser, screenshot):
    name = request.node.callspec.params["notebook"]
    if name == "triplets":
        browser.locator('[data-event="origin"][data-value="augmented"]').click()
        browser.locator('[data-event="origin"][data-value="augmented"][aria-pressed="true"]').wait_for()
        browser.locator('[data-event="open"]').first.click()
        browser.locator(".wb-triplet-detail").wait_for()
    else:
        browser.locator('[data-region="confusion"] [data-event="true_class"]').first.click()
        browser.get_by_text("Who takes the").wait_for()
    for theme in ("Dark", "Light"):
        notebook.theme(theme)
        notebook.page.wait_for_function(GRID_IMAGES)
        notebook.assert_legible()
        screenshot(f"{name.removesuffix('s')}_browser_{theme.lower()}", browser)
    notebook.assert_quiet()


@about("triplets")
def test_a_search_leaves_what_has_its_words(notebook, browser):
    everything, word = matches(browser), captions(browser)[0].split()[0]
    browser.locator("input[type=search]").click()
    notebook.page.keyboard.type(word, delay=30)
    notebook.page.wait_for_function(
        f"!document.querySelector('.wb [data-region=status]').innerText.startsWith('{everything:,} ')"
    )
    assert 0 < matches(browser) < everything and all(word in caption for caption in captions(browser))
    notebook.page.keyboard.type(" zzz")
    browser.get_by_text("No triplet matches.").wait_for()
    browser.get_by_text("Clear all filters", exact=True).click()
    browser.locator(".wb-tile").first.wait_for()
    assert matches(browser) == everything and browser.locator("input[type=search]").input_value() == ""


@about("predictions")
def test_a_cell_of_the_confusions_shows_its_rows_and_the_next_cell_reads_them(notebook, browser):
    cell = browser.locator('[data-event="cell"]').first
    value = cell.get_attribute("data-value")
    cell.click()
    browser.locator('[data-event="cell"][aria-pressed="true"]').wait_for()
    assert browser.locator(f'[data-event="cell"][data-value="{value}"]').get_attribute("aria-pressed") == "true"
    assert f"({matches(browser)}, ({value.replace(',', ', ')}))" in notebook.run_cell(1)
