"""Code as this process has it: definitions of cells, values that they name, modules edited since they were loaded."""

import ast
import contextlib
import hashlib
import importlib.machinery
import inspect
import linecache
import re
import sys
import textwrap
import types
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.identity import LARGE_FOLDER_BYTES, has_influence
from workbench.parsed_code import Definition, code_text, is_own_file, parsed_module, sha256_of_text

_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), Path, range, slice, Enum, date, timedelta, re.Pattern)
_CELL = re.compile("ipykernel|^<ipython")
_SOURCES: dict[str, str] = {}  # of the modules of ours that this process has loaded, as they were then


def live_function(function: types.FunctionType) -> tuple[Definition, Mapping[str, Any]]:
    """The definition of a function of a cell, a lambda or a nested function, and the names that it sees.

    What a lambda, or a function without source, was compiled to stands for it.
    """
    names = dict(function.__globals__) | _names_enclosed(function)
    if function.__name__ != "<lambda>":
        with contextlib.suppress(OSError, TypeError, SyntaxError):
            return Definition.of(ast.parse(textwrap.dedent(inspect.getsource(function))).body), names
    code = function.__code__
    text = repr((code.co_code, [c for c in code.co_consts if not isinstance(c, types.CodeType)], code.co_names))
    return Definition(sha256_of_text(text), list(code.co_names)), names


def live_class(kind: type) -> tuple[Definition, Mapping[str, Any]]:
    """The same for a class: its statement about the lines of its functions, else the last one that bears its name.

    Python before 3.13 does not know where a class stands. Without source its name stands for it.
    """
    methods = [inspect.unwrap(value) for value in vars(kind).values() if inspect.isfunction(value)]
    codes = [method.__code__ for method in methods if method.__module__ == kind.__module__]
    names = dict(vars(sys.modules[kind.__module__])) if kind.__module__ in sys.modules else {}
    for method in methods:
        names |= _names_enclosed(method)
    cells = filter(_CELL.search, reversed(linecache.cache)) if kind.__module__ == "__main__" else ()
    file_of_module = getattr(sys.modules.get(kind.__module__), "__file__", None)
    for file in dict.fromkeys([*(code.co_filename for code in codes), *cells, file_of_module or ""]):
        lines = [code.co_firstlineno for code in codes if code.co_filename == file]
        found = [node for node in _class_statements(file) if node.name == kind.__name__]
        there = [node for node in found if any(node.lineno <= line <= (node.end_lineno or 0) for line in lines)]
        if found:
            return Definition.of((there or found)[-1:]), names
    return Definition(sha256_of_text(kind.__qualname__)), names


def _class_statements(file: str) -> list[ast.ClassDef]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def _names_enclosed(function: types.FunctionType) -> dict[str, Any]:
    """What a function made by another one sees of it."""
    names = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # a name that has no value yet
            names[name] = cell.cell_contents
    return names


def value_text(value: Any) -> str:
    """What a value says besides code, equal for equal ones; empty for functions, classes and objects of other kinds.

    Arrays above 512 MB count by type and shape.
    """
    if isinstance(value, _CONSTANTS):
        return repr(value)
    if is_dataclass(value) and not isinstance(value, type):
        module = parsed_module(type(value).__module__)
        if not has_influence(value) or (module and module.without_influence):
            return ""
        value = {f.name: getattr(value, f.name) for f in fields(value) if f.metadata.get("influence", True)}
    if isinstance(value, Mapping) or hasattr(value, "iterrows"):  # a table of pandas
        parts = [f"{name!r}: {text}" for name, item in value.items() if (text := value_text(item))]
    elif isinstance(value, Sequence):
        parts = list(map(value_text, value))
    elif isinstance(value, Set):
        parts = sorted(map(value_text, value))
    elif hasattr(value, "__array__") and hasattr(value, "tolist"):
        try:
            array = np.asarray(value)
        except (TypeError, RuntimeError):  # a tensor on a GPU, or one with a gradient
            array = np.asarray(value.tolist())
        if array.dtype == object:
            return value_text(array.tolist())
        small = array.nbytes <= LARGE_FOLDER_BYTES
        parts = [f"{array.dtype} {array.shape}", hashlib.sha256(array.tobytes()).hexdigest() if small else ""]
    else:
        return ""
    return f"{type(value).__name__}({', '.join(parts)})" if any(parts) else ""


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
    if edited := [name for name in modules if name in sys.modules and _was_edited(name)]:
        what = f"{', '.join(edited)}: edited after this kernel loaded it, so the old code would run"
        raise WorkbenchError(f"{what}. Restart the kernel (or importlib.reload the module), then run the cells again.")


def _was_edited(name: str) -> bool:
    loaded, now = _SOURCES.get(name), parsed_module(name)
    if loaded is None or now is None or loaded == now.source:
        return False
    return code_text(ast.parse(loaded).body) != code_text(ast.parse(now.source).body)
