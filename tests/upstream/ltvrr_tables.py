"""The numbers of the LTVRR evaluation that only the comparison with upstream needs, and readers of its csv files.

Per example, mean ranks, triplet groups, word similarity. Accuracies are in percent.
Source: reference `ltvrr.md` sections 7.1, 7.2 and 7.5 to 7.7, 8.9.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.recognition.upstream import SHORT
from workbench.scenes.bands import FEW_UP_TO, MEDIUM_UP_TO
from workbench.scenes.vocabulary import ROLES, Vocabulary

# Upstream prints a mean rank as a share of the 250 best classes.
RANK_SCALE = 100 / 250
TRIPLET_GROUPS = {
    "so": ("subject", "object"), "sr": ("subject", "relation"), "or": ("object", "relation"),
    "sro": ("subject", "object", "relation"),
}  # fmt: skip


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
    truth: pd.DataFrame, hits: pd.DataFrame, train: pd.DataFrame, group: str, vocabulary: Vocabulary
) -> dict[str, float]:
    """Whole-triplet accuracy averaged over groups of equal classes, in bands by the group's count in train.

    ``group``: "so", "sr", "or" or "sro". Groups are ranked by train count with a stable sort, ties in the order of
    their names. Upstream's own sort is unstable, and few, medium and many depend on it; "all" does not.
    """
    names = {role: np.array(vocabulary.names(role)) for role in TRIPLET_GROUPS[group]}
    keys, known = ([names[role][table[role]] for role in names] for table in (truth, train))
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


def read_result_csv(path: Path, vocabulary: Vocabulary) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Truth ids, predicted ids and ranks, each with columns subject, relation, object, from a result csv."""
    # As text: a class may be called "007" or "True".
    names = {f"{prefix}{short}": str for short in SHORT.values() for prefix in ("gt_", "det_")}
    table = pd.read_csv(path, quotechar="|", keep_default_na=False, dtype=names)
    truth, predicted = (_ids(table, f"{kind}_{{}}", vocabulary) for kind in ("gt", "det"))
    return truth, predicted, pd.DataFrame({role: table[f"{short}_rank"].astype(int) for role, short in SHORT.items()})


def read_train_triplets(path: Path, vocabulary: Vocabulary) -> pd.DataFrame:
    """Ids (subject, relation, object) of ``rel_annotations_train.csv`` (columns sbj_gt, obj_gt, rel_gt)."""
    table = pd.read_csv(path, keep_default_na=False, dtype={f"{short}_gt": str for short in SHORT.values()})
    return _ids(table, "{}_gt", vocabulary)


def _ids(table: pd.DataFrame, column: str, vocabulary: Vocabulary) -> pd.DataFrame:
    numbers = {role: {name: k for k, name in enumerate(vocabulary.names(role))} for role in SHORT}
    ids = {role: table[column.format(short)].map(numbers[role]) for role, short in SHORT.items()}
    return pd.DataFrame(ids).astype("int64")


def with_frequency_slip(table: pd.DataFrame) -> pd.DataFrame:
    """Upstream's slip: where the predicted relation has no train example, the *object's* frequency becomes 0 and the
    relation's stays that of the row before (8.9).
    """
    table, previous = table.copy(), 0
    for row in range(len(table)):
        if table.at[row, "rel_freq_det"] == 0:
            table.at[row, "obj_freq_det"], table.at[row, "rel_freq_det"] = 0, previous
        previous = table.at[row, "rel_freq_det"]
    return table
