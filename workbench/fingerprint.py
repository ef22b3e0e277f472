"""The code that a stage runs through: a digest of every definition that its builder reaches.

Code is parsed, never run, so comments, docstrings, annotations and formatting do not count. From the builder all names
are followed that lead to code of the project or of the user: modules that are no installed packages, and functions and
classes of a notebook's cells. Of a registry only the entries count that the parameters or the code name.
"""

import functools
import importlib
import inspect
import itertools
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from workbench.loaded_code import live_class, live_function, value_text
from workbench.parsed_code import WITHOUT_INFLUENCE, Definition, Module, is_own, parsed_module, sha256_of_text
from workbench.registry import Registry

_NAMES_SHOWN = 4
_NAME_TEXT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


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
    texts = []
    for module, changed in itertools.groupby(differing, lambda name: name.partition(":")[0]):
        names = [name.partition(":")[2] for name in changed]
        texts.append(f"{module}: {', '.join(names[:_NAMES_SHOWN])}{', ...' if len(names) > _NAMES_SHOWN else ''}")
    return texts


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
        # With how to follow what each was made with: which entries count is known when all texts are.
        self._registries: list[tuple[Registry, Callable[[], None]]] = []

    def finish(self) -> None:
        """Follow all that waits; entries of registries last, again and again, since entries name further ones."""
        known = -1
        while self._waiting or known != len(self._seen):
            while self._waiting:
                self._waiting.pop()()
            known = len(self._seen)
            for registry, follow_all in self._registries:
                chosen = [registry[name] for name in registry if name in self._texts]
                self._follow_all(chosen)
                if not chosen:
                    follow_all()
            for text in filter(_NAME_TEXT.fullmatch, list(self._texts)):
                self._follow_import(text)

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
            if given := value_text([value.args, value.keywords]):
                self.digests[f"{builder_name(value)} given"] = sha256_of_text(given)
        elif isinstance(value, types.MethodType):
            self._follow_all((value.__func__, type(value.__self__)))
        elif isinstance(value, types.FunctionType | type):
            self._follow_definition(value)
        elif isinstance(value, types.ModuleType):
            self._follow_member(value.__name__)
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
        found = parsed.definitions.get(name) if parsed is not None else None
        if found and not found.ambiguous and "<" not in thing.__qualname__:
            self._follow_name(module, name)
        elif thing not in self._seen:
            self._seen.add(thing)
            definition, names = live_class(thing) if isinstance(thing, type) else live_function(thing)
            self.digests[f"{module}:{thing.__qualname__}"] = definition.digest
            self._texts.update(definition.texts)
            for used in definition.names:
                self._follow_live(definition, used, names, module)

    def _follow_live(self, definition: Definition, used: str, names: Mapping, module: str) -> None:
        """What a name means in a cell or a nested function: another definition, or a value that counts itself."""
        name, _, rest = used.partition(".")
        if name in definition.imports:
            self._follow_import(definition.imports[name], rest)
        elif name in names:
            value = names[name]
            if isinstance(value, types.ModuleType):
                self._follow_member(value.__name__, rest)
            elif isinstance(value, Registry):
                self._registries.append((value, lambda: None))
            else:
                if text := value_text(value):
                    self.digests[f"{module}:{name}"] = sha256_of_text(text)
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
            definition = parsed.definitions[name]
            registry = getattr(importlib.import_module(module), name) if definition.makes_registry else None
            if isinstance(registry, Registry):
                self._registries.append((registry, lambda: self._follow_used(parsed, definition)))
                return
            if definition.without_influence:
                return
            self.digests[key] = definition.digest
            self._texts.update(definition.texts)
            self._waiting.append(lambda: self._follow_used(parsed, definition))
        elif name in parsed.imports:
            self._follow_import(parsed.imports[name])
        elif parsed_module(f"{module}.{name}"):
            self._follow_member(f"{module}.{name}")
        elif "__getattr__" in parsed.definitions:
            self._follow_name(module, "__getattr__")

    def _follow_used(self, parsed: Module, definition: Definition) -> None:
        for used in definition.names:
            name, _, rest = used.partition(".")
            if imported := definition.imports.get(name) or parsed.imports.get(name):
                self._follow_import(imported, rest)
            elif name in parsed.definitions:
                self._follow_name(parsed.name, name)

    def _follow_import(self, imported: str, rest: str = "") -> None:
        module, _, name = imported.partition(":")
        self._follow_member(module, ".".join(filter(None, (name, rest))))

    def _follow_member(self, module: str, rest: str = "") -> None:
        """``module.a.b``: the submodule or definition ``a``; a module that is passed on by itself counts as a whole."""
        if not is_own(module):
            return
        name, _, inner = rest.partition(".")
        parsed = parsed_module(module)
        if name and parsed_module(f"{module}.{name}"):
            self._follow_member(f"{module}.{name}", inner)
        elif parsed is not None:
            for defined in [name] if name else parsed.definitions:
                self._follow_name(module, defined)
