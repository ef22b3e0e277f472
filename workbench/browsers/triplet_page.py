"""One triplet as HTML: a tile of the grid, or all that is known of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.browsers.drawing import Thumbnails, scene_of, scene_of_box, scene_svg
from workbench.browsers.panel import Paging, render
from workbench.browsers.replacements import Replacements, meanings
from workbench.browsers.triplet_index import TripletIndex
from workbench.browsers.triplet_search import TripletState, nearest_triplets
from workbench.scenes.bands import BANDS
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES

EXAMPLES_PER_PAGE = 4
TEMPLATE = "triplets.html.j2"


@dataclass(frozen=True)
class TripletSources:
    """What a triplet's images, neighbours and origin are read from, as far as it is there.

    ``tables``: the training split. ``augmented`` and ``embeddings``: augmented.parquet and caption embeddings of the
    stage ``triplets`` that the index was made from, ``senses`` its table of what names meant. ``seeds``:
    generated.parquet of the stage ``generated``, whose columns augmented_row, subject_box and object_box name boxes
    that were drawn for a generated row; ``init`` says where its sampling began (as in SamplingConfig).
    """

    tables: RelationTables
    augmented: pd.DataFrame | None = None
    embeddings: np.ndarray | None = None
    seeds: pd.DataFrame | None = None
    senses: pd.DataFrame | None = None
    init: str = "subject-object"


@dataclass(frozen=True, eq=False)
class TripletPage:
    """Shows triplets of ``index`` by their place in it."""

    index: TripletIndex
    sources: TripletSources
    thumbnails: Thumbnails

    @cached_property
    def replacements(self) -> Replacements:
        """What was replaced in the augmented rows."""
        return Replacements.of(self.index, self.sources.augmented)

    def tile(self, place: int, crop: bool) -> dict[str, Any]:
        """What the grid shows of a triplet; ``crop``: the union region alone."""
        examples, rows = self.index.examples[place], self.index.augmented[place]
        origin = self._origin(int(rows[0])) if len(rows) and not len(examples) else None
        # Not always the first: an image often shows several triplets, and would be seen for each of them.
        shown = origin["source_row"] if origin else int(examples[place % len(examples)])
        return self._facts(place) | {"place": place, "origin": origin, "drawing": self._scene(shown, crop)}

    def detail(self, state: TripletState) -> str:
        """All that is known of the open triplet, with a page of its examples and origins."""
        assert state.opened is not None
        place, paging = state.opened, self.paging(state)
        near = nearest_triplets(self.index, place, self.sources.embeddings)
        origins = []
        for row in map(int, paging.of(self.index.augmented[place])):
            origin = self._origin(row)
            pair = (int(origin["replaced_class"]), int(origin[origin["replaced"]]))
            origin |= {"never": pair, "rows": self.replacements.rows(*pair), "seeds": self._seeds(row)}
            origins.append(origin | {"drawing": self._scene(origin["source_row"])})
        ends = {own: self.index.vocabulary.objects[own] for origin in origins for own in origin["never"]}
        return render(
            TEMPLATE, part="detail", state=state, paging=paging, origins=origins, ends=ends, init=self.sources.init,
            meanings=self._meanings(state) if state.meant in ends else None, **self._facts(place),
            examples=[self._scene(int(row)) for row in paging.of(self.index.examples[place])],
            near=[(int(at), self.index.caption(int(at)), row) for at, row in near.iterrows()],
        )  # fmt: skip

    def _meanings(self, state: TripletState) -> list[dict[str, Any]]:
        """The senses of the class that is open."""
        senses, name = self.sources.senses, self.index.vocabulary.objects[state.meant or 0]
        return [] if senses is None else meanings(name, senses, state.senses)

    def paging(self, state: TripletState) -> Paging:
        """The pages of the open triplet's examples and augmented rows, which are turned together."""
        assert state.opened is not None
        rows = max(len(self.index.examples[state.opened]), len(self.index.augmented[state.opened]))
        return Paging(rows, EXAMPLES_PER_PAGE, state.examples_page)

    def _facts(self, place: int) -> dict[str, Any]:
        """Caption, numbers, and name, band and training count of the three classes."""
        index, parts = self.index, []
        for role, number in zip(ROLES, index.triplets(place).tolist(), strict=True):
            band, count = BANDS[index[f"{role}_band"][place]], int(index.counts.of_role(role)[number])
            parts.append({"role": role, "name": index.vocabulary.names(role)[number], "band": band, "count": count})
        numbers = {name: index[name][place].item() for name in ("count", "augmented", "hardness")}
        return {"caption": index.caption(place), "parts": parts} | numbers

    def _origin(self, row: int) -> dict[str, Any]:
        """Where an augmented row comes from: the training triplet, the replaced word, its similarity and path."""
        assert self.sources.augmented is not None  # the index has augmented rows, so its sources have them too
        vocabulary, augmented = self.index.vocabulary, self.sources.augmented.iloc[row]
        source = self.sources.tables.relations[list(ROLES)].iloc[augmented["source_row"]]
        return {
            **augmented,
            "source": vocabulary.caption(*source),
            "old": vocabulary.objects[augmented["replaced_class"]],
            "new": vocabulary.objects[augmented[augmented["replaced"]]],
        }

    def _seeds(self, augmented_row: int) -> list[tuple[str, Markup]]:
        """The boxes that were drawn for the generated feature of an augmented row; none where it has none."""
        if (seeds := self.sources.seeds) is None:
            return []
        found = seeds[seeds["augmented_row"] == augmented_row][:1]
        boxes = [(role, box) for role in ("subject", "object") for box in found[f"{role}_box"]]
        scenes = [(role, scene_of_box(self.sources.tables, box)) for role, box in boxes]
        return [(role, scene_svg(scene, self.thumbnails, crop=True, roles=())) for role, scene in scenes]

    def _scene(self, row: int, crop: bool = False) -> Markup:
        return scene_svg(scene_of(self.sources.tables, row), self.thumbnails, crop=crop)
