"""Reproduced tables and claims as HTML that stands in a report: paper above ours, intervals small, text escaped."""

import html
from collections.abc import Callable
from itertools import groupby

import pandas as pd

from workbench.spelling import spelt
from workbench.tables.claims import FAILS
from workbench.tables.paper import CLASSES, TABLES
from workbench.tables.reproduced import (
    CHANGES,
    EXTENDED_COLUMNS,
    NOT_KNOWN,
    aim,
    extended_table,
    reproduced_table,
)
from workbench.tables.results import TableResults

NO_NUMBER = "–"
_HEADS = {"subject/object": "Subject/Object", "relation": "Relation", "combined": "Combined"}
# The report's own colours where there are any, legible ones in a notebook.
STYLE = """<style>
table.results{font-size:13px;border-collapse:collapse}
table.results th[colspan]{text-align:center}
table.results th,table.results td{padding:2px 5px;text-align:right;font-variant-numeric:tabular-nums;line-height:1.3}
table.results .text{text-align:left;min-width:110px;max-width:300px;white-space:normal;overflow-wrap:anywhere}
table.results .change{display:block;font-size:12px;letter-spacing:-0.1px;white-space:nowrap}
table.results .quiet,table.results .paper td{color:var(--quiet,#59636e)}
table.results tr.paper td{border-bottom:0;padding-bottom:0}
table.results .source{text-align:left;white-space:nowrap}
table.results th[scope=row]{font-weight:400;vertical-align:top}
table.results .words{text-align:left;max-width:520px}
table.results tr.group th{text-align:left;padding-top:8px}
table.results .against{color:var(--bad,#b35900)}
table.results small{font-size:12px}
table.results .difference{white-space:nowrap}
table.results .told{font-weight:400;display:block}
</style>"""
LEGEND = (
    '<p class="quiet"><small style="font-size:12px">Upper line: the paper; lower line: here. Small: change against '
    "the row compared with, in percentage points, ± half the 95 % t-interval over seeds (without ±: one seed). "
    "<b>Bold</b>: the interval excludes 0; "
    '<b style="color:var(--bad,#b35900)">coloured</b>: and it points against the paper.</small></p>'
)


def in_both_metrics(html_of: Callable[[str], str], metric: str) -> str:
    """What ``html_of`` gives for ``metric`` (exact or synset), and for the other metric below it, folded."""
    other = "exact" if metric == "synset" else "synset"
    return f"{html_of(metric)}<details><summary>The same by {other} match</summary>{html_of(other)}</details>"


def paper_table(number: int, results: TableResults, metric: str) -> str:
    """Table ``number`` with our results below the paper's numbers, in both metrics."""
    return in_both_metrics(lambda each: table_html(number, reproduced_table(number, results, each)), metric)


def extended(results: TableResults, metric: str) -> str:
    """All systems, in both metrics."""
    return in_both_metrics(lambda each: extended_html(extended_table(results, each)), metric)


def aims(results: TableResults, metric: str) -> str:
    """Whether the aim is reached, in both metrics."""
    return in_both_metrics(lambda each: aim_html(aim(results, each)), metric)


def table_html(number: int, rows: pd.DataFrame) -> str:
    """Table ``number``; ``rows`` is what `reproduced_tables.reproduced_table` made."""
    table = TABLES[number]
    parts = [f"<h3>Table {number}. {_escaped(table.title)}</h3>", _opened(_paper_head(table.columns))]
    width = len(table.columns) + 2
    for architecture, of_architecture in rows.groupby("architecture", sort=False):
        parts.append(_group_row(architecture, width))
        parts += [_pair_of_lines(here) for _, here in of_architecture.groupby("row", sort=False)]
    return "".join([*parts, "</tbody></table></div>"])


