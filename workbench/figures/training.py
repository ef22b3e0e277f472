"""Loss curves, live while a notebook trains and as a figure afterwards."""

import itertools
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.figure_text import plain_text
from workbench.figures.palette import LOSS_COLOURS, SERIES_COLOURS, figure
from workbench.progress import headless

LONGEST_TITLE = 100
SECONDS_BETWEEN_DRAWINGS = 2.0


def read_log(path: Path) -> pd.DataFrame:
    """The JSON lines of a training log as a table, last entry of a step kept (a resumed run repeats a few)."""
    log = pd.read_json(path, lines=True)
    return log.drop_duplicates("step", keep="last").sort_values("step", ignore_index=True)


def loss_curves(log: pd.DataFrame, title: str, y_title: str = "loss") -> go.Figure:
    """Training and held-out loss against the step; ``log`` has columns step, loss and maybe held_out_loss."""
    picture = figure()
    for column, colour in LOSS_COLOURS.items():
        if column not in log:
            continue
        here = log.dropna(subset=[column])
        picture.add_scatter(
            x=here["step"], y=here[column], name=column.replace("_", " ").replace("held out", "held-out"),
            mode="lines+markers" if len(here) < 60 else "lines", line_color=colour,
        )  # fmt: skip
    picture.update_xaxes(title="step")
    picture.update_yaxes(title=plain_text(y_title))
    return picture.update_layout(title=plain_text(title, LONGEST_TITLE))


def training_curves(recognisers: dict) -> go.Figure:
    """Validation Combined by epoch for each training; values are stages with a log.jsonl."""
    picture = figure()
    for (title, stage), colour in zip(recognisers.items(), itertools.cycle(SERIES_COLOURS)):
        log = read_log(stage / "log.jsonl")
        picture.add_scatter(
            x=log["epoch"], y=log["validation_combined"], name=plain_text(title), mode="lines+markers",
            line_color=colour,
        )  # fmt: skip
    picture.update_xaxes(title="epoch")
    picture.update_yaxes(title="validation Combined, %")
    return picture.update_layout(title="Training on real features")


class LiveLoss:
    """A callback that redraws the loss curve in a notebook while training runs.

    Headless runs draw nothing here: the finished figure follows in the next cell.
    """

    def __init__(self, title: str):
        self.title = title
        self.rows: list[dict] = []
        self._display = None
        self._drawn_at_seconds = -SECONDS_BETWEEN_DRAWINGS

    def __call__(self, entry: dict) -> None:
        """Take one log entry (step, seconds, loss, maybe held_out_loss)."""
        self.rows.append(entry)
        if headless() or entry["seconds"] - self._drawn_at_seconds < SECONDS_BETWEEN_DRAWINGS:
            return
        from IPython.display import display

        self._drawn_at_seconds = entry["seconds"]
        drawing = loss_curves(pd.DataFrame(self.rows), self.title)
        if self._display is None:
            self._display = display(drawing, display_id=True)
        else:
            self._display.update(drawing)
