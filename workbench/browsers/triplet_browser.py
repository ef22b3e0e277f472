"""TripletBrowser: all triplets of training and augmentation, searched, filtered, looked at, and picked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.panel import Browser, Paging, numbers, places, render
from workbench.browsers.triplet_index import SORTS, TripletIndex, class_bars
from workbench.browsers.triplet_page import TEMPLATE, TripletPage, TripletSources
from workbench.browsers.triplet_search import FILTERS, TripletState, facets, search, without_toggles
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES, write_triplet_list

MOST_SELECTED_AT_ONCE = 100_000
NAMES_IN_A_BAR = 4
TILES_A_PAGE = 12


class TripletBrowser(Browser):
    """Browse distinct triplets; ``selection`` is what was ticked, ``matches`` what the filters let through.

    ``index``: the stage ``triplet_index``; ``sources``: the training split that it was made from, and what else is
    known of its triplets; ``images``: their folder, None shows boxes on a blank canvas; ``lists_folder``: where
    selections are saved; ``filters``: what is chosen at first, as ``set`` takes it.
    """

    state: TripletState

    def __init__(
        self,
        index: TripletIndex,
        sources: TripletSources,
        *,
        images: Path | None = None,
        lists_folder: Path | None = None,
        **filters: Any,
    ):
        if len(index.examples) != len(sources.tables):
            raise WorkbenchError(
                f"{index.folder}: made from {len(index.examples):,} relations, but {sources.tables.folder} has "
                f"{len(sources.tables):,}. Build the stage triplet_index again."
            )
        super().__init__(render(TEMPLATE, part="frame"), images)
        self.index, self.lists_folder = index, lists_folder
        self.page = TripletPage(index, sources, self.thumbnails)
        self.bars = {role: class_bars(index.counts, role) for role in ROLES}
        self.state, self._said, self._list_name = TripletState(), "", "implausible"
        self._ticked: dict[int, None] = {}  # in the order of ticking
        self.change(**filters)

    @property
    def selection(self) -> pd.DataFrame:
        """The triplets that were ticked, one row each: names, ids, bands, counts, similarity, hardness."""
        return self._table(self._ticked_places)

    @property
    def matches(self) -> pd.DataFrame:
        """All triplets that the filters let through, in the chosen order."""
        return self._table(self._places)

    def _table(self, places: np.ndarray) -> pd.DataFrame:
        index, names = self.index, self.index.vocabulary.names
        columns = {role: np.array(names(role), dtype=object)[index[role][places]] for role in ROLES}
        columns |= {f"{role}_class": index[role][places].astype(np.int64) for role in ROLES}
        columns |= {f"{role}_band": np.array(BANDS, dtype=object)[index[f"{role}_band"][places]] for role in ROLES}
        columns |= {name: index[name][places] for name in ("count", "augmented", "similarity", "hardness")}
        return pd.DataFrame(columns, index=pd.Index(places, name="place"))

    def select(self, places: Iterable[int]) -> None:
        """Tick triplets by place, the index of `matches`."""
        self._tick(places)
        self.shown_again()

    def save_selection(self, name: str) -> Path:
        """Write the ticked triplets as a list for notebook 02's ``include`` or ``exclude``; returns its path."""
        if self.lists_folder is None:
            raise WorkbenchError(
                "this browser was given no folder for lists. Use scenes.vocabulary.write_triplet_list instead."
            )
        if not self._ticked:
            raise WorkbenchError("nothing is selected yet. Tick some triplets first.")
        if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
            raise WorkbenchError(f"list name {name!r}: use letters, digits, '-' and '_'.")
        path = self.lists_folder / f"{name}.csv"
        write_triplet_list(path, self.index.triplets(self._ticked_places), self.index.vocabulary)
        return path

    def change(self, **changes: Any) -> None:
        """Take over ``changes`` of the state (`TripletState.changed`)."""
        self.state = self.state.changed(self.index, self.bars, **changes)

    def set(self, **changes: Any) -> None:
        """Choose as a click would: search="man on", bands={"object": ["few"]}, classes={"relation": "on"}, sort=..."""
        self._said = ""
        super().set(**changes)

    def acts(self, value: str) -> Mapping[str, Callable[[], dict[str, Any] | None]]:
        """What each event changes, or does with what is ticked."""
        state, self._said = self.state, ""
        number = lambda: numbers("class, bar or place", value)[0] if value else None  # noqa: E731
        role, _, band = value.partition(":")
        return {
            **{name: partial(dict, {name: value}) for name in ("search", "origin", "sort", "chart")},
            **{name: partial(dict, {name: not getattr(state, name)}) for name in ("only_selected", "crop")},
            "class_subject": lambda: {"classes": {**state.classes, "subject": number()}},
            "class_relation": lambda: {"classes": {**state.classes, "relation": number()}},
            "class_object": lambda: {"classes": {**state.classes, "object": number()}},
            "band": lambda: {"bands": {**state.bands, role: set(state.bands.get(role, ())) ^ {band}}},
            "bar": lambda: {"bar": None if number() == state.bar else number()},
            "page": lambda: {"page": self._paging.turned(value)},
            "examples": lambda: {"examples_page": self.page.paging(state).turned(value)},
            "open": lambda: {"opened": value or None},
            "reset": lambda: {name: getattr(TripletState(), name) for name in FILTERS},
            "tick": lambda: self._toggle(*numbers("tick", value)),
            "tick_page": lambda: self._tick(self._paging.of(self._places)),
            "tick_all": self._tick_all,
            "untick": self._untick,
            "list_name": lambda: setattr(self, "_list_name", value.strip()),
            "save": self._save,
        }

    def _tick(self, wanted: Iterable[int]) -> None:
        self._ticked |= dict.fromkeys(places("place", wanted, len(self.index)).tolist())

    def _toggle(self, place: int) -> None:
        if place in self._ticked:
            del self._ticked[place]
        else:
            self._tick([place])

    def _tick_all(self) -> None:
        if len(self._places) > MOST_SELECTED_AT_ONCE:
            what = f"{len(self._places):,} triplets match; at most {MOST_SELECTED_AT_ONCE:,} are selected at once"
            raise WorkbenchError(f"{what}. Narrow the filters, or use browser.select(browser.matches.index).")
        self._tick(self._places)

    def _untick(self) -> dict[str, Any]:
        self._ticked.clear()
        return {"only_selected": False} if self.state.only_selected else {}

    def _save(self) -> None:
        path = self.save_selection(self._list_name)
        self._said = f'{len(self._ticked):,} triplets are in {path}. In notebook 02: exclude = "{self._list_name}"'

    @property
    def _ticked_places(self) -> np.ndarray:
        return np.fromiter(self._ticked, dtype=np.int64, count=len(self._ticked))

    @property
    def _places(self) -> np.ndarray:
        return self._answers[0]

    @property
    def _paging(self) -> Paging:
        return Paging(len(self._places), TILES_A_PAGE, self.state.page)

    @property
    def _answers(self) -> tuple[np.ndarray, dict[str, dict[str, int]]]:
        """Matches and the toggles' counts, found once for all that the filters and the order are made of."""
        state, ticked = self.state, tuple(self._ticked) if self.state.only_selected else None

        def answers() -> tuple[np.ndarray, dict[str, dict[str, int]]]:
            bar = None if state.bar is None else self.bars[state.chart]["classes"].iloc[state.bar]
            fits = without_toggles(self.index, state, bar=bar, selected=ticked)
            return search(self.index, state, fits), facets(self.index, state, fits)

        return self.keep("answers", (replace(state, page=1, opened=None, examples_page=1, crop=False), ticked), answers)

    def regions(self) -> dict[str, str]:
        """HTML of all regions."""
        state, (found, counts), paging = self.state, self._answers, self._paging
        tiles = [self.page.tile(int(place), state.crop) for place in paging.of(found)]
        relations = int(self.index["count"][found].sum(dtype=np.int64))
        picking = {"most": MOST_SELECTED_AT_ONCE, "can_save": self.lists_folder is not None}
        values: dict[str, dict[str, Any]] = {
            "search": {"sorts": self._sorts},
            "toggles": {"facets": counts, "bands": BANDS, "has_augmented": len(self.index.augmented) > 0},
            "chart": self._chart(),
            "status": {"relations": relations, "note": self.thumbnails.note()},
            "grid": {"tiles": tiles, "triplets": len(self.index)},
            "pager": {"paging": paging},
            "picked": {"said": self._said, "list_name": self._list_name, **picking},
        }
        shared = {"state": state, "roles": ROLES, "ticked": self._ticked, "matches": len(found)}
        return {name: render(TEMPLATE, part=name, **own, **shared) for name, own in values.items()} | {
            "menus": self.keep("menus", state.classes, self._menus),
            "detail": "" if state.opened is None else self.page.detail(state),
        }

    @cached_property
    def _sorts(self) -> list[tuple[str, str]]:
        """The orders that this index can give: hardness and similarity only where they are known."""
        known = {column: not np.isnan(self.index[column]).all() for column in ("hardness", "similarity")}
        return [(sort, text) for sort, (text, column, _) in SORTS.items() if known.get(column or "", True)]

    def _menus(self) -> str:
        """The menus of classes, thousands of options."""
        options = {}
        for role in ROLES:
            names, counts = self.index.vocabulary.names(role), getattr(self.index.counts, role)
            by_name = sorted(range(len(names)), key=lambda own: names[own].casefold())
            options[role] = [("", "any"), *((own, f"{names[own]} ({counts[own]:,})") for own in by_name)]
        return render(TEMPLATE, part="menus", options=options, roles=ROLES, state=self.state)

    def _chart(self) -> dict[str, Any]:
        """The bars of the chart, each in words, and how many classes each band has."""
        bars, names = self.bars[self.state.chart], self.index.vocabulary.names(self.state.chart)
        # A logarithmic axis; a class without an example has no height.
        heights = 100 * np.log1p(bars["most_count"]) / np.log1p(max(int(bars["most_count"].max()), 1))
        drawn = bars.assign(height=heights, names=[[names[own] for own in held] for held in bars["classes"]])
        bands = {band: int(bars.loc[bars["band"] == band, "classes"].map(len).sum()) for band in BANDS}
        return {"bars": drawn.to_dict("records"), "groups": bands, "most_names": NAMES_IN_A_BAR}
