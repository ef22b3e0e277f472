"""The stage ``triplet_index``: every distinct triplet of training and augmentation once, with its rows in both.

A browser searches 450,000 distinct triplets where training has 3.4 million relations.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import atomic_path, save_table
from workbench.language.triplets import AugmentedTriplets, read_triplets
from workbench.randomness import generator
from workbench.scenes.bands import Counts, band_of_class, band_places, count_classes
from workbench.scenes.relations import RelationTables, distinct_keys, read_table, triplet_keys, triplets_of_keys
from workbench.scenes.vocabulary import ROLES, Vocabulary

TABLE, ROWS = "triplets.parquet", "rows.npz"
COLUMNS = (*ROLES, "count", "augmented", "similarity", "hardness", *(f"{role}_band" for role in ROLES), "name_rank")
# What triplets may be ordered by: in words, the column, and whether its highest value comes first.
SORTS = {
    "frequency": ("most frequent first", "count", True),
    "rarity": ("rarest first", "count", False),
    "hardness": ("hardest first", "hardness", True),
    "ease": ("easiest first", "hardness", False),
    "similarity": ("most similar word first", "similarity", True),
    "name": ("by name", "name_rank", False),
    "random": ("shuffled", None, False),
}
MOST_KEPT = 64  # arrays of one value a triplet
MOST_BARS = 40


@dataclass(frozen=True, eq=False)
class RowsOfTriplets:
    """Row numbers ``rows`` (N,) of a table by triplet: those at a place, ascending, start at ``first`` (n + 1,)."""

    rows: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, key_of_row: np.ndarray, keys: np.ndarray) -> "RowsOfTriplets":
        """The rows whose keys (N,) are each of the ascending ``keys`` (n,)."""
        rows = np.argsort(key_of_row, kind="stable")
        first = np.append(np.searchsorted(key_of_row[rows], keys), len(rows))
        return cls(rows.astype(np.int32 if len(rows) < 1 << 31 else np.int64), first)

    def __getitem__(self, place: int) -> np.ndarray:
        return self.rows[self.first[place] : self.first[place + 1]]

    def __len__(self) -> int:
        return len(self.rows)


def write_triplet_index(folder: Path, *, features: Path, triplets: Path | None = None) -> dict:
    """Stage builder: index the distinct triplets of training, and of augmentation where there is one.

    ``features``: a folder with objects.json, predicates.json and the tables of train; ``triplets``: the folder of the
    stage ``triplets``. Writes triplets.parquet (columns as in ``TripletIndex``), rows.npz, and the names. Returns
    counts. WorkbenchError where ``triplets`` belongs to other features.
    """
    vocabulary, train = Vocabulary.read(features), RelationTables.open(Path(features) / "train").relations
    stage = None if triplets is None else read_triplets(triplets)
    tables = {"examples": train, "augmented": train[:0] if stage is None else stage.augmented}
    key_of_row = {name: triplet_keys(*(table[role].to_numpy() for role in ROLES)) for name, table in tables.items()}
    keys = distinct_keys(np.concatenate(list(key_of_row.values())))
    groups = {name: RowsOfTriplets.of(own, keys) for name, own in key_of_row.items()}
    columns = _class_columns(keys, vocabulary, count_classes(train, vocabulary)) | {
        "count": np.diff(groups["examples"].first).astype(np.int32),
        "augmented": np.diff(groups["augmented"].first).astype(np.int32),
        "similarity": np.full(len(keys), np.nan),
        "hardness": np.full(len(keys), np.nan),
    }
    if stage is not None:
        own, there = groups["augmented"], columns["augmented"] > 0
        similarity = stage.augmented["similarity"].to_numpy()[own.rows]
        columns["similarity"][there] = np.fmax.reduceat(similarity, own.first[:-1][there])
        columns["hardness"] = _entropy(stage, keys)
    with atomic_path(Path(folder) / ROWS) as temporary, temporary.open("wb") as file:
        arrays = {f"{name}_{part}": getattr(own, part) for name, own in groups.items() for part in ("rows", "first")}
        np.savez(file, **arrays)
    save_table(Path(folder) / TABLE, pd.DataFrame({name: columns[name] for name in COLUMNS}))
    vocabulary.write(folder)
    return {
        "triplets": len(keys), "original_triplets": int((columns["count"] > 0).sum()),
        "augmented_triplets": int((columns["augmented"] > 0).sum()),
        "relations": len(groups["examples"]), "augmented_rows": len(groups["augmented"]),
    }  # fmt: skip


def _class_columns(keys: np.ndarray, vocabulary: Vocabulary, counts: Counts) -> dict[str, np.ndarray]:
    """The columns that follow from the classes of each triplet: ids, bands, and the rank of the caption."""
    ids = dict(zip(ROLES, triplets_of_keys(keys).T.astype(np.int32), strict=True))
    names = [np.array([folded(name) for name in vocabulary.names(role)], dtype=object)[ids[role]] for role in ROLES]
    captions = pd.Series(names[0] + " " + names[1] + " " + names[2], dtype=object)
    bands = {f"{role}_band": band_places(band_of_class(counts.of_role(role)))[ids[role]] for role in ROLES}
    return ids | bands | {"name_rank": captions.rank(method="first").to_numpy().astype(np.int32) - 1}


def _entropy(stage: AugmentedTriplets, keys: np.ndarray) -> np.ndarray:
    """Entropy in nats (n,) float64 of each triplet's hardness vector (DiffAugment, section 3.4)."""
    if not np.array_equal(triplet_keys(*(stage.captions[role].to_numpy() for role in ROLES)), keys):
        raise WorkbenchError(
            f"{stage.folder / 'captions.parquet'}: expected the {len(keys):,} distinct triplets of these features and "
            f"their augmentation, found {len(stage.captions):,} others. Give the features that the triplets were made "
            "from."
        )
    return stage.hardness.entropy(stage.caption_embeddings)


