"""Pages in a real browser: what is on them, and what a person does with mouse and keyboard."""

import re
from pathlib import Path
from urllib.parse import urlsplit

LEGIBILITY = Path(__file__).with_name("legibility.js").read_text(encoding="utf-8")
MILLISECONDS = 60_000  # until a notebook or a widget is there; a busy machine is slow
# JavaScript: whether all images have come.
IMAGES = "[...document.querySelectorAll('.wb image')].every(one => one.hasAttribute('href'))"
WINDOW = {"width": 1280, "height": 900}
TRACEBACK = "Traceback (most recent call last)"


class WatchedPage:
    """A page with browsers on it, used as a person uses it: by mouse and keyboard."""

    def __init__(self, page):
        self.page = page
        page.set_default_timeout(MILLISECONDS)
        self.console_errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: message.type == "error" and self.console_errors.append(message.text))
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", lambda request: self._note_host(request.url))
        page.on("websocket", lambda connection: self._note_host(connection.url))

    def _note_host(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss"):
            self.hosts.add(parts.hostname)

    def widget(self, index: int = 0):
        """The root of a browser, once it is drawn."""
        root = self.page.locator(".wb:not(.wb-static)").nth(index)
        root.wait_for(timeout=MILLISECONDS)
        root.scroll_into_view_if_needed()
        return root

    def lasso(self, figure, corners: list[tuple[float, float]]) -> None:
        """Draw round ``corners``, given as shares of the figure's plot area; its drag mode must be the lasso."""
        area = figure.locator(".nsewdrag").first.bounding_box()
        points = [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in corners]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in [*points[1:], points[0]]:
            self.page.mouse.move(*point, steps=5)
        self.page.mouse.up()

    def assert_legible(self, widths_px: tuple[int, ...] = (1280, 900)) -> None:
        """Letters of 12 px or more, text that stands out from its ground, nothing wider than its place; both themes."""
        for width in widths_px:
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.wait_for_timeout(300)
            faults = [fault for root in self.page.locator(".wb").all() for fault in root.evaluate(LEGIBILITY)]
            assert not faults, f"in a window {width} px wide: {faults}"
        self.page.set_viewport_size(WINDOW)

    def assert_quiet(self) -> None:
        """Nothing left this machine, and the browser's console has no error."""
        assert self.hosts <= {"127.0.0.1"}
        assert not self.console_errors, self.console_errors


class NotebookPage(WatchedPage):
    """One notebook in JupyterLab."""

    def __init__(self, page, lab, name: str):
        super().__init__(page)
        self.lab, self.name = lab, name
        self.load()

    def load(self) -> None:
        self.page.goto(self.lab.address(f"doc/tree/{self.name}.ipynb"))
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=MILLISECONDS)
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=MILLISECONDS)

    def menu(self, *labels: str) -> None:
        """Choose in the menu bar, as ("Run", "Run All Cells"); a question that JupyterLab asks first fails the test."""
        assert not (asked := self.page.locator(".jp-Dialog").all_inner_texts()), asked
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{labels[0]}$")).click()
        for label in labels[1:]:
            item = self.page.locator(".lm-Menu-item", has=self.page.get_by_text(label, exact=True))
            item.hover()
            if label == labels[-1]:
                item.click()

    def run_all(self, seconds: float = 300) -> None:
        """Run every cell and wait; a cell that failed fails the test with its traceback."""
        for _ in range(3):
            self.menu("Run", "Run All Cells")
            self.page.wait_for_timeout(2000)
            if self._wait_for_cells(seconds) == "done":
                return
            # A kernel that has just started sometimes loses what it was sent: no cell runs, and none has run.
        raise AssertionError("the kernel ran no cell.")

    def run_cell(self, index: int, seconds: float = 60) -> str:
        """Run the code cell ``index`` and wait; the text that it shows."""
        self.code_cells.nth(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_timeout(200)  # until its number has given way to a star
        self._wait_for_cells(seconds)
        return self.output(index).inner_text()

    def _wait_for_cells(self, seconds: float) -> str:
        """Wait until all cells have run ("done"), or none is going to ("lost")."""
        state = """traceback => {
            const texts = (css) => [...document.querySelectorAll(css)].map((element) => element.textContent.trim());
            const prompts = texts('.jp-CodeCell .jp-InputPrompt');
            if (texts('.jp-OutputArea-output pre').some((text) => text.includes(traceback))) return 'done';
            if (prompts.every((prompt) => /^\\[\\d+\\]:$/.test(prompt))) return 'done';
            const idle = document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]');
            return idle && prompts.every((prompt) => !/[*\\d]/.test(prompt)) && 'lost';
        }"""
        found = self.page.wait_for_function(state, arg=TRACEBACK, timeout=1000 * seconds).json_value()
        failures = self.page.locator(".jp-OutputArea-output pre", has_text=TRACEBACK).all_text_contents()
        assert not failures, failures[0]
        return found

    @property
    def code_cells(self):
        return self.page.locator(".jp-Notebook .jp-CodeCell")

    def output(self, index: int):
        return self.code_cells.nth(index).locator(".jp-Cell-outputArea")

    def theme(self, name: str) -> None:
        """``"Light"`` or ``"Dark"``."""
        self.menu("Settings", "Theme", f"JupyterLab {name}")
        self.page.wait_for_selector(f'body[data-jp-theme-light="{str(name == "Light").lower()}"]', state="attached")
