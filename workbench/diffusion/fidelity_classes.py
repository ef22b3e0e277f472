"""Fidelity by class: whom samples are taken for, what they teach, and whether they copy their class's training rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.diffusion.fidelity_distances import ROWS_PER_CHUNK, Gaussian, nearest_rows, project
from workbench.scenes.vocabulary import ROLES

# With fewer unseen rows of a class "nearer than all of them" happens to honest samples more often than 1 in 21.
HELD_OUT_ROWS_FOR_SHARE = 20


@dataclass(frozen=True)
class ClassDiscriminant:
    """A recogniser in closed form: linear discriminant analysis of the three roles on the leading principal axes.

    Priors are even, since per-class accuracy is what is asked for. ``classes[role]`` (C,) are the classes that training
    showed; ``weights[role]`` (C, D) and ``bias[role]`` (C,) score features.
    """

    classes: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]

    @classmethod
    def fit(
        cls, features: np.ndarray, labels: pd.DataFrame, *, components: int = 256, shrinkage: float = 0.1
    ) -> "ClassDiscriminant":
        """Fit to features (n, D), n at least 2; ``labels`` has columns subject, relation, object.

        ``shrinkage`` moves the pooled within-class covariance toward a multiple of the identity of equal trace (as
        scikit-learn's LinearDiscriminantAnalysis does, which has no even priors over a covariance weighted by rows).
        """
        gaussian = Gaussian.fit(features)
        axes = gaussian.principal_axes(min(components, features.shape[1], len(features) - 1))
        points = project(features, gaussian.mean, axes)  # (n, d)
        classes, weights, bias = {}, {}, {}
        for role in ROLES:
            classes[role], number = np.unique(labels[role].to_numpy(), return_inverse=True)
            coefficients, intercept = _discriminant(points, number.reshape(-1), shrinkage)
            # The principal axes are folded in, so that features are scored by one product.
            weights[role] = coefficients @ axes.T
            bias[role] = intercept - weights[role] @ gaussian.mean
        return cls(classes, weights, bias)

    def predict(self, features: np.ndarray) -> pd.DataFrame:
        """The most likely class of each role for features (n, D): columns subject, relation, object (int64)."""
        predicted = {role: np.empty(len(features), dtype=np.int64) for role in ROLES}
        for start in range(0, len(features), ROWS_PER_CHUNK):
            chunk = np.asarray(features[start : start + ROWS_PER_CHUNK], dtype=np.float64)
            for role in ROLES:
                best = (chunk @ self.weights[role].T + self.bias[role]).argmax(axis=1)
                predicted[role][start : start + len(chunk)] = self.classes[role][best]
        return pd.DataFrame(predicted)


def agreement(predicted: pd.DataFrame, intended: pd.DataFrame) -> dict[str, float]:
    """Share of rows whose predicted class is the intended one, per role and as the mean over roles.

    Both tables have n rows and columns subject, relation, object; keys "agreement_<role>" and "agreement". The
    recogniser behind ``predicted`` must have been trained on real rows.
    """
    shares = {
        f"agreement_{role}": float(np.mean(predicted[role].to_numpy() == intended[role].to_numpy())) for role in ROLES
    }
    return {**shares, "agreement": float(np.mean(list(shares.values())))}


def train_on_generated_test_on_real(
    generated: np.ndarray, labels: pd.DataFrame, real_test: np.ndarray, test_labels: pd.DataFrame, **options
) -> dict[str, float]:
    """Average per-class accuracy on real test rows of a discriminant that saw generated rows only.

    Over the classes present in test, in 0..1: keys "test_on_real_<role>", and "test_on_real", the mean of subject
    and object averaged with relation (the paper's "Combined"). ``options`` go to ``ClassDiscriminant.fit``.
    """
    predicted = ClassDiscriminant.fit(generated, labels, **options).predict(real_test)
    accuracy = {role: _per_class_accuracy(predicted[role].to_numpy(), test_labels[role].to_numpy()) for role in ROLES}
    combined = ((accuracy["subject"] + accuracy["object"]) / 2 + accuracy["relation"]) / 2
    return {**{f"test_on_real_{role}": accuracy[role] for role in ROLES}, "test_on_real": combined}


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


def _weighted_mean(table: pd.DataFrame, column: str) -> float:
    known = table[table[column].notna()]
    return float(np.average(known[column], weights=known["rows"])) if len(known) else float("nan")


def _discriminant(points: np.ndarray, number: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (C, d) and intercepts (C,) of points (n, d) with class numbers (n,)."""
    counts = np.bincount(number)
    means = np.zeros((len(counts), points.shape[1]))
    np.add.at(means, number, points)
    means /= counts[:, None]
    residuals = points - means[number]
    if not np.any(residuals):  # one row a class: only the spread of all rows is left to scale by
        residuals = points
    within = residuals.T @ residuals / len(points)
    level = np.trace(within) / len(within)
    shrunk = (1 - shrinkage) * within + (shrinkage * level if level > 0 else 1.0) * np.eye(len(within))
    weights = np.linalg.solve(shrunk, means.T)  # (d, C)
    return weights.T, -0.5 * np.einsum("cd,dc->c", means, weights)


def _per_class_accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean([np.mean(predicted[true == number] == number) for number in np.unique(true)]))
