"""The rows of the table of runs: found by words, ordered by a column, told as text."""

from collections.abc import Iterable, Sequence
from typing import Any

from workbench.browsers.run_comparison import parameter_text
from workbench.browsers.run_records import RunRecord, is_number
from workbench.runs.report_tables import moment_text, seconds_text, told

NUMBER = "number: "
# Key of a column, its title, whether it holds numbers.
COLUMNS = (
    ("run", "run", False),
    ("profile", "profile", False),
    ("state", "state", False),
    ("seed", "seed", True),
    ("started", "started", False),
    ("seconds", "duration", True),
    ("notebooks", "notebooks done", True),
    ("memory", "peak memory, MB", True),
)


def matching_runs(records: Iterable[RunRecord], search: str) -> list[RunRecord]:
    """The runs in whose name, profile, state or parameters (``name=value``) all words occur, whatever their case."""
    words = search.lower().split()
    return [record for record in records if all(word in _searched(record) for word in words)]


def ordered_runs(records: Iterable[RunRecord], sort: str, descending: bool) -> list[RunRecord]:
    """Runs by a column: numbers as numbers, then texts; what is missing comes last in either direction."""
    values = [(_value(record, sort), record) for record in records]
    there = [(value, record) for value, record in values if is_number(value) or isinstance(value, str)]
    there.sort(key=lambda pair: (isinstance(pair[0], str), pair[0]), reverse=descending)
    missing = [record for value, record in values if not (is_number(value) or isinstance(value, str))]
    return [record for _, record in there] + missing


def run_row(record: RunRecord, numbers: Sequence[str], picked: Sequence[str]) -> dict[str, Any]:
    """One row for the template: texts by column, parameters by notebook, which of the picked runs it is."""
    seeds = record.values_of("seed")
    texts = [
        (told(record.profile), False),
        (record.state, False),
        (", ".join(map(parameter_text, seeds)) or told(None), True),
        (moment_text(record.started), False),
        (told(None) if record.seconds is None else seconds_text(record.seconds), True),
        (f"{record.done} of {record.notebooks}" if record.notebooks else told(None), True),
        (told(record.peak_memory_mb), True),
        *((told(record.number(label)), True) for label in numbers),
    ]
    parameters = {
        notebook: [(name, parameter_text(value)) for name, value in values.items()]
        for notebook, values in record.parameters.items()
        if values
    }
    place = picked.index(record.name) if record.name in picked else None
    return {
        "name": record.name,
        "picked": place is not None,
        "side": ("before", "after")[place] if place is not None and len(picked) == 2 else "",
        "texts": texts,
        "parameters": parameters,
        "count": sum(map(len, parameters.values())),
        "problem": record.problem,
    }


def _value(record: RunRecord, sort: str) -> Any:
    seeds = record.values_of("seed")
    facts = {
        "run": record.name,
        "profile": record.profile,
        "state": record.state,
        "seed": seeds[0] if seeds else None,
        "started": record.started,
        "seconds": record.seconds,
        "notebooks": record.done if record.notebooks else None,
        "memory": record.peak_memory_mb,
    }
    return facts[sort] if sort in facts else record.number(sort.removeprefix(NUMBER))


def _searched(record: RunRecord) -> str:
    given = (pair for values in record.parameters.values() for pair in values.items())
    pairs = (f"{name}={parameter_text(value)}" for name, value in given)
    return " ".join([record.name, record.profile or "", record.state, *pairs]).lower()
