"""The TripletBrowser's HTML: toggles with counts, the rank-frequency bars, tiles, and one triplet in detail."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.browsers.drawing import Thumbnails, blank_note, scene_of, scene_of_boxes, scene_svg
from workbench.browsers.triplet_index import TripletIndex
from workbench.browsers.triplet_query import Matches, TripletState
from workbench.browsers.widgets import Paging, render
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES

EXAMPLES_PER_PAGE = 4
MOST_SELECTED_AT_ONCE = 100_000
NAMES_IN_A_BAR = 4
MOST_BARS, LEAST_BARS = 40, len(BANDS) + 1
SORT_TEXTS = {
    "frequency": "most frequent first", "rarity": "rarest first", "hardness": "hardest first", "ease": "easiest first",
    "similarity": "most similar word first", "name": "by name", "random": "shuffled",
}  # fmt: skip


@dataclass(frozen=True)
class TripletSources:
    """What a triplet's images, neighbours and origin are read from, as far as it is there.

    ``tables``: the training split. ``augmented`` and ``embeddings``: augmented.parquet and caption embeddings of the
    stage ``triplets`` that the index was made from. ``seeds``: generated.parquet of the stage
    ``generated``, whose columns augmented_row, subject_box and object_box name the boxes that a generated row started
    from.
    """

    tables: RelationTables
    augmented: pd.DataFrame | None = None
    embeddings: np.ndarray | None = None
    seeds: pd.DataFrame | None = None


@dataclass(frozen=True, eq=False)
class TripletPage:
    """Renders what a state shows; what does not depend on the state is made once."""

    index: TripletIndex
    sources: TripletSources
    thumbnails: Thumbnails
    page_size: int
    can_save: bool

    def regions(
        self, state: TripletState, matches: Matches, facets: dict, ticked: dict[int, None], said: str, list_name: str
    ) -> dict[str, str]:
        """HTML of all regions; ``said`` answers the last act, ``list_name`` stands in the field of the list."""
        paging = Paging(matches.triplets, self.page_size, state.page)
        tiles = [self._tile(int(place), state.crop) for place in paging.of(matches.places)]
        shared = {"state": state, "ticked": ticked, "matches": matches}
        return {
            "search": render("triplet_search.html.j2", sorts=self._sorts, **shared),
            "toggles": render("triplet_toggles.html.j2", facets=facets, bands=BANDS, roles=ROLES,
                              has_augmented=self.index.augmented_total > 0, **shared),
            "menus": self._menus(tuple(state.classes.get(role, "") for role in ROLES)),
            "chart": self._chart(state),
            "status": render("triplet_status.html.j2", note=blank_note(self.thumbnails), **shared),
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
        """The orders that this index can give: hardness and similarity only where they are known."""
        unknown = {"similarity"} if not self.index.augmented_total else set()
        unknown |= {"hardness", "ease"} if np.isnan(self.index["hardness"]).all() else set()
        return [(sort, text) for sort, text in SORT_TEXTS.items() if sort not in unknown]

    @cached_property
    def _menus(self) -> Callable[[tuple], str]:
        """The menus for classes chosen by role: thousands of options, made again only for another choice."""
        options = {}
        for role in ROLES:
            names, counts = self.index.vocabulary.names(role), self.index.counts.labels_of_role(role)
            by_name = sorted(enumerate(names), key=lambda numbered: numbered[1].casefold())
            options[role] = [(str(number), f"{name} ({counts[number]:,})") for number, name in by_name]

        def made(chosen: tuple) -> str:
            classes = dict(zip(ROLES, chosen, strict=True))
            return render("triplet_menus.html.j2", options=options, classes=classes, roles=ROLES)

        return lru_cache(maxsize=8)(made)

    def _chart(self, state: TripletState) -> str:
        bars, names = self._bars[state.chart], self.index.vocabulary.names(state.chart)
        # A logarithmic axis; a class without an example has no height.
        heights = 100 * np.log1p(bars["most_count"].to_numpy()) / np.log1p(max(int(bars["most_count"].max()), 1))
        drawn = [
            row | {"height": float(height), "text": _bar_text(row, names)}
            for row, height in zip(bars.to_dict("records"), heights, strict=True)
        ]
        groups = {band: int(bars.loc[bars["band"] == band, "classes"].map(len).sum()) for band in BANDS}
        return render("triplet_chart.html.j2", bars=drawn, groups=groups, roles=ROLES, state=state)

    def _tile(self, place: int, crop: bool) -> dict[str, Any]:
        examples, rows = self.index.examples(place), self.index.augmented_rows(place)
        origin = self._origin(int(rows[0])) if len(rows) and not len(examples) else None
        # Not always the first: an image often shows several triplets, and would be seen for each of them.
        shown = origin["source_row"] if origin else int(examples[place % len(examples)])
        return {
            "place": place,
            "caption": self.index.caption(place),
            "parts": self._parts(place),
            "count": int(self.index["count"][place]),
            "augmented": len(rows),
            "hardness": float(self.index["hardness"][place]),
            "origin": origin,
            "drawing": self._scene(shown, crop),
        }

    def _parts(self, place: int) -> list[dict[str, Any]]:
        """Name, band and training count of the three classes."""
        index = self.index
        return [
            {
                "role": role,
                "name": index.vocabulary.names(role)[number],
                "band": BANDS[int(index[f"{role}_band"][place])],
                "count": int(index.counts.of_role(role)[number]),
            }
            for role, number in zip(ROLES, index.triplets(place), strict=True)
        ]

    def _origin(self, row: int) -> dict[str, Any]:
        """Where an augmented row comes from: the training triplet, the replaced word, its similarity and path."""
        assert self.sources.augmented is not None  # the index has augmented rows, so its sources have them too
        vocabulary, augmented = self.index.vocabulary, self.sources.augmented.iloc[row]
        source_row, replaced = int(augmented["source_row"]), str(augmented["replaced"])
        source = self.sources.tables.relations.iloc[source_row]
        old, new = int(augmented["replaced_class"]), int(augmented[replaced])
        return {
            "source_row": source_row,
            "source": vocabulary.caption(*(int(source[role]) for role in ROLES)),
            "replaced": replaced,
            "old": vocabulary.objects[old],
            "new": vocabulary.objects[new],
            "similarity": float(augmented["similarity"]),
            "path": str(augmented["path"]),
            "band": str(augmented["band"]),
            "because": str(augmented["because"]),
        }

    def _detail(self, place: int, wanted: int) -> str:
        index, paging = self.index, self.examples_paging(place, wanted)
        examples, rows = index.examples(place), index.augmented_rows(place)
        near = nearest_triplets(index, place, self.sources.embeddings)
        origins = [self._origin(row) | {"seeds": self._seeds(row)} for row in map(int, paging.of(rows))]
        return render(
            "triplet_detail.html.j2", caption=index.caption(place),
            parts=[[part["role"], part["name"], part["band"], f"{part['count']:,}"] for part in self._parts(place)],
            examples=[self._scene(int(row)) for row in paging.of(examples)], count=len(examples), rows=len(rows),
            origins=[origin | {"drawing": self._scene(origin["source_row"])} for origin in origins],
            paging=paging.values(), hardness=float(index["hardness"][place]),
            near=[(int(at), index.caption(int(at)), row) for at, row in near.iterrows()],
        )  # fmt: skip

    def _seeds(self, augmented_row: int) -> list[tuple[str, Markup]]:
        """The boxes that the generated feature of an augmented row started from; none where it has none."""
        seeds = self.sources.seeds
        found = None if seeds is None else seeds[seeds["augmented_row"] == augmented_row]
        if found is None or found.empty:
            return []
        seed = found.iloc[0]
        scenes = scene_of_boxes(self.sources.tables, int(seed["subject_box"]), int(seed["object_box"]))
        drawings = (scene_svg(scene, self.thumbnails, crop=True, roles=()) for scene in scenes)
        return list(zip(("subject", "object"), drawings, strict=True))

    def _scene(self, row: int, crop: bool = False) -> Markup:
        return scene_svg(scene_of(self.sources.tables, row), self.thumbnails, crop=crop)


def nearest_triplets(
    index: TripletIndex, place: int, embeddings: np.ndarray | None = None, most: int = 5
) -> pd.DataFrame:
    """At most ``most`` training triplets that share two of the three classes with the one at ``place``.

    Ranked by the cosine of their caption embeddings, where ``embeddings`` (n, T) of all places are given (those of
    captions.parquet; only the rows needed are read), else by count. Columns subject, relation, object (class ids),
    count, similarity (cosine, nan without embeddings); the index is the place.
    """
    equal = np.stack([index[role] == own for role, own in zip(ROLES, index.triplets(place), strict=True)])  # (3, n)
    found = np.flatnonzero((equal.sum(axis=0) == 2) & (index["count"] > 0))
    similarity = np.full(len(found), np.nan)
    if embeddings is not None:
        if len(embeddings) != len(index):
            raise WorkbenchError(
                f"{index.folder}: {len(index):,} triplets but {len(embeddings):,} caption embeddings. "
                "Give the embeddings of the stage triplets that the index was built from."
            )
        own, others = (np.asarray(embeddings[at], dtype=np.float64) for at in (place, found))
        lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(own)
        np.divide(others @ own, lengths, out=similarity, where=lengths > 0)
    count = index["count"][found]
    best = np.lexsort((found, -count, -np.nan_to_num(similarity, nan=-np.inf)))[:most]
    table = dict(zip(ROLES, index.triplets(found[best]).T, strict=True))
    table |= {"count": count[best], "similarity": similarity[best]}
    return pd.DataFrame(table, index=pd.Index(found[best], name="place"))


def class_bars(counts: Counts, role: str, most: int = MOST_BARS) -> pd.DataFrame:
    """The rank-frequency chart of a role's classes as at most ``most`` bars, from the most to the least frequent.

    A bar is one class while there are at most ``most``; else it holds ranks that grow geometrically and stay within one
    band. Columns first_rank, last_rank (1-based, inclusive), classes (tuple of class ids by rank), band, most_count,
    fewest_count (of the counts that rank classes, ``Counts.of_role``). WorkbenchError for ``most`` below 4.
    """
    if most < LEAST_BARS:
        raise WorkbenchError(f"{most} bars were asked for; expected {LEAST_BARS} or more.")
    occurrences = np.asarray(counts.of_role(role))
    classes = len(occurrences)
    by_rank = np.argsort(-occurrences, kind="stable")
    band = band_of_class(occurrences)[by_rank]
    borders = [*(np.flatnonzero(band[1:] != band[:-1]) + 1).tolist(), classes]
    edges, finest = np.arange(classes + 1), 4 * most
    while len(edges) > most + 1:  # the finest bins that are few enough, each within one band
        edges = np.unique([0, *borders, *np.geomspace(1, classes, finest).astype(int)])
        finest -= 1
    bars = [
        {
            "first_rank": first + 1,
            "last_rank": stop,
            "classes": tuple(by_rank[first:stop].tolist()),
            "band": str(band[first]),
            "most_count": int(occurrences[by_rank[first]]),
            "fewest_count": int(occurrences[by_rank[stop - 1]]),
        }
        for first, stop in itertools.pairwise(edges.tolist())
    ]
    return pd.DataFrame(bars)


def _bar_text(bar: dict[str, Any], names: Sequence[str]) -> str:
    """A bar in words: its ranks, a few of its classes, and how often they occur."""
    first, last = bar["first_rank"], bar["last_rank"]
    ranks = f"rank {first:,}" if first == last else f"ranks {first:,} to {last:,}"
    shown = ", ".join(names[number] for number in bar["classes"][:NAMES_IN_A_BAR])
    more = ", …" if len(bar["classes"]) > NAMES_IN_A_BAR else ""
    most, fewest = bar["most_count"], bar["fewest_count"]
    counts = f"{most:,}" if most == fewest else f"{most:,} to {fewest:,}"
    return f"{ranks}: {shown}{more}; {counts} in train"
