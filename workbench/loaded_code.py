"""Whether the code that a kernel has loaded is still what its files say: an edited module needs a new kernel."""

import ast
import inspect
import sys
import time
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

WITHOUT_INFLUENCE = True
_STARTED = time.time()


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
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    try:
        if module is None or file is None or Path(file).stat().st_mtime <= _STARTED:
            return False
        source = Path(file).read_text(encoding="utf-8")
        code = compile(source, file, "exec")
    except (OSError, SyntaxError, UnicodeDecodeError):
        return False
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return any(_differs(part, vars(module)) for part in inner) or _constants_differ(source, vars(module))


def _differs(code: types.CodeType, scope: Mapping[str, Any]) -> bool:
    """Whether what ``scope`` has under the name of a compiled function or class was made from other code."""
    if code.co_name.startswith("<"):
        return False
    thing = scope.get(code.co_name)
    if isinstance(thing, type):
        inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
        return any(_differs(part, vars(thing)) for part in inner)
    thing = getattr(thing, "fget", None) or getattr(thing, "func", None) or thing  # properties, cached ones too
    thing = inspect.unwrap(getattr(thing, "__func__", thing)) if thing is not None else None
    return isinstance(thing, types.FunctionType) and _signature(thing.__code__) != _signature(code)


def _signature(code: types.CodeType) -> tuple:
    # A docstring is the first constant of a function that has one.
    constants = code.co_consts[1:] if code.co_consts and isinstance(code.co_consts[0], str) else code.co_consts
    inner = [_signature(const) if isinstance(const, types.CodeType) else const for const in constants]
    return code.co_code, code.co_names, code.co_varnames, inner


def _constants_differ(source: str, scope: Mapping[str, Any]) -> bool:
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                value = ast.literal_eval(statement.value)
            except ValueError:
                continue
            if repr(scope.get(statement.targets[0].id)) != repr(value):
                return True
    return False
