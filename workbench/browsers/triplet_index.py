"""The stage ``triplet_index``: every distinct triplet of training and augmentation once, in files that are mapped.

A browser searches 450,000 distinct triplets where training has 3.4 million relations. Each is one row of an
uncompressed Arrow file, in the order of (subject, relation, object); the rows of training and of augmentation that it
stands for are slices of two arrays of row numbers.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from workbench.browsers.caption_text import folded
from workbench.browsers.triplet_index_writing import (
    CAPTION,
    COLUMNS,
    GROUPS,
    PATHS,
    TABLE,
    write_triplet_index,
)
from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.scenes.bands import Counts
from workbench.scenes.relations import triplet_keys
from workbench.scenes.vocabulary import ROLES, Vocabulary

__all__ = ["SORTS", "TripletIndex", "write_triplet_index"]

# What triplets may be ordered by: the column, and whether its highest value comes first.
SORTS = {
    "frequency": ("count", True),
    "rarity": ("count", False),
    "hardness": ("hardness", True),
    "ease": ("hardness", False),
    "lch": ("lch", True),
    "name": ("name_rank", False),
    "random": (None, False),
}
MOST_KEPT = 64  # arrays of one value a triplet
AGAIN = "Delete the folder and build the stage triplet_index again."


@dataclass(frozen=True, eq=False)
class TripletIndex:
    """Distinct triplets by ascending (subject, relation, object); a *place* is a position among them.

    ``columns``: arrays (n,) mapped from disk, also as ``index[name]``: subject, relation, object (class ids, int16 or
    int32), count (int32, training relations), augmented (int32, augmented rows), lch (float64, highest of its augmented
    rows) and hardness (float64, entropy of the hardness vector in nats), both nan where unknown, subject_band,
    relation_band, object_band (int8, positions in BANDS), name_rank (int32, by folded caption). ``captions`` (n,):
    the captions without case and accents.
    """

    folder: Path
    vocabulary: Vocabulary
    columns: dict[str, np.ndarray]
    captions: pa.StringArray
    rows: dict[str, np.ndarray]
    first: dict[str, np.ndarray]
    _kept: OrderedDict = field(default_factory=OrderedDict, repr=False)

    @classmethod
    def open(cls, folder: Path) -> "TripletIndex":
        """Map a finished folder; WorkbenchError where a file is missing, unreadable or does not fit the others."""
        folder = Path(folder)
        table = _mapped_table(folder / TABLE)
        columns = {name: table[name].combine_chunks().to_numpy(zero_copy_only=True) for name in COLUMNS}
        rows = {group: _mapped_array(folder / f"{group}_rows.npy") for group in GROUPS}
        first = {group: _mapped_array(folder / f"{group}_first.npy") for group in GROUPS}
        for group in GROUPS:
            if len(first[group]) != len(table) + 1 or first[group][-1] != len(rows[group]):
                raise WorkbenchError(f"{folder}: {group}_first.npy does not fit the other files. {AGAIN}")
        return cls(folder, Vocabulary.read(folder), columns, table[CAPTION].combine_chunks(), rows, first)

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

    def triplets(self, places: np.ndarray) -> np.ndarray:
        """Class ids (m, 3) int64 of the triplets at ``places`` (m,)."""
        return np.stack([self[role][places] for role in ROLES], axis=-1).astype(np.int64)

    def caption(self, place: int) -> str:
        """The caption of one triplet as the class names are written."""
        return self.vocabulary.caption(*(int(self[role][self._checked(place)]) for role in ROLES))

    def places(self, triplets: np.ndarray) -> np.ndarray:
        """Place (m,) int64 of each of the triplets (m, 3) of class ids, -1 for one that is not here."""
        wanted = triplet_keys(*np.asarray(triplets).reshape(-1, 3).T)
        if not len(self):
            return np.full(len(wanted), -1)
        place = np.minimum(np.searchsorted(self._keys, wanted), len(self) - 1)
        return np.where(self._keys[place] == wanted, place, -1)

    @cached_property
    def counts(self) -> Counts:
        """Training counts of all classes, as ``count_classes`` gives them."""
        tally = {}
        for role in ROLES:
            size = len(self.vocabulary.names(role))
            tally[role] = np.bincount(self[role], weights=self["count"], minlength=size).astype(np.int64)
        return Counts(tally["subject"] + tally["object"], tally["relation"], tally["subject"], tally["object"])

    def wordnet_path(self, old: int, new: int) -> str:
        """The lemmas from a replaced class to the new one, "cake, baked goods, cookie"; empty where unknown."""
        return self._paths.get((old, new), "")

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
        if sort == "random":
            return generator(seed, "triplet order").permutation(len(self))
        column, descending = SORTS[sort]
        values = self[column]
        return np.argsort(-values if descending else values, kind="stable")  # nan comes last either way

    def _rows(self, group: str, place: int) -> np.ndarray:
        first = self.first[group]
        return self.rows[group][first[self._checked(place)] : first[place + 1]]

    def _checked(self, place: int) -> int:
        if not 0 <= place < len(self):
            raise WorkbenchError(f"{self.folder}: there is no triplet {place}; expected 0 to {len(self) - 1}.")
        return place

    @cached_property
    def _paths(self) -> dict[tuple[int, int], str]:
        if not (self.folder / PATHS).is_file():  # nothing was augmented
            return {}
        ways = pd.read_parquet(self.folder / PATHS)
        return dict(zip(zip(ways["old"].tolist(), ways["new"].tolist(), strict=True), ways["path"], strict=True))

    @cached_property
    def _keys(self) -> np.ndarray:
        return triplet_keys(*(self[role] for role in ROLES))


def _mapped_table(path: Path) -> pa.Table:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise WorkbenchError(f"{path}: cannot be read ({error}). {AGAIN}") from error
    missing = {*COLUMNS, CAPTION} - set(table.column_names)
    if missing:
        raise WorkbenchError(f"{path}: the columns {', '.join(sorted(missing))} are missing. {AGAIN}")
    return table


def _mapped_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path}: cannot be read ({error}). {AGAIN}") from error
