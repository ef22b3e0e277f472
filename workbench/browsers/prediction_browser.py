"""Two recognisers side by side on test images: what was fixed, what was broken, and who takes whose rows."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import astuple, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers import prediction_page as page
from workbench.browsers.drawing import Thumbnails
from workbench.browsers.panel import Shown, sheet_html
from workbench.browsers.prediction_pair import (
    PredictionPair,
    Predictions,
    PredictionState,
    class_bands,
    filter_counts,
    matching,
    row_order,
)
from workbench.browsers.widgets import Paging
from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.regions.features import FeatureStore
from workbench.scenes.bands import Counts
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary

PAIRS_KEPT = 4  # at most 30 MB each at 450,000 test rows
_PLAIN = ("before", "after", "role", "what", "sort")


class PredictionBrowser(Shown):
    """Test images with the predictions of two recognisers (the paper's Figure 2), and their confusions.

    ``tables``: the test split; ``counts``: of train; ``predictions``: title to the folder of an evaluation of that
    split, read when first chosen; ``before`` and ``after``: the titles to start with; ``images``: their folder,
    or None. Bands are those over all classes. ``seed`` draws the random order. WorkbenchError where predictions belong
    to another split or vocabulary, or where two recognisers have different rows.
    """

    def __init__(
        self,
        tables: RelationTables | FeatureStore,
        vocabulary: Vocabulary,
        counts: Counts,
        predictions: Mapping[str, Any],
        *,
        images: Path | None,
        before: str,
        after: str,
        seed: int = 0,
    ):
        self.thumbnails = Thumbnails(images)
        self.frame = page.frame_html()
        self._split = page.PredictedSplit(tables, vocabulary, counts, class_bands(counts, vocabulary), self.thumbnails)
        self._folders = {title: Path(folder) for title, folder in predictions.items()}
        self._seed = seed
        self._predictions = lru_cache(maxsize=None)(self._read)
        self._compared = lru_cache(maxsize=PAIRS_KEPT)(self._compare)
        self._kept: dict[str, tuple[Hashable, Any]] = {}
        self._state = PredictionState(before, after)
        self._change(before=before, after=after)

    @property
    def state(self) -> PredictionState:
        """What is chosen now."""
        return self._state

    @property
    def selection(self) -> pd.DataFrame:
        """The test rows that match, in the order shown.

        Columns: row (of the relations table) and for each role ``subject``, ``subject_before``, ``subject_after``
        (class names, categorical), ``subject_correct_before``, ``subject_correct_after`` (bool).
        """
        pair, positions = self._pair, self._positions()
        columns: dict[str, Any] = {"row": pair.rows[positions]}
        for role in ROLES:
            names = list(self._split.vocabulary.names(role))
            ids = {"": pair.truth, "_before": pair.before.predicted, "_after": pair.after.predicted}
            columns |= {
                f"{role}{suffix}": pd.Categorical.from_codes(values[role][positions], categories=names)
                for suffix, values in ids.items()
            }
            columns |= {f"{role}_correct_before": pair.was[role][positions],
                        f"{role}_correct_after": pair.now[role][positions]}  # fmt: skip
        return pd.DataFrame(columns)

    def set(self, **changes: Any) -> None:
        """Choose as a user does: any of the names in `PredictionState`; WorkbenchError for a name or value unknown.

        Classes may be given by name: ``browser.set(role="relation", what="fixed", true_class="riding")``.
        """
        self._change(**changes)
        self.shown_again()

    def handle(self, event: str, value: str | None) -> None:
        """One act of the user; WorkbenchError for one that is not known."""
        state = self._state
        if event in _PLAIN:
            self._change(**{event: value})
        elif event == "band":
            self._change(bands=tuple(set(state.bands) ^ {value}))
        elif event == "true_class":
            self._change(true_class=_ids(event, value, 1)[0] if value else None)
        elif event == "cell":
            cell = _ids(event, value, 2) if value else None
            self._change(cell=None if cell == state.cell else cell)
        elif event == "compact":
            self._change(compact=value == "true")
        elif event == "page":
            self._change(page=Paging(len(self._positions()), page.TILES_A_PAGE, state.page).turned(value))
        elif event == "confusion_page":
            classes = page.confused_classes(self._split, self._pair, state)
            self._change(confusion_page=Paging(len(classes), page.CLASSES_A_PAGE, state.confusion_page).turned(value))
        elif event == "clear":
            self._state = state.unfiltered()
        else:
            raise WorkbenchError(f"the PredictionBrowser knows no event {event!r}. Reload the notebook's page.")

    def regions(self) -> dict[str, str]:
        """The HTML of every region; what the last change did not touch is taken from before."""
        state, pair, split = self._state, self._pair, self._split
        # A page of the grid or of the classes changes neither the filters nor their counts.
        choices = astuple(replace(state, page=1, confusion_page=1))
        confused = astuple(replace(state, what="all", sort="random", page=1, compact=False))
        n_classes = len(split.vocabulary.names(state.class_role))

        def counts() -> Any:
            return self._keep("left", choices, lambda: filter_counts(pair, state, n_classes))

        titles = list(self._folders)
        return {
            "controls": self._keep("controls", choices, lambda: page.controls_html(state, titles, counts())),
            "classes": self._keep("classes", choices, lambda: page.classes_html(split, state, counts()["classes"])),
            "grid": page.grid_html(split, pair, state, self._positions()),
            "confusion": self._keep("confusion", confused, lambda: page.confusion_html(split, pair, state)),
            "counts": self._keep("counts", (state.before, state.after), lambda: page.counts_html(pair, state)),
        }

    def view(self) -> str:
        """The static twin: counts, a page of tiles, and confusions.

        Without a filter the tiles are drawn by the seed, half from the rows fixed in at least one role (and broken in
        none) and half from those broken; with filters they are the page that is shown.
        """
        state, pair, split = self._state, self._pair, self._split
        if state.filtered:
            positions, heading = self._positions(), f"Test rows with {page.filters_text(split, state)}."
        else:
            was, now = (np.stack([flags[role] for role in ROLES], axis=1) for flags in (pair.was, pair.now))
            positions = changed_rows(was, now, most=page.TILES_A_PAGE, seed=self._seed)
            state = replace(state, page=1)
            heading = "Drawn at random: first rows fixed in at least one role, then rows broken in at least one."
        return sheet_html(
            page.counts_html(pair, state)
            + page.grid_html(split, pair, state, positions, live=False, heading=heading)
            + page.confusion_html(split, pair, state, live=False),
            self.thumbnails,
        )

    @property
    def _pair(self) -> PredictionPair:
        return self._compared(self._state.before, self._state.after)

    def _change(self, **changes: Any) -> None:
        state = self._state.changed(self._split.vocabulary, self._folders, **changes)
        self._compared(state.before, state.after)  # may refuse, and then the state stays
        self._state = state

    def _positions(self) -> np.ndarray:
        state = self._state
        pair, role, counts = self._pair, state.class_role, self._split.counts

        def positions() -> np.ndarray:
            order = self._keep("order", order_key, lambda: row_order(pair, state.sort, role, counts, self._seed))
            return order[matching(pair, state)[order]]

        order_key = (state.before, state.after, state.sort, role)
        return self._keep("positions", astuple(replace(state, page=1, confusion_page=1, compact=False)), positions)

    def _keep(self, name: str, key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make`` returns, or what it returned last time where the key is the same."""
        if name not in self._kept or self._kept[name][0] != key:
            self._kept[name] = (key, make())
        return self._kept[name][1]

    def _read(self, title: str) -> Predictions:
        return Predictions(self._folders[title], self._split.tables, self._split.vocabulary)

    def _compare(self, before: str, after: str) -> PredictionPair:
        return PredictionPair(self._predictions(before), self._predictions(after), self._split.bands)


def _ids(event: str, value: str, number: int) -> tuple[int, ...]:
    parts = value.split(",")
    if len(parts) != number or not all(part.isascii() and part.isdigit() for part in parts):
        raise WorkbenchError(f"{event} {value!r} is not known; expected {number} class numbers. Reload the page.")
    return tuple(int(part) for part in parts)


def changed_rows(was: np.ndarray, now: np.ndarray, *, most: int, seed: int) -> np.ndarray:
    """At most ``most`` positions drawn by ``seed``, half fixed and half broken in at least one role (the fixed first).

    ``was`` and ``now`` (n, 3) bool: right before and after, by role. A row that is both is neither.
    """
    better, worse = (~was & now).any(axis=1), (was & ~now).any(axis=1)
    fixed, broken = np.flatnonzero(better & ~worse), np.flatnonzero(worse & ~better)
    half = most // 2
    draw = generator(seed, "changed predictions")
    return np.concatenate([draw.permutation(fixed)[: most - half], draw.permutation(broken)[:half]])
