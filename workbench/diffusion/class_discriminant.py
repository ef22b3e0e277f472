"""A linear recogniser in closed form, for asking what a set of features teaches and whom it is taken for."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.diffusion.fidelity_distances import ROWS_PER_CHUNK, Gaussian, project
from workbench.scenes.vocabulary import ROLES


@dataclass(frozen=True)
class ClassDiscriminant:
    """Linear discriminant analysis of the three roles on the leading principal axes of its training rows.

    ``classes[role]`` (C,) are the classes that training showed; ``weights[role]`` (d, C) and ``bias[role]`` (C,)
    score them with even priors, since per-class accuracy is what is asked for.
    """

    mean: np.ndarray
    axes: np.ndarray
    classes: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]

    @classmethod
    def fit(
        cls, features: np.ndarray, labels: pd.DataFrame, *, components: int = 256, shrinkage: float = 0.1
    ) -> "ClassDiscriminant":
        """Fit to features (n, D), n at least 2; ``labels`` has columns subject, relation, object.

        ``shrinkage`` moves the pooled within-class covariance toward a multiple of the identity of equal trace (as
        scikit-learn's LinearDiscriminantAnalysis does).
        """
        gaussian = Gaussian.fit(features)
        axes = gaussian.principal_axes(min(components, features.shape[1], len(features) - 1))
        points = project(features, gaussian.mean, axes)  # (n, d)
        classes, weights, bias = {}, {}, {}
        for role in ROLES:
            classes[role], number = np.unique(labels[role].to_numpy(), return_inverse=True)
            weights[role], bias[role] = _discriminant(points, number.reshape(-1), shrinkage)
        return cls(gaussian.mean, axes, classes, weights, bias)

    def predict(self, features: np.ndarray) -> pd.DataFrame:
        """The most likely class of each role for features (n, D): columns subject, relation, object (int64)."""
        predicted = {role: np.empty(len(features), dtype=np.int64) for role in ROLES}
        for start in range(0, len(features), ROWS_PER_CHUNK):
            points = project(features[start : start + ROWS_PER_CHUNK], self.mean, self.axes)
            for role in ROLES:
                best = (points @ self.weights[role] + self.bias[role]).argmax(axis=1)
                predicted[role][start : start + len(points)] = self.classes[role][best]
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


def _discriminant(points: np.ndarray, number: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
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
    return weights, -0.5 * np.einsum("cd,dc->c", means, weights)


def _per_class_accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean([np.mean(predicted[true == number] == number) for number in np.unique(true)]))
