"""Writes the tables of docs/results.md between their marks from reports/reference: python docs/figures/tables.py.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``; what stands around them is written by hand.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from workbench.files import atomic_path
from workbench.tables.paper import comparisons_table
from workbench.tables.results import MeasuredRow, TableResults, aim, read_tables

PAGE = Path(__file__).resolve().parents[1] / "results.md"
REFERENCE = PAGE.parents[1] / "reports" / "reference"
COLUMNS = {
    "S/O many": "subject/object many", "S/O few": "subject/object few", "S/O": "subject/object all",
    "R many": "relation many", "R few": "relation few", "R": "relation all",
    "Combined many": "combined many", "Combined": "combined all",
}  # fmt: skip
MARKED = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown."""
    head = list(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def change(found: dict | None) -> str:
    """A paired difference with the half width of its interval."""
    return "" if found is None else f"{found['mean']:+.1f} ± {found['half_width']:.1f}"


def measured(results: TableResults, chosen: Callable[[MeasuredRow], bool], **others: TableResults) -> str:
    """The chosen rows, percent on test, with the change against the row compared with; of ``others`` Combined alone."""
    rows = []
    for row in (row for row in results.rows.values() if row.values and chosen(row)):
        levels = [results.level(row.key, f"exact {name}") for name in COLUMNS.values()]
        beside = [other.level(row.key, "exact combined all") for other in others.values()]
        numbers = [f"{level['mean']:.1f}" if level else "" for level in levels]
        against = change(results.difference(row.key, row.compared_with, "exact combined all"))
        rows.append([row.title, *numbers, against, *(f"{level['mean']:.1f}" if level else "" for level in beside)])
    return markdown(["training", *COLUMNS, "minus its baseline", *(name.replace("_", " ") for name in others)], rows)


def claims(results: TableResults) -> str:
    """The comparisons that decide the paper's claims."""
    table = comparisons_table(results, "exact")
    rows = [
        [str(row.claim), f"{row.architecture}: {row.later} against {row.earlier}", f"{row.paper:+.2f}",
         f"{row.here:+.2f} ± {row.half_width:.2f}", row.verdict]
        for row in table[table["decides"]].itertuples()
    ]  # fmt: skip
    return markdown(["claim", "comparison", "paper", "here", ""], rows)


def aims(results: TableResults) -> str:
    """Whether the best row with DiffAugment beats the best one without generated features."""
    rows = [
        [record["architecture"], record["without"], record["with"], change(record["combined"]), change(record["many"]),
         record["verdict"]]
        for record in aim(results, "exact")
    ]  # fmt: skip
    head = ["recogniser", "best without generated features", "best with DiffAugment", "Combined", "many", ""]
    return markdown(head, rows)


def tables() -> dict[str, str]:
    """Name to table."""
    names = ("demo-tables", "demo-table1", "demo-table1-all-senses", "vg-clip-tables")
    drawn, five, all_senses, clip = (read_tables(REFERENCE / f"{name}.json") for name in names)
    return {
        "drawn-five-seeds": measured(five, lambda row: True, all_senses=all_senses),
        "drawn-paper": measured(drawn, lambda row: row.group == "paper"),
        "drawn-claims": claims(drawn),
        "drawn-others": measured(drawn, lambda row: row.group != "paper"),
        "drawn-aim": aims(drawn),
        "clip": measured(clip, lambda row: True),
        "clip-aim": aims(clip),
    }


def renewed(page: str, found: dict[str, str]) -> str:
    """The page with each marked table as it is now."""
    return MARKED.sub(lambda mark: f"{mark[1]}\n{found[mark[2]]}\n\n{mark[3]}", page)


if __name__ == "__main__":
    with atomic_path(PAGE) as temporary:
        temporary.write_text(renewed(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")
