"""A notebook's parameters: read from its cell without running it, and every value checked against it."""

import ast
import contextlib
import dataclasses
import importlib
import io
import sys
import tokenize
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.configuration import (
    as_values,
    checked_value,
    config_class_in,
    configured,
    is_union,
    kind_text,
    kinds_of,
    merged,
)
from workbench.errors import WorkbenchError, unknown
from workbench.runs.execution import import_nbformat

TAG = "parameters"
_NONE_TEXTS = ("none", "null", "")
_PLAIN: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str}
_LISTS: dict[str, Any] = {"list[bool]": list[bool], "list[int]": list[int], "list[float]": list[float]}
KINDS = _PLAIN | _LISTS | {"list[str]": list[str], "list": list, "dict": dict}


@dataclass(frozen=True)
class Parameter:
    """One entry of a parameters cell, ``name: type = value  # help``; ``kind`` may be a config dataclass."""

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def config_class(self) -> type | None:
        """The dataclass that the notebook makes of the value, a dict; None for a plain value."""
        return config_class_in(self.kind)

    def all_values(self, value: Any) -> Any:
        """``value``, of a config with all its fields."""
        return as_values(configured(self.config_class, value)) if self.config_class else value

    def laid_over(self, before: Any, change: Any, place: str) -> Any:
        """``change`` in place of ``before``, of a config field by field; checked as the notebook will check it."""
        if self.config_class is None:
            return checked_value(change, self.kind, place)
        values = merged(self.config_class, before, change, place)
        configured(self.config_class, values, place)
        return values

    def from_text(self, text: str, fields: list[str], place: str, before: Any = None) -> Any:
        """A command-line text as the value of the parameter, or as a dict of its nested field ``fields``.

        ``before`` is the value so far, which may choose the class of a nested field; None is the default.
        """
        kind, values = self.kind, self.default if before is None else before
        for depth, field in enumerate(fields):
            config = config_class_in(kind)
            kinds = kinds_of(config, values or {}) if config else {}
            if field not in kinds:
                what = f"{place}: {'.'.join([self.name, *fields[:depth]])}"
                raise WorkbenchError(
                    f"{what}: {unknown('field', field, kinds)}" if config else f"{what} has no fields to set."
                )
            kind, values = kinds[field], (values or {}).get(field)
        value = value_from_text(text, kind, place)
        for field in reversed(fields):
            value = {field: value}
        return value


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The declared parameters of a notebook, in order; WorkbenchError with the line that is not a declaration.

    The dataclasses of its config parameters are imported, as the cells above say; nothing of the notebook is run.
    """
    nbformat = import_nbformat()
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except FileNotFoundError as error:
        raise WorkbenchError(f"{notebook}: there is no such notebook.") from error
    except Exception as error:  # nbformat raises several kinds for a broken file
        raise WorkbenchError(f"{notebook}: not a valid notebook ({error}).") from error
    tagged = [number for number, cell in enumerate(cells) if TAG in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise WorkbenchError(f"{notebook}: {len(tagged)} cells are tagged {TAG!r}; exactly one must be.")
    above = [cell.source for cell in cells[: tagged[0]] if cell.cell_type == "code"]
    with modules_in(notebook.parent):
        return parse_parameters(cells[tagged[0]].source, str(notebook), above)


def parse_parameters(source: str, place: str, above: list[str] | tuple[str, ...] = ()) -> dict[str, Parameter]:
    """The declarations in ``source``; ``place`` names it in errors, ``above`` are the cells that import its types."""
    try:
        statements, comments = ast.parse(source).body, _comments(source)
        imports = _imports([statement for cell in above for statement in ast.parse(cell).body])
    except (SyntaxError, tokenize.TokenError) as error:
        raise WorkbenchError(f"{place}: the parameters cell is not valid Python ({error}).") from error
    declared: dict[str, Parameter] = {}
    for statement in statements:
        where = f"{place}: parameters cell, line {statement.lineno}"
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            raise WorkbenchError(f"{where}: write one 'name: type = value  # help' a line, and nothing else.")
        name = statement.target.id
        if name in declared:
            raise WorkbenchError(f"{where}: {name} is declared twice.")
        try:
            default = ast.literal_eval(statement.value)
        except ValueError as error:
            raise WorkbenchError(
                f"{where}: the value of {name} must be a literal; derive values in the next cell."
            ) from error
        kind = _kind(ast.unparse(statement.annotation), imports, where)
        help_text = comments.get(statement.end_lineno or statement.lineno, "")
        checked = checked_value(default, kind, f"{where}: {name}")
        declared[name] = Parameter(name, kind, default if config_class_in(kind) else checked, help_text)
    return declared


def _kind(annotation: str, imports: Mapping[str, Callable[[], Any]], where: str) -> Any:
    if annotation in KINDS:
        return KINDS[annotation]
    try:
        found = imports[annotation]() if annotation in imports else None
    except (ImportError, AttributeError) as error:
        raise WorkbenchError(f"{where}: type {annotation} cannot be imported ({error}).") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise WorkbenchError(
            f"{where}: type {annotation}; use bool, int, float, str, list, list[one of these], dict, or a dataclass "
            "that a cell above imports."
        )
    return found


def _imports(statements: list[ast.stmt]) -> dict[str, Callable[[], Any]]:
    """What ``from module import name`` would bind, imported when it is asked for."""

    def importer(module: str, name: str) -> Callable[[], Any]:
        return lambda: getattr(importlib.import_module(module), name)

    return {
        alias.asname or alias.name: importer(statement.module, alias.name)
        for statement in statements
        if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level
        for alias in statement.names
    }


@contextlib.contextmanager
def modules_in(notebooks: Path) -> Iterator[None]:
    """Within the block modules beside the notebooks can be imported, as in their kernels."""
    sys.path.insert(0, str(notebooks))
    try:
        yield
    finally:
        sys.path.remove(str(notebooks))


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def value_from_text(text: str, kind: Any, place: str) -> Any:
    """A command-line value as ``kind``; what is no plain type is read as YAML."""
    if kind is str:
        return text
    if is_union(kind):
        return _one_from_text(text, typing.get_args(kind), kind, place)
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise WorkbenchError(f"{place}: expected bool, got {text!r}. Write true or false.")
    if kind in (int, float):
        try:
            number = kind(text)
        except ValueError as error:
            raise WorkbenchError(f"{place}: expected {kind_text(kind)}, got {text!r}.") from error
        return checked_value(number, kind, place)
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WorkbenchError(f"{place}: expected {kind_text(kind)}, for example [1, 2]; got {text!r}.") from error
    return value if config_class_in(kind) else checked_value(value, kind, place)


def _one_from_text(text: str, arms: tuple, kind: Any, place: str) -> Any:
    if type(None) in arms and text.lower() in _NONE_TEXTS:
        return None
    for arm in sorted((arm for arm in arms if arm is not type(None)), key=lambda arm: arm is str):
        try:
            return value_from_text(text, arm, place)
        except WorkbenchError:
            continue
    raise WorkbenchError(f"{place}: expected {kind_text(kind)}, got {text!r}.")
