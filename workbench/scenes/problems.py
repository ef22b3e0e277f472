"""Problems of annotation files, and the report a person reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partialmethod
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from workbench.escaping import escaped

LINES_PER_KIND = 10
LONGEST_LINE = 400  # a name of a thousand characters is shown by its beginning
SEPARATE_PER_KIND = 10_000  # of millions of alike records nobody reads more, and they would fill the memory


@dataclass
class Problem:
    """One thing that is wrong: where, what was found, what was expected, and what to do about it.

    ``severity`` is "error" or "warning"; ``blocks_reading`` marks the errors that ``read_annotations`` refuses.
    ``times`` is above 1 where one entry stands for that many records, of which ``record`` is the first.
    """

    file: str
    record: str
    kind: str
    found: str
    expected: str
    remedy: str
    severity: str = "error"
    blocks_reading: bool = False
    times: int = 1


class FileProblems:
    """Collects the problems of one file into a list that all files share.

    Of one kind SEPARATE_PER_KIND problems have an entry each, and one more entry counts the rest.
    """

    def __init__(self, path: Path, problems: list[Problem]):
        self.path = Path(path)
        self._problems = problems
        self._alike: dict[tuple[str, str, bool], list[Problem]] = {}

    def error(self, kind: str, record: str, found: str, expected: str, remedy: str, **how: Any) -> None:
        """An error that reading survives; ``how`` are further fields of the `Problem`."""
        problem = Problem(str(self.path), record, kind, found, expected, remedy, **how)
        alike = self._alike.setdefault((problem.severity, problem.kind, problem.blocks_reading), [])
        if len(alike) > SEPARATE_PER_KIND:
            alike[-1].times += 1
        else:
            alike.append(problem)
            self._problems.append(problem)

    blocking = partialmethod(error, blocks_reading=True)  # an error that makes reading impossible
    warning = partialmethod(error, severity="warning")  # something unusual that is used as it is


def shown(value: Any, length: int = 60) -> str:
    """A value of a file as short text."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def format_report(problems: Sequence[Problem], lines_per_kind: int = LINES_PER_KIND) -> str:
    """All problems as text: by file, then by kind with its remedy and at most ``lines_per_kind`` records.

    Text of the files is `escaped`: it moves no cursor of a terminal and starts no line.
    """
    if not problems:
        return "No problems found."
    by_file: dict[str, list[Problem]] = {}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(problem)
    lines = [f"{_count(problems)} in {len(by_file)} file{'s' if len(by_file) > 1 else ''}."]
    for file, here in by_file.items():
        lines += ["", f"{escaped(file)}: {_count(here)}"]
        # Errors before warnings; sorted() is stable, so the order of the file stays within a kind.
        severity_and_kind = attrgetter("severity", "kind")
        for (severity, kind), group in groupby(sorted(here, key=severity_and_kind), key=severity_and_kind):
            alike = list(group)
            number = sum(problem.times for problem in alike)
            lines.append(f"  {severity}: {kind} ({number:,}). {escaped(alike[0].remedy)}")
            told = [f"    {one.record}: found {one.found}, expected {one.expected}" for one in alike[:lines_per_kind]]
            lines += [escaped(line, LONGEST_LINE) for line in told]
            lines += [f"    ... and {number - len(told):,} more"] if number > len(told) else []
    return "\n".join(lines)


def _count(problems: Sequence[Problem]) -> str:
    parts = [(count_problems(problems, severity), severity) for severity in ("error", "warning")]
    return ", ".join(f"{number:,} {word}{'s' if number != 1 else ''}" for number, word in parts if number)


def count_problems(problems: Sequence[Problem], severity: str) -> int:
    """How many records have a problem of a severity, "error" or "warning"."""
    return sum(problem.times for problem in problems if problem.severity == severity)
