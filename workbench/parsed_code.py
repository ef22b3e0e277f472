"""Python code as its syntax tree: what a module defines, imports and uses, and whether it is what was loaded."""

import ast
import contextlib
import functools
import hashlib
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

WITHOUT_INFLUENCE = "WITHOUT_INFLUENCE"
OWN_PACKAGES = ("workbench", "drawn_scenes", "published_scenes", "simulated_scenes")
_INSTALLED = ("site-packages", "dist-packages")
_NAME_TEXT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
# What a tree holds besides the code itself, and what only newer versions of Python write into it.
_LEFT_OUT = {"ctx", "type_comment", "kind", "type_params", "annotation", "returns"}
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SOURCES: dict[str, str] = {}  # of the modules of ours that this process has loaded, as they were then
Imported = tuple[str, str]  # module and name; the name is empty for the module itself


@dataclass(frozen=True)
class Definition:
    """Statements that define one name, and what they use: chains of names (``a.b`` as ("a", "b")), imports, texts."""

    digest: str
    chains: frozenset[tuple[str, ...]]
    imports: dict[str, Imported]
    texts: frozenset[str]
    makes_registry: bool = False
    without_influence: bool = False

    @classmethod
    def of(cls, nodes: Sequence[ast.AST]) -> "Definition":
        """The definition that ``nodes`` make together."""
        found = [child for node in nodes for child in ast.walk(node)]
        calls = [node.value for node in nodes if isinstance(node, ast.Assign | ast.AnnAssign)]
        marks = [part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body]
        return cls(
            digest=sha256_of_text("\n".join(code_text(node) for node in nodes)),
            chains=frozenset(chain for node in nodes for chain in _chains(node)),
            imports={name: target for child in found for name, target in imports_of(child, "").items()},
            texts=frozenset(c.value for c in found if isinstance(c, ast.Constant) and isinstance(c.value, str)),
            makes_registry=any(isinstance(c, ast.Call) and "Registry" in ast.unparse(c.func) for c in calls),
            without_influence=any(map(_is_mark, marks)),
        )


class Module:
    """A parsed module: the statements that define each name at its top, and its imports."""

    def __init__(self, name: str, source: str, is_package: bool = False):
        self.name, self.source = name, source
        self.definitions: dict[str, list[ast.AST]] = {}
        self.imports: dict[str, Imported] = {}
        package = name if is_package else name.rpartition(".")[0]
        body = ast.parse(source).body
        for statement in _top_statements(body):
            self.imports |= imports_of(statement, package)
            for defined in _defined_names(statement):
                self.definitions.setdefault(defined, []).append(statement)
        self.without_influence = any(map(_is_mark, body))
        self._known: dict[str, Definition] = {}

    def is_defined_once(self, name: str) -> bool:
        """Whether one function or class alone has this name: else only the live object says which it is."""
        found = self.definitions.get(name, [])
        return bool(found) and not (len(found) > 1 and all(isinstance(node, _NAMED) for node in found))

    def definition(self, name: str) -> Definition:
        """What defines ``name``."""
        if name not in self._known:
            self._known[name] = Definition.of(self.definitions[name])
        return self._known[name]


def is_own(module: str) -> bool:
    """Whether a module is the project's or the user's: neither Python's own nor an installed package."""
    top = module.partition(".")[0]
    made_in_memory = top in sys.modules and top not in sys.stdlib_module_names and _top_place(top) is None
    return top == "__main__" or made_in_memory or _source_path(top) is not None


