"""The result tables of the LTVRR code base: written so that its scripts can score ours, read so that we score theirs.

Source: reference `ltvrr.md` sections 7.1 and 7.5, 8.9.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.recognition.accuracy import kind_of_role
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import Vocabulary

SHORT = {"relation": "rel", "subject": "sbj", "object": "obj"}


def ranks_of_truth(scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """0-based place of the true class in descending score order, (N,) int64; ties go to the lower class id.

    ``scores`` (N, C) without a background column, ``true`` (N,) ids.
    """
    own = scores[np.arange(len(true)), true][:, None]
    earlier = np.arange(scores.shape[1])[None, :] < true[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


def result_table(
    file_names: list[str],
    truth: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    vocabulary: Vocabulary,
    counts: Counts,
    boxes_xyxy: dict[str, np.ndarray] | None = None,
    *,
    frequency_bug: bool = False,
) -> pd.DataFrame:
    """One row per annotated relation in the columns of ``rel_detections_gt_boxes_prdcls.csv``.

    ``file_names`` (N) of the images; ``truth`` ids and ``scores`` (N, C) or (N, R) by role. With ``boxes_xyxy``
    ("subject" and "object", (N, 4)) it is the ``_boxes`` variant. ``counts`` are the train frequencies.
    ``frequency_bug`` repeats an upstream slip, for comparing byte by byte: where the predicted relation has no
    train example, the *object's* frequency becomes 0 and the relation's stays that of the row before (8.9).
    """
    columns: dict[str, object] = {"image_id": [Path(name).name.split(".")[0] for name in file_names]}
    for role, short in SHORT.items():
        names = np.array(getattr(vocabulary, kind_of_role(role)), dtype=object)
        frequency = getattr(counts, kind_of_role(role))
        # The same tie rule as the ranks: argmax takes the lower id.
        predicted = scores[role].argmax(axis=1)
        columns |= {
            f"gt_{short}": names[truth[role]],
            f"det_{short}": names[predicted],
            f"{short}_freq_gt": frequency[truth[role]],
            f"{short}_freq_det": frequency[predicted],
            f"{short}_rank": ranks_of_truth(scores[role], truth[role]),
        }
        if boxes_xyxy is not None and role in boxes_xyxy:
            columns |= {f"{short}_box_{k}": boxes_xyxy[role][:, k].astype(np.float32) for k in range(4)}
    table = pd.DataFrame(columns)
    return _with_frequency_bug(table) if frequency_bug else table


def write_result_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a result table with upstream's CRLF line ends and its quote character "|"."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quotechar="|", quoting=csv.QUOTE_MINIMAL)
        writer.writerow(table.columns)
        writer.writerows(table.itertuples(index=False))


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
    known = {name: number for number, name in enumerate(getattr(vocabulary, kind_of_role(role)))}
    ids = names.astype(str).map(known)
    if ids.isna().any():
        row = int(np.flatnonzero(ids.isna())[0])
        raise WorkbenchError(f"{path}, row {row}: {role} {names.iloc[row]!r} is not in the vocabulary.")
    return ids.to_numpy(dtype=np.int64)


def _with_frequency_bug(table: pd.DataFrame) -> pd.DataFrame:
    table, previous = table.copy(), 0
    for row in range(len(table)):
        if table.at[row, "rel_freq_det"] == 0:
            table.at[row, "obj_freq_det"], table.at[row, "rel_freq_det"] = 0, previous
        previous = table.at[row, "rel_freq_det"]
    return table
