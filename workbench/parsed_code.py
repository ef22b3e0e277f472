"""Python code as its syntax tree: what a module defines, imports and uses, and which modules are ours."""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from workbench.files import write_json
from workbench.paths import project_root

WITHOUT_INFLUENCE = "WITHOUT_INFLUENCE"
OWN_PACKAGES = ("workbench", "annotated_scenes", "drawn_scenes", "own_features", "published_scenes", "simulated_scenes")
_INSTALLED = ("site-packages", "dist-packages")
# What a tree holds besides the code itself, and what only newer versions of Python write into it.
_LEFT_OUT = {"ctx", "type_comment", "kind", "type_params", "annotation", "returns"}
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PARSER = sys.version + Path(__file__).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Definition:
    """Statements that define one name, and what they use: names with their attributes (``a.b``), imports, texts.

    It is ``ambiguous`` where several functions or classes have the name: only the live object says which it is.
    """

    digest: str
    names: list[str] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    makes_registry: bool = False
    without_influence: bool = False
    ambiguous: bool = False

    @classmethod
    def of(cls, nodes: Sequence[ast.AST]) -> "Definition":
        """The definition that ``nodes`` make together."""
        found = [child for node in nodes for child in ast.walk(node)]
        calls = [node.value for node in nodes if isinstance(node, ast.Assign | ast.AnnAssign)]
        marks = [part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body]
        imports, body = _imports(found, ""), cast(Any, list(nodes))
        names = {name for node in nodes for name in _used(node)}
        with contextlib.suppress(SyntaxError):  # a nested function alone, with a nonlocal name
            outer = imports.keys() | _outer_names(compile(ast.Module(body, []), "", "exec"))
            names = {name for name in names if name.partition(".")[0] in outer}
        return cls(
            digest=sha256_of_text("\n".join(code_text(node) for node in nodes)),
            names=sorted(names),
            imports=imports,
            texts=sorted({c.value for c in found if isinstance(c, ast.Constant) and isinstance(c.value, str)}),
            makes_registry=any(isinstance(c, ast.Call) and "Registry" in ast.unparse(c.func) for c in calls),
            without_influence=any(map(_is_mark, marks)),
            ambiguous=len(nodes) > 1 and all(isinstance(node, _NAMED) for node in nodes),
        )


@dataclass(frozen=True)
class Module:
    """A parsed module: what defines each name at its top, and what it imports, by name as ``module:name``."""

    name: str
    source: str
    definitions: dict[str, Definition]
    imports: dict[str, str]
    without_influence: bool

    @classmethod
    def of(cls, name: str, source: str, package: str) -> "Module":
        """The module of a source; its relative imports start at ``package``."""
        tree = ast.parse(source)
        statements = list(_top_statements(tree))
        defining: dict[str, list[ast.AST]] = {}
        for statement in statements:
            for defined in _defined_names(statement):
                defining.setdefault(defined, []).append(statement)
        definitions = {defined: Definition.of(nodes) for defined, nodes in defining.items()}
        return cls(name, source, definitions, _imports(statements, package), any(map(_is_mark, tree.body)))


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
    """What an earlier process found in the same source and kept, since parsing takes most of a fingerprint's time."""
    source = path.read_text(encoding="utf-8")
    parsed_from = sha256_of_text("\0".join((_PARSER, path.name, source)))
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or a broken one
        found = json.loads(_kept(name).read_text(encoding="utf-8"))
        if found.pop("parsed_from") == parsed_from:
            found["definitions"] = {key: Definition(**values) for key, values in found["definitions"].items()}
            return Module(**found)
    module = Module.of(name, source, name if path.name == "__init__.py" else name.rpartition(".")[0])
    with contextlib.suppress(OSError, ValueError):  # no project, or one that cannot be written
        write_json(_kept(name), {**asdict(module), "parsed_from": parsed_from})
    return module


def _kept(name: str) -> Path:
    return project_root() / "data" / "cache" / "code" / f"{name}.json"


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


def _top_statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a module and of its ``if``, ``try`` and ``with`` blocks."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        if isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _top_statements(child)


def _defined_names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _NAMED):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _imports(nodes: Iterable[ast.AST], package: str) -> dict[str, str]:
    """What import statements bind, as ``module:name`` or ``module:``; ``package`` is where relative ones start."""
    bound = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:  # without "as", ``import a.b`` binds a
                top = alias.name.split(".")[0]
                bound[alias.asname or top] = f"{alias.name if alias.asname else top}:"
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            bound |= {alias.asname or alias.name: f"{module}:{alias.name}" for alias in node.names}
    return bound


def _outer_names(code: types.CodeType) -> set[str]:
    """What compiled code looks up by name, attributes among them; a function's own variables are not."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_outer_names, inner))


def _used(node: ast.AST) -> Iterator[str]:
    """Every name that is used, with its attributes: ``a.b.c`` once, not ``a`` and ``a.b`` besides."""
    attributes: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        attributes.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield ".".join([inner.id, *reversed(attributes)])
    else:
        for child in ast.iter_child_nodes(inner):
            yield from _used(child)


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


def sha256_of_text(text: str) -> str:
    """The first 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
