"""TripletBrowser and PredictionBrowser in JupyterLab: search, images, a cell that filters, legibility."""

import re

import pytest

from .pages import IMAGES

# What a cell below each of them shows.
BROWSERS = {"triplet_browser": "browser.selection", "prediction_browser": "len(browser.selection), browser.state.cell"}
pytestmark = pytest.mark.browser


@pytest.fixture
def notebook(request, open_browser):
    """The notebook of the browser that a test is about, without filters afterwards."""
    notebook = open_browser(request.param, BROWSERS[request.param])
    browser = notebook.widget()
    browser.locator('[data-region="grid"] .wb-tile').first.wait_for()
    yield notebook
    for event in ("reset", "clear"):
        button = browser.locator(f'[data-event="{event}"]:enabled')
        if button.count():
            button.click()
            button.wait_for(state="detached")


@pytest.fixture
def browser(notebook):
    return notebook.widget()


def about(*names: str):
    return pytest.mark.parametrize("notebook", names, indirect=True)


def matches(browser) -> int:
    """How many triplets, or test rows, match."""
    return int(re.sub(r"\D", "", browser.locator(".wb-pager span").first.inner_text().split(" of ")[1]))


def captions(browser) -> list[str]:
    return browser.locator(".wb-tile :is(.wb-triplet-caption, .wb-prediction-caption)").all_inner_texts()


@about(*BROWSERS)
def test_every_page_has_its_own_images(notebook, browser):
    first = captions(browser)
    for page in (2, 3):
        browser.locator('.wb-pager [data-value="next"]').first.click()
        browser.get_by_text(f"page {page} of").first.wait_for()
        notebook.page.wait_for_function(IMAGES)
        assert browser.locator('[data-region="grid"] image').count() > 0 and captions(browser) != first


@about(*BROWSERS)
def test_they_are_legible_in_both_themes(notebook, browser, screenshot):
    if notebook.name == "triplet_browser":
        browser.locator('[data-event="origin"][data-value="augmented"]').click()
        browser.locator('[data-event="origin"][data-value="augmented"][aria-pressed="true"]').wait_for()
        browser.locator('[data-event="open"]').first.click()
        browser.locator(".wb-triplet-detail").wait_for()
    else:
        browser.locator('[data-region="confusion"] [data-event="true_class"]').first.click()
        browser.get_by_text("Who takes the").wait_for()
    for theme in ("Dark", "Light"):
        notebook.theme(theme)
        notebook.page.wait_for_function(IMAGES)
        notebook.assert_legible()
        screenshot(f"{notebook.name}_{theme.lower()}", browser)
    notebook.assert_quiet()


@about("triplet_browser")
def test_a_search_leaves_what_has_its_words(notebook, browser):
    everything, word = matches(browser), captions(browser)[0].split()[0]
    browser.locator("input[type=search]").click()
    notebook.page.keyboard.type(word, delay=30)
    status = "document.querySelector('.wb:not(.wb-static) [data-region=status]').innerText"
    notebook.page.wait_for_function(f"/^\\d/.test({status}) && !{status}.startsWith('{everything:,} ')")
    assert 0 < matches(browser) < everything and all(word in caption for caption in captions(browser))
    notebook.page.keyboard.type(" zzz")
    browser.get_by_text("No triplet matches.").wait_for()
    browser.get_by_text("Clear all filters", exact=True).click()
    browser.locator(".wb-tile").first.wait_for()
    assert matches(browser) == everything and browser.locator("input[type=search]").input_value() == ""


@about("prediction_browser")
def test_a_cell_of_the_confusions_shows_its_rows_and_the_next_cell_reads_them(notebook, browser):
    cell = browser.locator('[data-event="cell"]').first
    value = cell.get_attribute("data-value")
    cell.click()
    browser.locator('[data-event="cell"][aria-pressed="true"]').wait_for()
    assert browser.locator(f'[data-event="cell"][data-value="{value}"]').get_attribute("aria-pressed") == "true"
    assert f"({matches(browser)}, ({value.replace(',', ', ')}))" in notebook.run_cell(1)
