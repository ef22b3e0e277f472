"""The heading of a page with browsers: which run it is about, and the ways to another run and theme."""

from dataclasses import dataclass
from typing import Any

from workbench.browsers.panel import Browser, places, render, require_changes


@dataclass(frozen=True)
class PageState:
    """The number of the tab that is shown."""

    tab: int = 0


class PageHeading(Browser):
    """Names the ``run``, lists all ``runs``, offers the other ``theme``, and keeps the shown one of ``tabs``."""

    state: PageState
    place = "page"

    def __init__(self, run: str, runs: list[str], theme: str, tabs: Any):
        super().__init__('<div data-region="heading"></div>')
        self.state, self._tabs = PageState(), tabs
        self._values = {"run": run, "runs": [(name, name) for name in runs], "dark": theme == "dark"}
        tabs.observe(lambda change: self.set(tab=change["new"]), "selected_index")

    def change(self, **changes: Any) -> None:
        """Show another tab."""
        require_changes("page", PageState, changes)
        self._tabs.selected_index = int(places("tab", [changes["tab"]], len(self._tabs.children))[0])
        self.state = PageState(self._tabs.selected_index)

    def regions(self) -> dict[str, str]:
        """The heading with its menu and its button."""
        return {"heading": render("page_heading.html.j2", **self._values)}
