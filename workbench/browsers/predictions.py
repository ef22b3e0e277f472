"""What two recognisers predict for the same test rows, and which rows match what a person has chosen."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.panel import in_order, require_changes
from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.randomness import generator
from workbench.regions.features import FeatureStore
from workbench.scenes.bands import BANDS, Counts
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary

PLACES = 5  # the most probable classes that an evaluation keeps
ANY, ALL = "any", "all"
ROLE_CHOICES = (ANY, *ROLES)
# What happened to one prediction; "changed" is from one wrong class to another.
OUTCOMES = ("right in both", "fixed", "broken", "changed", "still wrong")
RIGHT: dict[str, tuple[str, ...]] = {"before": ("right in both", "broken"), "after": ("right in both", "fixed")}
# What may be asked for: as people read it, and the outcomes that it stands for.
WHAT_CHOICES: dict[str, tuple[str, tuple[str, ...]]] = {
    ALL: ("all", OUTCOMES),
    "wrong": ("wrong after", ("broken", "changed", "still wrong")),
    "fixed": ("fixed", ("fixed",)),
    "broken": ("broken", ("broken",)),
    "changed": ("wrong to wrong", ("changed",)),
    "wrong in both": ("wrong in both", ("changed", "still wrong")),
    "unchanged": ("unchanged", ("right in both", "still wrong")),
}
UNFILTERED: dict[str, Any] = {"role": ANY, "what": ALL, "bands": (), "true_class": None, "cell": None}
SORT_CHOICES = {"random": "random", "surest": "surest first (after)", "rarest": "rarest class first"}


@dataclass(frozen=True, eq=False)
class Predictions:
    """One recogniser's predictions of a split, by ascending row of its relations table.

    ``rows`` (n,) int64; by role ``truth`` (n,) int32 class ids, and the most probable classes ``best`` (n, 5) int32, -1
    where there are fewer, with their ``probability`` (n, 5) float32.
    """

    folder: Path
    rows: np.ndarray
    truth: dict[str, np.ndarray]
    best: dict[str, np.ndarray]
    probability: dict[str, np.ndarray]

    @classmethod
    def read(cls, folder: Path, tables: RelationTables | FeatureStore, vocabulary: Vocabulary) -> "Predictions":
        """Those of an evaluation stage; WorkbenchError where unreadable, or not of this split and vocabulary."""
        path, places = folder / "predictions.parquet", range(1, PLACES + 1)
        best = {role: [f"{role}_top{place}" for place in places] for role in ROLES}
        shares = {role: [f"{role}_probability{place}" for place in places] for role in ROLES}
        with reading(path, "a readable table of predictions", "Evaluate the recogniser again with notebook 05."):
            table = pd.read_parquet(path).sort_values("row")
            read = cls(
                folder,
                table["row"].to_numpy(dtype=np.int64),
                {role: table[role].to_numpy(dtype=np.int32) for role in ROLES},
                {role: table[best[role]].to_numpy(dtype=np.int32) for role in ROLES},
                {role: table[shares[role]].to_numpy(dtype=np.float32) for role in ROLES},
            )
        read._require_fit(tables, vocabulary)
        return read

    def _require_fit(self, tables: RelationTables | FeatureStore, vocabulary: Vocabulary) -> None:
        remedy = "The predictions belong to another split or vocabulary: choose an evaluation of this one."
        wrong = (self.rows < 0) | (self.rows >= len(tables)) | (np.diff(self.rows, prepend=-1) == 0)
        if wrong.any() or not len(self.rows):
            first = f"predictions of row {self.rows[wrong][0]}" if len(self.rows) else "no predictions"
            raise WorkbenchError(
                f"{self.folder}: {first}, expected each row once of {tables.folder}, which has rows 0 to "
                f"{len(tables) - 1}. {remedy}"
            )
        for role in ROLES:
            truth, best = tables.relations[role].to_numpy()[self.rows], self.best[role][:, 0]
            classes = len(vocabulary.names(role))
            wrong = (self.truth[role] != truth) | (best < 0) | (best >= classes)
            if wrong.any():
                at = int(wrong.argmax())
                raise WorkbenchError(
                    f"{self.folder}: row {self.rows[at]} has the true {role} class {self.truth[role][at]} and is taken "
                    f"for class {best[at]}; expected {truth[at]}, and a class from 0 to {classes - 1}. {remedy}"
                )


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
        return self != replace(self, **UNFILTERED)

    def in_role(self, role: str) -> "PredictionState":
        """The state in another role, without class and cell unless they stay what they are."""
        new = replace(self, role=role)
        return new if new.class_role == self.class_role else replace(new, true_class=None, cell=None)

    def changed(self, vocabulary: Vocabulary, titles: Iterable[str], /, **changes: Any) -> "PredictionState":
        """The state with ``changes``; WorkbenchError for a name or value unknown.

        Classes may be given by name. Another role drops the class and the cell, another class a cell of a third one;
        a change of the rows that match starts at page 1 again.
        """
        require_changes(
            "PredictionBrowser", PredictionState, changes,
            before=titles, after=titles, role=ROLE_CHOICES, what=WHAT_CHOICES, sort=SORT_CHOICES,
        )  # fmt: skip
        if not changes.keys() <= {"page", "confusion_page", "compact"}:
            changes.setdefault("page", 1)
        if not changes.keys() <= {"page", "confusion_page", "compact", "cell", "what", "sort"}:
            changes.setdefault("confusion_page", 1)  # the others leave the confusions as they are
        new = self.in_role(changes.get("role", self.role))
        if "bands" in changes:
            changes["bands"] = in_order("band", changes["bands"], BANDS)
        if changes.get("true_class") is not None:
            changes["true_class"] = vocabulary.class_id(new.class_role, changes["true_class"])
        if changes.get("cell") is not None:
            changes["cell"] = tuple(vocabulary.class_id(new.class_role, value) for value in changes["cell"])
            if len(changes["cell"]) != 2:
                raise WorkbenchError(f"cell {changes['cell']}: expected a true class and what it was taken for.")
        new = replace(new, **changes)
        of_third = new.cell is not None and new.true_class not in (None, new.cell[0])
        return replace(new, cell=None) if of_third and "cell" not in changes else new


class PredictionPair:
    """Two recognisers' predictions of equal rows, and what happened from the one to the other.

    By role ``outcome`` (n,) int8 places in OUTCOMES and ``band`` (n,) int8 places in BANDS of the true classes, by
    ``bands`` (C,) of all classes. WorkbenchError where the two do not have the same rows.
    """

    def __init__(self, before: Predictions, after: Predictions, bands: Mapping[str, np.ndarray]):
        if not np.array_equal(before.rows, after.rows):
            alone = np.setxor1d(before.rows, after.rows)[0]
            raise WorkbenchError(
                f"{before.folder} and {after.folder} predict different rows ({len(before.rows):,} and "
                f"{len(after.rows):,}; row {alone} is in one alone). Compare evaluations of one split, or evaluate "
                "both again with notebook 05."
            )
        self.before, self.after, self.bands = before, after, bands
        self.rows, self.truth = before.rows, before.truth
        self.outcome, self.band = {}, {role: bands[role][truth] for role, truth in self.truth.items()}
        for role, truth in self.truth.items():
            first, second = before.best[role][:, 0], after.best[role][:, 0]
            was, now = first == truth, second == truth
            self.outcome[role] = np.select([was & now, now, was, first != second], range(4), 4).astype(np.int8)

    def __len__(self) -> int:
        return len(self.rows)

    def among(self, role: str, wanted: Iterable[str]) -> np.ndarray:
        """(n,) bool: whether one of the ``wanted`` OUTCOMES happened in a role, or for the role "any" in some role."""
        fits = np.isin(OUTCOMES, list(wanted))
        return np.logical_or.reduce([fits[self.outcome[own]] for own in (ROLES if role == ANY else (role,))])

    def matching(self, state: PredictionState) -> np.ndarray:
        """Which rows match, (n,) bool."""
        role, mask = state.class_role, np.ones(len(self), dtype=bool)
        if state.what != ALL:
            mask &= self.among(state.role, WHAT_CHOICES[state.what][1])
        if state.bands:
            mask &= np.isin(BANDS, state.bands)[self.band[role]]
        if state.true_class is not None:
            mask &= self.truth[role] == state.true_class
        if state.cell is not None:
            true, given = state.cell
            taken = [one.best[role][:, 0] == given for one in (self.before, self.after)]
            mask &= (self.truth[role] == true) & (taken[0] | taken[1])
        return mask

    def filter_counts(self, state: PredictionState) -> dict[str, Any]:
        """Rows that each choice would leave with the other filters as they are: {"roles", "what", "bands"}, by choice.

        "classes" (C,) int64 counts the true classes of the state's role, whatever the cell.
        """
        rest, role = self.matching(replace(state, what=ALL)), state.class_role
        of_band = self.band[role][self.matching(replace(state, bands=()))]
        of_class = self.truth[role][self.matching(replace(state, true_class=None, cell=None))]
        return {
            "roles": {choice: int(self.matching(state.in_role(choice)).sum()) for choice in ROLE_CHOICES},
            "what": {
                what: int((rest & self.among(state.role, wanted)).sum()) for what, (_, wanted) in WHAT_CHOICES.items()
            },
            "bands": dict(zip(BANDS, np.bincount(of_band, minlength=len(BANDS)).tolist(), strict=True)),
            "classes": np.bincount(of_class, minlength=len(self.bands[role])),
        }

    def order(self, sort: str, role: str, counts: Counts, seed: int) -> np.ndarray:
        """All positions (n,) in one of SORT_CHOICES for a role; ties, and the order "random", are drawn by ``seed``."""
        drawn = generator(seed, "order of predictions").permutation(len(self))
        if sort == "random":
            return drawn
        keys = counts.of_role(role)[self.truth[role]] if sort == "rarest" else -self.after.probability[role][:, 0]
        return drawn[np.argsort(keys[drawn], kind="stable")]

    def changed_rows(self, most: int, seed: int) -> np.ndarray:
        """At most ``most`` positions drawn by ``seed``, half fixed and then half broken in some role, none both."""
        better, worse = self.among(ANY, ["fixed"]), self.among(ANY, ["broken"])
        draw, half = generator(seed, "changed predictions"), most // 2
        fixed, broken = (draw.permutation(np.flatnonzero(rows)) for rows in (better & ~worse, worse & ~better))
        return np.concatenate([fixed[: most - half], broken[:half]])

    def confusions(self, role: str, classes: np.ndarray) -> np.ndarray:
        """How many rows of each of the true ``classes`` (r,) go to each class: (2, r, C) int64, before and after."""
        kept, n_classes = np.isin(self.truth[role], classes), len(self.bands[role])
        place = np.full(n_classes, -1)
        place[classes] = np.arange(len(classes))
        cells = place[self.truth[role][kept]] * n_classes
        sides = (one.best[role][kept, 0] for one in (self.before, self.after))
        return np.stack(
            [np.bincount(cells + best, minlength=len(classes) * n_classes).reshape(-1, n_classes) for best in sides]
        )
