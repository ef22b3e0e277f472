"""Code that a kernel has loaded: what its cells define, and whether modules still are what their files say."""

import ast
import functools
import inspect
import linecache
import re
import sys
import time
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.parsed_code import Definition, sha256_of_text

WITHOUT_INFLUENCE = True
_CELL = re.compile("ipykernel|^<ipython")
_STARTED = time.time()


def live_definition(thing: Any) -> tuple[Definition, Mapping[str, Any]]:
    """The definition of a function or class of a cell, a lambda or a nested function, and the names it sees.

    Where there is no source, what the function was compiled to stands for it.
    """
    names = dict(vars(sys.modules[thing.__module__])) if thing.__module__ in sys.modules else {}
    if isinstance(thing, type):
        nodes = _class_nodes(thing)
        if nodes:
            return Definition.of(nodes), names
        return Definition(sha256_of_text(thing.__qualname__), frozenset(), {}, frozenset()), names
    names = dict(thing.__globals__)
    cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
    names |= {name: cell.cell_contents for name, cell in cells if not _is_empty(cell)}
    nodes = _function_nodes(thing.__code__)
    if nodes:
        return Definition.of(nodes), names
    code = thing.__code__
    text = repr((code.co_code, [c for c in code.co_consts if not isinstance(c, types.CodeType)], code.co_names))
    return Definition(sha256_of_text(text), frozenset((n,) for n in code.co_names), {}, frozenset()), names


def _function_nodes(code: types.CodeType) -> Sequence[ast.AST]:
    """The function or lambda in its cell's or file's tree that begins where ``code`` does."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    found = [node for node in _walked(code.co_filename) if isinstance(node, kinds)]
    named = [node for node in found if getattr(node, "name", "<lambda>") == code.co_name]
    there = [node for node in named if _first_line(node) == code.co_firstlineno]
    if len(there) < 2:
        return there
    columns = {position[2] for position in code.co_positions()}  # several lambdas in a line
    return [node for node in there if isinstance(node, ast.Lambda) and node.body.col_offset in columns] or there


def _class_nodes(thing: type) -> Sequence[ast.AST]:
    """The class in the file of its methods, or, where it has none, in the last cell that defines its name."""
    functions = [inspect.unwrap(value) for value in vars(thing).values() if inspect.isfunction(value)]
    files = [function.__code__.co_filename for function in functions if function.__module__ == thing.__module__]
    if thing.__module__ == "__main__":
        files += [name for name in reversed(list(linecache.cache)) if _CELL.search(name)]
    elif path := getattr(sys.modules.get(thing.__module__), "__file__", None):
        files.append(path)
    for file in dict.fromkeys(files):
        found = [node for node in _walked(file) if isinstance(node, ast.ClassDef) and node.name == thing.__name__]
        if found:
            return found[-1:]
    return []


def _walked(file: str) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(_tree("".join(linecache.getlines(file))))
    except SyntaxError:
        return


@functools.lru_cache(maxsize=256)
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def _first_line(node: Any) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


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
