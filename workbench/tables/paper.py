"""The paper's numbers and claims, to stand beside ours, and what intervals over seeds say of the claims.

Source: DiffAugment, section 4, Tables 1 to 6 (GQA-LT, average per-class accuracy in percent), in ``paper.csv`` and
``paper.toml``.
"""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from workbench.figures.pages import signed
from workbench.tables.results import COMBINED, FAILED, NOT_RUN, ONE_SEED, STALE, UNDECIDED, TableResults

_PAPER = Path(__file__)
_TEXTS = tomllib.loads(_PAPER.with_suffix(".toml").read_text(encoding="utf-8"))
# How many classes each column averages over in the paper.
CLASSES: dict[str, int] = _TEXTS["classes"]
SUMMARY_COLUMNS = ("subject/object all", "relation all", COMBINED)
ABOVE, BELOW, EQUAL = "rises", "falls", "about equal"


class PaperTable(NamedTuple):
    """A table of the paper and what it concludes from it.

    ``rows``, by their key in ``tables.json``: architecture, name, compared_with (the key of the row that it is measured
    against), and the columns that the paper prints, percent. The claim stands or falls with a rise in Combined of each
    of the ``pairs`` of rows, later and earlier; ``beside`` says what else is expected of them, by column.
    """

    title: str
    rows: pd.DataFrame
    claim: str
    pairs: list[tuple[str, str]]
    beside: dict[str, str]

    @property
    def columns(self) -> list[str]:
        """The columns of numbers that are printed."""
        return [column for column in CLASSES if column in self.rows]

    def change(self, later: str, earlier: str, column: str) -> float:
        """Percentage points that ``later`` is above ``earlier``; nan where the paper does not print both."""
        return float(self.rows.at[later, column] - self.rows.at[earlier, column])


def _read_tables() -> dict[int, PaperTable]:
    tables = {}
    for number, lines in pd.read_csv(_PAPER.with_suffix(".csv")).groupby("table"):
        of, rows = _TEXTS[str(number)], lines.set_index("key").drop(columns="table").dropna(axis="columns", how="all")
        pairs = of.get("pairs") or rows["compared_with"].dropna().items()
        tables[int(number)] = PaperTable(of["title"], rows, of["claim"], list(map(tuple, pairs)), of.get("beside", {}))
    return tables


# Tables 5 and 6 print the recogniser without DiffAugment in their heads; here it is their first row.
TABLES = _read_tables()

HOLDS, FAILS = "holds", "does not hold"
NO_CLASS, NO_PAIR = "no class in this band", "no seed has both"
# Why there is no difference; a claim without any is described by the first of them that one of its comparisons has.
_GAPS = (FAILED, STALE, NOT_RUN, NO_PAIR, NO_CLASS)
_PHRASES = {HOLDS: "lie wholly above 0", FAILS: "wholly below", UNDECIDED: "contain 0", ONE_SEED: "rest on one seed"}
# The paper calls a loss of 0.12 and 0.21 points "slight"; its smallest gain by the start is 0.2 in Combined.
EQUAL_WITHIN_POINTS = 0.5


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
    records = []
    for number, table in TABLES.items():
        rows = table.rows
        for column, expected in {COMBINED: ABOVE, **table.beside}.items():
            for later, earlier in table.pairs:
                difference = results.difference(later, earlier, f"{metric} {column}")
                gap = "" if difference else _gap(later, earlier, results)
                records.append({
                    "claim": number, "architecture": rows.at[later, "architecture"],
                    "later": rows.at[later, "name"], "earlier": rows.at[earlier, "name"],
                    "column": column, "expected": expected, "decides": column == COMBINED,
                    "paper": table.change(later, earlier, column),
                    "here": difference and difference["mean"], "half_width": difference and difference["half_width"],
                    "pairs": len(difference["values"]) if difference else 0,
                    "verdict": next((word for word in _GAPS if gap.startswith(word)), verdict(difference, expected)),
                    "gap": gap,
                })  # fmt: skip
    return pd.DataFrame(records).astype({"paper": float, "here": float, "half_width": float})


