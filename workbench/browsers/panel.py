"""What every browser is made of: a state, regions of HTML that Python renders, one live widget, and a static twin.

Why not a widget for each button: a page of twelve tiles would be a hundred models, each with messages of its own, and
its static twin would have to be written a second time. Here the twin is the same HTML without its controls.
"""

import json
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from workbench.browsers.drawing import Thumbnails, sheet_html
from workbench.errors import WorkbenchError
from workbench.figures.pages import FIGURE_STYLE, environment
from workbench.progress import headless

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent
LONGEST_IN_LINK = 2000
NOTHING_MORE = '<div class="wb-static"></div>'  # in place of a widget: its twin stands above it
_REGION = re.compile(r'(<(\w+)\b[^>]*\bdata-region="([\w-]+)"[^>]*>)(</\2>)')


class Panel(anywidget.AnyWidget):
    """The live view of a page in a ``frame``: HTML with an empty element with ``data-region="NAME"`` for each region.

    Only regions that changed are sent. With a ``place`` the page's address holds the state there: the page that is
    opened with it has that state. What goes wrong while an event is handled is shown in the panel; called from
    Python, ``refresh`` raises.
    """

    _esm = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ("panel_figure.js", "panel.js"))
    _css = "\n".join(path.read_text(encoding="utf-8") for path in (FOLDER / "browsers.css", FIGURE_STYLE))
    frame = traitlets.Unicode().tag(sync=True)
    place = traitlets.Unicode().tag(sync=True)

    def __init__(self, page: "Browser", frame: str, place: str = ""):
        self._page, page.first = page, page.first or page.state
        self._shown: dict[str, str] = {}
        super().__init__(frame=frame, place=place)
        self.on_msg(self._receive)

    def refresh(self) -> None:
        """Show the page's present state."""
        self._send_changed(self._page.regions() | {"error": ""}, answer=False)

    def _receive(self, _: Any, message: dict[str, Any], buffers: list) -> None:
        if message.get("kind") == "images":
            self._send_images([str(token) for token in message["tokens"]])
            return
        if message["kind"] == "still":
            self._page.keep_twin()
            return
        regions, told = {}, ""
        for step in (partial(self._act, message), self._page.regions):
            try:
                regions = step() or {}
            except Exception as error:  # a kernel's log is not read: the error is shown in the panel
                told = told or error_html(error)
        self._send_changed(regions | {"error": told}, answer=True)

    def _act(self, message: dict[str, Any]) -> None:
        if message["kind"] == "ready":
            self._shown = {}
            if message.get("link"):
                self._page.change(**json.loads(message["link"]))
        elif message["name"] == "csv":
            content = self._page.shown().to_csv(index=False).encode()
            self.send({"kind": "file", "name": f"{self._page.kind}.csv"}, buffers=[content])
        else:
            self._page.handle(message["name"], message.get("value"))

    def _send_changed(self, regions: dict[str, str], answer: bool) -> None:
        changed = {name: text for name, text in regions.items() if self._shown.get(name) != text}
        self._shown |= changed
        link = {"link": self._page.link()} if self.place else {}
        self.send({"kind": "regions", "regions": changed, "answer": answer} | link)

    def _send_images(self, tokens: list[str]) -> None:
        read, failures = {}, {}
        for token in tokens:
            try:
                read[token] = self._page.thumbnails.jpeg(token)
            except WorkbenchError as error:
                failures[token] = str(error)
        self.send({"kind": "images", "tokens": list(read), "failures": failures}, buffers=list(read.values()))


