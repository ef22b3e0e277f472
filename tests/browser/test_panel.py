"""The panel in JupyterLab: events, focus, keys, images and errors, with a page made for it."""

import re
from pathlib import Path

import pytest

from workbench.browsers.panel import Panel

SOURCE = Path(__file__).with_name("images_page.py").read_text(encoding="utf-8")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def opened(open_notebook):
    notebook = open_notebook("panel", SOURCE, "page.picked, page.text")
    notebook.run_all()
    return notebook


@pytest.fixture
def notebook(opened):
    """The notebook with the page as it was at first."""
    opened.widget().locator('[data-event="clear"]').click()
    opened.page.wait_for_function("document.querySelector('.wb input').value === ''")
    return opened


@pytest.fixture
def panel(notebook):
    return notebook.widget()


def tiles(panel) -> list[str]:
    return panel.locator(".wb-tile p").all_inner_texts()


def page_told(panel, text: str) -> None:
    panel.get_by_text(text).wait_for(timeout=10_000)


def test_data_is_text_and_never_markup(notebook, panel):
    assert panel.get_by_text("<b>clear</b>").count() == 1
    panel.locator(".wb-tile").first.focus()
    notebook.page.keyboard.press("Home")
    assert panel.get_by_text("<script>window.injected = true</script>").count() == 1
    assert notebook.page.evaluate("window.injected") is None


def test_typing_keeps_focus_and_caret_while_the_field_is_drawn_anew(notebook, panel):
    field = panel.locator("input[type=search]")
    field.click()
    notebook.page.keyboard.type("tst_0", delay=120)
    panel.locator('[data-event="clear"]', has_text=re.compile(r"\b0$")).wait_for()
    for _ in range(4):
        notebook.page.keyboard.press("ArrowLeft")
    notebook.page.keyboard.type("e", delay=200)
    panel.get_by_text("test_00000.jpg").wait_for()
    notebook.page.wait_for_timeout(400)
    state = "field => [field.value, field.selectionStart, document.activeElement === field]"
    assert field.evaluate(state) == ["test_0", 2, True] and all(name.startswith("test_0") for name in tiles(panel))


def test_fast_typing_loses_no_letter(notebook, panel):
    panel.locator("input[type=search]").click()
    notebook.page.keyboard.type("train_00003.jpg", delay=15)
    page_told(panel, "1–1 of 1 images")
    assert tiles(panel) == ["train_00003.jpg"]


def test_a_tile_is_picked_with_enter_and_space_and_keeps_the_focus(notebook, panel):
    for place, key in enumerate(["Enter", " "]):
        tile = panel.locator(".wb-tile").nth(1 + place)
        tile.focus()
        notebook.page.keyboard.press(key)
        panel.locator('.wb-tile[aria-selected="true"]').nth(place).wait_for()
        assert tile.evaluate("tile => document.activeElement === tile")
    # The notebook stayed where it was: no cell was run, added or left in edit mode.
    assert notebook.code_cells.count() == 2
    names = tiles(panel)[1:3]
    assert f"{names!r}, ''" in " ".join(notebook.run_cell(1).split())


def test_keys_page_and_the_notebook_does_not_take_them(notebook, panel):
    panel.locator(".wb-tile").first.focus()
    before = tiles(panel)
    for key, told in [("ArrowRight", "page 2 of"), ("PageDown", "page 3 of"), ("ArrowLeft", "page 2 of")]:
        notebook.page.keyboard.press(key)
        page_told(panel, told)
        assert panel.evaluate("panel => panel.contains(document.activeElement)"), key
    assert tiles(panel) != before
    notebook.page.keyboard.press("End")
    panel.get_by_title("Next page (right arrow)").and_(notebook.page.locator(":disabled")).wait_for()
    notebook.page.keyboard.press("Home")
    page_told(panel, "page 1 of")
    assert tiles(panel) == before


def test_letters_on_a_tile_do_no_harm_to_the_notebook(notebook, panel):
    panel.locator(".wb-tile").first.click()
    for key in ["d", "d", "a", "b", "x", "y", "z", "0", "0", "j", "k", "m", "ArrowDown", "Enter"]:
        notebook.page.keyboard.press(key)
        assert panel.evaluate("panel => panel.contains(document.activeElement)"), key
    notebook.page.wait_for_timeout(300)
    assert notebook.code_cells.count() == 2 and notebook.page.locator(".jp-MarkdownCell, .jp-Dialog").count() == 0
    # JupyterLab's own keys with Ctrl go on.
    notebook.page.keyboard.press("Control+Shift+c")
    notebook.page.locator(".lm-CommandPalette").wait_for()
    notebook.page.keyboard.press("Escape")


def test_an_error_is_told_and_goes_away_with_the_next_act(notebook, panel):
    panel.locator('[data-value="ours"]').click()
    panel.get_by_text("<i>refused</i>. Do something else.").wait_for()
    assert panel.locator("details").count() == 0
    panel.locator('[data-value="other"]').click()
    panel.locator(".wb-error summary").click()
    assert "ValueError: <i>refused</i>" in panel.locator(".wb-error").inner_text()
    assert "in handle" in panel.locator("pre").inner_text()
    panel.locator('[data-event="clear"]').click()
    panel.locator(".wb-error").wait_for(state="detached")


def test_a_change_from_python_is_shown_in_every_view(open_notebook):
    notebook = open_notebook("panel_twice", SOURCE, "page", "page.handle('search', 'test_00001'); page.shown_again()")
    notebook.run_all()
    for view in (notebook.widget(0), notebook.widget(1)):
        page_told(view, "1–1 of 1 images")
    notebook.widget(1).locator('[data-event="clear"]').click()
    for view in (notebook.widget(0), notebook.widget(1)):
        page_told(view, "page 1 of")


def test_a_reloaded_page_shows_the_kernel_s_state(opened):
    panel = opened.widget()
    panel.locator("input[type=search]").fill("test_00002")
    page_told(panel, "1–1 of 1 images")
    opened.page.keyboard.press("Control+s")
    opened.page.wait_for_timeout(1000)
    opened.load()
    panel = opened.widget()
    page_told(panel, "1–1 of 1 images")
    assert panel.locator("input[type=search]").input_value() == "test_00002"
    opened.page.wait_for_function("document.querySelector('.wb .wb-tile image')?.getAttribute('href')")
    opened.assert_quiet()


def test_a_panel_whose_kernel_was_restarted_says_so(open_notebook):
    notebook = open_notebook("panel_restarted", SOURCE)
    notebook.run_all()
    panel = notebook.widget()
    notebook.menu("Kernel", "Restart Kernel…")
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click()
    notebook.page.wait_for_timeout(2000)
    panel.locator(".wb-tile").first.click()
    panel.get_by_text("Run the cell again.").wait_for()
    notebook.run_cell(0)
    page_told(notebook.widget(), "page 1 of")
    notebook.assert_quiet()


def test_a_panel_that_nothing_reaches_says_so_until_something_does(chromium):
    page = chromium.new_page()
    page.clock.install()
    page.evaluate(
        """async (source) => {
            const code = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
            const model = { get: () => "", send() {}, off() {}, on: (_, receive) => (window.receive = receive) };
            code.default.render({ model, el: document.body });
        }""",
        Panel._esm,
    )
    page.clock.fast_forward(11_000)
    assert "run the cell again" in page.locator(".wb-error").inner_text()
    page.evaluate("receive({ kind: 'regions', regions: { error: '' }, answer: true })")
    assert page.locator(".wb-error").count() == 0
    page.close()
