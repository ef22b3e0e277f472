"""What two recognisers predict for the same test rows, read once and kept as plain arrays."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.browsers.changes import EVALUATE_AGAIN, change_masks, read_predictions
from workbench.errors import WorkbenchError
from workbench.scenes.bands import Counts, band_of_class, band_places
from workbench.scenes.vocabulary import ROLES, Vocabulary

if TYPE_CHECKING:
    from workbench.regions.feature_store import FeatureStore
    from workbench.scenes.relations import RelationTables

PLACES = 5  # the most probable classes that an evaluation keeps
OTHER_SPLIT = "The predictions belong to another split or vocabulary: choose an evaluation of this one."


class Predictions:
    """One recogniser's predictions of a split, by ascending row of its relations table.

    ``rows`` (n,) int64; by role ``truth`` and ``predicted`` (n,) int32 class ids, ``probability`` (n,) float32 of the
    predicted class. WorkbenchError for rows or classes that the split or the vocabulary does not have.
    """

    def __init__(self, folder: Path, tables: "RelationTables | FeatureStore", vocabulary: Vocabulary):
        self.folder = Path(folder)
        columns = [name for role in ROLES for name in (role, f"{role}_top1", f"{role}_probability1")]
        table = read_predictions(self.folder, columns)
        rows = table["row"].to_numpy(dtype=np.int64)
        ascending = bool((rows[1:] > rows[:-1]).all())  # as evaluation writes them: nothing to copy
        self._order = slice(None) if ascending else np.argsort(rows, kind="stable")
        self.rows = rows[self._order]
        self.truth, self.predicted, self.probability = (
            {role: self._column(table, name.format(role), kind) for role in ROLES}
            for name, kind in (("{}", np.int32), ("{}_top1", np.int32), ("{}_probability1", np.float32))
        )
        self._check_rows(tables)
        for role in ROLES:
            self._check_classes(role, tables.relations[role].to_numpy(), len(vocabulary.names(role)))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def best(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By role the most probable classes, (n, 5) ids (-1 where there are fewer), and their probabilities."""
        kinds = {"top": np.int32, "probability": np.float32}
        names = {
            (role, kind): [f"{role}_{kind}{place + 1}" for place in range(PLACES)] for role in ROLES for kind in kinds
        }
        table = read_predictions(self.folder, [column for columns in names.values() for column in columns])
        read = {
            (role, kind): np.stack([self._column(table, column, kinds[kind]) for column in columns], axis=1)
            for (role, kind), columns in names.items()
        }
        return {role: (read[role, "top"], read[role, "probability"]) for role in ROLES}

    def _column(self, table: pd.DataFrame, name: str, kind: type) -> np.ndarray:
        return table[name].to_numpy(dtype=kind)[self._order]

    def _check_rows(self, tables: "RelationTables | FeatureStore") -> None:
        if not len(self):
            raise WorkbenchError(f"{self.folder}: predictions of no row. {EVALUATE_AGAIN}")
        wrong = (self.rows < 0) | (self.rows >= len(tables))
        if wrong.any():
            raise WorkbenchError(
                f"{self.folder}: predictions of row {self.rows[wrong][0]}, but {tables.folder} has rows 0 to "
                f"{len(tables) - 1}. {OTHER_SPLIT}"
            )
        twice = self.rows[1:][self.rows[1:] == self.rows[:-1]]
        if len(twice):
            raise WorkbenchError(f"{self.folder}: row {twice[0]} is predicted more than once. {EVALUATE_AGAIN}")

    def _check_classes(self, role: str, truth: np.ndarray, classes: int) -> None:
        for what, ids in ((f"{role}", self.truth[role]), (f"{role}_top1", self.predicted[role])):
            wrong = (ids < 0) | (ids >= classes)
            if wrong.any():
                raise WorkbenchError(
                    f"{self.folder}: row {self.rows[wrong][0]} has {what} {ids[wrong][0]}, expected a class from 0 to "
                    f"{classes - 1}. {OTHER_SPLIT}"
                )
        other = self.truth[role] != truth[self.rows]
        if other.any():
            row = self.rows[other][0]
            raise WorkbenchError(
                f"{self.folder}: the true {role} of row {row} is class {self.truth[role][other][0]} there, but class "
                f"{truth[row]} in the relations of the split. {OTHER_SPLIT}"
            )


class PredictionPair:
    """Two recognisers' predictions of equal rows, and what happened from the one to the other.

    ``happened[role][what]`` (n,) bool for the names of `changes.change_masks`, and for the role "any" where it happened
    in at least one role; ``was`` and ``now`` (n,) bool by role; ``band[role]`` (n,) int8 places in BANDS of the true
    classes. WorkbenchError where the two do not have the same rows.
    """

    def __init__(self, before: Predictions, after: Predictions, class_bands: Mapping[str, np.ndarray]):
        _check_equal_rows(before, after)
        self.before, self.after = before, after
        self.rows, self.truth = before.rows, before.truth
        self.was, self.now = (
            {role: one.predicted[role] == one.truth[role] for role in ROLES} for one in (before, after)
        )
        self.happened = {
            role: change_masks(self.was[role], self.now[role], before.predicted[role] != after.predicted[role])
            for role in ROLES
        }
        names = self.happened["relation"]
        self.happened["any"] = {
            what: np.logical_or.reduce([self.happened[role][what] for role in ROLES]) for what in names
        }
        self.band = {role: class_bands[role][self.truth[role]] for role in ROLES}

    def __len__(self) -> int:
        return len(self.rows)


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


def _check_equal_rows(before: Predictions, after: Predictions) -> None:
    if np.array_equal(before.rows, after.rows):
        return
    alone = np.setxor1d(before.rows, after.rows)[0]
    has = before.folder if alone in before.rows else after.folder
    raise WorkbenchError(
        f"{before.folder} and {after.folder} predict different rows ({len(before):,} and {len(after):,}; row {alone} "
        f"is in {has} alone). Compare evaluations of one split, or evaluate both recognisers on it with notebook 05."
    )
