"""The one error type that a user is meant to read, and how it refuses a name."""

import difflib
from collections.abc import Iterable
from typing import Any

WITHOUT_INFLUENCE = True  # on any result: how it is reported, watched or stopped


class WorkbenchError(ValueError):
    """An error that names the file or record, what was expected, and the remedy.

    The command line prints its text without a traceback; everything else is a defect of ours.
    """


class Damaged(WorkbenchError):
    """A file of a result is not what was written."""


class NotHereYet(WorkbenchError):
    """Something is missing that a plan may lack, and a run may not."""


def unknown(kind: str, name: Any, declared: Iterable[str]) -> str:
    """The text that refuses an undeclared name: the nearest one, and all."""
    names = list(declared)
    return f"unknown {kind} {name!r}.{did_you_mean(name, names)} Declared: {', '.join(names) or 'none'}."


def did_you_mean(name: Any, names: Iterable[str]) -> str:
    """A question with the nearest of ``names``, a blank before it; empty where none is near."""
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
