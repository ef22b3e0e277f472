"""The one widget behind all browsers: regions of HTML rendered in Python, events and lazy images in the page.

Why not a widget for each button: a page of twelve tiles would be a hundred models, each with messages of its own, and
its static twin would have to be written a second time. Here the twin is the same HTML without its controls.
"""

import html
import re
import traceback
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Protocol

import anywidget
import traitlets

from workbench.browsers.drawing import Thumbnails
from workbench.browsers.widgets import FOLDER, render, stylesheet
from workbench.errors import WorkbenchError
from workbench.progress import headless

_REGION = re.compile(r'(<(\w+)\b[^>]*\bdata-region="([\w-]+)"[^>]*>)(</\2>)')
_IMAGE = re.compile(r'data-image="([0-9a-f]+)"')


class Page(Protocol):
    """What a panel shows, and its twin.

    ``frame``: HTML with an empty element with ``data-region="NAME"`` for each region. ``regions()``: their HTML by name
    for the present state. ``handle(event, value)``: one act of the user changes the state. ``thumbnails``: where the
    tokens of ``<image data-image="TOKEN">`` lead.
    """

    frame: str
    thumbnails: Thumbnails | None

    def regions(self) -> dict[str, str]:
        """The HTML of every region."""

    def handle(self, event: str, value: str | None) -> None:
        """Carry out one act of the user; WorkbenchError where it cannot be."""


class Panel(anywidget.AnyWidget):
    """The live view of a page; only regions that changed are sent.

    What goes wrong while an event is handled is shown in the panel; called from Python, ``refresh`` raises.
    """

    _esm = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ("panel_figure.js", "panel.js"))
    _css = FOLDER / "browsers.css"
    frame = traitlets.Unicode().tag(sync=True)

    def __init__(self, page: Page, **traits: Any):
        self._page = page
        self._shown: dict[str, str] = {}
        super().__init__(frame=page.frame, **traits)
        self.on_msg(self._receive)

    def refresh(self) -> None:
        """Show the page's present state."""
        self._send_changed(self._page.regions() | {"error": ""}, answer=False)

    def _receive(self, _: Any, message: dict[str, Any], buffers: list) -> None:
        if message.get("kind") == "ready":
            self._shown = {}
            self._answer(lambda: None)
        elif message.get("kind") == "event":
            self._answer(lambda: self._page.handle(message["name"], message.get("value")))
        elif message.get("kind") == "images":
            self._send_images([str(token) for token in message["tokens"]])

    def _answer(self, act: Callable[[], None]) -> None:
        try:
            act()
            regions = self._page.regions() | {"error": ""}
        except Exception as error:  # a kernel's log is not read: the error is shown in the panel
            regions = {"error": error_html(error)}
        self._send_changed(regions, answer=True)

    def _send_changed(self, regions: dict[str, str], answer: bool) -> None:
        changed = {name: text for name, text in regions.items() if self._shown.get(name) != text}
        self._shown |= changed
        self.send({"kind": "regions", "regions": changed, "answer": answer})

    def _send_images(self, tokens: list[str]) -> None:
        read, failures = {}, {}
        for token in tokens:
            try:
                if self._page.thumbnails is not None:
                    read[token] = self._page.thumbnails.jpeg(token)
            except WorkbenchError as error:
                failures[token] = str(error)
        self.send({"kind": "images", "tokens": list(read), "failures": failures}, buffers=list(read.values()))


class Shown(Page):
    """How a browser, which is a page, appears in a notebook: live in JupyterLab, as its static twin in a headless run.

    The twin travels with the live widget too: a page made of the saved notebook shows it.
    """

    _panel: Panel | None = None

    @property
    def panel(self) -> Panel:
        """The live widget, made when first asked for."""
        if self._panel is None:
            self._panel = Panel(self)
        return self._panel

    def view(self) -> str:
        """The static twin, HTML that needs nothing outside itself."""
        return static_html(self)

    def widget(self) -> Any:
        """What is shown live: the panel, or a box of widgets around it."""
        return self.panel

    def shown_again(self) -> None:
        """Show a state that was changed from Python."""
        if self._panel is not None:
            self._panel.refresh()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        twin = {"text/plain": f"{type(self).__name__}", "text/html": self.view()}
        if headless():
            return twin
        live = self.widget()._repr_mimebundle_(**options)
        data, metadata = live if isinstance(live, tuple) else (live, {})
        return twin | data | {"text/html": twin["text/html"]}, metadata


def error_html(error: Exception) -> str:
    """An error as the panel shows it: our own by its text alone, others with where they happened."""
    ours = isinstance(error, WorkbenchError)
    trace = "" if ours else "".join(traceback.format_exception(error))
    text = str(error) if ours else f"{type(error).__name__}: {error}"
    return render("error.html.j2", text=text, trace=trace)


def static_html(page: Page) -> str:
    """The page's present state by itself: without what has the class ``wb-live``, images inside."""
    regions = page.regions()
    body = _REGION.sub(lambda found: f"{found[1]}{regions.get(found[3], '')}{found[4]}", page.frame)
    return sheet_html(body, page.thumbnails)


def sheet_html(body: str, thumbnails: Thumbnails | None) -> str:
    """HTML in the browsers' style, with the images that its tokens name; those that cannot be read are named below."""
    problems: list[str] = []
    body = body.replace(' tabindex="0" role="button"', "")
    if thumbnails is not None:
        body = _IMAGE.sub(lambda found: _embedded(found[1], thumbnails, problems), body)
    notes = "".join(f'<p class="wb-problem">{html.escape(problem)}</p>' for problem in dict.fromkeys(problems))
    return f'<style>{stylesheet()}</style><div class="wb wb-static">{body}{notes}</div>'


def _embedded(token: str, thumbnails: Thumbnails, problems: list[str]) -> str:
    try:
        return f'href="data:image/jpeg;base64,{b64encode(thumbnails.jpeg(token)).decode()}"'
    except WorkbenchError as error:
        problems.append(str(error))
        return 'data-failed="true"'
