"""All runs in one table, and two of them side by side."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.browsers.board_state import NUMBER, BoardState, checked_state, number_counts, shown_numbers
from workbench.browsers.choices import require_fields
from workbench.browsers.paging import Paging
from workbench.browsers.panel import Shown
from workbench.browsers.run_comparison import CLASS_COLUMNS, RunComparison, signed
from workbench.browsers.run_records import RunRecord, is_number, read_runs
from workbench.browsers.runs_table import COLUMNS, matching_runs, ordered_runs, run_row
from workbench.browsers.templates import render
from workbench.errors import WorkbenchError

ROWS_A_PAGE = 20
_PLAIN_EVENTS = ("search", "metric", "role", "class_search", "before_variant", "after_variant")
# What gives the table of classes other rows, or another order.
_CLASS_CHANGES = {"picked", "before_variant", "after_variant", "metric", "role", "class_search", "class_sort"}
_CLASS_CHANGES |= {"class_descending"}


class RunsBoard(Shown):
    """All runs of ``reports/*/run.json`` and of ``runs/*``; two that are picked are compared.

    ``reports`` is the folder of the reports, ``runs`` that of the artefacts (``data/runs``). Nothing is written. The
    state is a `BoardState`; `set` changes it by the same names as its fields.
    """

    frame = "".join(f'<div data-region="{name}"></div>' for name in ("bar", "runs", "pair", "classes"))
    pictures = None

    def __init__(self, reports: Path, runs: Path):
        self.reports, self.runs = Path(reports), Path(runs)
        self.state = BoardState()
        self.look_again()

    def look_again(self) -> None:
        """Read everything anew: of a run that is going on, what it has finished by now."""
        self.records: dict[str, RunRecord] = {record.name: record for record in read_runs(self.reports, self.runs)}
        self._comparisons: dict[tuple, RunComparison] = {}
        self.state = replace(self.state, picked=tuple(name for name in self.state.picked if name in self.records))
        self.shown_again()

    def set(self, **changes: Any) -> None:
        """Change the state as the controls do; WorkbenchError for a name or a value that there is not."""
        self._change(**changes)
        self.shown_again()

    @property
    def selection(self) -> pd.DataFrame:
        """The picked runs, "before" first: facts (seconds, MB), then all of their headline numbers."""
        facts = ["name", "profile", "state", "started", "seconds", "done", "notebooks", "peak_memory_mb"]
        rows = [self.records[name] for name in self.state.picked]
        labels = list(dict.fromkeys(label for record in rows for label in record.headline))
        values = [[getattr(record, name) for name in facts] + [record.headline.get(label) for label in labels]
                  for record in rows]  # fmt: skip
        return pd.DataFrame(values, columns=["run", *facts[1:], *labels])

    @property
    def comparison(self) -> pd.DataFrame:
        """The classes of two picked runs as filtered and sorted (`class_changes`); empty where there are none."""
        pair, state = self._pair(), self.state
        if pair is None or pair.missing:
            return pd.DataFrame(columns=[*CLASS_COLUMNS, "only_in"])
        return pair.classes(state.metric, state.role, state.class_search, state.class_sort, state.class_descending)

    def handle(self, event: str, value: str | None) -> None:
        """One act of the user."""
        state, value = self.state, value or ""
        if event in _PLAIN_EVENTS:
            self._change(**{event: value})
        elif event == "look":
            self.look_again()
        elif event == "sort":
            self._change(sort=value, descending=value == state.sort and not state.descending)
        elif event == "class_sort":
            self._change(class_sort=value, class_descending=value == state.class_sort and not state.class_descending)
        elif event == "pick":
            others = tuple(name for name in state.picked if name != value)
            # The older of two gives way to a third.
            self._change(picked=others if value in state.picked else (*others, value)[-2:])
        elif event == "swap":
            pair = self._pair()
            variants = pair.variant if pair is not None else (None, None)
            self._change(picked=state.picked[::-1], before_variant=variants[1], after_variant=variants[0])
        elif event == "number":
            shown = shown_numbers(state, self.records)
            without = tuple(label for label in shown if label != value)
            self._change(numbers=without if value in shown or not value else (*shown, value))
        elif event in ("page", "runs_page"):
            self._turn("page" if event == "runs_page" or not self._has_classes() else "class_page", value)
        else:
            raise WorkbenchError(f"event {event!r} is not known to the board of runs.")

    def regions(self) -> dict[str, str]:
        """The HTML of the bar, the table of runs, the pair, and its classes."""
        pair = self._pair()
        classes = self._classes(pair) if self._has_classes() else None
        return {
            "bar": render("runs.html.j2", part="bar", **self._bar()),
            "runs": render("runs.html.j2", part="runs", **self._table("runs_page" if classes else "page")),
            "pair": render("runs.html.j2", part="pair", pair=pair, picked=self.state.picked, signed=signed),
            "classes": render("runs.html.j2", part="classes", **classes) if classes else "",
        }

    def _change(self, **changes: Any) -> None:
        require_fields("the RunsBoard", changes, BoardState)
        if changes.keys() & {"search", "sort", "descending"}:
            changes = {"page": 1} | changes
        if "picked" in changes:
            changes = {"before_variant": None, "after_variant": None} | changes
        if changes.keys() & _CLASS_CHANGES:
            changes = {"class_page": 1} | changes
        self.state = checked_state(replace(self.state, **changes), self.records, self.runs)

    def _turn(self, name: str, where: str) -> None:
        rows = len(self._found() if name == "page" else self.comparison)
        self._change(**{name: Paging(rows, ROWS_A_PAGE, getattr(self.state, name)).turned(where)})

    def _found(self) -> list[RunRecord]:
        found = matching_runs(self.records.values(), self.state.search)
        return ordered_runs(found, self.state.sort, self.state.descending)

    def _pair(self) -> RunComparison | None:
        if len(self.state.picked) < 2:
            return None
        key = (*self.state.picked, self.state.before_variant, self.state.after_variant)
        if key not in self._comparisons:
            before, after = (self.records[name] for name in self.state.picked)
            self._comparisons[key] = RunComparison(self.runs, before, after, key[2:])
        return self._comparisons[key]

    def _has_classes(self) -> bool:
        pair = self._pair()
        return pair is not None and not pair.missing

    def _bar(self) -> dict[str, Any]:
        shown, counts = shown_numbers(self.state, self.records), number_counts(self.records.values())
        offered = [(label, f"{label} ({count} {'run' if count == 1 else 'runs'})") for label, count in counts.items()]
        return {
            "search": self.state.search,
            "shown": [(label, counts[label]) for label in shown if label in counts],
            "offered": [("", "choose …"), *(option for option in offered if option[0] not in shown)],
        }

    def _table(self, page_event: str) -> dict[str, Any]:
        state, numbers = self.state, shown_numbers(self.state, self.records)
        columns = [*COLUMNS, *((NUMBER + label, label, True) for label in numbers)]
        found = self._found()
        paging = Paging(len(found), ROWS_A_PAGE, state.page)
        return {
            "columns": [(*column, _direction(column[0], state.sort, state.descending)) for column in columns],
            "rows": [run_row(record, numbers, state.picked) for record in paging.of(found)],
            "any_runs": bool(self.records),
            "pager": paging.told() | {"what": "runs", "event": page_event},
        }

    def _classes(self, pair: RunComparison) -> dict[str, Any]:
        state, table = self.state, self.comparison
        paging = Paging(len(table), ROWS_A_PAGE, state.class_page)
        widest = float(table["difference"].abs().max()) if len(table) else 0.0
        return {
            "pairs": lambda names: [(name, name) for name in names],
            "pair": pair, "state": state, "metric": pair.metric(state.metric), "signed": signed,
            "bands": pair.bands(state.metric), "roles": pair.role_counts(state.metric),
            "columns": [(name, title, numeric, _direction(name, state.class_sort, state.class_descending))
                        for name, title, numeric in pair.class_columns()],
            "rows": paging.of(table).to_dict("records"),
            "widest": widest if is_number(widest) and widest > 0 else 1.0,
            "pager": paging.told() | {"what": "classes", "event": "page"},
        }  # fmt: skip


def _direction(key: str, sort: str, descending: bool) -> str:
    return "none" if key != sort else "descending" if descending else "ascending"
