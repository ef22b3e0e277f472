"""A feature map as large as one likes: as many classes as GQA-LT, points of two clouds, no features behind them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from workbench.browsers.map_browser import FeatureMap
from workbench.scenes.bands import band_of_class, count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

CLASSES = {"subject": 1703, "relation": 310, "object": 1703}


def made_map(each: int) -> FeatureMap:
    """The browser of ``each`` real and ``each`` generated points."""
    random, points = np.random.default_rng(0), 2 * each
    shares = {role: 1 / np.arange(1, size + 1) for role, size in CLASSES.items()}
    ids = {role: random.choice(CLASSES[role], points, p=share / share.sum()) for role, share in shares.items()}
    relations = pd.DataFrame(ids | {"image": np.arange(points) // 20})
    vocabulary = Vocabulary(*(tuple(f"{kind} {i}" for i in range(CLASSES[kind])) for kind in ("object", "relation")))
    counts = count_classes(relations, vocabulary)
    table = relations.drop(columns="image").assign(
        x=random.normal(size=points).astype(np.float32), y=random.normal(size=points).astype(np.float32),
        source=np.repeat(["real", "generated"], each), row=np.tile(np.arange(each), 2),
        entropy=random.normal(5, 0.1, points),
    )  # fmt: skip
    for role in ROLES:
        table[f"{role}_band"] = band_of_class(counts.of_role(role))[table[role]]
    real, generated = (
        SimpleNamespace(relations=part.reset_index(drop=True), dimension=8, encoder="none", folder="none")
        for part in (relations[:each], relations[each:])
    )
    metrics = {"rows_of_each": each, "neighbours": 15, "seed": 0, "trustworthiness": 0.9, "components": 50}
    metrics |= {"trustworthiness_points": 2000, "variance_share": 0.9, "dimension": 8, "encoder": "none"}
    features = SimpleNamespace(train=real, vocabulary=vocabulary, counts=counts)
    return FeatureMap(table, features, generated, map_metrics=metrics)
