"""What intervals over seeds say of the paper's claims, and of what a method has to beat."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from workbench.tables.grid import DIFFUSION
from workbench.tables.paper import BELOW, CLAIMS, COMBINED, EQUAL, TABLES, Claim, Comparison
from workbench.tables.results import FAILED, NOT_RUN, STALE, MeasuredRow, TableResults

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ONE_SEED, NO_CLASS, NO_PAIR = "one seed, no interval", "no class in this band", "no seed has both"
# Why there is no difference; a claim without any is described by the first of them that one of its comparisons has.
_GAPS = (FAILED, STALE, NOT_RUN, NO_PAIR, NO_CLASS)
# The paper calls a loss of 0.12 and 0.21 points "slight"; its smallest gain by the start is 0.2 in Combined.
EQUAL_WITHIN_POINTS = 0.5
REACHED, NOT_REACHED, NOT_KNOWN = "reached", "not reached", "not known"
NOT_VALIDATED = f"{NOT_KNOWN}: no validation numbers"
# Losses that re-balance by themselves; the group "combined" does it in other ways too.
BALANCED_TRAININGS = ("wce", "logit_adjusted")
# What a method may cost the frequent classes for its gain in Combined to count.
MOST_LOST_ON_MANY_POINTS = 3.0


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
    later, earlier = (results.rows[key].values.keys() for key in keys)
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
    found = ", ".join(f"{counts[word]} {phrase}" for word, phrase in _PHRASES.items() if counts[word])
    return f"{said.capitalize()} here: of {len(deciding)} differences in Combined {found}{_gaps(deciding)}."


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


def best_without_generated(results: TableResults, architecture: str) -> str | None:
    """Key of the architecture's best row without generated features, which a generator has to beat; None without any.

    Best is the highest mean Combined on validation, see `TableResults.best_on_validation`.
    """
    return results.best_on_validation(_without_generated(results, architecture))


def _without_generated(results: TableResults, architecture: str) -> list[MeasuredRow]:
    return [row for row in results.rows.values() if row.architecture == architecture and not row.generated]


def _with_diffaugment(results: TableResults, architecture: str) -> list[MeasuredRow]:
    """Rows that join DiffAugment and re-balancing: the group "combined", or such a loss."""
    rows = [row for row in results.rows.values() if row.architecture == architecture and row.source == DIFFUSION]
    return [row for row in rows if row.group == "combined" or row.training in BALANCED_TRAININGS]


def why_no_best(results: TableResults, architecture: str) -> str:
    """Why `best_without_generated` is None."""
    return _why_none(results, _without_generated(results, architecture))


def _why_none(results: TableResults, rows: Sequence[MeasuredRow]) -> str:
    gaps = [results.gap(row.key) for row in rows]
    # In alphabetical order reasons come before what was not run.
    return NOT_VALIDATED if "" in gaps else min(gaps, default=NOT_RUN)


def architectures(results: TableResults) -> list[str]:
    """The recognisers of the rows."""
    return list(dict.fromkeys(row.architecture for row in results.rows.values()))


def aim(results: TableResults, metric: str) -> list[dict[str, Any]]:
    """Whether DiffAugment with a re-balancing loss beats what needs no generated feature, one record an architecture.

    Keys: architecture; without and with (titles of the two rows, each the best on validation, or why there is none);
    combined and many (the change on test from the first to the second, `paired_interval` or None); verdict
    (`aim_verdict`).
    """
    return [_aim_of(architecture, results, metric) for architecture in architectures(results)]


def _aim_of(architecture: str, results: TableResults, metric: str) -> dict[str, Any]:
    record: dict[str, Any] = {"architecture": architecture}
    keys = []
    for name, candidates in (("without", _without_generated), ("with", _with_diffaugment)):
        rows = candidates(results, architecture)
        keys.append(results.best_on_validation(rows))
        record[name] = results.rows[keys[-1]].title if keys[-1] else _why_none(results, rows)
    for name, column in (("combined", COMBINED), ("many", "combined many")):
        record[name] = results.difference(keys[1], keys[0], f"{metric} {column}")
    return record | {"verdict": aim_verdict(record["combined"], record["many"])}


def aim_verdict(combined: dict[str, Any] | None, many: dict[str, Any] | None) -> str:
    """Whether Combined rises at a loss of at most 3 points on many; both are `paired_interval`s, None where missing.

    "reached": the interval of Combined lies wholly above 0 and the mean change on many is -3 or more; "not reached":
    it lies wholly below 0, or many loses more; "undecided": it contains 0. One seed has no interval and no verdict.
    """
    if combined is None:
        return NOT_KNOWN
    if combined["half_width"] is None:
        return ONE_SEED
    if combined["high"] < 0:
        return NOT_REACHED
    if many is None:
        return NOT_KNOWN
    if many["mean"] < -MOST_LOST_ON_MANY_POINTS:
        return NOT_REACHED
    return REACHED if combined["low"] > 0 else UNDECIDED
