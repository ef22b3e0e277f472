"""The subject-object seed: the mean feature of two random training boxes of a triplet's classes (section 3.3)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.scenes.relations import rows_by_class

if TYPE_CHECKING:
    from workbench.regions.feature_store import FeatureStore

SEED_MAPS = ("none", "affine")
# Where sampling begins: at noise, at the paper's mean of two boxes, or at that of a union of the relation as well.
STARTS = ("random", "subject-object", "subject-relation-object")
ROWS_TO_FIT = 50_000
ROWS_PER_CHUNK = 4096


@dataclass(frozen=True)
class SubjectObjectSeed:
    """Box rows (N,) of the store, drawn for the subject and the object of each triplet."""

    subject_box: np.ndarray
    object_box: np.ndarray

    def means(self, store: "FeatureStore", rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Mean feature (n, D) float32 of the two boxes of triplets ``rows``.

        Standardising is affine, so this is also the mean of the two standardised features, put back.
        """
        return 0.5 * (store.box(self.subject_box[rows]) + store.box(self.object_box[rows]))


def subject_object_seed(store: "FeatureStore", triplets: pd.DataFrame, seed: int) -> SubjectObjectSeed:
    """Draw a training box of its subject's and of its object's class for every row of ``triplets``.

    Boxes of the class count alike whatever they take part in. Where a data set has no boxes of its own (``store.
    entity_region`` "union"), the union of a relation in which the class has that role stands in, or, where the class
    never has that role, of one in which it has the other. WorkbenchError for a class without any training box.
    """
    drawn = {}
    for role, other in (("subject", "object"), ("object", "subject")):
        candidates = _boxes_by_class(store, role)
        if store.entity_region == "union":
            fallback = _boxes_by_class(store, other)
            candidates = fallback | candidates
        uniform = generator(seed, "seed boxes", role).random(len(triplets))
        drawn[role] = _draw(candidates, triplets[role].to_numpy(), uniform, role)
    return SubjectObjectSeed(drawn["subject"], drawn["object"])


def relation_rows(store: "FeatureStore", triplets: pd.DataFrame, seed: int) -> np.ndarray:
    """Draw a training relation (N,) that shows its relation class for every row of ``triplets``, whatever its ends.

    WorkbenchError for a class without any training relation.
    """
    candidates = rows_by_class(store.relations["relation"].to_numpy())
    uniform = generator(seed, "seed relations").random(len(triplets))
    return _draw(candidates, triplets["relation"].to_numpy(), uniform, "relation")


def _boxes_by_class(store: "FeatureStore", role: str) -> dict[int, np.ndarray]:
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


@dataclass(frozen=True)
class SeedMap:
    """An affine map from box features to union features: ``(x - origin) @ weight + offset``; (D,), (D, D), (D,)."""

    origin: np.ndarray
    weight: np.ndarray
    offset: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(N, D) float32 seed features carried over."""
        return ((features - self.origin) @ self.weight + self.offset).astype(np.float32)


def fit_seed_map(store: "FeatureStore", seed: int, ridge: float = 1e-2) -> SeedMap:
    """Ridge regression of each training union on the mean of its own subject's and object's features.

    ``ridge`` is a share of the mean variance of the seeds. At most 50,000 rows are read, drawn by ``seed``.
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
    return SeedMap(origin, np.linalg.solve(gram, cross), offset)


def _pair_means(store: "FeatureStore", rows: np.ndarray) -> np.ndarray:
    return 0.5 * (store.subject(rows) + store.object(rows))


@dataclass(frozen=True)
class ClassMean:
    """The mean of a subject's box, an object's box and, where ``relation`` (N,) rows are given, a union that shows it.

    ``seed_map`` carries the mean of the two boxes over to the union space first.
    """

    store: "FeatureStore"
    boxes: SubjectObjectSeed
    seed_map: SeedMap | None = None
    relation: np.ndarray | None = None

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Samples (n, D) float32 for wanted rows."""
        pair = self.boxes.means(self.store, rows)
        pair = pair if self.seed_map is None else self.seed_map(pair)
        return pair if self.relation is None else (2 * pair + self.store.union(self.relation[rows])) / 3


def class_mean(
    store: "FeatureStore", triplets: pd.DataFrame, boxes: SubjectObjectSeed, *, relation: bool, seed_map: str, seed: int
) -> ClassMean:
    """The mean for every row of ``triplets`` whose boxes were drawn; with ``relation`` a union of it is drawn too."""
    mapped = fit_seed_map(store, seed) if seed_map == "affine" else None
    return ClassMean(store, boxes, mapped, relation_rows(store, triplets, seed) if relation else None)
