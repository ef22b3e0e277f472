"""The other numbers of the LTVRR evaluation: per example, mean ranks, triplet groups, word similarity.

Source: reference `ltvrr.md` sections 7.2, 7.6 and 7.7. Accuracies are in percent.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from workbench.scenes.bands import FEW_UP_TO, MEDIUM_UP_TO
from workbench.scenes.vocabulary import ROLES

# Upstream prints a mean rank as a share of the 250 best classes.
RANK_SCALE = 100 / 250
TRIPLET_GROUPS = {
    "so": ("subject", "object"),
    "sr": ("subject", "relation"),
    "or": ("object", "relation"),
    "sro": ("subject", "object", "relation"),
}


def accuracy_per_example(hits: pd.DataFrame) -> dict[str, float]:
    """Share of rows that hit, by role and for whole triplets; ``hits`` has bool columns by role."""
    shares = {role: 100.0 * float(hits[role].mean()) for role in ROLES}
    return shares | {"triplet": 100.0 * float(hits[list(ROLES)].all(axis=1).mean())}


def triplet_accuracy_by_class(truth: pd.DataFrame, hits: pd.DataFrame) -> dict[str, float]:
    """Share of whole triplets that hit, averaged over the classes of each role."""
    whole = hits[list(ROLES)].all(axis=1)
    return {role: 100.0 * float(whole.groupby(truth[role].to_numpy()).mean().mean()) for role in ROLES}


def mean_ranks(truth: pd.DataFrame, ranks: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean rank of the true class x 100/250, over rows ("overall") and over classes ("per_class"), by role."""
    by_class = {role: ranks[role].groupby(truth[role].to_numpy()).mean().mean() for role in ROLES}
    return {
        "overall": {role: RANK_SCALE * float(ranks[role].mean()) for role in ROLES},
        "per_class": {role: RANK_SCALE * float(value) for role, value in by_class.items()},
    }


def triplet_group_accuracy(
    truth: pd.DataFrame,
    hits: pd.DataFrame,
    train: pd.DataFrame,
    group: str,
    names: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, float]:
    """Whole-triplet accuracy averaged over groups of equal classes, in bands by the group's count in train.

    ``group``: "so", "sr", "or" or "sro". Groups are ranked by train count with a stable sort, ties in the order
    of their classes: by name where ``names`` (role -> class names) is given, as upstream's keys are names, else by
    id. Upstream's own sort is unstable, and few, medium and many depend on it; "all" does not.
    """
    roles = list(TRIPLET_GROUPS[group])
    keys = [truth[role].to_numpy() if names is None else np.array(names[role])[truth[role]] for role in roles]
    known = [train[role].to_numpy() if names is None else np.array(names[role])[train[role]] for role in roles]
    whole = hits[list(ROLES)].all(axis=1)
    accuracy = whole.groupby(keys, sort=True).mean()
    seen = pd.Series(1, index=range(len(train))).groupby(known, sort=True).sum()
    order = np.argsort(seen.reindex(accuracy.index, fill_value=0).to_numpy(), kind="stable")
    values = accuracy.to_numpy()[order]
    few, medium = int(FEW_UP_TO * len(values)), int(MEDIUM_UP_TO * len(values))
    bands = {"few": values[:few], "medium": values[few:medium], "many": values[medium:], "all": values}
    return {band: 100.0 * float(part.mean()) if len(part) else float("nan") for band, part in bands.items()}


def word_similarity(
    truth: pd.DataFrame, predicted: pd.DataFrame, matrices: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Mean similarity of true and predicted class, over rows ("overall") and over classes ("per_class").

    ``matrices`` by "role measure", for example "subject lch": (C, C) similarity of class ids; keys are kept.
    """
    result: dict[str, dict[str, float]] = {"overall": {}, "per_class": {}}
    for key, matrix in matrices.items():
        role = key.split(" ", 1)[0]
        values = pd.Series(matrix[truth[role].to_numpy(), predicted[role].to_numpy()])
        result["overall"][key] = float(values.mean())
        result["per_class"][key] = float(values.groupby(truth[role].to_numpy()).mean().mean())
    return result
