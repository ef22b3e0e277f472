"""Figures of recognition: per-class change and bands, before and after DiffAugment."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.figure_text import plain_text, plain_texts
from workbench.figures.palette import BAND_COLOURS, SERIES_COLOURS, SMALL_FONT_PX, use_workbench_style
from workbench.scenes.bands import BANDS

MOST_LEVEL_NUMBERS = 3
_HOVER_COLUMNS = ["name", "n_train", "n_test", "before", "after"]


def per_class_change(change: pd.DataFrame) -> go.Figure:
    """Accuracy after minus before for every class, sorted by train frequency.

    ``change`` has columns role, name, band, n_train, n_test, before, after (percent); one panel per role.
    """
    use_workbench_style()
    roles = [role for role in ("subject", "object", "relation") if role in set(change["role"])]
    picture = make_subplots(len(roles), 1, subplot_titles=roles, vertical_spacing=0.12)
    numbers, in_legend = change["band"].value_counts(), set[str]()
    for row, role in enumerate(roles, start=1):
        here = change[change["role"] == role].sort_values(["n_train", "name"], ascending=[False, True])
        here = here.assign(position=range(1, len(here) + 1), points=here["after"] - here["before"])
        for band in BANDS:
            part = here[here["band"] == band]
            if part.empty:
                continue
            picture.add_bar(
                x=part["position"], y=part["points"], marker_color=BAND_COLOURS[band],
                name=f"{band} ({numbers[band]:,})", legendgroup=band, showlegend=band not in in_legend,
                customdata=part.assign(name=plain_texts(part["name"]))[_HOVER_COLUMNS].to_numpy(),
                hovertemplate="%{customdata[0]}: %{customdata[3]:.1f} to %{customdata[4]:.1f} %"
                "<br>%{customdata[1]:,} in train, %{customdata[2]:,} in test<extra></extra>",
                row=row, col=1,
            )  # fmt: skip
            in_legend.add(band)
        picture.update_yaxes(title="points", row=row, col=1)
    picture.update_xaxes(title="classes present in test, most frequent in train first", row=len(roles), col=1)
    return picture.update_layout(
        title="Change of per-class accuracy by DiffAugment, percentage points", height=130 + 240 * len(roles),
        margin_t=130, bargap=0.1, legend={"y": 1 + 24 / (240 * len(roles))},
    )  # fmt: skip


def band_bars(results: pd.DataFrame) -> go.Figure:
    """Average per-class accuracy by band, one colour per training.

    ``results`` has columns training, role (subject/object or relation), band, accuracy (percent).
    """
    use_workbench_style()
    roles = ("subject/object", "relation")
    picture = make_subplots(1, 2, subplot_titles=roles, shared_yaxes=True, horizontal_spacing=0.05)
    trainings = list(dict.fromkeys(results["training"]))
    # Many bars are narrower than their numbers, which stand upright there rather than small.
    angle = 0 if len(trainings) <= MOST_LEVEL_NUMBERS else -90
    for column, role in enumerate(roles, start=1):
        for number, training in enumerate(trainings):
            here = results[(results["training"] == training) & (results["role"] == role)].set_index("band")
            here = here.reindex([*BANDS, "all"])
            picture.add_bar(
                x=here.index, y=here["accuracy"], name=plain_text(training), legendgroup=training,
                showlegend=column == 1, marker_color=SERIES_COLOURS[number % len(SERIES_COLOURS)], row=1, col=column,
                text=[f"{value:.1f}" for value in here["accuracy"]], textposition="outside", cliponaxis=False,
                textfont_size=SMALL_FONT_PX, textangle=angle, constraintext="none",
            )  # fmt: skip
    highest = results["accuracy"].max()
    if angle and highest > 0:
        picture.update_yaxes(range=[0, 1.2 * highest])  # room for what stands on the highest bar
    picture.update_yaxes(title="average per-class accuracy, %", row=1, col=1)
    return picture.update_layout(
        title="Accuracy by band on test", height=460, margin_t=130, barmode="group", legend_y=1.1
    )
