"""Fidelity by class: whom samples are taken for, what they teach, and whether they copy their class's training rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.diffusion.fidelity_distances import Gaussian
from workbench.regions.features import ENDS, Features
from workbench.scenes.vocabulary import ROLES

# With fewer unseen rows of a class "nearer than all of them" happens to honest samples more often than 1 in 21.
HELD_OUT_ROWS_FOR_SHARE = 20


class LabelledFeatures(Features):
    """Features (n, D) in memory and their ``relations``, a table of n rows."""

    def __init__(self, features: np.ndarray, relations: pd.DataFrame):
        self.features, self.relations, self.entity_region = features, relations, "union"
        self.dimension: int = features.shape[1]
        self.readers = dict.fromkeys(("union", *ENDS), lambda rows, dtype: features[rows].astype(dtype))

    def take(self, rows: np.ndarray) -> "LabelledFeatures":
        """Some of the rows, in the order asked for."""
        return LabelledFeatures(self.features[rows], self.relations.iloc[rows].reset_index(drop=True))


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
    def fit(cls, rows: LabelledFeatures, *, components: int = 256, shrinkage: float = 0.1) -> "ClassDiscriminant":
        """Fit to at least 2 rows.

        ``shrinkage`` moves the pooled within-class covariance toward a multiple of the identity of equal trace (as
        scikit-learn's LinearDiscriminantAnalysis does, which has no even priors over a covariance weighted by rows).
        """
        gaussian = Gaussian.fit(rows.features)
        axes = gaussian.principal_axes(min(components, len(rows) - 1))
        points = (rows.features - gaussian.mean) @ axes  # (n, d)
        classes, weights, bias = {}, {}, {}
        for role in ROLES:
            classes[role], number = np.unique(rows.relations[role].to_numpy(), return_inverse=True)
            coefficients, intercept = _discriminant(points, number.reshape(-1), shrinkage)
            # The principal axes are folded in, so that features are scored by one product.
            weights[role] = coefficients @ axes.T
            bias[role] = intercept - weights[role] @ gaussian.mean
        return cls(classes, weights, bias)

    def predict(self, features: np.ndarray) -> pd.DataFrame:
        """The most likely class of each role for features (n, D): columns subject, relation, object (int64)."""
        best = {role: (features @ self.weights[role].T + self.bias[role]).argmax(axis=1) for role in ROLES}
        return pd.DataFrame({role: self.classes[role][number] for role, number in best.items()})


def agreement(recogniser: ClassDiscriminant | None, rows: LabelledFeatures) -> dict[str, float]:
    """Share of rows that a recogniser trained on real rows takes for their own class: of each role, and their mean.

    Keys "agreement_<role>" and "agreement"; NaN without a recogniser.
    """
    shares = dict.fromkeys(ROLES, float("nan"))
    if recogniser is not None:
        right = recogniser.predict(rows.features) == rows.relations[list(ROLES)].to_numpy()
        shares = {role: float(right[role].mean()) for role in ROLES}
    mean = float(np.mean(list(shares.values())))
    return {f"agreement_{role}": share for role, share in shares.items()} | {"agreement": mean}


def relation_fidelity(train: LabelledFeatures, sets: Mapping[str, LabelledFeatures]) -> pd.DataFrame:
    """What is known of each ``relation`` class (its id) alone, a row for each class and each of ``sets``, ``samples``.

    Its ``rows``, the share that a recogniser trained on real ``train`` rows has ``recognised`` as it, their ``spread``
    (the root of the mean variance, NaN for one row), and ``overall`` the share of all relations' rows.
    """
    recogniser, tables = ClassDiscriminant.fit(train), []
    for name, rows in sets.items():
        own = rows.relations["relation"].to_numpy()
        right = pd.Series(recogniser.predict(rows.features)["relation"].to_numpy() == own)
        table = right.groupby(own).agg(rows="size", recognised="mean").rename_axis("relation")
        spread = pd.DataFrame(rows.features).groupby(own).var().mean(axis=1) ** 0.5
        tables.append(table.assign(spread=spread, samples=name, overall=right.mean()).reset_index())
    return pd.concat(tables, ignore_index=True)


def train_on_generated_test_on_real(generated: LabelledFeatures, test: LabelledFeatures) -> dict[str, float]:
    """Average per-class accuracy on real test rows of a discriminant that saw generated rows only.

    Over the classes present in test, in 0..1: keys "test_on_real_<role>", and "test_on_real", the mean of subject
    and object averaged with relation (the paper's "Combined"). NaN for fewer than 2 generated rows.
    """
    accuracy = dict.fromkeys(ROLES, float("nan"))
    if len(generated) > 1:
        right = ClassDiscriminant.fit(generated).predict(test.features) == test.relations[list(ROLES)].to_numpy()
        accuracy = {role: float(right[role].groupby(test.relations[role].to_numpy()).mean().mean()) for role in ROLES}
    combined = ((accuracy["subject"] + accuracy["object"]) / 2 + accuracy["relation"]) / 2
    return {f"test_on_real_{role}": value for role, value in accuracy.items()} | {"test_on_real": combined}


def memorisation(
    distance: np.ndarray, labels: pd.DataFrame, held_out_distance: np.ndarray, held_out_labels: pd.DataFrame
) -> dict[str, float]:
    """Whether generated rows are nearer to training than held-out real rows of their class, which no model has seen.

    ``distance`` (n,) and ``held_out_distance`` (m,) are distances to the nearest training row; the labels have columns
    subject, relation, object. "memorisation_<role>" is the chance that a generated row is nearer than a held-out row of
    its class in that role (ties count half; 0.5 where samples are as fresh as real rows, 1 for copies), "memorisation"
    their mean. "memorised_share" is the share of rows nearer than every held-out row of their relation, over relations
    with at least 20 of them (fresh samples: one in held-out rows + 1). NaN where no class has rows to compare with.
    """
    result = {}
    for role in ROLES:
        nearer, nearer_than_all = np.full((2, len(distance)), np.nan)
        classes, held_out_classes = labels[role].to_numpy(), held_out_labels[role].to_numpy()
        for number in np.intersect1d(classes, held_out_classes):
            here, unseen = classes == number, np.sort(held_out_distance[held_out_classes == number])
            below, up_to = (np.searchsorted(unseen, distance[here], side=side) for side in ("left", "right"))
            nearer[here] = 1 - (below + up_to) / (2 * len(unseen))
            if len(unseen) >= HELD_OUT_ROWS_FOR_SHARE:
                nearer_than_all[here] = distance[here] < unseen[0]
        result[f"memorisation_{role}"] = float(pd.Series(nearer).mean())  # of those that are known
        if role == "relation":
            result["memorised_share"] = float(pd.Series(nearer_than_all).mean())
    result["memorisation"] = float(np.mean([result[f"memorisation_{role}"] for role in ROLES]))
    return result


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
