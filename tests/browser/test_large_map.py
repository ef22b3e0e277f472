"""FeatureMap with 200,000 points: colours and a lasso."""

from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("large_map.py").read_text(encoding="utf-8")
# Whether the figure shows just the traces whose names begin with the words of an array.
DRAWN = """names => {
    const drawn = document.querySelector('.js-plotly-plot')._fullData.filter(one => one.visible === true);
    return drawn.length === names.length && names.every(name => drawn.some(one => one.name.startsWith(name)));
}"""
MILLISECONDS = 120_000
pytestmark = pytest.mark.browser


def test_it_is_recoloured_and_lassoed(open_notebook):
    notebook = open_notebook("large_map", SOURCE)
    notebook.run_all()
    figure = notebook.page.locator(".js-plotly-plot")
    figure.locator(".nsewdrag").first.wait_for(timeout=MILLISECONDS)
    figure.scroll_into_view_if_needed()
    menu = notebook.widget(0).locator('select[data-event="colour"]')
    for colour, names in (("relation band", ["many", "medium", "few"]), ("source", ["real", "generated"])):
        menu.select_option(colour)
        notebook.page.wait_for_function(DRAWN, arg=names, timeout=MILLISECONDS)
        notebook.page.wait_for_timeout(3000)
    notebook.lasso(figure, [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)])
    notebook.widget(1).get_by_text("of 200,000 points").wait_for(timeout=MILLISECONDS)
    notebook.assert_quiet()
