"""The tables of a report's index pages, from the record of a run and its headline numbers."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from workbench.figures.pages import formatted
from workbench.runs.run_records import HEADLINE, RunRecord, headline_numbers

_LONGEST_OPEN_TABLE = 24
_RUNS_HEADLINES = 3


def page_link(*parts: str) -> str:
    """The address of a page below the one that names it; no part can lead elsewhere or begin a scheme."""
    return "/".join(quote(part, safe="") for part in parts)


def seconds_text(seconds: float) -> str:
    """A duration: seconds below two minutes, minutes and seconds above."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def moment_text(moment: str | None) -> str:
    """An ISO time in UTC, to the minute."""
    return f"{moment[:16].replace('T', ' ')} UTC" if moment else formatted(None)


def run_tables(metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """All tables of a run's headline numbers, notebook by notebook.

    ``metrics`` maps a notebook to nested dicts. What a notebook puts under "headline" comes first, on its own; a dict
    of dicts becomes one table with a row for each, the rest lists of name and value.
    """
    headline = [list(item) for item in headline_numbers(metrics).items()]
    tables = [_table("Headline", 2, headline)] if headline else []
    for notebook, numbers in metrics.items():
        rest = {name: value for name, value in numbers.items() if name != HEADLINE}
        if any(map(_is_table, rest.values())):
            tables.append(_table(notebook, 2, []))
        tables += _nested_tables(rest, notebook) if rest else []
    return tables


def _nested_tables(numbers: dict[str, Any], title: str) -> list[dict[str, Any]]:
    plain = [[name, _short(value)] for name, value in numbers.items() if not isinstance(value, dict)]
    has_tables = any(map(_is_table, numbers.values()))
    tables = [_table("" if has_tables else title, 2, plain)] if plain else []
    for name, value in numbers.items():
        if not isinstance(value, dict) or not value:
            continue
        if all(
            isinstance(item, dict) and not any(isinstance(i, dict) for i in item.values()) for item in value.values()
        ):
            tables.append(_matrix(name, value))
        elif not any(isinstance(item, dict) for item in value.values()):
            tables.append(_table(name, 3, [[key, _short(item)] for key, item in value.items()]))
        else:
            tables += _nested_tables({f"{name} / {key}": item for key, item in value.items()}, name)
    return tables


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _matrix(title: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    body = [[name, *(_short(row.get(column)) for column in columns)] for name, row in rows.items()]
    return _table(title, 3, body, ["", *columns])


def _short(value: Any) -> Any:
    """A list as its length when it is long: an index is read, not searched."""
    if isinstance(value, list):
        return ", ".join(map(formatted, value)) if len(value) <= 8 else f"{len(value):,} values"
    return value


def _table(title: str, level: int, rows: list[list[Any]], columns: list[str] | None = None) -> dict[str, Any]:
    folded = len(rows) > _LONGEST_OPEN_TABLE
    return {"title": title, "level": level, "rows": rows, "columns": columns, "folded": folded}


def notebooks_table(record: dict[str, Any], executed: list[str]) -> dict[str, Any]:
    """The notebooks of a run with state, time and memory, linked where a page exists."""
    rows = []
    for name, entry in record["notebooks"].items():
        page = {"text": name, "link": page_link(f"{name}.html")} if name in executed else name
        state = {"text": entry["status"], "state": entry["status"], "link": None}
        seconds = seconds_text(entry["seconds"]) if entry.get("seconds") is not None else None
        first_line = (entry.get("error") or "").split("\n")[0]
        rows.append([page, state, seconds, entry.get("peak_memory_mb"), first_line])
    return _table("Notebooks", 2, rows, ["notebook", "state", "time", "peak memory, MB", "error"]) | {"folded": False}


def runs_table(records: Iterable[RunRecord]) -> dict[str, Any]:
    """One row a run: state, notebooks done, time, and the first of its headline numbers, or what cannot be read."""
    rows = []
    for record in records:
        headline = [f"{name} {formatted(value)}" for name, value in list(record.headline.items())[:_RUNS_HEADLINES]]
        rows.append(
            [
                {"text": record.name, "link": page_link(record.name, "index.html")},
                record.profile,
                {"text": record.state, "state": record.state, "link": None},
                f"{record.done} of {record.notebooks}",
                seconds_text(record.seconds or 0.0),
                moment_text(record.started),
                record.problem or ", ".join(headline),
            ]
        )
    columns = ["run", "profile", "state", "notebooks", "time", "started", "headline"]
    return _table("", 2, rows, columns) | {"folded": False}
