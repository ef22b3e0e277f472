"""What the board of runs shows, and what can be chosen for it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.browsers.run_comparison import ALL_ROLES, CLASS_COLUMNS
from workbench.browsers.run_records import RunRecord, evaluation_variants
from workbench.browsers.runs_table import COLUMNS, NUMBER
from workbench.errors import WorkbenchError
from workbench.recognition.accuracy import METRICS
from workbench.scenes.vocabulary import ROLES

FIRST_NUMBERS = 4


@dataclass(frozen=True)
class BoardState:
    """What the board shows; pages count from 1.

    ``sort`` is a column ("run", "started", ... or "number: LABEL"), ``class_sort`` one of CLASS_COLUMNS. ``numbers``
    are the labels of the columns of numbers, None for the headline numbers that most runs have. Of two ``picked`` runs
    the first is "before"; ``before_variant`` and ``after_variant`` are None until somebody chooses. ``metric`` is
    "exact" or "synset", ``role`` a role or "all".
    """

    search: str = ""
    sort: str = "started"
    descending: bool = True
    page: int = 1
    numbers: tuple[str, ...] | None = None
    picked: tuple[str, ...] = ()
    before_variant: str | None = None
    after_variant: str | None = None
    metric: str = "exact"
    role: str = ALL_ROLES
    class_search: str = ""
    class_sort: str = "difference"
    class_descending: bool = True
    class_page: int = 1


def checked_state(state: BoardState, records: Mapping[str, RunRecord], runs: Path) -> BoardState:
    """``state`` with lists as tuples; WorkbenchError for a value that these runs do not have."""
    picked = tuple(state.picked)
    numbers = None if state.numbers is None else tuple(state.numbers)
    labels = number_counts(records.values())
    _known("metric", [state.metric], METRICS)
    _known("role", [state.role], (*ROLES, ALL_ROLES))
    _known("class_sort", [state.class_sort], CLASS_COLUMNS)
    _known("sort", [state.sort], [*(key for key, _, _ in COLUMNS), *(NUMBER + label for label in labels)])
    _known("picked", picked, records)
    _known("numbers", numbers or (), labels)
    if len(picked) > 2 or len(set(picked)) < len(picked):
        raise WorkbenchError(f"picked: {len(picked)} runs, expected at most two, each once.")
    for name, place in (("before_variant", 0), ("after_variant", 1)):
        variant = getattr(state, name)
        if variant is not None:
            known = evaluation_variants(runs, picked[place]) if len(picked) == 2 else []
            _known(name, [variant], known)
    for name in ("page", "class_page"):
        page = getattr(state, name)
        if isinstance(page, bool) or not isinstance(page, int) or page < 1:
            raise WorkbenchError(f"{name}: {page!r}, expected a whole number from 1.")
    return replace(state, picked=picked, numbers=numbers)


def number_counts(records: Iterable[RunRecord]) -> dict[str, int]:
    """How many runs have each number: headline numbers first, then the others, each the most shared first."""
    headline: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for record in records:
        headline.update(record.headline.keys())
        others.update(record.numbers.keys())
    return dict(headline.most_common()) | {name: n for name, n in others.most_common() if name not in headline}


def shown_numbers(state: BoardState, records: Mapping[str, RunRecord]) -> tuple[str, ...]:
    """The labels of the columns of numbers: those chosen, or the headline numbers that most runs have."""
    if state.numbers is not None:
        return state.numbers
    headline = {label for record in records.values() for label in record.headline}
    return tuple(label for label in number_counts(records.values()) if label in headline)[:FIRST_NUMBERS]


def _known(name: str, values: Iterable[Any], known: Iterable[Any]) -> None:
    known = list(known)
    for value in values:
        if value not in known:
            choices = ", ".join(map(str, known[:20])) or "nothing yet"
            raise WorkbenchError(f"{name}: {value!r} is not there. Choose among: {choices}.")