def extended_html(table: pd.DataFrame) -> str:
    """All systems by architecture and family; ``table`` is what `reproduced_tables.extended_table` made."""
    spans = [(_HEADS[role], len(list(of_role))) for role, of_role in groupby(EXTENDED_COLUMNS, lambda c: c.split()[0])]
    upper = "".join(f'<th colspan="{span}">{head}</th>' for head, span in spans)
    lower = "".join(f"<th>{column.split()[-1]}</th>" for column in EXTENDED_COLUMNS)
    head = (
        f'<tr><th class="text" rowspan="2">system</th><th rowspan="2">seeds</th>{upper}'
        '<th colspan="2">change of Combined</th></tr>'
        f"<tr>{lower}<th>to its<br>baseline</th><th>to the best<br>not generated</th></tr>"
    )
    parts = [_opened(head)]
    for (architecture, group), here in table.groupby(["architecture", "group"], sort=False):
        parts.append(_group_row(f"{architecture}: {group}", len(EXTENDED_COLUMNS) + 4))
        parts += [_extended_line(row) for _, row in here.iterrows()]
    return "".join([*parts, "</tbody></table></div>"])


def aim_html(table: pd.DataFrame) -> str:
    """The verdict of each architecture; ``table`` is what `reproduced_tables.aim` made."""
    head = (
        '<tr><th class="text" rowspan="2">recogniser</th><th class="text" colspan="2">best on validation</th>'
        '<th colspan="2">change on test</th><th rowspan="2">seeds</th><th class="text" rowspan="2">verdict</th></tr>'
        '<tr><th class="text">without generated features</th>'
        '<th class="text">with DiffAugment and a re-balancing loss</th><th>Combined</th><th>many</th></tr>'
    )
    lines = "".join(_aim_line(row) for _, row in table.iterrows())
    return f"{_opened(head)}{lines}</tbody></table></div>"


def _aim_line(row: pd.Series) -> str:
    titles = (_escaped(_without_architecture(row[name], row["architecture"])) for name in ("without", "with"))
    changes = (_difference(row[f"{of}difference"], row[f"{of}half_width"]) for of in ("", "many_"))
    return (
        f'<tr><th class="text" scope="row">{_escaped(row["architecture"])}</th>'
        + "".join(f'<td class="text">{title}</td>' for title in titles)
        + "".join(f"<td>{change}</td>" for change in changes)
        + f'<td>{row["pairs"] or NO_NUMBER}</td><td class="text"><b>{_escaped(row["verdict"])}</b></td></tr>'
    )


def claims_html(claims: pd.DataFrame, comparisons: pd.DataFrame) -> str:
    """Each claim with its verdict and its comparisons; from `claims.claims_table` and `claims.comparisons_table`."""
    head = (
        '<tr><th class="text">difference</th><th class="text">of</th><th>paper</th><th>here</th><th>seeds</th>'
        '<th class="text">verdict</th></tr>'
    )
    parts = [_opened(head)]
    for number, claim in claims.iterrows():
        words = f"{number}. {_escaped(claim['words'])}"
        said = f'<span class="told">Table {claim["table"]}. {_escaped(claim["sentence"])}</span>'
        parts.append(f'<tr class="group"><th colspan="6">{words}{said}</th></tr>')
        parts += [_comparison_line(row) for _, row in comparisons[comparisons["claim"] == number].iterrows()]
    return "".join([*parts, "</tbody></table></div>"])


def _escaped(text: str) -> str:
    return html.escape(spelt(text))


def _opened(head: str) -> str:
    return f'{STYLE}<div class="wide"><table class="results"><thead>{head}</thead><tbody>'


def _group_row(text: str, width: int) -> str:
    return f'<tr class="group"><th colspan="{width}">{_escaped(text)}</th></tr>'


def _paper_head(columns: tuple[str, ...]) -> str:
    """Two lines: role over band, each band with the number of classes that it has in the paper."""
    spans = [(_HEADS[role], len(list(of_role))) for role, of_role in groupby(columns, lambda column: column.split()[0])]
    upper = "".join(f'<th colspan="{span}">{head}</th>' for head, span in spans)
    lower = "".join(
        f'<th>{column.split()[-1]}<br><small class="quiet">{CLASSES[column]}</small></th>' for column in columns
    )
    classes = '<small class="quiet">classes in the paper</small>'
    return f'<tr><th></th><th></th>{upper}</tr><tr><th class="text">{classes}</th><th></th>{lower}</tr>'


