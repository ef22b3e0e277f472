"""FeatureMap in JupyterLab: lasso, a click on a generated point, colours, the selection."""

import pytest

from .pages import IMAGES

# Where the points of the trace whose name begins with a word lie on the screen, as (x, y) pixels of the window.
PLACES = """(figure, name) => {
    const { xaxis, yaxis } = figure._fullLayout, area = figure.getBoundingClientRect();
    const trace = figure._fullData.find((trace) => trace.visible === true && trace.name.startsWith(name));
    return Array.from(trace.x, (x, place) => [
        area.left + xaxis._offset + xaxis.d2p(x), area.top + yaxis._offset + yaxis.d2p(trace.y[place])]);
}"""
ROUND_EVERYTHING = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(open_browser):
    return open_browser("feature_map", "len(browser.selection), sorted(set(browser.selection['source']))")


@pytest.fixture
def figure(notebook):
    found = notebook.page.locator(".js-plotly-plot")
    found.locator(".nsewdrag").first.wait_for()
    found.scroll_into_view_if_needed()
    return found


def test_the_map_keeps_its_range_when_the_window_changes(notebook, figure):
    ranges = "figure => [figure.layout.xaxis.range, figure.layout.yaxis.range].flat().map((end) => end.toFixed(3))"
    before = figure.evaluate(ranges)
    for width in (900, 1280, 1000, 1280):
        notebook.page.set_viewport_size({"width": width, "height": 900})
        notebook.page.wait_for_timeout(700)
    assert figure.evaluate(ranges) == before


def test_a_lasso_round_all_points_is_the_selection(notebook, figure):
    real, generated = (len(figure.evaluate(PLACES, name)) for name in ("real", "generated"))
    notebook.lasso(figure, ROUND_EVERYTHING)
    below = notebook.widget(1)
    below.get_by_text(f"of {real + generated:,} points").wait_for()
    rows = below.locator("table").first.locator("tbody tr").all_inner_texts()
    assert [row.split()[:2] for row in rows] == [["real", f"{real:,}"], ["generated", f"{generated:,}"]]
    assert f"({real + generated}, ['generated', 'real'])" in notebook.run_cell(1)
    below.locator('[data-event="clear"]').click()
    below.get_by_text("Nothing is selected.").wait_for()


def test_a_click_on_a_generated_point_shows_its_nearest_real_rows(notebook, figure):
    below = notebook.widget(1)
    figure.scroll_into_view_if_needed()
    notebook.page.mouse.click(*figure.evaluate(PLACES, "generated")[0])
    below.get_by_text("nearest real rows of the map").wait_for()
    notebook.page.wait_for_function(IMAGES)
    assert below.locator('[data-region="point"] image').count() >= 5


def test_every_colour_has_a_legend_whose_counts_are_those_of_the_points(notebook, figure):
    menu = notebook.widget(0).locator('select[data-event="colour"]')
    legends, points = {}, sum(len(figure.evaluate(PLACES, name)) for name in ("real", "generated"))
    for colour in menu.locator("option").all_text_contents():
        menu.select_option(colour)
        notebook.page.wait_for_timeout(1500)
        traces = figure.evaluate("figure => figure._fullData.filter(one => one.visible === true)"
                                 ".map(one => [one.name, one.x.length])")  # fmt: skip
        assert sum(count for _, count in traces) == points, (colour, traces)
        assert all(name.endswith(f"({count:,})") for name, count in traces), (colour, traces)
        legends[colour] = [name for name, _ in traces]
    menu.select_option("source")
    assert len(legends) == 11 and legends["hardness"] != legends["source"]


def test_it_is_legible_in_both_themes(notebook, figure, screenshot):
    notebook.lasso(figure, [(0.01, 0.01), (0.5, 0.01), (0.5, 0.99), (0.01, 0.99)])
    notebook.widget(1).get_by_text("band of the object").wait_for()
    for theme in ("Dark", "Light"):
        notebook.theme(theme)
        ink = {"Dark": "rgb(255, 255, 255)", "Light": "rgb(0, 0, 0)"}[theme]
        told = "getComputedStyle(document.querySelector('.js-plotly-plot .gtitle')).fill"
        notebook.page.wait_for_function(f"{told}.replace(/rgba\\((.*), [\\d.]+\\)/, 'rgb($1)') === '{ink}'")
        notebook.assert_legible()
        screenshot(f"feature_map_{theme.lower()}", notebook.output(0))
    notebook.assert_quiet()
