"""The notebooks that hold browsers, run in JupyterLab as a person runs them; what is picked there is saved."""

import pytest

from workbench.scenes.vocabulary import Vocabulary, read_triplet_list

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("name", "panels"), [("04_inspect_generated_features", 2), ("05_finetune_and_evaluate", 1)])
def test_a_notebook_runs_and_its_browser_is_live(open_notebook, name, panels):
    notebook = open_notebook(name)
    notebook.run_all()
    notebook.widget().locator("[data-event]").first.wait_for()
    assert notebook.page.locator(".wb:not(.wb-static)").count() == panels
    notebook.assert_quiet()


def test_what_is_ticked_in_notebook_02_is_saved_as_a_list_for_it(open_notebook, project):
    notebook = open_notebook("02_build_augmented_triplets")
    notebook.run_all()
    browser = notebook.widget()
    browser.locator(".wb-tile").first.wait_for()
    captions = browser.locator(".wb-tile .wb-triplet-open").all()[:2]
    wanted = [caption.get_attribute("aria-label").removesuffix(": more") for caption in captions]
    for place in range(2):
        browser.locator('[data-event="tick"]').nth(place).click()
        browser.locator('.wb-tile[aria-selected="true"]').nth(place).wait_for()
    browser.locator('[data-event="list_name"]').fill("vetoed")
    browser.locator('[data-event="save"]').click()
    browser.locator(".wb-said").wait_for()
    assert 'exclude = "vetoed"' in browser.locator(".wb-said").inner_text()
    vocabulary = Vocabulary.read(project / "data" / "runs" / "smoke" / "features" / "default")
    saved = read_triplet_list(project / "data" / "lists" / "vetoed.csv", vocabulary)
    assert [vocabulary.caption(*row) for row in saved.iloc[:, :3].to_numpy().tolist()] == wanted
    notebook.assert_quiet()
