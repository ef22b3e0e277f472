"""The stage ``triplets``: augmented triplets, captions and embeddings of all triplets, similarity and hardness.

``write_triplets`` makes the folder, ``read_triplets`` opens it.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import atomic_path, read_json, save_table, write_json
from workbench.language.augmentation import COLUMNS, augment_triplets
from workbench.language.candidates import keys_of
from workbench.language.config import AugmentationConfig
from workbench.language.hardness import HardnessCentroids, fit_hardness, require_enough_captions
from workbench.language.senses import class_senses
from workbench.language.similarity import ClassSimilarity, class_similarity, compares_senses
from workbench.language.synset_tables import SENSES_TABLE
from workbench.language.text_embedding import TextEmbeddings
from workbench.progress import track
from workbench.scenes.bands import count_classes
from workbench.scenes.relations import (
    RelationTables,
    distinct_keys,
    in_sorted,
    read_table,
    triplet_keys,
    triplets_of_keys,
)
from workbench.scenes.vocabulary import REPLACEMENT, ROLES, Vocabulary, listed, read_triplet_list

EMBEDDINGS, SIMILARITY, HARDNESS = "caption_embeddings.npy", "similarity.npz", "hardness.npz"
BEGUN, PROGRESS = ".caption_embeddings.npy", ".caption_embeddings.json"
CAPTION_COLUMNS = (*ROLES, "caption", "original")
ROWS_PER_PART = 4096
# Larger embeddings are stored in float16, whose rounding moves a unit vector by 0.0002.
LARGEST_FLOAT32_BYTES = 256 << 20


def write_triplets(
    folder: Path,
    *,
    features: Path,
    text: Path,
    config: AugmentationConfig,
    include: Path | None = None,
    exclude: Path | None = None,
) -> dict:
    """Augment the train triplets (DiffAugment, section 3.2 stage 1) and fit hardness (3.4) on the original ones.

    Writes augmented.parquet, captions.parquet (distinct triplets with ``caption`` and ``original``),
    caption_embeddings.npy (n, T) in its order, float32 up to 256 MB and float16 beyond, similarity.npz (of all object
    classes), senses.csv (what LCH compared, in the form of a table of your own) and hardness.npz. Captions are embedded
    in parts, so that a killed run resumes. ``include`` and ``exclude``: lists of triplets and of replacements
    (`scenes.vocabulary.read_triplet_list`) that alone may be drawn, or may not. Returns counts. WorkbenchError where no
    triplet can be augmented or there are fewer original captions than centroids.
    """
    folder, (train, vocabulary, similarity, augmented) = Path(folder), augmented_of(features, config, include, exclude)
    senses = similarity.senses
    captions = _distinct_captions(train, augmented, vocabulary)
    original = np.flatnonzero(captions["original"])
    require_enough_captions(config.centroids, len(original))
    folder.mkdir(parents=True, exist_ok=True)
    embeddings = _embedded_captions(folder, captions, TextEmbeddings.open(text))
    hardness = fit_hardness(embeddings, config.centroids, config.seed, rows=original)
    for name, table in (("augmented", augmented), ("captions", captions)):
        save_table(folder / f"{name}.parquet", table)
    similarity.save(folder / SIMILARITY)
    if senses:
        senses.save(folder / SENSES_TABLE)
    with atomic_path(folder / HARDNESS) as temporary:
        np.savez(temporary, centroids=hardness.centroids)
    (folder / BEGUN).replace(folder / EMBEDDINGS)
    (folder / PROGRESS).unlink()
    gaps = senses.gaps if senses and not isinstance(config.senses, dict) else ""
    told = {"table_gaps": gaps, "names_read_otherwise": vocabulary.read_otherwise}
    return {
        "augmented": len(augmented),
        "augmented_by_band": {str(band): int(count) for band, count in augmented["band"].value_counts().items()},
        "original_captions": len(original),
        "new_captions": len(captions) - len(original),
        "centroids": config.centroids,
        "objects_without_similarity": len(similarity.unknown),
    } | {name: value for name, value in told.items() if value}


def augmented_of(
    features: Path, config: AugmentationConfig, include: Path | None = None, exclude: Path | None = None
) -> tuple[pd.DataFrame, Vocabulary, ClassSimilarity, pd.DataFrame]:
    """Train relations, vocabulary, similarity and augmented triplets, as `write_triplets` says; nothing is written."""
    vocabulary, train = Vocabulary.read(features), RelationTables.open(Path(features) / "train").relations
    senses = None
    if compares_senses(config.similarity):
        senses = class_senses(vocabulary.objects, config.senses, features, max_senses=config.max_senses)
        senses = senses if config.everyday_groups else replace(senses, groups=None)
    similarity = class_similarity(vocabulary.objects, config.similarity, senses)
    paths = {name: Path(path) for name, path in (("include", include), ("exclude", exclude)) if path is not None}
    lists = {name: read_triplet_list(path, vocabulary) for name, path in paths.items()}
    try:
        augmented = augment_triplets(train, vocabulary, count_classes(train, vocabulary), similarity, config, **lists)
    except WorkbenchError as error:
        # The lists may be why nothing is left.
        sizes = "; ".join(f"{name}: {_sizes(lists[name])} in {path}" for name, path in paths.items())
        raise WorkbenchError(f"{error} ({sizes}.)" if lists else str(error)) from error
    return train, vocabulary, similarity, augmented


def _sizes(table: pd.DataFrame) -> str:
    replacements = len(listed(table, REPLACEMENT))
    return f"{len(listed(table, ROLES)):,} triplets" + (f" and {replacements:,} replacements" if replacements else "")


@dataclass(frozen=True)
class AugmentedTriplets:
    """The folder that the stage ``triplets`` leaves behind (see :func:`write_triplets`).

    ``augmented``: table of augmented triplets; ``captions``: distinct original and augmented triplets with ``caption``
    and ``original``; ``caption_embeddings`` (len(captions), T) float32 or float16, memory-mapped when read from disk;
    ``hardness``: the centroids of section 3.4; ``similarity``: of all object classes, read when it is asked for.
    """

    augmented: pd.DataFrame
    captions: pd.DataFrame
    caption_embeddings: np.ndarray
    hardness: HardnessCentroids
    folder: Path = Path()

    @cached_property
    def similarity(self) -> ClassSimilarity:
        """What the replacements were chosen by."""
        return ClassSimilarity.load(self.folder / SIMILARITY)

    def caption_rows(self, triplets: np.ndarray) -> np.ndarray:
        """The row (n,) int64 of ``captions`` that holds each of the triplets (n, 3), -1 where none does."""
        return self._index.get_indexer(triplet_keys(*np.asarray(triplets).reshape(-1, 3).T))

    def entropy(self, relations: pd.DataFrame) -> np.ndarray:
        """Entropy in nats (N,) float64 of the hardness vector of each relation's caption (DiffAugment, section 3.4).

        WorkbenchError for a relation whose triplet has no caption here.
        """
        rows = self.caption_rows(relations[list(ROLES)].to_numpy())
        if (rows < 0).any():
            number = int(np.argmax(rows < 0))
            raise WorkbenchError(
                f"{self.folder / 'captions.parquet'}: no caption for the triplet of classes "
                f"{relations[list(ROLES)].iloc[number].tolist()} (row {number}). Give the triplets that the features "
                "were generated for, or run notebook 02 and generate again."
            )
        distinct, of_row = np.unique(rows, return_inverse=True)
        return self.hardness.entropy(self.caption_embeddings[distinct])[of_row]

    @cached_property
    def senses(self) -> pd.DataFrame:
        """Which WordNet senses were compared: name, synset and chosen_by, no row where another similarity chose."""
        path = self.folder / SENSES_TABLE
        if not path.is_file():
            return pd.DataFrame(columns=["name", "synset", "chosen_by"])
        with reading(path, "a CSV table", "Run notebook 02 again."):
            return pd.read_csv(path, keep_default_na=False)

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(keys_of(self.captions))


def read_triplets(folder: Path) -> AugmentedTriplets:
    """Read the folder of the stage ``triplets``; WorkbenchError where a file or a column is missing, or damaged."""
    folder, again = Path(folder), "Run notebook 02 again."
    augmented = read_table(folder / "augmented.parquet", COLUMNS, remedy=again)
    captions = read_table(folder / "captions.parquet", CAPTION_COLUMNS, remedy=again)
    with reading(folder / EMBEDDINGS, "a whole array", again):
        embeddings = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
    with reading(folder / HARDNESS, "a whole array", again), np.load(folder / HARDNESS, allow_pickle=False) as arrays:
        hardness = HardnessCentroids(arrays["centroids"])
    if len(embeddings) != len(captions):
        raise WorkbenchError(f"{folder / EMBEDDINGS}: {len(embeddings)} rows for {len(captions)} captions. {again}")
    return AugmentedTriplets(augmented, captions, embeddings, hardness, folder)


def _distinct_captions(original: pd.DataFrame, augmented: pd.DataFrame, vocabulary: Vocabulary) -> pd.DataFrame:
    """Distinct triplets of both tables with their ``caption`` and whether they are ``original``, in order of ids."""
    known = distinct_keys(keys_of(original))
    keys = distinct_keys(np.concatenate([known, keys_of(augmented)]))
    triplets = triplets_of_keys(keys)
    captions = {"caption": vocabulary.spoken.captions(triplets), "original": in_sorted(keys, known)}
    return pd.DataFrame(dict(zip(ROLES, triplets.T, strict=True)) | captions)


def _embedded_captions(folder: Path, captions: pd.DataFrame, text: TextEmbeddings) -> np.ndarray:
    """Embed a table of distinct triplets in the file BEGUN of the folder and return it memory-mapped, (n, T).

    What a killed run has embedded of the same captions with the same encoder is kept: the array is filled in place, and
    a file beside it says how many rows are on disk.
    """
    path, progress = folder / BEGUN, folder / PROGRESS
    triplets = captions[list(ROLES)].to_numpy()
    shape = (len(captions), text.dimension)
    dtype = np.dtype(np.float32 if np.prod(shape) * 4 <= LARGEST_FLOAT32_BYTES else np.float16)
    work = {"encoder": text.encoder, "captions": hashlib.sha256(triplets.tobytes()).hexdigest(), "dtype": dtype.str}
    found = read_json(progress) if path.exists() and progress.exists() else {}
    done = found["rows"] if found == found | work else 0
    if done < len(captions):
        stored = np.lib.format.open_memmap(path, "r+" if done else "w+", dtype, shape)
        for start in track(range(done, len(captions), ROWS_PER_PART), "Embedding captions"):
            part = triplets[start : start + ROWS_PER_PART]
            stored[start : start + len(part)] = text.triplets(*part.T)
            stored.flush()
            write_json(progress, work | {"rows": start + len(part)})
    return np.load(path, mmap_mode="r", allow_pickle=False)
