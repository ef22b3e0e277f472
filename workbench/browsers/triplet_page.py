"""The TripletBrowser's HTML: toggles with counts, the rank-frequency bars, tiles, and one triplet in detail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.browsers.drawing import blank_note, scene_of, scene_svg
from workbench.browsers.nearest_triplets import nearest_triplets
from workbench.browsers.rank_frequency_bars import class_bars
from workbench.browsers.triplet_index import TripletIndex
from workbench.browsers.triplet_query import Matches
from workbench.browsers.triplet_state import TripletState
from workbench.browsers.triplet_tiles import TripletSources, origin_of, parts, seed_drawings, tile
from workbench.browsers.widgets import Paging, render
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES

EXAMPLES_PER_PAGE = 4
MOST_SELECTED_AT_ONCE = 100_000
NAMES_IN_A_BAR = 4
SORT_TEXTS = {
    "frequency": "most frequent first", "rarity": "rarest first", "hardness": "hardest first", "ease": "easiest first",
    "lch": "most similar word first (LCH)", "name": "by name", "random": "shuffled",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class TripletPage:
    """Renders what a state shows; what does not depend on the state is made once."""

    index: TripletIndex
    sources: TripletSources
    page_size: int
    embeddings: np.ndarray | None
    can_save: bool

    def regions(
        self, state: TripletState, matches: Matches, facets: dict, ticked: dict[int, None], said: str, list_name: str
    ) -> dict[str, str]:
        """HTML of all regions; ``said`` answers the last act, ``list_name`` stands in the field of the list."""
        paging = Paging(matches.triplets, self.page_size, state.page)
        tiles = [tile(self.index, self.sources, int(place), crop=state.crop) for place in paging.of(matches.places)]
        shared = {"state": state, "ticked": ticked, "matches": matches}
        return {
            "search": render("triplet_search.html.j2", sorts=self._sorts, **shared),
            "toggles": render("triplet_toggles.html.j2", facets=facets, bands=BANDS, roles=ROLES,
                              has_augmented=self.index.augmented_total > 0, **shared),
            "menus": self._menus(tuple(state.classes.get(role, "") for role in ROLES)),
            "chart": self._chart(state),
            "status": render("triplet_status.html.j2", note=blank_note(self.sources.thumbnails), **shared),
            "grid": render("triplet_grid.html.j2", tiles=tiles, columns=len(self.index), **shared),
            "pager": render("triplet_pager.html.j2", paging=paging.values()),
            "picked": render("triplet_picked.html.j2", said=said, list_name=list_name, can_save=self.can_save,
                             most=MOST_SELECTED_AT_ONCE, **shared),
            "detail": "" if state.opened is None else self._detail(state.opened, state.examples_page),
        }  # fmt: skip

    def bars(self, role: str) -> pd.DataFrame:
        """The bars of a role's rank-frequency chart."""
        return self._bars[role]

    def examples_paging(self, place: int, wanted: int) -> Paging:
        """The pages of a triplet's examples and augmented rows, which are turned together."""
        rows = max(len(self.index.examples(place)), len(self.index.augmented_rows(place)))
        return Paging(rows, EXAMPLES_PER_PAGE, wanted)

    @cached_property
    def _bars(self) -> dict[str, pd.DataFrame]:
        return {role: class_bars(self.index.counts, role) for role in ROLES}

    @cached_property
    def _sorts(self) -> list[tuple[str, str]]:
        """The orders that this index can give: hardness and LCH only where they are known."""
        unknown = {"lch"} if not self.index.augmented_total else set()
        unknown |= {"hardness", "ease"} if np.isnan(self.index["hardness"]).all() else set()
        return [(sort, text) for sort, text in SORT_TEXTS.items() if sort not in unknown]

    @cached_property
    def _menus(self) -> Callable[[tuple], str]:
        """The menus for classes chosen by role: thousands of options, made again only for another choice."""

        def made(chosen: tuple) -> str:
            classes = dict(zip(ROLES, chosen, strict=True))
            return render("triplet_menus.html.j2", options=self._class_options, classes=classes, roles=ROLES)

        return lru_cache(maxsize=8)(made)

    @cached_property
    def _class_options(self) -> dict[str, list[tuple[str, str]]]:
        options = {}
        for role in ROLES:
            names, counts = self.index.vocabulary.names(role), self.index.counts.labels_of_role(role)
            by_name = sorted(range(len(names)), key=lambda number, names=names: names[number].casefold())
            options[role] = [(str(number), f"{names[number]} ({counts[number]:,})") for number in by_name]
        return options

    def _chart(self, state: TripletState) -> str:
        bars, names = self._bars[state.chart], self.index.vocabulary.names(state.chart)
        # A logarithmic axis; a class without an example has no height.
        heights = 100 * np.log1p(bars["most_count"].to_numpy()) / np.log1p(max(int(bars["most_count"].max()), 1))
        drawn = [
            row | {"height": float(height), "told": _bar_text(row, names)}
            for row, height in zip(bars.to_dict("records"), heights, strict=True)
        ]
        groups = {band: int(bars.loc[bars["band"] == band, "classes"].map(len).sum()) for band in BANDS}
        return render("triplet_chart.html.j2", bars=drawn, groups=groups, roles=ROLES, state=state)

    def _detail(self, place: int, wanted: int) -> str:
        index, paging = self.index, self.examples_paging(place, wanted)
        examples, rows = index.examples(place), index.augmented_rows(place)
        near = nearest_triplets(index, place, self.embeddings)
        return render(
            "triplet_detail.html.j2", caption=index.caption(place),
            parts=[[part["role"], part["name"], part["band"], f"{part['count']:,}"] for part in parts(index, place)],
            examples=[self._scene(row) for row in paging.of(examples)], count=len(examples), rows=len(rows),
            origins=self._origins(paging.of(rows)), paging=paging.values(), hardness=float(index["hardness"][place]),
            near=[(int(at), index.caption(int(at)), row) for at, row in near.iterrows()],
        )  # fmt: skip

    def _origins(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        origins = []
        for row in map(int, rows):
            origin = origin_of(self.index, self.sources, row)
            drawn = {"drawing": self._scene(origin["source_row"]), "seeds": seed_drawings(self.sources, row)}
            origins.append(origin | drawn)
        return origins

    def _scene(self, row: int) -> Markup:
        return scene_svg(scene_of(self.sources.tables, int(row)), self.sources.thumbnails)


def _bar_text(bar: dict[str, Any], names: Sequence[str]) -> str:
    """A bar in words: its ranks, a few of its classes, and how often they occur."""
    first, last = bar["first_rank"], bar["last_rank"]
    ranks = f"rank {first:,}" if first == last else f"ranks {first:,} to {last:,}"
    shown = ", ".join(names[number] for number in bar["classes"][:NAMES_IN_A_BAR])
    more = ", …" if len(bar["classes"]) > NAMES_IN_A_BAR else ""
    most, fewest = bar["most_count"], bar["fewest_count"]
    return f"{ranks}: {shown}{more}; " + (
        f"{most:,} in train" if most == fewest else f"{most:,} to {fewest:,} in train"
    )
