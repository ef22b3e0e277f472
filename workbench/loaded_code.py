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
from workbench.parsed_code import Definition, Module, parsed_module, sha256_of_text

WITHOUT_INFLUENCE = True
_CELL = re.compile("ipykernel|^<ipython")
_STARTED = time.time()
_FIRST_SEEN: dict[str, tuple[Any, Module]] = {}


def live_definition(thing: Any) -> tuple[Definition, Mapping[str, Any]]:
    """The definition of a function or class of a cell, a lambda or a nested function, and the names it sees.

    Where there is no source, what the function was compiled to stands for it.
    """
    names = dict(vars(sys.modules[thing.__module__])) if thing.__module__ in sys.modules else {}
    if isinstance(thing, type):
        nodes = _class_nodes(thing)
        for method in _methods(thing):
            names |= _enclosed(method)
        if nodes:
            return Definition.of(nodes), names
        return Definition(sha256_of_text(thing.__qualname__), frozenset(), {}, frozenset()), names
    names = dict(thing.__globals__) | _enclosed(thing)
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
    """The class in the file and about the lines of its methods; without any, the last one that bears its name."""
    codes = [method.__code__ for method in _methods(thing) if method.__module__ == thing.__module__]
    files = [code.co_filename for code in codes]
    if thing.__module__ == "__main__":
        files += [name for name in reversed(list(linecache.cache)) if _CELL.search(name)]
    if path := getattr(sys.modules.get(thing.__module__), "__file__", None):
        files.append(path)
    for file in dict.fromkeys(files):
        found = [node for node in _walked(file) if isinstance(node, ast.ClassDef) and node.name == thing.__name__]
        lines = [code.co_firstlineno for code in codes if code.co_filename == file]
        there = [node for node in found if any(_first_line(node) <= line <= (node.end_lineno or 0) for line in lines)]
        if found:
            return there[-1:] or found[-1:]
    return []


def _methods(thing: type) -> list[types.FunctionType]:
    return [inspect.unwrap(value) for value in vars(thing).values() if inspect.isfunction(value)]


def _enclosed(function: types.FunctionType) -> dict[str, Any]:
    """What a function made by another one sees of it."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if not _is_empty(cell)}


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
    module, now = sys.modules.get(name), parsed_module(name)
    file = getattr(module, "__file__", None)
    if module is None or file is None or now is None:
        return False
    # What it was when first asked for; a reload gives a module another specification.
    first = _FIRST_SEEN.setdefault(name, (module.__spec__, now))
    if first[0] is not module.__spec__:
        _FIRST_SEEN[name] = (module.__spec__, now)
    elif first[1] is not now and first[1].text != now.text:
        return True
    try:
        if Path(file).stat().st_mtime <= _STARTED:
            return False
        source = Path(file).read_text(encoding="utf-8")
        code = compile(source, file, "exec")
    except (OSError, SyntaxError, UnicodeDecodeError):
        return False
    return _differs(code, vars(module)) or _constants_differ(source, vars(module))


def _differs(code: types.CodeType, scope: Mapping[str, Any]) -> bool:
    """Whether functions and classes in ``scope`` were made from other code than a module or class has now.

    A property and its setter have one name, like the branches of an ``if``: any of their codes will do.
    """
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    for name in {part.co_name for part in inner if not part.co_name.startswith("<")}:
        codes, thing = [part for part in inner if part.co_name == name], scope.get(name)
        if isinstance(thing, type):
            if all(_differs(part, vars(thing)) for part in codes):
                return True
            continue
        wrapped = [getattr(thing, part, None) for part in ("__func__", "fget", "fset", "fdel", "func")]
        made = [inspect.unwrap(each) for each in (thing, *wrapped) if callable(each)]
        if any(_signature(f.__code__) not in map(_signature, codes) for f in made if inspect.isfunction(f)):
            return True
    return False


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
