"""The code that a stage runs through: a digest of every definition that its builder reaches.

Code is parsed, never run, so comments, docstrings, annotations and formatting do not count. From the builder all names
are followed that lead to code of the project or of the user: modules that are no installed packages, and functions and
classes of a notebook's cells. Of a registry only the entries count that the parameters or the code name.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import linecache
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from workbench.parsed_code import (
    WITHOUT_INFLUENCE,
    Definition,
    Module,
    defined_name,
    is_own,
    parsed_module,
    sha256_of_text,
)
from workbench.registry import Registry

_NAMES_SHOWN = 4
_CELL = re.compile("ipykernel|^<ipython")
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), Path)


def fingerprint(builder: Callable, values: Any = None) -> dict[str, str]:
    """Digest of each definition that ``builder`` reaches, by ``module:name``.

    ``values`` are what it is called with: functions, classes and dataclasses among them are followed too, and texts
    that name an entry of a registry or, as ``module:name``, something that can be imported.
    """
    walk = _Walk()
    walk.follow_value(builder)
    walk.follow_value(values)
    walk.finish()
    return dict(sorted(walk.digests.items()))


def changed_code(stored: Mapping[str, str], asked: Mapping[str, str]) -> list[str]:
    """One text a module: ``workbench.diffusion.denoiser: Mlp, Block``; empty where nothing changed."""
    differing = sorted(name for name in stored.keys() | asked.keys() if stored.get(name) != asked.get(name))
    by_module: dict[str, list[str]] = {}
    for changed in differing:
        module, _, definition = changed.partition(":")
        by_module.setdefault(module, []).append(definition)
    return [
        f"{module}: {', '.join(names[:_NAMES_SHOWN])}{', ...' if len(names) > _NAMES_SHOWN else ''}"
        for module, names in by_module.items()
    ]


def builder_name(builder: Callable) -> str:
    """``module:qualname`` of a function, of what a partial wraps, or of a callable object's class."""
    while isinstance(builder, functools.partial):
        builder = builder.func
    named = builder if hasattr(builder, "__qualname__") else type(builder)
    return f"{named.__module__}:{named.__qualname__}"


