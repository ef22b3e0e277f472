"""The regions of the prediction browser as HTML, from what is chosen."""

import numpy as np

from workbench.browsers.confusion import Confusion, confusion, tail_first
from workbench.browsers.paging import Paging
from workbench.browsers.prediction_filters import FilterCounts
from workbench.browsers.prediction_pair import PredictionPair
from workbench.browsers.prediction_state import (
    ALL,
    ANY,
    ROLE_CHOICES,
    SORT_CHOICES,
    WHAT_CHOICES,
    PredictionState,
)
from workbench.browsers.prediction_tiles import PredictedSplit, prediction_tile
from workbench.browsers.scene_drawing import blank_note
from workbench.browsers.templates import render
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES

TILES_A_PAGE = 6
CLASSES_A_PAGE = 10
MOST_COLUMNS = 8
SHADES_FROM = (0.0, 0.05, 0.15, 0.30)  # of the share of a row that a cell gains or loses
_TEMPLATE = "predictions.html.j2"


def frame_html() -> str:
    """The places of all regions."""
    return render(_TEMPLATE, part="frame")


def controls_html(state: PredictionState, titles: list[str], counts: FilterCounts) -> str:
    """Menus of recognisers and order, and the filters with the rows that each choice leaves."""
    return render(
        _TEMPLATE, part="controls", state=state, counts=counts, titles=[(title, title) for title in titles],
        roles=ROLE_CHOICES, what=WHAT_CHOICES, bands=BANDS, sorts=list(SORT_CHOICES.items()), any=ANY,
    )  # fmt: skip


def classes_html(split: PredictedSplit, state: PredictionState, counts: FilterCounts) -> str:
    """The menu of true classes that rows are left of, the most frequent first, and the filters as removable chips."""
    names, left = split.vocabulary.names(state.class_role), counts.classes
    order = np.argsort(-left, kind="stable")
    shown = [int(one) for one in order if left[one] or one == state.true_class]
    options = [("", "all classes"), *((one, f"{names[one]} ({left[one]:,})") for one in shown)]
    return render(_TEMPLATE, part="classes", state=state, options=options, chosen=chosen_texts(split, state))


def chosen_texts(split: PredictedSplit, state: PredictionState) -> list[tuple[str, str]]:
    """The chosen class and cell in words, as (event that removes it, text)."""
    names, texts = split.vocabulary.names(state.class_role), []
    if state.true_class is not None:
        texts.append(("true_class", f"{state.class_role}: {names[state.true_class]}"))
    if state.cell is not None:
        true, given = (names[one] for one in state.cell)
        taken = f"{true} recognised" if true == given else f"{true} taken for {given}"
        texts.append(("cell", f"{taken}, before or after"))
    return texts


def filters_text(split: PredictedSplit, state: PredictionState) -> str:
    """All filters in one line, for a page without controls; empty where there is none."""
    what = [] if (state.role, state.what) == (ANY, ALL) else [f"{state.role} role: {WHAT_CHOICES[state.what]}"]
    bands = [f"band of the {state.class_role}: {', '.join(state.bands)}"] if state.bands else []
    return "; ".join([*what, *bands, *(text for _, text in chosen_texts(split, state))])


def counts_html(pair: PredictionPair, state: PredictionState) -> str:
    """The table of what happened in each role, over all rows."""
    kinds = ("fixed", "broken", "changed", "wrong in both", "unchanged")
    rows = [
        [role, *(f"{np.count_nonzero(values):,}" for values in (pair.was[role], pair.now[role])),
         *(f"{np.count_nonzero(pair.happened[role][kind]):,}" for kind in kinds)]
        for role in ROLES
    ]  # fmt: skip
    columns = ["role", "right before", "right after", *(WHAT_CHOICES[kind] for kind in kinds)]
    return render(_TEMPLATE, part="counts", state=state, columns=columns, rows=rows, total=len(pair))


