"""The pages' templates: every text is escaped, and what cannot be seen becomes its escape."""

import functools
import json
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workbench.escaping import escaped, escaped_lines
from workbench.files import atomic_path

_HERE = Path(__file__).parent
LONGEST_LIST = 8  # a longer one is counted: a page is read, not searched
# JupyterLab takes the same style sheet as an extension (`workbench lab` tells it where).
LAB_EXTENSIONS = _HERE / "lab_extensions"
FIGURE_STYLE = LAB_EXTENSIONS / "workbench-figures" / "static" / "figure.css"


def formatted(value: Any) -> str:
    """A value as people read it: four significant digits, thousands apart, a dash for what is missing."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {formatted(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(formatted, value)) or "none" if len(value) <= LONGEST_LIST else f"{len(value):,} values"
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{value:,}"
    if isinstance(value, Real):
        return f"{float(value):,.0f}" if abs(float(value)) >= 1e3 else f"{float(value):.4g}"
    return escaped(str(value))


def signed(change: float, decimals: int = 2) -> str:
    """A change with its sign."""
    return f"{change:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def seconds_text(seconds: float | None) -> str:
    """A time for people."""
    seconds = seconds or 0.0
    return f"{seconds:.1f} s" if seconds < 120 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def page_link(*parts: str) -> str:
    """The address of a page below the one that names it; no part can lead elsewhere or begin a scheme."""
    return "/".join(quote(part, safe="") for part in parts)


def write_page_text(path: Path, text: str) -> None:
    """Write a page whole or not at all; half of a surrogate pair, which UTF-8 cannot hold, becomes its escape."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def rendered(template: Path, **values: Any) -> str:
    """The template with ``values``; text is escaped unless the template marks it as ours (``safe``)."""
    return environment(template.parent).get_template(template.name).render(**values)


def own_style() -> str:
    """The CSS of all pages and their figures."""
    return "".join(path.read_text(encoding="utf-8") for path in (_HERE / "page.css", FIGURE_STYLE))


@functools.cache
def environment(folder: Path) -> Any:
    """Jinja's environment of the templates in ``folder``: all text is escaped, invisible letters too."""
    import jinja2
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        # A right-to-left mark in a name would turn round the sentence that it stands in.
        return escaped_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=finalize,
    )  # fmt: skip
    made.filters |= {
        "formatted": formatted,
        "signed": signed,
        "seconds": seconds_text,
        "page_link": page_link,
        "one_line": escaped,
        "thousands": lambda number: f"{int(number):,}",
        "percent": lambda share: f"{100 * share:.1f} %",
        "tojson_text": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return made
