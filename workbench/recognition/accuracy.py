"""Average per-class accuracy: per class, per role, per band; exact and synset matched.

Source: reference `ltvrr.md` sections 7.2 to 7.5; paper section 4.1. All accuracies are in percent.
"""

import itertools
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from workbench.language.synset_tables import synset_hits
from workbench.scenes.bands import BANDS, Counts, band_of_class, band_of_present_class
from workbench.scenes.vocabulary import ROLES, Vocabulary

BandRule = Literal["all classes", "present classes"]
Metric = Literal["exact", "synset"]
METRICS: tuple[Metric, ...] = get_args(Metric)
SUMMARY_ROLES = ("subject", "object", "subject/object", "relation", "combined")


def class_totals(true: np.ndarray, hits: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test rows and hits of each class, (C,) int64, and its accuracy in percent, nan where it has no test row.

    ``true`` (N,) ids, ``hits`` (N,) bool.
    """
    n_test = np.bincount(true, minlength=n_classes)
    correct = np.bincount(true[np.asarray(hits, dtype=bool)], minlength=n_classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return n_test, correct, 100.0 * (correct / n_test)


def per_class_table(
    truth: Mapping[str, Any],
    predicted: Mapping[str, Any],
    vocabulary: Vocabulary,
    counts: Counts,
    *,
    band_rule: BandRule = "all classes",
    synsets: dict[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """One row per role and class, classes without test rows too (their accuracy is nan).

    ``truth`` and ``predicted`` are tables or dicts with the integer columns subject, relation, object. ``band_rule``:
    "all classes" cuts the bands over the whole vocabulary, "present classes" over the role's classes in test, as
    upstream does (band "" elsewhere). ``synsets``: "objects" (C,) and "relations" (R,) synset ids; without them the
    synset columns are missing; a negative id never hits. Columns: role, class, name, band, n_train, n_test, correct_*,
    accuracy_* (percent).
    """
    tables = []
    for role in ROLES:
        names, n_train = vocabulary.names(role), counts.of_role(role)
        true, guess = (np.asarray(table[role], dtype=np.int64) for table in (truth, predicted))
        n_test, correct, accuracy = class_totals(true, true == guess, len(names))
        band = band_of_class(n_train) if band_rule == "all classes" else band_of_present_class(n_train, n_test > 0)
        table = {"role": role, "class": np.arange(len(names)), "name": list(names), "band": band,
                 "n_train": n_train, "n_test": n_test, "correct_exact": correct,
                 "accuracy_exact": accuracy}  # fmt: skip
        if synsets is not None:
            ids = synsets["relations" if role == "relation" else "objects"]
            _, correct, accuracy = class_totals(true, synset_hits(true, guess, ids), len(names))
            table |= {"correct_synset": correct, "accuracy_synset": accuracy}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def summary_table(per_class: pd.DataFrame, *, only_trained: bool = False) -> pd.DataFrame:
    """Average per-class accuracy of each metric, role and band ("many", "medium", "few", "all").

    The mean runs over the classes with test rows; with ``only_trained`` classes without a training example are
    left out of it, and ``n_left_out`` says how many. subject/object is the mean of the two roles' averages,
    combined the mean of that and relation; a band without classes is nan. Columns: metric, role, band, accuracy,
    n_classes, n_left_out.
    """
    present = per_class[per_class["n_test"] > 0]
    halves = np.array([0.5, 1.0, 1.0])
    rows = []
    for metric, band in itertools.product(METRICS, (*BANDS, "all")):
        if f"accuracy_{metric}" not in per_class:
            continue
        found = {}
        for role in ROLES:
            here = present[(present["role"] == role) & ((present["band"] == band) | (band == "all"))]
            values = here[f"accuracy_{metric}"][(here["n_train"] > 0) | (not only_trained)]
            found[role] = np.array([values.mean(), len(values), len(here) - len(values)])
        found["subject/object"] = (found["subject"] + found["object"]) * halves
        found["combined"] = (found["subject/object"] + found["relation"]) * halves
        rows += [(metric, role, band, *found[role]) for role in SUMMARY_ROLES]
    table = pd.DataFrame(rows, columns=["metric", "role", "band", "accuracy", "n_classes", "n_left_out"])
    return table.astype({"n_classes": np.int64, "n_left_out": np.int64})


def named_numbers(summary: pd.DataFrame) -> dict[str, float | None]:
    """The accuracies of a summary, such as "exact subject/object few"; None where one is nan."""
    return {
        f"{row.metric} {row.role} {row.band}": None if np.isnan(row.accuracy) else float(row.accuracy)
        for row in summary.itertuples()
    }


def accuracy_per_example(hits: pd.DataFrame) -> dict[str, float]:
    """Share of rows that hit, by role and for whole triplets; ``hits`` has bool columns by role."""
    shares = {role: 100.0 * float(hits[role].mean()) for role in ROLES}
    return shares | {"triplet": 100.0 * float(hits[list(ROLES)].all(axis=1).mean())}
