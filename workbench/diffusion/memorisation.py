"""Memorisation: whether generated rows sit nearer to the training rows than unseen real rows do."""

import numpy as np
import pandas as pd

from workbench.diffusion.fidelity_distances import nearest_rows, require_finite
from workbench.scenes.vocabulary import ROLES

# With fewer unseen rows of a class "nearer than all of them" happens to honest samples more often than 1 in 21.
HELD_OUT_ROWS_FOR_SHARE = 20


def training_distances(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Euclidean distance (n,) float64 of each row (n, D) to its nearest training row (m, D), of whatever class."""
    return nearest_rows(features, training)[0]


def memorisation_by_class(
    distance: np.ndarray, classes: np.ndarray, held_out_distance: np.ndarray, held_out_classes: np.ndarray
) -> pd.DataFrame:
    """Memorisation of the generated rows of each class, against the held-out real rows of the same class.

    ``distance`` (n,) and ``held_out_distance`` (m,) are distances to the nearest training row. Columns: class, rows,
    held_out_rows; ``nearer_than_held_out``, the chance that a generated row is nearer to training than a held-out
    row of its class (ties count half; 0.5 where samples are as fresh as real rows, 1 for copies);
    ``nearer_than_all``, the share of rows nearer than every held-out row of the class, NaN below 20 held-out rows
    (fresh samples: one in held_out_rows + 1). A class without held-out rows has NaN in both.
    """
    records = []
    for number in np.unique(classes):
        own = distance[classes == number]
        unseen = np.sort(held_out_distance[held_out_classes == number])
        farther = len(unseen) - np.searchsorted(unseen, own, side="right")
        equal = np.searchsorted(unseen, own, side="right") - np.searchsorted(unseen, own, side="left")
        nearer = ((farther + 0.5 * equal) / len(unseen)).mean() if len(unseen) else np.nan
        enough = len(unseen) >= HELD_OUT_ROWS_FOR_SHARE
        nearer_than_all = (own < unseen[0]).mean() if enough else np.nan
        records.append((int(number), len(own), len(unseen), nearer, nearer_than_all))
    return pd.DataFrame(records, columns=["class", "rows", "held_out_rows", "nearer_than_held_out", "nearer_than_all"])


def memorisation(
    distance: np.ndarray, labels: pd.DataFrame, held_out_distance: np.ndarray, held_out_labels: pd.DataFrame
) -> dict[str, float]:
    """Memorisation over all classes, each class weighted by its generated rows.

    ``labels`` and ``held_out_labels`` have columns subject, relation, object. Gives "memorisation_<role>" (the
    ``nearer_than_held_out`` of ``memorisation_by_class`` for the classes of one role), "memorisation" (their mean)
    and "memorised_share" (``nearer_than_all``, by relation). NaN where no class has held-out rows to compare with.
    """
    result = {}
    for role in ROLES:
        table = memorisation_by_class(
            distance, labels[role].to_numpy(), held_out_distance, held_out_labels[role].to_numpy()
        )
        result[f"memorisation_{role}"] = _weighted_mean(table, "nearer_than_held_out")
        if role == "relation":
            result["memorised_share"] = _weighted_mean(table, "nearer_than_all")
    result["memorisation"] = float(np.mean([result[f"memorisation_{role}"] for role in ROLES]))
    return result


def memorisation_of(
    generated: np.ndarray,
    labels: pd.DataFrame,
    training: np.ndarray,
    held_out: np.ndarray,
    held_out_labels: pd.DataFrame,
) -> dict[str, float]:
    """The same from feature matrices (rows, D); WorkbenchError names a row that is not finite."""
    for features, what in ((generated, "generated rows"), (training, "training rows"), (held_out, "held-out rows")):
        require_finite(features, what)
    return memorisation(
        training_distances(generated, training), labels, training_distances(held_out, training), held_out_labels
    )


def _weighted_mean(table: pd.DataFrame, column: str) -> float:
    known = table[table[column].notna()]
    return float(np.average(known[column], weights=known["rows"])) if len(known) else float("nan")
