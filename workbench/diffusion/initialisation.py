"""Where sampling may begin instead of at noise: a mean of real features of the triplet's classes (section 3.3)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.regions.features import FeatureStore
from workbench.scenes.relations import rows_by_class

ROWS_TO_FIT = 50_000
ROWS_PER_CHUNK = 4096

# Maps rows (n,) of a table of triplets to features (n, D) float32.
Sampler = Callable[[np.ndarray], np.ndarray]


def draw_boxes(store: FeatureStore, triplets: pd.DataFrame, seed: int) -> pd.DataFrame:
    """``triplets`` with ``subject_box`` and ``object_box``: a training box of each class, drawn for every row.

    Boxes of the class count alike whatever they take part in. Where a data set has no boxes of its own (``store.
    entity_region`` "union"), the union of a relation in which the class has that role stands in, or, where the class
    never has that role, of one in which it has the other. WorkbenchError for a class without any training box.
    """
    drawn = {}
    for role, other in (("subject", "object"), ("object", "subject")):
        candidates = _boxes_by_class(store, role)
        if store.entity_region == "union":
            candidates = _boxes_by_class(store, other) | candidates
        uniform = generator(seed, "seed boxes", role).random(len(triplets))
        drawn[f"{role}_box"] = _draw(candidates, triplets[role].to_numpy(), uniform, role)
    return triplets.assign(**drawn)


def draw_relations(store: FeatureStore, triplets: pd.DataFrame, seed: int) -> np.ndarray:
    """A training relation (N,) that shows the relation class of each row of ``triplets``, of any subject and object.

    WorkbenchError for a class without any training relation.
    """
    candidates = rows_by_class(store.relations["relation"].to_numpy())
    uniform = generator(seed, "seed relations").random(len(triplets))
    return _draw(candidates, triplets["relation"].to_numpy(), uniform, "relation")


def initial_features(
    store: FeatureStore, triplets: pd.DataFrame, init: str, init_map: str, seed: int
) -> Sampler | None:
    """The mean features that ``init`` begins at for rows of ``triplets`` whose boxes were drawn; None for "random".

    "subject-object" is the mean of the two boxes, which ``init_map`` "affine" first carries over to the union space;
    "subject-relation-object" counts a union of the relation in. Standardising is affine, so this is also the mean of
    the standardised features, put back.
    """
    if init == "random":
        return None
    subject, object_ = (triplets[f"{role}_box"].to_numpy() for role in ("subject", "object"))
    carried = fit_init_map(store, seed) if init_map == "affine" else None
    relation = None if init == "subject-object" else draw_relations(store, triplets, seed)

    def means(rows: np.ndarray) -> np.ndarray:
        pair = 0.5 * (store.box(subject[rows]) + store.box(object_[rows]))
        pair = pair if carried is None else carried(pair)
        return pair if relation is None else (2 * pair + store.union(relation[rows])) / 3

    return means


@dataclass(frozen=True)
class InitMap:
    """An affine map from box features to union features: ``(x - origin) @ weight + offset``; (D,), (D, D), (D,)."""

    origin: np.ndarray
    weight: np.ndarray
    offset: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(N, D) float32 features carried over."""
        return ((features - self.origin) @ self.weight + self.offset).astype(np.float32)


def fit_init_map(store: FeatureStore, seed: int, ridge: float = 1e-2) -> InitMap:
    """Ridge regression of each training union on the mean of its own subject's and object's features.

    ``ridge`` is a share of the mean variance of those means. At most 50,000 rows are read, drawn by ``seed``.
    """
    rows = np.arange(len(store))
    if len(rows) > ROWS_TO_FIT:
        rows = np.sort(generator(seed, "seed map rows").choice(len(rows), ROWS_TO_FIT, replace=False))
    chunks = [rows[start : start + ROWS_PER_CHUNK] for start in range(0, len(rows), ROWS_PER_CHUNK)]
    origin = sum(_pair_means(store, chunk).sum(axis=0, dtype=np.float64) for chunk in chunks) / len(rows)
    offset = sum(store.union(chunk).sum(axis=0, dtype=np.float64) for chunk in chunks) / len(rows)
    gram, cross = np.zeros((store.dimension,) * 2), np.zeros((store.dimension,) * 2)
    for chunk in chunks:
        centred = _pair_means(store, chunk) - origin
        gram += centred.T @ centred
        cross += centred.T @ (store.union(chunk) - offset)
    gram[np.diag_indices_from(gram)] += max(ridge * np.trace(gram) / store.dimension, 1e-12)
    return InitMap(origin, np.linalg.solve(gram, cross), offset)


def _boxes_by_class(store: FeatureStore, role: str) -> dict[int, np.ndarray]:
    if store.entity_region == "box":
        return rows_by_class(store.boxes["object_class"].to_numpy())
    box = store.relations[f"{role}_box"].to_numpy()
    return {number: box[rows] for number, rows in rows_by_class(store.relations[role].to_numpy()).items()}


def _draw(candidates: dict[int, np.ndarray], classes: np.ndarray, uniform: np.ndarray, role: str) -> np.ndarray:
    kind, shown_by = ("relation", "relation") if role == "relation" else ("object", "box")
    drawn = np.empty(len(classes), dtype=np.int64)
    for number in np.unique(classes).tolist():
        if number not in candidates:
            raise WorkbenchError(
                f"{kind} class {number}, the {role} of an augmented triplet, has no training {shown_by}. "
                "Build the augmented triplets from the same training split as the features."
            )
        here, rows = classes == number, candidates[number]
        drawn[here] = rows[np.minimum((uniform[here] * len(rows)).astype(np.int64), len(rows) - 1)]
    return drawn


def _pair_means(store: FeatureStore, rows: np.ndarray) -> np.ndarray:
    return 0.5 * (store.subject(rows) + store.object(rows))
