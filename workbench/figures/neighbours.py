"""What a feature holds, shown by the relations of other pictures whose union features lie nearest."""

import numpy as np

from workbench.figures.images import Tile, text_line
from workbench.figures.scene_drawing import scene_of
from workbench.randomness import generator
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.vocabulary import ROLES, Vocabulary

MOST_ROWS = 20_000


def nearest_rows(features: np.ndarray, query: np.ndarray, images: np.ndarray, own_image: int, count: int) -> np.ndarray:
    """Rows of ``features`` (N, D) nearest to ``query`` (D,) by cosine, one per image and none of ``own_image``."""
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(query)
    similarity = features @ query / np.maximum(lengths, 1e-12)
    similarity[images == own_image] = -np.inf
    order = np.argsort(-similarity, kind="stable")
    _, first = np.unique(images[order], return_index=True)
    return order[np.sort(first)][:count]


def neighbour_tiles(
    store: FeatureStore, vocabulary: Vocabulary, *, queries: int, neighbours: int, seed: int
) -> list[Tile]:
    """Groups of tiles: a random relation, then its nearest neighbours from other pictures."""
    rows = generator(seed, "neighbours").permutation(len(store))[:MOST_ROWS]
    features, images = store.union(rows), store.relations["image"].to_numpy()[rows]
    tiles = []
    for number in range(min(queries, len(rows))):
        near = nearest_rows(features, features[number], images, images[number], neighbours)
        for place, row in enumerate([number, *near]):
            title = f"<b>query {number + 1}</b>" if place == 0 else f"neighbour {place}"
            triplet = (int(store.relations.iloc[rows[row]][role]) for role in ROLES)
            tiles.append(Tile(scene_of(store, int(rows[row])), (title, text_line(vocabulary.caption(*triplet)))))
    return tiles
