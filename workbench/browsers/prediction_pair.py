"""What two recognisers predict for the same test rows, and which rows match what a person has chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.widgets import class_id, require_fields, require_one_of
from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.regions.features import FeatureStore
from workbench.scenes.bands import BANDS, Counts, band_of_class, band_places
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary

PLACES = 5  # the most probable classes that an evaluation keeps
ANY, ALL = "any", "all"
ROLE_CHOICES = (ANY, *ROLES)
# What happened to a prediction, as people read it; "wrong" is wrong after, "changed" from one wrong class to another.
WHAT_CHOICES = {
    ALL: "all",
    "wrong": "wrong after",
    "fixed": "fixed",
    "broken": "broken",
    "changed": "wrong to wrong",
    "wrong in both": "wrong in both",
    "unchanged": "unchanged",
}
SORT_CHOICES = {"random": "random", "surest": "surest first (after)", "rarest": "rarest class first"}
EVALUATE_AGAIN = "Evaluate the recogniser again with notebook 05."
OTHER_SPLIT = "The predictions belong to another split or vocabulary: choose an evaluation of this one."
_PAGES = ("page", "confusion_page")


def read_predictions(evaluation: Any, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The predictions of an evaluation stage, by row of the test store (columns: `recognition.prediction_table`).

    With ``columns`` only these and "row" are read. WorkbenchError where the file is missing, unreadable, or lacks one.
    """
    path = Path(evaluation) / "predictions.parquet"
    wanted = None if columns is None else list(dict.fromkeys(["row", *columns]))
    try:
        table = pd.read_parquet(path, columns=wanted)
    except FileNotFoundError as error:
        raise WorkbenchError(f"{path}: the file is missing. {EVALUATE_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path}: not a readable table of predictions ({error}). {EVALUATE_AGAIN}") from error
    return table.set_index("row", drop=False)


