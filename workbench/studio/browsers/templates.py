"""HTML of the browsers: one environment that escapes all text."""

import functools
from pathlib import Path
from typing import Any

from workbench.studio.report_tables import told

FOLDER = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """The template of this folder with ``values``; every text is escaped unless it is Markup of our own."""
    return _environment().get_template(template).render(**values)


def stylesheet() -> str:
    """The CSS of all browsers."""
    return (FOLDER / "browsers.css").read_text(encoding="utf-8")


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"told": told, "thousands": _thousands, "percent": _percent}
    return environment


def _thousands(number: int) -> str:
    return f"{int(number):,}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
