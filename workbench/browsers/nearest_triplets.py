"""Training triplets that differ from a given one in a single class."""

import numpy as np
import pandas as pd

from workbench.browsers.triplet_index import TripletIndex
from workbench.errors import WorkbenchError
from workbench.scenes.vocabulary import ROLES


def nearest_triplets(
    index: TripletIndex, place: int, embeddings: np.ndarray | None = None, most: int = 5
) -> pd.DataFrame:
    """At most ``most`` training triplets that share two of the three classes with the one at ``place``.

    Ranked by the cosine of their caption embeddings, where ``embeddings`` (n, T) of all places are given (those of
    captions.parquet; only the rows needed are read), else by count. Columns subject, relation, object (class ids),
    count, shared ("subject and object"), similarity (cosine, nan without embeddings); the index is the place.
    """
    ids = index.triplets(place)  # (3,)
    equal = np.stack([index[role] == own for role, own in zip(ROLES, ids, strict=True)])  # (3, n)
    found = np.flatnonzero((equal.sum(axis=0) == 2) & (index["count"] > 0))
    similarity = np.full(len(found), np.nan)
    if embeddings is not None:
        similarity = _cosines(index, place, found, embeddings)
    count = index["count"][found]
    best = np.lexsort((found, -count, -np.nan_to_num(similarity, nan=-np.inf)))[:most]
    shared = [" and ".join(np.array(ROLES)[equal[:, at]].tolist()) for at in found[best]]
    table = dict(zip(ROLES, index.triplets(found[best]).T, strict=True))
    table |= {"count": count[best], "shared": shared, "similarity": similarity[best]}
    return pd.DataFrame(table, index=pd.Index(found[best], name="place"))


def _cosines(index: TripletIndex, place: int, found: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    if len(embeddings) != len(index):
        raise WorkbenchError(
            f"{index.folder}: {len(index):,} triplets but {len(embeddings):,} caption embeddings. "
            "Give the embeddings of the stage triplets that the index was built from."
        )
    own = np.asarray(embeddings[place], dtype=np.float64)
    others = np.asarray(embeddings[found], dtype=np.float64)  # (m, T)
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(own)
    return np.divide(others @ own, lengths, out=np.full(len(found), np.nan), where=lengths > 0)
