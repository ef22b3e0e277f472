"""Learned embeddings of relations, where a data set brings no text vectors for them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import save_array, write_json
from workbench.language.text_embedding import MANIFEST, RELATIONS_ARRAY, read_class_vectors, read_manifest, unit_rows
from workbench.randomness import generator
from workbench.scenes.vocabulary import ROLES

ROWS_PER_CHUNK = 4096
RIDGE = 1e-2  # of the mean squared column, for the map from the two names' vectors to the image feature


def complete_text_folder(folder: Path, store) -> dict:
    """Fill the relations that lack a text vector in a text folder, from the store of the training split.

    ``store`` gives ``relations`` (columns subject, relation, object), ``len`` and ``union(rows)``. Relations that
    have a vector keep it. Where the union features have the text's dimension (CLIP), embeddings are learned from
    them (``learned_embeddings``); otherwise each is a random code, orthogonal to the others while they are no more
    than T. The manifest says ``learned_relations`` afterwards. Returns how many were filled and how.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    objects, given = read_class_vectors(folder, manifest["dimension"])
    lacking = ~np.isfinite(given).all(axis=1)
    if not lacking.any():
        return {"relations_learned": 0, "relations_given": len(given), "how": "nothing was missing"}
    if store.dimension == objects.shape[1]:
        filled, how = learned_embeddings(store, unit_rows(objects), len(given)), "ridge regression on union features"
    else:
        filled, how = random_codes(len(given), objects.shape[1]), "random orthogonal codes"
    present = np.bincount(store.relations["relation"], minlength=len(given)) > 0
    save_array(folder / RELATIONS_ARRAY, np.where(lacking[:, None], filled, given).astype(np.float32))
    write_json(folder / MANIFEST, {**manifest, "learned_relations": True})
    return {
        "relations_learned": int(lacking.sum()), "relations_given": int((~lacking).sum()),
        "relations_absent_from_train": int((lacking & ~present).sum()), "how": how,
    }  # fmt: skip


def learned_embeddings(store, objects: np.ndarray, n_relations: int) -> np.ndarray:
    """Unit vectors (R, T) float32 for relations, learned from union features of the same space as ``objects`` (C, T).

    A ridge regression explains each L2-normalised union feature by the text vectors of its subject and object; the
    mean of what is left over a relation's rows is its effect, and a ridge on the one-hot relation shrinks it toward
    none by n / (n + within-class / between-class variance), so that one example is enough to start from. The
    embedding is the mean object text vector plus the effect, with effects scaled to the spread of the object
    vectors, so that a network meets relations and objects at one scale. A relation without rows gets the mean.
    """
    objects = unit_rows(objects).astype(np.float64)
    dimension = objects.shape[1]
    columns = 1 + 2 * dimension
    # Sums over the training rows, of all and by relation.
    xx, xu, uu = np.zeros((columns, columns)), np.zeros((columns, dimension)), 0.0
    x_of, u_of, count = np.zeros((n_relations, columns)), np.zeros((n_relations, dimension)), np.zeros(n_relations)
    for relation, x, u in _rows(store, objects):
        xx += x.T @ x
        xu += x.T @ u
        uu += float((u**2).sum())
        np.add.at(x_of, relation, x)
        np.add.at(u_of, relation, u)
        np.add.at(count, relation, 1)
    penalty = np.full(columns, RIDGE * np.trace(xx) / columns)
    penalty[0] = 1e-9 * max(xx[0, 0], 1.0)  # the intercept is not shrunk
    weights = np.linalg.solve(xx + np.diag(penalty), xu)  # (1 + 2T, T)
    present = count > 0
    effect = (u_of - x_of @ weights) / np.maximum(count, 1)[:, None]  # (R, T) mean residual of each relation
    left = uu - 2 * (weights * xu).sum() + (weights * (xx @ weights)).sum()  # squared residuals
    effect *= _shrinkage(left, count, effect)[:, None]
    mean = objects.mean(axis=0)
    spread = np.sqrt(((objects - mean) ** 2).sum(axis=1).mean())
    size = np.sqrt((effect[present] ** 2).sum(axis=1).mean()) if present.any() else 0.0
    return unit_rows(mean + effect * (spread / size if size > 0 else 0.0))


def random_codes(count: int, dimension: int) -> np.ndarray:
    """Unit vectors (count, dimension) float32, mutually orthogonal within each block of ``dimension`` rows."""
    draw = generator(0, "relation codes")
    blocks = []
    for start in range(0, count, dimension):
        basis = np.linalg.qr(draw.standard_normal((dimension, dimension)))[0]
        blocks.append(basis[: min(dimension, count - start)])
    return np.concatenate(blocks).astype(np.float32)


def _rows(store, objects: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Relation class (n,), (1, subject vector, object vector) (n, 1 + 2T) and unit union feature (n, T), in chunks."""
    subject, relation, object = (store.relations[role].to_numpy() for role in ROLES)
    for start in range(0, len(store), ROWS_PER_CHUNK):
        rows = np.arange(start, min(start + ROWS_PER_CHUNK, len(store)))
        union = store.union(rows)
        bad = np.flatnonzero(~np.isfinite(union).all(axis=1))
        if len(bad):
            raise WorkbenchError(f"Union feature of row {rows[bad[0]]} is not finite. Make the features again.")
        u = unit_rows(union).astype(np.float64)
        yield relation[rows], np.column_stack([np.ones(len(rows)), objects[subject[rows]], objects[object[rows]]]), u


def _shrinkage(left: float, count: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Shrinkage n / (n + within / between) for each relation (R,), both variances estimated from the rows.

    ``left`` is the sum of all squared residuals, ``effect`` (R, T) their mean by relation, of ``count`` (R,) rows.
    """
    present = count > 0
    rows, relations = count.sum(), present.sum()
    within_sum = left - (count * (effect**2).sum(axis=1)).sum()
    if rows <= relations or relations < 2 or within_sum <= 0:
        return np.where(present, 1.0, 0.0)
    within = within_sum / (rows - relations)
    squares = (effect[present] ** 2).sum(axis=1)
    between = max((squares - within / count[present]).mean(), 1e-3 * squares.mean(), 1e-12)
    return count / (count + within / between)
