"""Two runs side by side: parameters, numbers, accuracy by band, and what must be known of it."""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.browsers.run_records import RunRecord, evaluation_variants, is_number, read_evaluation
from workbench.figures.comparison import class_changes
from workbench.recognition.accuracy import METRICS, SUMMARY_ROLES
from workbench.runs.report_tables import told
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES

ALL_BANDS = (*BANDS, "all")
ABSENT = "–"
ALL_ROLES = "all"
CLASS_COLUMNS = ("role", "name", "band", "n_train", "n_test", "before", "after", "difference")


class RunComparison:
    """Two runs: what was different, and what came of it.

    ``runs`` is the folder of the artefacts, ``chosen`` the evaluated variant of either run, None for a sensible one:
    the first that both have, else the first. Tables are read when first asked for.
    """

    def __init__(self, runs: Path, before: RunRecord, after: RunRecord, chosen: tuple[str | None, str | None]):
        self.runs, self.before, self.after = runs, before, after
        self.variants = tuple(evaluation_variants(runs, record.name) for record in (before, after))
        common = next((name for name in self.variants[0] if name in self.variants[1]), None)
        self.variant = tuple(
            name or common or next(iter(variants), None) for name, variants in zip(chosen, self.variants, strict=True)
        )
        self.parameters, self.equal = parameter_changes(before, after)
        self.lone_notebooks = lone_notebooks(before, after)
        self.headline = number_changes(dict.fromkeys([*before.headline, *after.headline]), before, after)
        self.numbers = number_changes(dict.fromkeys([*before.numbers, *after.numbers]), before, after)

    @property
    def missing(self) -> list[str]:
        """The runs without per-class results."""
        names = (self.before.name, self.after.name)
        return [name for name, variants in zip(names, self.variants, strict=True) if not variants]

    @property
    def titles(self) -> tuple[str, str]:
        """Run and variant of either side."""
        return f"{self.before.name} {self.variant[0]}", f"{self.after.name} {self.variant[1]}"

    @functools.cached_property
    def metrics(self) -> list[str]:
        """The metrics that both evaluations have."""
        return [name for name in METRICS if all(f"accuracy_{name}" in per_class for per_class, _ in self._tables)]

    @functools.cached_property
    def notes(self) -> list[str]:
        """What a reader of the table of classes must know."""
        return comparison_notes(*(per_class for per_class, _ in self._tables), self.titles)

    def metric(self, wanted: str) -> str:
        """The metric asked for, or the one that there is."""
        return wanted if wanted in self.metrics else self.metrics[0]

    def bands(self, metric: str) -> pd.DataFrame:
        """`band_changes` of the two summaries."""
        return band_changes(*(summary for _, summary in self._tables), self.metric(metric))

    def role_counts(self, metric: str) -> dict[str, int]:
        """How many classes of each role are compared, and of all."""
        found = self._changes(self.metric(metric))["role"].value_counts()
        return {ALL_ROLES: int(found.sum())} | {role: int(found.get(role, 0)) for role in ROLES}

    def class_columns(self) -> list[tuple[str, str, bool]]:
        """Key, title, and whether it holds numbers, of each column of the table of classes."""
        titles = ("role", "class", "band", "train", "test", *(f"{title}, %" for title in self.titles), "difference")
        return [(key, title, place > 2) for place, (key, title) in enumerate(zip(CLASS_COLUMNS, titles, strict=True))]

    def classes(self, metric: str, role: str, search: str, sort: str, descending: bool) -> pd.DataFrame:
        """`class_changes` of a role whose names have all words of ``search``, by a column; missing values last."""
        table = self._changes(self.metric(metric))
        if role != ALL_ROLES:
            table = table[table["role"] == role]
        for word in search.lower().split():
            table = table[table["name"].str.lower().str.contains(word, regex=False)]
        order = {name: place for place, name in enumerate([*ROLES, *BANDS])}
        by_rank = sort in ("role", "band")
        return table.sort_values(
            sort, ascending=not descending, na_position="last", kind="stable",
            key=(lambda column: column.map(order)) if by_rank else None, ignore_index=True,
        )  # fmt: skip

    @functools.cached_property
    def _tables(self) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
        names = (self.before.name, self.after.name)
        return [read_evaluation(self.runs, name, variant) for name, variant in zip(names, self.variant, strict=True)]

    def _changes(self, metric: str) -> pd.DataFrame:
        if metric not in self._kept:
            self._kept[metric] = class_changes(*(per_class for per_class, _ in self._tables), metric)
        return self._kept[metric]

    @functools.cached_property
    def _kept(self) -> dict[str, pd.DataFrame]:
        return {}