@dataclass(frozen=True, eq=False)
class TripletIndex:
    """Distinct triplets by ascending (subject, relation, object); a *place* is a position among them.

    ``columns``: arrays (n,), also as ``index[name]``: subject, relation, object (class ids, int32), count (int32,
    training relations), augmented (int32, augmented rows), similarity (float64, highest of its augmented rows) and
    hardness (float64, entropy of the hardness vector in nats), both nan where unknown, subject_band, relation_band,
    object_band (int8, positions in BANDS), name_rank (int32, by folded caption). ``examples[place]``: row numbers in
    the training relations, ``augmented[place]``: in augmented.parquet.
    """

    folder: Path
    vocabulary: Vocabulary
    columns: dict[str, np.ndarray]
    examples: RowsOfTriplets
    augmented: RowsOfTriplets

    @classmethod
    def open(cls, folder: Path) -> "TripletIndex":
        """Read a finished folder; WorkbenchError where a file is missing or unreadable."""
        folder = Path(folder)
        again = "Delete the folder and build the stage triplet_index again."
        table = read_table(folder / TABLE, COLUMNS, remedy=again)
        with reading(folder / ROWS, "arrays of rows", again), np.load(folder / ROWS, allow_pickle=False) as arrays:
            examples, augmented = (RowsOfTriplets(arrays[f"{name}_rows"], arrays[f"{name}_first"])
                                   for name in ("examples", "augmented"))  # fmt: skip
        columns, vocabulary = {name: table[name].to_numpy() for name in COLUMNS}, Vocabulary.read(folder)
        places = [array for rows in (examples, augmented) for array in (rows.rows, rows.first)]
        classes = [table[role].between(0, len(vocabulary.names(role)) - 1).all() for role in ROLES]
        if not all(classes) or not all(array.dtype.kind in "iu" for array in places):
            raise WorkbenchError(f"{folder}: its triplets, rows and class names do not belong together. {again}")
        return cls(folder, vocabulary, columns, examples, augmented)

    def __len__(self) -> int:
        return len(self.columns["subject"])

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    def triplets(self, places: np.ndarray | int) -> np.ndarray:
        """Class ids (m, 3) int64 of the triplets at ``places`` (m,)."""
        return np.stack([self[role][places] for role in ROLES], axis=-1).astype(np.int64)

    def caption(self, place: int) -> str:
        """The caption of one triplet as the class names are written."""
        return self.vocabulary.caption(*self.triplets(place).tolist())

    @cached_property
    def counts(self) -> Counts:
        """Training counts of all classes, as ``count_classes`` gives them."""
        tally = {}
        for role in ROLES:
            size = len(self.vocabulary.names(role))
            tally[role] = np.bincount(self[role], weights=self["count"], minlength=size).astype(np.int64)
        return Counts(**tally)

    @cached_property
    def folded_names(self) -> dict[str, tuple[str, ...]]:
        """The class names of each role without case and accents."""
        return {role: tuple(map(folded, self.vocabulary.names(role))) for role in ROLES}

    def order(self, sort: str) -> np.ndarray:
        """All places (n,) in the order of one of SORTS; unknown values last, equal ones by ids."""
        return self.kept(_order, sort)

    @cached_property
    def kept(self) -> Callable[..., np.ndarray]:
        """A function (make, ...) to ``make(index, ...)``, or what that gave before; those asked for last are kept."""
        return lru_cache(maxsize=MOST_KEPT)(lambda make, *given: make(self, *given))


def _order(index: TripletIndex, sort: str) -> np.ndarray:
    _, column, descending = SORTS[sort]
    if column is None:
        return generator(0, "triplet order").permutation(len(index))
    return np.argsort(-index[column] if descending else index[column], kind="stable")  # nan comes last either way


def folded(text: str) -> str:
    """Text without case, accents and repeated spaces."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in apart if unicodedata.category(letter) != "Mn")
    return re.sub(r"\s+", " ", plain.casefold()).strip()


def class_bars(counts: Counts, role: str, most: int = MOST_BARS) -> pd.DataFrame:
    """The rank-frequency chart of a role's classes as at most ``most`` bars, from the most to the least frequent.

    A bar is one class while there are at most ``most``; else it holds ranks that grow geometrically and stay within one
    band. Columns first_rank, last_rank (1-based, inclusive), classes (tuple of class ids by rank), band, most_count,
    fewest_count (of the counts that rank classes, ``Counts.of_role``). ``most`` is 4 or more.
    """
    occurrences = counts.of_role(role)
    by_rank = np.argsort(-occurrences, kind="stable")
    band = band_of_class(occurrences)[by_rank]
    borders = [*(np.flatnonzero(band[1:] != band[:-1]) + 1).tolist(), len(band)]
    edges, finest = np.arange(len(band) + 1), 4 * most
    while len(edges) > most + 1:  # the finest bins that are few enough, each within one band
        edges = np.unique([0, *borders, *np.geomspace(1, len(band), finest).astype(int)])
        finest -= 1
    first, stop = edges[:-1], edges[1:]
    return pd.DataFrame({
        "first_rank": first + 1, "last_rank": stop,
        "classes": [tuple(by_rank[one:end].tolist()) for one, end in zip(first, stop, strict=True)],
        "band": band[first], "most_count": occurrences[by_rank[first]], "fewest_count": occurrences[by_rank[stop - 1]],
    })  # fmt: skip
