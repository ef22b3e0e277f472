"""Executed notebooks as pages that need no network: code folded, figures live, one index a run and one over all."""

import functools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from workbench.configuration import flat
from workbench.errors import WorkbenchError
from workbench.figures.pages import formatted, own_style, rendered, write_page_text
from workbench.figures.style import PLOTLY_CONFIG
from workbench.files import read_json
from workbench.paths import reports_folder
from workbench.runs.execution import import_nbformat
from workbench.runs.run_records import (
    COLUMNS,
    HEADLINE,
    METRICS,
    NO_RECORD,
    NotebookRecord,
    RunRecord,
    headline_numbers,
    runs_table,
)

PLOTLY_MIME = "application/vnd.plotly.v1+json"
# Live controls and scripts need a running kernel or the network: a page shows their static twins.
_LIVE_MIMES = ("application/vnd.jupyter.widget-view+json", "application/javascript")
_CELL_SUMMARIES = {"parameters": "Parameters, defaults", "injected-parameters": "Parameters of this run"}
# What a stage tells while it is made; of no use on a page once it is.
_PROGRESS = re.compile(r"\S+/\S+: building|.+: [\d,]+(?: of [\d,]+)?, \d+ s|.*\d%\|.*\|.*\[.*\].*")
_PAPERMILL_BANNER = "papermill-error-cell-tag"  # the page's own box says it better
_PLOTLY_HEIGHT_PX = 450  # plotly's own default
_LONGEST_LIST, _RUNS_HEADLINES = 8, 3
_HERE = Path(__file__).parent


class _Table(NamedTuple):
    """A table of an index; a cell is a value, or a dict of text and link or state."""

    title: str
    rows: list[list[Any]]
    columns: list[str] | None = None
    level: int = 2


def write_report(folder: Path, inline_plotly: bool = False) -> Path:
    """Turn every executed notebook of ``folder`` into a page, with an index; returns the index page.

    ``folder`` is ``reports/<run>/`` with ``run.json``, ``metrics.json`` and ``<notebook>.ipynb``. Plotly is written
    once beside the pages, or into each of them when ``inline_plotly``.
    """
    record = RunRecord.read(folder)
    metrics = read_json(folder / METRICS) if (folder / METRICS).is_file() else {}
    executed = [name for name in record.notebooks if (folder / f"{name}.ipynb").is_file()]
    for before, name, after in zip([None, *executed], executed, [*executed[1:], None], strict=False):
        write_page(folder / f"{name}.ipynb", record, inline_plotly, before, after)
    versions = record.versions
    facts = [
        f"profile {record.profile}",
        record.status,
        *([f"started {record.started[:16].replace('T', ' ')} UTC"] if record.started else []),
        _seconds_text(record.seconds or 0.0),
        *(f"{name} {versions[name]}" for name in ("workbench", "python", "torch") if versions.get(name)),
        *([f"commit {versions['commit'][:10]}"] if versions.get("commit") else []),
    ]
    headline = headline_numbers(metrics)
    tables = [_Table("Headline", [list(item) for item in headline.items()])] if headline else []
    rows = [
        [
            {"text": name, "link": page_link(f"{name}.html")} if name in executed else name,
            {"text": entry.status, "state": entry.status},
            None if entry.seconds is None else _seconds_text(entry.seconds),
            entry.peak_memory_mb,
            (entry.error or "").split("\n")[0],
        ]
        for name, entry in record.notebooks.items()
    ]
    tables.append(_Table("Notebooks", rows, ["notebook", "state", "time", "peak memory, MB", "error"]))
    for notebook, numbers in metrics.items():
        tables += _nested_tables(notebook, {name: value for name, value in numbers.items() if name != HEADLINE}, 2)
    return _write_index(folder / "index.html", f"Run {record.run}", tables, facts=facts, up=True)


