"""Trainings: loss curves, live while a notebook trains and as a figure afterwards, and their headline numbers."""

import itertools
from collections.abc import Iterable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.figures.style import LOSS_COLOURS, SERIES_COLOURS, figure, plain_text
from workbench.language.text_embedding import TextEmbeddings
from workbench.progress import headless
from workbench.regions.features import FeatureStore
from workbench.training import read_log

LONGEST_TITLE = 100
SECONDS_BETWEEN_DRAWINGS = 2.0


def loss_curves(log: Iterable[dict[str, Any]], title: str, y_title: str = "loss") -> go.Figure:
    """Training and held-out loss against the step; lines of ``log`` have step, loss and maybe held_out_loss."""
    chart, table = figure(), pd.DataFrame(log)
    for column, colour in LOSS_COLOURS.items():
        if column not in table:
            continue
        here = table.dropna(subset=[column])
        chart.add_scatter(
            x=here["step"], y=here[column], name=column.replace("_", " ").replace("held out", "held-out"),
            mode="lines+markers" if len(here) < 60 else "lines", line_color=colour,
        )  # fmt: skip
    chart.update_xaxes(title="step")
    chart.update_yaxes(title=plain_text(y_title))
    return chart.update_layout(title=plain_text(title, LONGEST_TITLE))


def training_curves(recognisers: dict) -> go.Figure:
    """Validation Combined by epoch for each training; values are stages whose log.jsonl has a line an epoch."""
    chart = figure()
    for (title, stage), colour in zip(recognisers.items(), itertools.cycle(SERIES_COLOURS)):
        combined = [line["validation_combined"] for line in read_log(stage)]
        chart.add_scatter(
            x=list(range(1, len(combined) + 1)), y=combined, name=plain_text(title), mode="lines+markers",
            line_color=colour,
        )  # fmt: skip
    chart.update_xaxes(title="epoch")
    chart.update_yaxes(title="validation Combined, %")
    return chart.update_layout(title="Training on real features")


class LiveLoss:
    """A callback that redraws the loss curve in a notebook while training runs.

    Headless runs draw nothing here: the finished figure follows in the next cell.
    """

    WITHOUT_INFLUENCE = True

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
        drawing = loss_curves(self.rows, self.title)
        if self._display is None:
            self._display = display(drawing, display_id=True)
        else:
            self._display.update(drawing)


def flat_metrics(**stages: dict) -> dict[str, float]:
    """The plain numbers of several stages' metrics in one table, each named after its stage."""
    return {
        f"{stage} {key}".replace("_", " "): value
        for stage, metrics in stages.items()
        for key, value in metrics.items()
        if isinstance(value, int | float)
    }


def feature_metrics(
    features: dict, detector: dict, embeddings: TextEmbeddings, store: FeatureStore
) -> dict[str, float]:
    """Headline numbers of notebook 00 from the stages' metrics, the text embeddings and one store."""
    metrics: dict[str, float] = {"feature dimension": store.dimension, "text dimension": embeddings.dimension}
    metrics |= {f"extraction {key}": value for key, value in features.items() if isinstance(value, int | float)}
    metrics["unreadable images"] = len(features.get("unreadable_images", []))
    return metrics | {f"encoder {key}": value for key, value in detector.items() if isinstance(value, int | float)}


def checkpoint_summary(checkpoint: DenoiserCheckpoint) -> pd.Series:
    """What a denoiser's checkpoint holds besides its weights, for people."""
    identity, network = checkpoint.identity, checkpoint.network
    config, sizes = network.config, network.sizes
    facts = {
        "denoiser": checkpoint.denoiser,
        "parameters": f"{network.parameter_count():,}",
        "classes": f"{len(identity.objects):,} objects, {len(identity.relations):,} relations",
        "feature": f"{sizes.features:,} dimensions, {identity.support}, from {identity.encoder}",
        "condition": f"{config.layout}, text of {sizes.text:,} dimensions from {identity.text_encoder}",
        "hardness": f"{sizes.centroids:,} centroids" if sizes.centroids else "off",
        "regions": ", ".join(identity.regions),
    }
    return pd.Series(facts, name="value")