class Predictions:
    """One recogniser's predictions of a split, by ascending row of its relations table.

    ``rows`` (n,) int64; by role ``truth`` and ``predicted`` (n,) int32 class ids, ``probability`` (n,) float32 of the
    predicted class. WorkbenchError for rows or classes that the split or the vocabulary does not have.
    """

    def __init__(self, folder: Path, tables: RelationTables | FeatureStore, vocabulary: Vocabulary):
        self.folder = Path(folder)
        columns = [name for role in ROLES for name in (role, f"{role}_top1", f"{role}_probability1")]
        table = read_predictions(self.folder, columns).sort_index()
        self.rows = table["row"].to_numpy(dtype=np.int64)
        self.truth = {role: table[role].to_numpy(dtype=np.int32) for role in ROLES}
        self.predicted = {role: table[f"{role}_top1"].to_numpy(dtype=np.int32) for role in ROLES}
        self.probability = {role: table[f"{role}_probability1"].to_numpy(dtype=np.float32) for role in ROLES}
        self._require_rows(tables)
        for role in ROLES:
            self._require_classes(role, tables.relations[role].to_numpy()[self.rows], len(vocabulary.names(role)))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def best(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By role the most probable classes, (n, 5) ids (-1 where there are fewer), and their probabilities."""
        ids = {role: [f"{role}_top{place + 1}" for place in range(PLACES)] for role in ROLES}
        shares = {role: [f"{role}_probability{place + 1}" for place in range(PLACES)] for role in ROLES}
        wanted = [name for columns in (*ids.values(), *shares.values()) for name in columns]
        table = read_predictions(self.folder, wanted).sort_index()
        return {
            role: (table[ids[role]].to_numpy(dtype=np.int32), table[shares[role]].to_numpy(dtype=np.float32))
            for role in ROLES
        }

    def _require_rows(self, tables: RelationTables | FeatureStore) -> None:
        wrong = (self.rows < 0) | (self.rows >= len(tables)) | (np.diff(self.rows, prepend=-1) == 0)
        if wrong.any() or not len(self):
            first = f"predictions of row {self.rows[wrong][0]}" if len(self) else "no predictions"
            raise WorkbenchError(
                f"{self.folder}: {first}, expected each row once of {tables.folder}, which has rows 0 to "
                f"{len(tables) - 1}. {OTHER_SPLIT}"
            )

    def _require_classes(self, role: str, truth: np.ndarray, classes: int) -> None:
        predicted = self.predicted[role]
        wrong = (self.truth[role] != truth) | (predicted < 0) | (predicted >= classes)
        if wrong.any():
            at = int(wrong.argmax())
            raise WorkbenchError(
                f"{self.folder}: row {self.rows[at]} has the true {role} class {self.truth[role][at]} and is taken for "
                f"class {predicted[at]}; expected {truth[at]}, and a class from 0 to {classes - 1}. {OTHER_SPLIT}"
            )


class PredictionPair:
    """Two recognisers' predictions of equal rows, and what happened from the one to the other.

    ``happened[role][what]`` (n,) bool for the names of `change_masks`, and for the role "any" where it happened in at
    least one role; ``was`` and ``now`` (n,) bool by role; ``band[role]`` (n,) int8 places in BANDS of the true classes.
    WorkbenchError where the two do not have the same rows.
    """

    def __init__(self, before: Predictions, after: Predictions, class_bands: Mapping[str, np.ndarray]):
        if not np.array_equal(before.rows, after.rows):
            alone = np.setxor1d(before.rows, after.rows)[0]
            raise WorkbenchError(
                f"{before.folder} and {after.folder} predict different rows ({len(before):,} and {len(after):,}; row "
                f"{alone} is in one alone). Compare evaluations of one split, or evaluate both again with notebook 05."
            )
        self.before, self.after = before, after
        self.rows, self.truth = before.rows, before.truth
        self.was = {role: before.predicted[role] == self.truth[role] for role in ROLES}
        self.now = {role: after.predicted[role] == self.truth[role] for role in ROLES}
        self.happened = {
            role: change_masks(self.was[role], self.now[role], before.predicted[role] != after.predicted[role])
            for role in ROLES
        }
        by_role = [self.happened[role] for role in ROLES]
        self.happened[ANY] = {what: np.logical_or.reduce([masks[what] for masks in by_role]) for what in by_role[0]}
        self.band = {role: class_bands[role][self.truth[role]] for role in ROLES}

    def __len__(self) -> int:
        return len(self.rows)


def change_masks(was: np.ndarray, now: np.ndarray, moved: np.ndarray) -> dict[str, np.ndarray]:
    """What happened to predictions, by its name: bool arrays of the shape of the arguments.

    ``was`` and ``now``: right before and after; ``moved``: another class is predicted after.
    """
    return {
        "wrong": ~now,
        "fixed": ~was & now,
        "broken": was & ~now,
        "changed": moved & ~was & ~now,
        "wrong in both": ~was & ~now,
        "unchanged": ~moved,
    }


def class_bands(counts: Counts, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """By role the band of each class as its place in BANDS, (C,) int8."""
    bands = {}
    for role in ROLES:
        count, classes = counts.of_role(role), len(vocabulary.names(role))
        if len(count) != classes:
            raise WorkbenchError(
                f"train counts of {len(count)} classes for the role {role}, but the vocabulary has {classes}. "
                "Count the relations of the train split that the vocabulary belongs to."
            )
        bands[role] = band_places(band_of_class(count))
    return bands


@dataclass(frozen=True)
class PredictionState:
    """Two recognisers by title, the filters, the order, the pages (from 1), and whether only top-1 is shown.

    ``what`` is one of WHAT_CHOICES, of the role, or for the role "any" in at least one. Of "any", band, class and cell
    mean the relation. ``bands``: those switched on, none means all. ``true_class``: an id. ``cell`` (true, given): rows
    of the true class that either recogniser took for the given one.
    """

    before: str
    after: str
    role: str = ANY
    what: str = ALL
    bands: tuple[str, ...] = ()
    true_class: int | None = None
    cell: tuple[int, int] | None = None
    sort: str = "random"
    page: int = 1
    confusion_page: int = 1
    compact: bool = False

    @property
    def class_role(self) -> str:
        """The role whose classes bands, menus and confusions are about."""
        return "relation" if self.role == ANY else self.role

    @property
    def filtered(self) -> bool:
        """Whether any filter is set."""
        return self != replace(self.unfiltered(), page=self.page, confusion_page=self.confusion_page)

    def unfiltered(self) -> "PredictionState":
        """The same recognisers and order without a filter, on the first page."""
        return PredictionState(self.before, self.after, sort=self.sort, compact=self.compact)

    def in_role(self, role: str) -> "PredictionState":
        """The state in another role, without class and cell unless they stay what they are."""
        new = replace(self, role=role)
        return new if new.class_role == self.class_role else replace(new, true_class=None, cell=None)

    def changed(self, vocabulary: Vocabulary, titles: Iterable[str], /, **changes: Any) -> "PredictionState":
        """The state with ``changes``; WorkbenchError for a name or value unknown.

        Classes may be given by name. Another role drops the class and the cell, another class a cell of a third one;
        a change of the rows that match starts at page 1 again.
        """
        require_fields("the PredictionBrowser", changes, PredictionState)
        choices = {"before": titles, "after": titles, "role": ROLE_CHOICES, "what": WHAT_CHOICES, "sort": SORT_CHOICES}
        for name in choices.keys() & changes.keys():
            require_one_of(name, changes[name], choices[name])
        new = replace(self.in_role(changes.get("role", self.role)), **changes)._with_ids(vocabulary)
        if new.cell is not None and new.true_class not in (None, new.cell[0]) and "cell" not in changes:
            new = replace(new, cell=None)
        back: set[str] = set() if changes.keys() <= {*_PAGES, "compact"} else set(_PAGES) - changes.keys()
        if changes.keys() <= {"cell", "what", "sort"}:  # none of them changes the confusions
            back -= {"confusion_page"}
        first: dict[str, Any] = dict.fromkeys(back, 1)
        return replace(new, **first)

    def _with_ids(self, vocabulary: Vocabulary) -> "PredictionState":
        for band in self.bands:
            require_one_of("band", band, BANDS)
        for name, kind in (("page", int), ("confusion_page", int), ("compact", bool)):
            if not isinstance(getattr(self, name), kind):
                raise WorkbenchError(f"{name} {getattr(self, name)!r} is not known; expected {kind.__name__}.")
        if self.cell is not None and len(self.cell) != 2:
            raise WorkbenchError(f"cell {self.cell!r} is not known; expected a true class and what it was taken for.")
        cell = [class_id(vocabulary, self.class_role, value) for value in self.cell or ()]
        chosen = None if self.true_class is None else class_id(vocabulary, self.class_role, self.true_class)
        bands = tuple(band for band in BANDS if band in self.bands)
        return replace(self, bands=bands, true_class=chosen, cell=(cell[0], cell[1]) if cell else None)


def matching(pair: PredictionPair, state: PredictionState, *, without: tuple[str, ...] = ()) -> np.ndarray:
    """Which rows match, (n,) bool; filters named in ``without`` ("what", "bands", "true_class", "cell") are ignored."""
    role, mask = state.class_role, np.ones(len(pair), dtype=bool)
    if state.what != ALL and "what" not in without:
        mask &= pair.happened[state.role][state.what]
    if state.bands and "bands" not in without:
        mask &= np.isin(np.arange(len(BANDS)), [BANDS.index(band) for band in state.bands])[pair.band[role]]
    if state.true_class is not None and "true_class" not in without:
        mask &= pair.truth[role] == state.true_class
    if state.cell is not None and "cell" not in without:
        true, given = state.cell
        mask &= pair.truth[role] == true
        mask &= (pair.before.predicted[role] == given) | (pair.after.predicted[role] == given)
    return mask


def filter_counts(pair: PredictionPair, state: PredictionState, classes: int) -> dict[str, Any]:
    """Rows that each choice would leave with the other filters as they are: {"roles", "what", "bands"}, by choice.

    "classes" (C,) int64 counts the true classes of the state's role, of which there are ``classes``, whatever the cell.
    """
    role, happened = state.class_role, pair.happened[state.role]
    rest = matching(pair, state, without=("what",))
    of_band = pair.band[role][matching(pair, state, without=("bands",))]
    of_class = pair.truth[role][matching(pair, state, without=("true_class", "cell"))]
    return {
        "roles": {choice: int(matching(pair, state.in_role(choice)).sum()) for choice in ROLE_CHOICES},
        "what": {choice: int((rest if choice == ALL else rest & happened[choice]).sum()) for choice in WHAT_CHOICES},
        "bands": dict(zip(BANDS, np.bincount(of_band, minlength=len(BANDS)).tolist(), strict=True)),
        "classes": np.bincount(of_class, minlength=classes),
    }


def row_order(pair: PredictionPair, sort: str, role: str, counts: Counts, seed: int) -> np.ndarray:
    """All positions (n,) in one of SORT_CHOICES for a role; ties, and the order "random", are drawn by ``seed``."""
    drawn = generator(seed, "order of predictions").permutation(len(pair))
    if sort == "random":
        return drawn
    rarest = sort == "rarest"
    keys = counts.of_role(role)[pair.truth[role]] if rarest else -pair.after.probability[role]
    return drawn[np.argsort(keys[drawn], kind="stable")]
