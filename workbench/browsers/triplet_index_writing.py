"""The builder of the stage ``triplet_index``: grouping, counting and hardness of the distinct triplets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from workbench.browsers.caption_text import folded
from workbench.errors import WorkbenchError
from workbench.files import atomic_path, save_array
from workbench.language.similarity import class_similarity
from workbench.progress import track
from workbench.scenes.bands import Counts, band_of_class, band_places, count_classes
from workbench.scenes.relations import RelationTables, distinct_keys, triplet_keys, triplets_of_keys
from workbench.scenes.vocabulary import ROLES, Vocabulary

TABLE, CAPTION, PATHS = "triplets.arrow", "caption", "wordnet_paths.parquet"
COLUMNS = (
    *ROLES, "count", "augmented", "lch", "hardness", *(f"{role}_band" for role in ROLES), "name_rank",
)  # fmt: skip
# Whose row numbers a triplet leads to: the training relations, and the table of augmented triplets.
GROUPS = ("examples", "augmented")
ROWS_PER_PART = 8192


def write_triplet_index(folder: Path, *, features: Path, triplets: Path | None = None, max_senses: int = 4) -> dict:
    """Stage builder: index the distinct triplets of training, and of augmentation where there is one.

    ``features``: a folder with objects.json, predicates.json and the tables of train; ``triplets``: the folder of the
    stage ``triplets``, which considered ``max_senses`` of a class name. Writes triplets.arrow (columns as in
    ``TripletIndex``), examples_rows.npy, augmented_rows.npy and their _first.npy, wordnet_paths.parquet, and the names.
    Returns counts. WorkbenchError where ``triplets`` belongs to other features.
    """
    vocabulary, train = Vocabulary.read(features), RelationTables.open(Path(features) / "train").relations
    counts = count_classes(train, vocabulary)
    stage = None
    if triplets is not None:
        from workbench.language.triplets import read_triplets

        stage = read_triplets(triplets)
    augmented = stage.augmented if stage else pd.DataFrame({role: np.empty(0, dtype=np.int64) for role in ROLES})
    groups = {"examples": _GroupedRows.of(train), "augmented": _GroupedRows.of(augmented)}
    keys = distinct_keys(np.concatenate([group.keys for group in groups.values()]))
    first = {name: group.first_of(keys) for name, group in groups.items()}
    unknown = np.full(len(keys), np.nan)
    columns = {
        "count": np.diff(first["examples"]).astype(np.int32),
        "augmented": np.diff(first["augmented"]).astype(np.int32),
        "lch": _highest(augmented["lch"].to_numpy(), groups["augmented"], keys) if stage else unknown,
        "hardness": _entropy(stage, keys, Path(triplets)) if stage else unknown,
    }
    _write_table(Path(folder) / TABLE, keys, columns, vocabulary, counts)
    for name, group in groups.items():
        save_array(Path(folder) / f"{name}_rows.npy", group.rows)
        save_array(Path(folder) / f"{name}_first.npy", first[name])
    if stage:
        _write_paths(Path(folder) / PATHS, augmented, vocabulary, max_senses)
    vocabulary.write(folder)
    return {
        "triplets": len(keys),
        "original_triplets": int((columns["count"] > 0).sum()),
        "augmented_triplets": int((columns["augmented"] > 0).sum()),
        "relations": len(train),
        "augmented_rows": len(augmented),
    }


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


def _highest(lch: np.ndarray, group: _GroupedRows, keys: np.ndarray) -> np.ndarray:
    """The highest LCH (n,) float64 of the augmented rows of each triplet, nan without one."""
    highest = np.full(len(keys), np.nan)
    if len(group.keys):
        highest[np.searchsorted(keys, group.keys)] = np.fmax.reduceat(lch[group.rows], group.starts)
    return highest


def _entropy(stage, keys: np.ndarray, folder: Path) -> np.ndarray:
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


def _write_paths(path: Path, augmented: pd.DataFrame, vocabulary: Vocabulary, max_senses: int) -> None:
    """The way through WordNet of each replacement (old and new class): nobody waits for WordNet when they browse."""
    new = np.where(augmented["replaced"] == "subject", augmented["subject"], augmented["object"])
    pairs = np.unique(np.stack([augmented["replaced_class"].to_numpy(), new], axis=1), axis=0)
    similarity = class_similarity(vocabulary.objects, max_senses=max_senses)
    ways = [", ".join(similarity.path(old, after)) for old, after in track(pairs.tolist(), "Ways through WordNet")]
    with atomic_path(path) as temporary:
        pd.DataFrame({"old": pairs[:, 0], "new": pairs[:, 1], "path": ways}).to_parquet(temporary, index=False)


def _write_table(path: Path, keys: np.ndarray, columns: dict, vocabulary: Vocabulary, counts: Counts) -> None:
    ids = dict(zip(ROLES, triplets_of_keys(keys).T, strict=True))
    narrow = np.int16 if max(len(vocabulary.objects), len(vocabulary.relations)) < 1 << 15 else np.int32
    arrays = {role: ids[role].astype(narrow) for role in ROLES} | columns
    for role in ROLES:
        arrays[f"{role}_band"] = band_places(band_of_class(counts.of_role(role)))[ids[role]]
    captions = _folded_captions(ids, vocabulary)
    arrays["name_rank"] = np.empty(len(keys), dtype=np.int32)
    arrays["name_rank"][pc.sort_indices(captions).to_numpy()] = np.arange(len(keys), dtype=np.int32)
    # In one batch, so that each column is one piece of memory.
    batch = pa.record_batch([*(pa.array(arrays[name]) for name in COLUMNS), captions], names=[*COLUMNS, CAPTION])
    with atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as file:  # noqa: SIM117
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)


def _folded_captions(ids: dict[str, np.ndarray], vocabulary: Vocabulary) -> pa.StringArray:
    names = (pa.array([folded(name) for name in vocabulary.names(role)], pa.string()).take(ids[role]) for role in ROLES)
    return pc.binary_join_element_wise(*names, " ")
