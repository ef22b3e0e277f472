"""The browsers on their own: tabs that open late, an address that needs its token, an end without remains."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

from tests.refusals import refused
from workbench.__main__ import main
from workbench.browsers.page_heading import PageHeading
from workbench.browsers.panel import Browser
from workbench.errors import WorkbenchError
from workbench.files import write_json
from workbench.runs import browsing
from workbench.runs.browsing import ADDRESS, browser_tabs, write_notebook
from workbench.runs.kernels import OwnKernelManager
from workbench.stages import Run

KERNEL = "12345678-1234-1234-1234-123456789abc"
CLOSED = ("voila/render/browsers.ipynb", "files/browsers.ipynb", "api/kernels", f"api/kernels/{KERNEL}", "api/contents")


class Toy(Browser):
    """A browser of one sentence."""

    def __init__(self):
        super().__init__('<p data-region="told"></p>')

    def regions(self):
        return {"told": "open"}


def test_browsers_open_with_their_tab_and_a_missing_one_says_what_is_missing():
    opened = []

    def opener(name):
        def open_one():
            opened.append(name)
            if name == "b":
                raise WorkbenchError("no stage <b>. Run: workbench run")
            return Toy()

        return open_one

    tabs = browser_tabs({name: opener(name) for name in "abc"})
    assert opened == [] and tabs.titles == ("a", "b", "c")
    tabs.children[0].children[0]._handle_custom_msg({"kind": "ready"}, [])  # the page is there
    assert opened == ["a"]
    for place in (1, 2, 1, 0):
        tabs.selected_index = place
    assert opened == ["a", "b", "c"]
    told = tabs.children[1].children[0].frame
    assert "no stage &lt;b&gt;. Run: workbench run" in told and "Traceback" not in told
    assert "told" in tabs.children[2].children[0].frame


def test_unknown_browsers_and_runs_are_refused_with_what_there_is(toy_project, monkeypatch, capsys):
    assert main(["browse", "maps"]) == 2 and "Did you mean 'map'" in capsys.readouterr().err
    monkeypatch.setitem(browsing.BROWSERS, "toy", ("Toy", lambda run: Toy()))
    (toy_project / "data" / "runs" / "trial").mkdir(parents=True)
    write_json(toy_project / "reports" / "older" / "run.json", {})
    assert main(["browse", "toy", "--run", "trail"]) == 2
    told = capsys.readouterr().err
    assert "Did you mean 'trial'" in told and "older, trial" in told
    assert main(["browse", "map", "--run", "../x"]) == 2 and "../x" in capsys.readouterr().err
    for port in ("-1", "70000"):
        assert main(["browse", "map", "--run", "trial", "--no-browser", "--port", port]) == 2
        assert f"port {port}" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "run", "data"), [("--data mine", "mine", "mine"), ("--run toy", "toy", ""),
                                                    ("--data mine --run toy", "toy", "mine")])  # fmt: skip
def test_data_alone_is_browsed_under_a_run_of_its_name(toy_project, monkeypatch, given, run, data):
    (toy_project / "data" / "runs" / "toy").mkdir(parents=True)
    asked = []
    monkeypatch.setattr("workbench.runs.browsing.serve", lambda *given, **options: asked.append(given))
    assert main(["browse", "triplets", *given.split()]) == 0
    assert asked == [(["triplets"], Run.open(run))] and asked[0][1].data == data


@pytest.mark.slow
def test_the_notebook_of_a_visit_shows_the_browsers(toy_project, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    notebook = nbformat.read(write_notebook(tmp_path, ["map"], Run.open("toy")), as_version=4)
    monkeypatch.setenv("WORKBENCH_HEADLESS", "1")
    NotebookClient(notebook, timeout=60, kernel_manager_class=OwnKernelManager).execute()
    assert "application/vnd.jupyter.widget-view+json" in notebook.cells[0].outputs[0]["data"]


@pytest.fixture
def served(toy_project, tmp_path):
    """``workbench browse map`` as a process, and its address."""
    (toy_project / "data" / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "workbench", "browse", "map", "--port", "0", "--no-browser"]
    variables = dict(os.environ) | {"TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


class _NoDetour(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *given):
        return None  # to the page that asks for the token


def status(address, *handlers, **headers):
    open_one = urllib.request.build_opener(_NoDetour, *handlers).open
    try:
        with open_one(urllib.request.Request(address, headers=headers), timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.mark.slow
def test_nothing_is_shown_without_the_token_and_nothing_remains(served, tmp_path, capsys):
    process, address = served
    pattern = rf"(http://{re.escape(ADDRESS)}:\d+)/voila/render/browsers.ipynb\?token=(\S{{32,}})"
    host, token = re.fullmatch(pattern, address).groups()
    for place in CLOSED:
        for query in ("", "?token=", f"?token={token[:-1]}"):
            assert status(f"{host}/{place}{query}") in (302, 403), place
        assert status(f"{host}/{place}", Cookie="username-127-0-0-1=forged") in (302, 403), place
    assert status(f"{host}/api/kernels/{KERNEL}?token={token}") == 404  # no such kernel, but admitted
    assert status(f"{host}/api/kernels?token={token}", Host="elsewhere.example") == 403
    for place in ("/voila/files/browsers.ipynb", "/voila/static/../../../../browsers.ipynb"):
        assert status(f"{host}{place}?token={token}") in (403, 404)

    port = host.rpartition(":")[2]
    assert main(["browse", "map", "--port", port, "--no-browser"]) == 2
    told = capsys.readouterr().err
    assert f"port {port}" in told and "--port" in told

    assert list((tmp_path / "tmp").glob("wb-browse-*"))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in errors
    assert not [path for path in Path(tmp_path / "tmp").iterdir() if path.name.startswith("wb-browse")]


def test_the_heading_of_a_page_leads_to_other_runs_and_keeps_the_tab():
    import ipywidgets

    tabs = ipywidgets.Tab(children=[ipywidgets.VBox(), ipywidgets.VBox()], selected_index=0)
    heading = PageHeading("a<b", ["a<b", "other"], "dark", tabs)
    heading.widget()
    page = heading.regions()["heading"]
    assert "<h2>Run a&lt;b</h2>" in page and "<option>other</option>" in page and 'value="light"' in page
    tabs.selected_index = 1
    assert heading.link() == '{"tab": 1}'
    heading.change(tab=0)
    assert tabs.selected_index == 0 and heading.link() == "{}"
    refused("no tab 2", heading.change, tab=2)
