"""A project that ran once, JupyterLab as ``workbench lab`` starts it, and a real browser looking at both."""

import functools
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
import pytest
from PIL import Image, ImageColor

from workbench.browsers.panel import FOLDER
from workbench.runs.notebooks import run_profile

from .pages import WINDOW, NotebookPage

ROOT = Path(__file__).resolve().parents[2]
SCREENS = ROOT / "reports" / "screens"
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_SECONDS = 60
MEANT_COLOURS = sorted({*re.findall(r"#[0-9A-F]{6}\b", (FOLDER / "browsers.css").read_text()), "#ffffff", "#111111"})
TALLEST_PX = 1600
MOST_BYTES = 250_000  # of a screenshot in the repository


def pytest_addoption(parser):
    parser.addoption("--screens", action="store_true", help="write the screenshots into reports/screens")


@dataclass(frozen=True)
class Lab:
    """A running server: its address, its token, the folder of its notebooks and its process."""

    url: str
    token: str
    folder: Path
    process: subprocess.Popen

    def address(self, path: str) -> str:
        return f"{self.url}/{path}?token={self.token}"

    def write_notebook(self, name: str, *sources: str) -> str:
        """A notebook with these code cells; its name."""
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), self.folder / f"{name}.ipynb")
        return name


@pytest.fixture(scope="session")
def chromium():
    """Chromium without a window: an installed one, else Playwright's own."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: make test-browser, or pip install -e '.[browser]'"
    )
    with playwright.sync_playwright() as driver:
        installed = next(filter(None, map(shutil.which, SYSTEM_BROWSERS)), None)
        executable = installed or driver.chromium.executable_path
        if not Path(executable).is_file():
            pytest.skip("no Chromium: apt-get install chromium, or python -m playwright install chromium")
        # A container has no user namespace for the sandbox; all pages are our own.
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Path:
    """A project whose run ``smoke`` is finished; ``WORKBENCH_BROWSER_ROOT`` names one that is there already."""
    if finished := os.environ.get("WORKBENCH_BROWSER_ROOT"):
        return Path(finished)
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    run_profile("smoke", root=root)
    return root


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def lab(project, tmp_path_factory):
    """JupyterLab as a user starts it, with settings of its own."""
    folder, port = tmp_path_factory.mktemp("jupyter"), free_port()
    own = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    output = folder / "output.txt"
    command = [sys.executable, "-m", "workbench", "lab", "--no-browser", "--port", str(port)]
    variables = os.environ | own | {"WORKBENCH_HOME": str(project)}
    with output.open("w") as stream:
        process = subprocess.Popen(command, env=variables, stdout=stream, stderr=subprocess.STDOUT)
    try:
        url, token = _address(process, output)
        yield Lab(url, token, project / "notebooks", process)
    finally:
        _end(process)


def _address(process: subprocess.Popen, output: Path) -> tuple[str, str]:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"(http://127\.0\.0\.1:(\d+))/lab[/\w]*\?token=(\w+)", output.read_text())
        with socket.socket() as probe:  # the address is printed a moment before anybody listens
            if found and not probe.connect_ex(("127.0.0.1", int(found[2]))):
                return found[1], found[3]
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{output.read_text()[-3000:]}")


def _end(process: subprocess.Popen) -> None:
    kernels = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for kernel in psutil.wait_procs(kernels, timeout=5)[1]:
        kernel.kill()


@pytest.fixture(scope="module")
def open_notebook(chromium, lab):
    """A function from a notebook's name, or code cells, to its page in a window 1280 px wide."""
    with ExitStack() as contexts:

        def opened(name: str, *sources: str) -> NotebookPage:
            page = contexts.enter_context(chromium.new_context(viewport=WINDOW)).new_page()
            return NotebookPage(page, lab, lab.write_notebook(name, *sources) if sources else name)

        yield opened


@pytest.fixture(scope="module")
def open_browser(open_notebook):
    """A function that shows what a function of `runs.browsing` makes of the run; the next cell has an expression."""

    @functools.cache
    def opened(function: str, expression: str) -> NotebookPage:
        lines = ("from workbench.stages import Run", f"from workbench.runs.browsing import {function}",
                 f'browser = {function}(Run.open("smoke"))', "browser")  # fmt: skip
        notebook = open_notebook(function, "\n".join(lines), expression)
        notebook.run_all()
        return notebook

    return opened


@pytest.fixture
def screenshot(request, tmp_path):
    """A function from a name and an element to its PNG: in reports/screens with ``--screens``, else in tmp_path."""
    folder = SCREENS if request.config.getoption("--screens") else tmp_path

    def taken(name: str, element) -> Path:
        # The window grows until all of the element is in it.
        height = int(element.bounding_box()["height"]) + 250
        element.page.set_viewport_size({"width": WINDOW["width"], "height": height})
        element.evaluate("element => element.scrollIntoView({block: 'start'})")
        element.page.mouse.move(0, 0)
        element.page.wait_for_timeout(500)
        image = Image.open(io.BytesIO(element.screenshot(animations="disabled"))).convert("RGB")
        element.page.set_viewport_size(WINDOW)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        path.write_bytes(_small_png(image.crop((0, 0, image.width, min(image.height, TALLEST_PX)))))
        return path

    return taken


def _small_png(image: Image.Image) -> bytes:
    """The PNG with the most colours that is small enough; those with a meaning are kept as they are."""
    meant = [channel for colour in MEANT_COLOURS for channel in ImageColor.getrgb(colour)]
    for colours in (240, 120, 56, 24):
        palette = Image.new("P", (1, 1))
        palette.putpalette(image.quantize(colours).getpalette()[: 3 * colours] + meant)
        written = io.BytesIO()
        image.quantize(palette=palette, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
        if written.tell() <= MOST_BYTES:
            return written.getvalue()
    raise AssertionError(f"{image.size}: too large for the repository")
