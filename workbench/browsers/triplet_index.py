"""The stage ``triplet_index``: every distinct triplet of training and augmentation once, with its rows in both.

A browser searches 450,000 distinct triplets where training has 3.4 million relations. Each is one row of a table, in
the order of (subject, relation, object); the rows of training and of augmentation that it stands for are slices of two
arrays of row numbers.
"""

import re
import unicodedata
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.language.triplets import AugmentedTriplets, read_triplets
from workbench.progress import track
from workbench.randomness import generator
from workbench.scenes.bands import Counts, band_of_class, band_places, count_classes
from workbench.scenes.relations import RelationTables, distinct_keys, triplet_keys, triplets_of_keys
from workbench.scenes.vocabulary import ROLES, Vocabulary

TABLE, ROWS = "triplets.parquet", "rows.npz"
COLUMNS = (*ROLES, "count", "augmented", "similarity", "hardness", *(f"{role}_band" for role in ROLES), "name_rank")
# Whose row numbers a triplet leads to: the training relations, and the table of augmented triplets.
GROUPS = ("examples", "augmented")
# What triplets may be ordered by: the column, and whether its highest value comes first.
SORTS = {
    "frequency": ("count", True),
    "rarity": ("count", False),
    "hardness": ("hardness", True),
    "ease": ("hardness", False),
    "similarity": ("similarity", True),
    "name": ("name_rank", False),
    "random": (None, False),
}
ROWS_PER_PART = 8192
MOST_KEPT = 64  # arrays of one value a triplet
AGAIN = "Delete the folder and build the stage triplet_index again."


def write_triplet_index(folder: Path, *, features: Path, triplets: Path | None = None) -> dict:
    """Stage builder: index the distinct triplets of training, and of augmentation where there is one.

    ``features``: a folder with objects.json, predicates.json and the tables of train; ``triplets``: the folder of the
    stage ``triplets``. Writes triplets.parquet (columns as in ``TripletIndex``), rows.npz, and the names. Returns
    counts. WorkbenchError where ``triplets`` belongs to other features.
    """
    vocabulary, train = Vocabulary.read(features), RelationTables.open(Path(features) / "train").relations
    stage = None if triplets is None else read_triplets(triplets)
    augmented = stage.augmented if stage else pd.DataFrame({role: np.empty(0, dtype=np.int64) for role in ROLES})
    groups = {"examples": _GroupedRows.of(train), "augmented": _GroupedRows.of(augmented)}
    keys = distinct_keys(np.concatenate([group.keys for group in groups.values()]))
    first = {name: group.first_of(keys) for name, group in groups.items()}
    unknown = np.full(len(keys), np.nan)
    table = _class_columns(keys, vocabulary, count_classes(train, vocabulary)) | {
        "count": np.diff(first["examples"]).astype(np.int32),
        "augmented": np.diff(first["augmented"]).astype(np.int32),
        "similarity": _highest(augmented["similarity"].to_numpy(), groups["augmented"], keys) if stage else unknown,
        "hardness": _entropy(stage, keys, Path(triplets)) if stage and triplets else unknown,
    }
    with atomic_path(Path(folder) / ROWS) as temporary:
        arrays: dict[str, Any] = {f"{name}_rows": group.rows for name, group in groups.items()}
        with temporary.open("wb") as file:
            np.savez(file, **arrays | {f"{name}_first": values for name, values in first.items()})
    with atomic_path(Path(folder) / TABLE) as temporary:
        pd.DataFrame({name: table[name] for name in COLUMNS}).to_parquet(temporary, index=False)
    vocabulary.write(folder)
    return {
        "triplets": len(keys),
        "original_triplets": int((table["count"] > 0).sum()),
        "augmented_triplets": int((table["augmented"] > 0).sum()),
        "relations": len(train),
        "augmented_rows": len(augmented),
    }


