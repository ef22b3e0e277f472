"""JupyterLab as ``workbench lab`` starts it: for this machine alone, with a token, and the notebooks run in it."""

import urllib.error
import urllib.request

import psutil
import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("path", ["api/contents", "api/kernels", "api/terminals"])
def test_a_request_without_the_token_is_refused(lab, path):
    with urllib.request.urlopen(lab.address(path)) as answer:
        assert answer.status == 200
    for address in (f"{lab.url}/{path}", f"{lab.url}/{path}?token=guessed"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address)
        assert refused.value.code == 403


def test_the_server_and_its_kernels_listen_on_this_machine_alone(lab, open_notebook):
    open_notebook("listening", "1").run_all()
    processes = [psutil.Process(lab.process.pid), *psutil.Process(lab.process.pid).children(recursive=True)]
    connections = [connection for process in processes for connection in process.net_connections()]
    listening = [connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN]
    assert len(processes) > 1 and len(listening) > 5 and set(listening) == {"127.0.0.1"}


def test_the_first_notebook_with_figures_runs_and_shows_them(open_notebook):
    notebook = open_notebook("smoke/01_explore_long_tail")  # the copy with the run's values
    notebook.run_all()
    figures = notebook.page.locator(".js-plotly-plot")
    assert figures.count() == 2
    figures.first.scroll_into_view_if_needed()
    assert figures.first.locator(".scatterlayer .trace").count() > 0
    assert notebook.page.locator(".Toastify__toast").count() == 0  # no question about news or updates
    notebook.assert_quiet()
