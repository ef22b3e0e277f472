"""The code that this process has loaded, which may be older than the files: what an edit without a reload leaves."""

import ast
import contextlib
import importlib.machinery
import inspect
import sys
import textwrap
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.parsed_code import Definition, Module, is_own_file, parsed_module, sha256_of_text

WITHOUT_INFLUENCE = True
_SOURCES: dict[str, str] = {}


class _SourceKeeper:
    """Stands first among Python's finders and keeps the source of each module of ours as it is imported or reloaded."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin:
            _keep(name, spec.origin)
        return spec


def keep_sources() -> None:
    """From now on keep what modules of ours are loaded from; those that are loaded count as they are now."""
    if _SourceKeeper in sys.meta_path:
        return
    for name, module in list(sys.modules.items()):
        _keep(name, getattr(module, "__file__", None) or "")
    sys.meta_path.insert(0, _SourceKeeper)  # type: ignore[arg-type]


def _keep(name: str, file: str) -> None:
    if file.endswith(".py") and is_own_file(name, file):
        with contextlib.suppress(OSError):  # the import itself reports it
            _SOURCES[name] = Path(file).read_text(encoding="utf-8", errors="replace")


def check_loaded(names: Iterable[str]) -> None:
    """Refuse to run definitions (``module:name``) of modules that were edited after this process loaded them.

    The old code would run, and its result be kept as the new one's. A module that was reloaded is up to date.
    """
    modules = dict.fromkeys(name.partition(":")[0] for name in names)
    if edited := [name for name in modules if _was_edited(name)]:
        raise WorkbenchError(
            f"{', '.join(edited)}: edited after this kernel loaded it, so the old code would run. Restart the kernel "
            "(or importlib.reload the module), then run the cells again."
        )


def _was_edited(name: str) -> bool:
    loaded, now = _SOURCES.get(name), parsed_module(name)
    if name not in sys.modules or loaded is None or now is None or loaded == now.source:
        return False
    return Module(name, loaded).text != now.text


def live_definition(function: types.FunctionType) -> tuple[Definition, Mapping[str, Any]]:
    """The definition of a function of a cell, a lambda or a nested function, and the names that it sees.

    What a lambda, or a function without source, was compiled to stands for it.
    """
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # a name that has no value yet
            names[name] = cell.cell_contents
    if function.__name__ != "<lambda>":
        with contextlib.suppress(OSError, TypeError, SyntaxError):
            return Definition.of(ast.parse(textwrap.dedent(inspect.getsource(function))).body), names
    code = function.__code__
    text = repr((code.co_code, [c for c in code.co_consts if not isinstance(c, types.CodeType)], code.co_names))
    return Definition(sha256_of_text(text), frozenset((name,) for name in code.co_names), {}, frozenset()), names
