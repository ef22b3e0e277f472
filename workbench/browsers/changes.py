"""Predictions that DiffAugment changed, for the better and for the worse (the paper's Figure 2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.randomness import generator

EVALUATE_AGAIN = "Evaluate the recogniser again with notebook 05."


def read_predictions(evaluation: Any, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The predictions of an evaluation stage, by row of the test store (columns: `recognition.prediction_table`).

    With ``columns`` only these and "row" are read. WorkbenchError where the file is missing, unreadable, or lacks one.
    """
    path = Path(evaluation) / "predictions.parquet"
    wanted = None if columns is None else list(dict.fromkeys(["row", *columns]))
    try:
        table = pd.read_parquet(path, columns=wanted)
    except FileNotFoundError as error:
        raise WorkbenchError(f"{path}: the file is missing. {EVALUATE_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path}: not a readable table of predictions ({error}). {EVALUATE_AGAIN}") from error
    return table.set_index("row", drop=False)


def change_masks(was: np.ndarray, now: np.ndarray, moved: np.ndarray) -> dict[str, np.ndarray]:
    """What happened to predictions, by its name: bool arrays of the shape of the arguments.

    ``was`` and ``now``: right before and after; ``moved``: another class is predicted after. "wrong" is wrong after,
    "changed" from one wrong class to another.
    """
    return {
        "wrong": ~now,
        "fixed": ~was & now,
        "broken": was & ~now,
        "changed": moved & ~was & ~now,
        "wrong in both": ~was & ~now,
        "unchanged": ~moved,
    }


def changed_rows(was: np.ndarray, now: np.ndarray, *, most: int, seed: int) -> np.ndarray:
    """At most ``most`` positions drawn by ``seed``, half fixed and half broken in at least one role (the fixed first).

    ``was`` and ``now`` (n, 3) bool: right before and after, by role. A row that is both is neither.
    """
    better, worse = (~was & now).any(axis=1), (was & ~now).any(axis=1)
    fixed, broken = np.flatnonzero(better & ~worse), np.flatnonzero(worse & ~better)
    half = most // 2
    draw = generator(seed, "changed predictions")
    return np.concatenate([draw.permutation(fixed)[: most - half], draw.permutation(broken)[:half]])
