"""The paper's numbers and what it concludes from them, as data, to stand beside ours.

Source: DiffAugment, section 4, Tables 1 to 6 (GQA-LT, average per-class accuracy in percent).
"""

from dataclasses import dataclass

COLUMNS = (
    "subject/object many", "subject/object medium", "subject/object few", "subject/object all",
    "relation many", "relation medium", "relation few", "relation all", "combined all",
)  # fmt: skip
SUMMARY_COLUMNS = ("subject/object all", "relation all", "combined all")
# How many classes each column averages over in the paper.
CLASSES = dict(zip(COLUMNS, (86, 255, 1362, 1703, 16, 46, 248, 310, 2013), strict=True))
LSVRU, RELTRANSFORMER = "LSVRU", "RelTransformer"
YES, NO = "✓", "✗"


@dataclass(frozen=True)
class PaperRow:
    """One printed row: what identifies it, its key here, the row it is measured against, its numbers in percent.

    ``key`` and ``compared_with`` are keys in ``tables.json``; ``numbers`` maps a column of `COLUMNS` to percent.
    """

    architecture: str
    labels: tuple[str, ...]
    key: str
    compared_with: str | None
    numbers: dict[str, float]


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables; ``label_columns`` name the entries of each row's ``labels``."""

    number: int
    title: str
    label_columns: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]

    def row(self, key: str) -> PaperRow:
        """The row called ``key``; KeyError where the table has none."""
        return {row.key: row for row in self.rows}[key]

    def name(self, row: PaperRow) -> str:
        """A row in words; a tick stands after the name of its column."""
        named = zip(self.label_columns, row.labels, strict=True)
        return ", ".join(f"{column} {label}" if label in (YES, NO) else label for column, label in named if label)

    def change(self, later: str, earlier: str, column: str) -> float | None:
        """Percentage points that ``later`` is above ``earlier``; None where the paper does not print both."""
        one, other = (self.row(key).numbers.get(column) for key in (later, earlier))
        return None if one is None or other is None else one - other


def _rows(architecture: str, columns: tuple[str, ...], *rows: tuple) -> tuple[PaperRow, ...]:
    """Rows from (labels, key, compared with, numbers in the order of ``columns``)."""
    return tuple(
        PaperRow(architecture, labels, key, against, dict(zip(columns, numbers, strict=True)))
        for labels, key, against, numbers in rows
    )


