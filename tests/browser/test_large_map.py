"""FeatureMap with 50,000 and 200,000 points: colours and a lasso; how long they take is told, not judged."""

from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("large_map.py").read_text(encoding="utf-8")
# The time at which the figure shows just the traces whose names begin with the words of an array.
DRAWN = """names => {
    const drawn = document.querySelector('.js-plotly-plot')._fullData.filter(one => one.visible === true);
    const all = names.every(name => drawn.some(one => one.name.startsWith(name)));
    return all && drawn.length === names.length && performance.now();
}"""
MILLISECONDS = 120_000
pytestmark = pytest.mark.browser


@pytest.mark.parametrize("each", [25_000, 100_000])
def test_it_is_recoloured_and_lassoed(open_notebook, measured, each):
    notebook = open_notebook(f"large_map_{each}", SOURCE, f"browser = made_map({each})\nbrowser")
    notebook.run_all()
    page, total, colours = notebook.page, f"{2 * each:,} points", []
    figure = page.locator(".js-plotly-plot")
    figure.locator(".nsewdrag").first.wait_for(timeout=MILLISECONDS)
    figure.scroll_into_view_if_needed()
    menu = notebook.widget(0).locator('select[data-event="colour"]')
    for colour, names in (("relation band", ["many", "medium", "few"]), ("source", ["real", "generated"])):
        begun = page.evaluate("performance.now()")
        menu.select_option(colour)
        colours.append(page.wait_for_function(DRAWN, arg=names, timeout=MILLISECONDS).json_value() - begun)
        page.wait_for_timeout(3000)
    measured(f"FeatureMap of {total}, another colour", colours)
    begun = page.evaluate("performance.now()")
    notebook.lasso(figure, [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)])
    notebook.widget(1).get_by_text(f"of {total}").wait_for(timeout=MILLISECONDS)
    measured(f"FeatureMap of {total}, a lasso round all of them", [page.evaluate("performance.now()") - begun])
    notebook.assert_quiet()
