"""The browsers on one page, a tab each; a browser is made when its tab is first opened."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.files import read_json
from workbench.runs.browsing import asked_openings
from workbench.stages import Run

if TYPE_CHECKING:
    import ipywidgets

    from workbench.browsers.panel import Shown

REQUEST_VARIABLE = "WORKBENCH_BROWSE"


def asked_tabs() -> "ipywidgets.Tab":
    """The tabs that the request file asks for, whose path ``WORKBENCH_BROWSE`` holds.

    The file has ``browsers`` (names), ``run``, ``data``, ``images`` and ``root``.
    """
    request = read_json(Path(os.environ[REQUEST_VARIABLE]))
    run = Run.open(request["run"], root=Path(request["root"]))

    def opener(opening: Any) -> Callable[[], "Shown"]:
        return lambda: opening.open(run, request["data"], request["images"])

    return browser_tabs({o.title: opener(o) for o in asked_openings(request["browsers"]).values()})


def browser_tabs(openers: Mapping[str, Callable[[], "Shown"]]) -> "ipywidgets.Tab":
    """A tab for each title; its browser is opened when somebody first sees the tab.

    In place of a browser that cannot be opened its tab says what is missing; the others are not concerned.
    """
    import ipywidgets

    boxes = [ipywidgets.VBox([_notice(title)]) for title in openers]
    tabs = ipywidgets.Tab(children=boxes, titles=list(openers))
    waiting = dict(enumerate(openers.values()))

    def open_shown(_: Any = None) -> None:
        opener = waiting.pop(tabs.selected_index, None)
        if opener is not None:
            boxes[tabs.selected_index].children = (_widget(opener),)

    tabs.selected_index = 0
    tabs.observe(open_shown, "selected_index")
    # The first one too waits until the page is there, so that what takes seconds is not waited for before an empty one.
    boxes[0].children[0].on_msg(lambda *_: open_shown())
    return tabs


class _Message:
    """A page of one message."""

    frame = '<div data-region="message"></div>'
    pictures = None

    def __init__(self, html: str):
        self._html = html

    def regions(self) -> dict[str, str]:
        return {"message": self._html}

    def handle(self, event: str, value: str | None) -> None:
        raise NotImplementedError(f"a message has no event {event!r}")


def _notice(title: str) -> Any:
    from workbench.browsers.panel import Panel
    from workbench.browsers.widgets import render

    remedy = "This takes seconds; of a large data set a minute, once."
    text = render("notice.html.j2", message=f"{title} is being opened.", remedy=remedy)
    return Panel(_Message(text))


def _widget(opener: Callable[[], "Shown"]) -> Any:
    from workbench.browsers.panel import Panel, error_html

    try:
        return opener().widget()
    except Exception as error:  # told where the browser would be; nobody reads the kernel's log
        return Panel(_Message(error_html(error)))
