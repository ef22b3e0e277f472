"""TripletBrowser: all triplets of training and augmentation, searched, filtered, looked at, and picked."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.browsers.panel import Browser, Paging, numbers, render
from workbench.browsers.triplet_index import SORTS, TripletIndex, class_bars
from workbench.browsers.triplet_page import TEMPLATE, TripletPage, TripletSources
from workbench.browsers.triplet_search import FILTERS, STILL, TripletState, facets, search, without_toggles
from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.scenes.bands import BANDS
from workbench.scenes.relations import triplet_keys
from workbench.scenes.vocabulary import REPLACEMENT, ROLES, write_triplet_list

if TYPE_CHECKING:
    from workbench.browsers.map_browser import FeatureMap

MOST_SELECTED_AT_ONCE = 100_000
NAMES_IN_A_BAR = 4
TILES_A_PAGE = 12
# What the answers do not hang on.
_STILL: dict[str, Any] = {name: value for name, value in vars(TripletState()).items() if name in STILL}


class TripletBrowser(Browser):
    """Browse distinct triplets; ``selection`` is what was ticked, ``matches`` what the filters let through.

    ``index``: the stage ``triplet_index``; ``sources``: the training split that it was made from, and what else is
    known of its triplets; ``images``: their folder, None shows boxes on a blank canvas; ``lists_folder``: where
    selections are saved; ``filters``: what is chosen at first, as ``set`` takes it.
    """

    state: TripletState
    kind = "triplets"

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
        self.change(**filters)

    @property
    def selection(self) -> pd.DataFrame:
        """The triplets that were ticked, one row each: names, ids, bands, counts, similarity, hardness."""
        return self._table(np.array(self.state.ticked, dtype=np.int64))

    def shown(self) -> pd.DataFrame:
        """All that the filters let through."""
        return self.matches

    def follow(self, feature_map: "FeatureMap") -> None:
        """Show only triplets of the points in the lasso of ``feature_map``, from now on."""

        def lassoed(points: pd.DataFrame | None) -> None:
            own = triplet_keys(*self.index.triplets(np.arange(len(self.index))).T)
            drawn = None if points is None else np.isin(own, triplet_keys(*points[list(ROLES)].to_numpy().T))
            self.set(places=None if drawn is None else np.flatnonzero(drawn))

        feature_map.followers.append(lassoed)
        if feature_map.state.selected is not None:
            lassoed(feature_map.selection)

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
        self.change(**self._tick(places))
        self.shown_again()

    def save_selection(self, name: str) -> Path:
        """Write what was ticked and vetoed as a list for notebook 02's ``include`` or ``exclude``; returns its path.

        Senses that were chosen are a table beside it, for ``augmentation.senses``: ``senses_file``.
        """
        if self.lists_folder is None:
            raise WorkbenchError(
                "this browser was given no folder for lists. Use scenes.vocabulary.write_triplet_list instead."
            )
        state = self.state
        if not state.ticked and not state.never and not state.senses:
            raise WorkbenchError("nothing is selected yet. Tick some triplets first.")
        if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
            raise WorkbenchError(f"list name {name!r}: use letters, digits, '-' and '_'.")
        path = self.lists_folder / f"{name}.csv"
        triplets = self.index.triplets(np.array(state.ticked, dtype=np.int64))
        write_triplet_list(path, triplets, self.index.vocabulary, state.never)
        if state.senses:
            with atomic_path(self.senses_file(name)) as temporary:
                pd.DataFrame(state.senses.items(), columns=["name", "synset"]).to_csv(temporary, index=False)
        return path

    def senses_file(self, name: str) -> Path:
        """Where `save_selection` writes the senses that were chosen."""
        return (self.lists_folder or Path()) / f"{name}-senses.csv"

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
            **{name: partial(dict, {name: value}) for name in ("search", "via", "origin", "sort", "chart")},
            **{name: partial(dict, {name: not getattr(state, name)}) for name in ("only_selected", "crop")},
            **{f"class_{role}": partial(self._class, role, number) for role in (*ROLES, *REPLACEMENT)},
            "band": lambda: {"bands": {**state.bands, role: set(state.bands.get(role, ())) ^ {band}}},
            "similarity": lambda: {"similarity": value.split(",") if value else None},
            "places": lambda: {"places": None},
            "never": lambda: {"never": _toggled(state.never, numbers("never", value, 2))},
            "meant": lambda: {"meant": None if number() == state.meant else number()},
            "sense": lambda: {"senses": self._senses(value)},
            "bar": lambda: {"bar": None if number() == state.bar else number()},
            "page": lambda: {"page": self._paging.turned(value)},
            "examples": lambda: {"examples_page": self.page.paging(state).turned(value)},
            "open": lambda: {"opened": value or None},
            "reset": lambda: {name: getattr(TripletState(), name) for name in FILTERS},
            "tick": lambda: {"ticked": _toggled(state.ticked, *numbers("tick", value))},
            "tick_page": lambda: self._tick(self._paging.of(self._places)),
            "tick_all": self._tick_all,
            "untick": self._untick,
            "list_name": lambda: setattr(self, "_list_name", value.strip()),
            "save": self._save,
        }

    def _tick(self, wanted: Iterable[int]) -> dict[str, Any]:
        return {"ticked": (*self.state.ticked, *wanted)}

    def _class(self, role: str, number: Callable[[], int | None]) -> dict[str, Any]:
        return {"classes": {**self.state.classes, role: number()}}

    def _senses(self, synset: str) -> dict[str, str]:
        """The chosen senses after a click on one of the open class."""
        assert self.state.meant is not None  # else no sense is shown
        name = self.index.vocabulary.objects[self.state.meant]
        others = {own: chosen for own, chosen in self.state.senses.items() if own != name}
        return others if self.state.senses.get(name) == synset else {**others, name: synset}

    def _tick_all(self) -> dict[str, Any]:
        if len(self._places) > MOST_SELECTED_AT_ONCE:
            what = f"{len(self._places):,} triplets match; at most {MOST_SELECTED_AT_ONCE:,} are selected at once"
            raise WorkbenchError(f"{what}. Narrow the filters, or use browser.select(browser.matches.index).")
        return self._tick(self._places)

    def _untick(self) -> dict[str, Any]:
        return {"ticked": (), "only_selected": False} if self.state.only_selected else {"ticked": ()}

    def _save(self) -> None:
        path, name = self.save_selection(self._list_name), self._list_name
        self._said = f"Saved: {path}. In notebook 02: " + "; ".join(
            [f'exclude = "{name}"'] * bool(self.state.ticked or self.state.never)
            + [f'"senses": "data/lists/{self.senses_file(name).name}" in augmentation'] * bool(self.state.senses)
        )

    def _decided(self) -> dict[str, Any]:
        """What was decided, as it can be pasted into notebook 02, and the rows that go by it."""
        names, state = self.index.vocabulary.objects, self.state
        never: dict[str, list[str]] = {}
        for replaced, by in state.never:
            never.setdefault(names[replaced], []).append(names[by])
        rows = self.page.replacements
        given = {name: value for name, value in (("never", never), ("senses", dict(state.senses))) if value}
        return {
            "paste": json.dumps(given, ensure_ascii=False)[1:-1],
            "going": rows.going(state.ticked, state.never), "augmented": len(rows.place),
            "pairs": [(pair, *(names[own] for own in pair), rows.rows(*pair)) for pair in state.never],
        }  # fmt: skip

    @property
    def _places(self) -> np.ndarray:
        return self._answers[0]

    @property
    def _paging(self) -> Paging:
        return Paging(len(self._places), TILES_A_PAGE, self.state.page)

    @property
    def _answers(self) -> tuple[np.ndarray, dict[str, dict[str, int]]]:
        """Matches and the toggles' counts, found once for all that the filters and the order are made of."""
        state, ticked = self.state, self.state.ticked if self.state.only_selected else None

        def answers() -> tuple[np.ndarray, dict[str, dict[str, int]]]:
            bar = None if state.bar is None else self.bars[state.chart]["classes"].iloc[state.bar]
            replaced = self.page.replacements.fits(state, len(self.index))
            fits = without_toggles(self.index, state, bar=bar, selected=ticked, replaced=replaced)
            return search(self.index, state, fits), facets(self.index, state, fits)

        return self.keep("answers", (replace(state, **_STILL), ticked), answers)

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
            "picked": {"said": self._said, "list_name": self._list_name, **picking, **self._decided()},
        }
        shared = {"state": state, "roles": ROLES, "ticked": dict.fromkeys(state.ticked), "matches": len(found)}
        return {name: render(TEMPLATE, part=name, **own, **shared) for name, own in values.items()} | {
            "menus": self.keep("menus", (state.classes, state.similarity, state.via), self._menus),
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
        rows, objects = self.page.replacements, self.index.vocabulary.objects
        made = rows.menus(objects, self.state) if len(self.index.augmented) else {}
        return render(TEMPLATE, part="menus", options=options, made=made, roles=ROLES, state=self.state)

    def _chart(self) -> dict[str, Any]:
        """The bars of the chart, each in words, and how many classes each band has."""
        bars, names = self.bars[self.state.chart], self.index.vocabulary.names(self.state.chart)
        # A logarithmic axis; a class without an example has no height.
        heights = 100 * np.log1p(bars["most_count"]) / np.log1p(max(int(bars["most_count"].max()), 1))
        drawn = bars.assign(height=heights, names=[[names[own] for own in held] for held in bars["classes"]])
        bands = {band: int(bars.loc[bars["band"] == band, "classes"].map(len).sum()) for band in BANDS}
        return {"bars": drawn.to_dict("records"), "groups": bands, "most_names": NAMES_IN_A_BAR}


def _toggled(held: tuple, one: Any) -> tuple:
    """``held`` without ``one``, or with it at the end."""
    return tuple(other for other in held if other != one) if one in held else (*held, one)
