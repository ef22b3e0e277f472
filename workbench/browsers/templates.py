"""HTML of the browsers: one environment that escapes all text."""

from pathlib import Path
from typing import Any

from workbench.figures.pages import environment

FOLDER = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """The template of this folder with ``values``; every text is escaped unless it is Markup of our own."""
    return environment(FOLDER).get_template(template).render(**values)


def stylesheet() -> str:
    """The CSS of all browsers."""
    return (FOLDER / "browsers.css").read_text(encoding="utf-8")
