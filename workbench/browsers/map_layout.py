"""The layout of a feature map: principal components of the real rows, then one joint UMAP fit.

``transform`` is never used: only a joint fit compares real and generated rows fairly (reference style, section 3).
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

PCA_DIMENSIONS = 50
EPOCHS = 200


def real_components(real: np.ndarray, *, seed: int) -> "PCA":
    """The first 50 principal components of ``real`` (N, D), or as many as there are.

    Fitted on real rows alone, so that odd generated rows cannot claim the axes for themselves.
    """
    from sklearn.decomposition import PCA

    return PCA(min(PCA_DIMENSIONS, real.shape[1], len(real) - 1), random_state=seed).fit(real)


def joint_layout(reduced: np.ndarray, *, seed: int, neighbours: int = 15, show: bool = False) -> np.ndarray:
    """Coordinates (N, 2) float32 of all rows (N, d) from one UMAP fit; ``show`` prints how far it has come."""
    from umap import UMAP

    layout = UMAP(
        n_neighbors=min(neighbours, len(reduced) - 1), random_state=seed, n_jobs=1, init="pca", n_epochs=EPOCHS,
        verbose=show, tqdm_kwds={"disable": True},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")
        return layout.fit_transform(reduced).astype(np.float32)
