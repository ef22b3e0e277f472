"""The parts of ``tables.json`` as they are read: each is checked, and refused with its place in the file."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from workbench.errors import WorkbenchError
from workbench.recognition.accuracy import METRICS, SUMMARY_ROLES, number_name
from workbench.scenes.bands import BANDS

VALUE_NAMES = frozenset(
    number_name(metric, role, band) for metric in METRICS for role in SUMMARY_ROLES for band in (*BANDS, "all")
)
REMEDY = "Run: make tables."


def field(record: Any, name: str, kind: type, place: str) -> Any:
    """``record[name]``, which must be a ``kind``; ``place`` names the record in errors."""
    value = _present(record, name, place)
    if not isinstance(value, kind):
        raise WorkbenchError(f"{place}.{name}: expected {kind.__name__}, got {value!r:.60}. {REMEDY}")
    return value


def optional_text(record: Mapping[str, Any], name: str, place: str) -> str | None:
    """The text ``record[name]``, None where it is missing or null."""
    return None if record.get(name) is None else field(record, name, str, place)


def by_seed(
    record: Mapping[str, Any], name: str, checked: Callable[[Any, str], Any], *, seeds: list[int], place: str
) -> dict[int, Any]:
    """The object ``record[name]`` by seed, one of ``seeds``, each entry what ``checked`` makes of (entry, place)."""
    entries, found = field(record, name, dict, place), {}
    for text, entry in entries.items():
        if text not in map(str, seeds):
            raise WorkbenchError(f"{place}.{name}: seed {text!r} is not among the seeds {seeds}. {REMEDY}")
        found[int(text)] = checked(entry, f"{place}.{name}.{text}")
    return found


def reason(words: Any, place: str) -> str:
    """Why a seed has no values, in words."""
    if not isinstance(words, str) or not words:
        raise WorkbenchError(f"{place}: expected a reason in words, got {words!r:.60}. {REMEDY}")
    return words


def accuracies(numbers: Any, place: str) -> dict[str, float | None]:
    """One seed's numbers on test, percent or null by names of `VALUE_NAMES`."""
    if not isinstance(numbers, Mapping) or not numbers:
        raise WorkbenchError(f"{place}: expected an object of numbers, got {numbers!r:.60}. {REMEDY}")
    for name, value in numbers.items():
        if name not in VALUE_NAMES:
            raise WorkbenchError(f"{place}: unknown value {name!r}; expected '<metric> <role> <band>'. {REMEDY}")
        _require_percent(value, f"{place}.{name}")
    return dict(numbers)


def validation_combined(numbers: Any, place: str) -> float | None:
    """Combined on validation from one seed's ``numbers`` there: percent or null by name, and the loss."""
    combined = _present(numbers, "combined", place)
    for name, value in numbers.items():
        if name != "loss":
            _require_percent(value, f"{place}.{name}")
        elif value is not None and not _is_number(value):
            raise WorkbenchError(f"{place}.loss: {value!r}; expected a number, or null. {REMEDY}")
    return combined


def _present(record: Any, name: str, place: str) -> Any:
    if not isinstance(record, Mapping):
        raise WorkbenchError(f"{place}: expected an object, got {type(record).__name__}. {REMEDY}")
    if name not in record:
        raise WorkbenchError(f"{place}: {name!r} is missing. {REMEDY}")
    return record[name]


def _require_percent(value: Any, place: str) -> None:
    if value is not None and not (_is_number(value) and 0 <= value <= 100):
        raise WorkbenchError(f"{place}: {value!r}; expected percent from 0 to 100, or null. {REMEDY}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
