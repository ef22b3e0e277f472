"""TripletBrowser in JupyterLab: search, chart, bands, keys, selection, and how fast images come."""

import pytest

from .pages import GRID_IMAGES

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def opened(open_browser):
    captions = "[' '.join(names) for names in browser.selection[['subject', 'relation', 'object']].values]"
    return open_browser("triplet_browser", captions)


@pytest.fixture
def notebook(opened):
    browser = opened.widget()
    browser.locator('[data-region="grid"] .wb-tile').first.wait_for()
    yield opened
    for event in ("reset", "untick"):
        button = browser.locator(f'[data-event="{event}"]:enabled')
        if button.count():
            button.click()
            button.wait_for(state="detached")


@pytest.fixture
def browser(notebook):
    return notebook.widget()


def matches(browser) -> int:
    return int(browser.locator('[data-region="status"] strong').first.inner_text().replace(",", ""))


def captions(browser) -> list[str]:
    return browser.locator(".wb-tile .wb-triplet-caption").all_inner_texts()


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


def test_keys_page_and_images_come(notebook, browser, measured):
    first = captions(browser)
    browser.locator('[data-event="open"]').first.focus()
    notebook.page.keyboard.press("ArrowRight")
    browser.get_by_text("page 2 of").wait_for()
    assert captions(browser) != first
    notebook.page.keyboard.press("Home")
    browser.get_by_text("page 1 of").wait_for()
    assert captions(browser) == first
    numbers, tiles = [], []
    for page in range(2, 10):
        turned = f"document.querySelector('.wb [data-region=pager]').innerText.includes('page {page} of')"
        button = browser.locator('.wb-pager [data-value="next"]').first
        numbers.append(notebook.milliseconds(button, f"{turned} && {GRID_IMAGES}"))
        tiles.append(browser.locator(".wb-tile image").count())
    assert min(tiles) > 0
    measured("TripletBrowser, click to a page of images", numbers)


def test_ticked_triplets_are_the_selection_of_the_next_cell(notebook, browser):
    wanted = captions(browser)[:3]
    for place in range(2):
        browser.locator('[data-event="tick"]').nth(place).click()
        browser.locator('.wb-tile[aria-selected="true"]').nth(place).wait_for()
    third = browser.locator('[data-event="tick"]').nth(2)
    third.focus()
    notebook.page.keyboard.press("Enter")
    browser.locator('.wb-tile[aria-selected="true"]').nth(2).wait_for()
    assert browser.evaluate("browser => browser.contains(document.activeElement)")
    assert str(wanted) in " ".join(notebook.run_cell(1).split())


def test_it_is_legible_in_both_themes(notebook, browser, screenshot):
    browser.locator('[data-event="origin"][data-value="augmented"]').click()
    browser.locator('[data-event="origin"][data-value="augmented"][aria-pressed="true"]').wait_for()
    browser.locator('[data-event="open"]').first.click()
    browser.locator(".wb-triplet-detail").wait_for()
    for theme in ("Dark", "Light"):
        notebook.theme(theme)
        notebook.page.wait_for_function(GRID_IMAGES)
        notebook.assert_legible()
        screenshot(f"triplet_browser_{theme.lower()}", browser)
    notebook.assert_quiet()
