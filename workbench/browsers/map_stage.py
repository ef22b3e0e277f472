"""The stage ``feature_map``: real and generated union features laid out in one fit, and how far to trust the layout."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures.fidelity import equal_rows
from workbench.files import save_table
from workbench.language.triplets import read_triplets
from workbench.progress import track
from workbench.randomness import generator
from workbench.regions.features import Features, FeaturesFolder, GeneratedFeatures
from workbench.scenes.bands import band_of_class
from workbench.scenes.vocabulary import ROLES

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

POINTS = "points.parquet"
ROWS_PER_BLOCK = 4096
PCA_DIMENSIONS = 50
EPOCHS = 200
MOST_PCA_ROWS = 20_000
MOST_TRUST_ROWS = 2_000
FEWEST_ROWS = 5
ROWS_WORTH_TELLING = 10_000
MOST_EXACT_ROWS = 4_096  # of fewer UMAP would find exact neighbours too, and compile that search for four seconds
Chosen = tuple[str, Features, np.ndarray]  # a source, where its features are, and which rows


def write_feature_map(
    folder: Path, *, features: Path, generated: Path, triplets: Path, rows: int, neighbours: int = 15, seed: int
) -> dict:
    """Lay out equally many real train rows and generated rows, at most ``rows`` each, in one joint UMAP fit.

    Writes points.parquet, real points first: x and y (float32), source ("real" or "generated"), row (in the train store
    or in the generated table), subject, relation and object (class ids), the bands of the three, and entropy (of the
    caption's hardness vector, nats). Returns the trustworthiness of the map against the full features (Venna and Kaski
    2001; on at most 2,000 points), the variance share of the principal components, and what the map is of.
    Features are read in blocks: beside them a sample of 20,000 real rows for the components is in memory.
    WorkbenchError where there are too few rows, or captions that the triplets folder does not know.
    """
    from sklearn.manifold import trustworthiness

    data = FeaturesFolder(features)
    samples = GeneratedFeatures(generated, data.train)
    sample_rows, real_rows = equal_rows(len(samples), len(data.train), most=rows, seed=seed)
    if len(real_rows) < FEWEST_ROWS:
        raise WorkbenchError(
            f"a map of {len(real_rows)} real and as many generated rows shows nothing; expected {FEWEST_ROWS} of each. "
            f"Ask for more rows, or generate more features ({generated})."
        )
    chosen: list[Chosen] = [("real", data.train, real_rows), ("generated", samples, sample_rows)]
    points = pd.concat(
        [source.relations[list(ROLES)].iloc[own].assign(source=name, row=own) for name, source, own in chosen],
        ignore_index=True,
    )
    for role in ROLES:
        points[f"{role}_band"] = band_of_class(data.counts.of_role(role))[points[role]]
    points["entropy"] = read_triplets(triplets).entropy(points)
    reduced, share = _reduced(chosen, seed)
    # Of a small map the lines would be longer than the wait.
    xy = joint_layout(reduced, seed=seed, neighbours=neighbours, show=len(reduced) > ROWS_WORTH_TELLING)
    points = points.assign(x=xy[:, 0], y=xy[:, 1])
    some = np.sort(generator(seed, "map trustworthiness").permutation(len(points))[:MOST_TRUST_ROWS])
    shown, nearest = points.iloc[some], min(neighbours, (len(some) - 1) // 2)
    # Real points come first, so the two parts are in the order of the points.
    full = np.concatenate([source.union(shown["row"][shown["source"] == name]) for name, source, _ in chosen])  # (n, D)
    trust = float(trustworthiness(full, shown[["x", "y"]].to_numpy(), n_neighbors=nearest))
    save_table(Path(folder) / POINTS, points)
    return {
        "rows_of_each": len(real_rows), "neighbours": neighbours, "seed": seed,
        "trustworthiness": trust, "trustworthiness_points": len(some),
        "components": reduced.shape[1], "variance_share": share,
        "dimension": data.train.dimension, "encoder": data.train.encoder,
        "train_rows": len(data.train), "generated_rows": len(samples),
    }  # fmt: skip


def _reduced(chosen: list[Chosen], seed: int) -> tuple[np.ndarray, float]:
    """Principal components (2 N, d) float32 of real, then generated rows, and the share of the real rows' variance."""
    _, real, real_rows = chosen[0]
    some = np.sort(generator(seed, "map components").permutation(real_rows)[:MOST_PCA_ROWS])
    components = real_components(real.union(some), seed=seed)
    blocks = [(source, rows[start : start + ROWS_PER_BLOCK])
              for _, source, rows in chosen for start in range(0, len(rows), ROWS_PER_BLOCK)]  # fmt: skip
    reduced = [
        components.transform(source.union(block).astype(np.float64))
        for source, block in track(blocks, "Principal components")
    ]
    return np.concatenate(reduced).astype(np.float32), float(components.explained_variance_ratio_.sum())


def real_components(real: np.ndarray, *, seed: int) -> "PCA":
    """The first 50 principal components of ``real`` (N, D), or as many as there are.

    Fitted on real rows alone, so that odd generated rows cannot claim the axes for themselves. The mean is subtracted
    first: scikit-learn takes it from sums of squares, which in float32 leaves arbitrary axes where the mean is ten
    times the spread. Give rows to be transformed as float64, for the same reason.
    """
    from sklearn.decomposition import PCA

    mean = real.mean(axis=0, dtype=np.float64)
    found = PCA(min(PCA_DIMENSIONS, real.shape[1], len(real) - 1), random_state=seed)
    found.fit((real - mean).astype(np.float32))
    found.mean_ = found.mean_ + mean
    return found


def joint_layout(reduced: np.ndarray, *, seed: int, neighbours: int = 15, show: bool = False) -> np.ndarray:
    """Coordinates (N, 2) float32 of all rows (N, d) from one UMAP fit; ``show`` prints how far it has come."""
    from sklearn.neighbors import NearestNeighbors
    from umap import UMAP  # two seconds, and a JIT compiler

    near, known = min(neighbours, len(reduced) - 1), (None, None, None)
    if len(reduced) < MOST_EXACT_ROWS:
        distances, indices = NearestNeighbors(n_neighbors=near, algorithm="brute").fit(reduced).kneighbors(reduced)
        known = indices, distances.astype(np.float32), None
    layout = UMAP(
        n_neighbors=near, random_state=seed, n_jobs=1, init="pca", n_epochs=EPOCHS, precomputed_knn=known,
        verbose=show, tqdm_kwds={"disable": True},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value|precomputed_knn")
        return layout.fit_transform(reduced).astype(np.float32)
