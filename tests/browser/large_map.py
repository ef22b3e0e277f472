"""A large feature map, run in a kernel: as many classes as GQA-LT, points of two clouds, no features behind them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from workbench.browsers.map_browser import FeatureMap
from workbench.scenes.bands import band_of_class, count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

CLASSES = {"subject": 1703, "relation": 310, "object": 1703}
EACH = 100_000  # points of each source

random = np.random.default_rng(0)
shares = {role: 1 / np.arange(1, size + 1) for role, size in CLASSES.items()}
ids = {role: random.choice(CLASSES[role], 2 * EACH, p=share / share.sum()) for role, share in shares.items()}
relations = pd.DataFrame(ids | {"image": np.arange(2 * EACH) // 20})
vocabulary = Vocabulary(*(tuple(f"{kind} {i}" for i in range(CLASSES[kind])) for kind in ("object", "relation")))
counts = count_classes(relations, vocabulary)
points = pd.DataFrame(random.normal(size=(2 * EACH, 3)), columns=["x", "y", "entropy"]).assign(
    source=np.repeat(["real", "generated"], EACH), row=np.tile(np.arange(EACH), 2), **ids,
    **{f"{role}_band": band_of_class(counts.of_role(role))[ids[role]] for role in ROLES},
)  # fmt: skip
facts = {"dimension": 8, "encoder": "none"}
train, generated = (
    SimpleNamespace(relations=part.reset_index(drop=True), folder="none", **facts)
    for part in (relations[:EACH], relations[EACH:])
)
metrics = {"rows_of_each": EACH, "neighbours": 15, "seed": 0, "trustworthiness": 0.9, "components": 50}
metrics |= {"trustworthiness_points": 2000, "variance_share": 0.9}
features = SimpleNamespace(train=train, vocabulary=vocabulary, counts=counts)
FeatureMap(points, features, generated, map_metrics=metrics | facts)