@dataclass(frozen=True)
class ParameterChange:
    """A parameter of a notebook whose values differ, as texts."""

    notebook: str
    name: str
    before: str
    after: str


def parameter_changes(before: RunRecord, after: RunRecord) -> tuple[list[ParameterChange], int]:
    """The parameters that differ in the notebooks of both runs, and how many are equal.

    The run's own name is no parameter.
    """
    changes, equal = [], 0
    for notebook in before.parameters.keys() & after.parameters.keys():
        first, second = (run.parameters[notebook] for run in (before, after))
        for name in dict.fromkeys([*first, *second]):
            if name == "run_name":
                continue
            if name in first and name in second and first[name] == second[name]:
                equal += 1
            else:
                texts = (parameter_text(values[name]) if name in values else ABSENT for values in (first, second))
                changes.append(ParameterChange(notebook, name, *texts))
    return sorted(changes, key=lambda change: change.notebook), equal


def lone_notebooks(before: RunRecord, after: RunRecord) -> list[str]:
    """Sentences about notebooks whose parameters only one of the runs knows."""
    notes = []
    for run, other in ((before, after), (after, before)):
        alone = sorted(run.parameters.keys() - other.parameters.keys())
        if alone:
            notes.append(f"Only {run.name} has parameters of: {', '.join(alone)}.")
    return notes


def parameter_text(value: Any) -> str:
    """A parameter's value: a text as it is, everything else as JSON."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def number_changes(labels: Iterable[str], before: RunRecord, after: RunRecord) -> list[tuple[str, Any, Any, Any]]:
    """(label, before, after, difference) of numbers; the difference is None unless both are numbers."""
    rows = []
    for label in labels:
        first, second = before.number(label), after.number(label)
        both = is_number(first) and is_number(second)
        rows.append((label, first, second, second - first if both else None))
    return rows


def signed(value: Any) -> str:
    """A difference with its sign, four significant digits; a dash for what is missing."""
    if not is_number(value):
        return ABSENT
    return f"{'−' if value < 0 else '+' if value > 0 else '±'}{told(abs(value))}"


def band_changes(before: pd.DataFrame, after: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Two summaries (`summary_table`) by role and band: role, band, n_classes, before, after, difference, percent."""
    keys = ["role", "band"]
    first, second = (table[table["metric"] == metric].set_index(keys) for table in (before, after))
    rows = pd.MultiIndex.from_product([SUMMARY_ROLES, ALL_BANDS], names=keys)
    table = pd.DataFrame({"n_classes": first["n_classes"].reindex(rows)})
    table["before"], table["after"] = (side["accuracy"].reindex(rows) for side in (first, second))
    table["difference"] = table["after"] - table["before"]
    return table.reset_index()


def comparison_notes(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str]) -> list[str]:
    """What a reader of two per-class tables must know: other vocabularies, other counts, classes without test rows."""
    first, second = (set(zip(table["role"], table["name"], strict=True)) for table in (before, after))
    notes = []
    if first != second:
        notes.append(
            f"The vocabularies differ; classes are compared by name. {len(first & second):,} classes are in both (a "
            f"class counts once a role), {len(first - second):,} only in {names[0]}, {len(second - first):,} only in "
            f"{names[1]}."
        )
    joined = before.merge(after, on=["role", "name"], suffixes=("", "_after"))
    if first == second and not joined["class"].equals(joined["class_after"]):
        notes.append("The two vocabularies have the same classes in another order; classes are compared by name.")
    whats = {"n_train": "the number of training examples", "n_test": "the number of test rows", "band": "their band"}
    for column, what in whats.items():
        differing = int((joined[column] != joined[f"{column}_after"]).sum())
        if differing:
            notes.append(f"{differing:,} shared classes differ in {what}, which is shown as in {names[0]}.")
    tested = set(map(tuple, pd.concat([before, after]).query("n_test > 0")[["role", "name"]].to_numpy()))
    untested = len((first | second) - tested)
    if untested:
        notes.append(f"{untested:,} classes without test rows are left out.")
    return notes
