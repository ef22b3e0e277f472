"""The regions of the prediction browser as HTML: filters with counts, tiles of test rows, and who takes whose rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.browsers.drawing import Thumbnails, blank_note, scene_of, scene_svg
from workbench.browsers.prediction_pair import (
    ALL,
    ANY,
    ROLE_CHOICES,
    SORT_CHOICES,
    WHAT_CHOICES,
    PredictionPair,
    Predictions,
    PredictionState,
)
from workbench.browsers.widgets import Paging, render
from workbench.regions.features import FeatureStore
from workbench.scenes.bands import BANDS, Counts
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary

TILES_A_PAGE = 6
CLASSES_A_PAGE = 10
MOST_COLUMNS = 8
SHADES_FROM = (0.0, 0.05, 0.15, 0.30)  # of the share of a row that a cell gains or loses
_TEMPLATE = "predictions.html.j2"


@dataclass(frozen=True)
class PredictedSplit:
    """The split that is predicted, the classes' train counts and bands (by role, places in BANDS), and its images."""

    tables: RelationTables | FeatureStore
    vocabulary: Vocabulary
    counts: Counts
    bands: dict[str, np.ndarray]
    thumbnails: Thumbnails


def frame_html() -> str:
    """The places of all regions."""
    return render(_TEMPLATE, part="frame")


def controls_html(state: PredictionState, titles: Sequence[str], counts: dict[str, Any]) -> str:
    """Menus of recognisers and order, and the filters with the rows that each choice leaves (`filter_counts`)."""
    return render(
        _TEMPLATE, part="controls", state=state, counts=counts, titles=[(title, title) for title in titles],
        roles=ROLE_CHOICES, what=WHAT_CHOICES, bands=BANDS, sorts=list(SORT_CHOICES.items()), any=ANY,
    )  # fmt: skip


def classes_html(split: PredictedSplit, state: PredictionState, left: np.ndarray) -> str:
    """The menu of true classes that rows are ``left`` (C,) of, most frequent first, and the filters as chips."""
    names = split.vocabulary.names(state.class_role)
    shown = [own for own in np.argsort(-left, kind="stable").tolist() if left[own] or own == state.true_class]
    options = [("", "all classes"), *((own, f"{names[own]} ({left[own]:,})") for own in shown)]
    return render(_TEMPLATE, part="classes", state=state, options=options, chosen=_chosen_texts(split, state))


def filters_text(split: PredictedSplit, state: PredictionState) -> str:
    """All filters in one line, for a page without controls; empty where there is none."""
    what = [] if (state.role, state.what) == (ANY, ALL) else [f"{state.role} role: {WHAT_CHOICES[state.what]}"]
    bands = [f"band of the {state.class_role}: {', '.join(state.bands)}"] if state.bands else []
    return "; ".join([*what, *bands, *(text for _, text in _chosen_texts(split, state))])


def counts_html(pair: PredictionPair, state: PredictionState) -> str:
    """The table of what happened in each role, over all rows."""
    kinds = ("fixed", "broken", "changed", "wrong in both", "unchanged")
    rows = []
    for role in ROLES:
        masks = [pair.was[role], pair.now[role], *(pair.happened[role][kind] for kind in kinds)]
        rows.append([role, *(f"{np.count_nonzero(mask):,}" for mask in masks)])
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
    tiles = [
        {
            "scene": scene_svg(scene_of(split.tables, int(pair.rows[position])), split.thumbnails),
            "roles": [_role_change(split, pair, position, role, state.compact) for role in ROLES],
        }
        for position in map(int, paging.of(positions))
    ]
    return render(
        _TEMPLATE, part="grid", state=state, note=blank_note(split.thumbnails), live=live, heading=heading, tiles=tiles,
        paging=paging.values(),
    )  # fmt: skip


def change_word(was: bool, now: bool, moved: bool) -> str:
    """What happened to one prediction, in words."""
    if was and now:
        return "right in both"
    if was != now:
        return "fixed" if now else "broken"
    return "changed" if moved else "still wrong"


def confusion_html(split: PredictedSplit, pair: PredictionPair, state: PredictionState, *, live: bool = True) -> str:
    """A page of the confusion matrix, and for one class who takes its rows."""
    classes = confused_classes(split, pair, state)
    paging = Paging(len(classes), CLASSES_A_PAGE, state.confusion_page)
    focus = state.true_class if state.cell is None else state.cell[0]
    values = {"part": "confusion", "state": state, "live": live, "role": state.class_role}
    if not len(classes):
        return render(_TEMPLATE, **values, lines=None)
    shown = _pair_confusion(split, pair, state, paging.of(classes))
    names = split.vocabulary.names(state.class_role)
    takers = None if focus is None or focus not in classes else _takers(split, pair, state, focus)
    return render(
        _TEMPLATE, **values, lines=_lines(split, state, shown), columns=[names[own] for own in shown.columns],
        paging=paging.values(), takers=takers,
    )  # fmt: skip


