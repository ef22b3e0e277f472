"""Trainings: loss curves, live while a notebook trains and as a figure afterwards, and their headline numbers."""

import itertools
from collections.abc import Iterable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.figures.style import SERIES_COLOURS, figure, plain_text
from workbench.progress import headless
from workbench.training import read_log

LOSSES = {"loss": ("loss", "#0072B2"), "held_out_loss": ("held-out loss", "#D55E00")}
LONGEST_TITLE = 100
SECONDS_BETWEEN_DRAWINGS = 2.0


def loss_curves(log: Iterable[dict[str, Any]], title: str, y_title: str = "loss") -> go.Figure:
    """Training and held-out loss against the step; lines of ``log`` have step, loss and maybe held_out_loss."""
    chart, table = figure(title=plain_text(title, LONGEST_TITLE)), pd.DataFrame(log)
    for column, (name, colour) in LOSSES.items():
        if column in table:
            here = table.dropna(subset=[column])
            mode = "lines+markers" if len(here) < 60 else "lines"
            chart.add_scatter(x=here["step"], y=here[column], name=name, mode=mode, line_color=colour)
    chart.update_xaxes(title="step")
    return chart.update_yaxes(title=plain_text(y_title))


def training_curves(recognisers: dict) -> go.Figure:
    """Validation Combined by epoch for each training; values are stages whose log.jsonl has a line an epoch."""
    chart = figure(title="Training on real features")
    for (title, stage), colour in zip(recognisers.items(), itertools.cycle(SERIES_COLOURS)):
        combined = [line["validation_combined"] for line in read_log(stage)]
        epochs = list(range(1, len(combined) + 1))
        chart.add_scatter(x=epochs, y=combined, name=plain_text(title), mode="lines+markers", line_color=colour)
    chart.update_xaxes(title="epoch")
    return chart.update_yaxes(title="validation Combined, %")


class LiveLoss:
    """A callback that redraws the loss curve in a notebook while training runs.

    Headless runs draw nothing here: the finished figure follows in the next cell.
    """

    WITHOUT_INFLUENCE = True

    def __init__(self, title: str):
        self.title = title
        self.rows: list[dict] = []
        self._drawn_at_seconds = -SECONDS_BETWEEN_DRAWINGS

    def __call__(self, entry: dict) -> None:
        """Take one log entry (step, seconds, loss, maybe held_out_loss)."""
        self.rows.append(entry)
        if headless() or entry["seconds"] - self._drawn_at_seconds < SECONDS_BETWEEN_DRAWINGS:
            return
        from IPython.display import display

        # Plotly shows its figures by itself, each below the last one: only what it would send can be updated.
        bundle, again = loss_curves(self.rows, self.title)._repr_mimebundle_(), self._drawn_at_seconds >= 0
        display(bundle, raw=True, display_id=self.title, update=again)
        self._drawn_at_seconds = entry["seconds"]


def flat_metrics(**stages: dict) -> dict[str, float]:
    """The plain numbers of several stages' metrics in one table, each named after its stage."""
    return {
        f"{stage} {key}".replace("_", " "): value
        for stage, metrics in stages.items()
        for key, value in metrics.items()
        if isinstance(value, int | float)
    }


def checkpoint_summary(checkpoint: DenoiserCheckpoint) -> pd.Series:
    """What a denoiser's checkpoint holds besides its weights, for people."""
    identity, config, sizes = checkpoint.identity, checkpoint.network.config, checkpoint.network.sizes
    facts = {
        "denoiser": checkpoint.denoiser,
        "parameters": f"{checkpoint.network.parameter_count():,}",
        "classes": f"{len(identity.objects):,} objects, {len(identity.relations):,} relations",
        "feature": f"{sizes.features:,} dimensions, {identity.support}, from {identity.encoder}",
        "condition": f"{config.layout}, text of {sizes.text:,} dimensions from {identity.text_encoder}",
        "hardness": f"{sizes.centroids:,} centroids" if sizes.centroids else "off",
        "regions": ", ".join(identity.regions),
    }
    return pd.Series(facts, name="value")
