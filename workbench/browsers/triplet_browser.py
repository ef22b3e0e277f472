"""TripletBrowser: all triplets of training and augmentation, searched, filtered, looked at, and picked."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.drawing import Thumbnails
from workbench.browsers.panel import Shown
from workbench.browsers.triplet_index import TripletIndex
from workbench.browsers.triplet_page import MOST_SELECTED_AT_ONCE, TripletPage, TripletSources
from workbench.browsers.triplet_query import Matches, TripletState, facets, search
from workbench.browsers.widgets import Paging
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES, write_triplet_list

_FILTERS = ("search", "bands", "classes", "origin", "bar", "only_selected")


class TripletBrowser(Shown):
    """Browse distinct triplets; ``selection`` is what was ticked, ``matches`` what the filters let through.

    Parameters
    ----------
    index
        The stage ``triplet_index``.
    sources
        The training split that the index was made from, and what else is known of its triplets.
    images
        Folder of the images; None shows boxes on a blank canvas.
    lists_folder
        Where selections are saved.
    page_size, seed
        Tiles a page; seed of the shuffled order.
    filters
        What is chosen at first, as ``set`` takes it.
    """

    frame = (
        '<div class="wb-live" data-region="search"></div><div data-region="toggles"></div>'
        '<div class="wb-live" data-region="menus"></div><div data-region="chart"></div>'
        '<div data-region="status"></div><div class="wb-triplet-main"><div><div data-region="grid"></div>'
        '<div data-region="pager"></div><div class="wb-live" data-region="picked"></div></div>'
        '<div data-region="detail"></div></div>'
    )

    def __init__(
        self,
        index: TripletIndex,
        sources: TripletSources,
        *,
        images: Path | None = None,
        lists_folder: Path | None = None,
        page_size: int = 12,
        seed: int = 0,
        **filters: Any,
    ):
        if index.relations_total != len(sources.tables):
            raise WorkbenchError(
                f"{index.folder}: made from {index.relations_total:,} relations, but {sources.tables.folder} has "
                f"{len(sources.tables):,}. Build the stage triplet_index again."
            )
        self.index, self.lists_folder, self.seed = index, lists_folder, seed
        self.thumbnails = Thumbnails(images)
        self._page = TripletPage(index, sources, self.thumbnails, page_size, can_save=lists_folder is not None)
        self._state, self._said, self._list_name = TripletState(), "", "implausible"
        self._ticked: dict[int, None] = {}  # in the order of ticking
        self._answered: tuple[Any, Any] = (None, None)
        self.set(**filters)

    # ---- for the next cell

    @property
    def state(self) -> TripletState:
        """What is chosen now."""
        return self._state

    def set(self, **changes: Any) -> None:
        """Choose as a click would: search="man on", bands={"object": ["few"]}, classes={"relation": "on"}, sort=..."""
        self._change(**changes)
        self._said = ""
        self.shown_again()

    @property
    def selection(self) -> pd.DataFrame:
        """The triplets that were ticked, one row each (columns: `triplet_table`)."""
        return triplet_table(self.index, self._ticked_places)

    @property
    def matches(self) -> pd.DataFrame:
        """All triplets that the filters let through, in the chosen order."""
        return triplet_table(self.index, self._matches.places)

    def select(self, places: Iterable[int]) -> None:
        """Tick triplets by place, the index of `matches`."""
        places = np.asarray(list(places), dtype=np.int64)
        if len(places) and not (places.min() >= 0 and places.max() < len(self.index)):
            raise WorkbenchError(f"a place is a number from 0 to {len(self.index) - 1:,}, the index of .matches.")
        self._ticked |= dict.fromkeys(places.tolist())
        self.shown_again()

    def save_selection(self, name: str) -> Path:
        """Write the ticked triplets as a list for notebook 02's ``include`` or ``exclude``; returns its path."""
        if self.lists_folder is None:
            raise WorkbenchError("this browser was given no folder for lists. Use write_triplet_list instead.")
        if not self._ticked:
            raise WorkbenchError("nothing is selected yet. Tick some triplets first.")
        if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
            raise WorkbenchError(f"list name {name!r}: use letters, digits, '-' and '_'.")
        path = self.lists_folder / f"{name}.csv"
        write_triplet_list(path, self.index.triplets(self._ticked_places), self.index.vocabulary)
        return path

    # ---- the page

    def regions(self) -> dict[str, str]:
        """HTML of all regions."""
        matches, counts = self._answers()
        return self._page.regions(self._state, matches, counts, self._ticked, self._said, self._list_name)

    def handle(self, event: str, value: str | None) -> None:
        """Carry out one act of the user."""
        self._said, value, state = "", value or "", self._state
        changes: dict[str, Callable[[], dict[str, Any]]] = {
            "band": lambda: {"bands": self._toggled_bands(*value.split(":", 1))},
            "bar": lambda: {"bar": None if value == "" or int(value) == state.bar else int(value)},
            "page": lambda: {"page": self._paging.turned(value)},
            "examples": lambda: {"examples_page": self._examples_paging.turned(value)},
            "open": lambda: {"opened": self._place(value) if value else None},
            "reset": lambda: {name: getattr(TripletState(), name) for name in _FILTERS},
            **{name: lambda: {event: value} for name in ("search", "origin", "sort", "chart")},
            **{name: lambda: {event: not getattr(state, event)} for name in ("only_selected", "crop")},
            **{f"class_{role}": lambda: {"classes": self._chosen_class(event, value)} for role in ROLES},
        }
        acts: dict[str, Callable[[str], None]] = {
            "tick": self._tick, "tick_page": self._tick_page, "tick_all": self._tick_all, "untick": self._untick,
            "list_name": self._name_list, "save": self._save,
        }  # fmt: skip
        if event in acts:
            acts[event](value)
        elif event in changes:
            self._change(**changes[event]())
        else:
            raise WorkbenchError(f"event {event!r} is not known to the TripletBrowser.")

    def _change(self, **changes: Any) -> None:
        chart = changes.get("chart", self._state.chart)
        bars = len(self._page.bars(chart)) if chart in ROLES else 0
        self._state = self._state.changed(self.index.vocabulary, bars, **changes)

    def _place(self, value: str) -> int:
        place = int(value)
        if not 0 <= place < len(self.index):
            raise WorkbenchError(f"there is no triplet {place}; expected 0 to {len(self.index) - 1}.")
        return place

    def _toggled_bands(self, role: str, band: str = "") -> dict[str, Any]:
        return {**self._state.bands, role: set(self._state.bands.get(role, ())) ^ {band}}

    def _chosen_class(self, event: str, value: str) -> dict[str, Any]:
        return {**self._state.classes, event.removeprefix("class_"): int(value) if value else None}

    def _tick(self, value: str) -> None:
        place = self._place(value)
        if place in self._ticked:
            del self._ticked[place]
        else:
            self._ticked[place] = None

    def _tick_page(self, _: str) -> None:
        self._ticked |= dict.fromkeys(self._paging.of(self._matches.places).tolist())

    def _tick_all(self, _: str) -> None:
        if self._matches.triplets > MOST_SELECTED_AT_ONCE:
            raise WorkbenchError(
                f"{self._matches.triplets:,} triplets match; at most {MOST_SELECTED_AT_ONCE:,} are selected at once. "
                "Narrow the filters, or use browser.select(browser.matches.index)."
            )
        self._ticked |= dict.fromkeys(self._matches.places.tolist())

    def _untick(self, _: str) -> None:
        self._ticked.clear()
        if self._state.only_selected:
            self._change(only_selected=False)

    def _name_list(self, value: str) -> None:
        self._list_name = value.strip()

    def _save(self, _: str) -> None:
        path = self.save_selection(self._list_name)
        self._said = f'{len(self._ticked):,} triplets are in {path}. In notebook 02: exclude = "{self._list_name}"'

    # ---- what the state stands for

    @property
    def _ticked_places(self) -> np.ndarray:
        return np.fromiter(self._ticked, dtype=np.int64, count=len(self._ticked))

    @property
    def _matches(self) -> Matches:
        return self._answers()[0]

    @property
    def _paging(self) -> Paging:
        return Paging(self._matches.triplets, self._page.page_size, self._state.page)

    @property
    def _examples_paging(self) -> Paging:
        assert self._state.opened is not None  # the buttons are those of an open triplet
        return self._page.examples_paging(self._state.opened, self._state.examples_page)

    def _answers(self) -> tuple[Matches, dict[str, dict[str, int]]]:
        """Matches and the toggles' counts, found once for all that the filters and the order are made of."""
        ticked = tuple(self._ticked) if self._state.only_selected else ()
        key = (replace(self._state, page=1, opened=None, examples_page=1, crop=False), ticked)
        if self._answered[0] != key:
            query = self._state.query(self._page.bars(self._state.chart), self.seed, self._ticked_places)
            self._answered = (key, (search(self.index, query), facets(self.index, query)))
        return self._answered[1]


def triplet_table(index: TripletIndex, places: np.ndarray) -> pd.DataFrame:
    """The triplets at ``places`` for the next cell: names, ids, bands, counts, similarity, hardness."""
    places = np.asarray(places, dtype=np.int64)
    ids = index.triplets(places)
    columns: dict[str, Any] = {
        role: np.array(index.vocabulary.names(role), dtype=object)[ids[:, at]] for at, role in enumerate(ROLES)
    }
    columns |= {f"{role}_class": ids[:, at] for at, role in enumerate(ROLES)}
    columns |= {f"{role}_band": np.array(BANDS, dtype=object)[index[f"{role}_band"][places]] for role in ROLES}
    columns |= {name: index[name][places] for name in ("count", "augmented", "similarity", "hardness")}
    return pd.DataFrame(columns, index=pd.Index(places, name="place"))