class _Walk:
    """Follows names from definition to definition; a queue, because chains of calls are longer than Python's stack."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self._waiting: list[Callable[[], None]] = []
        self._seen: set[Any] = set()
        self._texts: set[str] = set()
        # And how to follow what each was made with: which entries count is known when all texts are.
        self._registries: list[tuple[Registry, Callable[[], None]]] = []

    def finish(self) -> None:
        """Follow all that waits; entries of registries last, again and again, since entries name further ones."""
        self._drain()
        known = -1
        while known != len(self._seen):
            known = len(self._seen)
            for registry, follow_all in self._registries:
                chosen = [registry[name] for name in registry if name in self._texts]
                self._follow_all(chosen)
                if not chosen:
                    follow_all()
            for named in filter(None, map(defined_name, list(self._texts))):
                self._follow_name(*named)
            self._drain()

    def _drain(self) -> None:
        while self._waiting:
            self._waiting.pop()()

    def follow_value(self, value: Any) -> None:
        """Follow a function, a class, or what a container, a partial, a method, a dataclass or an object holds."""
        if isinstance(value, str):
            self._texts.add(value)
        elif isinstance(value, Mapping):
            self._follow_all(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            self._follow_all(value)
        elif isinstance(value, functools.partial):
            self._follow_all((value.func, value.args, value.keywords))
            constants = [*value.args, *value.keywords.items()]
            if constants and _is_plain(constants):
                self.digests[f"{builder_name(value)} given"] = sha256_of_text(repr(constants))
        elif isinstance(value, types.MethodType):
            self._follow_all((value.__func__, type(value.__self__)))
        elif isinstance(value, types.FunctionType | type):
            self._follow_definition(value)
        elif isinstance(value, types.ModuleType):
            self._waiting.append(lambda: self._follow_member(value.__name__, ()))
        elif not getattr(type(value), WITHOUT_INFLUENCE, False):
            self._follow_definition(type(value))
            if is_dataclass(value):
                self._follow_all(getattr(value, field.name) for field in fields(value))

    def _follow_all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.follow_value(value)

    def _follow_definition(self, thing: Any) -> None:
        """A function or class: by its name where its module defines it at the top, else from its own source."""
        thing = inspect.unwrap(thing)
        module, name = thing.__module__, thing.__qualname__.split(".")[0]
        if module is None or not is_own(module) or getattr(thing, WITHOUT_INFLUENCE, False) is True:
            return
        parsed = parsed_module(module)
        if parsed is not None and parsed.is_defined_once(name) and "<" not in thing.__qualname__:
            self._follow_name(module, name)
        elif thing not in self._seen:
            self._seen.add(thing)
            definition, names = _live_class(thing) if isinstance(thing, type) else _live_function(thing)
            self.digests[f"{module}:{thing.__qualname__}"] = definition.digest
            self._texts |= definition.texts
            for chain in definition.chains:
                self._follow_live(definition, chain, names, module)

    def _follow_live(self, definition: Definition, chain: tuple[str, ...], names: Mapping, module: str) -> None:
        """What a name means in a cell or a nested function: another definition, or a constant that counts itself."""
        if chain[0] in definition.imports:
            self._follow_import(definition.imports[chain[0]], chain[1:])
        elif chain[0] in names:
            value = names[chain[0]]
            if isinstance(value, types.ModuleType):
                self._waiting.append(lambda: self._follow_member(value.__name__, chain[1:]))
            elif isinstance(value, Registry):
                self._registries.append((value, lambda: None))
            elif _is_plain(value):
                self.digests[f"{module}:{chain[0]}"] = sha256_of_text(repr(value))
                self.follow_value(value)
            else:
                self._waiting.append(lambda: self.follow_value(value))

    def _follow_name(self, module: str, name: str) -> None:
        """The definition ``name`` of a module, where the module is ours and knows the name."""
        key = f"{module}:{name}"
        if key in self._seen or not is_own(module):
            return
        self._seen.add(key)
        parsed = parsed_module(module)
        if parsed is None or parsed.without_influence:
            return
        if name in parsed.definitions:
            definition = parsed.definition(name)
            registry = getattr(importlib.import_module(module), name) if definition.makes_registry else None
            if isinstance(registry, Registry):
                self._registries.append((registry, lambda: self._follow_chains(parsed, definition)))
                return
            if definition.without_influence:
                return
            self.digests[key] = definition.digest
            self._texts |= definition.texts
            self._waiting.append(lambda: self._follow_chains(parsed, definition))
        elif name in parsed.imports:
            self._follow_import(parsed.imports[name], ())
        elif parsed_module(key.replace(":", ".")):
            self._waiting.append(lambda: self._follow_member(f"{module}.{name}", ()))
        elif "__getattr__" in parsed.definitions:
            self._follow_name(module, "__getattr__")

    def _follow_chains(self, parsed: Module, definition: Definition) -> None:
        for chain in definition.chains:
            imported = definition.imports.get(chain[0]) or parsed.imports.get(chain[0])
            if imported:
                self._follow_import(imported, chain[1:])
            elif chain[0] in parsed.definitions:
                self._follow_name(parsed.name, chain[0])

    def _follow_import(self, imported: tuple[str, str], rest: tuple[str, ...]) -> None:
        module, name = imported
        self._follow_member(module, (name, *rest) if name else rest)

    def _follow_member(self, module: str, rest: tuple[str, ...]) -> None:
        """``module.a.b``: the submodule or definition ``a``; a module that is passed on by itself counts as a whole."""
        if not is_own(module):
            return
        while rest and parsed_module(f"{module}.{rest[0]}"):
            module, rest = f"{module}.{rest[0]}", rest[1:]
        parsed = parsed_module(module)
        if parsed is not None:
            for name in rest[:1] or list(parsed.definitions):
                self._follow_name(module, name)


def _live_function(function: types.FunctionType) -> tuple[Definition, Mapping[str, Any]]:
    """The definition of a function of a cell, a lambda or a nested function, and the names that it sees.

    What a lambda, or a function without source, was compiled to stands for it.
    """
    names = dict(function.__globals__) | _names_enclosed(function)
    if function.__name__ != "<lambda>":
        with contextlib.suppress(OSError, TypeError, SyntaxError):
            return Definition.of(ast.parse(textwrap.dedent(inspect.getsource(function))).body), names
    code = function.__code__
    text = repr((code.co_code, [c for c in code.co_consts if not isinstance(c, types.CodeType)], code.co_names))
    return Definition(sha256_of_text(text), frozenset((name,) for name in code.co_names), {}, frozenset()), names


def _live_class(kind: type) -> tuple[Definition, Mapping[str, Any]]:
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
    return Definition(sha256_of_text(kind.__qualname__), frozenset(), {}, frozenset()), names


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


def _is_plain(value: Any) -> bool:
    """Whether a value is a constant or holds constants alone, so that its text says all of it."""
    if isinstance(value, dict):
        return all(_is_plain(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _CONSTANTS)
