"""Executed notebooks as pages that need no network: code folded, figures live, with the index of their run."""

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.configuration import flat
from workbench.errors import WorkbenchError
from workbench.figures.pages import own_style, page_link, rendered, write_page_text
from workbench.figures.style import PLOTLY_CONFIG
from workbench.files import read_json
from workbench.registry import import_nbformat
from workbench.runs.report_index import write_index
from workbench.runs.run_records import METRICS, NotebookRecord, RunRecord

PLOTLY_MIME = "application/vnd.plotly.v1+json"
# Live controls and scripts need a running kernel or the network: a page shows their static twins.
_LIVE_MIMES = ("application/vnd.jupyter.widget-view+json", "application/javascript")
_CELL_SUMMARIES = {"parameters": "Parameters, defaults", "injected-parameters": "Parameters of this run"}
# What a stage tells while it is made; of no use on a page once it is.
_PROGRESS = re.compile(r"\S+/\S+: building|.+: [\d,]+(?: of [\d,]+)?, \d+ s|.*\d%\|.*\|.*\[.*\].*")
_PAPERMILL_BANNER = "papermill-error-cell-tag"  # the page's own box says it better
_PLOTLY_HEIGHT_PX = 450  # plotly's own default
_HERE = Path(__file__).parent


def write_report(folder: Path, inline_plotly: bool = False) -> Path:
    """Turn every executed notebook of ``folder`` into a page, with an index; returns the index page.

    ``folder`` is ``reports/<run>/`` with ``run.json``, ``metrics.json`` and ``<notebook>.ipynb``. Plotly is written
    once beside the pages, or into each of them when ``inline_plotly``.
    """
    record = RunRecord.read(folder)
    metrics = read_json(folder / METRICS) if (folder / METRICS).is_file() else {}
    executed = [name for name in record.notebooks if (folder / f"{name}.ipynb").is_file()]
    titles = {name: _title(_read(folder / f"{name}.ipynb")) or name for name in executed}
    places = [None, *({"name": titles[name], "page": page_link(f"{name}.html")} for name in executed), None]
    for name, before, after in zip(executed, places, places[2:], strict=False):
        write_page(folder / f"{name}.ipynb", record, inline_plotly, before, after)
    return write_index(folder, record, metrics, titles)


def write_page(
    notebook: Path,
    record: RunRecord | None = None,
    inline_plotly: bool = False,
    previous: dict[str, str] | None = None,
    next: dict[str, str] | None = None,
) -> Path:
    """Write the page of one executed notebook beside it; returns its path.

    ``record`` is that of its run where there is one, ``previous`` and ``next`` are name and page of its neighbours.
    """
    record = record or RunRecord(notebook.parent.name)
    entry = record.notebooks.get(notebook.stem, NotebookRecord())
    body, figures, title = _notebook_body(notebook)
    source = _plotly_source() if figures else ""
    plotly = notebook.parent / "plotly.min.js"
    if source and not inline_plotly and not (plotly.is_file() and plotly.stat().st_size == len(source.encode())):
        write_page_text(plotly, source)
    page = rendered(
        _HERE / "report_page.html.j2", style=_style(), title=title or notebook.stem, record=record, entry=entry,
        parameters=flat(entry.parameters), error=entry.error, body=body, figures=figures,
        plotly_source=inline_plotly and source, plotly_config=_json_in_script(PLOTLY_CONFIG),
        previous=previous, next=next,
    )  # fmt: skip
    write_page_text(notebook.with_suffix(".html"), page)
    return notebook.with_suffix(".html")


def _read(notebook: Path) -> Any:
    try:
        return import_nbformat().read(notebook, as_version=4)
    except Exception as error:  # nbformat raises several kinds for a broken file
        raise WorkbenchError(f"{notebook}: not a valid notebook ({error}). Run it again.") from error


def _title(node: Any) -> str:
    headings = (re.search(r"^#\s+(.+)$", cell.source, re.M) for cell in node.cells if cell.cell_type == "markdown")
    return next((found.group(1).strip(" `") for found in headings if found), "")


def _notebook_body(notebook: Path) -> tuple[str, list[str], str]:
    """The cells as HTML, the figures as JSON that may stand in a script element, and the first heading."""
    from nbconvert import HTMLExporter

    node = _read(notebook)
    figures = _prepare_outputs(node)
    exporter = HTMLExporter(template_name="basic", embed_images=True, anchor_link_text="#")
    exporter.raw_template = (_HERE / "report_cells.html.j2").read_text(encoding="utf-8")
    exporter.log.setLevel("ERROR")
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"path": str(notebook.parent)}})
    return body, figures, _title(node)


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