class Browser:
    """A page with a state: live in JupyterLab, its static twin in a headless run.

    The twin travels with the live widget too: a page made of the saved notebook shows it. A browser has a frozen
    ``state`` and gives ``regions`` and ``acts``; ``change`` makes the next state, and keeps the old where it refuses.
    A frame alone is a notice.
    """

    state: Any = None
    kind = "table"
    place = ""  # in the address of a page that is its own, where its name stands for the state

    def __init__(self, frame: str, images: Path | None = None):
        self.frame, self.thumbnails = frame, Thumbnails(images)
        self.first: Any = None
        self._twin: Any = None
        self._panels: tuple[Panel, ...] = ()
        self._kept: dict[str, tuple[Any, Any]] = {}

    def regions(self) -> dict[str, str]:
        """The HTML of every region in the present state."""
        return {}

    def acts(self, value: str) -> Mapping[str, Callable[[], dict[str, Any] | None]]:
        """What each event of the page does with its ``value``: it gives changes of the state, or none."""
        return {}

    def change(self, **changes: Any) -> None:
        """Take over ``changes`` of the state; WorkbenchError for a name or value that there is not."""
        raise NotImplementedError

    def set(self, **changes: Any) -> None:
        """Choose as a click would, any of the fields of ``state``; classes may be given by name."""
        self.change(**changes)
        self.shown_again()

    def handle(self, event: str, value: str | None) -> None:
        """Carry out one act of the user; WorkbenchError for one that is not known."""
        acts = self.acts(value or "")
        require_one_of(f"event of the {type(self).__name__}", event, acts)
        self.change(**acts[event]() or {})

    def view(self) -> str:
        """The static twin, HTML that needs nothing outside itself: without what has the class ``wb-live``."""
        regions = self.regions()
        body = _REGION.sub(lambda found: f"{found[1]}{regions.get(found[3], '')}{found[4]}", self.frame)
        return sheet_html(body, self.thumbnails)

    def widget(self) -> Any:
        """What is shown live: the panel, or a box of widgets around it."""
        if not self._panels:
            self._panels = (Panel(self, self.frame, self.place),)
        return self._panels[0]

    def shown(self) -> "pd.DataFrame":
        """What the page shows as a table."""
        raise NotImplementedError

    def link(self) -> str:
        """What of the state is not as it was at first, as JSON that ``change`` takes; without what is very long."""
        was, now = ({} if state is None else {name: json.dumps(value, default=np.ndarray.tolist)
                    for name, value in vars(state).items()} for state in (self.first, self.state))  # fmt: skip
        new = (f'"{name}": {text}' for name, text in now.items() if text != was[name] and len(text) < LONGEST_IN_LINK)
        return f"{{{', '.join(new)}}}"

    def keep_twin(self) -> None:
        """Write the static twin of the present state into the notebook, which shows it when its kernel is gone."""
        if self._twin is not None and self._twin[1] is not self.state:
            from IPython.display import HTML

            self._twin[0].update(HTML(self.view()))
            self._twin = (self._twin[0], self.state)

    def shown_again(self) -> None:
        """Show a state that was changed from Python."""
        for panel in self._panels:
            panel.refresh()

    def keep(self, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` returns, or what it returned last time for ``name`` where the key was the same."""
        if name not in self._kept or self._kept[name][0] != key:
            self._kept[name] = (key, make())
        return self._kept[name][1]

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if headless():
            return {"text/plain": f"{type(self).__name__}", "text/html": self.view()}
        from IPython.display import HTML, display

        # An output of its own, which the style sheet hides while the widget lives.
        self._twin = (display(HTML(self.view()), display_id=True), self.state)
        live = self.widget()._repr_mimebundle_(**options)
        data, metadata = live if isinstance(live, tuple) else (live, {})
        return data | {"text/html": NOTHING_MORE}, metadata


def render(template: str, **values: Any) -> str:
    """The template of this folder with ``values``; every text is escaped unless it is Markup of our own."""
    return environment(FOLDER).get_template(template).render(**values)


def error_html(error: Exception) -> str:
    """An error as the panel shows it: our own by its text alone, others with where they happened."""
    ours = isinstance(error, WorkbenchError)
    trace = "" if ours else "".join(traceback.format_exception(error))
    text = str(error) if ours else f"{type(error).__name__}: {error}"
    return render("error.html.j2", text=text, trace=trace)


@dataclass(frozen=True)
class Paging:
    """``total`` things, ``size`` a page; ``page`` counts from 1 and is moved to the nearest there is."""

    total: int
    size: int
    wanted: int = 1

    @property
    def pages(self) -> int:
        """Number of pages, at least one."""
        return max(1, -(-self.total // self.size))

    @property
    def page(self) -> int:
        """The page that is shown."""
        return min(max(self.wanted, 1), self.pages)

    @property
    def span(self) -> str:
        """Which things are shown, the first being 1, of how many."""
        first, last = min((self.page - 1) * self.size + 1, self.total), min(self.page * self.size, self.total)
        return f"{first:,}–{last:,} of {self.total:,}"

    def of(self, things: Any) -> Any:
        """What the page shows of ``things``, a sequence or an array."""
        return things[(self.page - 1) * self.size : self.page * self.size]

    def turned(self, value: str) -> int:
        """The page that "first", "previous", "next" or "last" leads to; WorkbenchError for another word."""
        leads = {"first": 1, "previous": self.page - 1, "next": self.page + 1, "last": self.pages}
        require_one_of("page", value, leads)
        return min(max(leads[value], 1), self.pages)


def require_one_of(kind: str, value: Any, known: Iterable[Any]) -> None:
    """WorkbenchError unless ``value`` is one of ``known``; ``kind`` says what it is."""
    known = list(known)
    if value not in known:
        raise WorkbenchError(f"{kind} {value!r} is not known; expected one of {', '.join(map(str, known))}.")


def require_changes(title: str, state: type, changes: dict[str, Any], **choices: Iterable[str]) -> None:
    """WorkbenchError unless ``changes`` are of fields of the dataclass ``state``, numbers and flags where they belong.

    ``choices`` lists what a field may be; ``title`` says whose state it is.
    """
    known = {field.name: type(field.default) for field in fields(state)}
    if unknown := sorted(changes.keys() - known.keys()):
        raise WorkbenchError(f"the {title} has no {', '.join(unknown)}; it has {', '.join(known)}.")
    for name, value in changes.items():
        if name in choices:
            require_one_of(name, value, choices[name])
        if known[name] in (int, bool) and not isinstance(value, known[name]):
            raise WorkbenchError(f"{name} {value!r} is not known; expected {known[name].__name__}.")


def in_order(kind: str, wanted: str | Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``known`` that are ``wanted``, one or several; WorkbenchError for another."""
    given = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for one in given:
        require_one_of(kind, one, known)
    return tuple(one for one in known if one in given)


def numbers(event: str, value: str, count: int = 1) -> tuple[int, ...]:
    """The whole numbers that an event's value spells, with commas between; WorkbenchError where it does not."""
    parts = value.split(",")
    if len(parts) != count or not all(part.isascii() and part.isdigit() for part in parts):
        raise WorkbenchError(f"{event} {value!r} is not known; expected {count} whole numbers. Reload the page.")
    return tuple(int(part) for part in parts)


def places(kind: str, wanted: Iterable[Any], size: int) -> np.ndarray:
    """``wanted`` as int64 (n,); WorkbenchError where one is no number from 0 to ``size`` - 1, of which there are."""
    try:
        found = np.array([int(number) for number in wanted], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise WorkbenchError(f"a {kind} is one of the numbers from 0 to {size - 1:,} ({error}).") from error
    for wrong in found[(found < 0) | (found >= size)]:
        raise WorkbenchError(f"there is no {kind} {wrong:,}; expected 0 to {size - 1:,}.")
    return found
