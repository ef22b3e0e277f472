"""What a person has chosen in the TripletBrowser, and the query that it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.triplet_query import ORIGINS, SORTS, TripletQuery
from workbench.browsers.widgets import class_id, require_fields, require_one_of
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES, Vocabulary

CHARTS = ROLES


@dataclass(frozen=True)
class TripletState:
    """The filters, the order, and what is open.

    ``bands``: role to the bands that are switched on, none means all. ``classes``: role to one class id. ``chart``: the
    role of the rank-frequency chart, ``bar`` the number of its bar that was clicked. ``crop``: tiles show the union
    region alone. ``opened``: a triplet's place.
    """

    search: str = ""
    bands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    origin: str = "any"
    sort: str = "frequency"
    chart: str = "relation"
    bar: int | None = None
    only_selected: bool = False
    crop: bool = False
    page: int = 1
    opened: int | None = None
    examples_page: int = 1

    def changed(self, vocabulary: Vocabulary, bars: int, /, **changes: Any) -> "TripletState":
        """The state with ``changes``; other filters start at page 1 again. WorkbenchError for a name or value unknown.

        ``classes`` may hold names in place of ids; ``bars``: how many bars the chart has.
        """
        require_fields("the TripletBrowser", changes, TripletState)
        if "bands" in changes:
            changes["bands"] = {role: _bands(role, bands) for role, bands in changes["bands"].items() if bands}
        if "classes" in changes:
            given = changes["classes"].items()
            changes["classes"] = {role: _class(vocabulary, role, value) for role, value in given if value is not None}
        require_one_of("origin", changes.get("origin", self.origin), ORIGINS)
        require_one_of("sort", changes.get("sort", self.sort), SORTS)
        require_one_of("chart", changes.get("chart", self.chart), CHARTS)
        if changes.get("chart", self.chart) != self.chart:
            changes.setdefault("bar", None)
        bar = changes.get("bar")
        if bar is not None and not 0 <= bar < bars:
            raise WorkbenchError(f"the chart has no bar {bar}; it has 0 to {bars - 1}.")
        if not changes.keys() <= {"page", "opened", "examples_page", "crop"}:
            changes.setdefault("page", 1)
        if "opened" in changes:
            changes.setdefault("examples_page", 1)
        return replace(self, **changes)

    def query(self, bars: pd.DataFrame, seed: int, selected: np.ndarray) -> TripletQuery:
        """The query over an index: what the clicked bar holds counts beside the menus; ``selected``: ticked places."""
        classes = {role: (number,) for role, number in self.classes.items()}
        ids = selected if self.only_selected else None
        if self.bar is not None:
            clicked, own = tuple(bars["classes"].iloc[self.bar]), self.classes.get(self.chart)
            if own is None:
                classes[self.chart] = clicked
            elif own not in clicked:
                ids = np.zeros(0, dtype=np.int64)  # no triplet has a class of the menu and one of the bar
        return TripletQuery(
            text=self.search, bands=self.bands, classes=classes, origin=self.origin, sort=self.sort, seed=seed, ids=ids
        )

    @property
    def filtered(self) -> bool:
        """Whether anything is filtered out."""
        return self != replace(TripletState(), **{name: getattr(self, name) for name in _NO_FILTERS})


_NO_FILTERS = ("sort", "chart", "crop", "page", "opened", "examples_page")


def _class(vocabulary: Vocabulary, role: str, value: int | str) -> int:
    require_one_of("role", role, ROLES)
    return class_id(vocabulary, role, value)


def _bands(role: str, bands: Any) -> tuple[str, ...]:
    require_one_of("role", role, ROLES)
    for band in bands:
        require_one_of("band", band, BANDS)
    return tuple(band for band in BANDS if band in bands)
