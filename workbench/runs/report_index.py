"""The index page of a run, which answers at a glance, and the page of all runs."""

import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from workbench.errors import WorkbenchError
from workbench.figures.pages import own_style, rendered, write_page_text
from workbench.figures.style import BAND_COLOURS, METRIC_TITLES
from workbench.paths import reports_folder
from workbench.runs.run_records import COLUMNS, NO_RECORD, RunRecord, compared_rows, headline_numbers, runs_table
from workbench.stages import Run

PICTURES, SWEEP_TABLE = "pictures", "sweep.csv"
# Keys of metrics with a place of their own on the page; variants have one where they are compared with a baseline.
_SHOWN_ABOVE = ("verdict", "headline", PICTURES)
_MOST_TICKS = 9


def write_index(folder: Path, record: RunRecord, metrics: dict[str, Any], titles: dict[str, str]) -> Path:
    """Write the index of the run whose report is in ``folder``; ``titles`` are those of the notebooks with pages."""
    figures = {name: figure for name, numbers in metrics.items() if (figure := gain_figure(numbers))}
    pictures = [
        _pictures(folder, record, notebook, numbers[PICTURES])
        for notebook, numbers in metrics.items() if numbers.get(PICTURES)
    ]  # fmt: skip
    left = {
        titles.get(name, name): {
            key: value for key, value in numbers.items()
            if key not in (*_SHOWN_ABOVE, *(("variants", "baseline", "architecture") if name in figures else ()))
        }
        for name, numbers in metrics.items()
    }  # fmt: skip
    return _written(
        folder / "index.html", title=f"Run {record.run}", record=record, titles=titles, pictures=pictures,
        verdicts=[numbers["verdict"] for numbers in metrics.values() if numbers.get("verdict")],
        headline=headline_numbers(metrics), figures=list(figures.values()), numbers=left,
    )  # fmt: skip


def write_overview(root: Path | None = None) -> Path:
    """Write ``reports/index.html`` over all runs that have a report, and all sweeps; returns its path."""
    table, folder = runs_table(root), reports_folder(root)
    table = table[table["state"] != NO_RECORD].astype(object)
    told = {"sweeps": sorted(path.parent.name for path in folder.glob(f"[!.]*/{SWEEP_TABLE}"))}
    runs = table.where(table.notna(), None).reset_index().to_dict("records")
    further = [str(name) for name in table.columns.difference(COLUMNS, sort=False)]
    return _written(folder / "index.html", title="Runs", record=None, runs=runs, further=further, **told)


def _written(path: Path, **values: Any) -> Path:
    template = Path(__file__).with_name("report_index.html.j2")
    page = rendered(template, style=own_style(), colours=BAND_COLOURS, metric_titles=METRIC_TITLES, **values)
    write_page_text(path, page)
    return path


def gain_figure(numbers: dict[str, Any]) -> dict[str, Any] | None:
    """What the figure of a notebook's rows draws, None where fewer than two are compared with a baseline.

    Keys: baseline; rows, best first, each with title, combined (percent, exact match) and its change in Combined of
    all, few and many against the baseline (percentage points, None where one has no such class); ticks of that axis.
    """
    combined = compared_rows(numbers)
    rows: list[dict[str, Any]] = []
    if len(combined) < 2:
        return None
    for title in sorted(combined, key=lambda row: -combined[row]):
        sides = numbers["variants"][title], numbers["variants"][numbers["baseline"]]
        bands = {band: [side.get(f"exact combined {band}") for side in sides] for band in ("all", "few", "many")}
        changes = {band: None if None in values else values[0] - values[1] for band, values in bands.items()}
        rows.append({"title": title, "combined": combined[title], **changes})
    ends = [0.0, *(row[band] or 0.0 for row in rows for band in ("few", "many"))]
    step = next(size for size in (1, 2, 5, 10, 20, 50) if (max(ends) - min(ends)) / size < _MOST_TICKS - 1)
    ticks = [step * place for place in range(math.floor(min(ends) / step), math.ceil(max(ends) / step) + 1)]
    return {"baseline": numbers["baseline"], "rows": rows, "ticks": ticks}


def _pictures(folder: Path, record: RunRecord, notebook: str, chosen: list[list[str]]) -> dict[str, Any]:
    """The predictions that changed between two ``chosen`` evaluations (title, variant), or why they cannot be shown."""
    from workbench.runs.browsing import prediction_browser

    (before, _), (after, _) = chosen
    seed = record.notebooks[notebook].parameters.get("seed", 0) if notebook in record.notebooks else 0
    try:
        run = Run.asked(record.run, root=folder.parents[1])
        if run.images is None:
            return {}
        evaluations = {title: run.find("evaluation", variant) for title, variant in chosen}
        return {"drawn": Markup(prediction_browser(run, evaluations, before, after, seed).pictures())}
    except WorkbenchError as error:
        return {"problem": str(error)}
