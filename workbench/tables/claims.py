"""The paper's six claims in words, each with its comparisons, and what intervals over seeds say of them here.

Source: DiffAugment, section 4.2 and 4.3, Tables 1 to 6.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workbench.tables.paper import TABLES
from workbench.tables.results import FAILED, NOT_RUN, STALE, TableResults

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ONE_SEED, NO_CLASS, NO_PAIR = "one seed, no interval", "no class in this band", "no seed has both"
# Why there is no difference; a claim without any is told by the first of them that one of its comparisons has.
_GAPS = (FAILED, STALE, NOT_RUN, NO_PAIR, NO_CLASS)
ABOVE, BELOW, EQUAL = "rises", "falls", "about equal"
# The paper calls a loss of 0.12 and 0.21 points "slight"; its smallest gain by the start is 0.2 in Combined.
EQUAL_WITHIN_POINTS = 0.5
COMBINED = "combined all"


@dataclass(frozen=True)
class Comparison:
    """System ``later`` against ``earlier`` in one column; ``expected`` is what the paper says of the difference.

    ``decides`` marks those that the claim stands or falls with; the others are told beside it.
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
    return [(row.system, row.compared_with) for row in TABLES[table].rows if row.compared_with]


def _combined(pairs: list[tuple[str, str]]) -> tuple[Comparison, ...]:
    return tuple(Comparison(later, earlier) for later, earlier in pairs)


def _beside(pairs: list[tuple[str, str]], column: str, expected: str) -> tuple[Comparison, ...]:
    return tuple(Comparison(later, earlier, column, expected, decides=False) for later, earlier in pairs)


def _rivals_of_the_best(best: str) -> list[tuple[str, str]]:
    with_diffaugment = [system for pair in _pairs(5) for system in pair]
    return [(best, rival) for rival in dict.fromkeys(with_diffaugment) if rival != best]


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
        _combined(_rivals_of_the_best("lsvru_ce_so")),
    ),
    Claim(
        6,
        "More samples are better.",
        _combined([*_pairs(6), ("lsvru_ce_so", "lsvru_ce_so_20k")]),
    ),
)


def verdict(difference: dict[str, Any] | None, expected: str) -> str:
    """What a difference's 95 % interval says of ``expected``: holds, does not hold, undecided, or that it has none.

    "rises" holds when the interval lies wholly above 0 and fails when wholly below; "falls" is its mirror; "about
    equal" holds wholly within 0.5 points of 0 and fails wholly outside.
    """
    if difference is None:
        return NOT_RUN
    if difference["half_width"] is None:
        return ONE_SEED
    low, high = difference["low"], difference["high"]
    if expected == BELOW:
        low, high = -high, -low
    if expected == EQUAL:
        nearest = max(low, -high, 0.0)
        farthest = max(-low, high)
        return HOLDS if farthest < EQUAL_WITHIN_POINTS else FAILS if nearest > EQUAL_WITHIN_POINTS else UNDECIDED
    return HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED


def comparisons_table(results: TableResults, metric: str) -> pd.DataFrame:
    """One row for each comparison of each claim, percentage points.

    Columns: claim (1 to 6), architecture, later, earlier (rows of the paper's table, in words), column, expected,
    decides, paper, here (mean paired difference), half_width (95 % t-interval), pairs (seeds), verdict, and gap: what
    is missing where there is no difference.
    """
    rows = [
        {"claim": number, **_compared(claim, comparison, results, metric)}
        for number, claim in enumerate(CLAIMS, start=1)
        for comparison in claim.comparisons
    ]
    return pd.DataFrame(rows).astype({"paper": float, "here": float, "half_width": float})


def _compared(claim: Claim, comparison: Comparison, results: TableResults, metric: str) -> dict[str, Any]:
    table = TABLES[claim.table]
    later, earlier = table.row(comparison.later), table.row(comparison.earlier)
    difference = results.difference(comparison.later, comparison.earlier, f"{metric} {comparison.column}")
    gap = "" if difference else _gap(comparison, results)
    return {
        "architecture": later.architecture,
        "later": table.name(later),
        "earlier": table.name(earlier),
        "column": comparison.column,
        "expected": comparison.expected,
        "decides": comparison.decides,
        "paper": table.change(comparison.later, comparison.earlier, comparison.column),
        "here": difference and difference["mean"],
        "half_width": difference and difference["half_width"],
        "pairs": len(difference["values"]) if difference else 0,
        "verdict": next((word for word in _GAPS if gap.startswith(word)), verdict(difference, comparison.expected)),
        "gap": gap,
    }


