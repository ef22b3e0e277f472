"""The HTML around a feature map: its controls, the numbers that qualify it, what was lassoed and what was clicked."""

import math
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.map_colours import BY_CLASS, MOST_CLASSES, frequent_classes
from workbench.browsers.map_details import PointDetails
from workbench.browsers.map_points import SOURCES, MapPoints
from workbench.browsers.map_state import LOWEST_OPACITY, MapState
from workbench.browsers.paging import Paging
from workbench.browsers.templates import render
from workbench.errors import WorkbenchError
from workbench.figures.fidelity import HEADLINE_METRICS
from workbench.figures.pages import told
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES

TEMPLATE = "feature_map.html.j2"
ROWS_PER_PAGE = 10
MOST_FOUND = 12
FIDELITY_ROWS = ("generated", "floor")
FIDELITY_METRICS = {name: title for name, title in HEADLINE_METRICS.items() if name != "test_on_real"}


def frame(part: str) -> str:
    """The places of the regions above ("above") and below ("below") the figure."""
    return render(TEMPLATE, part=f"frame {part}")


def controls(state: MapState, points: MapPoints, choices: list[str]) -> str:
    """Menus and chips: colour, sources, opacity, and the classes that are told apart."""
    sources = [(source, int(points.of_source(source).sum()), source in state.sources) for source in SOURCES]
    return render(
        TEMPLATE, part="controls", state=state, choices=[(choice, choice) for choice in choices], sources=sources,
        lowest=LOWEST_OPACITY, classes=_class_choice(state, points),
    )  # fmt: skip


def chosen_classes(state: MapState, points: MapPoints) -> tuple[int, ...]:
    """The classes that are told apart: those that were chosen, else the most frequent; none without class colours."""
    role = BY_CLASS.get(state.colour_by)
    return () if role is None else state.classes.get(role) or frequent_classes(points, role)


def _class_choice(state: MapState, points: MapPoints) -> dict[str, Any] | None:
    role = BY_CLASS.get(state.colour_by)
    if role is None:
        return None
    names, counts = points.vocabulary.names(role), np.bincount(points.classes[role])
    chosen, wanted = chosen_classes(state, points), state.search.strip().casefold()
    found = [own for own in np.argsort(-counts, kind="stable").tolist()
             if wanted and counts[own] and own not in chosen and wanted in names[own].casefold()]  # fmt: skip
    return {
        "role": role, "searched": bool(wanted), "full": len(chosen) >= MOST_CLASSES, "most": MOST_CLASSES,
        "own": bool(state.classes.get(role)),
        "chosen": [(own, names[own], _count(counts, own)) for own in chosen],
        "found": [(own, names[own], _count(counts, own)) for own in found[:MOST_FOUND]],
        "more": max(0, len(found) - MOST_FOUND),
    }  # fmt: skip


def _count(counts: np.ndarray, own: int) -> int:
    return int(counts[own]) if own < len(counts) else 0


def numbers(fidelity: pd.DataFrame | None, metrics: dict[str, Any]) -> str:
    """How the map was made and how far it may be trusted: fidelity beside its floor, trustworthiness."""
    rows = None if fidelity is None else [[name, *(_number(fidelity, name, key) for key in FIDELITY_METRICS)]
                                          for name in FIDELITY_ROWS]  # fmt: skip
    return render(TEMPLATE, part="numbers", rows=rows, columns=["", *FIDELITY_METRICS.values()], metrics=metrics)


def require_fidelity(fidelity: pd.DataFrame | None) -> None:
    """WorkbenchError unless the table has the rows and the columns that are shown."""
    if fidelity is None:
        return
    missing = [name for name in FIDELITY_ROWS if name not in fidelity.index]
    missing += [name for name in FIDELITY_METRICS if name not in fidelity.columns]
    if missing:
        raise WorkbenchError(
            f"the fidelity table has no {', '.join(missing)}. Give fidelity.parquet of the stage fidelity."
        )


def _number(fidelity: pd.DataFrame, name: str, key: str) -> str:
    value = float(fidelity.loc[name, key])
    return told(None) if math.isnan(value) else told(value)


def selection(state: MapState, points: MapPoints) -> str:
    """Counts and table of the lassoed points."""
    selected = np.empty(0, dtype=np.int64) if state.selected is None else state.selected
    paging = Paging(len(selected), ROWS_PER_PAGE, state.page)
    return render(
        TEMPLATE, part="selection", made=state.selected is not None, paging=paging.told(), roles=ROLES, bands=BANDS,
        counts=_band_counts(points, selected), rows=[_row(points, int(number)) for number in paging.of(selected)],
        point=state.point,
    )  # fmt: skip


def _band_counts(points: MapPoints, selected: np.ndarray) -> list[tuple[str, list[int]]]:
    """For each source the number of selected points, then those of each band of each role."""
    found = []
    for source in SOURCES:
        here = selected[points.of_source(source)[selected]]
        by_band = [
            int(count) for role in ROLES for count in np.bincount(points.bands[role][here], minlength=len(BANDS))
        ]
        found.append((source, [len(here), *by_band]))
    return found


def _row(points: MapPoints, number: int) -> dict[str, Any]:
    return {
        "number": number,
        "source": SOURCES[int(points.generated[number])],
        "row": int(points.row[number]),
        "caption": points.captions[number],
        "bands": [BANDS[points.bands[role][number]] for role in ROLES],
        "entropy": f"{points.entropy[number]:.4f}",
    }


def point(details: PointDetails | None, note: str) -> str:
    """The details of the clicked point; ``note`` says that there are no pictures."""
    return render(TEMPLATE, part="point", details=details, note=note)
