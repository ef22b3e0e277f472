"""Executed notebooks as pages that need no network: code folded, figures live, one index a run and one over all."""

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.configuration import flat
from workbench.errors import WorkbenchError
from workbench.figures.pages import own_style, rendered, write_page_text
from workbench.files import read_json
from workbench.runs.execution import import_nbformat
from workbench.runs.report_tables import (
    moment_text,
    notebooks_table,
    page_link,
    run_tables,
    runs_table,
    seconds_text,
)
from workbench.runs.run_records import reported_runs

PLOTLY_MIME = "application/vnd.plotly.v1+json"
PLOTLY_FILE = "plotly.min.js"
# Live controls and scripts need a running kernel or the network: a page shows their static twins.
_LIVE_MIMES = ("application/vnd.jupyter.widget-view+json", "application/javascript")
_CELL_SUMMARIES = {"parameters": "Parameters, defaults", "injected-parameters": "Parameters of this run"}
_PAPERMILL_BANNER = "papermill-error-cell-tag"  # the page's own box says it better
_PLOTLY_HEIGHT_PX = 450  # plotly's own default
_HERE = Path(__file__).parent


def write_report(folder: Path, inline_plotly: bool = False) -> Path:
    """Turn every executed notebook of ``folder`` into a page, with an index; returns the index page.

    ``folder`` is ``reports/<run>/`` with ``run.json``, ``metrics.json`` and ``<notebook>.ipynb``. Plotly is written
    once beside the pages, or into each of them when ``inline_plotly``.
    """
    record = read_json(folder / "run.json")
    metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").is_file() else {}
    executed = [name for name in record["notebooks"] if (folder / f"{name}.ipynb").is_file()]
    for place, name in enumerate(executed):
        neighbours = {
            "previous": _link(executed[place - 1]) if place else None,
            "next": _link(executed[place + 1]) if place + 1 < len(executed) else None,
        }
        write_page(folder / f"{name}.ipynb", record=record, neighbours=neighbours, inline_plotly=inline_plotly)
    index = folder / "index.html"
    page = rendered(
        _HERE / "report_index.html.j2",
        style=_style(),
        title=f"Run {record['run']}",
        up=True,
        facts=_run_facts(record),
        tables=[*run_tables(metrics), notebooks_table(record, executed)],
    )
    write_page_text(index, page)
    return index


def write_page(
    notebook: Path,
    *,
    record: dict[str, Any] | None = None,
    neighbours: dict[str, Any] | None = None,
    inline_plotly: bool = False,
) -> Path:
    """Write the page of one executed notebook beside it; returns its path.

    ``record`` is the content of ``run.json`` where there is one, ``neighbours`` the links ``previous`` and ``next``.
    """
    record = record or {"run": notebook.parent.name, "notebooks": {}}
    entry = record["notebooks"].get(notebook.stem, {})
    body, figures, title = notebook_body(notebook)
    if figures and not inline_plotly:
        _write_plotly(notebook.parent / PLOTLY_FILE)
    page = rendered(
        _HERE / "report_page.html.j2",
        style=_style(),
        title=title or notebook.stem,
        run=record["run"],
        facts=_page_facts(record, entry),
        parameters=flat(entry.get("parameters") or {}),
        error=entry.get("error"),
        body=body,
        figures=figures,
        plotly_source=_plotly_source() if inline_plotly and figures else None,
        plotly_config=_json_in_script(_plotly_config()),
        **({"previous": None, "next": None} | (neighbours or {})),
    )
    path = notebook.with_suffix(".html")
    write_page_text(path, page)
    return path


def write_overview(reports: Path) -> Path:
    """Write ``reports/index.html`` over all runs; returns its path."""
    records = sorted(reported_runs(reports), key=lambda record: record.started or "", reverse=True)
    tables = [runs_table(records)] if records else []
    page = rendered(_HERE / "report_index.html.j2", style=_style(), title="Runs", up=False, facts=[], tables=tables)
    write_page_text(reports / "index.html", page)
    return reports / "index.html"