def _pair_of_lines(row: pd.DataFrame) -> str:
    """One printed row: the paper's line and ours below it."""
    first = row.iloc[0]
    paper = "".join(
        f"<td>{_number(cell.paper)}{_small(_signed(cell.paper_difference))}</td>" for cell in row.itertuples()
    )
    if first["gap"]:
        here, seeds = f'<td class="text quiet" colspan="{len(row)}">{_escaped(first["gap"])}</td>', ""
    else:
        here = "".join(
            f"<td>{_number(cell.here)}{_change(cell.difference, cell.half_width, cell.paper_difference)}</td>"
            for cell in row.itertuples()
        )
        seeds = _small(_seeds(row["seeds"].max(), row["pairs"].max()) + _missing(first["missing"]))
    name = f'<th class="text" rowspan="2" scope="row">{_escaped(first["name"])}</th>'
    return (
        f'<tr class="paper">{name}<td class="source">paper</td>{paper}</tr>'
        f'<tr><td class="source">here{seeds}</td>{here}</tr>'
    )


def _extended_line(row: pd.Series) -> str:
    title = _without_architecture(row["title"], row["architecture"])
    name = f'<th class="text" scope="row">{_escaped(title)}</th>'
    if row["gap"]:
        gap = _escaped(row["gap"])
        return f'<tr>{name}<td></td><td class="text quiet" colspan="{len(EXTENDED_COLUMNS) + 2}">{gap}</td></tr>'
    numbers = "".join(f"<td>{_number(row[column], digits=1)}</td>" for column in EXTENDED_COLUMNS)
    changes = "".join(_change_to(row, change) for change in CHANGES)
    return f"<tr>{name}<td>{row['seeds']}{_small(_missing(row['missing']))}</td>{numbers}{changes}</tr>"


def _change_to(row: pd.Series, change: str) -> str:
    """A paired change in Combined; the pointer tells against which system, or why it is not known."""
    known = not row[change].startswith(NOT_KNOWN)
    text = _difference(row[f"{change}_difference"], row[f"{change}_half_width"]) if known else _small(NOT_KNOWN)
    return f'<td title="{_escaped(row[change])}">{text}</td>'


def _comparison_line(row: pd.Series) -> str:
    words = f"{row['architecture']}: {row['later']} against {row['earlier']}"
    style = "" if row["decides"] else ' class="quiet"'
    colour = "against" if row["verdict"] == FAILS else ""
    verdict = row["gap"] or row["verdict"]
    return (
        f'<tr{style}><th class="words" scope="row">{_escaped(words)}</th><td class="text">'
        f"{_escaped(row['column'])}, {_escaped(row['expected'])}</td>"
        f"<td>{_signed(row['paper'])}</td><td>{_difference(row['here'], row['half_width'])}</td>"
        f'<td>{row["pairs"] or NO_NUMBER}</td><td class="text {colour}">{_escaped(verdict)}</td></tr>'
    )


def _number(value: float, digits: int = 2) -> str:
    return NO_NUMBER if pd.isna(value) else f"{value:.{digits}f}"


def _signed(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _difference(difference: float, half_width: float) -> str:
    """``+1.20 ± 0.34``; bold where the interval excludes 0."""
    if pd.isna(difference):
        return NO_NUMBER
    text = _signed(difference) + ("" if pd.isna(half_width) else f" ±\N{NARROW NO-BREAK SPACE}{half_width:.2f}")
    tag = "b" if abs(difference) > half_width else "span"
    return f'<{tag} class="difference">{text}</{tag}>'


def _change(difference: float, half_width: float, in_paper: float) -> str:
    """The small line below a number of ours, coloured where it is decided and points against the paper."""
    if pd.isna(difference):
        return ""
    against = abs(difference) > half_width and difference * in_paper < 0
    return _small(_difference(difference, half_width), "against" if against else "quiet")


def _small(text: str, colour: str = "quiet") -> str:
    return f'<span class="change {colour}">{text}</span>' if text else ""


def _seeds(seeds: int, pairs: int) -> str:
    said = "one seed" if seeds == 1 else f"{seeds} seeds"
    return said if pairs in (0, seeds) else f"{said}, {pairs} paired"


def _missing(reasons: str) -> str:
    return f'<br><span title="{_escaped(reasons)}">some missing</span>' if reasons else ""


def _without_architecture(title: str, architecture: str) -> str:
    """A system's title where its architecture is told already; case does not matter."""
    prefix = f"{architecture}, "
    return title[len(prefix) :] if title.casefold().startswith(prefix.casefold()) else title
