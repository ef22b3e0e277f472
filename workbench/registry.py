"""Registries: what can be chosen by name, given as an object, or named by import path."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from workbench.errors import WorkbenchError, did_you_mean

Entry = TypeVar("Entry")
_TO_COME: ContextVar[frozenset[str]] = ContextVar("names to come", default=frozenset())


class NotYetRegistered(WorkbenchError):
    """A name that is not known here, but will be where it is used: a cell of the notebook registers it."""


@contextlib.contextmanager
def names_to_come(names: Iterable[str]) -> Iterator[None]:
    """Within the block an unknown one of ``names`` is `NotYetRegistered`."""
    before = _TO_COME.set(frozenset(names))
    try:
        yield
    finally:
        _TO_COME.reset(before)


class Registry(dict[str, Entry]):
    """Entries of one ``kind`` (a word for messages) by name; new ones can be registered from anywhere.

    >>> DENOISERS["mine"]                   # what was registered under this name
    >>> DENOISERS["package.module:Mine"]    # what an import finds
    >>> DENOISERS.resolve(Mine)             # the object itself
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry] | None = None):
        super().__init__(entries or {})
        self.kind = kind

    def __repr__(self) -> str:
        return self.kind

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that puts its object under ``name``; a later one takes the place of an earlier one.

        So a notebook cell can be run again after a change. WorkbenchError for a name that an import path could be.
        """
        if not name or ":" in name:
            raise WorkbenchError(f"a {self.kind} cannot be called {name!r}: choose a name without a colon.")

        def put(entry: Entry) -> Entry:
            self[name] = entry
            return entry

        return put

    def resolve(self, choice: Any) -> Any:
        """The entry that ``choice`` names, or ``choice`` itself where it is no text."""
        return self[choice] if isinstance(choice, str) else choice

    def __missing__(self, name: str) -> Entry:
        if ":" in name:
            return imported(name, self.kind)
        if name in _TO_COME.get():
            raise NotYetRegistered(f"{self.kind} {name!r} is registered by a cell that has not run.")
        what = f"{self.kind} {name!r} is not known.{did_you_mean(name, self)} There are: {', '.join(self)}"
        raise WorkbenchError(f"{what}. Register your own under a name, or give its import path as 'module:name'.")


def imported(path: str, kind: str = "object") -> Any:
    """What ``module:name`` (or ``module:Class.attribute``) names; WorkbenchError where it cannot be imported."""
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise WorkbenchError(
            f"{kind} {path!r} cannot be imported ({error}). Expected 'module:name' of a module on the import path "
            "(a file mine.py beside the notebook is 'mine:name')."
        ) from error
    return found


def import_nbformat() -> Any:
    """nbformat, without a grammar of international addresses, which notebooks lack: it is four fifths of the import."""
    left_out = {"rfc3987_syntax"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]
    try:
        return importlib.import_module("nbformat")
    finally:
        for name in left_out:
            del sys.modules[name]