def notebook_body(notebook: Path) -> tuple[str, list[str], str]:
    """The cells as HTML, the figures as JSON that may stand in a script element, and the first heading."""
    nbformat = import_nbformat()
    from nbconvert import HTMLExporter

    try:
        node = nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat raises several kinds for a broken file
        raise WorkbenchError(f"{notebook}: not a valid notebook ({error}). Run it again.") from error
    figures = prepare_outputs(node)
    headings = (re.search(r"^#\s+(.+)$", cell.source, re.M) for cell in node.cells if cell.cell_type == "markdown")
    title = next((found.group(1).strip(" `") for found in headings if found), "")
    exporter = HTMLExporter(template_name="basic", embed_images=True, anchor_link_text="#")
    exporter.raw_template = (_HERE / "report_cells.html.j2").read_text(encoding="utf-8")
    exporter.log.setLevel("ERROR")
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"path": str(notebook.parent)}})
    return body, figures, title


def prepare_outputs(node: Any) -> list[str]:
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
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for mime in _LIVE_MIMES:
                data.pop(mime, None)
            if PLOTLY_MIME in data:
                figures.append(_json_in_script(_figure_only(data[PLOTLY_MIME])))
                output["data"] = {"text/html": _figure_place(len(figures), data[PLOTLY_MIME])}
        cell["outputs"] = [o for o in cell.get("outputs", []) if "data" not in o or o["data"]]
    return figures


def _figure_place(number: int, figure: dict[str, Any]) -> str:
    """An element of the figure's height: a responsive figure takes the height of its place."""
    height = (figure.get("layout") or {}).get("height") or _PLOTLY_HEIGHT_PX
    style = f"height: {float(height):.0f}px"
    return f'<div class="figure" id="figure-{number}" style="{style}">This figure needs JavaScript.</div>'


def _figure_only(value: dict[str, Any]) -> dict[str, Any]:
    return {key: value[key] for key in ("data", "layout", "frames") if value.get(key) is not None}


def _json_in_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plotly_config() -> dict[str, Any]:
    from workbench.figures.style import PLOTLY_CONFIG

    # No share button, and no server for the code behind it to name.
    return {**PLOTLY_CONFIG, "showSendToCloud": False, "displaylogo": False, "plotlyServerURL": ""}


@functools.cache
def _plotly_source() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _write_plotly(path: Path) -> None:
    source = _plotly_source()
    if not path.is_file() or path.stat().st_size != len(source.encode()):
        write_page_text(path, source)


def _page_facts(record: dict[str, Any], entry: dict[str, Any]) -> list[str]:
    facts = [f"profile {record['profile']}"] if record.get("profile") else []
    if entry.get("seconds") is not None:
        facts.append(seconds_text(entry["seconds"]))
    if entry.get("peak_memory_mb"):
        facts.append(f"at most {entry['peak_memory_mb']:,} MB")
    return facts


def _run_facts(record: dict[str, Any]) -> list[str]:
    versions = record.get("versions") or {}
    facts = [
        f"profile {record.get('profile')}",
        str(record.get("status")),
        f"started {moment_text(record.get('started'))}",
    ]
    facts.append(seconds_text(record.get("seconds") or 0.0))
    facts += [f"{name} {versions[name]}" for name in ("workbench", "python", "torch") if versions.get(name)]
    if versions.get("commit"):
        facts.append(f"commit {versions['commit'][:10]}")
    return facts


def _link(name: str) -> dict[str, str]:
    return {"name": name, "page": page_link(f"{name}.html")}


@functools.cache
def _style() -> str:
    """Our CSS and the colours of highlighted code for light and dark."""
    from pygments.formatters import HtmlFormatter

    def colours(style: str) -> Iterable[str]:
        rules = HtmlFormatter(style=style).get_style_defs(".highlight").splitlines()
        return (rule for rule in rules if "background" not in rule and rule.startswith(".highlight ."))

    dark = "\n".join(colours("github-dark"))
    light = "\n".join(colours("friendly"))
    return f"{own_style()}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
