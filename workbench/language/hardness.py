"""Hardness of a caption: its normalised distances to the cluster centroids of all original captions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workbench.errors import WorkbenchError
from workbench.progress import track
from workbench.randomness import derived_seed, generator

ROWS_PER_CHUNK = 4096
# Above this many distances an exact Lloyd iteration takes seconds, so centroids come from mini-batches in float32;
# above this many numbers float64 and its sorted copy are what takes memory.
EXACT_DISTANCES = 20_000_000
EXACT_NUMBERS = 40_000_000
ROWS_PER_MINI_BATCH = 8192


@dataclass(frozen=True)
class HardnessCentroids:
    """K cluster centroids (K, T) float64 in the space of the caption embeddings."""

    centroids: np.ndarray

    def hardness(self, embeddings: np.ndarray) -> np.ndarray:
        """The hardness vectors (n, K) float32 of n captions; each row sums to 1.

        Euclidean distances to all centroids, L1-normalised (DiffAugment, section 3.4), in float64 and in chunks.
        Entries all lie near 1/K: whoever feeds them to a network must standardise them first.
        """
        hardness = np.empty((len(embeddings), len(self.centroids)), dtype=np.float32)
        for rows, shares in self._normalised_distances(embeddings):
            hardness[rows] = shares
        return hardness

    def entropy(self, embeddings: np.ndarray) -> np.ndarray:
        """Entropy in nats (n,) float64 of each hardness vector; at most log K, for a caption far from all centroids."""
        entropy, chunks = np.empty(len(embeddings)), -(-len(embeddings) // ROWS_PER_CHUNK)
        for rows, shares in track(self._normalised_distances(embeddings), "Hardness of captions", total=chunks):
            entropy[rows] = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1)
        return entropy

    def _normalised_distances(self, embeddings: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Chunks of rows, each with its hardness vectors (m, K) float64; ``embeddings`` may be memory-mapped."""
        from sklearn.metrics.pairwise import euclidean_distances

        if embeddings.ndim != 2 or embeddings.shape[1] != self.centroids.shape[1]:
            raise WorkbenchError(
                f"The hardness centroids are of {self.centroids.shape[1]} numbers, the captions have shape "
                f"{embeddings.shape}. Use captions of the encoder that the centroids were fitted on, or fit them again."
            )
        for start in range(0, len(embeddings), ROWS_PER_CHUNK):
            rows = slice(start, start + ROWS_PER_CHUNK)
            chunk = np.asarray(embeddings[rows], dtype=np.float64)
            _require_finite(chunk, np.arange(start, start + len(chunk)))
            distances = euclidean_distances(chunk, self.centroids)
            total = distances.sum(axis=1, keepdims=True)
            # With one centroid a caption may sit exactly on it; the only vector that sums to 1 is then even.
            yield rows, np.where(total > 0, distances / np.where(total > 0, total, 1.0), 1.0 / len(self.centroids))


def fit_hardness(
    caption_embeddings: np.ndarray, centroids: int, seed: int, rows: np.ndarray | None = None
) -> HardnessCentroids:
    """K-means centroids of the embeddings (n, T) of all original captions (DiffAugment, section 3.4).

    ``caption_embeddings`` may be memory-mapped and of float16; ``rows`` (n,) are those to fit to, where not all are.
    Repeated rows count once, so that a frequent triplet weighs as much as a rare one. Exact K-means in float64 for few
    distances, mini-batches in float32 for many. WorkbenchError where there are fewer distinct captions than centroids.
    """
    from sklearn.cluster import KMeans

    rows = np.arange(len(caption_embeddings)) if rows is None else rows
    first = _distinct_rows(caption_embeddings, rows)
    require_enough_captions(centroids, len(first))
    if len(first) * caption_embeddings.shape[1] > EXACT_NUMBERS or len(first) * centroids > EXACT_DISTANCES:
        found = _mini_batch_centroids(_float32_rows(caption_embeddings, first), centroids, seed)
    else:
        # In ascending order of the embeddings, so that the centroids do not depend on the order of the captions.
        distinct = np.unique(caption_embeddings[first].astype(np.float64), axis=0)
        clusters = KMeans(centroids, random_state=derived_seed(seed, "hardness") % 2**32, n_init=1)
        found = clusters.fit(distinct).cluster_centers_
    return HardnessCentroids(found.astype(np.float64))


def _mini_batch_centroids(embeddings: np.ndarray, centroids: int, seed: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus

    random_state = derived_seed(seed, "hardness") % 2**32
    per_batch = min(len(embeddings), max(ROWS_PER_MINI_BATCH, 4 * centroids))
    sample = np.sort(generator(seed, "hardness sample").choice(len(embeddings), per_batch, replace=False))
    # In float64, since float32 would be converted again for every centroid, which takes ten times as long.
    start, _ = kmeans_plusplus(embeddings[sample].astype(np.float64), centroids, random_state=random_state)
    clusters = MiniBatchKMeans(
        centroids, init=start.astype(np.float32), random_state=random_state, n_init=1, batch_size=per_batch,
        compute_labels=False,
    )  # fmt: skip
    return clusters.fit(embeddings).cluster_centers_


def require_enough_captions(centroids: int, captions: int) -> None:
    """WorkbenchError unless there are at least as many distinct captions as centroids."""
    if not 1 <= centroids <= captions:
        what = f"{centroids} hardness centroids were asked for, but there are {captions} distinct captions"
        raise WorkbenchError(f"{what}. Choose between 1 and {captions} centroids.")


def _distinct_rows(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The first of ``rows`` (n,) with each vector, in their order (m,).

    Vectors are told apart by a 64-bit hash: two of a million different ones share it with a chance of 1 in 10 million,
    and then one caption counts for two.
    """
    hashes = np.empty(len(rows), dtype=np.uint64)
    factors = generator(0, "row hash").integers(0, 1 << 64, embeddings.shape[1], dtype=np.uint64) | np.uint64(1)
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        chunk = _float32_rows(embeddings, rows[start : start + ROWS_PER_CHUNK])
        _require_finite(chunk, rows[start : start + ROWS_PER_CHUNK])
        bits = (chunk + np.float32(0.0)).view(np.uint32)  # -0.0 equals 0.0
        mixed = bits * factors
        hashes[start : start + len(chunk)] = (mixed ^ mixed >> np.uint64(32)).sum(axis=1, dtype=np.uint64)
    return rows[np.sort(np.unique(hashes, return_index=True)[1])]


def _float32_rows(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    gathered = np.empty((len(rows), embeddings.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        part = rows[start : start + ROWS_PER_CHUNK]
        gathered[start : start + len(part)] = embeddings[part]
    return gathered


def _require_finite(embeddings: np.ndarray, rows: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        what = f"Row {rows[bad[0]]} of the caption embeddings is not finite"
        raise WorkbenchError(f"{what}. Write the text folder again.")
