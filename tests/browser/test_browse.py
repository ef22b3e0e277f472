"""``workbench browse``: the browsers by themselves, a tab each, in both themes."""

import os
import re
import subprocess
import sys

import psutil
import pytest

from .pages import IMAGES, WINDOW, WatchedPage

TABS = ("Triplets", "Predictions", "Feature map")
pytestmark = pytest.mark.browser


@pytest.fixture(params=["light", "dark"])
def browse(request, chromium, project):
    """The page that a person sees who opens the address that the command printed."""
    command = [sys.executable, "-m", "workbench", "browse", "--run", "smoke", "--port", "0", "--no-browser"]
    command += ["--theme", request.param]
    variables = os.environ | {"WORKBENCH_HOME": str(project)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        context = chromium.new_context(viewport=WINDOW)
        watched = WatchedPage(context.new_page())
        watched.page.goto(process.stdout.readline().strip(), timeout=60_000)
        watched.server = psutil.Process(process.pid)
        yield watched
        context.close()
        process.terminate()


def test_every_browser_opens_in_its_tab(browse):
    for title in TABS:
        browse.page.get_by_role("tab", name=title, exact=True).click()
        shown = browse.page.locator(".wb:visible")
        shown.locator("table, .wb-tile, .wb-error").first.wait_for(timeout=60_000)
        assert not shown.locator(".wb-error").all_inner_texts()
        browse.page.wait_for_function(IMAGES)
        browse.assert_legible()
    browse.page.get_by_role("tab", name="Triplets", exact=True).click()
    browse.page.locator(".wb:visible .wb-triplet-open").first.focus()
    browse.page.keyboard.press("ArrowRight")
    browse.page.get_by_text("page 2 of").first.wait_for()
    browse.page.wait_for_function("location.hash.includes('triplets=')")
    assert browse.page.title() == "Run smoke"
    browse.page.reload()  # the address holds the page of the tab
    browse.page.get_by_text("page 2 of").first.wait_for(timeout=60_000)
    with browse.page.expect_navigation(url=re.compile("[?&]theme=")):
        browse.page.locator("button[data-query=theme]").click()
    browse.page.get_by_text("page 2 of").first.wait_for(timeout=60_000)
    kernels = [one for one in browse.server.children(recursive=True) if "ipykernel_launcher" in one.cmdline()]
    assert len(kernels) == 1  # those of the pages that were left have ended
    browse.assert_quiet()


def test_a_triplet_is_typed_and_shown_by_the_nearest_real_pictures(browse):
    browse.page.get_by_role("tab", name="Type a triplet", exact=True).click()
    words = browse.page.get_by_label("A triplet in words")
    words.wait_for(timeout=60_000)
    words.press_sequentially("mna")
    browse.page.get_by_role("button", name="man", exact=True).click()
    browse.page.get_by_role("button", name="man on", exact=True).wait_for()
    words.fill("man on table")
    words.press("Enter")
    browse.page.get_by_role("heading", name="man on table").wait_for(timeout=60_000)
    assert browse.page.locator(".wb:visible .wb-tile").count() == 20
    browse.page.wait_for_function(IMAGES)
    browse.assert_legible()
    words.fill("man on tabel")
    words.press("Enter")
    browse.page.get_by_text("The nearest name is 'table'").wait_for()
    browse.assert_quiet()
