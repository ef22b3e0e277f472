"""The one look of every figure, with the colours and titles of ``style.toml``, and text of data as plotly shows it."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from workbench.escaping import escaped
from workbench.figures.pages import formatted
from workbench.registry import import_nbformat

import_nbformat()  # before plotly does
_STYLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
BAND_COLOURS, SOURCE_COLOURS, GROUP_COLOURS = (_STYLE["colours"][of] for of in ("band", "source", "group"))
LOSS_TITLES, VALIDATION_TITLES, FIDELITY_TITLES = (_STYLE["titles"][of] for of in ("loss", "validation", "fidelity"))
METRIC_TITLES: dict[str, str] = _STYLE["titles"]["metric"] | FIDELITY_TITLES
RIGHT_WRONG_COLOURS = {"right": "#009E73", "wrong": "#D55E00"}
# Chosen classes among others: Okabe and Ito's but yellow, which vanishes on white, and black, which does on black.
CLASS_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
OTHER_COLOUR = "#B4B4B4"
# Trainings or sample sets in the order in which they come; the first is the one compared with.
SERIES_COLOURS = ("#8C8C8C", "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
FLOOR_COLOUR = "#0072B2"  # the floor of fidelity, and sample sets without a colour of their own
GUIDE_COLOUR = "#767676"  # lines and words that explain a figure and are no data
# Viridis without its dark end, which vanishes on black, and its pale one, which does on white.
SEQUENTIAL_SCALE, DIVERGING_SCALE = ["#5A6FB0", "#21918C", "#4FB85F", "#E0C61A"], "RdBu"

FONT_SIZE_PX, SMALL_FONT_PX = _STYLE["layout"]["font"]["size"], _STYLE["layout"]["uniformtext"]["minsize"]
NUMBERS_ON_BARS = {
    "textposition": "outside", "textfont_size": SMALL_FONT_PX, "textangle": 0, "constraintext": "none",
    "cliponaxis": False,
}  # fmt: skip
# No share button, and no server for the code behind it to name.
PLOTLY_CONFIG = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "", "responsive": True}
LONGEST_NAME = 60  # characters; a longer one would push the figure off the page
LONGEST_TICK = 32
# Plotly knows no other names of entities than these and decodes numbers; between two $ it would look for a formula.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


# Whoever draws with this module has the workbench's look, in plotly's own calls too.
# An explicit white ground keeps dark text legible on dark pages of others; ours show through it (figure.css).
_ground = {"paper_bgcolor": "white", "plot_bgcolor": "white", "font_color": "#222222"}
pio.templates["workbench"] = go.layout.Template(pio.templates["plotly_white"]).update(layout=_STYLE["layout"])
pio.templates["workbench"].layout.update(_ground)
pio.templates["workbench"].data.bar = [go.Bar(marker_line_width=0)]  # a white rim would glow on a dark page
pio.templates.default = "workbench"
pd.options.display.max_colwidth = None  # a sentence of a table is read to its end
for _renderer in ("plotly_mimetype", "browser", "notebook"):
    pio.renderers[_renderer].config = dict(PLOTLY_CONFIG)


def figure(**layout: object) -> go.Figure:
    """An empty figure in the workbench's style with room for title and legend."""
    return go.Figure(layout={"template": "workbench", "height": 420} | layout)


def panels(titles: Sequence[str], columns: int = 2, **subplots: Any) -> go.Figure:
    """An empty figure of several plots, ``columns`` in a row, with a title above each and room for a legend."""
    rows = -(-len(titles) // columns)
    chart = make_subplots(rows, columns, subplot_titles=titles, **{"horizontal_spacing": 0.1} | subplots)
    return chart.update_layout(height=440, margin_t=130, legend_y=1.1)


def with_one_legend(chart: go.Figure) -> go.Figure:
    """The figure with one entry in its legend for all traces of a ``legendgroup``, the first one's."""
    groups = [trace.legendgroup for trace in chart.data]
    for number, trace in enumerate(chart.data):
        if trace.legendgroup:
            trace.showlegend = trace.legendgroup not in groups[:number]
    return chart


def plain_text(text: str, longest: int | None = LONGEST_NAME) -> str:
    """``text`` as plotly shows it letter by letter, on one line, at most ``longest`` characters of it.

    For titles, names of traces, hover texts and annotations; to be called once on each text. In a hover template it
    belongs into ``text`` or ``customdata``, since the template has a language of its own.
    """
    return escaped(str(text), longest).translate(_ESCAPES)


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
        "type": "category", "tickmode": "array", "tickfont_size": SMALL_FONT_PX,
        "tickvals": plain_texts(names, None), "ticktext": plain_texts(names, LONGEST_TICK),
    }  # fmt: skip


def readable(numbers: pd.DataFrame | Mapping[str, Any]) -> pd.DataFrame:
    """A table for people: named as pages name numbers, each number `formatted`; of a mapping a row for each entry."""
    table = numbers if isinstance(numbers, pd.DataFrame) else pd.Series(numbers, name="value", dtype=object).to_frame()
    return table.rename(index=METRIC_TITLES, columns=METRIC_TITLES).astype(object).map(formatted)