@dataclass(frozen=True, eq=False)
class TripletIndex:
    """Distinct triplets by ascending (subject, relation, object); a *place* is a position among them.

    ``columns``: arrays (n,), also as ``index[name]``: subject, relation, object (class ids, int32), count (int32,
    training relations), augmented (int32, augmented rows), similarity (float64, highest of its augmented rows) and
    hardness (float64, entropy of the hardness vector in nats), both nan where unknown, subject_band, relation_band,
    object_band (int8, positions in BANDS), name_rank (int32, by folded caption).
    """

    folder: Path
    vocabulary: Vocabulary
    columns: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    first: dict[str, np.ndarray]
    _kept: OrderedDict = field(default_factory=OrderedDict, repr=False)

    @classmethod
    def open(cls, folder: Path) -> "TripletIndex":
        """Read a finished folder; WorkbenchError where a file is missing or unreadable."""
        folder = Path(folder)
        try:
            table = pd.read_parquet(folder / TABLE, columns=list(COLUMNS))
            with np.load(folder / ROWS, allow_pickle=False) as arrays:
                rows = {group: arrays[f"{group}_rows"] for group in GROUPS}
                first = {group: arrays[f"{group}_first"] for group in GROUPS}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise WorkbenchError(f"{folder}: {TABLE} or {ROWS} cannot be read ({error}). {AGAIN}") from error
        columns = {name: table[name].to_numpy() for name in COLUMNS}
        return cls(folder, Vocabulary.read(folder), columns, rows, first)

    def __len__(self) -> int:
        return len(self.columns["subject"])

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    @property
    def relations_total(self) -> int:
        """Number of training relations."""
        return len(self.rows["examples"])

    @property
    def augmented_total(self) -> int:
        """Number of augmented rows."""
        return len(self.rows["augmented"])

    def examples(self, place: int) -> np.ndarray:
        """Ascending row numbers (count,) in the training relations."""
        return self._rows("examples", place)

    def augmented_rows(self, place: int) -> np.ndarray:
        """Ascending row numbers (augmented,) in augmented.parquet."""
        return self._rows("augmented", place)

    def triplets(self, places: np.ndarray | int) -> np.ndarray:
        """Class ids (m, 3) int64 of the triplets at ``places`` (m,)."""
        return np.stack([self[role][places] for role in ROLES], axis=-1).astype(np.int64)

    def caption(self, place: int) -> str:
        """The caption of one triplet as the class names are written."""
        return self.vocabulary.caption(*self.triplets(self._checked(place)).tolist())

    @cached_property
    def counts(self) -> Counts:
        """Training counts of all classes, as ``count_classes`` gives them."""
        tally = {}
        for role in ROLES:
            size = len(self.vocabulary.names(role))
            tally[role] = np.bincount(self[role], weights=self["count"], minlength=size).astype(np.int64)
        return Counts(tally["subject"] + tally["object"], tally["relation"], tally["subject"], tally["object"])

    @cached_property
    def folded_names(self) -> dict[str, tuple[str, ...]]:
        """The class names of each role without case and accents."""
        return {role: tuple(map(folded, self.vocabulary.names(role))) for role in ROLES}

    def order(self, sort: str, seed: int = 0) -> np.ndarray:
        """All places (n,) in the order of one of SORTS; unknown values last, equal ones by ids; ``seed``: of random."""
        return self.kept(("order", sort, seed if sort == "random" else None), lambda: self._ordered(sort, seed))

    def kept(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """``make()``, or what it gave for ``key`` before; the arrays asked for last are kept."""
        if key not in self._kept:
            self._kept[key] = make()
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _ordered(self, sort: str, seed: int) -> np.ndarray:
        column, descending = SORTS[sort]
        if column is None:
            return generator(seed, "triplet order").permutation(len(self))
        values = self[column]
        return np.argsort(-values if descending else values, kind="stable")  # nan comes last either way

    def _rows(self, group: str, place: int) -> np.ndarray:
        first = self.first[group]
        return self.rows[group][first[self._checked(place)] : first[place + 1]]

    def _checked(self, place: int) -> int:
        if not 0 <= place < len(self):
            raise WorkbenchError(f"{self.folder}: there is no triplet {place}; expected 0 to {len(self) - 1}.")
        return place


def folded(text: str) -> str:
    """Text without case, accents and repeated spaces."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in apart if unicodedata.category(letter) != "Mn")
    return re.sub(r"\s+", " ", plain.casefold()).strip()


@dataclass(frozen=True, eq=False)
class _GroupedRows:
    """A table's row numbers ``rows`` (N,) by triplet; ``keys`` (m,) ascending, that start at ``starts`` (m,)."""

    rows: np.ndarray
    keys: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame) -> "_GroupedRows":
        key_of_row = triplet_keys(*(table[role].to_numpy() for role in ROLES))
        rows = np.argsort(key_of_row, kind="stable")
        ordered = key_of_row[rows]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        return cls(rows.astype(np.int32 if len(rows) < 1 << 31 else np.int64), ordered[starts], starts)

    def first_of(self, keys: np.ndarray) -> np.ndarray:
        """Where the rows of each of the ascending ``keys`` (n,) start, and the end of the last: (n + 1,) int64."""
        bounds = np.append(self.starts, len(self.rows))
        return np.append(bounds[np.searchsorted(self.keys, keys)], len(self.rows))


def _class_columns(keys: np.ndarray, vocabulary: Vocabulary, counts: Counts) -> dict[str, np.ndarray]:
    """The columns that follow from the classes of each triplet: ids, bands, and the rank of the caption."""
    ids = dict(zip(ROLES, triplets_of_keys(keys).T.astype(np.int32), strict=True))
    names = [np.array([folded(name) for name in vocabulary.names(role)], dtype=object)[ids[role]] for role in ROLES]
    captions = pd.Series(names[0] + " " + names[1] + " " + names[2], dtype=object)
    bands = {f"{role}_band": band_places(band_of_class(counts.of_role(role)))[ids[role]] for role in ROLES}
    return ids | bands | {"name_rank": captions.rank(method="first").to_numpy().astype(np.int32) - 1}


def _highest(similarity: np.ndarray, group: _GroupedRows, keys: np.ndarray) -> np.ndarray:
    """The highest similarity (n,) float64 of the augmented rows of each triplet, nan without one."""
    highest = np.full(len(keys), np.nan)
    if len(group.keys):
        highest[np.searchsorted(keys, group.keys)] = np.fmax.reduceat(similarity[group.rows], group.starts)
    return highest


def _entropy(stage: AugmentedTriplets, keys: np.ndarray, folder: Path) -> np.ndarray:
    """Entropy in nats (n,) float64 of each triplet's hardness vector (DiffAugment, section 3.4)."""
    if not np.array_equal(triplet_keys(*(stage.captions[role].to_numpy() for role in ROLES)), keys):
        raise WorkbenchError(
            f"{folder / 'captions.parquet'}: expected the {len(keys):,} distinct triplets of these features and their "
            f"augmentation, found {len(stage.captions):,} others. Give the features that the triplets were made from."
        )
    entropy = np.empty(len(keys))
    for start in track(range(0, len(keys), ROWS_PER_PART), "Hardness of captions"):
        part = slice(start, start + ROWS_PER_PART)
        entropy[part] = stage.hardness.entropy(stage.caption_embeddings[part])
    return entropy