def is_own_file(module: str, file: str) -> bool:
    """Whether ``file`` holds, or is the folder of, a module of the project or the user."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or not Path(file).is_absolute():
        return False
    return top in OWN_PACKAGES or not any(part in _INSTALLED for part in Path(file).parts)


def parsed_module(name: str) -> Module | None:
    """The module as its file is now; None where there is no such module of ours, or it has no source."""
    path = _source_path(name)
    if path is None:
        return None
    try:
        state = path.stat()
        return _parsed(name, path, state.st_mtime_ns, state.st_size)
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


@functools.lru_cache(maxsize=2048)
def _parsed(name: str, path: Path, changed: int, size: int) -> Module:
    return Module(name, path.read_text(encoding="utf-8"), path.name == "__init__.py")


@functools.lru_cache(maxsize=8192)
def _source_path(name: str) -> Path | None:
    """The file of a module of ours, the folder of a package without one; nothing is imported to find it."""
    package, _, last = name.rpartition(".")
    if not package:
        found = _top_place(name)
        return Path(found) if found and is_own_file(name, found) else None
    above = _source_path(package)
    if above is None:
        return None
    inner = (above.parent if above.name == "__init__.py" else above) / last
    candidates = (inner / "__init__.py", inner.with_name(f"{last}.py"), inner)
    return next((path for path in candidates if path.exists()), None)


def _top_place(name: str) -> str | None:
    try:
        spec = getattr(sys.modules.get(name), "__spec__", None) or importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module without a specification, such as a notebook's __main__
        return getattr(sys.modules.get(name), "__file__", None)
    if spec is None:
        return None
    return spec.origin if spec.has_location else next(iter(spec.submodule_search_locations or []), None)


def defined_name(text: str) -> tuple[str, str] | None:
    """Module and top name of a text like ``package.module:Name``, where it names a module of ours."""
    if not _NAME_TEXT.fullmatch(text):
        return None
    module, _, name = text.partition(":")
    return (module, name.split(".")[0]) if is_own(module) and _source_path(module) else None


def _top_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module and of its ``if``, ``try`` and ``with`` blocks."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            yield from _top_statements(statement.body)
            yield from _top_statements(getattr(statement, "orelse", []))
            for handler in getattr(statement, "handlers", []):
                yield from _top_statements(handler.body)


def _defined_names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _NAMED):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for node in (node for target in targets for node in ast.walk(target)):
            if isinstance(node, ast.Name):
                yield node.id


def imports_of(node: ast.AST, package: str) -> dict[str, Imported]:
    """What an import statement binds; empty for any other node. ``package`` is where relative ones start."""
    if isinstance(node, ast.Import):
        # Without "as", ``import a.b`` binds a.
        bound = {alias.asname or alias.name.split(".")[0]: alias for alias in node.names}
        return {name: (alias.name if alias.asname else name, "") for name, alias in bound.items()}
    if not isinstance(node, ast.ImportFrom):
        return {}
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    module = ".".join([*above, *([node.module] if node.module else [])])
    return {alias.asname or alias.name: (module, alias.name) for alias in node.names}


def _chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Every name that is used, with its attributes: ``a.b.c`` once, not ``a`` and ``a.b`` besides."""
    attributes: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        attributes.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield (inner.id, *reversed(attributes))
    else:
        for child in ast.iter_child_nodes(inner):
            yield from _chains(child)


def _is_mark(statement: ast.stmt) -> bool:
    """Whether a statement is ``WITHOUT_INFLUENCE = True``, which says that no result depends on what it stands in."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(isinstance(target, ast.Name) and target.id == WITHOUT_INFLUENCE for target in targets)


def code_text(node: Any, in_class: bool = False) -> str:
    """A tree as text that is the same for every version of Python, without docstrings and annotations.

    Annotations count in the body of a class alone: they say what the fields of a dataclass are.
    """
    if isinstance(node, list):
        return f"[{','.join(code_text(item, in_class) for item in node)}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.AnnAssign) and not in_class:
        if node.value is None:
            return ""
        node = ast.Assign(targets=[node.target], value=node.value)
    parts = []
    for name, value in ast.iter_fields(node):
        if value is None or value == [] or (name in _LEFT_OUT and not isinstance(node, ast.AnnAssign)):
            continue
        match value:
            case [ast.Expr(value=ast.Constant(value=str())), *rest] if name == "body":  # a docstring
                value = rest
        parts.append(f"{name}={code_text(value, name == 'body' and isinstance(node, ast.ClassDef))}")
    return f"{type(node).__name__}({','.join(parts)})"


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
        raise WorkbenchError(
            f"{', '.join(edited)}: edited after this kernel loaded it, so the old code would run. Restart the kernel "
            "(or importlib.reload the module), then run the cells again."
        )


def _was_edited(name: str) -> bool:
    loaded, now = _SOURCES.get(name), parsed_module(name)
    if loaded is None or now is None or loaded == now.source:
        return False
    return code_text(ast.parse(loaded).body) != code_text(ast.parse(now.source).body)


def sha256_of_text(text: str) -> str:
    """The first 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
