"""The numbers of the LTVRR evaluation that only the comparison with upstream needs, and readers of its csv files.

Per example, mean ranks, triplet groups, word similarity. Accuracies are in percent.
Source: reference `ltvrr.md` sections 7.1, 7.2 and 7.5 to 7.7, 8.9.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.recognition.upstream import SHORT
from workbench.scenes.bands import FEW_UP_TO, MEDIUM_UP_TO, Counts
from workbench.scenes.vocabulary import ROLES, Vocabulary

# Upstream prints a mean rank as a share of the 250 best classes.
RANK_SCALE = 100 / 250
TRIPLET_GROUPS = {
    "so": ("subject", "object"),
    "sr": ("subject", "relation"),
    "or": ("object", "relation"),
    "sro": ("subject", "object", "relation"),
}


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


def read_result_csv(path: Path, vocabulary: Vocabulary) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Truth ids, predicted ids and ranks, each with columns subject, relation, object, from a result csv.

    Raises WorkbenchError for a missing column or a name that the vocabulary does not hold, with its row.
    """
    # As text: a class may be called "007" or "True".
    names = {f"{prefix}{short}": str for short in SHORT.values() for prefix in ("gt_", "det_")}
    try:
        table = pd.read_csv(path, quotechar="|", keep_default_na=False, dtype=names)
    except FileNotFoundError as error:
        raise WorkbenchError(f"{path}: the file is missing.") from error
    columns = [f"{prefix}{short}{suffix}" for short in SHORT.values()
               for prefix, suffix in (("gt_", ""), ("det_", ""), ("", "_rank"))]  # fmt: skip
    missing = [column for column in columns if column not in table]
    if missing:
        raise WorkbenchError(f"{path}: no column {', '.join(missing)}. The scored csv needs the ground truth columns.")
    parts = []
    for prefix in ("gt_", "det_"):
        ids = {role: _ids(table[f"{prefix}{short}"], vocabulary, role, path) for role, short in SHORT.items()}
        parts.append(pd.DataFrame(ids))
    ranks = pd.DataFrame({role: table[f"{short}_rank"].astype(int) for role, short in SHORT.items()})
    return parts[0], parts[1], ranks


def read_train_triplets(path: Path, vocabulary: Vocabulary) -> pd.DataFrame:
    """Ids (subject, relation, object) of ``rel_annotations_train.csv`` (columns sbj_gt, obj_gt, rel_gt)."""
    table = pd.read_csv(path, keep_default_na=False, dtype={f"{short}_gt": str for short in SHORT.values()})
    return pd.DataFrame({role: _ids(table[f"{short}_gt"], vocabulary, role, path) for role, short in SHORT.items()})


def counts_by_name(frequencies: dict[str, dict[str, int]], vocabulary: Vocabulary) -> Counts:
    """Counts from upstream's freqs files: {"objects": {name: count}, "relations": ...}; a missing name counts 0."""
    return Counts(*(
        np.array([int(frequencies[kind].get(name, 0)) for name in getattr(vocabulary, kind)], dtype=np.int64)
        for kind in ("objects", "relations")
    ))  # fmt: skip


def _ids(names: pd.Series, vocabulary: Vocabulary, role: str, path: Path) -> np.ndarray:
    known = {name: number for number, name in enumerate(vocabulary.names(role))}
    ids = names.astype(str).map(known)
    if ids.isna().any():
        row = int(np.flatnonzero(ids.isna())[0])
        raise WorkbenchError(f"{path}, row {row}: {role} {names.iloc[row]!r} is not in the vocabulary.")
    return ids.to_numpy(dtype=np.int64)


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