def _gap(later: str, earlier: str, results: TableResults) -> str:
    """Why there is no difference."""
    if gap := results.first_gap([later, earlier]):
        return gap
    return NO_CLASS if results.rows[later].values.keys() & results.rows[earlier].values.keys() else NO_PAIR


def claims_table(comparisons: pd.DataFrame) -> pd.DataFrame:
    """One row a claim: words, verdict and a sentence; ``comparisons`` is what `comparisons_table` made.

    A claim holds when all of its deciding comparisons do, and does not when one of them lies wholly the other way.
    """
    rows = {}
    for number, here in comparisons.groupby("claim"):
        deciding, beside = here[here["decides"]], here[~here["decides"]]
        said = _claim_verdict(list(deciding["verdict"]))
        sentence = f"{_deciding_sentence(deciding, said)} {_beside_sentence(beside)}".rstrip()
        rows[number] = {"words": TABLES[number].claim, "verdict": said, "sentence": sentence}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")


def _claim_verdict(verdicts: list[str]) -> str:
    if FAILS in verdicts:
        return FAILS
    if set(verdicts) == {HOLDS}:
        return HOLDS
    if HOLDS in verdicts or UNDECIDED in verdicts:
        return UNDECIDED
    return next(said for said in (ONE_SEED, *_GAPS) if said in verdicts)


def _deciding_sentence(deciding: pd.DataFrame, said: str) -> str:
    counts = Counter(deciding["verdict"])
    gaps = "".join(f", {counts[word]} {word}" for word in _GAPS if counts[word])
    if said == ONE_SEED:
        measured = deciding[deciding["pairs"] > 0]
        higher = (measured["here"] > 0).sum()
        return f"One seed, no interval: Combined is higher in {higher} of {len(measured)} comparisons{gaps}."
    if said in _GAPS:
        return f"Nothing to compare{gaps}."
    found = ", ".join(f"{counts[word]} {phrase}" for word, phrase in _PHRASES.items() if counts[word])
    return f"{said.capitalize()} here: of {len(deciding)} differences in Combined {found}{gaps}."


def _beside_sentence(beside: pd.DataFrame) -> str:
    parts = []
    for (column, expected), here in beside[beside["pairs"] > 0].groupby(["column", "expected"], sort=False):
        agree, intervals = (here["verdict"] == HOLDS).sum(), here["half_width"].notna().sum()
        judged = f", {expected} by {agree} of {intervals} intervals" if intervals else ""
        parts.append(f"{column} {signed(here['here'].mean())} on average{judged}")
    return f"Beside it: {'; '.join(parts)}." if parts else ""


def claim_metrics(comparisons: pd.DataFrame) -> dict[str, Any]:
    """Counts for the headline, each claim's verdict, and the differences in Combined that decide, paper and here."""
    table, deciding = claims_table(comparisons), comparisons[comparisons["decides"]]
    verdicts = Counter(table["verdict"])
    decided = {"claims": len(table), "claims decided": verdicts[HOLDS] + verdicts[FAILS]}
    if decided["claims decided"]:  # else none could hold
        decided["claims that hold"] = verdicts[HOLDS]
    shown = {"paper": "paper, points", "here": "here, points", "half_width": "half width", "verdict": "verdict"}
    names = [f"{row.claim}. {row.architecture}: {row.later} against {row.earlier}" for row in deciding.itertuples()]
    others = len(table) - decided["claims decided"]
    counts = f"{verdicts[HOLDS]} hold here, {verdicts[FAILS]} do not, and {others} are undecided or not run"
    judged = {"verdict": f"Of the paper's {len(table)} claims about Combined {counts}."}
    return {
        **(judged if decided["claims decided"] else {}),
        "headline": decided,
        "claims": {f"{number}. {row['words']}": row["verdict"] for number, row in table.iterrows()},
        "differences in Combined": deciding[list(shown)].rename(columns=shown).set_axis(names).to_dict("index"),
    }
