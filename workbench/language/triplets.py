"""The stage ``triplets``: augmented triplets, the captions of all triplets, their embeddings and the hardness model.

``write_triplets`` makes the folder, ``read_triplets`` opens it.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.language.captions import captions_of
from workbench.language.hardness import HardnessModel, fit_hardness, require_centres
from workbench.progress import track
from workbench.scenes.relations import TripletLookup, distinct_keys, in_sorted, triplet_keys, triplets_of_keys
from workbench.scenes.triplet_lists import read_triplet_list
from workbench.scenes.vocabulary import ROLES

if TYPE_CHECKING:
    from workbench.language.text_embedding import TextEmbeddings

EMBEDDINGS = "caption_embeddings.npy"
PROGRESS = ".caption_embeddings.json"
ROWS_PER_PART = 4096
# Larger embeddings are stored in float16, whose rounding moves a unit vector by 0.0002.
LARGEST_FLOAT32_BYTES = 256 << 20


def write_triplets(
    folder: Path,
    *,
    features: Path,
    text: Path,
    bands: Sequence[str] = ("medium", "few"),
    threshold: float = 2.26,
    medium_quota: int = 48_000,
    few_quota: int = 48_000,
    n_centres: int = 1200,
    max_senses: int = 4,
    balance: str = "role",
    allow_existing: bool = False,
    include: Path | None = None,
    exclude: Path | None = None,
    seed: int = 0,
) -> dict:
    """Augment the train triplets (DiffAugment, section 3.2 stage 1) and fit hardness (3.4) on the original ones.

    Writes augmented.parquet, captions.parquet (distinct triplets with ``caption`` and ``original``),
    caption_embeddings.npy (n, T) in its order, float32 up to 256 MB and float16 beyond, and hardness.npz. Captions are
    embedded in parts, so that a killed run goes on. ``include`` and ``exclude``: lists of triplets (see
    ``workbench.scenes.triplet_lists``) that alone may be drawn, or may not. Returns counts. Raises WorkbenchError where
    no triplet can be augmented or ``n_centres`` exceeds the number of original captions.
    """
    from workbench.language.augmentation import augment_triplets
    from workbench.language.similarity import class_similarity
    from workbench.language.text_embedding import TextEmbeddings
    from workbench.scenes.bands import count_classes
    from workbench.scenes.relations import RelationTables
    from workbench.scenes.vocabulary import Vocabulary

    folder = Path(folder)
    vocabulary, train = Vocabulary.read(features), RelationTables.open(Path(features) / "train")
    similarity = class_similarity(vocabulary.objects, max_senses=max_senses)
    paths = {name: Path(path) for name, path in (("include", include), ("exclude", exclude)) if path is not None}
    lists = {name: read_triplet_list(path, vocabulary) for name, path in paths.items()}
    with _lists_told(paths, lists):
        augmented = augment_triplets(
            train.relations, vocabulary, count_classes(train.relations, vocabulary), similarity,
            bands=tuple(bands), threshold=threshold, quotas={"medium": medium_quota, "few": few_quota}, seed=seed,
            balance=balance, allow_existing=allow_existing, **lists,
        )  # fmt: skip
        if not len(augmented):
            raise WorkbenchError(
                f"{features}: no triplet of the bands {', '.join(bands)} can be augmented at LCH {threshold}. Lower "
                "the threshold, raise the quotas, or choose more bands."
            )
    captions = distinct_triplet_captions(train.relations, augmented, vocabulary)
    original = np.flatnonzero(captions["original"])
    require_centres(n_centres, len(original))
    folder.mkdir(parents=True, exist_ok=True)
    embeddings = embedded_captions(folder, captions, TextEmbeddings.open(text))
    hardness = fit_hardness(embeddings, n_centres, seed, rows=original)
    for name, table in (("augmented", augmented), ("captions", captions)):
        with atomic_path(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    hardness.save(folder / "hardness.npz")
    (folder / PROGRESS).unlink()
    return {
        "augmented": len(augmented),
        "augmented_by_band": {str(band): int(count) for band, count in augmented["band"].value_counts().items()},
        "original_captions": len(original),
        "new_captions": len(captions) - len(original),
        "centres": n_centres,
        "objects_without_synset": len(similarity.without_synset),
    }


@dataclass(frozen=True)
class AugmentedTriplets:
    """The folder that the stage ``triplets`` leaves behind (see :func:`write_triplets`).

    ``augmented``: table of augmented triplets; ``captions``: distinct original and augmented triplets with ``caption``
    and ``original``; ``caption_embeddings`` (len(captions), T) float32 or float16, memory-mapped when read from disk;
    ``hardness``: the model of section 3.4.
    """

    augmented: pd.DataFrame
    captions: pd.DataFrame
    caption_embeddings: np.ndarray
    hardness: HardnessModel

    def caption_rows(self, triplets: np.ndarray) -> np.ndarray:
        """The row (n,) int64 of ``captions`` that holds each of the triplets (n, 3), -1 where none does."""
        return self._index.rows(triplets)

    @cached_property
    def _index(self) -> TripletLookup:
        return TripletLookup(self.captions[list(ROLES)].to_numpy())


def read_triplets(folder: Path) -> AugmentedTriplets:
    """Read the folder of the stage ``triplets``; WorkbenchError where a file is missing or does not fit the others."""
    folder = Path(folder)
    for name in ("augmented.parquet", "captions.parquet", "caption_embeddings.npy", "hardness.npz"):
        if not (folder / name).exists():
            raise WorkbenchError(f"{folder / name}: the file is missing. Run the stage triplets (notebook 02) first.")
    try:
        augmented, captions = (pd.read_parquet(folder / f"{name}.parquet") for name in ("augmented", "captions"))
        embeddings = np.load(folder / "caption_embeddings.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{folder}: a table or array cannot be read ({error}). Run notebook 02 again.") from error
    if len(embeddings) != len(captions):
        raise WorkbenchError(
            f"{folder}: {len(captions)} captions but {len(embeddings)} caption embeddings. Run notebook 02 again."
        )
    return AugmentedTriplets(augmented, captions, embeddings, HardnessModel.load(folder / "hardness.npz"))


@contextlib.contextmanager
def _lists_told(paths: dict[str, Path], lists: dict[str, pd.DataFrame]) -> Iterator[None]:
    """Within the block an error also says how many triplets the lists hold, since they may be why none is left."""
    try:
        yield
    except WorkbenchError as error:
        if not lists:
            raise
        told = "; ".join(f"{name}: {len(lists[name]):,} triplets in {path}" for name, path in paths.items())
        raise WorkbenchError(f"{error} ({told}.)") from error


def distinct_triplet_captions(original: pd.DataFrame, augmented: pd.DataFrame, vocabulary) -> pd.DataFrame:
    """Distinct triplets of both tables with their ``caption`` and whether they are ``original``, in order of ids."""
    known, new = (distinct_keys(triplet_keys(*(table[role] for role in ROLES))) for table in (original, augmented))
    keys = distinct_keys(np.concatenate([known, new]))
    triplets = triplets_of_keys(keys)
    captions = {"caption": captions_of(triplets, vocabulary), "original": in_sorted(keys, known)}
    return pd.DataFrame(dict(zip(ROLES, triplets.T, strict=True)) | captions)


def embedded_captions(folder: Path, captions: pd.DataFrame, text: "TextEmbeddings") -> np.ndarray:
    """Write caption_embeddings.npy (n, T) for a table of distinct triplets and return it memory-mapped.

    What a killed run has embedded of the same captions with the same encoder is kept: the array is filled in place, and
    a file beside it says how many rows are on disk.
    """
    path, begun, progress = folder / EMBEDDINGS, folder / f".{EMBEDDINGS}", folder / PROGRESS
    triplets = captions[list(ROLES)].to_numpy()
    shape = (len(captions), text.dimension)
    dtype = np.dtype(np.float32 if np.prod(shape) * 4 <= LARGEST_FLOAT32_BYTES else np.float16)
    work = {"encoder": text.encoder, "captions": hashlib.sha256(triplets.tobytes()).hexdigest(), "dtype": dtype.str}
    done = _rows_done(progress, work) if begun.exists() or path.exists() else 0
    if done < len(captions):
        stored = np.lib.format.open_memmap(begun, "r+" if done else "w+", dtype, shape)
        for start in track(range(done, len(captions), ROWS_PER_PART), "Embedding captions"):
            part = triplets[start : start + ROWS_PER_PART]
            stored[start : start + len(part)] = text.triplets(*part.T, keep=False)
            stored.flush()
            write_json(progress, work | {"rows": start + len(part)})
    if begun.exists():
        begun.replace(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _rows_done(progress: Path, work: dict) -> int:
    found = read_json(progress) if progress.exists() else {"rows": 0}
    rows = found.pop("rows")
    return rows if found == work else 0