def write_overview(root: Path | None = None) -> Path:
    """Write ``reports/index.html`` over all runs that have a report; returns its path."""
    table = runs_table(root)
    named = table.columns.difference(COLUMNS, sort=False)
    rows = [
        [
            {"text": name, "link": page_link(name, "index.html")},
            row["profile"],
            {"text": row["state"], "state": row["state"]},
            row["notebooks done"],
            _seconds_text(row["seconds"] or 0.0),
            f"{row['started']:%Y-%m-%d %H:%M} UTC" if row["started"] is not None else None,
            row["problem"]
            or ", ".join(f"{key} {formatted(n)}" for key, n in row[named].dropna()[:_RUNS_HEADLINES].items()),
        ]
        for name, row in table.astype(object).where(table.notna(), None).iterrows()
        if row["state"] != NO_RECORD
    ]
    columns = ["run", "profile", "state", "notebooks", "time", "started", "headline"]
    tables = [_Table("", rows, columns)] if rows else []
    return _write_index(reports_folder(root) / "index.html", "Runs", tables)


def write_page(
    notebook: Path,
    record: RunRecord | None = None,
    inline_plotly: bool = False,
    previous: str | None = None,
    next: str | None = None,
) -> Path:
    """Write the page of one executed notebook beside it; returns its path.

    ``record`` is that of its run where there is one, ``previous`` and ``next`` are the notebooks that it links to.
    """
    record = record or RunRecord(notebook.parent.name)
    entry = record.notebooks.get(notebook.stem, NotebookRecord())
    body, figures, title = _notebook_body(notebook)
    source = _plotly_source() if figures else ""
    plotly = notebook.parent / "plotly.min.js"
    if source and not inline_plotly and not (plotly.is_file() and plotly.stat().st_size == len(source.encode())):
        write_page_text(plotly, source)
    facts = [f"profile {record.profile}"] if record.profile else []
    facts += [_seconds_text(entry.seconds)] if entry.seconds is not None else []
    facts += [f"at most {entry.peak_memory_mb:,} MB"] if entry.peak_memory_mb else []
    page = rendered(
        _HERE / "report_page.html.j2", style=_style(), title=title or notebook.stem, run=record.run, facts=facts,
        parameters=flat(entry.parameters), error=entry.error, body=body, figures=figures,
        plotly_source=inline_plotly and source, plotly_config=_json_in_script(PLOTLY_CONFIG),
        previous=previous and {"name": previous, "page": page_link(f"{previous}.html")},
        next=next and {"name": next, "page": page_link(f"{next}.html")},
    )  # fmt: skip
    write_page_text(notebook.with_suffix(".html"), page)
    return notebook.with_suffix(".html")


def page_link(*parts: str) -> str:
    """The address of a page below the one that names it; no part can lead elsewhere or begin a scheme."""
    return "/".join(quote(part, safe="") for part in parts)


def _write_index(
    path: Path, title: str, tables: list[_Table], facts: list[str] | None = None, up: bool = False
) -> Path:
    values = {"style": _style(), "title": title, "tables": tables, "facts": facts, "up": up}
    write_page_text(path, rendered(_HERE / "report_index.html.j2", **values))
    return path


def _nested_tables(title: str, numbers: dict[str, Any], level: int) -> Iterator[_Table]:
    """A table of names and values; below it one for each dict, a row of it for each dict of numbers that it holds."""
    if not numbers:
        return
    nested = {name: value for name, value in numbers.items() if isinstance(value, dict)}
    yield _Table(title, [[name, _short(value)] for name, value in numbers.items() if name not in nested], level=level)
    for name, rows in nested.items():
        if rows and all(isinstance(row, dict) and flat(row) == row for row in rows.values()):
            columns = list(dict.fromkeys(key for row in rows.values() for key in row))
            body = [[key, *(_short(row.get(column)) for column in columns)] for key, row in rows.items()]
            yield _Table(name, body, ["", *columns], level=3)
        else:
            yield from _nested_tables(name, rows, 3)


def _short(value: Any) -> Any:
    """A list as its length when it is long: an index is read, not searched."""
    if isinstance(value, list):
        return ", ".join(map(formatted, value)) if len(value) <= _LONGEST_LIST else f"{len(value):,} values"
    return value


