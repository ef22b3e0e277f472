"""The paper's own numbers, as data, to stand beside ours.

Source: DiffAugment, Table 1 (GQA-LT, average per-class accuracy in percent).
"""

import pandas as pd

COLUMNS = (
    "subject/object many", "subject/object medium", "subject/object few", "subject/object all",
    "relation many", "relation medium", "relation few", "relation all", "combined all",
)  # fmt: skip

TABLE_1 = {
    ("LSVRU", "CE"): (68.24, 36.34, 6.74, 14.28, 60.24, 13.70, 6.34, 10.22, 12.25),
    ("LSVRU", "CE + DiffAugment"): (62.23, 41.77, 10.14, 17.51, 35.21, 23.94, 8.04, 11.80, 14.66),
}


def table_1() -> pd.DataFrame:
    """Table 1 with one row per (architecture, training) and the columns of `COLUMNS`, in percent."""
    table = pd.DataFrame.from_dict(TABLE_1, orient="index", columns=list(COLUMNS))
    table.index = pd.MultiIndex.from_tuples(table.index, names=["architecture", "training"])
    return table