def grid_html(
    split: PredictedSplit,
    pair: PredictionPair,
    state: PredictionState,
    positions: np.ndarray,
    *,
    live: bool = True,
    heading: str = "",
) -> str:
    """The tiles of the state's page of ``positions`` (m,), the matching rows in order."""
    paging = Paging(len(positions), TILES_A_PAGE, state.page)
    tiles = [prediction_tile(split, pair, int(position), compact=state.compact) for position in paging.of(positions)]
    return render(
        _TEMPLATE, part="grid", state=state, note=blank_note(split.pictures), live=live, heading=heading, tiles=tiles,
        paging=paging.told(),
    )  # fmt: skip


def confusion_html(split: PredictedSplit, pair: PredictionPair, state: PredictionState, *, live: bool = True) -> str:
    """A page of the confusion matrix, and for one class who takes its rows."""
    classes = confused_classes(split, pair, state)
    paging = Paging(len(classes), CLASSES_A_PAGE, state.confusion_page)
    focus = state.true_class if state.cell is None else state.cell[0]
    values = {"part": "confusion", "state": state, "live": live, "role": state.class_role}
    if not len(classes):
        return render(_TEMPLATE, **values, lines=None)
    shown = _confusion(split, pair, state, paging.of(classes))
    names = split.vocabulary.names(state.class_role)
    return render(
        _TEMPLATE, **values, lines=_lines(split, state, shown), columns=[names[one] for one in shown.columns],
        paging=paging.told(), takers=_takers(split, pair, state, focus) if focus in classes else None,
    )  # fmt: skip


def confused_classes(split: PredictedSplit, pair: PredictionPair, state: PredictionState) -> np.ndarray:
    """The true classes that the confusion view is about, the tail's first."""
    role = state.class_role
    band = split.bands[role]
    test_rows = np.bincount(pair.truth[role], minlength=len(band))
    classes = tail_first(test_rows, band)
    if state.bands:
        classes = classes[np.isin(band[classes], [BANDS.index(name) for name in state.bands])]
    return classes if state.true_class is None else classes[classes == state.true_class]


def _confusion(split: PredictedSplit, pair: PredictionPair, state: PredictionState, classes: np.ndarray) -> Confusion:
    role = state.class_role
    return confusion(
        pair.truth[role], pair.before.predicted[role], pair.after.predicted[role], classes,
        n_classes=len(split.bands[role]), most_columns=MOST_COLUMNS,
    )  # fmt: skip


def _lines(split: PredictedSplit, state: PredictionState, shown: Confusion) -> list[dict]:
    names, bands = split.vocabulary.names(state.class_role), split.bands[state.class_role]
    elsewhere = [shown.test_rows - part.sum(axis=1) for part in (shown.before, shown.after)]
    return [
        {
            "id": int(true), "name": names[true], "band": BANDS[bands[true]], "rows": int(shown.test_rows[place]),
            "cells": [_cell(shown, names, place, column, state) for column in range(len(shown.columns))],
            "elsewhere": [int(part[place]) for part in elsewhere],
        }
        for place, true in enumerate(shown.classes)
    ]  # fmt: skip


def _cell(shown: Confusion, names: tuple[str, ...], place: int, column: int, state: PredictionState) -> dict:
    true, given = int(shown.classes[place]), int(shown.columns[column])
    gained = float(shown.share_gained[place, column])
    step = sum(abs(gained) > least for least in SHADES_FROM)
    return {
        "value": f"{true},{given}", "true": names[true], "given": names[given], "diagonal": true == given,
        "before": int(shown.before[place, column]), "after": int(shown.after[place, column]),
        "rows": int(shown.test_rows[place]), "pressed": state.cell == (true, given),
        "shade": f"{'more' if gained > 0 else 'fewer'}-{step}" if step else "",
    }  # fmt: skip


def _takers(split: PredictedSplit, pair: PredictionPair, state: PredictionState, true: int) -> dict:
    one = _confusion(split, pair, state, np.array([true]))
    names, rows = split.vocabulary.names(state.class_role), int(one.test_rows[0])
    bars = [
        {"name": names[given], "true": given == true, "before": int(one.before[0, column]),
         "after": int(one.after[0, column])}
        for column, given in enumerate(one.columns.tolist())
    ]  # fmt: skip
    return {"name": names[true], "rows": rows, "bars": bars}