def _seconds_text(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def _notebook_body(notebook: Path) -> tuple[str, list[str], str]:
    """The cells as HTML, the figures as JSON that may stand in a script element, and the first heading."""
    nbformat = import_nbformat()
    from nbconvert import HTMLExporter

    try:
        node = nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat raises several kinds for a broken file
        raise WorkbenchError(f"{notebook}: not a valid notebook ({error}). Run it again.") from error
    figures = _prepare_outputs(node)
    headings = (re.search(r"^#\s+(.+)$", cell.source, re.M) for cell in node.cells if cell.cell_type == "markdown")
    title = next((found.group(1).strip(" `") for found in headings if found), "")
    exporter = HTMLExporter(template_name="basic", embed_images=True, anchor_link_text="#")
    exporter.raw_template = (_HERE / "report_cells.html.j2").read_text(encoding="utf-8")
    exporter.log.setLevel("ERROR")
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"path": str(notebook.parent)}})
    return body, figures, title


def _prepare_outputs(node: Any) -> list[str]:
    """Put a numbered place for each plotly figure into ``node``, take out live outputs; returns the figures' JSON.

    nbconvert leaves plotly's own output out of a page. The JSON stays outside the converter, which would parse it.
    """
    figures: list[str] = []
    node.metadata.pop("widgets", None)
    node.cells = [cell for cell in node.cells if _PAPERMILL_BANNER not in cell.metadata.get("tags", [])]
    for cell in node.cells:
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        cell.metadata["report_summary"] = next((_CELL_SUMMARIES[t] for t in tags if t in _CELL_SUMMARIES), "Code")
        cell["outputs"] = _finished_streams(cell)
        for output in cell["outputs"]:
            data = output.get("data", {})
            for mime in _LIVE_MIMES:
                data.pop(mime, None)
            if figure := data.get(PLOTLY_MIME):
                drawn = {key: figure[key] for key in ("data", "layout", "frames") if figure.get(key) is not None}
                figures.append(_json_in_script(drawn))
                # A responsive figure takes the height of its place.
                height = float((figure.get("layout") or {}).get("height") or _PLOTLY_HEIGHT_PX)
                place = f'<div class="figure" id="figure-{len(figures)}" style="height: {height:.0f}px">'
                output["data"] = {"text/html": f"{place}This figure needs JavaScript.</div>"}
        cell["outputs"] = [o for o in cell["outputs"] if "data" not in o or o["data"]]
    return figures


def _finished_streams(cell: Any) -> list[Any]:
    """The outputs with what was printed in one go as one, and without progress where the cell came to its end."""
    outputs: list[Any] = []
    for output in cell.get("outputs", []):
        before = outputs[-1] if outputs and output.output_type == "stream" else {}
        if before.get("name") == output.get("name", ""):
            before["text"] += output.text
        else:
            outputs.append(output)
    failed = any(output.output_type == "error" for output in outputs)
    if failed or cell.metadata.get("papermill", {}).get("status", "completed") != "completed":
        return outputs
    for output in (output for output in outputs if output.output_type == "stream"):
        lines = output.text.replace("\r", "\n").split("\n")
        output["text"] = "\n".join(line for line in lines if not _PROGRESS.fullmatch(line))
    return [output for output in outputs if output.output_type != "stream" or output.text.strip()]


def _json_in_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@functools.cache
def _plotly_source() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


@functools.cache
def _style() -> str:
    """Our CSS and the colours of highlighted code for light and dark."""
    from pygments.formatters import HtmlFormatter

    def colours(style: str) -> Iterable[str]:
        rules = HtmlFormatter(style=style).get_style_defs(".highlight").splitlines()
        return (rule for rule in rules if "background" not in rule and rule.startswith(".highlight ."))

    dark = ["@media (prefers-color-scheme: dark) {", *colours("github-dark"), "}"]
    return "\n".join([own_style(), *colours("friendly"), *dark, ""])
