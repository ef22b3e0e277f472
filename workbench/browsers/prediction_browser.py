"""Two recognisers side by side on test images: what was fixed, what was broken, and who takes whose rows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.drawing import scene_of, scene_svg, sheet_html
from workbench.browsers.panel import Browser, Paging, numbers, render
from workbench.browsers.predictions import (
    ALL,
    ANY,
    OUTCOMES,
    PLACES,
    RIGHT,
    ROLE_CHOICES,
    SORT_CHOICES,
    UNFILTERED,
    WHAT_CHOICES,
    PredictionPair,
    Predictions,
    PredictionState,
)
from workbench.regions.features import FeatureStore
from workbench.scenes.bands import BANDS, Counts, band_of_class, band_places
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary

PAIRS_KEPT = 4  # at most 30 MB each at 450,000 test rows
TILES_A_PAGE = 6
CLASSES_A_PAGE = 10
MOST_COLUMNS = 8
SHADES_FROM = (0.0, 0.05, 0.15, 0.30)  # of the share of a row that a cell gains or loses
_TEMPLATE = "predictions.html.j2"


class PredictionBrowser(Browser):
    """Test images with the predictions of two recognisers (the paper's Figure 2), and their confusions.

    ``tables``: the test split; ``counts``: of train; ``predictions``: title to the folder of an evaluation of that
    split, read when first chosen; ``before`` and ``after``: the titles to start with; ``images``: their folder,
    or None. Bands are those over all classes. ``seed`` draws the random order. WorkbenchError where predictions belong
    to another split or vocabulary, or where two recognisers have different rows.
    """

    state: PredictionState
    kind = "predictions"

    def __init__(
        self,
        tables: RelationTables | FeatureStore,
        vocabulary: Vocabulary,
        counts: Counts,
        predictions: Mapping[str, Path],
        *,
        images: Path | None,
        before: str,
        after: str,
        seed: int = 0,
    ):
        super().__init__(render(_TEMPLATE, part="frame"), images)
        self.tables, self.vocabulary, self.counts, self.seed = tables, vocabulary, counts, seed
        self.bands = {role: band_places(band_of_class(counts.of_role(role))) for role in ROLES}
        self.titles = tuple(predictions)
        read = lru_cache(maxsize=None)(lambda title: Predictions.read(predictions[title], tables, vocabulary))
        self._pair_of = lru_cache(maxsize=PAIRS_KEPT)(
            lambda before, after: PredictionPair(read(before), read(after), self.bands)
        )
        self.state = PredictionState(before, after)
        self.change(before=before, after=after)

    @property
    def pair(self) -> PredictionPair:
        """What the two chosen recognisers predict."""
        return self._pair_of(self.state.before, self.state.after)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names of the role that bands, menus and confusions are about."""
        return self.vocabulary.names(self.state.class_role)

    @property
    def selection(self) -> pd.DataFrame:
        """The test rows that match, in the order shown.

        Columns: row (of the relations table) and for each role ``subject``, ``subject_before``, ``subject_after``
        (class names, categorical), ``subject_correct_before``, ``subject_correct_after`` (bool).
        """
        pair, positions = self.pair, self._positions()
        columns: dict[str, Any] = {"row": pair.rows[positions]}
        for role in ROLES:
            names = list(self.vocabulary.names(role))
            ids = {"": pair.truth[role], "_before": pair.before.best[role][:, 0], "_after": pair.after.best[role][:, 0]}
            for suffix, own in ids.items():
                columns[f"{role}{suffix}"] = pd.Categorical.from_codes(own[positions], categories=names)
            columns |= {f"{role}_correct_{when}": pair.among(role, right)[positions] for when, right in RIGHT.items()}
        return pd.DataFrame(columns)

    def shown(self) -> pd.DataFrame:
        """The test rows that match."""
        return self.selection

    def change(self, **changes: Any) -> None:
        """Take over ``changes`` of the state (`PredictionState.changed`)."""
        state = self.state.changed(self.vocabulary, self.titles, **changes)
        self._pair_of(state.before, state.after)  # may refuse, and then the state stays
        self.state = state

    def acts(self, value: str) -> Mapping[str, Callable[[], dict[str, Any] | None]]:
        """What each event changes."""
        state, cell = self.state, lambda: numbers("cell", value, 2) if value else None
        classes = lambda: Paging(len(self._confused_classes()), CLASSES_A_PAGE, state.confusion_page)  # noqa: E731
        return {
            **{name: partial(dict, {name: value}) for name in ("before", "after", "role", "what", "sort")},
            "band": lambda: {"bands": set(state.bands) ^ {value}},
            "true_class": lambda: {"true_class": numbers("true_class", value)[0] if value else None},
            "cell": lambda: {"cell": None if cell() == state.cell else cell()},
            "compact": lambda: {"compact": value == "true"},
            "page": lambda: {"page": Paging(len(self._positions()), TILES_A_PAGE, state.page).turned(value)},
            "confusion_page": lambda: {"confusion_page": classes().turned(value)},
            "clear": lambda: UNFILTERED,
        }

    def regions(self) -> dict[str, str]:
        """The HTML of every region; what the last change did not touch is taken from before."""
        filters, confused = self._filters, replace(self.state, what=ALL, sort="random", page=1, compact=False)
        left = self.keep("left", filters, lambda: self.pair.filter_counts(self.state))
        return {
            "controls": self._part(
                "controls", counts=left, titles=[(title, title) for title in self.titles], roles=ROLE_CHOICES,
                what=WHAT_CHOICES, bands=BANDS, sorts=list(SORT_CHOICES.items()), any=ANY,
            ),
            "classes": self.keep("classes", filters, lambda: self._classes(left["classes"])),
            "grid": self._grid(self._positions()),
            "confusion": self.keep("confusion", confused, self._confusion),
            "counts": self._counts(),
        }  # fmt: skip

    def view(self) -> str:
        """The static twin: counts, a page of tiles, and confusions.

        Without a filter the tiles are drawn by the seed, half from the rows fixed in at least one role (and broken in
        none) and half from those broken; with filters they are the page that is shown.
        """
        if self.state.filtered:
            positions, heading = self._positions(), f"Test rows with {self._filters_text()}."
        else:
            positions, heading = self._changed()
        parts = (self._counts(), self._grid(positions, live=False, heading=heading), self._confusion(live=False))
        return sheet_html("".join(parts), self.thumbnails)

    def pictures(self) -> str:
        """The drawn tiles of the static twin alone, with the most probable classes; "" where nothing has changed."""
        (positions, heading), before = self._changed(), self.state
        self.state = replace(before, compact=True)
        grid = self._grid(positions, live=False, heading=heading)
        self.state = before
        return sheet_html(grid, self.thumbnails) if len(positions) else ""

    def _changed(self) -> tuple[np.ndarray, str]:
        """The rows that are drawn by the seed, and what they are."""
        heading = "Drawn at random: first rows fixed in at least one role, then rows broken in at least one."
        return self.pair.changed_rows(TILES_A_PAGE, self.seed), heading

    def _part(self, part: str, **values: Any) -> str:
        return render(_TEMPLATE, part=part, state=self.state, **values)

    def _positions(self) -> np.ndarray:
        """The positions (m,) of the rows that match, in order."""
        state, role = self.state, self.state.class_role
        order = self.keep(
            "order",
            (state.before, state.after, state.sort, role),
            lambda: self.pair.order(state.sort, role, self.counts, self.seed),
        )
        return self.keep("positions", self._filters, lambda: order[self.pair.matching(state)[order]])

    @property
    def _filters(self) -> PredictionState:
        """The state without what leaves the matches as they are: pages of the grid and of the classes."""
        return replace(self.state, page=1, confusion_page=1, compact=False)

    def _classes(self, left: np.ndarray) -> str:
        """The menu of true classes that rows are ``left`` (C,) of, most frequent first, and the filters as chips."""
        shown = [own for own in np.argsort(-left, kind="stable").tolist() if left[own] or own == self.state.true_class]
        options = [("", "all classes"), *((own, f"{self.names[own]} ({left[own]:,})") for own in shown)]
        return self._part("classes", options=options, chosen=self._chosen_texts())

    def _chosen_texts(self) -> list[tuple[str, str]]:
        """The chosen class and cell in words, as (event that removes it, text)."""
        state, texts = self.state, []
        if state.true_class is not None:
            texts.append(("true_class", f"{state.class_role}: {self.names[state.true_class]}"))
        if state.cell is not None:
            true, given = (self.names[own] for own in state.cell)
            taken = f"{true} recognised" if true == given else f"{true} taken for {given}"
            of_class = self.pair.truth[state.class_role] == state.cell[0]
            best = (one.best[state.class_role][:, 0] for one in (self.pair.before, self.pair.after))
            first, second = (of_class & (given == state.cell[1]) for given in best)
            told = f"{first.sum():,} of {of_class.sum():,} rows before, {second.sum():,} after"
            texts.append(("cell", f"{taken}: {told}, {(first | second).sum():,} before or after"))
        return texts

    def _filters_text(self) -> str:
        """All filters in one line, for a page without controls."""
        state = self.state
        what = [] if (state.role, state.what) == (ANY, ALL) else [f"{state.role} role: {WHAT_CHOICES[state.what][0]}"]
        bands = [f"band of the {state.class_role}: {', '.join(state.bands)}"] if state.bands else []
        return "; ".join([*what, *bands, *(text for _, text in self._chosen_texts())])

    def _counts(self) -> str:
        """The table of what happened in each role, over all rows."""
        kinds = [(f"right {when}", right) for when, right in RIGHT.items()]
        kinds += [WHAT_CHOICES[what] for what in ("fixed", "broken", "changed", "wrong in both", "unchanged")]
        rows = [[role, *(f"{self.pair.among(role, wanted).sum():,}" for _, wanted in kinds)] for role in ROLES]
        columns = ["role", *(text for text, _ in kinds)]
        return self._part("counts", columns=columns, rows=rows, total=len(self.pair))

    def _grid(self, positions: np.ndarray, *, live: bool = True, heading: str = "") -> str:
        """The tiles of the page of ``positions`` (m,)."""
        paging = Paging(len(positions), TILES_A_PAGE, self.state.page)
        tiles = []
        for position in paging.of(positions).tolist():
            scene = scene_of(self.tables, int(self.pair.rows[position]))
            tiles.append((scene_svg(scene, self.thumbnails), self._roles(position)))
        note = self.thumbnails.note()
        return self._part("grid", note=note, live=live, heading=heading, tiles=tiles, paging=paging)

    def _roles(self, position: int) -> list[dict[str, Any]]:
        """For each role of a tile its class, what happened, and the most probable classes before and after."""
        pair, roles, most = self.pair, [], 1 if self.state.compact else PLACES
        for role in ROLES:
            names, true, columns = self.vocabulary.names(role), int(pair.truth[role][position]), []
            for when, side in (("before", pair.before), ("after", pair.after)):
                best = zip(side.best[role][position, :most], side.probability[role][position, :most], strict=True)
                columns.append((when, [(names[own], share, own == true) for own, share in best if own >= 0]))
            roles.append({
                "role": role, "name": names[true], "train_count": int(self.counts.of_role(role)[true]),
                "outcome": OUTCOMES[pair.outcome[role][position]], "columns": columns,
            })  # fmt: skip
        return roles

    def _confused_classes(self) -> np.ndarray:
        """The true classes that the confusions are about, the rarest band first, of one band by test rows."""
        state, role = self.state, self.state.class_role
        classes, rows = np.unique(self.pair.truth[role], return_counts=True)
        bands = self.bands[role][classes]
        fits = np.isin(BANDS, state.bands or BANDS)[bands]
        if state.true_class is not None:
            fits &= classes == state.true_class
        order = np.lexsort((-rows, -bands))
        return classes[order][fits[order]]

    def _confusion(self, live: bool = True) -> str:
        """A page of the confusion matrix with the columns that take most, and for one class who takes its rows."""
        state, role, classes = self.state, self.state.class_role, self._confused_classes()
        if not len(classes):
            return self._part("confusion", live=live, lines=None)
        paging = Paging(len(classes), CLASSES_A_PAGE, state.confusion_page)
        here, lines = paging.of(classes), []
        counts = self.pair.confusions(role, here)
        columns = largest_columns(counts)
        for at, true in enumerate(here.tolist()):
            rows, shown = int(counts[0, at].sum()), counts[:, at, columns]
            gained = (shown[1] - shown[0]) / rows
            shades = np.searchsorted(SHADES_FROM, abs(gained)) * np.sign(gained).astype(int)
            lines.append(
                (true, rows, list(zip(columns, *shown.tolist(), shades, strict=True)), rows - shown.sum(axis=1))
            )
        return self._part(
            "confusion", live=live, lines=lines, columns=columns, paging=paging, takers=self._takers(classes),
            names=self.names, band_of=[BANDS[place] for place in self.bands[role]],
        )  # fmt: skip

    def _takers(self, classes: np.ndarray) -> dict[str, Any] | None:
        """Who takes the rows of the chosen class, or of the class of the chosen cell."""
        focus = self.state.true_class if self.state.cell is None else self.state.cell[0]
        if focus is None or focus not in classes:
            return None
        counts = self.pair.confusions(self.state.class_role, np.array([focus]))
        bars = [(self.names[given], given == focus, *counts[:, 0, given].tolist()) for given in largest_columns(counts)]
        return {"name": self.names[focus], "rows": int(counts[0].sum()), "bars": bars}


def largest_columns(counts: np.ndarray) -> list[int]:
    """The columns of confusions (2, r, C) that take rows, at most MOST_COLUMNS, those that take most of both first."""
    taken = counts.sum(axis=(0, 1))
    return [given for given in np.argsort(-taken, kind="stable")[:MOST_COLUMNS].tolist() if taken[given]]