# fmt: off
_TABLE_1 = _rows(
    LSVRU, COLUMNS,
    (("CE",), "lsvru_ce", None, (68.24, 36.34, 6.74, 14.28, 60.24, 13.70, 6.34, 10.22, 12.25)),
    (("CE + DiffAugment",), "lsvru_ce_so", "lsvru_ce",
     (62.23, 41.77, 10.14, 17.51, 35.21, 23.94, 8.04, 11.80, 14.66)),
    (("CE + VilHub + RelMix",), "lsvru_ce_vilhub_relmix", None,
     (68.80, 44.20, 10.26, 18.30, 63.86, 12.00, 6.83, 10.55, 14.42)),
    (("CE + VilHub + RelMix + DiffAugment",), "lsvru_ce_vilhub_relmix_so", "lsvru_ce_vilhub_relmix",
     (62.66, 44.08, 12.79, 19.99, 48.94, 19.20, 7.89, 11.69, 15.84)),
    (("WCE",), "lsvru_wce", None, (54.83, 43.32, 12.25, 19.05, 52.75, 35.17, 13.03, 18.37, 18.71)),
    (("WCE + DiffAugment",), "lsvru_wce_so", "lsvru_wce",
     (39.83, 33.90, 17.33, 20.95, 37.37, 37.72, 18.13, 22.03, 21.49)),
) + _rows(
    RELTRANSFORMER, COLUMNS,
    (("CE",), "reltransformer_ce", None, (72.45, 50.06, 11.69, 20.50, 62.48, 16.83, 7.45, 11.69, 16.10)),
    (("CE + DiffAugment",), "reltransformer_ce_so", "reltransformer_ce",
     (70.55, 50.47, 13.23, 21.70, 47.89, 30.13, 7.09, 12.62, 17.16)),
    (("WCE",), "reltransformer_wce", None, (53.67, 47.35, 19.47, 25.37, 54.86, 38.96, 15.10, 20.70, 23.04)),
    (("WCE + DiffAugment",), "reltransformer_wce_so", "reltransformer_wce",
     (39.16, 38.04, 22.68, 25.81, 45.19, 40.19, 18.01, 22.71, 24.26)),
)
_TABLE_2 = _rows(
    LSVRU, COLUMNS,
    (("CE + DiffAugment", "Random"), "lsvru_ce_random", None,
     (62.12, 42.42, 10.18, 17.63, 34.67, 23.73, 6.04, 10.14, 13.88)),
    (("CE + DiffAugment", "S-O"), "lsvru_ce_so", "lsvru_ce_random",
     (62.23, 41.77, 10.14, 17.51, 35.21, 23.94, 8.04, 11.80, 14.66)),
) + _rows(
    RELTRANSFORMER, COLUMNS,
    (("WCE + DiffAugment", "Random"), "reltransformer_wce_random", None,
     (39.49, 38.02, 22.92, 26.02, 46.79, 39.59, 17.27, 22.10, 24.06)),
    (("WCE + DiffAugment", "S-O"), "reltransformer_wce_so", "reltransformer_wce_random",
     (39.16, 38.04, 22.68, 25.81, 45.19, 40.19, 18.01, 22.71, 24.26)),
)
_TABLE_3 = _rows(
    LSVRU, COLUMNS,
    (("CE + DiffAugment", NO), "lsvru_ce_random_plain", None,
     (63.18, 41.96, 9.58, 17.14, 36.05, 23.52, 6.13, 10.26, 13.70)),
    (("CE + DiffAugment", YES), "lsvru_ce_random", "lsvru_ce_random_plain",
     (62.12, 42.42, 10.18, 17.63, 34.67, 23.73, 6.04, 10.14, 13.88)),
) + _rows(
    RELTRANSFORMER, COLUMNS,
    (("CE + DiffAugment", NO), "reltransformer_ce_random_plain", None,
     (70.14, 51.28, 14.27, 22.64, 51.56, 25.91, 6.94, 12.06, 17.35)),
    (("CE + DiffAugment", YES), "reltransformer_ce_random", "reltransformer_ce_random_plain",
     (70.21, 51.20, 14.23, 22.59, 53.15, 25.56, 7.52, 12.56, 17.58)),
)
_TABLE_4 = _rows(
    LSVRU, COLUMNS,
    (("WCE + DiffAugment", "Random"), "lsvru_wce_so", None,
     (39.83, 33.90, 17.33, 20.95, 37.37, 37.72, 18.13, 22.03, 21.49)),
    (("WCE + DiffAugment", "Easy then hard"), "lsvru_wce_so_curriculum", "lsvru_wce_so",
     (37.34, 31.43, 17.74, 20.78, 38.39, 37.56, 18.64, 22.47, 21.62)),
) + _rows(
    RELTRANSFORMER, COLUMNS,
    (("CE + DiffAugment", "Random"), "reltransformer_ce_so", None,
     (70.55, 50.47, 13.23, 21.70, 47.89, 30.13, 7.09, 12.62, 17.16)),
    (("CE + DiffAugment", "Easy then hard"), "reltransformer_ce_so_curriculum", "reltransformer_ce_so",
     (70.05, 51.10, 14.00, 22.39, 55.38, 24.65, 6.97, 12.09, 17.24)),
)
# Tables 5 and 6 print the recogniser without DiffAugment in their heads; here it is their first row.
_TABLE_5 = _rows(
    LSVRU, ("combined all",),
    (("without DiffAugment", "", ""), "lsvru_ce", None, (12.25,)),
    ((NO, NO, NO), "lsvru_ce_random_plain", None, (13.7,)),
    ((NO, YES, NO), "lsvru_ce_random", "lsvru_ce_random_plain", (13.88,)),
    ((NO, YES, YES), "lsvru_ce_random_curriculum", "lsvru_ce_random_plain", (13.99,)),
    ((YES, NO, NO), "lsvru_ce_so_plain", "lsvru_ce_random_plain", (13.62,)),
    ((YES, YES, NO), "lsvru_ce_so", "lsvru_ce_random_plain", (14.66,)),
    ((YES, YES, YES), "lsvru_ce_so_curriculum", "lsvru_ce_random_plain", (14.2,)),
)
_TABLE_6 = _rows(LSVRU, ("combined all",), (("0",), "lsvru_ce", None, (12.25,))) + _rows(
    LSVRU, SUMMARY_COLUMNS,
    (("20K",), "lsvru_ce_so_20k", None, (17.16, 10.72, 13.94)),
    (("60K",), "lsvru_ce_so_60k", "lsvru_ce_so_20k", (17.38, 11.02, 14.20)),
    (("96K",), "lsvru_ce_so", "lsvru_ce_so_60k", (17.51, 11.80, 14.66)),
)
# fmt: on