def confused_classes(split: PredictedSplit, pair: PredictionPair, state: PredictionState) -> np.ndarray:
    """The true classes that the confusion view is about: the rarest band first, of one those with most test rows."""
    role = state.class_role
    band = split.bands[role]
    test_rows = np.bincount(pair.truth[role], minlength=len(band))
    classes = tail_first(test_rows, band)
    if state.bands:
        classes = classes[np.isin(band[classes], [BANDS.index(name) for name in state.bands])]
    return classes if state.true_class is None else classes[classes == state.true_class]


def tail_first(test_rows: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Classes that occur, those of the rarest band first, of one band those with most test rows.

    ``test_rows`` (C,); ``band`` (C,) places in BANDS, which goes from many to few.
    """
    classes = np.flatnonzero(test_rows)
    return classes[np.lexsort((-test_rows[classes], -band[classes].astype(np.int64)))]


@dataclass(frozen=True)
class Confusion:
    """Some rows of two confusion matrices with the columns that take most of them.

    ``classes`` (r,) true classes; ``columns`` (k,) predicted ones, those with most rows in both together first;
    ``before`` and ``after`` (r, k) int64 numbers of test rows; ``test_rows`` (r,) rows of each true class, so that
    ``test_rows - before.sum(axis=1)`` went to classes that are not among the columns.
    """

    classes: np.ndarray
    columns: np.ndarray
    before: np.ndarray
    after: np.ndarray
    test_rows: np.ndarray

    @property
    def share_gained(self) -> np.ndarray:
        """(r, k): the share of a class's rows that a column has gained, from -1 to 1."""
        return (self.after - self.before) / self.test_rows[:, None]


def confusion(
    truth: np.ndarray, before: np.ndarray, after: np.ndarray, classes: np.ndarray, *, n_classes: int, most_columns: int
) -> Confusion:
    """The rows of ``classes`` (distinct ids, each with at least one row) in the confusion matrices.

    ``truth``, ``before`` and ``after`` (n,) class ids from 0 to ``n_classes`` - 1. Of columns with equally many rows
    the lower id comes first; a class that takes no row is no column.
    """
    classes = np.asarray(classes, dtype=np.int64)
    place = np.full(n_classes, -1)
    place[classes] = np.arange(len(classes))
    kept = np.flatnonzero(place[truth] >= 0)
    cells, shape = place[truth[kept]] * n_classes, (len(classes), n_classes)
    was, now = (
        np.bincount(cells + predicted[kept], minlength=len(classes) * n_classes).reshape(shape)
        for predicted in (before, after)
    )
    taken = (was + now).sum(axis=0)
    columns = np.argsort(-taken, kind="stable")[:most_columns]
    columns = columns[taken[columns] > 0]
    return Confusion(classes, columns, was[:, columns], now[:, columns], was.sum(axis=1))


def _chosen_texts(split: PredictedSplit, state: PredictionState) -> list[tuple[str, str]]:
    """The chosen class and cell in words, as (event that removes it, text)."""
    names, texts = split.vocabulary.names(state.class_role), []
    if state.true_class is not None:
        texts.append(("true_class", f"{state.class_role}: {names[state.true_class]}"))
    if state.cell is not None:
        true, given = (names[own] for own in state.cell)
        taken = f"{true} recognised" if true == given else f"{true} taken for {given}"
        texts.append(("cell", f"{taken}, before or after"))
    return texts


def _role_change(split: PredictedSplit, pair: PredictionPair, position: int, role: str, compact: bool) -> dict:
    true = int(pair.truth[role][position])
    moved = pair.before.predicted[role][position] != pair.after.predicted[role][position]
    both = (("before", pair.before), ("after", pair.after))
    return {
        "role": role,
        "name": split.vocabulary.names(role)[true],
        "train_count": int(split.counts.of_role(role)[true]),
        "change": change_word(bool(pair.was[role][position]), bool(pair.now[role][position]), bool(moved)),
        "columns": [(when, *_places(split, predictions, position, role, true, compact)) for when, predictions in both],
    }


def _places(
    split: PredictedSplit, predictions: Predictions, position: int, role: str, true: int, compact: bool
) -> tuple[list[dict[str, Any]], bool]:
    """The most probable classes (``compact``: the first alone), and whether the true one is not among them."""
    ids, shares = (values[position] for values in predictions.best[role])
    names = split.vocabulary.names(role)
    places = [
        {"name": names[own], "probability": share, "true": own == true}
        for own, share in zip(ids.tolist(), shares.tolist(), strict=True)
        if own >= 0
    ][: 1 if compact else None]
    return places, not any(place["true"] for place in places)


def _pair_confusion(
    split: PredictedSplit, pair: PredictionPair, state: PredictionState, classes: np.ndarray
) -> Confusion:
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


def _cell(shown: Confusion, names: Sequence[str], place: int, column: int, state: PredictionState) -> dict:
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
    alone = _pair_confusion(split, pair, state, np.array([true]))
    names = split.vocabulary.names(state.class_role)
    bars = [
        {"name": names[given], "true": given == true, "before": int(before), "after": int(after)}
        for given, before, after in zip(alone.columns.tolist(), alone.before[0], alone.after[0], strict=True)
    ]
    return {"name": names[true], "rows": int(alone.test_rows[0]), "bars": bars}