def _gap(comparison: Comparison, results: TableResults) -> str:
    """Why there is no difference."""
    keys = (comparison.later, comparison.earlier)
    gaps = list(filter(None, map(results.gap, keys)))
    if gaps:
        return min(gaps)  # in alphabetical order reasons come before what was not run
    later, earlier = (results.systems[key].values.keys() for key in keys)
    return NO_CLASS if later & earlier else NO_PAIR


def claims_table(comparisons: pd.DataFrame) -> pd.DataFrame:
    """One row a claim: words, table, verdict and a sentence; ``comparisons`` is what `comparisons_table` made.

    A claim holds when all of its deciding comparisons do, and does not when one of them lies wholly the other way.
    """
    rows = []
    for number, claim in enumerate(CLAIMS, start=1):
        here = comparisons[comparisons["claim"] == number]
        deciding = here[here["decides"]]
        said = _claim_verdict(list(deciding["verdict"]))
        sentence = " ".join(
            filter(None, (_deciding_sentence(deciding, said), _beside_sentence(here[~here["decides"]])))
        )
        rows.append(
            {"claim": number, "words": claim.words, "table": claim.table, "verdict": said, "sentence": sentence}
        )
    return pd.DataFrame(rows).set_index("claim")


def _claim_verdict(verdicts: list[str]) -> str:
    if FAILS in verdicts:
        return FAILS
    if set(verdicts) == {HOLDS}:
        return HOLDS
    if HOLDS in verdicts or UNDECIDED in verdicts:
        return UNDECIDED
    return next(said for said in (ONE_SEED, *_GAPS) if said in verdicts)


def _deciding_sentence(deciding: pd.DataFrame, said: str) -> str:
    if said == ONE_SEED:
        measured = deciding[deciding["pairs"] > 0]
        same = int((measured["here"] > 0).sum())
        higher = f"Combined is higher in {same} of {len(measured)} comparisons"
        return f"One seed, no interval: {higher}{_gaps(deciding)}."
    if said in _GAPS:
        return f"Nothing to compare{_gaps(deciding)}."
    counts = Counter(deciding["verdict"])
    told = ", ".join(f"{counts[word]} {phrase}" for word, phrase in _PHRASES.items() if counts[word])
    return f"{said.capitalize()} here: of {len(deciding)} differences in Combined {told}{_gaps(deciding)}."


_PHRASES = {HOLDS: "lie wholly above 0", FAILS: "wholly below", UNDECIDED: "contain 0", ONE_SEED: "rest on one seed"}


def _gaps(comparisons: pd.DataFrame) -> str:
    counts = Counter(comparisons["verdict"])
    return "".join(f", {counts[word]} {word}" for word in _GAPS if counts[word])


def _beside_sentence(beside: pd.DataFrame) -> str:
    measured = beside[beside["pairs"] > 0]
    parts = []
    for (column, expected), here in measured.groupby(["column", "expected"], sort=False):
        agree, intervals = (here["verdict"] == HOLDS).sum(), here["half_width"].notna().sum()
        judged = f", {expected} by {agree} of {intervals} intervals" if intervals else ""
        mean = f"{here['here'].mean():+.2f}".replace("-", "\N{MINUS SIGN}")
        parts.append(f"{column} {mean} on average{judged}")
    return f"Beside it: {'; '.join(parts)}." if parts else ""


def claim_metrics(comparisons: pd.DataFrame) -> dict[str, Any]:
    """Counts for the headline, each claim's verdict, and the differences in Combined that decide, paper and here."""
    table = claims_table(comparisons)
    verdicts = Counter(table["verdict"])
    headline = {
        "claims decided": verdicts[HOLDS] + verdicts[FAILS],
        "claims that hold": verdicts[HOLDS],
        "claims": len(table),
    }
    deciding = comparisons[comparisons["decides"]]
    found = {
        f"{row.claim}. {row.architecture}: {row.later} against {row.earlier}": {
            "paper, points": row.paper,
            "here, points": None if pd.isna(row.here) else row.here,
            "half width": None if pd.isna(row.half_width) else row.half_width,
            "verdict": row.verdict,
        }
        for row in deciding.itertuples()
    }
    verdict_of = {f"{number}. {row['words']}": row["verdict"] for number, row in table.iterrows()}
    return {"headline": headline, "claims": verdict_of, "differences in Combined": found}
