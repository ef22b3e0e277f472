"""Texts of data in plotly figures, which read a small HTML of their own in every label, title and hover text."""

from collections.abc import Iterable
from typing import Any

from workbench.figures.palette import SMALL_FONT_PX
from workbench.spelling import spelt

LONGEST_NAME = 60  # characters; a longer one would push the figure off the page
LONGEST_TICK = 32
# Plotly knows no other names of entities than these and decodes numbers; between two $ it would look for a formula.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def plain_text(text: str, longest: int | None = LONGEST_NAME) -> str:
    """``text`` as plotly shows it letter by letter, on one line, at most ``longest`` characters of it.

    For titles, names of traces, hover texts and annotations; to be called once on each text. In a hover template it
    belongs into ``text`` or ``customdata``, since the template has a language of its own.
    """
    return spelt(str(text), longest).translate(_ESCAPES)


def plain_texts(texts: Iterable[str], longest: int | None = LONGEST_NAME) -> list[str]:
    """`plain_text` of each."""
    return [plain_text(text, longest) for text in texts]


def names_axis(names: Iterable[str]) -> dict[str, Any]:
    """What an axis of class names needs besides a trace whose x or y is ``plain_texts(names, None)``.

    The whole names keep apart what the shortened labels would merge, and names such as "7" or "2020-01-01" are
    neither numbers nor dates.
    """
    names = list(names)
    return {
        "type": "category",
        "tickmode": "array",
        "tickvals": plain_texts(names, None),
        "ticktext": plain_texts(names, LONGEST_TICK),
        "tickfont_size": SMALL_FONT_PX,
    }
