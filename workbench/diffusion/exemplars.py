"""Training rows that stand for wanted triplets, and means of them: what sampling and the baselines begin from.

A triplet's back-off group is the training rows of the same triplet, else of the same subject and object, and so on. Its
boxes are drawn by class; their mean is where sampling may begin instead of at noise (DiffAugment, section 3.3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy

from workbench.errors import WorkbenchError
from workbench.randomness import generator, some_rows
from workbench.regions.features import FeatureStore
from workbench.scenes.relations import rows_by_class
from workbench.scenes.vocabulary import ROLES

ROWS_TO_FIT = 50_000
ROWS_PER_CHUNK = 2048
# From the most specific to the least: the training rows that show what is asked for.
BACK_OFF = (
    ROLES, ("subject", "object"), ("relation", "object"), ("subject", "relation"), ("object",), ("subject",),
    ("relation",), (),
)  # fmt: skip

# Maps rows (n,) of a table of triplets to features (n, D) float32.
Sampler = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class BackOffGroups:
    """For each wanted triplet the training rows that resemble it most.

    ``rows[g]`` are training rows; ``group`` (n,) is the group of each wanted row; ``level`` (n,) is the position in
    `BACK_OFF` of what the group shares with it (0: the most specific). Both are -1 where no level has enough rows.
    """

    rows: list[np.ndarray]
    group: np.ndarray
    level: np.ndarray

    def draw(self, seed: int, purpose: str) -> np.ndarray:
        """One training row (n,) of its group for each wanted triplet, all members alike."""
        return _one_of(dict(enumerate(self.rows)), self.group, generator(seed, purpose))


def back_off_groups(
    training: pd.DataFrame, wanted: pd.DataFrame, *, levels: Sequence[tuple[str, ...]] = BACK_OFF, least_rows: int = 1
) -> BackOffGroups:
    """Group training rows for wanted triplets, both tables with columns subject, relation, object.

    Rows of the first of ``levels`` at which there are ``least_rows`` of them. WorkbenchError without training rows.
    """
    if not len(training):
        raise WorkbenchError("There are no training rows to copy or to fit. Give the features of the training split.")
    rows: list[np.ndarray] = []
    group, level = np.full(len(wanted), -1), np.full(len(wanted), -1)
    for number, roles in enumerate(levels):
        left = np.flatnonzero(group < 0)
        members, asked = (by_classes(table, roles).indices for table in (training, wanted.iloc[left]))
        for key, places in sorted(asked.items(), key=lambda item: item[1][0]):  # in the order of the wanted rows
            if len(members.get(key, ())) >= least_rows:
                group[left[places]], level[left[places]] = len(rows), number
                rows.append(members[key])
    return BackOffGroups(rows, group, level)


def by_classes(table: pd.DataFrame, roles: tuple[str, ...]) -> DataFrameGroupBy:
    """The rows of the same classes in ``roles`` together; of no roles, all rows."""
    return table.groupby(list(roles) or np.zeros(len(table)))


def draw_boxes(store: FeatureStore, triplets: pd.DataFrame, seed: int) -> pd.DataFrame:
    """``triplets`` with ``subject_box`` and ``object_box``: a training box of each class, drawn for every row.

    Boxes of the class count alike whatever they take part in. Where a data set has no boxes of its own (``store.
    entity_region`` "union"), the union of a relation in which the class has that role stands in, or, where the class
    never has that role, of one in which it has the other. WorkbenchError for a class without any training box.
    """
    drawn = {}
    for role, other in (("subject", "object"), ("object", "subject")):
        if store.entity_region == "box":
            boxes = rows_by_class(store.boxes["object_class"].to_numpy())
        else:
            boxes = _boxes_of_role(store, other) | _boxes_of_role(store, role)
        drawn[f"{role}_box"] = _one_of_class(boxes, triplets, role, generator(seed, "seed boxes", role))
    return triplets.assign(**drawn)


def initial_features(
    store: FeatureStore, triplets: pd.DataFrame, init: str, init_map: str, seed: int
) -> Sampler | None:
    """The mean features that ``init`` begins at for rows of ``triplets`` whose boxes were drawn; None for "random".

    "subject-object" is the mean of the two boxes, which ``init_map`` "affine" first carries over to the union space;
    "subject-relation-object" counts in a training union of the relation class, of any subject and object. Standardising
    is affine, so this is also the mean of the standardised features, put back. WorkbenchError for a class without any
    training relation.
    """
    if init == "random":
        return None
    subject, object_ = (triplets[f"{role}_box"].to_numpy() for role in ("subject", "object"))
    carried = fit_init_map(store, seed) if init_map == "affine" else None
    relation = None
    if init == "subject-relation-object":
        shown = rows_by_class(store.relations["relation"].to_numpy())
        relation = _one_of_class(shown, triplets, "relation", generator(seed, "seed relations"))

    def means(rows: np.ndarray) -> np.ndarray:
        pair = 0.5 * (store.box(subject[rows]) + store.box(object_[rows]))
        pair = pair if carried is None else carried(pair)
        return pair if relation is None else (2 * pair + store.union(relation[rows])) / 3

    return means


def fit_init_map(store: FeatureStore, seed: int, ridge: float = 1e-2) -> Callable[[np.ndarray], np.ndarray]:
    """An affine map (N, D) to (N, D) float32 of box features to union features.

    It is the ridge regression of each training union on the mean of its own subject's and object's features; ``ridge``
    is a share of the mean variance of those means. At most 50,000 rows are read, drawn by ``seed``.
    """

    def pair_means(rows: np.ndarray) -> np.ndarray:
        return 0.5 * (store.subject(rows) + store.object(rows))

    rows = some_rows(np.arange(len(store)), ROWS_TO_FIT, seed, "seed map rows")
    origin, offset = moments(pair_means, rows)[0], moments(store.union, rows)[0]
    gram, cross = np.zeros((store.dimension,) * 2), np.zeros((store.dimension,) * 2)
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        chunk = rows[start : start + ROWS_PER_CHUNK]
        centred = pair_means(chunk) - origin
        gram += centred.T @ centred
        cross += centred.T @ (store.union(chunk) - offset)
    gram[np.diag_indices_from(gram)] += max(ridge * np.trace(gram) / store.dimension, 1e-12)
    weight = np.linalg.solve(gram, cross)
    return lambda features: ((features - origin) @ weight + offset).astype(np.float32)


def moments(read: Sampler, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (D,) float64 of the features that ``read`` gives of ``rows`` (n,), in chunks.

    A dimension that never varies has its value as the mean and exactly 0 as the deviation.
    """
    origin = read(rows[:1])[0].astype(np.float64)  # keeps the sum of squares exact where the mean is far from zero
    total, squares = np.zeros_like(origin), np.zeros_like(origin)
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        difference = read(rows[start : start + ROWS_PER_CHUNK]) - origin  # (rows, D) float64
        total += difference.sum(axis=0)
        squares += np.einsum("nd,nd->d", difference, difference)
    shift = total / len(rows)
    return origin + shift, np.sqrt((squares / len(rows) - np.square(shift)).clip(min=0))


def _boxes_of_role(store: FeatureStore, role: str) -> dict[int, np.ndarray]:
    box = store.relations[f"{role}_box"].to_numpy()
    return {number: box[rows] for number, rows in rows_by_class(store.relations[role].to_numpy()).items()}


def _one_of_class(
    rows: dict[int, np.ndarray], triplets: pd.DataFrame, role: str, draw: np.random.Generator
) -> np.ndarray:
    lacking = np.setdiff1d(triplets[role], list(rows))
    if len(lacking):
        kind, shown_by = ("relation", "relation") if role == "relation" else ("object", "box")
        what = f"{kind} class {lacking[0]}, the {role} of a triplet to sample, has no training {shown_by} to begin at"
        raise WorkbenchError(f"{what}. Sample triplets of classes that the training split of these features has.")
    return _one_of(rows, triplets[role].to_numpy(), draw)


def _one_of(rows: dict[int, np.ndarray], key: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """One of the rows of each ``key`` (n,), all alike, (n,) int64."""
    members = [rows[number] for number in key.tolist()]
    uniform = draw.random(len(members))
    return np.array([own[int(u * len(own))] for own, u in zip(members, uniform, strict=True)], dtype=np.int64)
