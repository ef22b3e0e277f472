"""Hardness of a caption: its normalised distances to the cluster centres of all original captions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.randomness import derived_seed

ROWS_PER_CHUNK = 4096
# Above this many distances an exact Lloyd iteration takes seconds, so centres come from mini-batches.
EXACT_DISTANCES = 20_000_000
ROWS_PER_MINI_BATCH = 8192


@dataclass(frozen=True)
class HardnessModel:
    """K cluster centres (K, T) float64 in the space of the caption embeddings."""

    centres: np.ndarray

    def hardness(self, embeddings: np.ndarray) -> np.ndarray:
        """The hardness vectors (n, K) float32 of n captions; each row sums to 1.

        Euclidean distances to all centres, L1-normalised (DiffAugment, section 3.4), in float64 and in chunks.
        Entries all lie near 1/K: whoever feeds them to a network must standardise them first.
        """
        self._check(embeddings)
        hardness = np.empty((len(embeddings), len(self.centres)), dtype=np.float32)
        for start in range(0, len(embeddings), ROWS_PER_CHUNK):
            rows = slice(start, start + ROWS_PER_CHUNK)
            hardness[rows] = self._normalised_distances(embeddings[rows])
        return hardness

    def entropy(self, embeddings: np.ndarray) -> np.ndarray:
        """Entropy in nats (n,) float64 of each hardness vector; at most log K, for a caption far from every centre."""
        self._check(embeddings)
        entropy = np.empty(len(embeddings))
        for start in range(0, len(embeddings), ROWS_PER_CHUNK):
            rows = slice(start, start + ROWS_PER_CHUNK)
            shares = self._normalised_distances(embeddings[rows])
            entropy[rows] = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1)
        return entropy

    def save(self, path: Path) -> None:
        """Write the centres as npz, without pickling."""
        with atomic_path(path) as temporary:
            np.savez(temporary, centres=self.centres)

    @classmethod
    def load(cls, path: Path) -> "HardnessModel":
        """Read what ``save`` wrote; WorkbenchError where it is missing or truncated."""
        import zipfile

        try:
            with np.load(path, allow_pickle=False) as arrays:
                centres = arrays["centres"]
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise WorkbenchError(f"{path}: not a hardness model ({error}). Fit it again.") from error
        return cls(centres)

    def _normalised_distances(self, embeddings: np.ndarray) -> np.ndarray:
        from sklearn.metrics.pairwise import euclidean_distances

        distances = euclidean_distances(np.asarray(embeddings, dtype=np.float64), self.centres)
        total = distances.sum(axis=1, keepdims=True)
        # With one centre a caption may sit exactly on it; the only vector that sums to 1 is then even.
        return np.where(total > 0, distances / np.where(total > 0, total, 1.0), 1.0 / len(self.centres))

    def _check(self, embeddings: np.ndarray) -> None:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.centres.shape[1]:
            raise WorkbenchError(
                f"The hardness model has centres of {self.centres.shape[1]} numbers, the captions have shape "
                f"{embeddings.shape}. Use captions of the encoder that the model was fitted on, or fit it again."
            )
        _require_finite(embeddings)


def fit_hardness(
    caption_embeddings: np.ndarray, n_centres: int, seed: int, *, weights: np.ndarray | None = None
) -> HardnessModel:
    """K-means centres of the embeddings (n, T) of all original captions (DiffAugment, section 3.4).

    Repeated rows count once, so that a frequent triplet weighs as much as a rare one; ``weights`` (n,), for
    example counts, changes that. WorkbenchError where there are fewer distinct captions than centres.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    embeddings = np.asarray(caption_embeddings, dtype=np.float64)
    _require_finite(embeddings)
    distinct, row = np.unique(embeddings, axis=0, return_inverse=True)
    if not 1 <= n_centres <= len(distinct):
        raise WorkbenchError(
            f"{n_centres} hardness centres were asked for, but there are {len(distinct)} distinct captions. "
            f"Choose between 1 and {len(distinct)} centres."
        )
    options = {"n_clusters": n_centres, "random_state": derived_seed(seed, "hardness") % 2**32, "n_init": 1}
    if len(distinct) * n_centres <= EXACT_DISTANCES:
        clusters = KMeans(**options)
    else:
        clusters = MiniBatchKMeans(**options, batch_size=max(ROWS_PER_MINI_BATCH, 4 * n_centres))
    per_caption = None if weights is None else np.bincount(row.reshape(-1), weights=weights, minlength=len(distinct))
    return HardnessModel(clusters.fit(distinct, sample_weight=per_caption).cluster_centers_)


def _require_finite(embeddings: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise WorkbenchError(
            f"Row {bad[0]} of the caption embeddings is not finite ({len(bad)} such rows). Write the text folder again."
        )