TABLES = {
    table.number: table
    for table in (
        PaperTable(1, "DiffAugment on two recognisers, whatever the loss", ("training",), COLUMNS, _TABLE_1),
        PaperTable(2, "Where sampling starts", ("training", "seed"), COLUMNS, _TABLE_2),
        PaperTable(3, "Hardness as a condition", ("training", "hardness"), COLUMNS, _TABLE_3),
        PaperTable(4, "Order of fine-tuning", ("training", "order"), COLUMNS, _TABLE_4),
        PaperTable(5, "The enhancements together", ("S-O seed", "hardness", "curriculum"), ("combined all",), _TABLE_5),
        PaperTable(6, "How many samples", ("samples",), SUMMARY_COLUMNS, _TABLE_6),
    )
}

COMBINED = "combined all"
ABOVE, BELOW, EQUAL = "rises", "falls", "about equal"


@dataclass(frozen=True)
class Comparison:
    """Row ``later`` against ``earlier`` in one column; ``expected`` is what the paper says of the difference.

    ``decides`` marks those that the claim stands or falls with; the others are reported beside it.
    """

    later: str
    earlier: str
    column: str = COMBINED
    expected: str = ABOVE
    decides: bool = True


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper and the comparisons of table ``table`` that it rests on."""

    table: int
    words: str
    comparisons: tuple[Comparison, ...]


def _pairs(table: int) -> list[tuple[str, str]]:
    return [(row.key, row.compared_with) for row in TABLES[table].rows if row.compared_with]


def _combined(pairs: list[tuple[str, str]]) -> tuple[Comparison, ...]:
    return tuple(Comparison(later, earlier) for later, earlier in pairs)


def _beside(pairs: list[tuple[str, str]], column: str, expected: str) -> tuple[Comparison, ...]:
    return tuple(Comparison(later, earlier, column, expected, decides=False) for later, earlier in pairs)


_BEST = "lsvru_ce_so"
_OTHERS = dict.fromkeys(key for pair in _pairs(5) for key in pair if key != _BEST)
CLAIMS = (
    Claim(
        1,
        "DiffAugment raises Combined for both recognisers, whatever the loss, also after VilHub and RelMix; "
        "the price is paid by the many classes.",
        _combined(_pairs(1))
        + _beside(_pairs(1), "subject/object many", BELOW)
        + _beside(_pairs(1), "relation many", BELOW),
    ),
    Claim(
        2,
        "A subject-object start beats a random one in Combined: relations gain, subjects and objects stay about equal.",
        _combined(_pairs(2))
        + _beside(_pairs(2), "relation all", ABOVE)
        + _beside(_pairs(2), "subject/object all", EQUAL),
    ),
    Claim(3, "Hardness as a condition raises Combined for both recognisers.", _combined(_pairs(3))),
    Claim(4, "A curriculum, easy samples first, raises Combined in both settings.", _combined(_pairs(4))),
    Claim(
        5,
        "The best combination is subject-object start with hardness and without curriculum.",
        _combined([(_BEST, other) for other in _OTHERS]),
    ),
    Claim(6, "More samples are better.", _combined([*_pairs(6), (_BEST, "lsvru_ce_so_20k")])),
)
